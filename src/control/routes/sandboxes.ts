import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { OpenSandboxBody, type SandboxClosed } from '../api-schema.ts';

/** Sandboxes, which live as long as the connection of whoever made them. */
export function sandboxRoutes(app: FastifyInstance, { leases, version, ending }: ApiParts): void {
  // Says that a sandbox of this id is coming, so that the daemon does not end before it is there.
  app.put<{ Params: { id: string } }>('/v1/sandboxes/:id', async ({ params }) => {
    leases.expect(params.id);
    return version();
  });
  // Answers with a stream of `SandboxEvent`s, one per line; the sandbox lives as long as the connection.
  app.post<{ Body: OpenSandboxBody }>(
    '/v1/sandboxes',
    { schema: { body: OpenSandboxBody } },
    async ({ body }, reply) => {
      await leases.open(body, reply.raw);
      reply.hijack();
    },
  );
  app.delete<{ Params: { id: string } }>('/v1/sandboxes/:id', async ({ params }): Promise<SandboxClosed> => {
    await leases.close(params.id);
    return { ending: ending() };
  });
}
