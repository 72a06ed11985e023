/**
 * From a tuple to the flow and direction that it names: open addressing with linear probing, entries in the order of their
 * home slots (Celis, "Robin Hood Hashing", 1986), one word each:
 *
 *   6 bits of the hash | 6 bits: how far from its home slot the entry is | ref + 1
 *
 * A probe compares the first two fields with what the sought tuple would have there, so that a tuple is fetched only if its
 * home slot and six more bits of its hash agree. A lookup costs two cache misses, one here and one in the tuples, however
 * many flows there are; 16 bytes of index per flow are what can be had of the second-level cache. An entry that goes lets
 * those behind it move up: no graves, and nothing needs to be hashed again.
 */
import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import type { HashKey } from '../wire/hash.ts';
import { kindIsIpv6, TUPLE_KIND, TUPLE_WORDS } from './tuple.ts';
import { hashTuple } from './tuple-hash.ts';

const NONE = -1;
/** Slots per ref at least: at a load of 2/3 a hit looks at two slots on average. */
const SLOTS_PER_REF = 1.5;
const DISTANCE_BITS = 6;
const MAX_DISTANCE = (1 << DISTANCE_BITS) - 1;

export class FlowIndex {
  readonly #key: HashKey;
  /** The tuples that refs stand for: ref `r` has its own at `r * TUPLE_WORDS`. */
  readonly #tuples: Int32Array;
  /** 0 is an empty slot, so that untouched slots cost no memory. */
  readonly #slots: Int32Array;
  readonly #rows: CopiedRows;
  readonly #mask: number;
  /** Bits of an entry that hold ref + 1. */
  readonly #refMask: number;
  /** One step from home, in the second field. */
  readonly #step: number;
  /** Bits of a hash that the first field holds: those that do not choose the slot. */
  readonly #tagMask: number;

  /**
   * @param tuples of all refs; owned by the connection table
   * @param capacity how many refs are in the index at most
   */
  constructor(key: HashKey, tuples: Int32Array, capacity: number) {
    const slots = 2 ** Math.ceil(Math.log2(capacity * SLOTS_PER_REF));
    const refBits = Math.ceil(Math.log2(tuples.length / TUPLE_WORDS + 1));
    this.#key = key;
    this.#tuples = tuples;
    this.#slots = new Int32Array(slots);
    this.#rows = new CopiedRows({ column: this.#slots, stride: 1 });
    this.#mask = slots - 1;
    this.#refMask = 2 ** refBits - 1;
    this.#step = 2 ** refBits;
    this.#tagMask = -(2 ** (refBits + DISTANCE_BITS)) | 0;
  }

  /** @param flows that are in it */
  carry(carrier: Carrier, flows: number): void {
    carrier.rows(this.#rows, flows === 0 ? 0 : this.#slots.length);
  }

  hash(words: Int32Array, at: number): number {
    return hashTuple(this.#key, words, at);
  }

  /** The ref of the tuple at `words[at]`, whose hash is given, or -1. */
  find(hash: number, words: Int32Array, at: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    const refMask = this.#refMask;
    let expected = hash & this.#tagMask;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot];
      if (entry === 0) return NONE;
      if (((entry ^ expected) & ~refMask) === 0) {
        const ref = (entry & refMask) - 1;
        if (sameTuple(this.#tuples, ref * TUPLE_WORDS, words, at)) return ref;
      }
      expected = (expected + this.#step) | 0;
    }
  }

  /**
   * Enters a ref that is not in the index, under the hash of its tuple. False when an entry would be farther from home than
   * can be said, which does not happen by chance: the farthest of 2^19 is about twelve slots away.
   */
  insert(hash: number, ref: number): boolean {
    const slots = this.#slots;
    const mask = this.#mask;
    const home = hash & mask;
    let slot = home;
    while (slots[slot] !== 0) slot = (slot + 1) & mask;
    if (((slot - home) & mask) > MAX_DISTANCE) return false;
    // Those whose home is behind ours make room, each one step farther from its own.
    for (; slot !== home; slot = (slot - 1) & mask) {
      const before = (slot - 1) & mask;
      const entry = slots[before];
      if (this.#distance(entry) >= ((before - home) & mask)) break;
      this.#rows.keep(slot);
      slots[slot] = (entry + this.#step) | 0;
    }
    this.#rows.keep(slot);
    slots[slot] = (hash & this.#tagMask) | (((slot - home) & mask) * this.#step) | (ref + 1);
    return true;
  }

  /** Takes out a ref that is in the index, while its tuple is still there. */
  remove(ref: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = this.hash(this.#tuples, ref * TUPLE_WORDS) & mask;
    while ((slots[hole] & this.#refMask) !== ref + 1) hole = (hole + 1) & mask;
    for (;;) {
      const next = (hole + 1) & mask;
      const entry = slots[next];
      // Empty or at home.
      if (this.#distance(entry) === 0) break;
      this.#rows.keep(hole);
      slots[hole] = (entry - this.#step) | 0;
      hole = next;
    }
    this.#rows.keep(hole);
    slots[hole] = 0;
  }

  #distance(entry: number): number {
    return ((entry & ~this.#tagMask) / this.#step) | 0;
  }
}

/** Whether two tuples are the same; the words in which flows differ most come first. */
export function sameTuple(a: Int32Array, at: number, b: Int32Array, bt: number): boolean {
  const kind = a[at + TUPLE_KIND];
  if (kind !== b[bt + TUPLE_KIND] || a[at + 8] !== b[bt + 8]) return false;
  if (a[at + 3] !== b[bt + 3] || a[at + 7] !== b[bt + 7]) return false;
  // Two IPv4 tuples agree in the rest.
  if (!kindIsIpv6(kind)) return true;
  return (
    a[at] === b[bt] &&
    a[at + 1] === b[bt + 1] &&
    a[at + 2] === b[bt + 2] &&
    a[at + 4] === b[bt + 4] &&
    a[at + 5] === b[bt + 5] &&
    a[at + 6] === b[bt + 6]
  );
}
