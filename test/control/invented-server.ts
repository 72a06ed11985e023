import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type Answer, decode, encode, type Packet, type Question } from 'dns-packet';

/** What an invented name server says to a question; undefined for nothing. */
export type Say = (
  question: Question,
  query: Packet,
  overTcp: boolean,
) => Partial<Packet> | Uint8Array | undefined;

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

  static async open(address = '127.0.0.1', port = 0): Promise<InventedServer> {
    const server = new InventedServer();
    await new Promise<void>((resolve) => server.#udp.bind(port, address, resolve));
    await new Promise<void>((resolve) => server.#tcp.listen(server.port, address, resolve));
    return server;
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
        const answer = this.#answer(received.subarray(2), true, 0);
        if (answer === undefined) return;
        const framed = Buffer.alloc(2 + answer.length);
        framed.writeUInt16BE(answer.length);
        framed.set(answer, 2);
        socket.write(framed);
      });
    });
  }

  get port(): number {
    return (this.#udp.address() as AddressInfo).port;
  }

  #heard(message: Buffer, { address, port }: RemoteInfo): void {
    const answer = this.#answer(message, false, port);
    if (answer !== undefined) this.#udp.send(answer, port, address);
  }

  #answer(message: Buffer, overTcp: boolean, from: number): Uint8Array | undefined {
    const query = decode(message);
    const question = query.questions![0]!;
    this.asked.push({ name: question.name, type: question.type, overTcp, id: query.id!, from, query });
    const said = this.say(question, query, overTcp);
    if (said === undefined || said instanceof Uint8Array) return said;
    const { flags = 0, ...rest } = said;
    return encode({
      type: 'response',
      id: query.id!,
      flags: 0x180 | flags,
      questions: query.questions!,
      ...rest,
    } as Packet);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#udp.close(resolve));
    await new Promise<void>((resolve) => {
      this.#tcp.close(() => resolve());
    });
  }
}

export function a(name: string, data: string, ttl = 60): Answer {
  return { type: 'A', name, ttl, data };
}
