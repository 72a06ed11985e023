import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { connect, isIPv6, type Socket } from 'node:net';

/** A name server of the host. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** The largest message over TCP: its length has two bytes (RFC 1035 §4.2.2). */
const MOST = 65_535;

/**
 * Sends a question over UDP from a port of its own, which the kernel draws at random, to one server, and to no other who sends to that port
 * is listened (RFC 5452 §9.2). Resolves with the first message that `isAnswer` wants; rejects after `timeout` milliseconds, and when
 * the server's host says that nobody is there.
 */
export function askUdp(
  { address, port }: Upstream,
  message: Uint8Array,
  timeout: number,
  isAnswer: (answer: Uint8Array) => boolean,
): Promise<Uint8Array> {
  let socket: DatagramSocket | undefined;
  return new Promise<Uint8Array>((resolve, reject) => {
    socket = createSocket(isIPv6(address.replace(/%.*$/, '')) ? 'udp6' : 'udp4');
    // Nobody's reason to stay: a program whose deck is closed ends.
    socket.unref();
    const timer = setTimeout(() => reject(new Error(`${address} does not answer`)), timeout).unref();
    socket.once('close', () => clearTimeout(timer));
    socket.on('error', reject);
    socket.on('message', (answer) => {
      if (isAnswer(answer)) resolve(answer);
    });
    socket.once('connect', () => {
      socket!.send(message, (error) => {
        if (error) reject(error);
      });
    });
    // With a callback it would be called, too, when there is no way to the server.
    socket.connect(port, address);
  }).finally(() => socket?.close());
}

/** The same over TCP. */
export function askTcp(
  { address, port }: Upstream,
  message: Uint8Array,
  timeout: number,
  isAnswer: (answer: Uint8Array) => boolean,
): Promise<Uint8Array> {
  let socket: Socket | undefined;
  return new Promise<Uint8Array>((resolve, reject) => {
    socket = connect({ host: address, port });
    socket.unref();
    const timer = setTimeout(() => reject(new Error(`${address} does not answer over TCP`)), timeout).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`${address} has closed the connection`));
    });
    socket.on('error', reject);
    const received: Buffer[] = [];
    let length = 0;
    socket.on('data', (piece) => {
      received.push(piece);
      length += piece.length;
      if (length < 2) return;
      const whole = received.length === 1 ? received[0]! : Buffer.concat(received.splice(0, received.length));
      if (received.length === 0) received.push(whole);
      const end = 2 + whole.readUInt16BE(0);
      if (length < end) return;
      const answer = whole.subarray(2, end);
      if (isAnswer(answer)) resolve(answer);
      else reject(new Error(`${address} has answered something else`));
    });
    const framed = Buffer.alloc(2 + Math.min(message.length, MOST));
    framed.writeUInt16BE(message.length, 0);
    framed.set(message, 2);
    socket.write(framed);
  }).finally(() => socket?.destroy());
}
