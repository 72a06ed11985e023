import type { YamlValue } from '../../replay/yaml-value.ts';
import { DeckError } from '../error.ts';

/** What many fields of a Compose file have in common. */

/** What the function answers; what it refuses is refused where the value stands. */
export function checked<T>(value: YamlValue, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof DeckError || (error as Error).constructor === Error) {
      return value.fail((error as Error).message);
    }
    throw error;
  }
}

/** A single text, or a list of texts. */
export function texts(value: YamlValue | undefined): { text: string; value: YamlValue }[] {
  if (value === undefined || value.empty) return [];
  const values = value.isList ? value.list() : [value];
  return values.map((one) => ({ text: one.text(), value: one }));
}

/** Entries that may be given as `key: value` or as a list of `key=value`; undefined for a key alone. */
export function pairs(
  value: YamlValue | undefined,
  separators: RegExp,
): { key: string; text: string | undefined; value: YamlValue }[] {
  if (value === undefined) return [];
  if (!value.isList) {
    return value
      .entries()
      .map(([key, one]) => ({ key, text: one.empty ? undefined : one.written(), value: one }));
  }
  return value.list().map((one) => {
    const text = one.text();
    const at = text.search(separators);
    return at < 0
      ? { key: text, text: undefined, value: one }
      : { key: text.slice(0, at), text: text.slice(at + 1), value: one };
  });
}

/** Labels and the like, in either form; a key alone has the empty text. */
export function textMap(value: YamlValue | undefined): Record<string, string> {
  return Object.fromEntries(pairs(value, /=/).map(({ key, text = '' }) => [key, text]));
}
