import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { EndpointAnswer, NetworkAnswer, UplinkAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { ConnectBody, CreateNetworkBody, DisconnectBody, NameParams, PruneBody } from '../api-schema.ts';
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
        summary: 'Remove a network that no container is in',
        params: NameParams,
        response: answers(NetworkAnswer, 'The network as it was'),
      },
    },
    async ({ params }) => deck.removeNetwork(params.name),
  );
  app.post<{ Body: PruneBody }>(
    '/v1/networks/prune',
    {
      schema: {
        summary: 'Remove all networks that somebody made and no container is in',
        body: PruneBody,
        response: answers(Type.Array(NetworkAnswer), 'The networks as they were'),
      },
    },
    async ({ body }) => deck.pruneNetworks(body.filters),
  );
  app.post<{ Params: NameParams; Body: ConnectBody }>(
    '/v1/networks/:name/connect',
    {
      schema: {
        summary: 'Connect a container to a further network',
        params: NameParams,
        body: ConnectBody,
        response: answers(EndpointAnswer, 'Its endpoint in the network', 201),
      },
    },
    async ({ params, body: { container, ...options } }, reply) =>
      reply.code(201).send(await deck.connect(params.name, container, options)),
  );
  app.post<{ Params: NameParams; Body: DisconnectBody }>(
    '/v1/networks/:name/disconnect',
    {
      schema: {
        summary: 'Take a container out of a network: that interface disappears',
        params: NameParams,
        body: DisconnectBody,
        response: answers(EndpointAnswer, 'Its endpoint as it was'),
      },
    },
    async ({ params, body }) => deck.disconnect(params.name, body.container),
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
