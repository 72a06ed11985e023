import { invalid } from './error.ts';
import { DEFAULT_NETWORK, HOST_NETWORK, NO_NETWORK, quote } from './name.ts';
import type { NetworkInfo } from './network.ts';

/** What `network ls` and `network prune` can choose by, as in Docker. */
export const LIST_FILTERS = ['driver', 'id', 'label', 'name', 'scope', 'type', 'dangling'] as const;
export const PRUNE_FILTERS = ['until', 'label', 'label!'] as const;

type Test = (network: NetworkInfo) => boolean;

/**
 * The networks that filters such as `driver=bridge` mean: of one key any of the values, of `label` all, of different keys all. Throws a
 * `DeckError`.
 * @param keys those that are allowed
 * @param now milliseconds since 1970
 */
export function networkFilter(texts: readonly string[], keys: readonly string[], now: number): Test {
  const any = new Map<string, Test[]>();
  const all: Test[] = [];
  for (const text of texts) {
    const [, key = '', value = ''] = /^([a-z]+!?)=(.*)$/s.exec(text) ?? [];
    if (!keys.includes(key)) {
      throw invalid(
        `filter ${quote(text)} makes no sense; there are ${keys.map((one) => `${one}=VALUE`).join(', ')}`,
      );
    }
    if (key === 'label') all.push(labelled(value));
    else if (key === 'label!') all.push((network) => !labelled(value)(network));
    else any.set(key, [...(any.get(key) ?? []), testOf(key, value, text, now)]);
  }
  return (network) =>
    all.every((test) => test(network)) &&
    Array.from(any.values()).every((tests) => tests.some((test) => test(network)));
}

function labelled(text: string): Test {
  const equals = text.indexOf('=');
  const key = equals < 0 ? text : text.slice(0, equals);
  return ({ labels }) => Object.hasOwn(labels, key) && (equals < 0 || labels[key] === text.slice(equals + 1));
}

function testOf(key: string, value: string, text: string, now: number): Test {
  switch (key) {
    case 'driver':
      return ({ driver }) => driver === value;
    case 'id':
      return ({ id }) => id.startsWith(value);
    case 'name':
      return ({ name }) => name.includes(value);
    case 'scope':
      return () => value === 'local';
    case 'type': {
      const builtIn = oneOf(text, value, ['custom', 'builtin']) === 'builtin';
      return ({ name }) => [DEFAULT_NETWORK, HOST_NETWORK, NO_NETWORK].includes(name) === builtIn;
    }
    case 'dangling': {
      const unused = ['true', '1'].includes(oneOf(text, value, ['true', 'false', '1', '0']));
      return ({ endpoints }) => (endpoints.length === 0) === unused;
    }
    default: {
      const limit = parseTime(value, now);
      if (limit === undefined) {
        throw invalid(
          `filter ${quote(text)} is no time; write it as until=24h or until=2026-01-31T12:00:00Z`,
        );
      }
      return ({ createdAt }) => Date.parse(createdAt) < limit;
    }
  }
}

function oneOf(text: string, value: string, values: readonly string[]): string {
  if (values.includes(value)) return value;
  throw invalid(`filter ${quote(text)} makes no sense; the value is ${values.join(' or ')}`);
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Docker's three ways to write a time: how long ago (`1h30m`), seconds since 1970, a date. Answers milliseconds since 1970. */
function parseTime(text: string, now: number): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(text)) {
    let ago = 0;
    for (const [, count, , unit] of text.matchAll(/(\d+(\.\d+)?)(h|ms|m|s)/g))
      ago += Number(count) * UNITS[unit!]!;
    return now - ago;
  }
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : date;
}
