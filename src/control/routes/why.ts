import type { FastifyInstance } from 'fastify';
import { WhyAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { WhyBody } from '../api-schema.ts';
import { answers } from '../schema.ts';

/** What would become of a packet. */
export function whyRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.post<{ Body: WhyBody }>(
    '/v1/why',
    {
      schema: {
        summary:
          'Say what would become of a packet and of the answer to it; nothing is sent and nothing changes',
        body: WhyBody,
        response: answers(WhyAnswer, 'The answer, and by what it was decided'),
      },
    },
    async ({ body: { from, to, family } }) => deck.why(from, to, family),
  );
}
