import { invalid } from '../control/error.ts';
import { quote } from '../control/name.ts';

/** What programs that start us have written: JSON of which nothing is known. Absent, null and empty text are the same. */
export type Fields = Readonly<Record<string, unknown>>;

/** Throws a `DeckError` when it is not a JSON object. */
export function parseFields(json: string, what: string): Fields {
  let found: unknown;
  try {
    found = JSON.parse(json);
  } catch (error) {
    throw invalid(`${what} is not JSON: ${(error as Error).message}`);
  }
  if (isObject(found)) return found;
  throw invalid(`${what} is not a JSON object`);
}

export function text(fields: Fields, key: string): string | undefined {
  const value = fields[key] ?? '';
  if (typeof value !== 'string') throw invalid(`${key} is ${shown(value)}; it has to be text`);
  return value === '' ? undefined : value;
}

/** Throws a `DeckError` also when it is missing. */
export function requiredText(fields: Fields, key: string): string {
  const value = text(fields, key);
  if (value === undefined) throw invalid(`${key} is missing`);
  return value;
}

export function texts(fields: Fields, key: string): string[] {
  const value = fields[key] ?? [];
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value;
  throw invalid(`${key} is ${shown(value)}; it has to be a list of texts`);
}

export function object(fields: Fields, key: string): Fields {
  const value = fields[key] ?? {};
  if (isObject(value)) return value;
  throw invalid(`${key} is ${shown(value)}; it has to be an object`);
}

export function objects(fields: Fields, key: string): Fields[] {
  const value = fields[key] ?? [];
  if (Array.isArray(value) && value.every(isObject)) return value;
  throw invalid(`${key} is ${shown(value)}; it has to be a list of objects`);
}

export function whole(fields: Fields, key: string): number | undefined {
  const value = fields[key] ?? undefined;
  if (value === undefined || Number.isSafeInteger(value)) return value as number | undefined;
  throw invalid(`${key} is ${shown(value)}; it has to be a whole number`);
}

export function flag(fields: Fields, key: string): boolean {
  const value = fields[key] ?? false;
  if (typeof value === 'boolean') return value;
  throw invalid(`${key} is ${shown(value)}; it has to be true or false`);
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  return quote(JSON.stringify(value) ?? String(value));
}
