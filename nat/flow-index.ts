/**
 * From a tuple to the flow and direction that it names. Open addressing with linear probing over pairs of words, the
 * tuple's hash and the ref: a probe touches one cache line of the index, and a tuple is compared only when all 32 bits of
 * its hash agree, so that a lookup costs two cache misses, one here and one in the rows, however many flows there are.
 *
 * Entries are moved up when one is taken out, so that no probe ever walks over graves.
 */
import type { HashKey } from '../wire/hash.ts';
import { kindIsIpv6, TUPLE_KIND, TUPLE_WORDS } from './tuple.ts';
import { hashTuple } from './tuple-hash.ts';

const NONE = -1;
/** Slots per ref at least: at a load of 2/3 a hit looks at two slots on average and a miss at five. */
const SLOTS_PER_REF = 1.5;

export class FlowIndex {
  readonly #key: HashKey;
  /** The tuples that refs stand for: ref `r` has its own at `r * TUPLE_WORDS`. */
  readonly #tuples: Int32Array;
  /** Two words per slot: hash, ref + 1. 0 is an empty slot, so that untouched slots cost no memory. */
  readonly #slots: Int32Array;
  readonly #mask: number;

  /** @param tuples of all refs; owned by the connection table */
  constructor(key: HashKey, tuples: Int32Array) {
    const refs = tuples.length / TUPLE_WORDS;
    // The one spare row of the table is never in the index.
    const slots = 2 ** Math.ceil(Math.log2((refs - 2) * SLOTS_PER_REF));
    this.#key = key;
    this.#tuples = tuples;
    this.#slots = new Int32Array(2 * slots);
    this.#mask = slots - 1;
  }

  hash(words: Int32Array, at: number): number {
    return hashTuple(this.#key, words, at);
  }

  /** The ref of the tuple at `words[at]`, whose hash is given, or -1. */
  find(hash: number, words: Int32Array, at: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = hash & mask;
    for (;;) {
      const ref = slots[2 * slot + 1] - 1;
      if (ref === NONE) return NONE;
      if (slots[2 * slot] === hash && sameTuple(this.#tuples, ref * TUPLE_WORDS, words, at)) return ref;
      slot = (slot + 1) & mask;
    }
  }

  /** Enters a ref that is not in the index, under the hash of its tuple. */
  insert(hash: number, ref: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = hash & mask;
    while (slots[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
    slots[2 * slot] = hash;
    slots[2 * slot + 1] = ref + 1;
  }

  /** Takes out a ref that is in the index, while its tuple is still there. */
  remove(ref: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = this.hash(this.#tuples, ref * TUPLE_WORDS) & mask;
    while (slots[2 * hole + 1] !== ref + 1) hole = (hole + 1) & mask;
    // What was pushed past the hole by a full slot moves into it: Knuth, vol. 3, §6.4, algorithm R.
    for (let slot = (hole + 1) & mask; slots[2 * slot + 1] !== 0; slot = (slot + 1) & mask) {
      const home = slots[2 * slot] & mask;
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      slots[2 * hole] = slots[2 * slot];
      slots[2 * hole + 1] = slots[2 * slot + 1];
      hole = slot;
    }
    slots[2 * hole + 1] = 0;
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
