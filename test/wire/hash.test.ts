import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hash2, hash3, hash4, hashN } from '../../wire/hash.ts';

/** The key and message of the reference vectors: bytes counting up from 0, read as little-endian words. */
const K0 = 0x03020100;
const K1 = 0x07060504;
const WORDS = Int32Array.from({ length: 16 }, (_, i) => 0x03020100 + i * 0x04040404);

describe('HalfSipHash-1-3', () => {
  it.each([
    [1, 0x7e059ea6],
    [2, 0x577999b1],
    [3, 0x6b28096c],
    [4, 0x8b31d501],
    [5, 0x911bb605],
    [6, 0x57150ad7],
    [7, 0x0a4100d0],
    [8, 0xbc6dda8d],
    [9, 0x7c46fb7f],
    [10, 0x05327eb2],
  ])('of %i words gives the published value', (count, value) => {
    expect(hashN(K0, K1, WORDS, 0, count)).toBe(value | 0);
  });

  it('with a fixed number of words is the same function', () => {
    const [a, b, c, d] = WORDS as unknown as [number, number, number, number];
    expect(hash2(K0, K1, a, b)).toBe(0x577999b1);
    expect(hash3(K0, K1, a, b, c)).toBe(0x6b28096c);
    expect(hash4(K0, K1, a, b, c, d)).toBe(0x8b31d501 | 0);
    const int = fc.integer();
    fc.assert(
      fc.property(int, int, fc.tuple(int, int, int, int), (k0, k1, [a, b, c, d]) => {
        const words = Int32Array.of(7, a, b, c, d);
        expect(hash2(k0, k1, a, b)).toBe(hashN(k0, k1, words, 1, 2));
        expect(hash3(k0, k1, a, b, c)).toBe(hashN(k0, k1, words, 1, 3));
        expect(hash4(k0, k1, a, b, c, d)).toBe(hashN(k0, k1, words, 1, 4));
      }),
    );
  });

  /** How many of 2^16 consecutive keys fall into each of 2^12 buckets. */
  function fill(hash: (i: number) => number): Uint16Array {
    const buckets = new Uint16Array(4096);
    for (let i = 0; i < 65_536; i++) buckets[hash(i) & 4095]!++;
    return buckets;
  }

  it('spreads addresses that follow each other', () => {
    const buckets = fill((i) => hash2(K0, K1, 0xac110000 | i, 80));
    // 16 per bucket on average, as chance would have it; a weak hash leaves buckets empty or fills a few.
    expect(Math.max(...buckets)).toBeLessThan(48);
    expect(Math.min(...buckets)).toBeGreaterThan(0);
  });

  it('differs by either half of the key: what collides under one does not under another', () => {
    const collide = (k0: number, k1: number) => {
      const target = hash2(k0, k1, 0, 0) & 0xfff;
      const found: number[] = [];
      for (let i = 1; found.length < 16; i++) if ((hash2(k0, k1, i, 0) & 0xfff) === target) found.push(i);
      return found;
    };
    const colliding = collide(1, 2);
    for (const [k0, k1] of [
      [1, 3],
      [2, 2],
    ] as const) {
      const buckets = new Set(colliding.map((i) => hash2(k0, k1, i, 0) & 0xfff));
      expect(buckets.size).toBeGreaterThan(12);
    }
  });
});
