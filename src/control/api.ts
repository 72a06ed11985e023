import { Readable } from 'node:stream';
import { type FastifyError, type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import {
  AttachBody,
  CreateNetworkBody,
  type ErrorBody,
  FlowQueryText,
  type FlowsClosed,
  NameParams,
  OpenSandboxBody,
  PublishBody,
  type SandboxClosed,
  UnpublishQuery,
  type VersionInfo,
} from './api-schema.ts';
import type { Deck } from './deck.ts';
import { DeckError, type DeckErrorCode } from './error.ts';
import type { FlowQuery } from './flow-filter.ts';
import { streamFlows } from './flow-stream.ts';
import type { FlowPageView } from './flows.ts';
import type { Leases } from './leases.ts';

const STATUS: Record<DeckErrorCode, number> = {
  invalid: 400,
  permission: 403,
  'not-found': 404,
  conflict: 409,
  unavailable: 503,
};

/** What the API serves. */
export interface ApiParts {
  deck: Deck;
  leases: Leases;
  version(): VersionInfo;
  /** Whether nothing keeps the daemon any longer. */
  ending(): boolean;
  /** Told about defects: what a request failed with that is no `DeckError`. */
  onDefect(error: Error, request: string): void;
}

/** The management API: JSON over HTTP, every path under /v1. Not listening yet. */
export function buildApi({ deck, leases, version, ending, onDefect }: ApiParts): FastifyInstance {
  const app = fastify({
    logger: false,
    // Clients that hold sandboxes must not keep the daemon from ending.
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 1024 },
    // What is sent is meant: nothing is dropped or turned into another type.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
  });

  app.setErrorHandler((error: FastifyError | DeckError, request, reply) => {
    if (error instanceof DeckError) return refuse(reply, error.code, error.message);
    const status = error.statusCode ?? 500;
    if (status < 500) return refuse(reply, 'invalid', error.message, status);
    onDefect(error, `${request.method} ${request.url}`);
    return refuse(reply, 'internal', `the daemon failed: ${error.message}; its log has the details`, 500);
  });
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, 'not-found', `there is no ${request.method} ${request.url} in this version`),
  );

  app.get('/v1/health', async () => ({ status: 'ok' }));
  app.get('/v1/version', async () => version());

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

  // Says that a sandbox of this id is coming, so that the daemon does not end before it is there.
  app.put<{ Params: { id: string } }>('/v1/sandboxes/:id', async ({ params }) => {
    leases.expect(params.id);
    return version();
  });
  // Answers with a stream of `SandboxEvent`s, one per line; the sandbox lives as long as the connection.
  app.post<{ Body: OpenSandboxBody }>(
    '/v1/sandboxes',
    { schema: { body: OpenSandboxBody } },
    async ({ body }, reply) => {
      await leases.open(body, reply.raw);
      reply.hijack();
    },
  );
  app.delete<{ Params: { id: string } }>('/v1/sandboxes/:id', async ({ params }): Promise<SandboxClosed> => {
    await leases.close(params.id);
    return { ending: ending() };
  });

  app.get('/v1/fdb', async () => deck.fdb());
  app.get('/v1/neighbors', async () => deck.neighbors());
  app.get('/v1/drops', async () => deck.drops());
  app.get('/v1/counters', async () => deck.counters());
  app.get('/v1/rules', async () => deck.rules());

  const flowQuery = { schema: { querystring: FlowQueryText } };
  // An array as any other, but with each connection on a line of its own: there can be hundreds of thousands, which neither
  // side wants to have in one piece.
  app.get<{ Querystring: FlowQueryText }>('/v1/conntrack', flowQuery, async ({ query }, reply) => {
    const wanted = readFlowQuery(query);
    // What can be refused is refused before an answer begins.
    const first = await deck.flowPage(wanted);
    return reply.type('application/json; charset=utf-8').send(Readable.from(flowLines(deck, wanted, first)));
  });
  app.delete<{ Querystring: FlowQueryText }>(
    '/v1/conntrack',
    flowQuery,
    async ({ query }): Promise<FlowsClosed> => ({ closed: await deck.closeFlows(readFlowQuery(query)) }),
  );
  app.get('/v1/conntrack/count', async () => deck.countFlows());
  // Answers with a stream of `FlowEventView`s, one per line, for as long as the client reads.
  app.get<{ Querystring: FlowQueryText }>('/v1/conntrack/events', flowQuery, async ({ query }, reply) => {
    await streamFlows(deck, readFlowQuery(query), reply.raw);
    reply.hijack();
  });
  return app;
}

async function* flowLines(deck: Deck, query: FlowQuery, first: FlowPageView): AsyncGenerator<string> {
  let separator = '[\n';
  for (let page: FlowPageView | undefined = first; page; ) {
    // The next part is made while this one is being sent.
    const next: Promise<FlowPageView> | undefined =
      page.next === null ? undefined : deck.flowPage(query, page.next);
    next?.catch(() => {});
    let lines = '';
    for (const flow of page.flows) {
      lines += `${separator}${JSON.stringify(flow)}`;
      separator = ',\n';
    }
    if (lines !== '') yield lines;
    page = await next;
  }
  yield separator === '[\n' ? '[]\n' : '\n]\n';
}

function readFlowQuery({
  family,
  srcPort,
  dstPort,
  replySrcPort,
  replyDstPort,
  ...texts
}: FlowQueryText): FlowQuery {
  return {
    ...texts,
    ...(family && { family: family === '4' ? 4 : 6 }),
    ...(srcPort && { srcPort: Number(srcPort) }),
    ...(dstPort && { dstPort: Number(dstPort) }),
    ...(replySrcPort && { replySrcPort: Number(replySrcPort) }),
    ...(replyDstPort && { replyDstPort: Number(replyDstPort) }),
  };
}

function refuse(
  reply: FastifyReply,
  code: ErrorBody['code'],
  message: string,
  status = code === 'internal' ? 500 : STATUS[code],
): FastifyReply {
  const body: ErrorBody = { code, message: message.replace(/\s*\n\s*/g, ' ') };
  return reply.code(status).send(body);
}
