import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type Answer, decode, encode, type Packet, type Question } from 'dns-packet';

/** What an invented name server says to a question, messages of a list one after the other; undefined for nothing. */
export type Say = (
  question: Question,
  query: Packet,
  overTcp: boolean,
) => Partial<Packet> | Uint8Array | readonly Uint8Array[] | undefined;

/** A name server on the loopback, over UDP and TCP at one port, that says what a test wants. */
export class InventedServer {
  readonly asked: {
    name: string;
    type: string;
    overTcp: boolean;
    id: number;
    from: number;
    query: Packet;
  }[] = [];
  say: Say = () => ({});
  readonly #udp: Socket;
  readonly #tcp: Server;

  /** One at each of these addresses, all at one port, which the kernel chooses. */
  static async open(...addresses: string[]): Promise<InventedServer[]> {
    for (;;) {
      const servers: InventedServer[] = [];
      try {
        for (const address of addresses) {
          const server = new InventedServer();
          servers.push(server);
          await server.#bind(address, servers[0] === server ? 0 : servers[0]!.port);
        }
        return servers;
      } catch (error) {
        await Promise.all(servers.map((server) => server.close()));
        // Free for the first of all and for UDP, and somebody else's for another.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      }
    }
  }

  private constructor() {
    this.#udp = createSocket('udp4');
    this.#udp.on('message', (message, from) => this.#heard(message, from));
    this.#tcp = createServer((socket) => {
      socket.on('error', () => {});
      let received = Buffer.alloc(0);
      socket.on('data', (piece) => {
        received = Buffer.concat([received, piece]);
        if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
        for (const answer of this.#answers(received.subarray(2), true, 0)) {
          const framed = Buffer.alloc(2 + answer.length);
          framed.writeUInt16BE(answer.length);
          framed.set(answer, 2);
          socket.write(framed);
        }
      });
    });
  }

  async #bind(address: string, port: number): Promise<void> {
    this.#udp.bind(port, address);
    await once(this.#udp, 'listening');
    this.#tcp.listen(this.port, address);
    await once(this.#tcp, 'listening');
  }

  get port(): number {
    return (this.#udp.address() as AddressInfo).port;
  }

  #heard(message: Buffer, { address, port }: RemoteInfo): void {
    for (const answer of this.#answers(message, false, port)) this.#udp.send(answer, port, address);
  }

  #answers(message: Buffer, overTcp: boolean, from: number): readonly Uint8Array[] {
    const query = decode(message);
    const question = query.questions![0]!;
    this.asked.push({ name: question.name, type: question.type, overTcp, id: query.id!, from, query });
    const said = this.say(question, query, overTcp);
    if (said === undefined) return [];
    if (said instanceof Uint8Array) return [said];
    if (isList(said)) return said;
    const { flags = 0, ...rest } = said;
    const response = { type: 'response', id: query.id!, flags: 0x180 | flags, questions: query.questions! };
    return [encode({ ...response, ...rest } as Packet)];
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#udp.close(resolve));
    await new Promise<void>((resolve) => {
      this.#tcp.close(() => resolve());
    });
  }
}

function isList(said: Partial<Packet> | readonly Uint8Array[]): said is readonly Uint8Array[] {
  return Array.isArray(said);
}

export function a(name: string, data: string, ttl = 60): Answer {
  return { type: 'A', name, ttl, data };
}
