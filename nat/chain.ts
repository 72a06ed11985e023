import type { CopiedRows } from '../wire/copied-rows.ts';

/** What a table of chains says of a change before it makes one. */
export interface ChainRows {
  readonly buckets: CopiedRows;
  readonly rows: CopiedRows;
}

/**
 * Takes a row out of the chain of its hash bucket. Chains are as all tables of `nat/` have them that name a row by its
 * number + 1, so that 0 is the end and a big array need not be filled before it is used.
 * @param buckets first row + 1 of each bucket, or 0
 * @param rows rows of `stride` words
 * @param link the word of a row that has the next row + 1, or 0
 * @param kept the same buckets and rows
 */
export function unchain(
  buckets: Int32Array,
  bucket: number,
  rows: Int32Array,
  row: number,
  stride: number,
  link: number,
  kept: ChainRows,
): void {
  const after = rows[row * stride + link];
  if (buckets[bucket] === row + 1) {
    kept.buckets.keep(bucket);
    buckets[bucket] = after;
    return;
  }
  let before = buckets[bucket] - 1;
  while (rows[before * stride + link] !== row + 1) before = rows[before * stride + link] - 1;
  kept.rows.keep(before);
  rows[before * stride + link] = after;
}

/** How many buckets a table of `capacity` rows has: a power of two. */
export function bucketCount(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(capacity, 2)));
}
