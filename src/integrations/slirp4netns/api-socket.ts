import { lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { invalid } from '../../control/error.ts';
import { LONGEST_SOCKET_PATH } from '../../control/paths.ts';
import { type HostForwards, LARGEST_REQUEST } from './api-request.ts';

/** Milliseconds in which a client must have said all that it has to say. */
const PATIENCE = 10_000;

/** Listens at a path for as long as it is not closed. */
export class ApiSocket {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  /** Requests are answered one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** Throws a `DeckError` when it cannot listen there. */
  static async listen(path: string, forwards: HostForwards): Promise<ApiSocket> {
    // Node.js would listen at what fits of it.
    if (Buffer.byteLength(path) > LONGEST_SOCKET_PATH) {
      throw invalid(`--api-socket ${path} is longer than ${LONGEST_SOCKET_PATH} bytes; give a shorter path`);
    }
    const socket = new ApiSocket(forwards);
    // Of one that was killed.
    if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
    const umask = process.umask(0o077);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.#server.once('error', reject);
        socket.#server.listen(path, resolve);
      });
    } catch (error) {
      throw invalid(`cannot listen at --api-socket ${path}: ${(error as Error).message}`);
    } finally {
      process.umask(umask);
    }
    return socket;
  }

  private constructor(forwards: HostForwards) {
    // A client ends its side to say that this was all, and waits for the answer.
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#serve(client, forwards));
  }

  #serve(client: Socket, forwards: HostForwards): void {
    this.#clients.add(client);
    let request = '';
    let answered = false;
    // Not when it has been silent: it could come byte by byte.
    const deadline = setTimeout(() => client.destroy(), PATIENCE);
    const answer = () => {
      if (answered) return;
      answered = true;
      clearTimeout(deadline);
      const asked = request;
      this.#last = this.#last.then(async () => {
        // One request on a connection: what a client says besides is not waited for.
        client.end(JSON.stringify(await forwards.answer(asked)), () => client.destroy());
      });
    };
    client.setEncoding('utf8');
    client.on('error', () => client.destroy());
    client.on('close', () => {
      clearTimeout(deadline);
      this.#clients.delete(client);
    });
    client.on('end', answer);
    client.on('data', (text: string) => {
      if (answered) return;
      request += text;
      // Some do not end their side: what is whole is answered.
      if (request.length > LARGEST_REQUEST || isWhole(request)) answer();
    });
  }

  close(): void {
    for (const client of this.#clients) client.destroy();
    // Removes its path, too.
    this.#server.close();
  }
}

function isWhole(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
