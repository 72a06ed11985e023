import { createWriteStream, type WriteStream } from 'node:fs';
import { systemReason } from '../capture/capture-error.ts';
import type { RecordedNames } from '../recording/plane.ts';
import { RecordingPump } from '../recording/pump.ts';
import { packTables } from '../recording/state-carrier.ts';
import type { NameTable } from '../runtime/capture-messages.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import type { DeckEvents } from './deck-events.ts';
import { asDeckError, conflict, DeckError, notFound, unavailable } from './error.ts';
import type { RecordingEnded } from './recording-schema.ts';
import { packageVersion } from './version.ts';

/** Bytes of memory between the data plane and whoever writes, a power of two: a tenth of a second at the speed of a TAP. */
const RING = 128 * 1024 * 1024;
/** Bytes that may be on their way to the file. */
const MOST_WAITING = 16 * 1024 * 1024;
/** Bytes taken from the ring at once, before others have their turn on this thread. */
const TURN = 4 * 1024 * 1024;
/** Milliseconds between two looks into the ring while there is something in it, and when there was nothing for long. */
const SOON = 4;
const LATER = 24;
/** Milliseconds in which a reader has to take something for the deck to wait for him with its end. */
const PATIENCE = 2000;

/** Who gets the file of a recording. */
export interface RecordingListener {
  /** `taken` is to be called when the bytes have been written. */
  chunk(bytes: Uint8Array, taken: () => void): void;
  /** There is no more: with an error when it was cut. */
  end(error: Error | null): void;
}

export interface RecordingsParts {
  plane: DataPlane;
  events: DeckEvents;
  /** What everything is called at this time. */
  table(): Promise<NameTable>;
}

/** The recording that is running. */
interface Running {
  readonly pump: RecordingPump;
  readonly listener: RecordingListener;
  readonly began: number;
  names: RecordedNames;
  waiting: number;
  pause: number;
  timer: NodeJS.Timeout | undefined;
  stopping: Promise<RecordingEnded> | null;
  /** Whether nobody wants to hear any more of it. */
  isDropped: boolean;
}

/** Writes down what enters the data plane; one recording at a time. */
export class Recordings {
  readonly #parts: RecordingsParts;
  #running: Running | null = null;
  #isStarting = false;
  #last: RecordingEnded | null = null;
  #renaming = false;

