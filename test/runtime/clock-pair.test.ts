import { afterEach, expect, test, vi } from 'vitest';
import { clockPair } from '../../src/runtime/clock-pair.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The pair that is read when the time of day is asked for with these answers, and the other clock counts how often it was. */
function pairAt(...times: number[]) {
  const left = [...times];
  vi.spyOn(Date, 'now').mockImplementation(() => left.shift()!);
  vi.spyOn(process.hrtime, 'bigint').mockImplementation(
    () => BigInt(times.length - left.length) * 1_000_000n,
  );
  const pair = clockPair(0.5);
  expect(left).toEqual([]);
  return pair;
}

test('the moment is that in which a millisecond begins', () => {
  expect(pairAt(1999, 1999, 2000, 2000)).toEqual({ seconds: 2, nanoseconds: 0, now: 3.5 });
  expect(pairAt(7000, 7001, 7001)).toEqual({ seconds: 7, nanoseconds: 1_000_000, now: 2.5 });
});

test('a millisecond that nobody has seen begin is none', () => {
  expect(pairAt(1000, 1005, 1005, 1005, 1006, 1006)).toEqual({
    seconds: 1,
    nanoseconds: 6_000_000,
    now: 5.5,
  });
});

test('nor is one that is over when the other clock is read', () => {
  expect(pairAt(1000, 1001, 1009, 1009, 1010, 1010)).toEqual({
    seconds: 1,
    nanoseconds: 10_000_000,
    now: 5.5,
  });
});
