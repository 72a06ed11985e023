import { arch, release, type as systemName } from 'node:os';
import { compileFilter } from '../capture/filter/filter.ts';
import { FilterError } from '../capture/filter/filter-error.ts';
import type { NameTable } from '../runtime/capture-messages.ts';
import { CaptureThread, type FeedListener } from '../runtime/capture-thread.ts';
import type { DataPlane, Observation } from '../runtime/data-plane.ts';
import {
  type CaptureEnded,
  type CaptureView,
  DEFAULT_BUFFER,
  DEFAULT_SNAPLEN,
  MOST_BUFFER,
} from './capture-schema.ts';
import { type CaptureScope, captureScope, type ScopeNames } from './capture-scope.ts';
import type { DeckEvents } from './deck-events.ts';
import type { Endpoint } from './endpoint.ts';
import { asDeckError, conflict, invalid, notFound } from './error.ts';
import { packageVersion } from './version.ts';

/** Captures and traces that may run at a time: each costs memory, and what it is told of a packet time. */
const MOST_CAPTURES = 16;
/** Mebibytes for the rows of a trace. */
const TRACE_BUFFER = 8;
const MEBIBYTE = 1024 * 1024;
/** Captures that write to files by themselves: each may keep one of the four threads that the process has for files waiting. */
const MOST_FILES = 2;

export interface CaptureOptions {
  kind: 'capture' | 'trace';
  /** Networks, uplinks and containers; everything when there are none. */
  interfaces?: readonly string[];
  /** In tcpdump's language. */
  filter?: string;
  /** Bytes to keep of each frame. */
  snaplen?: number;
  /** Mebibytes for what waits to be written. */
  buffer?: number;
  direction?: 'in' | 'out';
  /** A file to which the capture is written, and which is closed at its end; what comes of it else. */
  file?: number;
}

/** What makes files and lines of what is observed. */
export type FeedThread = Pick<CaptureThread, 'open' | 'rename' | 'finish' | 'close' | 'end'>;

export interface CapturesParts {
  plane: DataPlane;
  /** Ends with the deck; a thread of its own by default. */
  thread?: FeedThread | undefined;
  events: DeckEvents;
  names: ScopeNames;
  /** What everything is called at this time. */
  table(): Promise<NameTable>;
}

/** A capture or trace that is running. */
interface Running {
  readonly view: CaptureView;
  readonly scope: CaptureScope | null;
  readonly observation: Observation;
  readonly listener: FeedListener;
  readonly file: number | undefined;
  stopping: Promise<CaptureEnded> | null;
}

/** Who looks at packets of the deck at this time. */
export class Captures {
  readonly #parts: CapturesParts;
  readonly #thread: FeedThread;
  readonly #running = new Map<number, Running>();
  #opening = 0;
  #next = 1;
  /** Whether names have changed since they were told to the thread. */
  #renaming = false;

