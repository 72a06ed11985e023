import type { Carrier, Column } from '../../wire/carrier.ts';
import type { CopiedRows } from '../../wire/copied-rows.ts';
import { decodeValue, encodeValue } from './value.ts';

/**
 * The state of tables as bytes: items that begin with a tag. Everything is a multiple of 8 bytes, so that columns can be read as
 * what they are.
 *
 * Tables are large and mostly empty: a column is written as runs, in units of its elements or of 4 bytes where these are
 * smaller. A run begins with an int32: n > 0 for n units that follow, n < 0 for -n times the one that follows. That takes
 * time, so that a copy of a data plane at work (`table-copy.ts`) has columns as they are instead, and those parts that were copied
 * later in places of their own.
 */
export interface SavedTables {
  readonly items: Uint8Array<ArrayBuffer>;
  /** Where items say that a column is in here. */
  readonly rows: Uint8Array<ArrayBuffer>;
  /** JSON (`value.ts`), where items say so. */
  readonly constants: readonly string[];
}

/** As many equal units in a row make a run of their own. */
const WORTHWHILE = 4;

export const Tag = { NUMBER: 1, COLUMN: 2, GROWN: 3, PLAIN: 4, CONSTANT: 5 } as const;

// Words of a column's item behind its tag.
export const COLUMN_LENGTH = 1;
export const COLUMN_USED = 2;
/**
 * How elements follow: 0 for runs, otherwise the bytes of an element. The word behind is 0 when they follow at once, or else where in
 * `SavedTables.rows` they are, in words, + 1.
 */
export const COLUMN_UNIT = 3;
export const COLUMN_PLACE = 4;
export const COLUMN_WORDS = 6;

