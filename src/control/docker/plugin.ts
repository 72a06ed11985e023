import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import type { Deck } from '../deck.ts';
import { DeckError, invalid } from '../error.ts';
import { containerName, dockerSocket } from './container-names.ts';
import { Follower } from './follower.ts';
import { IpamDriver } from './ipam-driver.ts';
import type { Message } from './messages.ts';
import { NetworkDriver, UNNAMED } from './network-driver.ts';

/** Docker's own requests are some kilobytes. */
const LARGEST_REQUEST = 1 << 20;
/** Milliseconds in which a request must be there as a whole. */
const REQUEST_TIMEOUT = 10_000;

export interface DockerPluginParts {
  deck: Deck;
  /** Waits until what was changed is on the disk. */
  saved(): Promise<void>;
  log(level: 'warn' | 'error', message: string): void;
  /** What the container with an endpoint is called; asks Docker by default. */
  nameOf?(endpointId: string): Promise<string | undefined>;
}

type Handler = (message: Message) => object | Promise<object>;

/**
 * The plugin `tapdeck` of Docker: network driver and IPAM driver of a deck behind a socket, in Docker's protocol for legacy
 * plugins (docs.docker.com/engine/extend/plugin_api; libnetwork, docs/remote.md and docs/ipam.md). HTTP with one call per
 * request, `POST /NetworkDriver.Join`, whose bodies are JSON without saying so.
 */
export class DockerPlugin {
  readonly #parts: DockerPluginParts;
  readonly #follower: Follower;
  readonly #handlers: ReadonlyMap<string, Handler>;
  readonly #server: Server;
  /** With the socket that is ours to remove. */
  #listening: { socket?: string } | null = null;

  constructor(parts: DockerPluginParts) {
    const { deck, log, nameOf = (id) => containerName(dockerSocket(), id) } = parts;
    this.#parts = parts;
    this.#follower = new Follower({ deck, nameOf, log });
    const ipam = new IpamDriver(deck, () => performance.now());
    const network = new NetworkDriver({
      deck,
      yieldSubnet: (subnet) => ipam.yield(subnet),
      onJoined: (container, endpointId) => this.#follower.follow(container, endpointId),
    });
    this.#handlers = handlersOf(network, ipam);
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT }, (request, response) => {
      void this.#serve(request, response);
    });
  }

  /**
   * Throws a `DeckError` when the socket cannot be made.
   * @param passed a descriptor of it, when somebody else has made it and keeps it
   */
  async listen(socket: string, passed?: number): Promise<void> {
    let umask: number | undefined;
    try {
      if (passed === undefined) mkdirSync(dirname(socket), { recursive: true, mode: 0o755 });
      umask = process.umask(0o077);
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(passed === undefined ? { path: socket } : { fd: passed }, () => resolve());
      });
    } catch (error) {
      throw invalid(
        `cannot listen for Docker at ${socket}: ${(error as Error).message}; choose another place with --docker-plugin=PATH`,
      );
    } finally {
      if (umask !== undefined) process.umask(umask);
    }
    if (passed === undefined) chmodSync(socket, 0o600);
    this.#listening = passed === undefined ? { socket } : {};
    // The last daemon may have ended before it knew.
    for (const { id, name, endpoints } of this.#parts.deck.containers()) {
      if (name.startsWith(UNNAMED) && endpoints[0]) this.#follower.follow(id, endpoints[0].id);
    }
  }

  /** Answers nothing any more, and removes the socket if it has made it. */
  async close(): Promise<void> {
    this.#follower.close();
    if (this.#listening === null) return;
    if (this.#listening.socket !== undefined) rmSync(this.#listening.socket, { force: true });
    this.#listening = null;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await closed;
  }

  /** Does what one call asks for; answers the status and body. */
  async call(method: string, text: string): Promise<{ status: number; body: object }> {
    const handler = this.#handlers.get(method);
    // Docker takes it for what a driver need not know.
    if (!handler) return refusal(404, `tapdeck knows no call ${method}`);
    try {
      const body = await handler(parse(text));
      await this.#parts.saved();
      return { status: 200, body };
    } catch (error) {
      if (!(error instanceof DeckError)) {
        this.#parts.log('error', `${method} of Docker failed: ${(error as Error).stack}`);
        return refusal(500, 'tapdeck failed at it; its log says how');
      }
      // Never 404, which would say that there is no such call.
      return refusal(400, error.message);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text: string;
    try {
      text = await bodyOf(request);
    } catch {
      // Half a request, or one that does not end.
      response.destroy();
      return;
    }
    const { status, body } = await this.call((request.url ?? '').slice(1), text);
    // The content type of Docker's plugin protocol.
    response.writeHead(status, { 'content-type': 'application/vnd.docker.plugins.v1.2+json' });
    response.end(JSON.stringify(body));
  }
}

function handlersOf(network: NetworkDriver, ipam: IpamDriver): ReadonlyMap<string, Handler> {
  const nothing = () => ({});
  return new Map<string, Handler>([
    ['Plugin.Activate', () => ({ Implements: ['NetworkDriver', 'IpamDriver'] })],
    ['NetworkDriver.GetCapabilities', () => network.capabilities()],
    ['NetworkDriver.CreateNetwork', (message) => network.createNetwork(message)],
    ['NetworkDriver.DeleteNetwork', (message) => network.deleteNetwork(message)],
    ['NetworkDriver.CreateEndpoint', (message) => network.createEndpoint(message)],
    ['NetworkDriver.EndpointOperInfo', (message) => network.operationalInfo(message)],
    ['NetworkDriver.DeleteEndpoint', (message) => network.deleteEndpoint(message)],
    ['NetworkDriver.Join', (message) => network.join(message)],
    ['NetworkDriver.Leave', (message) => network.leave(message)],
    ['NetworkDriver.ProgramExternalConnectivity', (message) => network.programExternalConnectivity(message)],
    ['NetworkDriver.RevokeExternalConnectivity', (message) => network.revokeExternalConnectivity(message)],
    // Of a swarm's managers and members, whom a driver of scope local does not know.
    ['NetworkDriver.AllocateNetwork', () => ({ Options: {} })],
    ['NetworkDriver.FreeNetwork', nothing],
    ['NetworkDriver.DiscoverNew', nothing],
    ['NetworkDriver.DiscoverDelete', nothing],
    ['IpamDriver.GetCapabilities', () => ipam.capabilities()],
    ['IpamDriver.GetDefaultAddressSpaces', () => ipam.addressSpaces()],
    ['IpamDriver.RequestPool', (message) => ipam.requestPool(message)],
    ['IpamDriver.ReleasePool', (message) => ipam.releasePool(message)],
    ['IpamDriver.RequestAddress', (message) => ipam.requestAddress(message)],
    ['IpamDriver.ReleaseAddress', (message) => ipam.releaseAddress(message)],
  ]);
}

/** What a network driver says in `Err`, an IPAM driver says in `Error`. */
function refusal(status: number, message: string) {
  return { status, body: { Err: message, Error: message } };
}

/** Handshakes have no body. */
function parse(text: string): Message {
  if (text.trim() === '') return {};
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw invalid(`the request is not JSON: ${(error as Error).message}`);
  }
  if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Message;
  throw invalid('the request is not a JSON object');
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > LARGEST_REQUEST) throw new Error('too long');
  }
  return Buffer.concat(chunks).toString('utf8');
}
