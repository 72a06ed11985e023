import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';

/**
 * Timers of the rows of a table, one each: a wheel (Varghese and Lauck, 1987, scheme 6) of slots of 128 ms, each a doubly
 * linked list of rows through two columns. One wheel with as many slots as the longest timeout asks for, 256 KiB in all:
 * no second level whose slots would have to be poured out all at once, a pause of milliseconds every half minute.
 *
 * A timer fires when its slot has passed, never before its time and less than 128 ms after it, given that the owner calls
 * `pop` by the deadline. Times beyond the horizon fire at the horizon, and whoever finds that a row is not due yet
 * schedules it again. A refreshed row need not be touched here at all: it too is found not due when it fires.
 */

/** Milliseconds of a slot. */
export const TICK = 128;
/** Slots: a power of two. 2^16 are 8,388 s, more than the longest default timeout (7,440 s). */
const SLOTS = 65_536;
const MASK = SLOTS - 1;
const NONE = -1;
/** A tick that never comes. */
const NEVER = 2 ** 31 - 1;

export class TimerWheel {
  /** When `pop` is next worth calling, ms; Infinity while no row is scheduled. May be too early, never too late. */
  deadline = Number.POSITIVE_INFINITY;
  /** First row of each slot, + 1; 0 when it is empty, as memory comes. */
  readonly #first = new Int32Array(SLOTS);
  /** A bit for each slot that is not empty. */
  readonly #occupied = new Int32Array(SLOTS >> 5);
  /** Next row of the same slot, + 1; 0 in the last. */
  readonly #next: Int32Array;
  /** Row before, + 1; ~slot, which is negative, in the first; 0 in rows that are not scheduled. */
  readonly #previous: Int32Array;
  readonly #slots: CopiedRows;
  readonly #links: CopiedRows;
  #count = 0;
  /** All rows lie in ticks from here on, and before this + SLOTS. */
  #base = 0;
  /** No row lies in an earlier tick; NEVER when there is none. */
  #due = NEVER;

  constructor(rows: number) {
    this.#next = new Int32Array(rows);
    this.#previous = new Int32Array(rows);
    this.#slots = new CopiedRows({ column: this.#first, stride: 1 });
    this.#links = new CopiedRows({ column: this.#next, stride: 1 }, { column: this.#previous, stride: 1 });
  }

  /** @param rows that were ever scheduled: those below */
  carry(carrier: Carrier, rows: number): void {
    this.deadline = carrier.number(this.deadline);
    this.#count = carrier.number(this.#count);
    carrier.rows(this.#slots, this.#count === 0 ? 0 : SLOTS);
    carrier.column(this.#occupied);
    carrier.rows(this.#links, rows);
    this.#base = carrier.number(this.#base);
    this.#due = carrier.number(this.#due);
  }

  /** Lets `pop` return the row when `at` has come. The row must not be scheduled already. */
  schedule(row: number, at: number, now: number): void {
    const tick = Math.floor(now / TICK);
    if (this.#count++ === 0) this.#base = tick;
    else this.#base = Math.max(this.#base, Math.min(tick, this.#due));
    const when = Math.min(Math.max(Math.ceil(at / TICK), this.#base), this.#base + MASK);
    const slot = when & MASK;
    const next = this.#first[slot];
    this.#slots.keep(slot);
    this.#links.keep(row);
    if (next !== 0) this.#links.keep(next - 1);
    this.#first[slot] = row + 1;
    this.#next[row] = next;
    this.#previous[row] = ~slot;
    if (next === 0) this.#occupied[slot >> 5] |= 1 << (slot & 31);
    else this.#previous[next - 1] = row + 1;
    if (when < this.#due) this.#setDue(when);
  }

  /** Forgets the row, which must be scheduled. */
  cancel(row: number): void {
    const next = this.#next[row];
    const previous = this.#previous[row];
    this.#links.keep(row);
    if (next !== 0) {
      this.#links.keep(next - 1);
      this.#previous[next - 1] = previous;
    }
    if (previous > 0) {
      this.#links.keep(previous - 1);
      this.#next[previous - 1] = next;
    } else {
      const slot = ~previous;
      this.#slots.keep(slot);
      this.#first[slot] = next;
      if (next === 0) this.#occupied[slot >> 5] &= ~(1 << (slot & 31));
    }
    this.#previous[row] = 0;
    if (--this.#count === 0) this.#setDue(NEVER);
  }

  /** Takes out a row whose slot has passed, or -1 when there is none. Call it until then. */
  pop(now: number): number {
    const tick = Math.floor(now / TICK);
    while (this.#due <= tick) {
      const first = this.#first[this.#due & MASK];
      if (first !== 0) {
        this.cancel(first - 1);
        return first - 1;
      }
      this.#base = this.#due;
      this.#setDue(this.#base + this.#gap(this.#base & MASK));
    }
    return NONE;
  }

  /** How many slots from `from` on are empty; at least one in the wheel is not. */
  #gap(from: number): number {
    const occupied = this.#occupied;
    let at = from >> 5;
    let bits = occupied[at] & (-1 << (from & 31));
    while (bits === 0) {
      at = (at + 1) & (occupied.length - 1);
      bits = occupied[at];
    }
    const slot = (at << 5) + (31 - Math.clz32(bits & -bits));
    return (slot - from) & MASK;
  }

  #setDue(tick: number): void {
    this.#due = tick;
    this.deadline = tick === NEVER ? Number.POSITIVE_INFINITY : tick * TICK;
  }
}
