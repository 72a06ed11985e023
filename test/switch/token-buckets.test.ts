import { expect, test } from 'vitest';
import { TokenBuckets } from '../../switch/token-buckets.ts';

/** How many of `asked` may happen at `now`. */
function taken(buckets: TokenBuckets, bucket: number, now: number, asked: number): number {
  let count = 0;
  for (let i = 0; i < asked; i++) if (buckets.take(bucket, now, 100, 20)) count++;
  return count;
}

test('as many as are saved up, then as many as come', () => {
  const buckets = new TokenBuckets(2, 20);
  expect(taken(buckets, 0, 0, 50)).toBe(20);
  expect(taken(buckets, 0, 9, 50)).toBe(0);
  // What is less than one is not lost.
  expect(taken(buckets, 0, 10, 50)).toBe(1);
  expect(taken(buckets, 0, 60, 50)).toBe(5);
  expect(taken(buckets, 0, 3_600_000, 50)).toBe(20);
});

test('each has its own', () => {
  const buckets = new TokenBuckets(2, 20);
  expect(taken(buckets, 0, 0, 50)).toBe(20);
  expect(taken(buckets, 1, 0, 50)).toBe(20);
});

test('a clock that goes back gives nothing and takes nothing', () => {
  const buckets = new TokenBuckets(1, 20);
  expect(taken(buckets, 0, 1000, 18)).toBe(18);
  expect(taken(buckets, 0, 0, 5)).toBe(2);
  expect(taken(buckets, 0, 10, 5)).toBe(1);
});
