import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { answers } from '../schema.ts';

/** The description of the API by itself. */
export function openApiRoutes(app: FastifyInstance, register: (app: FastifyInstance) => void): void {
  let description: Promise<object> | undefined;
  app.get(
    '/v1/openapi.json',
    {
      schema: {
        summary: 'Describe this API',
        response: answers(Type.Object({}, { title: 'OpenApi' }), 'An OpenAPI 3.1 document'),
      },
    },
    () => {
      description ??= import('../openapi.ts').then(({ describeApi }) => describeApi(register));
      return description;
    },
  );
}
