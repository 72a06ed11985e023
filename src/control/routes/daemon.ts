import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';

/** The daemon itself. */
export function daemonRoutes(app: FastifyInstance, { version }: ApiParts): void {
  app.get('/v1/health', async () => ({ status: 'ok' }));
  app.get('/v1/version', async () => version());
}
