import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';

/** What is done to packets. */
export function ruleRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get('/v1/rules', async () => deck.rules());
}
