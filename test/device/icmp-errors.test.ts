import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { udp } from '../../src/testing/frames.ts';
import { ICMP_BURST, ICMP_PER_SECOND } from '../../switch/rate-limit.ts';
import { Bench, DECK } from './outside-world.ts';

const FAR = { mac: '02:00:00:00:00:09', ipv4: '203.0.113.9', ipv6: '2001:db8::9' };

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

/** How many errors come of `count` frames of an endpoint at a time. */
function heard(origin: number, count: number, now: number): number {
  const { arena, errors } = bench;
  const from = { mac: DECK.mac, ipv4: DECK.ipv4! };
  const frame = bench.frame(udp({ from, to: { mac: FAR.mac, ipv4: FAR.ipv4 }, dstPort: 1 }));
  frame.origin = origin;
  errors.now = now;
  let all = 0;
  for (let i = 0; i < count; i++) {
    errors.about(frame, 3, 0, 0);
    const error = errors.next(arena);
    if (error === null) continue;
    arena.release(error);
    all++;
  }
  arena.release(frame);
  return all;
}

describe("the uplink's own errors", () => {
  it('are limited for each endpoint, and not by what others have had (RFC 4443 §2.4 f)', () => {
    expect(heard(1, 1000, 0)).toBe(ICMP_BURST);
    expect(bench.errors.lost).toBe(1000 - ICMP_BURST);
    expect(heard(2, 10, 0)).toBe(10);
    expect(heard(1, 1000, 10)).toBe((10 * ICMP_PER_SECOND) / 1000);
    expect(heard(1, 1000, 10)).toBe(0);
    // No more is saved up than may go out at once.
    expect(heard(1, 1000, 1_000_000)).toBe(ICMP_BURST);
  });
});
