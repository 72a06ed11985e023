import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { invalid } from '../error.ts';
import { EventAnswer, EventQuery } from '../event-schema.ts';
import { streamEvents } from '../event-stream.ts';
import { quote } from '../name.ts';
import { answersLines } from '../schema.ts';

/** What happens in the deck. */
export function eventRoutes(app: FastifyInstance, { events }: ApiParts): void {
  app.get<{ Querystring: EventQuery }>(
    '/v1/events',
    {
      schema: {
        summary:
          'Follow what happens to containers, networks, ports and rules, for as long as the client reads',
        querystring: EventQuery,
        response: answersLines(EventAnswer, 'One event per line'),
      },
    },
    async ({ query: { since } }, reply) => {
      const from = since === undefined ? undefined : new Date(since);
      if (from && Number.isNaN(from.getTime())) {
        throw invalid(`since ${quote(since!)} is no time; write it as in 2026-01-31T12:00:00Z`);
      }
      streamEvents(events, from, reply.raw);
      reply.hijack();
    },
  );
}
