/** Rows in the order in which they were put there, once or several times. */
export class RowQueue {
  size = 0;
  readonly #rows: Int32Array;
  readonly #isQueued: (row: number) => boolean;
  #first = 0;

  /**
   * @param capacity more than there are rows
   * @param isQueued whether a row that is here is still meant
   */
  constructor(capacity: number, isQueued: (row: number) => boolean) {
    this.#rows = new Int32Array(capacity);
    this.#isQueued = isQueued;
  }

  push(row: number): void {
    if (this.size === this.#rows.length) this.#compact();
    let index = this.#first + this.size++;
    if (index >= this.#rows.length) index -= this.#rows.length;
    this.#rows[index] = row;
  }

  /** Takes the oldest; there is one. */
  shift(): number {
    const row = this.#rows[this.#first]!;
    if (++this.#first === this.#rows.length) this.#first = 0;
    this.size--;
    return row;
  }

  /** Takes out rows that went away, and all but the first of each row that came back. */
  #compact(): void {
    const rows = Array.from(
      { length: this.size },
      (_, i) => this.#rows[(this.#first + i) % this.#rows.length]!,
    );
    const kept = [...new Set(rows)].filter((row) => this.#isQueued(row));
    this.#rows.set(kept);
    this.#first = 0;
    this.size = kept.length;
  }
}
