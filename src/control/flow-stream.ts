import type { ServerResponse } from 'node:http';
import type { Deck } from './deck.ts';
import type { FlowQuery } from './flow-filter.ts';
import type { FlowEventView } from './flows.ts';

/** Bytes that may wait for a reader who is slow; what happens beyond that is counted and said, not kept. */
const MOST_WAITING = 1 << 20;

/** What happens to connections, a JSON text per line, until the reader goes. Throws before anything is written, or never. */
export async function streamFlows(deck: Deck, query: FlowQuery, stream: ServerResponse): Promise<void> {
  let lost = 0;
  const write = (event: FlowEventView) => stream.write(`${JSON.stringify(event)}\n`);
  const sayLost = () => {
    if (lost > 0) write({ event: 'LOST', count: lost });
    lost = 0;
  };
  const stop = await deck.watchFlows((event) => {
    if (stream.destroyed) return;
    if (stream.writableLength > MOST_WAITING) {
      lost += event.event === 'LOST' ? event.count : 1;
      return;
    }
    sayLost();
    write(event);
  }, query);
  // The deck may be closing, and the data plane with it.
  const end = () => void stop().catch(() => {});
  if (stream.destroyed) return end();
  stream.on('close', end);
  // What was lost at the end of a burst must not wait for the next.
  stream.on('drain', sayLost);
  stream.setTimeout(0);
  stream.writeHead(200, { 'content-type': 'application/x-ndjson' });
  stream.flushHeaders();
}
