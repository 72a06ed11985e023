import { closeSync, openSync, writeSync } from 'node:fs';
import type { Sink } from './block-writer.ts';
import { CaptureError, systemReason } from './capture-error.ts';

const BUFFER_LENGTH = 64 * 1024;
const RETRY_MS = 1;

/** A sink for the capture writers that ends in a file or in a descriptor that is already open, buffered. */
export class FileSink {
  /** The sink: give this to a writer. */
  readonly write: Sink;
  readonly #file: string;
  readonly #fd: number;
  readonly #owned: boolean;
  readonly #buffer = new Uint8Array(BUFFER_LENGTH);
  #length = 0;
  #closed = false;

  /**
   * @param target path of a file to be made or emptied, or an open descriptor, which stays open
   * @throws CaptureError when the file cannot be opened
   */
  constructor(target: string | number) {
    this.#owned = typeof target === 'string';
    this.#file = typeof target === 'string' ? target : `descriptor ${target}`;
    try {
      this.#fd = typeof target === 'string' ? openSync(target, 'w') : target;
    } catch (error) {
      throw this.#failed(error);
    }
    this.write = (bytes) => {
      if (this.#length + bytes.length > BUFFER_LENGTH) this.flush();
      if (bytes.length > BUFFER_LENGTH) this.#writeAll(bytes);
      else {
        this.#buffer.set(bytes, this.#length);
        this.#length += bytes.length;
      }
    };
  }

  /** Hands everything to the system. A reader that follows a capture sees it then. */
  flush(): void {
    const length = this.#length;
    this.#length = 0;
    this.#writeAll(this.#buffer.subarray(0, length));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.flush();
    } finally {
      if (this.#owned) closeSync(this.#fd);
    }
  }

  #writeAll(bytes: Uint8Array): void {
    let written = 0;
    while (written < bytes.length) {
      try {
        written += writeSync(this.#fd, bytes, written, bytes.length - written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw this.#failed(error);
        // A pipe that is full and does not block: its reader sets the pace.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      }
    }
  }

  #failed(error: unknown): CaptureError {
    const advice = 'check the path, its permissions and the free space';
    return new CaptureError(this.#file, -1, 'cannot be written', systemReason(error), advice, {
      cause: error,
    });
  }
}
