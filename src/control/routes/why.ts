import type { FastifyInstance } from 'fastify';
import { PastAnswer, WhyAnswer, WhyFrameAnswer, WhyPastAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { PastBody, WhyBody, WhyFrameBody } from '../api-schema.ts';
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
  app.post<{ Body: WhyBody }>(
    '/v1/why/past',
    {
      schema: {
        summary: 'Say what happened to the last packets like those of a question',
        body: WhyBody,
        response: answers(WhyPastAnswer, 'The last of them, the oldest first'),
      },
    },
    async ({ body: { from, to, family } }) => deck.whyPast(from, to, family),
  );
  app.post<{ Body: PastBody }>(
    '/v1/why/remember',
    {
      schema: {
        summary: 'Remember the whole way of every packet from now on, or only why packets were dropped',
        body: PastBody,
        response: answers(PastAnswer, 'What is remembered'),
      },
    },
    async ({ body: { everything } }) => {
      await deck.remember(everything);
      return { everything };
    },
  );
  app.post<{ Body: WhyFrameBody }>(
    '/v1/why/frame',
    {
      schema: {
        summary:
          'Say what would become of a frame that comes in by a port now; nothing is sent and nothing changes',
        body: WhyFrameBody,
        response: answers(WhyFrameAnswer, 'The answer, and its way'),
      },
    },
    async ({ body: { port, frame } }) => deck.whyFrame(port, Buffer.from(frame, 'base64')),
  );
}
