import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { NetworkAnswer, UplinkAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { CreateNetworkBody, NameParams } from '../api-schema.ts';
import { answers } from '../schema.ts';

/** Networks, and the ways out that they have. */
export function networkRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get(
    '/v1/networks',
    {
      schema: {
        summary: 'List the networks',
        response: answers(Type.Array(NetworkAnswer), 'All networks, the oldest first'),
      },
    },
    async () => deck.networks(),
  );
  app.post<{ Body: CreateNetworkBody }>(
    '/v1/networks',
    {
      schema: {
        summary: 'Make a network',
        body: CreateNetworkBody,
        response: answers(NetworkAnswer, 'The network', 201),
      },
    },
    async ({ body }, reply) => reply.code(201).send(await deck.createNetwork(body)),
  );
  app.get<{ Params: NameParams }>(
    '/v1/networks/:name',
    {
      schema: {
        summary: 'Show a network',
        params: NameParams,
        response: answers(NetworkAnswer, 'The network'),
      },
    },
    async ({ params }) => deck.network(params.name),
  );
  app.delete<{ Params: NameParams }>(
    '/v1/networks/:name',
    {
      schema: {
        summary: 'Remove a network that has no endpoints',
        params: NameParams,
        response: answers(NetworkAnswer, 'The network as it was'),
      },
    },
    async ({ params }) => deck.removeNetwork(params.name),
  );

  app.get(
    '/v1/uplinks',
    {
      schema: {
        summary: 'List the ways by which packets leave the deck',
        response: answers(Type.Array(UplinkAnswer), 'All uplinks, the default first'),
      },
    },
    async () => deck.uplinks(),
  );
}
