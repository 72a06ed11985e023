import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { AttachmentAnswer, AttachmentRemovedAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { AttachmentBody, AttachmentId } from '../api-schema.ts';
import { Attachments } from '../attachments.ts';
import { answers } from '../schema.ts';

const AttachmentParams = Type.Object({ id: AttachmentId });

/** Endpoints under ids that their makers choose: for container runtimes. */
export function attachmentRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  const attachments = new Attachments(deck);
  app.post<{ Body: AttachmentBody }>(
    '/v1/attachments',
    {
      schema: {
        summary: 'Connect a network namespace to a network under an id of your own',
        body: AttachmentBody,
        response: answers(AttachmentAnswer, 'The attachment', 201),
      },
    },
    async ({ body: { id, ...options }, raw }, reply) =>
      reply.code(201).send(await attachments.attach(id, options, () => !raw.socket.destroyed)),
  );
  app.get<{ Params: { id: string } }>(
    '/v1/attachments/:id',
    {
      schema: {
        summary: 'Show an attachment, and whether it is as it was made',
        params: AttachmentParams,
        response: answers(AttachmentAnswer, 'The attachment'),
      },
    },
    async ({ params }) => attachments.get(params.id),
  );
  app.delete<{ Params: { id: string } }>(
    '/v1/attachments/:id',
    {
      schema: {
        summary: 'Remove an attachment; one that is not there any more is no error',
        params: AttachmentParams,
        response: answers(AttachmentRemovedAnswer, 'Whether it was there'),
      },
    },
    async ({ params }) => ({ removed: await attachments.detach(params.id) }),
  );
}
