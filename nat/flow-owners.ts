/**
 * Who began how many flows, and which of them can be spared. An owner is the port by which a flow's first packet came in.
 * Flows that can be spared stand in a queue of their owner, the oldest first: a doubly linked list through two columns.
 */

import type { PortId } from '../switch/frame.ts';
import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';

const NONE = -1;
/** `previous` of the first row of a queue; 0 is a row that is in none. */
const FIRST = -1;

export class FlowOwners {
  /** By owner: flows that live. */
  #flows = new Int32Array(1024);
  /** By owner: first and last row of the queue, + 1, or 0; and how many are in it. */
  #oldest = new Int32Array(1024);
  #newest = new Int32Array(1024);
  #sparable = new Int32Array(1024);
  /** Owners from here on never had a flow. */
  #high = 0;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #links: CopiedRows;

  constructor(rows: number) {
    this.#next = new Int32Array(rows);
    this.#previous = new Int32Array(rows);
    this.#links = new CopiedRows({ column: this.#next, stride: 1 }, { column: this.#previous, stride: 1 });
  }

  /** @param rows that were ever in a queue: those below */
  carry(carrier: Carrier, rows: number): void {
    this.#flows = carrier.grown(this.#flows);
    this.#oldest = carrier.grown(this.#oldest);
    this.#newest = carrier.grown(this.#newest);
    this.#sparable = carrier.grown(this.#sparable);
    this.#high = carrier.number(this.#high);
    carrier.rows(this.#links, rows);
  }

  /** How many flows of the owner live. */
  flows(owner: PortId): number {
    return owner < this.#high ? this.#flows[owner] : 0;
  }

  /** Counts a new flow, which can be spared until `keep` is called. */
  add(row: number, owner: PortId): void {
    if (owner >= this.#high) this.#reach(owner);
    this.#flows[owner]++;
    this.spare(row, owner);
  }

  /** Forgets a flow. */
  remove(row: number, owner: PortId): void {
    this.#flows[owner]--;
    this.keep(row, owner);
  }

  /** Puts the row at the end of its owner's queue, if it is not in it. */
  spare(row: number, owner: PortId): void {
    if (this.#previous[row] !== 0) return;
    const last = this.#newest[owner];
    this.#links.keep(row);
    if (last !== 0) this.#links.keep(last - 1);
    this.#next[row] = 0;
    this.#previous[row] = last === 0 ? FIRST : last;
    if (last === 0) this.#oldest[owner] = row + 1;
    else this.#next[last - 1] = row + 1;
    this.#newest[owner] = row + 1;
    this.#sparable[owner]++;
  }

  /** Takes the row out of its owner's queue, if it is in it. */
  keep(row: number, owner: PortId): void {
    const previous = this.#previous[row];
    if (previous === 0) return;
    const next = this.#next[row];
    this.#links.keep(row);
    if (previous !== FIRST) this.#links.keep(previous - 1);
    if (next !== 0) this.#links.keep(next - 1);
    if (previous === FIRST) this.#oldest[owner] = next;
    else this.#next[previous - 1] = next;
    if (next === 0) this.#newest[owner] = previous === FIRST ? 0 : previous;
    else this.#previous[next - 1] = previous;
    this.#previous[row] = 0;
    this.#sparable[owner]--;
  }

  /** The oldest flow of the owner that can be spared, or -1. */
  oldest(owner: PortId): number {
    return owner < this.#high ? this.#oldest[owner] - 1 : NONE;
  }

  /** The oldest flow of the owner who has most that can be spared; -1 when nobody has any. */
  oldestOfMost(): number {
    const sparable = this.#sparable;
    let most = 0;
    for (let owner = 1; owner < this.#high; owner++) if (sparable[owner] > sparable[most]) most = owner;
    return this.oldest(most);
  }

  #reach(owner: PortId): void {
    this.#high = owner + 1;
    if (this.#high <= this.#flows.length) return;
    // A port that was added later; it happens once for each doubling of their number.
    const length = 2 ** Math.ceil(Math.log2(this.#high));
    this.#flows = grown(this.#flows, length);
    this.#oldest = grown(this.#oldest, length);
    this.#newest = grown(this.#newest, length);
    this.#sparable = grown(this.#sparable, length);
  }
}

function grown(from: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(length);
  to.set(from);
  return to;
}
