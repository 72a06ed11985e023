import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import { type HashKey, hashN } from '../wire/hash.ts';
import { bucketCount, type ChainRows, unchain } from './chain.ts';
import { Rows } from './rows.ts';

// Words of a row; the first five are the key.
const OWNER = 4; // after the four words of address
const COUNT = 5;
const NEXT = 6; // next row of the same bucket + 1, or 0; next free row + 1 in a free one
const STRIDE = 8;
const KEY_WORDS = 5;
const NONE = -1;

/**
 * To which remote addresses an endpoint has spoken through its mapping: what address-dependent filtering asks (RFC 4787
 * §5). Counted by flow, because an address may answer for as long as one flow to it lives. Chained keyed hash.
 */
export class Peers {
  readonly #table: Rows;
  readonly #rows: Int32Array;
  readonly #buckets: Int32Array;
  readonly #kept: ChainRows;
  readonly #sought = new Int32Array(KEY_WORDS);
  readonly #key0: number;
  readonly #key1: number;
  readonly #capacity: number;

  /** @param capacity pairs of mapping and address; as many as flows are never too few */
  constructor(key: HashKey, capacity: number) {
    this.#capacity = capacity;
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

  /** Counts one more flow of mapping `owner` to the address at `words[at]`, four words; false when there is no room. */
  add(owner: number, words: Int32Array, at: number): boolean {
    const bucket = this.#seek(owner, words, at);
    let row = this.#find(bucket);
    const rows = this.#rows;
    if (row === NONE) {
      if (this.#table.size === this.#capacity) return false;
      row = this.#table.take();
      this.#kept.buckets.keep(bucket);
      const here = row * STRIDE;
      for (let i = 0; i < KEY_WORDS; i++) rows[here + i] = this.#sought[i];
      rows[here + COUNT] = 0;
      rows[here + NEXT] = this.#buckets[bucket];
      this.#buckets[bucket] = row + 1;
    }
    this.#kept.rows.keep(row);
    rows[row * STRIDE + COUNT]++;
    return true;
  }

  /** Counts one flow less; an address that was never added is left alone. */
  remove(owner: number, words: Int32Array, at: number): void {
    const bucket = this.#seek(owner, words, at);
    const row = this.#find(bucket);
    if (row === NONE) return;
    const rows = this.#rows;
    const here = row * STRIDE;
    this.#kept.rows.keep(row);
    if (--rows[here + COUNT] > 0) return;
    unchain(this.#buckets, bucket, rows, row, STRIDE, NEXT, this.#kept);
    this.#table.give(row);
  }

  has(owner: number, words: Int32Array, at: number): boolean {
    return this.#find(this.#seek(owner, words, at)) !== NONE;
  }

  #seek(owner: number, words: Int32Array, at: number): number {
    const sought = this.#sought;
    sought[0] = words[at];
    sought[1] = words[at + 1];
    sought[2] = words[at + 2];
    sought[3] = words[at + 3];
    sought[OWNER] = owner;
    return hashN(this.#key0, this.#key1, sought, 0, KEY_WORDS) & (this.#buckets.length - 1);
  }

  #find(bucket: number): number {
    const rows = this.#rows;
    const sought = this.#sought;
    for (let next = this.#buckets[bucket]; next !== 0; next = rows[(next - 1) * STRIDE + NEXT]) {
      const here = (next - 1) * STRIDE;
      if (
        rows[here + 3] === sought[3] &&
        rows[here + OWNER] === sought[OWNER] &&
        rows[here + 2] === sought[2] &&
        rows[here + 1] === sought[1] &&
        rows[here] === sought[0]
      )
        return next - 1;
    }
    return NONE;
  }
}
