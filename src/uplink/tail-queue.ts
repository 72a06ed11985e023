/**
 * Connections that have something under way, in the order in which they are to be looked at: all after the same time, so
 * that a ring is enough. The timer wheel's ticks are too coarse for it.
 */
export class TailQueue {
  /** When the first row is due, ms; Infinity when there is none. */
  deadline = Number.POSITIVE_INFINITY;
  readonly #rows: Int32Array;
  readonly #due: Float64Array;
  readonly #delay: number;
  #first = 0;
  #count = 0;

  /** @param delay milliseconds after which a row is due */
  constructor(capacity: number, delay: number) {
    this.#rows = new Int32Array(capacity);
    this.#due = new Float64Array(capacity);
    this.#delay = delay;
  }

  /** Adds a row, unless there is no room: it is then the retransmission timer's. */
  push(row: number, now: number): boolean {
    if (this.#count === this.#rows.length) return false;
    let index = this.#first + this.#count++;
    if (index >= this.#rows.length) index -= this.#rows.length;
    this.#rows[index] = row;
    this.#due[index] = now + this.#delay;
    if (this.#count === 1) this.deadline = now + this.#delay;
    return true;
  }

  /** Takes out the first row when it is due; -1 when none is. */
  pop(now: number): number {
    if (now < this.deadline) return -1;
    const row = this.#rows[this.#first]!;
    if (++this.#first === this.#rows.length) this.#first = 0;
    this.#count--;
    this.deadline = this.#count === 0 ? Number.POSITIVE_INFINITY : this.#due[this.#first]!;
    return row;
  }
}
