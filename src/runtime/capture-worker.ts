import { parentPort, workerData } from 'node:worker_threads';
import { systemReason } from '../capture/capture-error.ts';
import { Chunks } from '../capture/live/chunks.ts';
import { DeckNames } from '../capture/live/deck-names.ts';
import type { Feed } from '../capture/live/feed.ts';
import { FileOutlet } from '../capture/live/file-outlet.ts';
import { LiveCapture } from '../capture/live/live-capture.ts';
import { LiveTrace } from '../capture/live/live-trace.ts';
import { WallClock } from '../capture/live/wall-clock.ts';
import { ObservationReader } from '../dataplane/observation.ts';
import type { CaptureNotice, CaptureRequest, CaptureThreadData } from './capture-messages.ts';
import { clockPair } from './clock-pair.ts';

/** Stories of one feed before the others have their turn. */
const TURN = 2048;
/** Milliseconds between two looks at rings that had been read to their ends. */
const LOOK = 4;
/** Milliseconds between two words on how far a file is. */
const TELL = 500;
/** Milliseconds between two comparisons of the clocks. */
const COMPARE = 10_000;

interface Open {
  readonly feed: Feed;
  /** Where its chunks go when they do not go to the main thread. */
  readonly file: FileOutlet | null;
  isFinishing: boolean;
}

/** The thread that reads what the data plane has observed, and makes files and lines of it. It never makes the data plane wait. */
class CaptureWorker {
  readonly #port = parentPort!;
  readonly #feeds = new Map<number, Open>();
  readonly #names = new DeckNames();
  /** Milliseconds of the data plane's clock when that of the machine was at 0. */
  readonly #offset: number;
  readonly #clock: WallClock;
  #compared = performance.now();
  #isRunning = false;

  constructor({ offset }: CaptureThreadData) {
    this.#offset = offset;
    this.#clock = new WallClock(clockPair(offset));
    this.#port.on('message', (message: CaptureRequest) => this.#receive(message));
  }

  #receive(message: CaptureRequest): void {
    switch (message.type) {
      case 'names':
        this.#names.replace(message.names, this.#now());
        for (const { feed } of this.#feeds.values()) feed.renamed();
        return;
      case 'open':
        this.#open(message.feed, message.options, message.buffers);
        return;
      case 'taken':
        this.#feeds.get(message.feed)?.feed.chunks.give(message.buffer);
        break;
      case 'finish': {
        const known = this.#feeds.get(message.feed);
        if (known) known.isFinishing = true;
        break;
      }
      case 'close': {
        const known = this.#feeds.get(message.feed);
        this.#feeds.delete(message.feed);
        known?.file?.close();
        if (known?.file) this.#end(message.feed, known);
        return;
      }
    }
    this.#start();
  }

  #open(
    id: number,
    options: Extract<CaptureRequest, { type: 'open' }>['options'],
    buffers: readonly ArrayBuffer[],
  ): void {
    const file =
      options.file === undefined ? null : this.#file(id, options.file, (buffer) => chunks.give(buffer));
    const chunks = new Chunks((bytes) => {
      if (file) return file.push(bytes);
      const notice: CaptureNotice = { type: 'chunk', feed: id, bytes };
      this.#port.postMessage(notice, [bytes.buffer]);
    });
    for (const buffer of buffers) chunks.give(buffer);
    const parts = {
      reader: new ObservationReader(options.ring),
      chunks,
      clock: this.#clock,
      names: this.#names,
      now: () => this.#now(),
    };
    const feed = options.kind === 'capture' ? new LiveCapture(parts, options) : new LiveTrace(parts);
    this.#feeds.set(id, { feed, file, isFinishing: false });
    chunks.flush();
    this.#start();
  }

  #file(id: number, fd: number, give: (buffer: ArrayBuffer) => void): FileOutlet {
    let told = performance.now();
    const file = new FileOutlet(fd, {
      taken: (buffer) => {
        give(buffer);
        this.#start();
        const now = performance.now();
        if (now - told < TELL) return;
        told = now;
        this.#tell({ type: 'progress', feed: id, bytes: file.bytes });
      },
      failed: (error) => {
        const known = this.#feeds.get(id);
        this.#feeds.delete(id);
        this.#tell({
          type: 'end',
          feed: id,
          packets: known?.feed.written ?? 0,
          error: `${error.code ?? 'EIO'}: ${systemReason(error)}`,
        });
      },
    });
    return file;
  }

  /** Says that a feed has come to its end when all of it has been written. */
  #end(id: number, { feed, file }: Open): void {
    const end = () => this.#tell({ type: 'end', feed: id, packets: feed.written });
    if (file) void file.idle().then(end);
    else end();
  }

  #tell(notice: CaptureNotice): void {
    this.#port.postMessage(notice);
  }

  /** Milliseconds of the data plane's clock. */
  #now(): number {
    return Number(process.hrtime.bigint()) / 1e6 + this.#offset;
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#isRunning = false;
    const now = performance.now();
    if (now - this.#compared > COMPARE) {
      this.#compared = now;
      this.#clock.compare(clockPair(this.#offset));
    }
    let hasMore = false;
    for (const [id, open] of this.#feeds) {
      const { feed, file, isFinishing } = open;
      const taken = feed.take(TURN, now);
      if (taken === TURN) hasMore = true;
      // Whoever follows sees it at once; while there is more to come, full buffers are worth more.
      if (taken < TURN && !file?.isBusy) feed.chunks.flush();
      if (!isFinishing || feed.isBehind) continue;
      feed.finish();
      feed.chunks.flush();
      this.#feeds.delete(id);
      this.#end(id, open);
    }
    if (this.#feeds.size === 0) return;
    // Who has caught up waits for more, so that each look and each write is for many packets.
    if (hasMore) this.#start();
    else {
      this.#isRunning = true;
      setTimeout(() => this.#run(), LOOK);
    }
  }
}

new CaptureWorker(workerData as CaptureThreadData);
