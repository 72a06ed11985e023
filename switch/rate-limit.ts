import type { Carrier } from '../wire/carrier.ts';
import { type HashKey, hash2, hash4 } from '../wire/hash.ts';
import type { Random } from '../wire/random.ts';

/** Errors a second for all receivers together, and how many may go out at once: Linux's `icmp_msgs_per_sec` and `icmp_msgs_burst`. */
export const ICMP_PER_SECOND = 1000;
export const ICMP_BURST = 50;
/** Milliseconds that one error costs its receiver (Linux's `icmp_ratelimit`), and how many may be saved up (`XRLIM_BURST_FACTOR`). */
export const ICMP_PEER_INTERVAL = 1000;
export const ICMP_PEER_BURST = 6;

const PEERS = 4096;
/** Milliseconds between two refills of the common bucket. */
const REFILL = 20;

/**
 * How many ICMP errors may go out (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): two token buckets, one per receiver and one
 * for all, with Linux's figures as the most that they give. How much less it is, up to a quarter, is random: who could
 * count from outside what others have left in the common bucket could find their ports (CVE-2020-25705).
 *
 * Receivers share 4,096 buckets by a keyed hash. Two may meet in one and halve each other's allowance; nobody can aim
 * at that, and memory does not depend on how many receivers there are.
 */
export class RateLimit {
  readonly #random: Random;
  readonly #key0: number;
  readonly #key1: number;
  #credit = ICMP_BURST;
  #filled = Number.NEGATIVE_INFINITY;
  /** Per bucket: milliseconds saved up, and when that was true. */
  readonly #saved = new Float64Array(PEERS).fill(ICMP_PEER_BURST * ICMP_PEER_INTERVAL);
  readonly #seen = new Float64Array(PEERS).fill(Number.NEGATIVE_INFINITY);

  /** @param key of the hash; drawn from `random` when absent */
  constructor(random: Random, key: HashKey = [random.next() | 0, random.next() | 0]) {
    this.#random = random;
    this.#key0 = key[0];
    this.#key1 = key[1];
  }

  carry(carrier: Carrier): void {
    this.#credit = carrier.number(this.#credit);
    this.#filled = carrier.number(this.#filled);
    carrier.column(this.#saved);
    carrier.column(this.#seen);
  }

  /** Whether an error may go to an IPv4 receiver in `network` now. */
  allowIpv4(network: number, address: number, now: number): boolean {
    return this.#allow(hash2(this.#key0, this.#key1, network, address), now);
  }

  /** Whether an error may go to an IPv6 receiver in `network` now. */
  allowIpv6(network: number, w0: number, w1: number, w2: number, w3: number, now: number): boolean {
    const address = hash4(this.#key1, this.#key0, w0, w1, w2, w3);
    return this.#allow(hash2(this.#key0, this.#key1, network, address), now);
  }

  #allow(hash: number, now: number): boolean {
    // The receiver's own bucket first, so that one who asks too much takes nothing from the others.
    const peer = hash & (PEERS - 1);
    const saved = Math.min(
      this.#saved[peer] + Math.max(0, now - this.#seen[peer]),
      ICMP_PEER_BURST * ICMP_PEER_INTERVAL,
    );
    this.#saved[peer] = saved;
    this.#seen[peer] = now;
    if (saved < ICMP_PEER_INTERVAL || !this.#take(now)) return false;
    this.#saved[peer] = saved - ICMP_PEER_INTERVAL;
    return true;
  }

  #take(now: number): boolean {
    // In steps, as Linux does: a finer clock would help to count what is left.
    const passed = now - this.#filled;
    if (passed >= REFILL) {
      const full = (Math.min(passed, 1000) * ICMP_PER_SECOND) / 1000;
      const size = ICMP_BURST - this.#random.below(ICMP_BURST >> 2);
      this.#credit = Math.min(size, this.#credit + full - this.#random.below(1 + (full >> 2)));
      this.#filled = now;
    }
    if (this.#credit < 1) return false;
    this.#credit--;
    return true;
  }
}
