import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { ChainAnswer, SavedRuleAnswer, UserRuleAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { AddRuleBody, RuleIdsQuery } from '../api-schema.ts';
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
  app.get(
    '/v1/rules/user',
    {
      schema: {
        summary: 'List the rules of chain DOCKER-USER',
        response: answers(Type.Array(UserRuleAnswer), 'All rules, in the order in which a packet meets them'),
      },
    },
    async () => deck.listRules(),
  );
  app.post<{ Body: AddRuleBody }>(
    '/v1/rules/user',
    {
      schema: {
        summary: 'Add a rule to chain DOCKER-USER, in front of all that the deck decides itself',
        body: AddRuleBody,
        response: answers(UserRuleAnswer, 'The rule', 201),
      },
    },
    async ({ body }, reply) => reply.code(201).send(await deck.addRule(body)),
  );
  app.delete<{ Querystring: RuleIdsQuery }>(
    '/v1/rules/user',
    {
      schema: {
        summary: 'Remove rules from chain DOCKER-USER: all of those that are named, or none',
        querystring: RuleIdsQuery,
        response: answers(Type.Array(SavedRuleAnswer), 'The rules as they were'),
      },
    },
    async ({ query }) => deck.removeRule(...[query.id].flat().map(Number)),
  );
}