  constructor(parts: RecordingsParts) {
    this.#parts = parts;
    const { events } = parts;
    for (const event of ['attach', 'detach', 'gone', 'network', 'publish', 'container', 'rules'] as const)
      events.on(event, () => this.#rename());
    events.on('end', () => this.#break(new Error('the data plane has failed')));
  }

  /** Begins a recording. Throws a `DeckError` when there is one. */
  async start(listener: RecordingListener): Promise<void> {
    if (this.#running !== null || this.#isStarting) {
      throw conflict('a recording is running already; end that one first');
    }
    this.#isStarting = true;
    try {
      const { plane } = this.#parts;
      const names = recordedNames(await this.#parts.table());
      const { ring, tables, ...started } = await plane.startRecording(RING, () => void this.#overrun());
      const header = {
        tapdeck: packageVersion(),
        node: process.version,
        date: new Date().toISOString(),
        answersQueries: true,
        ...started,
      };
      const reading: Omit<Running, 'pump'> = {
        listener,
        began: started.began,
        names,
        waiting: 0,
        pause: SOON,
        timer: undefined,
        stopping: null,
        isDropped: false,
      };
      // Large tables are given to the file at once.
      const pump = new RecordingPump(ring, header, packTables(tables), (bytes) => {
        if (reading.isDropped) return;
        reading.waiting += bytes.length;
        listener.chunk(bytes, () => {
          if (!reading.isDropped) reading.waiting -= bytes.length;
        });
      });
      const running: Running = Object.assign(reading, { pump });
      running.pump.names(names);
      this.#running = running;
      this.#schedule(running);
    } finally {
      this.#isStarting = false;
    }
  }

  /**
   * Ends the recording that is running, or says what came of the one that has ended by itself. Throws a `DeckError` when there
   * was none.
   */
  async stop(): Promise<RecordingEnded> {
    const running = this.#running;
    if (running !== null) {
      running.stopping ??= this.#stop(running, null);
      return running.stopping;
    }
    if (this.#last === null) throw notFound('no recording is running; start one with `tapdeck record`');
    return this.#last;
  }

  /** Ends the recording, of which nobody wants to hear any more. */
  drop(listener: RecordingListener): void {
    if (this.#running?.listener === listener) this.#break(null);
  }

  /** Ends the recording, as a deck does that ends: a reader who takes nothing more does not keep it from that. */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    let taken = -1;
    const watch = setInterval(() => {
      const before = taken;
      taken = running.pump.bytes - running.waiting;
      if (taken === before && running.waiting > 0)
        this.#break(new Error('the deck has ended, and its reader took nothing'));
    }, PATIENCE);
    await this.stop().catch(() => {});
    clearInterval(watch);
  }

  /** Writes all that happens from now on to a new file, which only its owner may read. Throws a `DeckError`. */
  async toFile(path: string): Promise<RecordingFile> {
    const file = await RecordingFile.open(path);
    try {
      await this.start(file);
    } catch (error) {
      file.end(null);
      throw error;
    }
    void file.closed.then((problem) => {
      if (problem) this.drop(file);
    });
    return file;
  }

  #schedule(running: Running): void {
    const turn = () => {
      if (running !== this.#running || running.stopping) return;
      const goesOn = !this.#turn(running) && running.waiting <= MOST_WAITING;
      // While there is more, only what else this thread has to do comes in between.
      if (goesOn) setImmediate(turn);
      else running.timer = setTimeout(turn, running.pause);
    };
    running.timer = setTimeout(turn, running.pause);
  }

  /** Takes something from the ring; answers whether it is empty now. */
  #turn(running: Running): boolean {
    if (running.waiting > MOST_WAITING) {
      running.pause = SOON;
      return false;
    }
    const before = running.pump.bytes;
    const isEmpty = running.pump.drain(TURN);
    const isIdle = isEmpty && running.pump.bytes === before;
    running.pause = isIdle ? Math.min(LATER, running.pause + 1) : SOON;
    return isEmpty;
  }

  async #overrun(): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    running.stopping ??= this.#stop(running, OVERRUN);
    await running.stopping.catch(() => {});
  }

  async #stop(running: Running, problem: string | null): Promise<RecordingEnded> {
    clearTimeout(running.timer);
    const { pump, listener } = running;
    try {
      const tables = await this.#parts.plane.stopRecording();
      while (!this.#turn(running)) {
        const isFull = running.waiting > MOST_WAITING;
        await new Promise((resolve) => (isFull ? setTimeout(resolve, SOON) : setImmediate(resolve)));
      }
      const cut = running.isDropped ? UNREAD : tables === null ? (problem ?? OVERRUN) : null;
      const end = pump.end(cut, cut === null && tables !== null ? packTables(tables) : null);
      const ended = { ...end, bytes: pump.bytes, milliseconds: Math.max(0, pump.duration(running.began)) };
      this.#last = ended;
      listener.end(null);
      return ended;
    } catch (error) {
      listener.end(error as Error);
      throw error;
    } finally {
      if (this.#running === running) this.#running = null;
    }
  }

  #break(error: Error | null): void {
    const running = this.#running;
    if (running === null) return;
    clearTimeout(running.timer);
    // What is still in the ring would wait for him for ever.
    running.isDropped = true;
    running.waiting = 0;
    if (!running.stopping) {
      this.#running = null;
      // With the data plane it ends by itself.
      this.#parts.plane.stopRecording().catch(() => {});
    }
    running.listener.end(error ?? new Error(UNREAD));
  }

  /** Notes who is who now; who has gone meanwhile keeps his name. */
  #rename(): void {
    if (this.#running === null || this.#renaming) return;
    this.#renaming = true;
    // Many things change at once.
    setTimeout(async () => {
      try {
        const now = recordedNames(await this.#parts.table());
        const running = this.#running;
        if (running === null || running.stopping) return;
        running.names = {
          networks: { ...running.names.networks, ...now.networks },
          ports: { ...running.names.ports, ...now.ports },
        };
        running.pump.names(running.names);
      } catch {
        // The deck may be closing.
      } finally {
        this.#renaming = false;
      }
    }, LATER);
  }
}

const UNREAD = 'nobody reads the recording any more';
const OVERRUN =
  'frames came faster than they could be written; all before is in it: record less traffic, or to a faster disk';

function recordedNames({ networks, ports }: NameTable): RecordedNames {
  return {
    networks: Object.fromEntries(networks),
    ports: Object.fromEntries(ports.map(({ port, name }) => [port, name])),
  };
}

/** A file that a recording goes to. */
export class RecordingFile implements RecordingListener {
  /** Settles when all is written: why it was not, or null. */
  readonly closed: Promise<DeckError | null>;
  /** Why a write failed; nothing more is written then. */
  failure: DeckError | null = null;
  readonly #stream: WriteStream;
  readonly #path: string;

  private constructor(path: string, stream: WriteStream) {
    this.#path = path;
    this.#stream = stream;
    this.closed = new Promise((resolve) => {
      stream.on('error', (error) => resolve(this.#cut(error)));
      stream.on('close', () => resolve(null));
    });
  }

  /** Makes the file, which must not be there. Throws a `DeckError`. */
  static async open(path: string): Promise<RecordingFile> {
    // The key of all hashes is in it, and everything that was said.
    const stream = createWriteStream(path, { flags: 'wx', mode: 0o600 });
    try {
      await new Promise<void>((resolve, reject) => {
        stream.once('open', () => resolve());
        stream.once('error', reject);
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
        throw new DeckError('conflict', `${path} is there already; remove it, or name another file`);
      }
      throw asDeckError(error);
    }
    return new RecordingFile(path, stream);
  }

  get path(): string {
    return this.#path;
  }

  chunk(bytes: Uint8Array, taken: () => void): void {
    this.#stream.write(bytes, (error) => {
      if (error) this.#cut(error);
      taken();
    });
  }

  end(_error: Error | null): void {
    this.#stream.end();
  }

  #cut(error: Error): DeckError {
    this.failure ??= unavailable(
      `the recording in ${this.#path} was cut: ${systemReason(error)}; what is before that can be replayed`,
    );
    return this.failure;
  }
}
