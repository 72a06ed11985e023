import { close } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { CHUNK_LENGTH } from '../capture/live/chunks.ts';
import type {
  CaptureNotice,
  CaptureRequest,
  CaptureThreadData,
  FeedOptions,
  NameTable,
} from './capture-messages.ts';

/** Buffers of a feed: what may be on its way to a reader. */
const BUFFERS = 16;

/** Whoever gets what a feed makes. */
export interface FeedListener {
  /** Bytes that are to be given back by `taken` when they have been written. */
  chunk(bytes: Uint8Array, taken: () => void): void;
  /** So many bytes of it have been written to its file. */
  progress?(bytes: number): void;
  /**
   * All has come, so many packets or lines; or, with an error, the thread has ended before that. One with the `code` of an errno is
   * that of its file.
   */
  end(error?: NodeJS.ErrnoException, packets?: number): void;
}

/** The thread of captures, seen from the main thread. It runs as long as there is a feed. */
export class CaptureThread {
  readonly #feeds = new Map<number, FeedListener>();
  /** Files that a thread writes to: until it says that their feed has ended, or has ended itself. */
  readonly #files = new Map<number, { fd: number; worker: Worker }>();
  #worker: Worker | null = null;
  #names: NameTable | null = null;

  /**
   * Begins a feed, whose file is closed at its end.
   * @param offset milliseconds of the data plane's clock when the machine's monotonic clock was at 0
   */
  open(feed: number, options: FeedOptions, offset: number, listener: FeedListener): void {
    this.#feeds.set(feed, listener);
    this.#worker ??= this.#start(offset);
    if (options.file !== undefined) this.#files.set(feed, { fd: options.file, worker: this.#worker });
    const buffers = Array.from({ length: BUFFERS }, () => new ArrayBuffer(CHUNK_LENGTH));
    this.#post({ type: 'open', feed, options, buffers }, buffers);
  }

  /** What things are called from now on. */
  rename(names: NameTable): void {
    this.#names = names;
    this.#post({ type: 'names', names });
  }

  /** The data plane writes no more: what is there is the rest, after which `end` comes. */
  finish(feed: number): void {
    this.#post({ type: 'finish', feed });
  }

  /** Nobody reads any more; `end` does not come. */
  close(feed: number): void {
    if (!this.#feeds.delete(feed)) return;
    this.#post({ type: 'close', feed });
    this.#rest();
  }

  /** Ends the thread, and what it does. */
  async end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #start(offset: number): Worker {
    const data: CaptureThreadData = { offset };
    const worker = new Worker(new URL('../runtime/capture-worker.js', import.meta.url), {
      name: 'captures',
      workerData: data,
    });
    worker.on('message', (notice: CaptureNotice) => this.#receive(notice));
    worker.on('error', (error) => {
      if (this.#worker === worker) this.#fail(error);
    });
    worker.on('exit', () => {
      for (const [feed, file] of this.#files) if (file.worker === worker) this.#closeFile(feed);
    });
    if (this.#names) worker.postMessage({ type: 'names', names: this.#names } satisfies CaptureRequest);
    return worker;
  }

  #receive(notice: CaptureNotice): void {
    const { feed } = notice;
    const listener = this.#feeds.get(feed);
    if (notice.type === 'chunk') {
      const { bytes } = notice;
      // Of a feed that has been closed meanwhile.
      if (!listener) return;
      listener.chunk(bytes, () => this.#post({ type: 'taken', feed, buffer: bytes.buffer }, [bytes.buffer]));
      return;
    }
    if (notice.type === 'progress') {
      listener?.progress?.(notice.bytes);
      return;
    }
    const { error, packets } = notice;
    this.#closeFile(feed);
    this.#feeds.delete(feed);
    if (error === undefined) listener?.end(undefined, packets);
    else listener?.end(Object.assign(new Error(error), { code: error.split(':', 1)[0]! }), packets);
    this.#rest();
  }

  #closeFile(feed: number): void {
    const file = this.#files.get(feed);
    if (file === undefined) return;
    this.#files.delete(feed);
    // What a network file system says only now the client hears of, too, who has the file open.
    close(file.fd, () => {});
  }

  #fail(error: Error): void {
    this.#worker = null;
    const listeners = Array.from(this.#feeds.values());
    this.#feeds.clear();
    // Its code, if it has one, is none of a file.
    const failure = new Error('the thread of captures has failed', { cause: error });
    for (const listener of listeners) listener.end(failure);
  }

  #rest(): void {
    if (this.#feeds.size === 0 && this.#files.size === 0) void this.end();
  }

  #post(request: CaptureRequest, transfer: ArrayBuffer[] = []): void {
    this.#worker?.postMessage(request, transfer);
  }
}