  constructor(parts: CapturesParts) {
    this.#parts = parts;
    const { events, thread = new CaptureThread() } = parts;
    this.#thread = thread;
    events.on('attach', (endpoint) => {
      this.#attached(endpoint);
      this.#rename();
    });
    for (const event of ['detach', 'gone', 'network', 'publish', 'container', 'rules'] as const)
      events.on(event, () => this.#rename());
    events.on('end', () => {
      for (const id of this.#running.keys()) this.#ended(id, new Error('the data plane has failed'));
    });
  }

  list(): CaptureView[] {
    return Array.from(this.#running.values(), ({ view }) => view);
  }

  /**
   * Ends a capture: what was observed still comes to its listener, and then the end. Throws a `DeckError` when there is none.
   */
  stop(id: number): Promise<CaptureEnded> {
    const capture = this.#running.get(id);
    if (!capture) throw notFound(`there is no capture ${id}; it may have ended by itself`);
    capture.stopping ??= this.#stop(id, capture);
    return capture.stopping;
  }

  /** Ends a capture, of which nobody wants to hear any more. */
  drop(id: number): void {
    const capture = this.#running.get(id);
    if (!capture) return;
    this.#running.delete(id);
    this.#thread.close(id);
    // With the data plane its observations end.
    if (!capture.stopping) capture.observation.close().catch(() => {});
  }

  /**
   * Begins to capture or to trace. What is observed and not taken in time is missed and counted.
   * @throws DeckError when something in the options is wrong; of a filter with the place
   */
  async open(options: CaptureOptions, listener: FeedListener): Promise<CaptureView> {
    const { plane, names } = this.#parts;
    const { kind, interfaces = [], filter = '', direction } = options;
    const snaplen = options.snaplen || DEFAULT_SNAPLEN;
    const buffer = options.buffer ?? DEFAULT_BUFFER;
    if (snaplen > DEFAULT_SNAPLEN)
      throw invalid(`snaplen ${snaplen} is too much; at most ${DEFAULT_SNAPLEN} bytes are kept`);
    if (buffer < 1 || buffer > MOST_BUFFER)
      throw invalid(`a buffer of ${buffer} MiB is not possible; use 1 to ${MOST_BUFFER}`);
    checkFilter(filter);
    const scope = captureScope(interfaces, names);
    if (this.#running.size + this.#opening >= MOST_CAPTURES) {
      throw conflict(`${MOST_CAPTURES} captures and traces are running already; end one of them first`);
    }
    if (options.file !== undefined && this.#files() >= MOST_FILES)
      throw conflict(
        `${MOST_FILES} captures write to files by themselves already; end one, or take its stream`,
      );
    this.#opening++;
    try {
      const observation = await plane.observe({
        ring: (kind === 'trace' ? TRACE_BUFFER : buffer) * MEBIBYTE,
        snaplen: kind === 'trace' ? 0 : snaplen,
        ...(filter !== '' && { filter }),
        ...(scope && { networks: scope.networks, ports: scope.ports }),
      });
      try {
        this.#thread.rename(await this.#parts.table());
      } catch (error) {
        await observation.close();
        throw error;
      }
      const id = this.#next++;
      const view: CaptureView = {
        id,
        kind,
        interfaces,
        filter,
        snaplen,
        startedAt: new Date().toISOString(),
      };
      this.#running.set(id, { view, scope, observation, listener, file: options.file, stopping: null });
      // Ports that its containers have got meanwhile.
      for (const port of captureScope(interfaces, names)?.ports ?? [])
        if (!scope!.ports.includes(port)) await observation.add(port);
      const { ring, offset } = observation;
      const feed = {
        kind,
        ring,
        filter,
        direction,
        snapLength: snaplen,
        file: options.file,
        application: `tapdeck ${packageVersion()}`,
        hardware: arch(),
        os: `${systemName()} ${release()}`,
      };
      this.#thread.open(id, feed, offset, {
        chunk: (bytes, taken) => listener.chunk(bytes, taken),
        progress: (bytes) => listener.progress?.(bytes),
        end: (error, packets) => this.#ended(id, error, packets),
      });
      return view;
    } catch (error) {
      throw asDeckError(error);
    } finally {
      this.#opening--;
    }
  }

  /** Ends all. */
  async close(): Promise<void> {
    for (const id of this.#running.keys()) this.#ended(id, new Error('the deck is closing'));
    await this.#thread.end();
  }

  #files(): number {
    let files = 0;
    for (const { file } of this.#running.values()) if (file !== undefined) files++;
    return files;
  }

  async #stop(id: number, { observation }: Running): Promise<CaptureEnded> {
    await observation.close().catch(() => {});
    this.#thread.finish(id);
    return { id, missed: observation.reader.missed };
  }

  #ended(id: number, error?: Error, packets?: number): void {
    const capture = this.#running.get(id);
    this.drop(id);
    capture?.listener.end(error, packets);
  }

  /** A container has a port more: captures of it have it, too. */
  #attached({ name, port }: Endpoint): void {
    if (port < 0) return;
    for (const { scope, observation } of this.#running.values()) {
      if (scope?.containers.has(name)) observation.add(port).catch(() => {});
    }
  }

  /** Tells the thread the names that hold now; once, whatever happens at the same time. */
  #rename(): void {
    if (this.#renaming || this.#running.size === 0) return;
    this.#renaming = true;
    queueMicrotask(() => {
      this.#renaming = false;
      // A data plane that has failed has no names, and soon no captures.
      this.#parts.table().then(
        (names) => this.#thread.rename(names),
        () => {},
      );
    });
  }
}

function checkFilter(text: string): void {
  try {
    compileFilter(text);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    throw invalid(`the filter is wrong at character ${error.at + 1}: ${error.what}; see docs/filters.md`);
  }
}
