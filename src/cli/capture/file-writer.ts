import type { BlockListener } from '../../capture/live/block-splitter.ts';
import { isPreamble } from '../../capture/live/block-splitter.ts';
import { BlockType } from '../../capture/pcapng-format.ts';
import type { Target } from './target.ts';

/** Bytes that may wait for the disk or the reader before no more is taken from the daemon. */
const MOST_WAITING = 4 * 1024 * 1024;
/** Bytes in one of tcpdump's megabytes. */
const MEGABYTE = 1_000_000;

export interface FileOptions {
  /** A path, or `-`. */
  path: string;
  /** Packets after which it is enough. */
  count?: number | undefined;
  /** Megabytes after which the next file begins. */
  size?: number | undefined;
  /** Seconds after which the next file begins. */
  seconds?: number | undefined;
  /** Most files: with `size` the first is overwritten then, else it is enough. */
  files?: number | undefined;
}

/**
 * Writes a pcapng stream to one file or, as tcpdump does with -C, -G and -W, to one after the other. Each file is whole: the
 * blocks that say what is what are in all of them.
 */
export class FileWriter implements BlockListener {
  /** Packets that were written, or are about to be. */
  packets = 0;
  /** Whether there are as many as were wanted; further ones are left out. */
  enough = false;
  readonly #options: FileOptions;
  readonly #open: (path: string) => Promise<Target>;
  readonly #clock: () => number;
  /** What the next file begins with. */
  readonly #preamble: Uint8Array[] = [];
  /** What is to be done, in order: bytes, or the path of the next file. */
  #queue: (Uint8Array | string)[] = [];
  #waiting = 0;
  /** Of the chunk at hand, what is to be written next and is not in the queue yet. */
  #chunk: Uint8Array | null = null;
  #from = 0;
  #to = 0;
  #target: Target | null = null;
  #writing: Promise<void> | null = null;
  #failure: unknown;
  #file = 0;
  /** Bytes in the file that is being written, and when it was begun. */
  #length = 0;
  #since = 0;
  #type = 0;
  #keep = true;
  #room: (() => void) | null = null;

  /**
   * @param target for the first file, open already
   * @param open for those after it
   * @param clock milliseconds since 1970
   */
  constructor(
    options: FileOptions,
    target: Target,
    open: (path: string) => Promise<Target>,
    clock = Date.now,
  ) {
    this.#options = options;
    this.#target = target;
    this.#open = open;
    this.#clock = clock;
    this.#since = clock();
  }

  begin(type: number, _length: number): void {
    this.#type = type;
    this.#keep = true;
    if (type !== BlockType.ENHANCED_PACKET) return;
    const { count, size = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY } = this.#options;
    this.#keep = !this.enough;
    if (this.enough) return;
    // As tcpdump: looked at before a packet is written, so that a file is a little longer.
    if (this.#length > size * MEGABYTE || this.#clock() - this.#since >= seconds * 1000) this.#next();
    if (this.enough) {
      this.#keep = false;
      return;
    }
    this.packets++;
    if (this.packets === count) this.enough = true;
  }

  piece(chunk: Uint8Array, from: number, to: number): void {
    if (!this.#keep) return;
    if (isPreamble(this.#type)) this.#preamble.push(chunk.slice(from, to));
    this.#length += to - from;
    this.#waiting += to - from;
    // Blocks that lie one behind the other are one piece: nothing is made for each of them.
    if (chunk !== this.#chunk || from !== this.#to) {
      this.#gather();
      this.#chunk = chunk;
      this.#from = from;
    }
    this.#to = to;
  }

  end(): void {}

  /** Resolves when there is room for more. Throws what writing failed with. */
  async ready(): Promise<void> {
    this.#start();
    while (this.#waiting > MOST_WAITING && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#room = resolve;
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes all that waits and closes the file. Throws what writing failed with. */
  async close(): Promise<void> {
    this.#start();
    while (this.#writing) await this.#writing;
    const target = this.#target;
    this.#target = null;
    await target?.close();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes no more, whatever waits. */
  destroy(): void {
    this.#target?.destroy();
  }

  #next(): void {
    const { path, files, size } = this.#options;
    if (files !== undefined && this.#file + 1 >= files && size === undefined) {
      this.enough = true;
      return;
    }
    this.#file++;
    this.#since = this.#clock();
    this.#length = 0;
    this.#gather();
    this.#queue.push(fileName(path, this.#options, this.#file, new Date(this.#since)));
    for (const bytes of this.#preamble) {
      this.#length += bytes.length;
      this.#waiting += bytes.length;
      this.#queue.push(bytes);
    }
  }

  #gather(): void {
    if (this.#chunk !== null) this.#queue.push(this.#chunk.subarray(this.#from, this.#to));
    this.#chunk = null;
  }

  #start(): void {
    this.#gather();
    if (this.#writing || this.#queue.length === 0 || this.#failure !== undefined) return;
    this.#writing = this.#write()
      .catch((error: unknown) => {
        this.#failure = error;
      })
      .finally(() => {
        this.#writing = null;
        this.#room?.();
      });
  }

  async #write(): Promise<void> {
    while (this.#queue.length > 0) {
      const queue = this.#queue;
      this.#queue = [];
      for (let from = 0; from < queue.length; ) {
        const first = queue[from]!;
        if (typeof first === 'string') {
          await this.#target?.close();
          this.#target = null;
          this.#target = await this.#open(first);
          from++;
          continue;
        }
        let to = from;
        let length = 0;
        while (to < queue.length && typeof queue[to] !== 'string')
          length += (queue[to++] as Uint8Array).length;
        await this.#target!.write(queue.slice(from, to) as Uint8Array[]);
        this.#waiting -= length;
        this.#room?.();
        from = to;
      }
    }
  }
}

/**
 * The name of the `index`th file, from 0, as tcpdump makes it: times of strftime(3) with -G, a number behind the name with -C,
 * with as many digits as -W needs.
 */
export function fileName(
  path: string,
  { size, seconds, files }: Pick<FileOptions, 'size' | 'seconds' | 'files'>,
  index: number,
  time: Date,
): string {
  const name =
    seconds === undefined ? path : path.replace(/%([YmdHMSs%])/g, (_, code: string) => strftime(code, time));
  if (size === undefined) return name;
  if (files === undefined) return index === 0 ? name : `${name}${index}`;
  return `${name}${String(index % files).padStart(String(files - 1).length, '0')}`;
}

function strftime(code: string, time: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  switch (code) {
    case 'Y':
      return String(time.getFullYear());
    case 'm':
      return two(time.getMonth() + 1);
    case 'd':
      return two(time.getDate());
    case 'H':
      return two(time.getHours());
    case 'M':
      return two(time.getMinutes());
    case 'S':
      return two(time.getSeconds());
    case 's':
      return String(Math.floor(time.getTime() / 1000));
    default:
      return '%';
  }
}
