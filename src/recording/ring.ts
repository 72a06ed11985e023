import { padded, RECORD_HEADER } from './format.ts';

/** Ring and its two counters, of which both threads have this. */
export interface SharedRing {
  bytes: SharedArrayBuffer;
  counters: SharedArrayBuffer;
}

// Counters, in units of 8 bytes, that wrap.
const HEAD = 0;
const TAIL = 1;
const UNIT = 8;
/** Kind of what lies behind the last record before the end of the memory. */
const NOTHING = 0;

/** @param size bytes, a power of two */
export function sharedRing(size: number): SharedRing {
  return { bytes: new SharedArrayBuffer(size), counters: new SharedArrayBuffer(8) };
}

/** The end of a ring at which records are put in. It never waits. */
export class RingWriter {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly doubles: Float64Array;
  readonly #counters: Int32Array;
  readonly #units: number;
  #head = 0;
  /** As far as the other end was seen to have come. */
  #tail = 0;

  constructor({ bytes, counters }: SharedRing) {
    this.bytes = new Uint8Array(bytes);
    this.words = new Int32Array(bytes);
    this.doubles = new Float64Array(bytes);
    this.#counters = new Int32Array(counters);
    this.#units = bytes.byteLength / UNIT;
  }

  /** Room for a record of `length` bytes, in one piece: where it begins; -1 when there is none. */
  begin(length: number): number {
    const units = padded(length) / UNIT;
    let place = this.#head & (this.#units - 1);
    const rest = this.#units - place;
    const skipped = units > rest ? rest : 0;
    if (!this.#hasRoom(skipped + units)) return -1;
    if (skipped > 0) {
      this.words[2 * place] = skipped * UNIT;
      this.words[2 * place + 1] = NOTHING;
      this.#head = (this.#head + skipped) | 0;
      place = 0;
    }
    return place * UNIT;
  }

  /** The record that `begin` made room for is written. */
  commit(length: number): void {
    this.#head = (this.#head + padded(length) / UNIT) | 0;
    Atomics.store(this.#counters, HEAD, this.#head);
  }

  #hasRoom(units: number): boolean {
    if (this.#units - ((this.#head - this.#tail) >>> 0) >= units) return true;
    this.#tail = Atomics.load(this.#counters, TAIL);
    return this.#units - ((this.#head - this.#tail) >>> 0) >= units;
  }
}

/** The end at which records are taken out. */
export class RingReader {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #counters: Int32Array;
  readonly #units: number;
  #tail = 0;

  constructor({ bytes, counters }: SharedRing) {
    this.#bytes = new Uint8Array(bytes);
    this.#words = new Int32Array(bytes);
    this.#counters = new Int32Array(counters);
    this.#units = bytes.byteLength / UNIT;
  }

  /**
   * Gives the records that are there to `take`, in order, until it answers false; answers whether all were taken. A record
   * that it answers false to is taken, too.
   * @param take `bytes` is the ring's: copy what is to be kept
   */
  drain(take: (bytes: Uint8Array, at: number, length: number, kind: number) => boolean): boolean {
    const head = Atomics.load(this.#counters, HEAD);
    let goesOn = true;
    while (goesOn && this.#tail !== head) {
      const place = this.#tail & (this.#units - 1);
      const length = this.#words[2 * place]!;
      const kind = this.#words[2 * place + 1]! & 0xff;
      if (kind !== NOTHING) goesOn = take(this.#bytes, place * UNIT, length, kind);
      this.#tail = (this.#tail + padded(Math.max(length, kind === NOTHING ? 0 : RECORD_HEADER)) / UNIT) | 0;
    }
    Atomics.store(this.#counters, TAIL, this.#tail);
    return this.#tail === head;
  }
}
