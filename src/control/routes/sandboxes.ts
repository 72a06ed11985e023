import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { SandboxClosedAnswer, SandboxEventAnswer, VersionAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { OpenSandboxBody, type SandboxClosed, SandboxId } from '../api-schema.ts';
import { answers, answersLines } from '../schema.ts';

const SandboxParams = Type.Object({ id: SandboxId });

/** Sandboxes, which live as long as the connection of whoever made them. */
export function sandboxRoutes(app: FastifyInstance, { leases, version, ending }: ApiParts): void {
  app.put<{ Params: { id: string } }>(
    '/v1/sandboxes/:id',
    {
      schema: {
        summary:
          'Say that a sandbox of this id is coming, so that the daemon does not end before it is there',
        params: SandboxParams,
        response: answers(VersionAnswer, 'The daemon that waits for it'),
      },
    },
    async ({ params }) => {
      leases.expect(params.id);
      return version();
    },
  );
  app.post<{ Body: OpenSandboxBody }>(
    '/v1/sandboxes',
    {
      schema: {
        summary: 'Attach a sandbox, which lives as long as the connection',
        body: OpenSandboxBody,
        response: answersLines(SandboxEventAnswer, 'What happens to it, one event per line'),
      },
    },
    async ({ body }, reply) => {
      await leases.open(body, reply.raw);
      reply.hijack();
    },
  );
  app.delete<{ Params: { id: string } }>(
    '/v1/sandboxes/:id',
    {
      schema: {
        summary: 'End a sandbox; one that is not there any more is no error',
        params: SandboxParams,
        response: answers(SandboxClosedAnswer, 'Whether the daemon ends with it'),
      },
    },
    async ({ params }): Promise<SandboxClosed> => {
      await leases.close(params.id);
      return { ending: ending() };
    },
  );
}
