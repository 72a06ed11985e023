import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { addAbortSignal } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorBody, OpenSandboxBody, SandboxClosed, SandboxEvent, VersionInfo } from './api-schema.ts';
import type { Endpoint } from './endpoint.ts';
import { DeckError, unavailable } from './error.ts';

/** Nobody listens at the socket. */
export class DaemonAbsent extends DeckError {
  constructor(socket: string) {
    super(
      'unavailable',
      `no daemon is running at ${socket}; start one with \`tapdeck daemon\`, or have systemd do it: \`tapdeck install service\``,
    );
    this.name = 'DaemonAbsent';
  }
}

/**
 * How often we try to get in when many others do: for ten seconds. Counted, because on a machine that stops for as long nobody has
 * had the chance to let us in.
 */
const CROWD_TRIES = 660;

/** What a connection fails with when the daemon is not there, or not any more. */
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOTSOCK']);

/** The daemon's API from outside. Every call is a connection of its own. Methods throw a `DeckError`. */
export class DaemonClient {
  readonly socket: string;
  readonly #limit: number | AbortSignal | undefined;

  /**
   * @param limit milliseconds in which an answer must be there as a whole, or what breaks off all that is under way, its reason
   *   being an error to throw; for as long as it takes when left out
   */
  constructor(socket: string, limit?: number | AbortSignal) {
    this.socket = socket;
    this.#limit = limit;
  }

  version(): Promise<VersionInfo> {
    return this.get('/v1/version');
  }

  get<T>(path: string): Promise<T> {
    return this.#call('GET', path);
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#call('POST', path, body);
  }

  delete<T>(path: string): Promise<T> {
    return this.#call('DELETE', path);
  }

  /** An answer of one JSON text per line, which comes for as long as the connection stands. */
  async stream<T>(path: string): Promise<LineStream<T>> {
    const response = await this.#send('GET', path);
    if (response.statusCode !== 200) throw await this.#refusal(response);
    return { lines: parse<T>(linesOf(response)), destroy: () => void response.destroy() };
  }

  /** An answer of bytes, which come for as long as the connection stands. */
  async bytes(path: string): Promise<ByteStream> {
    const response = await this.#send('GET', path);
    if (response.statusCode !== 200) throw await this.#refusal(response);
    // Said to whoever reads; nobody may be at that moment.
    response.on('error', () => {});
    return {
      chunks: response,
      closed: new Promise((resolve) => response.once('close', resolve)),
      header: (name) => String(response.headers[name] ?? ''),
      destroy: () => void response.destroy(),
    };
  }

  /** The elements of an array that is answered with one of them per line. Throws when the answer breaks off. */
  async *elements<T>(path: string): AsyncGenerator<T> {
    const response = await this.#send('GET', path);
    if (response.statusCode !== 200) throw await this.#refusal(response);
    let last = '';
    for await (const line of unbroken(linesOf(response))) {
      last = line;
      if (line.startsWith('{')) yield JSON.parse(line.replace(/,$/, '')) as T;
    }
    if (!last.endsWith(']')) {
      throw unavailable(`the daemon at ${this.socket} has gone in the middle of its answer; ask again`);
    }
  }

  /** Says that a sandbox is coming, so that the daemon does not end before it is there. */
  expectSandbox(id: string): Promise<VersionInfo> {
    return this.#call('PUT', `/v1/sandboxes/${id}`);
  }

  /** Attaches a sandbox, which the daemon ends when the answered connection is closed, by whatever. */
  async openSandbox(body: OpenSandboxBody): Promise<SandboxConnection> {
    const response = await this.#send('POST', '/v1/sandboxes', body);
    if (response.statusCode !== 200) throw await this.#refusal(response);
    return SandboxConnection.begin(response, this.socket);
  }

