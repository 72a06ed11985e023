import type { Carrier, Column } from '../../wire/carrier.ts';
import { decodeValue, encodeValue } from './value.ts';

/**
 * The state of tables as bytes. Tables are large and mostly empty: a column is written as runs, in units of its elements or
 * of 4 bytes where these are smaller. A run begins with an int32: n > 0 for n units that follow, n < 0 for -n times the one
 * that follows. Everything is a multiple of 8 bytes, so that columns can be read as what they are.
 */

/** As many equal units in a row make a run of their own. */
const WORTHWHILE = 4;

const Tag = { NUMBER: 1, COLUMN: 2, GROWN: 3, PLAIN: 4 } as const;

/** Carries state away, into bytes. */
export class StateWriter implements Carrier {
  readonly #forDigest: boolean;
  #bytes = new Uint8Array(1 << 20);
  #words = new Int32Array(this.#bytes.buffer);
  #doubles = new Float64Array(this.#bytes.buffer);
  /** In words of 4 bytes. */
  #length = 0;

  /** @param forDigest whether details are left out, which may differ between two data planes that know the same */
  constructor(forDigest = false) {
    this.#forDigest = forDigest;
  }

  /** What was carried until now; the writer is not to be used any more. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, 4 * this.#length);
  }

  number(value: number): number {
    this.#reserve(4);
    this.#words[this.#length] = Tag.NUMBER;
    this.#words[this.#length + 1] = 0;
    this.#doubles[(this.#length >> 1) + 1] = value;
    this.#length += 4;
    return value;
  }

  detail(value: number): number {
    if (!this.#forDigest) this.number(value);
    return value;
  }

  column(column: Column, used = column.length): void {
    this.#column(Tag.COLUMN, column, used);
  }

  grown<T extends Column>(column: T): T {
    this.#column(Tag.GROWN, column, column.length);
    return column;
  }

  plain<T>(value: T): T {
    const text = new TextEncoder().encode(encodeValue(value));
    const words = (text.length + 3) >> 2;
    this.#reserve(words + 4);
    this.#words[this.#length++] = Tag.PLAIN;
    this.#words[this.#length++] = text.length;
    this.#bytes.set(text, 4 * this.#length);
    this.#bytes.fill(0, 4 * this.#length + text.length, 4 * (this.#length + words));
    this.#length += words;
    this.#align();
    return value;
  }

  #column(tag: number, column: Column, used: number): void {
    this.#reserve(4);
    this.#words[this.#length++] = tag;
    this.#words[this.#length++] = column.length;
    this.#words[this.#length++] = used;
    this.#length++;
    const size = used * column.BYTES_PER_ELEMENT;
    const from = column.byteOffset;
    if (column.BYTES_PER_ELEMENT === 8) this.#runs8(new Float64Array(column.buffer, from, used));
    else if (from % 4 === 0) {
      this.#runs4(new Int32Array(column.buffer, from, size >> 2));
      this.#tail(new Uint8Array(column.buffer, from + (size & ~3), size & 3));
    } else {
      // Bytes of a frame, which may lie anywhere.
      const copy = new Uint8Array((size + 3) & ~3);
      copy.set(new Uint8Array(column.buffer, from, size));
      this.#runs4(new Int32Array(copy.buffer, 0, size >> 2));
      this.#tail(copy.subarray(size & ~3, size));
    }
    this.#align();
  }

  #runs4(words: Int32Array): void {
    for (let at = 0; at < words.length; ) {
      const end = endOfRun(words, at);
      if (end - at >= WORTHWHILE) {
        this.#reserve(2);
        this.#words[this.#length++] = at - end;
        this.#words[this.#length++] = words[at]!;
        at = end;
        continue;
      }
      const from = at;
      for (let next = end; at < words.length; next = endOfRun(words, at)) {
        if (next - at >= WORTHWHILE) break;
        at = next;
      }
      this.#reserve(1 + at - from);
      this.#words[this.#length++] = at - from;
      this.#words.set(words.subarray(from, at), this.#length);
      this.#length += at - from;
    }
  }

  /** Compared as bits: -0 is not 0, and not a number is itself. */
  #runs8(doubles: Float64Array): void {
    const words = new Int32Array(doubles.buffer, doubles.byteOffset, 2 * doubles.length);
    for (let at = 0; at < words.length; ) {
      const end = endOfRun8(words, at);
      this.#align();
      this.#reserve(4);
      if (end - at >= 2 * WORTHWHILE) {
        this.#words[this.#length++] = (at - end) / 2;
        this.#length++;
        this.#words[this.#length++] = words[at]!;
        this.#words[this.#length++] = words[at + 1]!;
        at = end;
        continue;
      }
      const from = at;
      for (let next = end; at < words.length; next = endOfRun8(words, at)) {
        if (next - at >= 2 * WORTHWHILE) break;
        at = next;
      }
      this.#reserve(2 + at - from);
      this.#words[this.#length++] = (at - from) / 2;
      this.#length++;
      this.#words.set(words.subarray(from, at), this.#length);
      this.#length += at - from;
    }
  }

  #tail(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#reserve(1);
    this.#bytes.set(bytes, 4 * this.#length++);
  }

  /** Memory that was not written to is zero. */
  #align(): void {
    this.#reserve(1);
    this.#length += this.#length & 1;
  }

  #reserve(words: number): void {
    const needed = 4 * (this.#length + words + 4);
    if (needed <= this.#bytes.length) return;
    const bytes = new Uint8Array(2 * needed);
    bytes.set(this.#bytes.subarray(0, 4 * this.#length));
    this.#bytes = bytes;
    this.#words = new Int32Array(bytes.buffer);
    this.#doubles = new Float64Array(bytes.buffer);
  }
}

function endOfRun(words: Int32Array, at: number): number {
  const word = words[at];
  let end = at + 1;
  while (end < words.length && words[end] === word) end++;
  return end;
}

function endOfRun8(words: Int32Array, at: number): number {
  const low = words[at];
  const high = words[at + 1];
  let end = at + 2;
  while (end < words.length && words[end] === low && words[end + 1] === high) end += 2;
  return end;
}

/** The state is none of the tables that it is to go into. */
export class StateError extends Error {
  override name = 'StateError';
}

/** Carries state back, into new tables. Throws StateError. */
export class StateReader implements Carrier {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  #at = 0;

  constructor(state: Uint8Array) {
    this.#bytes = new Uint8Array((state.length + 7) & ~7);
    this.#bytes.set(state);
    this.#words = new Int32Array(this.#bytes.buffer);
    this.#doubles = new Float64Array(this.#bytes.buffer);
  }

  number(): number {
    this.#expect(Tag.NUMBER);
    const value = this.#doubles[(this.#at >> 1) + 1]!;
    this.#at += 4;
    return value;
  }

  detail(): number {
    return this.number();
  }

  column(column: Column, used = column.length): void {
    this.#expect(Tag.COLUMN);
    if (this.#words[this.#at + 1] !== column.length) this.#fail();
    // Where it follows from another field how much is in use, that field was carried before.
    if (this.#words[this.#at + 2] !== used) this.#fail();
    this.#read(column, used);
  }

  grown<T extends Column>(column: T): T {
    this.#expect(Tag.GROWN);
    const length = this.#words[this.#at + 1]!;
    if (length < 0 || length > 1 << 28) this.#fail();
    const grown = new (column.constructor as new (length: number) => T)(length);
    this.#read(grown, length);
    return grown;
  }

  plain<T>(): T {
    this.#expect(Tag.PLAIN);
    const length = this.#words[this.#at + 1]!;
    const from = 4 * (this.#at + 2);
    if (length < 0 || from + length > this.#bytes.length) this.#fail();
    this.#at += 2 + ((length + 3) >> 2);
    this.#at += this.#at & 1;
    try {
      return decodeValue(new TextDecoder().decode(this.#bytes.subarray(from, from + length))) as T;
    } catch {
      this.#fail();
    }
  }

  #read(column: Column, used: number): void {
    this.#at += 4;
    const size = used * column.BYTES_PER_ELEMENT;
    const bytes = new Uint8Array(column.buffer, column.byteOffset, size);
    if (column.BYTES_PER_ELEMENT === 8) this.#runs(bytes, 8);
    else {
      this.#runs(bytes.subarray(0, size & ~3), 4);
      const rest = size & 3;
      if (rest > 0) bytes.set(this.#bytes.subarray(4 * this.#at, 4 * this.#at++ + rest), size & ~3);
    }
    this.#at += this.#at & 1;
  }

  /** Fills `bytes` from runs of units of `unit` bytes. */
  #runs(bytes: Uint8Array, unit: 4 | 8): void {
    const words = unit >> 2;
    for (let at = 0; at < bytes.length; ) {
      if (unit === 8) this.#at += this.#at & 1;
      const count = this.#words[this.#at];
      if (count === undefined || count === 0) this.#fail();
      this.#at += words;
      const size = Math.abs(count) * unit;
      const from = 4 * this.#at;
      if (at + size > bytes.length || from + (count > 0 ? size : unit) > this.#bytes.length) this.#fail();
      if (count > 0) bytes.set(this.#bytes.subarray(from, from + size), at);
      else {
        bytes.set(this.#bytes.subarray(from, from + unit), at);
        for (let done = unit; done < size; done *= 2) {
          bytes.copyWithin(at + done, at, at + Math.min(done, size - done));
        }
      }
      this.#at += count > 0 ? count * words : words;
      at += size;
    }
  }

  #expect(tag: number): void {
    if (this.#words[this.#at] !== tag) this.#fail();
  }

  #fail(): never {
    throw new StateError('the tables in it are of another version');
  }
}
