import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { ChainAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { answers } from '../schema.ts';

/** What is done to packets. */
export function ruleRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get(
    '/v1/rules',
    {
      schema: {
        summary: "Show what is done to packets, as the chains of rules that Docker's iptables would have",
        response: answers(Type.Array(ChainAnswer), 'All chains, in the order in which a packet meets them'),
      },
    },
    async () => deck.rules(),
  );
}
