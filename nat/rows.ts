import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';

/**
 * The rows of a table, `stride` words each, named by small integers: those that were given back are taken first, and fresh
 * ones cost no memory before they are used. Chains through them name a row by its number + 1, so that 0 is the end.
 */
export class Rows {
  readonly words: Int32Array;
  /** Who is about to change a row that is taken says so by `copied.keep`. */
  readonly copied: CopiedRows;
  /** Rows that are taken. */
  size = 0;
  /** Rows from here on were never taken. */
  high = 0;
  readonly #stride: number;
  readonly #link: number;
  /** First free row + 1, or 0. */
  #free = 0;

  /** @param link the word of a free row that has the next one + 1, or 0 */
  constructor(capacity: number, stride: number, link: number) {
    this.words = new Int32Array(capacity * stride);
    this.copied = new CopiedRows({ column: this.words, stride });
    this.#stride = stride;
    this.#link = link;
  }

  carry(carrier: Carrier): void {
    this.size = carrier.number(this.size);
    this.high = carrier.number(this.high);
    this.#free = carrier.number(this.#free);
    carrier.rows(this.copied, this.high);
  }

  /** A free row, with whatever it had before; the caller has made sure that there is one. */
  take(): number {
    this.size++;
    if (this.#free === 0) return this.high++;
    const row = this.#free - 1;
    this.copied.keep(row);
    this.#free = this.words[row * this.#stride + this.#link]!;
    return row;
  }

  give(row: number): void {
    this.copied.keep(row);
    this.words[row * this.#stride + this.#link] = this.#free;
    this.#free = row + 1;
    this.size--;
  }
}
