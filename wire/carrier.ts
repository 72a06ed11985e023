import type { CopiedRows } from './copied-rows.ts';

/** What tables are made of. */
export type Column = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

/**
 * Carries the state of tables away, or back. `carry` of a table names its fields once, in one order, and serves both ways:
 * every method answers what holds from now on, which is the value given on the way out and the value carried on the way
 * back. So what is saved and what is restored cannot differ, and two tables with the same state carry the same bytes.
 *
 * State goes back into a table that was made with the same capacities and keys and has not been used.
 */
export interface Carrier {
  /** Any number, Infinity and -Infinity among them. */
  number(value: number): number;
  /** A number that has to come back, but says nothing: it may be left over from something else. */
  detail(value: number): number;
  /**
   * The elements of a column, in place.
   * @param used how many of them can be other than in a new table; all when left out
   */
  column(column: Column, used?: number): void;
  /**
   * As `column` for each of the columns, where there may be so many rows that they cannot be copied at once: a copy of them may be
   * made while they are in use.
   * @param used how many of the rows can be other than in a new table
   */
  rows(rows: CopiedRows, used: number): void;
  /** A column whose length is state, too: answers one of the length carried. */
  grown<T extends Column>(column: T): T;
  /** Configuration: arrays and objects of plain values, a copy on the way back. */
  plain<T>(value: T): T;
  /** As `plain`, of what will never change, so that it may be looked at later: of a list, its elements. */
  constant<T>(value: T): T;
}

export function carryFlag(carrier: Carrier, flag: boolean): boolean {
  return carrier.number(flag ? 1 : 0) !== 0;
}

/** The entries of a map, in their order. */
export function carryMap<K, V>(carrier: Carrier, map: Map<K, V>): void {
  const entries = carrier.plain([...map]);
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}

/** The elements of a list, whose holes are null on the way; those at its end are no part of it. */
export function carryList<T>(carrier: Carrier, list: T[]): void {
  const given = Array.from(list, (element) => element ?? null);
  while (given.length > 0 && given.at(-1) === null) given.pop();
  const elements = carrier.plain(given);
  if (elements === given) return;
  list.length = 0;
  for (const [i, element] of elements.entries()) if (element !== null) list[i] = element;
}
