/** Shorter than this a use is not noted again: rows are then kept in the order of their use at no cost per packet. */
const GRAIN = 1000;

/**
 * Rows in the order of their last use, each of which is over when it was not used for `idle` milliseconds. Up to a
 * second late, never early.
 */
export class IdleQueue {
  readonly #idle: number;
  readonly #used: Float64Array;
  /** Neighbors in the list, by row + 1; 0 is the list's own end. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #member: Uint8Array;

  constructor(capacity: number, idle: number) {
    this.#idle = idle;
    this.#used = new Float64Array(capacity + 1);
    this.#next = new Int32Array(capacity + 1);
    this.#previous = new Int32Array(capacity + 1);
    this.#member = new Uint8Array(capacity + 1);
  }

  /** When the oldest row is over, Infinity when there is none. */
  get deadline(): number {
    const first = this.#next[0]!;
    return first === 0 ? Number.POSITIVE_INFINITY : this.#used[first]! + this.#idle + GRAIN;
  }

  /** The row not used for longest, -1 for none. */
  get oldest(): number {
    return this.#next[0]! - 1;
  }

  has(row: number): boolean {
    return this.#member[row + 1] === 1;
  }

  /** When the row was last used, up to a second earlier. */
  lastUse(row: number): number {
    return this.#used[row + 1]!;
  }

  /** The row is used, and joins when it is not in. */
  touch(row: number, now: number): void {
    const node = row + 1;
    if (this.#member[node] === 1) {
      if (now - this.#used[node]! < GRAIN) return;
      this.#unlink(node);
    }
    this.#used[node] = now;
    this.#member[node] = 1;
    const last = this.#previous[0]!;
    this.#next[last] = node;
    this.#previous[node] = last;
    this.#next[node] = 0;
    this.#previous[0] = node;
  }

  remove(row: number): void {
    const node = row + 1;
    if (this.#member[node] === 0) return;
    this.#member[node] = 0;
    this.#unlink(node);
  }

  #unlink(node: number): void {
    const next = this.#next[node]!;
    const previous = this.#previous[node]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
  }
}
