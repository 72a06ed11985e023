import type { Carrier, Column } from '../../wire/carrier.ts';
import { type CopiedRows, RowsCopy } from '../../wire/copied-rows.ts';
import type { Dataplane } from '../dataplane/dataplane.ts';
import { ItemWriter, type SavedTables, Tag } from './state-carrier.ts';
import { encodeValue } from './value.ts';

/** Bytes for what is copied at once, most often enough. */
const ITEMS = 1 << 20;
/**
 * What the last copy was written to first, for the next one: to write to memory that nobody has touched takes several times as
 * long.
 */
let spare: ItemWriter | null = null;

/** Blocks of rows, 4 KiB each, and elements of a list that are looked at without asking how late it is. */
const BLOCKS = 16;
const ELEMENTS = 32;

/**
 * A copy of all that a data plane knows at one instant, between two frames. What is small is copied at once, and the rows of large
 * tables little by little, by `advance`, while frames go on: whoever changes a row that is not copied yet copies it before
 * (`wire/copied-rows.ts`). There can be one of a data plane at a time.
 */
export class TableCopy {
  readonly #items: ItemWriter;
  /** What the items were when nothing else was left to do. */
  #written: Uint8Array<ArrayBuffer> | null = null;
  readonly #values: unknown[] = [];
  readonly #constants: string[] = [];
  /** Elements of the value that is next, in JSON. */
  #elements: string[] = [];
  readonly #rows: Uint8Array<ArrayBuffer>;
  readonly #parts: readonly RowsCopy[];
  /** Parts before are complete. */
  #part = 0;

  /**
   * @param forDigest whether details are left out, which may differ between two data planes that know the same
   * @param block bytes of rows that are copied together; 4 KiB when left out
   */
  constructor(
    dataplane: Dataplane,
    { forDigest = false, block }: { forDigest?: boolean; block?: number } = {},
  ) {
    const late: { rows: CopiedRows; used: number; at: number }[] = [];
    let size = 0;
    const items = spare ?? new ItemWriter(ITEMS);
    spare = null;
    items.length = 0;
    this.#items = items;
    const column = (tag: number, from: Column, used: number) => {
      items.column(tag, from.length, used, from.BYTES_PER_ELEMENT, 0);
      items.raw(new Uint8Array(from.buffer, from.byteOffset, used * from.BYTES_PER_ELEMENT));
    };
    const carrier: Carrier = {
      number: (value) => {
        items.number(value);
        return value;
      },
      detail: (value) => {
        if (!forDigest) items.number(value);
        return value;
      },
      column: (from, used = from.length) => column(Tag.COLUMN, from, used),
      rows: (rows, used) => {
        if (rows.copy !== null) throw new Error('a copy of the tables is being made already');
        if (used > 0) late.push({ rows, used, at: size });
        for (const { column: from, stride } of rows.columns) {
          const { BYTES_PER_ELEMENT: unit } = from;
          items.column(Tag.COLUMN, from.length, used * stride, unit, (size >> 2) + 1);
          size += (used * stride * unit + 7) & ~7;
        }
      },
      grown: (from) => {
        column(Tag.GROWN, from, from.length);
        return from;
      },
      plain: (value) => {
        items.json(encodeValue(value));
        return value;
      },
      constant: (value) => {
        items.reserve(2);
        items.words[items.length++] = Tag.CONSTANT;
        items.words[items.length++] = this.#values.push(value) - 1;
        return value;
      },
    };
    dataplane.carry(carrier, () => {
      throw new Error('a data plane that is copied keeps its devices');
    });
    // Not filled with zeros: of tens of megabytes that takes milliseconds, and all of it is written to.
    this.#rows = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
    this.#parts = late.map(({ rows, used, at }) => {
      rows.copy = new RowsCopy(rows, used, this.#rows, at, block);
      return rows.copy;
    });
  }

  /**
   * Goes on with the copy, between two frames; answers whether it is complete.
   * @param goesOn asked after each few 10 µs
   */
  advance(goesOn: () => boolean): boolean {
    do {
      if (!this.#copyRows() && !this.#writeConstant() && !this.#writeItems()) return true;
    } while (goesOn());
    return false;
  }

  /** The copy, all of it. */
  finish(): SavedTables {
    this.advance(() => true);
    return { items: this.#written!, rows: this.#rows, constants: this.#constants };
  }

  #copyRows(): boolean {
    for (; this.#part < this.#parts.length; this.#part++) {
      if (this.#parts[this.#part]!.advance(BLOCKS)) return true;
    }
    return false;
  }

  #writeItems(): boolean {
    if (this.#written !== null) return false;
    this.#written = this.#items.finish().slice();
    spare = this.#items;
    return true;
  }

  #writeConstant(): boolean {
    const value = this.#values[this.#constants.length];
    if (this.#constants.length === this.#values.length) return false;
    if (!Array.isArray(value)) {
      this.#constants.push(encodeValue(value));
      return true;
    }
    const elements = this.#elements;
    for (let i = 0; i < ELEMENTS && elements.length < value.length; i++) {
      elements.push(encodeValue(value[elements.length]));
    }
    if (elements.length === value.length) {
      this.#constants.push(`[${elements.join(',')}]`);
      this.#elements = [];
    }
    return true;
  }
}
