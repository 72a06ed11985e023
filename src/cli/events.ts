import type { DaemonClient } from '../control/client.ts';
import { invalid } from '../control/error.ts';
import type { EventView } from '../control/event-log.ts';
import { quote } from '../control/name.ts';
import { follow } from './follow.ts';
import type { Format } from './output.ts';

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Prints what happens in the deck until ctrl-C. */
export async function events(
  client: DaemonClient,
  format: Format,
  { since }: { since?: string },
): Promise<number> {
  const query = since === undefined ? '' : `?${new URLSearchParams({ since: readTime(since, Date.now()) })}`;
  return follow<EventView>(client, `/v1/events${query}`, format === 'json' ? JSON.stringify : eventLine);
}

/**
 * `10m` before `now`, or a time of its own, as RFC 3339. Throws a `DeckError` for everything else.
 * @param now milliseconds since 1970
 */
export function readTime(text: string, now: number): string {
  const [, count, unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const isDate = /^\d{4}-\d\d-\d\d/.test(text);
  const time =
    count !== undefined
      ? now - Number(count) * SECONDS[unit]! * 1000
      : isDate
        ? Date.parse(text)
        : Number.NaN;
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) {
    throw invalid(`${quote(text)} is no time; write it as in 10m, 2h or 2026-01-31T12:00:00Z`);
  }
  return date.toISOString();
}

/** As `docker events` prints it: `2026-01-31T12:00:00.000Z network connect 0123456789ab (name=bridge, container=web)`. */
export function eventLine({ time, type, action, id, name, attributes }: EventView): string {
  const details = Object.entries({ name, ...attributes }).flatMap(([key, value]) =>
    value === '' ? [] : `${key}=${value}`,
  );
  return `${time} ${type} ${action} ${id.slice(0, 12)} (${details.join(', ')})`;
}
