import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import type { Pruned } from '../prune.ts';
import { answers, object, schemaOf } from '../schema.ts';

const Texts = Type.Array(Type.String());
const PrunedAnswer = schemaOf<Pruned>()(
  object('Pruned', { networks: Texts, containers: Texts, sandboxes: Texts, files: Texts }),
);
const NoBody = Type.Object({}, { additionalProperties: false });

/** The deck as a whole. */
export function systemRoutes(app: FastifyInstance, { prune }: ApiParts): void {
  app.post(
    '/v1/system/prune',
    {
      schema: {
        summary: 'Remove networks and containers that nobody uses, and states that were set aside',
        body: NoBody,
        response: answers(PrunedAnswer, 'What was removed'),
      },
    },
    async () => prune(),
  );
}
