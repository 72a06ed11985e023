import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';

/** The tables of the data plane, as they are at the moment. */
export function tableRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get('/v1/fdb', async () => deck.fdb());
  app.get('/v1/neighbors', async () => deck.neighbors());
  app.get('/v1/drops', async () => deck.drops());
  app.get('/v1/counters', async () => deck.counters());
}
