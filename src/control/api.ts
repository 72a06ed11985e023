import { type FastifyError, type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { ErrorBody, VersionInfo } from './api-schema.ts';
import type { Deck } from './deck.ts';
import { DeckError, type DeckErrorCode } from './error.ts';
import type { EventLog } from './event-log.ts';
import { LateValidation } from './late-validation.ts';
import type { Leases } from './leases.ts';
import type { Pruned } from './prune.ts';
import { attachmentRoutes } from './routes/attachments.ts';
import { captureRoutes } from './routes/captures.ts';
import { conntrackRoutes } from './routes/conntrack.ts';
import { daemonRoutes } from './routes/daemon.ts';
import { endpointRoutes } from './routes/endpoints.ts';
import { eventRoutes } from './routes/events.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { networkRoutes } from './routes/networks.ts';
import { openApiRoutes } from './routes/openapi.ts';
import { recordingRoutes } from './routes/recording.ts';
import { ruleRoutes } from './routes/rules.ts';
import { sandboxRoutes } from './routes/sandboxes.ts';
import { systemRoutes } from './routes/system.ts';
import { tableRoutes } from './routes/tables.ts';
import { whyRoutes } from './routes/why.ts';

const STATUS: Record<DeckErrorCode, number> = {
  invalid: 400,
  permission: 403,
  'not-found': 404,
  conflict: 409,
  unavailable: 503,
};

/** What is expected of clients; milliseconds. */
export interface Patience {
  /** In which a request must have come as a whole: who sends half of one is cut off then. */
  request: number;
  /**
   * After which a connection is cut off on which nothing moves, as when a client does not read its answer. Streams of events
   * are exempt: they have bounds of their own.
   */
  idle: number;
}

const PATIENCE: Patience = { request: 10_000, idle: 60_000 };
/** Connections that the kernel keeps for us when many come at once. */
const BACKLOG = 4096;

/** The areas of the API, each in a file of its own. */
const ROUTES: readonly ((app: FastifyInstance, parts: ApiParts) => void)[] = [
  daemonRoutes,
  eventRoutes,
  metricsRoutes,
  networkRoutes,
  endpointRoutes,
  attachmentRoutes,
  sandboxRoutes,
  tableRoutes,
  ruleRoutes,
  whyRoutes,
  conntrackRoutes,
  captureRoutes,
  recordingRoutes,
  systemRoutes,
];

/** What the API serves. */
export interface ApiParts {
  deck: Deck;
  leases: Leases;
  events: EventLog;
  /** Removes what nobody uses. */
  prune(): Promise<Pruned>;
  version(): VersionInfo;
  /** Whether nothing keeps the daemon any longer. */
  ending(): boolean;
  /** Settles when what has been changed is on the disk. */
  saved(): Promise<void>;
  /** Told about defects: what a request failed with that is no `DeckError`. */
  onDefect(error: Error, request: string): void;
}

/** The management API: JSON over HTTP, every path but /metrics under /v1. Not listening yet; see `listenAt`. */
export function buildApi(parts: ApiParts, { request, idle } = PATIENCE): FastifyInstance {
  const validation = new LateValidation();
  const app = fastify({
    logger: false,
    // A HEAD of a stream would begin one.
    exposeHeadRoutes: false,
    schemaController: validation.schemaController,
    // Clients that hold sandboxes must not keep the daemon from ending.
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 1024 },
    requestTimeout: request,
    connectionTimeout: idle,
    http: { headersTimeout: request, connectionsCheckingInterval: request / 4 },
    clientErrorHandler: (error, socket) => {
      if (socket.writable && (error as NodeJS.ErrnoException).code !== 'ECONNRESET')
        socket.end(badRequest(error));
      else socket.destroy();
    },
    // A path that no request handler ever sees.
    frameworkErrors: (error, _, reply) => refuse(reply, 'invalid', error.message, error.statusCode),
    // What is sent is meant: nothing is dropped or turned into another type.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
  });
  app.addHook('onListen', () => void validation.prepare());

  app.setErrorHandler((error: FastifyError | DeckError, request, reply) => {
    if (error instanceof DeckError) return refuse(reply, error.code, error.message);
    const status = error.statusCode ?? 500;
    if (status < 500) return refuse(reply, 'invalid', error.message, status);
    parts.onDefect(error, `${request.method} ${request.url}`);
    return refuse(reply, 'internal', `the daemon failed: ${error.message}; its log has the details`, 500);
  });
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, 'not-found', `there is no ${request.method} ${request.url} in this version`),
  );
  // What was answered is kept, whatever happens to the daemon then.
  app.addHook('onSend', async ({ method }) => {
    if (method !== 'GET') await parts.saved();
  });
  registerRoutes(app, parts);
  return app;
}

/** Listens at a unix socket. */
export async function listenAt(app: FastifyInstance, path: string): Promise<void> {
  await app.listen({ path, backlog: BACKLOG });
}

/** Listens at a socket that somebody else has made and keeps. */
export async function listenOn(app: FastifyInstance, fd: number): Promise<void> {
  // Fastify's own `listen` asks for an address, which a descriptor has none of; without it, it leaves the connections to us.
  app.addHook('preClose', async () => app.server.closeAllConnections());
  await app.ready();
  await new Promise<void>((resolve, reject) => {
    app.server.once('error', reject);
    app.server.listen({ fd }, () => {
      app.server.off('error', reject);
      resolve();
    });
  });
}

function registerRoutes(app: FastifyInstance, parts: ApiParts): void {
  for (const register of ROUTES) register(app, parts);
  openApiRoutes(app, (other) => registerRoutes(other, parts));
}

/** The answer to what is no request, or did not come as a whole. */
function badRequest({ code }: Error & { code?: string }): string {
  const late = code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const message = late
    ? 'the request did not come as a whole in time; send it at once'
    : `this is no HTTP request (${code ?? 'unknown'}); the API is HTTP/1.1, see /v1/openapi.json`;
  const body = JSON.stringify({ code: 'invalid', message } satisfies ErrorBody);
  const status = late ? '408 Request Timeout' : '400 Bad Request';
  return `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
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
