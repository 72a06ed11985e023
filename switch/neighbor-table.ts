import { type Carrier, carryMap } from '../wire/carrier.ts';
import { type HashKey, hash2, hash4 } from '../wire/hash.ts';

/** States of a neighbor: Linux's NUD states, which are RFC 4861's (§7.3.2) and serve ARP as well. */
export const NeighborState = {
  /** Asked for; frames wait. */
  INCOMPLETE: 0,
  /** Confirmed within the last `reachableTime`. */
  REACHABLE: 1,
  /** Not confirmed for longer, and not used since. */
  STALE: 2,
  /** Used while stale; given some time before it is asked. */
  DELAY: 3,
  /** Being asked whether it is still there. */
  PROBE: 4,
  /** Did not answer. */
  FAILED: 5,
  /** Entered by the control plane; never asked, never changed by what is heard. */
  PERMANENT: 6,
} as const;
export type NeighborState = (typeof NeighborState)[keyof typeof NeighborState];

const STATE_NAMES = Object.keys(NeighborState);

/** One neighbor, as listed for people and programs. */
export interface NeighborEntry {
  network: number;
  family: 4 | 6;
  /** IPv4: one int32 word; IPv6: four. */
  address: readonly number[];
  /** A name of `NeighborState`. */
  state: string;
  /** null while unresolved. */
  mac: { hi: number; lo: number } | null;
  /** Milliseconds since the entry was last confirmed; 0 for permanent ones and those never confirmed. */
  age: number;
}

// Words of a row: `rows[row * STRIDE + MAC_HI]`.
/** Network << 1 | IPv6, or -1 in a free row. */
export const KEY = 0;
/** The address; IPv4 has one word, the others are 0. */
export const W0 = 1;
export const MAC_HI = 5;
export const MAC_LO = 6;
export const STATE = 7;
/** Requests sent since the question was put. */
export const REQUESTS = 8;
/** Index among the questions in INCOMPLETE, DELAY and PROBE, else NONE. */
export const QUESTION = 9;
/** Queue of waiting frames in INCOMPLETE, else NONE. */
export const QUEUE = 10;
/** Next row of the same bucket, or NONE; next free row in a free one. */
const NEXT = 11;
export const STRIDE = 12;

/** Places for rows found lately, a power of two. */
const RECENT = 1024;

export const NONE = -1;
const FREE = -1;
const NEVER = Number.NEGATIVE_INFINITY;

/** Milliseconds of disuse after which a stale entry may make room for another (Linux's `gc_stale_time`). */
const GC_STALE = 60_000;
/** Rows looked at in search of one that may make room. */
const GC_STEPS = 32;

/**
 * The rows of the neighbor table: (network, IP address) → MAC, state, times. Chained hash over typed arrays with a keyed
 * hash, as the fdb. What the states mean and when they change is the business of `Neighbors`.
 *
 * Learned entries are limited per network and in all. Permanent entries are no part of that and make the table grow, so
 * that the room of learned ones, which are made on the packet path, is always there.
 */
export class NeighborTable {
  rows: Int32Array;
  /** When the address was last confirmed, and last used by us; -Infinity for never. */
  confirmed: Float64Array;
  used: Float64Array;
  /** Rows from here on were never used. */
  high = 0;
  readonly #key0: number;
  readonly #key1: number;
  readonly #capacity: number;
  readonly #networkLimit: number;
  #buckets: Int32Array;
  /**
   * Rows found lately, by a few bits of the address: most packets go where those just before them went, and need no keyed
   * hash. Who makes two addresses meet here costs them that hash, no more.
   */
  readonly #recent = new Int32Array(RECENT);
  #freeRow = NONE;
  #permanent = 0;
  #learned = 0;
  readonly #networkLearned = new Map<number, number>();
  /** Where the search for an entry that may make room goes on. */
  #hand = 0;

  /**
   * @param capacity learned entries of all networks together
   * @param networkLimit learned entries of one network
   */
  constructor(key: HashKey, capacity: number, networkLimit: number) {
    this.#key0 = key[0];
    this.#key1 = key[1];
    this.#capacity = capacity;
    this.#networkLimit = networkLimit;
    const rows = 2 ** Math.ceil(Math.log2(capacity));
    this.rows = new Int32Array(rows * STRIDE);
    this.rows[KEY] = FREE;
    this.confirmed = new Float64Array(rows);
    this.used = new Float64Array(rows);
    this.#buckets = new Int32Array(rows * 2).fill(NONE);
  }