/** Bytes that grow, to write items into. */
export class ItemWriter {
  bytes: Uint8Array<ArrayBuffer>;
  words: Int32Array;
  /** In words of 4 bytes. */
  length = 0;
  #doubles: Float64Array;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.words = new Int32Array(this.bytes.buffer);
    this.#doubles = new Float64Array(this.bytes.buffer);
  }

  /** What was written until now; the writer is not to be used any more. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, 4 * this.length);
  }

  number(value: number): void {
    this.reserve(4);
    this.words[this.length] = Tag.NUMBER;
    this.words[this.length + 1] = 0;
    this.#doubles[(this.length >> 1) + 1] = value;
    this.length += 4;
  }

  /** Plain values as JSON. */
  json(json: string): void {
    const text = new TextEncoder().encode(json);
    const words = (text.length + 3) >> 2;
    this.reserve(words + 4);
    this.words[this.length++] = Tag.PLAIN;
    this.words[this.length++] = text.length;
    this.bytes.set(text, 4 * this.length);
    this.bytes.fill(0, 4 * this.length + text.length, 4 * (this.length + words));
    this.length += words;
    this.align();
  }

  /** The beginning of a column's item. */
  column(tag: number, length: number, used: number, unit: number, place: number): void {
    this.reserve(COLUMN_WORDS);
    const at = this.length;
    this.words[at] = tag;
    this.words[at + COLUMN_LENGTH] = length;
    this.words[at + COLUMN_USED] = used;
    this.words[at + COLUMN_UNIT] = unit;
    this.words[at + COLUMN_PLACE] = place;
    this.words[at + COLUMN_PLACE + 1] = 0;
    this.length += COLUMN_WORDS;
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.reserve((bytes.length >> 2) + 2);
    this.bytes.set(bytes, 4 * this.length);
    this.length += (bytes.length + 3) >> 2;
    this.align();
  }

  /** The elements of a column as runs. `unit`, the bytes of an element, divides both `from` and `size`. */
  runs(buffer: ArrayBufferLike, from: number, size: number, unit: number): void {
    if (unit === 8) this.#runs8(new Int32Array(buffer, from, size >> 2));
    else if (from % 4 === 0) this.#runs4(buffer, from, size);
    else {
      // Bytes of a frame, which may lie anywhere.
      const copy = new Uint8Array((size + 3) & ~3);
      copy.set(new Uint8Array(buffer, from, size));
      this.#runs4(copy.buffer, 0, size);
    }
    this.align();
  }

  /** To a multiple of 8 bytes. */
  align(): void {
    this.reserve(1);
    if ((this.length & 1) !== 0) this.words[this.length++] = 0;
  }

  reserve(words: number): void {
    const needed = 4 * (this.length + words + 4);
    if (needed <= this.bytes.length) return;
    const bytes = new Uint8Array(2 * needed);
    bytes.set(this.bytes.subarray(0, 4 * this.length));
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer);
    this.#doubles = new Float64Array(bytes.buffer);
  }

  #runs4(buffer: ArrayBufferLike, begin: number, size: number): void {
    const words = new Int32Array(buffer, begin, size >> 2);
    for (let at = 0; at < words.length; ) {
      const end = endOfRun(words, at);
      if (end - at >= WORTHWHILE) {
        this.reserve(2);
        this.words[this.length++] = at - end;
        this.words[this.length++] = words[at]!;
        at = end;
        continue;
      }
      const from = at;
      for (let next = end; at < words.length; next = endOfRun(words, at)) {
        if (next - at >= WORTHWHILE) break;
        at = next;
      }
      this.reserve(1 + at - from);
      this.words[this.length++] = at - from;
      this.words.set(words.subarray(from, at), this.length);
      this.length += at - from;
    }
    const rest = size & 3;
    if (rest === 0) return;
    this.reserve(1);
    this.bytes.set(new Uint8Array(buffer, begin + (size & ~3), rest), 4 * this.length++);
  }

  /** Doubles, compared as bits: -0 is not 0, and not a number is itself. */
  #runs8(words: Int32Array): void {
    for (let at = 0; at < words.length; ) {
      const end = endOfRun8(words, at);
      this.align();
      this.reserve(4);
      if (end - at >= 2 * WORTHWHILE) {
        this.words[this.length++] = (at - end) / 2;
        this.length++;
        this.words[this.length++] = words[at]!;
        this.words[this.length++] = words[at + 1]!;
        at = end;
        continue;
      }
      const from = at;
      for (let next = end; at < words.length; next = endOfRun8(words, at)) {
        if (next - at >= 2 * WORTHWHILE) break;
        at = next;
      }
      this.reserve(2 + at - from);
      this.words[this.length++] = (at - from) / 2;
      this.length++;
      this.words.set(words.subarray(from, at), this.length);
      this.length += at - from;
    }
  }
}

/** Carries state away, into bytes. */
export class StateWriter implements Carrier {
  readonly #forDigest: boolean;
  readonly #items = new ItemWriter(1 << 20);

  /** @param forDigest whether details are left out, which may differ between two data planes that know the same */
  constructor(forDigest = false) {
    this.#forDigest = forDigest;
  }

