import { writev } from 'node:fs';

/** Who is told what becomes of the buffers. */
export interface FileOutletListener {
  /** A buffer has been written, and can be filled again. */
  taken(buffer: ArrayBuffer): void;
  /** Writing has failed, and nothing is written any more. */
  failed(error: NodeJS.ErrnoException): void;
}

/**
 * Writes buffers to a file, one call at a time on a thread of libuv's pool: what has come meanwhile goes with the next, so that a
 * slow file has long writes and not many.
 */
export class FileOutlet {
  /** Bytes that have been written. */
  bytes = 0;
  readonly #fd: number;
  readonly #listener: FileOutletListener;
  #waiting: Uint8Array<ArrayBuffer>[] = [];
  #isWriting = false;
  #isClosed = false;
  #whenIdle: (() => void) | null = null;

  /** @param fd stays the caller's; to be closed when `idle` has settled */
  constructor(fd: number, listener: FileOutletListener) {
    this.#fd = fd;
    this.#listener = listener;
  }

  push(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#isClosed) return;
    this.#waiting.push(bytes);
    this.#write();
  }

  /** Whether a buffer is on its way. */
  get isBusy(): boolean {
    return this.#isWriting;
  }

  /** Writes nothing more but what the kernel has been given already. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  /** Settles when all that was pushed has been written, or cannot be. */
  idle(): Promise<void> {
    if (!this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  #write(): void {
    if (this.#isWriting) return;
    const pieces = this.#waiting;
    if (pieces.length === 0) {
      this.#whenIdle?.();
      return;
    }
    this.#waiting = [];
    this.#isWriting = true;
    writev(this.#fd, pieces, (error, written) => {
      this.#isWriting = false;
      if (error) {
        const isNews = !this.#isClosed;
        this.close();
        if (isNews) this.#listener.failed(error);
      } else this.#written(pieces, written);
      this.#write();
    });
  }

  #written(pieces: readonly Uint8Array<ArrayBuffer>[], written: number): void {
    this.bytes += written;
    let left = written;
    for (const [i, piece] of pieces.entries()) {
      if (left < piece.length) {
        // Less than was asked for: the rest of it goes first.
        if (!this.#isClosed) this.#waiting.unshift(piece.subarray(left), ...pieces.slice(i + 1));
        return;
      }
      left -= piece.length;
      this.#listener.taken(piece.buffer);
    }
  }
}
