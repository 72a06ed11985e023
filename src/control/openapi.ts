import swagger from '@fastify/swagger';
import { type FastifyInstance, fastify } from 'fastify';
import { packageVersion } from './version.ts';

/**
 * The description of the API in OpenAPI 3, made from the schemas by which requests are checked. It is made on an instance of
 * its own, and only when somebody asks: no daemon starts later for it.
 * @param register registers the routes that are described
 */
export async function describeApi(register: (app: FastifyInstance) => void): Promise<object> {
  const app = fastify();
  try {
    app.setSerializerCompiler(() => JSON.stringify);
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'tapdeck',
          description: 'The management API of a tapdeck daemon, on its unix socket.',
          version: packageVersion(),
          license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
        },
      },
    });
    register(app);
    await app.ready();
    return app.swagger();
  } finally {
    await app.close();
  }
}
