/**
 * The keyed hash of all tables: HalfSipHash-1-3 (Aumasson and Bernstein; as Linux's `hsiphash` on 32-bit machines).
 *
 * Keys of the tables are MACs, addresses and ports that anybody may choose. With a hash that is known from outside,
 * 100,000 chosen tuples end up in one bucket; with a secret key nobody can aim. HalfSipHash was made for 32-bit
 * arithmetic, which is what JavaScript has at full speed: additions, rotations and exclusive-ors of int32, no
 * multiplication, no allocation; 12 ns for two words, 19 for four, 27 for ten (Node 20). One and three rounds are the
 * variant for hash tables: not for secrets, cookies or sequence numbers.
 *
 * The key is two int32 words that the control plane draws at random, or fixes for replay.
 */

/** Two int32 words. */
export type HashKey = readonly [number, number];

/** Hash of two words, as int32. */
export function hash2(k0: number, k1: number, a: number, b: number): number {
  return hash(k0, k1, 2, a, b, 0, 0);
}

/** Hash of three words, as int32. */
export function hash3(k0: number, k1: number, a: number, b: number, c: number): number {
  return hash(k0, k1, 3, a, b, c, 0);
}

/** Hash of four words, as int32. */
export function hash4(k0: number, k1: number, a: number, b: number, c: number, d: number): number {
  return hash(k0, k1, 4, a, b, c, d);
}

// One loop over message words, length block and finalisation: after inlining, the engine unrolls nothing and still spends
// 2 ns per round, so that writing the rounds out would save 1 to 6 ns and cost a page.
function hash(k0: number, k1: number, count: number, a: number, b: number, c: number, d: number): number {
  let v0 = k0 | 0;
  let v1 = k1 | 0;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  for (let i = 0; i < count + 4; i++) {
    let m = 0;
    if (i < count) m = i === 0 ? a : i === 1 ? b : i === 2 ? c : d;
    else if (i === count) m = count << 26;
    else if (i === count + 1) v2 ^= 0xff;
    v3 ^= m;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= m;
  }
  return v1 ^ v3;
}

/** Hash of `count` words from `words[from]` on, as int32; the same value as `hash2` to `hash4` for the same words. */
export function hashN(k0: number, k1: number, words: Int32Array, from: number, count: number): number {
  let v0 = k0 | 0;
  let v1 = k1 | 0;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  for (let i = 0; i < count + 4; i++) {
    let m = 0;
    if (i < count) m = words[from + i];
    else if (i === count) m = count << 26;
    else if (i === count + 1) v2 ^= 0xff;
    v3 ^= m;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= m;
  }
  return v1 ^ v3;
}
