import type { Sink } from '../block-writer.ts';

/** Bytes of a chunk: what one write of a socket or file takes. */
export const CHUNK_LENGTH = 256 * 1024;

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
  readonly #emit: (buffer: ArrayBuffer, length: number) => void;
  readonly #free: ArrayBuffer[] = [];
  /** Longer than a buffer has room for: a block of the header with very many names, say. */
  readonly #oversize: (bytes: Uint8Array) => void;

  /**
   * @param emit given a full buffer, which belongs to it then
   * @param oversize given what is longer than a buffer, to be copied
   */
  constructor(
    emit: (buffer: ArrayBuffer, length: number) => void,
    oversize: (bytes: Uint8Array) => void = (bytes) => emit(bytes.slice().buffer, bytes.length),
  ) {
    this.#emit = emit;
    this.#oversize = oversize;
  }

  /** Takes a buffer (back). */
  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength === CHUNK_LENGTH) this.#free.push(buffer);
  }

  /** Whether `count` bytes could be written now, at most `CHUNK_LENGTH`. */
  has(count: number): boolean {
    return this.bytes.length - this.length >= count || this.#free.length > 0;
  }

  /** Makes room for `count` bytes in one piece; `has` has said that there is. */
  reserve(count: number): void {
    if (this.bytes.length - this.length >= count) return;
    this.flush();
    const buffer = this.#free.pop();
    if (buffer === undefined) throw new RangeError('no buffer is free');
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Copies bytes to the end, however many. */
  readonly write: Sink = (bytes) => {
    if (bytes.length > CHUNK_LENGTH || !this.has(bytes.length)) {
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
    const { buffer } = this.bytes;
    const { length } = this;
    this.bytes = new Uint8Array(0);
    this.view = new DataView(this.bytes.buffer);
    this.length = 0;
    this.#emit(buffer as ArrayBuffer, length);
  }
}
