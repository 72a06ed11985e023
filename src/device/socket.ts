import {
  addressOf,
  bind,
  close,
  connect,
  errno,
  O_CLOEXEC,
  recvmsg,
  sendmsg,
  socket,
  socketpair,
} from './syscall.ts';
import { checked, EAGAIN, ECONNRESET, EINTR, SyscallError } from './syscall-error.ts';

const AF_UNIX = 1;
export const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
/** Keeps messages apart and in order, and says when the other side is gone. */
const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** A connected pair of unix sockets, closed on exec: for messages, or for a stream of bytes. */
export function socketPair(type = SOCK_SEQPACKET): [number, number] {
  const pair = new Int32Array(2);
  checked(socketpair(AF_UNIX, type | O_CLOEXEC, 0, pair), 'cannot make a pair of sockets');
  return [pair[0]!, pair[1]!];
}

/** A unix socket for datagrams with an abstract name (unix(7)): it goes with its descriptor, and anybody may send to it. */
export function mailbox(name: string): number {
  const fd = checked(socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0), 'cannot make a unix socket');
  const address = abstractAddress(name);
  try {
    checked(bind(fd, address, address.length), `cannot name a unix socket ${name}`);
  } catch (error) {
    close(fd);
    throw error;
  }
  return fd;
}

/** Sends `text` and a descriptor to the `mailbox` of that name. Throws a `SyscallError`, also when it is in another network namespace. */
export function sendTo(name: string, text: string, descriptor: number): void {
  const fd = checked(socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0), 'cannot make a unix socket');
  const address = abstractAddress(name);
  try {
    checked(connect(fd, address, address.length), `cannot connect to unix socket ${name}`);
    sendMessage(fd, text, descriptor);
  } finally {
    close(fd);
  }
}

/** sockaddr_un: the family and, behind a zero, the name. */
function abstractAddress(name: string): Uint8Array {
  return Uint8Array.of(AF_UNIX, 0, 0, ...new TextEncoder().encode(name));
}

/** A message, and the descriptor that came with it or -1. */
export interface SocketMessage {
  text: string;
  descriptor: number;
}

// struct msghdr with one iovec and one control message of one descriptor. Offsets in 64-bit words.
const MSG_IOV = 2;
const MSG_IOVLEN = 3;
const MSG_CONTROL = 4;
const MSG_CONTROLLEN = 5;
/** Flags, in 32-bit words. */
const MSG_FLAGS = 12;
/** cmsg_len: a header of 16 bytes and a descriptor of 4; padded to 24. */
const CMSG_LEN = 20;
const CMSG_SPACE = 24;

/**
 * Sends `text` as one message, with a descriptor when one is given (SCM_RIGHTS, unix(7)): the receiver gets a
 * descriptor of its own for the same open file. Waits while the receiver has no room.
 */
export function sendMessage(fd: number, text: string, descriptor = -1): void {
  send(fd, text, descriptor, 0);
}

/** As `sendMessage`, but does not wait: answers whether the receiver had room. */
export function offerMessage(fd: number, text: string, descriptor = -1): boolean {
  return send(fd, text, descriptor, MSG_DONTWAIT);
}

function send(fd: number, text: string, descriptor: number, flags: number): boolean {
  const envelope = new Envelope(new TextEncoder().encode(text));
  if (descriptor >= 0) envelope.enclose(descriptor);
  while (sendmsg(fd, envelope.header, MSG_NOSIGNAL | flags) < 0) {
    const number = errno();
    if (number === EAGAIN) return false;
    if (number !== EINTR) throw new SyscallError('cannot send over a unix socket', number);
  }
  return envelope.keep();
}

/**
 * The next message, of at most 64 KiB. Null when the other side has closed or, without `wait`, when there is
 * none now. The caller owns the descriptor that it holds.
 */
export function receiveMessage(fd: number, { wait }: { wait: boolean }): SocketMessage | null {
  const envelope = new Envelope(new Uint8Array(64 * 1024));
  envelope.makeRoom();
  let count: number;
  for (;;) {
    count = recvmsg(fd, envelope.header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    if (count >= 0) break;
    const number = errno();
    if (number === EAGAIN && !wait) return null;
    // The other side closed without having read what we sent.
    if (number === ECONNRESET) return null;
    if (number !== EINTR) throw new SyscallError('cannot receive from a unix socket', number);
  }
  const descriptor = envelope.enclosed();
  if ((envelope.flags & (MSG_CTRUNC | MSG_TRUNC)) !== 0) {
    if (descriptor >= 0) close(descriptor);
    throw new Error('a message over a unix socket was too long');
  }
  if (count === 0 && descriptor < 0) return null;
  return { text: new TextDecoder().decode(envelope.body.subarray(0, count)), descriptor };
}

/** What sendmsg and recvmsg take, and the memory that it points to. */
class Envelope {
  readonly body: Uint8Array;
  readonly header = new BigUint64Array(7);
  readonly #iovec: BigUint64Array;
  readonly #control = new Int32Array(CMSG_SPACE / 4);

  constructor(body: Uint8Array) {
    this.body = body;
    this.#iovec = BigUint64Array.of(body.length === 0 ? 0n : addressOf(body), BigInt(body.length));
    this.header[MSG_IOV] = addressOf(this.#iovec);
    this.header[MSG_IOVLEN] = 1n;
  }

  get flags(): number {
    return new Int32Array(this.header.buffer)[MSG_FLAGS]!;
  }

  enclose(descriptor: number): void {
    this.makeRoom();
    this.#control.set([CMSG_LEN, 0, SOL_SOCKET, SCM_RIGHTS, descriptor]);
  }

  makeRoom(): void {
    this.header[MSG_CONTROL] = addressOf(this.#control);
    this.header[MSG_CONTROLLEN] = BigInt(CMSG_SPACE);
  }

  /** The descriptor received, or -1. Also keeps the memory in use until the kernel has filled it. */
  enclosed(): number {
    const [length, , level, type, descriptor] = this.#control;
    this.keep();
    return length === CMSG_LEN && level === SOL_SOCKET && type === SCM_RIGHTS ? descriptor! : -1;
  }

  /** A use of all parts after the call: the collector does not see that the header points to them. */
  keep(): boolean {
    return this.body.length + this.#iovec.length + this.#control.length > 0;
  }
}
