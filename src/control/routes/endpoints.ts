import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { ContainerAnswer, EndpointAnswer, PublishedPortAnswer } from '../answers.ts';
import type { ApiParts } from '../api.ts';
import { AttachBody, NameParams, PublishBody, UnpublishQuery } from '../api-schema.ts';
import { answers } from '../schema.ts';

const Ports = Type.Array(PublishedPortAnswer);

/** Containers, their endpoints, and their published ports. */
export function endpointRoutes(app: FastifyInstance, { deck }: ApiParts): void {
  app.get(
    '/v1/containers',
    {
      schema: {
        summary: 'List the containers',
        response: answers(Type.Array(ContainerAnswer), 'All containers, the oldest first'),
      },
    },
    async () => deck.containers(),
  );
  app.get<{ Params: NameParams }>(
    '/v1/containers/:name',
    {
      schema: {
        summary: 'Show a container, by name or id',
        params: NameParams,
        response: answers(ContainerAnswer, 'The container'),
      },
    },
    async ({ params }) => deck.container(params.name),
  );

  app.get(
    '/v1/endpoints',
    {
      schema: {
        summary: 'List the endpoints',
        response: answers(Type.Array(EndpointAnswer), 'All endpoints, the oldest first'),
      },
    },
    async () => deck.endpoints(),
  );
  app.post<{ Body: AttachBody }>(
    '/v1/endpoints',
    {
      schema: {
        summary: 'Make a container of a network namespace and connect it to networks',
        body: AttachBody,
        response: answers(EndpointAnswer, 'The endpoint', 201),
      },
    },
    async ({ body }, reply) => reply.code(201).send(await deck.attach(body)),
  );
  app.get<{ Params: NameParams }>(
    '/v1/endpoints/:name',
    {
      schema: {
        summary: 'Show an endpoint',
        params: NameParams,
        response: answers(EndpointAnswer, 'The endpoint'),
      },
    },
    async ({ params }) => deck.endpoint(params.name),
  );
  app.delete<{ Params: NameParams }>(
    '/v1/endpoints/:name',
    {
      schema: {
        summary: 'Remove a container: its interfaces disappear',
        params: NameParams,
        response: answers(ContainerAnswer, 'The container as it was'),
      },
    },
    async ({ params }) => deck.detach(params.name),
  );

  app.get<{ Params: NameParams }>(
    '/v1/endpoints/:name/ports',
    {
      schema: {
        summary: 'List the published ports of a container',
        params: NameParams,
        response: answers(Ports, 'Its published ports'),
      },
    },
    async ({ params }) => [...deck.container(params.name).ports],
  );
  app.post<{ Params: NameParams; Body: PublishBody }>(
    '/v1/endpoints/:name/ports',
    {
      schema: {
        summary: 'Publish ports: all that are asked for, or none',
        params: NameParams,
        body: PublishBody,
        response: answers(Ports, 'What was published', 201),
      },
    },
    async ({ params, body }, reply) => reply.code(201).send(await deck.publish(params.name, body.publish)),
  );
  app.delete<{ Params: NameParams; Querystring: UnpublishQuery }>(
    '/v1/endpoints/:name/ports',
    {
      schema: {
        summary: 'Withdraw published ports: all that are named, or none',
        params: NameParams,
        querystring: UnpublishQuery,
        response: answers(Ports, 'What was withdrawn'),
      },
    },
    async ({ params, query }) => deck.unpublish(params.name, query.spec),
  );
}
