import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlowIndex, sameTuple } from '../../nat/flow-index.ts';
import { TUPLE_LENGTH, TUPLE_WORDS, tupleKind } from '../../nat/tuple.ts';

const REFS = 24;

/** Tuples for all refs, IPv4 and IPv6 by turns. */
function tuples(): Int32Array {
  const words = new Int32Array((REFS + 2) * TUPLE_WORDS);
  for (let ref = 0; ref < REFS; ref++) {
    const isIpv6 = (ref & 1) === 1;
    const address = isIpv6 ? [0xfd00, 0, ref, 1] : [0, 0, 0xffff, ref];
    const at = ref * TUPLE_WORDS;
    words.set([...address, ...address, (ref << 16) | 80, tupleKind(6, isIpv6, 0)], at);
  }
  return words;
}

describe('flow index', () => {
  test('property: finds what is in it and nothing else, as a Map, whatever hashes collide', () => {
    const step = fc.record({ ref: fc.nat(REFS - 1), insert: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.nat(4), fc.integer(), (steps, spread, base) => {
        const words = tuples();
        const index = new CollidingIndex(words, spread, base);
        const model = new Set<number>();
        for (const { ref, insert } of steps) {
          if (insert && !model.has(ref)) {
            index.insert(index.hash(words, ref * TUPLE_WORDS), ref);
            model.add(ref);
          } else if (!insert && model.has(ref)) {
            index.remove(ref);
            model.delete(ref);
          }
          for (let each = 0; each < REFS; each++) {
            const at = each * TUPLE_WORDS;
            expect(index.find(index.hash(words, at), words, at)).toBe(model.has(each) ? each : -1);
          }
        }
      }),
    );
  });

  test('a hash that puts everything into one slot fills up to 64 entries, all of which are found, and refuses the next', () => {
    const words = new Int32Array(100 * TUPLE_WORDS);
    for (let ref = 0; ref < 100; ref++) words[ref * TUPLE_WORDS + 3] = ref;
    const index = new FlowIndex([1, 2], words, 98);
    // The hash of every tuple that is taken out must be that by which it was entered.
    index.hash = () => -1;
    for (let ref = 0; ref < 64; ref++) expect(index.insert(-1, ref)).toBe(true);
    expect(index.insert(-1, 64)).toBe(false);
    index.remove(7);
    expect(index.insert(-1, 64)).toBe(true);
    for (let ref = 0; ref <= 65; ref++) {
      expect(index.find(-1, words, ref * TUPLE_WORDS)).toBe(ref === 7 || ref === 65 ? -1 : ref);
    }
  });

  test('property: tuples are the same exactly when all their words are', () => {
    const words = fc.constantFrom(...Array.from({ length: REFS }, (_, ref) => ref));
    fc.assert(
      fc.property(words, fc.nat(TUPLE_LENGTH - 1), fc.nat(31), (ref, word, bit) => {
        const a = tuples();
        const b = a.slice();
        const at = ref * TUPLE_WORDS;
        expect(sameTuple(a, at, b, at)).toBe(true);
        const isIpv4 = (ref & 1) === 0;
        // An IPv4 tuple has the same six words as every other.
        fc.pre(!isIpv4 || word === 3 || word >= 7);
        b[at + word]! ^= 1 << bit;
        expect(sameTuple(a, at, b, at)).toBe(false);
      }),
    );
  });
});

/** An index whose hash has only `spread` + 1 values, next to each other from `base` on. */
class CollidingIndex extends FlowIndex {
  readonly #spread: number;
  readonly #base: number;

  constructor(words: Int32Array, spread: number, base: number) {
    super([1, 2], words, REFS);
    this.#spread = spread;
    this.#base = base;
  }

  override hash(words: Int32Array, at: number): number {
    return (this.#base + ((super.hash(words, at) >>> 0) % (this.#spread + 1))) | 0;
  }
}
