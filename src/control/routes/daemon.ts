import type { FastifyInstance } from 'fastify';
import { HealthAnswer, VersionAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { answers } from '../schema.ts';

/** The daemon itself. */
export function daemonRoutes(app: FastifyInstance, { version }: ApiParts): void {
  app.get(
    '/v1/health',
    { schema: { summary: 'Whether the daemon answers', response: answers(HealthAnswer, 'It does') } },
    async () => ({ status: 'ok' }),
  );
  app.get(
    '/v1/version',
    { schema: { summary: 'What the daemon is', response: answers(VersionAnswer, 'The daemon') } },
    async () => version(),
  );
}
