import type { Carrier } from './carrier.ts';

/**
 * Seeded random numbers (xoshiro128**, Blackman and Vigna): the same on every machine, because only int32 arithmetic
 * is in it. For port choice, jitter and fault injection; not for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** Any number is a seed; its low 32 bits count. */
  constructor(seed: number) {
    // splitmix32 spreads the seed over the state, which must not be all zero: four outputs of a permutation never are.
    let state = seed | 0;
    const next = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = state ^ (state >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      return z ^ (z >>> 15);
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next();
  }

  carry(carrier: Carrier): void {
    this.#a = carrier.number(this.#a);
    this.#b = carrier.number(this.#b);
    this.#c = carrier.number(this.#c);
    this.#d = carrier.number(this.#d);
  }

  /** The next number, 0 to 2^32 - 1. */
  next(): number {
    return this.nextInt32() >>> 0;
  }

  /** The next number as int32: the packet path's, because the engine puts numbers from 2^31 on into a box of the heap. */
  nextInt32(): number {
    const b = this.#b;
    const product = Math.imul(b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    this.#c ^= this.#a;
    this.#d ^= b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= b << 9;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** A whole number from 0 to `n` - 1, all equally likely; 1 <= n <= 2^32. */
  below(n: number): number {
    // The last, incomplete run of n numbers is rejected: without that, small results would come more often.
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % n);
    let number = this.next();
    while (number >= limit) number = this.next();
    return number % n;
  }

  /** True with the given probability, 0 to 1. */
  chance(probability: number): boolean {
    return this.next() < probability * 0x1_0000_0000;
  }
}
