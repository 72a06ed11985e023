import type { Carrier } from '../wire/carrier.ts';

/** How often something may happen, for each of many: a bucket of tokens that fills with time. */
export class TokenBuckets {
  readonly #tokens: Float64Array;
  /** Milliseconds. */
  readonly #filled: Float64Array;

  /** @param tokens that are in each at first */
  constructor(capacity: number, tokens = 0) {
    this.#tokens = new Float64Array(capacity).fill(tokens);
    this.#filled = new Float64Array(capacity);
  }

  /** @param count of buckets that were ever used */
  carry(carrier: Carrier, count: number): void {
    carrier.column(this.#tokens, count);
    carrier.column(this.#filled, count);
  }

  set(bucket: number, tokens: number): void {
    this.#tokens[bucket] = tokens;
  }

  /** Takes a token at `now` if there is one, of at most `most`, of which `perSecond` are new in a second. */
  take(bucket: number, now: number, perSecond: number, most: number): boolean {
    const passed = Math.max(0, now - this.#filled[bucket]!);
    const tokens = Math.min(most, this.#tokens[bucket]! + (passed * perSecond) / 1000);
    const taken = tokens >= 1;
    this.#filled[bucket] = now;
    this.#tokens[bucket] = taken ? tokens - 1 : tokens;
    return taken;
  }
}
