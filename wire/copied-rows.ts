import type { Column } from './carrier.ts';

/** Bytes of rows that are copied together when one of them is about to change. */
const BLOCK = 4096;

/** A column of a table: so many elements of it are one row. */
export interface RowColumn {
  readonly column: Column;
  readonly stride: number;
}

/**
 * Columns with a row each for the same things, and room for a copy of them that is made little by little while the table is in
 * use. Such a copy is of the instant at which it began, because whoever is about to change a row says so by `keep`, and a row
 * that is not copied yet is copied then. Without a copy under way that is a load and a branch.
 */
export class CopiedRows {
  readonly columns: readonly RowColumn[];
  /** The copy that is being made; null for none. */
  copy: RowsCopy | null = null;

  constructor(...columns: readonly RowColumn[]) {
    this.columns = columns;
  }

  /** A row is about to change. */
  keep(row: number): void {
    if (this.copy !== null) this.copy.keep(row);
  }
}

/** A copy that is being made of the first rows of a table, one column behind the other. */
export class RowsCopy {
  readonly #rows: CopiedRows;
  /** Rows of a block, which are copied together: 2 to the power of this. */
  readonly #shift: number;
  readonly #used: number;
  /** By block: 1 for those that are copied. */
  readonly #done: Uint8Array;
  /** All blocks before are copied. */
  #next = 0;
  readonly #sources: readonly { bytes: Uint8Array; size: number; to: number }[];
  readonly #target: Uint8Array;

  /**
   * @param used how many rows
   * @param at where in `target` the first column of the copy begins; each begins at the next multiple of 8
   * @param block bytes of rows that are copied together; a row at least
   */
  constructor(rows: CopiedRows, used: number, target: Uint8Array, at: number, block = BLOCK) {
    let to = at;
    this.#sources = rows.columns.map(({ column, stride }) => {
      const size = stride * column.BYTES_PER_ELEMENT;
      const source = { bytes: new Uint8Array(column.buffer, column.byteOffset, used * size), size, to };
      to += (used * size + 7) & ~7;
      return source;
    });
    const size = this.#sources.reduce((sum, source) => sum + source.size, 0);
    this.#rows = rows;
    this.#used = used;
    this.#shift = Math.max(0, Math.floor(Math.log2(block / size)));
    this.#done = new Uint8Array(((used - 1) >> this.#shift) + 1);
    this.#target = target;
  }

  /** A row is about to change: it is copied, with those around it, if it is not yet. */
  keep(row: number): void {
    const block = row >> this.#shift;
    if (block >= this.#done.length || this.#done[block] !== 0) return;
    this.#copy(block, block + 1);
  }

  /** Copies some of the rows that are not copied yet; false when all are, which ends the copy. */
  advance(blocks: number): boolean {
    const done = this.#done;
    const from = done.indexOf(0, this.#next);
    if (from < 0) {
      this.end();
      return false;
    }
    let to = from + 1;
    while (to < done.length && to - from < blocks && done[to] === 0) to++;
    this.#copy(from, to);
    this.#next = to;
    return true;
  }

  /** Whatever is copied by now: nothing more is. */
  end(): void {
    if (this.#rows.copy === this) this.#rows.copy = null;
  }

  #copy(from: number, to: number): void {
    const first = from << this.#shift;
    const last = Math.min(to << this.#shift, this.#used);
    for (const { bytes, size, to: at } of this.#sources) {
      this.#target.set(bytes.subarray(first * size, last * size), at + first * size);
    }
    this.#done.fill(1, from, to);
  }
}
