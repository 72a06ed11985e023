import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import { type HashKey, hashN } from '../wire/hash.ts';
import { bucketCount, type ChainRows, unchain } from './chain.ts';
import { PORT_GROUPS } from './port-pool.ts';
import { Rows } from './rows.ts';

// Words of a row. The first six are the key.
const ZONE = 4; // kind word of the host's zone and IP version, without protocol
const UPLINK = 5; // GONE when the uplink was removed: the row is not found any more
const ADDRESS = 6; // index of the external address
const MAPPINGS = 7;
const PORTS = 8; // ports by group
const NEXT = PORTS + PORT_GROUPS; // next row of the same bucket + 1, or 0; next free row + 1 in a free one
const STRIDE = NEXT + 1;
const KEY_WORDS = 6;
const GONE = -1;
const NONE = -1;

/**
 * The inside hosts that have mappings on an uplink: to which external address each keeps, and how many ports it has.
 * Chained keyed hash.
 */
export class Hosts {
  readonly #table: Rows;
  readonly #rows: Int32Array;
  readonly #buckets: Int32Array;
  readonly #kept: ChainRows;
  readonly #sought = new Int32Array(KEY_WORDS);
  readonly #key0: number;
  readonly #key1: number;

  /** @param capacity as many as mappings are enough: every host has one at least */
  constructor(key: HashKey, capacity: number) {
    this.#key0 = key[0];
    this.#key1 = key[1];
    this.#table = new Rows(capacity, STRIDE, NEXT);
    this.#rows = this.#table.words;
    this.#buckets = new Int32Array(bucketCount(capacity));
    this.#kept = {
      buckets: new CopiedRows({ column: this.#buckets, stride: 1 }),
      rows: this.#table.copied,
    };
  }

  get size(): number {
    return this.#table.size;
  }

  carry(carrier: Carrier): void {
    this.#table.carry(carrier);
    carrier.rows(this.#kept.buckets, this.#table.size === 0 ? 0 : this.#buckets.length);
  }

  /** The row of the host whose four words of address are at `words[at]`, or -1. */
  find(words: Int32Array, at: number, zone: number, uplink: number): number {
    const rows = this.#rows;
    const sought = this.#sought;
    for (let next = this.#buckets[this.#seek(words, at, zone, uplink)]; next !== 0; ) {
      const here = (next - 1) * STRIDE;
      if (
        rows[here + 3] === sought[3] &&
        rows[here + ZONE] === zone &&
        rows[here + UPLINK] === uplink &&
        rows[here + 2] === sought[2] &&
        rows[here + 1] === sought[1] &&
        rows[here] === sought[0]
      )
        return next - 1;
      next = rows[here + NEXT];
    }
    return NONE;
  }

  /** A row for a host that has none, and no mapping yet. */
  add(words: Int32Array, at: number, zone: number, uplink: number, address: number): number {
    const bucket = this.#seek(words, at, zone, uplink);
    const rows = this.#rows;
    const row = this.#table.take();
    this.#kept.buckets.keep(bucket);
    const here = row * STRIDE;
    for (let i = 0; i < KEY_WORDS; i++) rows[here + i] = this.#sought[i];
    rows[here + ADDRESS] = address;
    rows[here + MAPPINGS] = 0;
    for (let i = 0; i < PORT_GROUPS; i++) rows[here + PORTS + i] = 0;
    rows[here + NEXT] = this.#buckets[bucket];
    this.#buckets[bucket] = row + 1;
    return row;
  }

  /** Index of the external address to which the host keeps. */
  address(row: number): number {
    return this.#rows[row * STRIDE + ADDRESS];
  }

  /** Ports of a group that the host has. */
  ports(row: number, group: number): number {
    return this.#rows[row * STRIDE + PORTS + group];
  }

  /** The host has one mapping more, with a port of `group` or, if that is negative, without. */
  gain(row: number, group: number): void {
    this.#kept.rows.keep(row);
    this.#rows[row * STRIDE + MAPPINGS]++;
    if (group >= 0) this.#rows[row * STRIDE + PORTS + group]++;
  }

  /** The host has one mapping less; with the last one its row is free, and the answer true. */
  lose(row: number, group: number): boolean {
    const rows = this.#rows;
    const here = row * STRIDE;
    this.#kept.rows.keep(row);
    if (group >= 0) rows[here + PORTS + group]--;
    if (--rows[here + MAPPINGS] > 0) return false;
    if (rows[here + UPLINK] !== GONE) this.#unlink(row);
    this.#table.give(row);
    return true;
  }

  /** The uplink is removed: its hosts are not found any more, and go with their last mappings. */
  removeUplink(uplink: number): void {
    for (let row = 0; row < this.#table.high; row++) {
      const here = row * STRIDE;
      if (this.#rows[here + MAPPINGS] === 0 || this.#rows[here + UPLINK] !== uplink) continue;
      this.#unlink(row);
      this.#kept.rows.keep(row);
      this.#rows[here + UPLINK] = GONE;
    }
  }

  /** Writes the key to `#sought` and answers its bucket. */
  #seek(words: Int32Array, at: number, zone: number, uplink: number): number {
    const sought = this.#sought;
    sought[0] = words[at];
    sought[1] = words[at + 1];
    sought[2] = words[at + 2];
    sought[3] = words[at + 3];
    sought[ZONE] = zone;
    sought[UPLINK] = uplink;
    return hashN(this.#key0, this.#key1, sought, 0, KEY_WORDS) & (this.#buckets.length - 1);
  }

  #unlink(row: number): void {
    const rows = this.#rows;
    const here = row * STRIDE;
    const bucket = this.#seek(rows, here, rows[here + ZONE], rows[here + UPLINK]);
    unchain(this.#buckets, bucket, rows, row, STRIDE, NEXT, this.#kept);
  }
}
