import { createHash, randomBytes } from 'node:crypto';
import { conflict } from './error.ts';

/** 64 hexadecimal digits, as Docker's. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

/** The same for a name at all times: of what is in every deck and not kept over a restart. */
export function fixedId(name: string): string {
  return createHash('sha256').update(`tapdeck ${name}`).digest('hex');
}

/** By name, else by id or the unique beginning of one, as Docker does it. Throws a `DeckError` for one of several. */
export function findNamed<T extends { readonly id: string }>(
  all: ReadonlyMap<string, T>,
  nameOrId: string,
): T | undefined {
  return all.get(nameOrId) ?? findId(all.values(), nameOrId, ({ id }) => id);
}

/** By id or the unique beginning of one. Throws a `DeckError` when several begin so. */
export function findId<T>(all: Iterable<T>, id: string, idOf: (one: T) => string): T | undefined {
  if (!/^[0-9a-f]{1,64}$/.test(id)) return undefined;
  const matches = Array.from(all).filter((one) => idOf(one).startsWith(id));
  if (matches.length > 1) throw conflict(`${matches.length} ids begin with "${id}"; give more of its digits`);
  return matches[0];
}
