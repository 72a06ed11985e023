import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { CreateNetworkBody, NameParams } from '../api-schema.ts';

/** Networks, and the ways out that they have. */
export function networkRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get('/v1/networks', async () => deck.networks());
  app.post<{ Body: CreateNetworkBody }>(
    '/v1/networks',
    { schema: { body: CreateNetworkBody } },
    async ({ body }, reply) => reply.code(201).send(await deck.createNetwork(body)),
  );
  app.get<{ Params: NameParams }>(
    '/v1/networks/:name',
    { schema: { params: NameParams } },
    async ({ params }) => deck.network(params.name),
  );
  app.delete<{ Params: NameParams }>(
    '/v1/networks/:name',
    { schema: { params: NameParams } },
    async ({ params }) => deck.removeNetwork(params.name),
  );

  app.get('/v1/uplinks', async () => deck.uplinks());
}