  /** Ends a sandbox and waits until nothing of it is left; one that is not there is no error. */
  closeSandbox(id: string): Promise<SandboxClosed> {
    return this.delete(`/v1/sandboxes/${id}`);
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#send(method, path, body);
    if (response.statusCode! >= 300) throw await this.#refusal(response);
    return JSON.parse(await this.#text(response)) as T;
  }

  /** Sends a request; when more clients come at once than the kernel lets wait, after some of them. */
  async #send(method: string, path: string, body?: object): Promise<IncomingMessage> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#sendOnce(method, path, body);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        // connect(2) of a socket that does not block: nothing has been sent.
        if (code !== 'EAGAIN' || tries === CROWD_TRIES)
          throw this.#connectionError(error as NodeJS.ErrnoException);
      }
      await sleep(5 + Math.random() * 20);
    }
  }

  #sendOnce(method: string, path: string, body?: object): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const content = body && Buffer.from(JSON.stringify(body));
      const headers = content && { 'content-type': 'application/json', 'content-length': content.length };
      const signal = typeof this.#limit === 'number' ? AbortSignal.timeout(this.#limit) : this.#limit;
      const sent: ClientRequest = request(
        {
          socketPath: this.socket,
          method,
          path,
          agent: false,
          ...(headers && { headers }),
          ...(signal && { signal }),
        },
        // The request's own would let what has begun break off as if the daemon had gone.
        (response) => resolve(signal ? addAbortSignal(signal, response) : response),
      );
      sent.on('error', reject);
      sent.end(content);
    });
  }

  async #refusal(response: IncomingMessage): Promise<DeckError> {
    const text = await this.#text(response);
    try {
      const { code, message } = JSON.parse(text) as ErrorBody;
      return new DeckError(code === 'internal' ? 'unavailable' : code, message);
    } catch {
      return unavailable(`the daemon at ${this.socket} answered ${response.statusCode} without saying why`);
    }
  }

  async #text(response: IncomingMessage): Promise<string> {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString('utf8');
    } catch (error) {
      throw this.#connectionError(error as NodeJS.ErrnoException);
    }
  }

  #connectionError(error: NodeJS.ErrnoException): Error {
    if (this.#limit instanceof AbortSignal && this.#limit.aborted) return this.#limit.reason as Error;
    if (error.name === 'AbortError') {
      const seconds = Number(this.#limit) / 1000;
      return unavailable(`the daemon at ${this.socket} has not answered within ${seconds} s; see its log`);
    }
    if (error.code && ABSENT.has(error.code)) return new DaemonAbsent(this.socket);
    if (error.code === 'EACCES' || error.code === 'EPERM') {
      return new DeckError(
        'permission',
        `no permission to talk to the daemon at ${this.socket}; be the user who started it, or start your own with --host unix:///PATH`,
      );
    }
    return unavailable(`cannot talk to the daemon at ${this.socket}: ${error.message}`);
  }
}

export interface LineStream<T> {
  /** Ends with the connection, however it ends. */
  readonly lines: AsyncIterable<T>;
  destroy(): void;
}

export interface ByteStream {
  /** Throws when the connection breaks. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Settles when the connection has ended, however. */
  readonly closed: Promise<void>;
  header(name: string): string;
  destroy(): void;
}

/** A sandbox as its client holds it: by an open connection, on which the daemon tells what happens to it. */
export class SandboxConnection {
  readonly endpoint: Endpoint;
  /** What its /etc/resolv.conf is to say. */
  readonly resolvConf: string;
  /** The sandbox's events after `attached`; ends with the connection. */
  readonly events: AsyncIterable<SandboxEvent>;
  readonly #response: IncomingMessage;

  static async begin(response: IncomingMessage, socket: string): Promise<SandboxConnection> {
    const lines = linesOf(response);
    const first = await lines.next().catch(() => ({ done: true as const, value: undefined }));
    const event = first.done ? undefined : (JSON.parse(first.value) as SandboxEvent);
    if (event?.event !== 'attached') throw new DaemonAbsent(socket);
    return new SandboxConnection(response, event, parse(lines));
  }

  private constructor(
    response: IncomingMessage,
    { endpoint, resolvConf }: { endpoint: Endpoint; resolvConf: string },
    events: AsyncIterable<SandboxEvent>,
  ) {
    this.#response = response;
    this.endpoint = endpoint;
    this.resolvConf = resolvConf;
    this.events = events;
  }

  /** Breaks the connection, at which the daemon ends the sandbox. */
  destroy(): void {
    this.#response.destroy();
  }
}

function linesOf(response: IncomingMessage): AsyncIterator<string> {
  const reader = createInterface({ input: response });
  // A connection that breaks has an error and a `close`, but no `end`, for which the reader waits.
  response.on('error', () => {});
  response.on('close', () => reader.close());
  return reader[Symbol.asyncIterator]();
}

async function* parse<T>(lines: AsyncIterator<string>): AsyncGenerator<T> {
  for await (const line of unbroken(lines)) yield JSON.parse(line) as T;
}

/** Lines until the connection ends; that it breaks is the same as its end. */
async function* unbroken(lines: AsyncIterator<string>): AsyncGenerator<string> {
  for (;;) {
    const line = await lines.next().catch(() => ({ done: true as const, value: undefined }));
    if (line.done) return;
    yield line.value;
  }
}