  carry(carrier: Carrier): void {
    this.rows = carrier.grown(this.rows);
    this.confirmed = carrier.grown(this.confirmed);
    this.used = carrier.grown(this.used);
    this.high = carrier.number(this.high);
    this.#buckets = carrier.grown(this.#buckets);
    this.#freeRow = carrier.number(this.#freeRow);
    this.#permanent = carrier.number(this.#permanent);
    this.#learned = carrier.number(this.#learned);
    carryMap(carrier, this.#networkLearned);
    this.#hand = carrier.number(this.#hand);
  }

  /** Entries of all kinds. */
  get size(): number {
    return this.#learned + this.#permanent;
  }

  /** The row of an address, or NONE. */
  findIpv4(network: number, address: number): number {
    const key = network << 1;
    const recent = (key ^ address ^ (address >>> 10)) & (RECENT - 1);
    const row = this.#recent[recent];
    if (this.#isIpv4(row, key, address)) return row;
    for (let other = this.#buckets[this.#bucket(key, address, 0, 0, 0)]; other !== NONE; ) {
      if (this.#isIpv4(other, key, address)) {
        this.#recent[recent] = other;
        return other;
      }
      other = this.rows[other * STRIDE + NEXT];
    }
    return NONE;
  }

  /** The row of an address, or NONE. */
  findIpv6(network: number, w0: number, w1: number, w2: number, w3: number): number {
    const key = (network << 1) | 1;
    const recent = (key ^ w1 ^ w3 ^ (w3 >>> 10)) & (RECENT - 1);
    const row = this.#recent[recent];
    if (this.#isIpv6(row, key, w0, w1, w2, w3)) return row;
    for (let other = this.#buckets[this.#bucket(key, w0, w1, w2, w3)]; other !== NONE; ) {
      if (this.#isIpv6(other, key, w0, w1, w2, w3)) {
        this.#recent[recent] = other;
        return other;
      }
      other = this.rows[other * STRIDE + NEXT];
    }
    return NONE;
  }

  #isIpv4(row: number, key: number, address: number): boolean {
    const at = row * STRIDE;
    return this.rows[at + W0] === address && this.rows[at + KEY] === key;
  }

  #isIpv6(row: number, key: number, w0: number, w1: number, w2: number, w3: number): boolean {
    const rows = this.rows;
    const at = row * STRIDE;
    return (
      rows[at + W0 + 3] === w3 &&
      rows[at + W0 + 2] === w2 &&
      rows[at + W0 + 1] === w1 &&
      rows[at + W0] === w0 &&
      rows[at + KEY] === key
    );
  }

  /** The row of an address of one word or four, or NONE. */
  find(network: number, address: readonly number[]): number {
    if (address.length === 1) return this.findIpv4(network, address[0]);
    return this.findIpv6(network, address[0], address[1], address[2], address[3]);
  }

  /** Whether the row is in use and belongs to the network. */
  isOf(row: number, network: number): boolean {
    const key = this.rows[row * STRIDE + KEY];
    return key !== FREE && key >> 1 === network;
  }

  /**
   * A row for an entry that is learned, with state and MAC still to be written; NONE when there is no room.
   * @param reachableTime as in `Neighbors`: what was confirmed longer ago is stale
   */
  learn(
    key: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    reachableTime: number,
    now: number,
  ): number {
    const network = key >> 1;
    const crowded = (this.#networkLearned.get(network) ?? 0) >= this.#networkLimit;
    if (crowded || this.#learned >= this.#capacity) {
      if (!this.#makeRoom(crowded ? network : NONE, reachableTime, now)) return NONE;
    }
    this.#learned++;
    this.#count(network, 1);
    return this.#insert(key, w0, w1, w2, w3);
  }

  /** The row of a permanent entry, made or changed into one, with its MAC still to be written. */
  permanent(network: number, address: readonly number[]): number {
    let row = this.find(network, address);
    if (row !== NONE && this.rows[row * STRIDE + STATE] === NeighborState.PERMANENT) return row;
    this.#permanent++;
    if (row !== NONE) {
      this.#learned--;
      this.#count(network, -1);
    } else {
      if (this.#capacity + this.#permanent > this.confirmed.length) this.#grow();
      const [w0, w1 = 0, w2 = 0, w3 = 0] = address as [number, number?, number?, number?];
      row = this.#insert((network << 1) | (address.length === 4 ? 1 : 0), w0, w1, w2, w3);
    }
    this.rows[row * STRIDE + STATE] = NeighborState.PERMANENT;
    return row;
  }

  /** Frees a row that has neither a question nor a queue. */
  remove(row: number): void {
    const rows = this.rows;
    const at = row * STRIDE;
    const bucket = this.#bucketOf(row);
    if (this.#buckets[bucket] === row) this.#buckets[bucket] = rows[at + NEXT];
    else {
      let before = this.#buckets[bucket];
      while (rows[before * STRIDE + NEXT] !== row) before = rows[before * STRIDE + NEXT];
      rows[before * STRIDE + NEXT] = rows[at + NEXT];
    }
    if (rows[at + STATE] === NeighborState.PERMANENT) this.#permanent--;
    else {
      this.#learned--;
      this.#count(rows[at + KEY] >> 1, -1);
    }
    rows[at + KEY] = FREE;
    rows[at + NEXT] = this.#freeRow;
    this.#freeRow = row;
  }

  /** All entries, in no order that means anything. */
  list(reachableTime: number, now: number): NeighborEntry[] {
    const rows = this.rows;
    const entries: NeighborEntry[] = [];
    for (let row = 0; row < this.high; row++) {
      const at = row * STRIDE;
      const key = rows[at + KEY];
      if (key === FREE) continue;
      const since = now - this.confirmed[row];
      const aged = rows[at + STATE] === NeighborState.REACHABLE && since >= reachableTime;
      const state = aged ? NeighborState.STALE : rows[at + STATE];
      const unresolved = state === NeighborState.INCOMPLETE || state === NeighborState.FAILED;
      entries.push({
        network: key >> 1,
        family: key & 1 ? 6 : 4,
        address: Array.from(rows.subarray(at + W0, at + W0 + (key & 1 ? 4 : 1))),
        state: STATE_NAMES[state],
        mac: unresolved ? null : { hi: rows[at + MAC_HI], lo: rows[at + MAC_LO] },
        age: Number.isFinite(since) ? since : 0,
      });
    }
    return entries;
  }

  /**
   * Removes one entry (of one network, or of any) that failed or was not used for a minute. Looks at a few rows only:
   * whoever fills the table must not make every frame walk through it.
   */
  #makeRoom(network: number, reachableTime: number, now: number): boolean {
    const rows = this.rows;
    for (let step = 0; step < GC_STEPS; step++) {
      this.#hand = this.#hand + 1 < this.high ? this.#hand + 1 : 0;
      const row = this.#hand;
      const at = row * STRIDE;
      if (rows[at + KEY] === FREE || (network !== NONE && rows[at + KEY] >> 1 !== network)) continue;
      const state = rows[at + STATE];
      const stale =
        state === NeighborState.STALE ||
        (state === NeighborState.REACHABLE && now - this.confirmed[row] >= reachableTime);
      if (state === NeighborState.FAILED || (stale && now - this.used[row] >= GC_STALE)) {
        this.remove(row);
        return true;
      }
    }
    return false;
  }

  #insert(key: number, w0: number, w1: number, w2: number, w3: number): number {
    const rows = this.rows;
    let row = this.#freeRow;
    if (row === NONE) row = this.high++;
    else this.#freeRow = rows[row * STRIDE + NEXT];
    const at = row * STRIDE;
    const bucket = this.#bucket(key, w0, w1, w2, w3);
    rows[at + KEY] = key;
    rows[at + W0] = w0;
    rows[at + W0 + 1] = w1;
    rows[at + W0 + 2] = w2;
    rows[at + W0 + 3] = w3;
    rows[at + STATE] = NeighborState.FAILED;
    rows[at + REQUESTS] = 0;
    rows[at + QUESTION] = NONE;
    rows[at + QUEUE] = NONE;
    rows[at + NEXT] = this.#buckets[bucket];
    this.#buckets[bucket] = row;
    this.confirmed[row] = NEVER;
    this.used[row] = NEVER;
    return row;
  }

  #bucket(key: number, w0: number, w1: number, w2: number, w3: number): number {
    const address = key & 1 ? hash4(this.#key1, this.#key0, w0, w1, w2, w3) : w0;
    return hash2(this.#key0, this.#key1, key, address) & (this.#buckets.length - 1);
  }

  #bucketOf(row: number): number {
    const rows = this.rows;
    const at = row * STRIDE;
    return this.#bucket(
      rows[at + KEY],
      rows[at + W0],
      rows[at + W0 + 1],
      rows[at + W0 + 2],
      rows[at + W0 + 3],
    );
  }

  #count(network: number, change: number): void {
    const count = (this.#networkLearned.get(network) ?? 0) + change;
    if (count === 0) this.#networkLearned.delete(network);
    else this.#networkLearned.set(network, count);
  }

  #grow(): void {
    const rows = new Int32Array(this.rows.length * 2);
    rows.set(this.rows);
    const confirmed = new Float64Array(this.confirmed.length * 2);
    confirmed.set(this.confirmed);
    const used = new Float64Array(this.used.length * 2);
    used.set(this.used);
    this.rows = rows;
    this.confirmed = confirmed;
    this.used = used;
    this.#buckets = new Int32Array(this.#buckets.length * 2).fill(NONE);
    for (let row = 0; row < this.high; row++) {
      const at = row * STRIDE;
      if (rows[at + KEY] === FREE) continue;
      const bucket = this.#bucketOf(row);
      rows[at + NEXT] = this.#buckets[bucket];
      this.#buckets[bucket] = row;
    }
  }
}
