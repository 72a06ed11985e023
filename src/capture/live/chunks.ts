import type { Sink } from '../block-writer.ts';

/** Bytes of a buffer. */
export const CHUNK_LENGTH = 256 * 1024;
/**
 * Where chunks begin in their buffers: so that a frame, 28 bytes into its block, lies at a multiple of 8 as in the ring, when blocks
 * are multiples of 8, too. Between shared memory and other V8 copies words only if both sides are aligned, and else bytes.
 */
const BEGIN = 4;
/** Bytes of a chunk: what one write of a socket or file takes. */
const ROOM = CHUNK_LENGTH - BEGIN;

/**
 * Whole blocks or lines, gathered in buffers of `CHUNK_LENGTH` that come from a fixed number of them: whoever takes a full one
 * gives it back when it has been written. So what is under way is bounded, and at its bound nothing more is taken from the
 * ring, whose losses are counted.
 */
export class Chunks {
  /** Where the next bytes go, at `length`; what is written there is kept by `advance`. */
  bytes = new Uint8Array(0);
  view = new DataView(this.bytes.buffer);
  length = 0;
  readonly #emit: (bytes: Uint8Array<ArrayBuffer>) => void;
  readonly #free: ArrayBuffer[] = [];
  /** Longer than a buffer has room for: a block of the header with very many names, say. */
  readonly #oversize: (bytes: Uint8Array) => void;

  /**
   * @param emit given what a buffer is filled with, which belongs to it then
   * @param oversize given what is longer than a buffer, to be copied
   */
  constructor(
    emit: (bytes: Uint8Array<ArrayBuffer>) => void,
    oversize: (bytes: Uint8Array) => void = (bytes) => emit(bytes.slice()),
  ) {
    this.#emit = emit;
    this.#oversize = oversize;
  }

  /** Takes a buffer (back). */
  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength === CHUNK_LENGTH) this.#free.push(buffer);
  }

  /** Whether `count` bytes could be written now, at most 4 less than `CHUNK_LENGTH`. */
  has(count: number): boolean {
    return this.bytes.length - this.length >= count || this.#free.length > 0;
  }

  /** Makes room for `count` bytes in one piece; `has` has said that there is. */
  reserve(count: number): void {
    if (this.bytes.length - this.length >= count) return;
    this.flush();
    const buffer = this.#free.pop();
    if (buffer === undefined) throw new RangeError('no buffer is free');
    this.bytes = new Uint8Array(buffer, BEGIN);
    this.view = new DataView(buffer, BEGIN);
  }

  /** Copies bytes to the end, however many. */
  readonly write: Sink = (bytes) => {
    if (bytes.length > ROOM || !this.has(bytes.length)) {
      this.flush();
      this.#oversize(bytes);
      return;
    }
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  };

  /** Hands on what has gathered. */
  flush(): void {
    if (this.length === 0) return;
    const full = this.bytes.subarray(0, this.length);
    this.bytes = new Uint8Array(0);
    this.view = new DataView(this.bytes.buffer);
    this.length = 0;
    this.#emit(full);
  }
}
