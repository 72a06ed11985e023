import { invalid } from '../control/error.ts';

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A time as people write it: 12.5s, 300ms, 2m; seconds when there is no unit. */
export function milliseconds(flag: string, text: string): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (!found) throw invalid(`${flag} must be a time such as 12.5s, 300ms or 2m, not '${text}'`);
  return Number(found[1]) * UNITS[found[2] ?? 's']!;
}