  /** What was carried until now; the writer is not to be used any more. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#items.finish();
  }

  number(value: number): number {
    this.#items.number(value);
    return value;
  }

  detail(value: number): number {
    if (!this.#forDigest) this.#items.number(value);
    return value;
  }

  column(column: Column, used = column.length): void {
    this.#column(Tag.COLUMN, column, used);
  }

  rows({ columns }: CopiedRows, used: number): void {
    for (const { column, stride } of columns) this.column(column, used * stride);
  }

  grown<T extends Column>(column: T): T {
    this.#column(Tag.GROWN, column, column.length);
    return column;
  }

  plain<T>(value: T): T {
    this.#items.json(encodeValue(value));
    return value;
  }

  constant<T>(value: T): T {
    return this.plain(value);
  }

  #column(tag: number, column: Column, used: number): void {
    const unit = column.BYTES_PER_ELEMENT;
    this.#items.column(tag, column.length, used, 0, 0);
    this.#items.runs(column.buffer, column.byteOffset, used * unit, unit);
  }
}

/** A copy as a `StateWriter` writes it. */
export function packTables({ items, rows, constants }: SavedTables): Uint8Array<ArrayBuffer> {
  const packed = new ItemWriter(1 << 20);
  const words = new Int32Array(items.buffer, items.byteOffset, items.length >> 2);
  const doubles = new Float64Array(items.buffer, items.byteOffset, items.length >> 3);
  for (let at = 0; at < words.length; at += at & 1) {
    switch (words[at]) {
      case Tag.NUMBER:
        packed.number(doubles[(at >> 1) + 1]!);
        at += 4;
        break;
      case Tag.PLAIN: {
        const end = at + 2 + ((words[at + 1]! + 3) >> 2);
        packed.raw(items.subarray(4 * at, 4 * end));
        at = end;
        break;
      }
      case Tag.CONSTANT:
        packed.json(constants[words[at + 1]!]!);
        at += 2;
        break;
      default: {
        const [length, used, unit, place] = words.subarray(
          at + COLUMN_LENGTH,
          at + COLUMN_WORDS,
        ) as unknown as [number, number, number, number];
        packed.column(words[at]!, length, used, 0, 0);
        at += COLUMN_WORDS;
        const size = used * unit;
        if (place > 0) packed.runs(rows.buffer, rows.byteOffset + 4 * (place - 1), size, unit);
        else {
          packed.runs(items.buffer, items.byteOffset + 4 * at, size, unit);
          at += (size + 3) >> 2;
        }
      }
    }
  }
  return packed.finish();
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
  readonly #rows: Uint8Array;
  readonly #constants: readonly string[];
  #at = 0;

  /** @param state what was written into bytes, or copied */
  constructor(state: Uint8Array | SavedTables) {
    const { items, rows, constants } =
      state instanceof Uint8Array ? { items: state, rows: new Uint8Array(), constants: [] } : state;
    this.#rows = rows;
    this.#constants = constants;
    this.#bytes = new Uint8Array((items.length + 7) & ~7);
    this.#bytes.set(items);
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
    if (this.#words[this.#at + COLUMN_LENGTH] !== column.length) this.#fail();
    // Where it follows from another field how much is in use, that field was carried before.
    if (this.#words[this.#at + COLUMN_USED] !== used) this.#fail();
    this.#read(column, used);
  }

  rows({ columns }: CopiedRows, used: number): void {
    for (const { column, stride } of columns) this.column(column, used * stride);
  }

  grown<T extends Column>(column: T): T {
    this.#expect(Tag.GROWN);
    const length = this.#words[this.#at + COLUMN_LENGTH]!;
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
    return this.#value(new TextDecoder().decode(this.#bytes.subarray(from, from + length)));
  }

  constant<T>(): T {
    if (this.#words[this.#at] !== Tag.CONSTANT) return this.plain();
    const json = this.#constants[this.#words[this.#at + 1]!] ?? this.#fail();
    this.#at += 2;
    return this.#value(json);
  }

  #value<T>(json: string): T {
    try {
      return decodeValue(json) as T;
    } catch {
      this.#fail();
    }
  }

  #read(column: Column, used: number): void {
    const size = used * column.BYTES_PER_ELEMENT;
    const bytes = new Uint8Array(column.buffer, column.byteOffset, size);
    const unit = this.#words[this.#at + COLUMN_UNIT]!;
    const place = this.#words[this.#at + COLUMN_PLACE]!;
    this.#at += COLUMN_WORDS;
    if (unit !== 0) {
      const source = place > 0 ? this.#rows : this.#bytes;
      const from = 4 * (place > 0 ? place - 1 : this.#at);
      if (unit !== column.BYTES_PER_ELEMENT || from + size > source.length) this.#fail();
      bytes.set(source.subarray(from, from + size));
      if (place === 0) this.#at += (size + 3) >> 2;
    } else if (column.BYTES_PER_ELEMENT === 8) this.#runs(bytes, 8);
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
