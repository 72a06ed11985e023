import type { ServerResponse } from 'node:http';
import type { EventLog } from './event-log.ts';

/** Bytes that may wait for a reader. One who reads nothing is cut off: an event that is missing would be worse than an end. */
const MOST_WAITING = 1 << 20;

/** What happens in the deck, a JSON text per line, until the reader goes. */
export function streamEvents(log: EventLog, since: Date | undefined, stream: ServerResponse): void {
  // Nothing may happen for days.
  stream.setTimeout(0);
  stream.writeHead(200, { 'content-type': 'application/x-ndjson' });
  stream.flushHeaders();
  const stop = log.watch((event) => {
    if (stream.destroyed) return;
    if (stream.writableLength > MOST_WAITING) stream.destroy();
    else stream.write(`${JSON.stringify(event)}\n`);
  }, since);
  stream.on('close', stop);
  if (stream.destroyed) stop();
}
