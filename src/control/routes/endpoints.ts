import type { FastifyInstance } from 'fastify';
import type { ApiParts } from '../api.ts';
import { AttachBody, NameParams, PublishBody, UnpublishQuery } from '../api-schema.ts';

/** Endpoints, and their published ports. */
export function endpointRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get('/v1/endpoints', async () => deck.endpoints());
  app.post<{ Body: AttachBody }>('/v1/endpoints', { schema: { body: AttachBody } }, async ({ body }, reply) =>
    reply.code(201).send(await deck.attach(body)),
  );
  app.get<{ Params: NameParams }>(
    '/v1/endpoints/:name',
    { schema: { params: NameParams } },
    async ({ params }) => deck.endpoint(params.name),
  );
  app.delete<{ Params: NameParams }>(
    '/v1/endpoints/:name',
    { schema: { params: NameParams } },
    async ({ params }) => deck.detach(params.name),
  );

  app.get<{ Params: NameParams }>(
    '/v1/endpoints/:name/ports',
    { schema: { params: NameParams } },
    async ({ params }) => deck.endpoint(params.name).ports,
  );
  app.post<{ Params: NameParams; Body: PublishBody }>(
    '/v1/endpoints/:name/ports',
    { schema: { params: NameParams, body: PublishBody } },
    async ({ params, body }, reply) => reply.code(201).send(await deck.publish(params.name, body.publish)),
  );
  app.delete<{ Params: NameParams; Querystring: UnpublishQuery }>(
    '/v1/endpoints/:name/ports',
    { schema: { params: NameParams, querystring: UnpublishQuery } },
    async ({ params, query }) => deck.unpublish(params.name, query.spec),
  );
}
