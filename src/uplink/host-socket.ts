/**
 * The host's sockets as the socket uplink uses them: calls that `src/device/syscall.ts` does not have, addresses, and
 * transfers between a socket and the middle of a slot. Structures are laid out for 64-bit little-endian Linux.
 */
import koffi from 'koffi';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { addressOf, type Memory, recvmsg, sendmsg } from '../device/syscall.ts';

const libc = koffi.load(null);

export const connect: (fd: number, address: Memory, length: number) => number = libc.func(
  'int connect(int, void *, uint32_t)',
);
export const shutdown: (fd: number, how: number) => number = libc.func('int shutdown(int, int)');
/** `length`: one 32-bit word, the room for the value; the kernel writes there how long it is. */
export const getsockopt: (
  fd: number,
  level: number,
  option: number,
  value: Memory,
  length: Memory,
) => number = libc.func('int getsockopt(int, int, int, void *, void *)');

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;

export const SOL_SOCKET = 1;
export const SO_ERROR = 4;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_LINGER = 13;
export const SO_RCVLOWAT = 18;
export const SO_PEEK_OFF = 42;
export const SO_MEMINFO = 55;

export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;

export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_NOTSENT_LOWAT = 25;

export const SHUT_WR = 1;

export const MSG_PEEK = 0x2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_ERRQUEUE = 0x2000;
export const MSG_NOSIGNAL = 0x4000;

/** ioctl: bytes in a TCP socket that were not sent yet. */
export const SIOCOUTQNSD = 0x894b;

/** Bytes of a sockaddr_in and a sockaddr_in6. */
export const SOCKADDR_IN = 16;
export const SOCKADDR_IN6 = 28;

/** Writes a sockaddr_in; answers its length. */
export function writeSockaddr4(out: Uint8Array, address: number, port: number): number {
  out[0] = AF_INET;
  out[1] = 0;
  out[2] = port >>> 8;
  out[3] = port;
  out[4] = address >>> 24;
  out[5] = address >>> 16;
  out[6] = address >>> 8;
  out[7] = address;
  out.fill(0, 8, SOCKADDR_IN);
  return SOCKADDR_IN;
}

/** Writes a sockaddr_in6 from the four words at `words[at]`; answers its length. */
export function writeSockaddr6(out: Uint8Array, words: Int32Array, at: number, port: number): number {
  out.fill(0, 0, SOCKADDR_IN6);
  out[0] = AF_INET6;
  out[2] = port >>> 8;
  out[3] = port;
  for (let i = 0; i < 4; i++) {
    const word = words[at + i];
    out[8 + 4 * i] = word >>> 24;
    out[9 + 4 * i] = word >>> 16;
    out[10 + 4 * i] = word >>> 8;
    out[11 + 4 * i] = word;
  }
  return SOCKADDR_IN6;
}

// struct msghdr in 32-bit words.
const MSG_NAME = 0;
const MSG_NAMELEN = 2;
const MSG_IOV = 4;
const MSG_IOVLEN = 6;
const MSG_CONTROL = 8;
const MSG_CONTROLLEN = 10;
const MSG_FLAGS = 12;

/**
 * A struct msghdr with up to two pieces of memory, used again for every transfer: an address in the middle of a slot costs
 * no object, because it is written as two halves. The views given stay in use as long as this does.
 */
export class Message {
  /** What sendmsg and recvmsg take. */
  readonly header = new Uint32Array(14);
  readonly #iovec = new Uint32Array(8);
  readonly #start: number;
  readonly #nameLength: number;
  readonly #controlLength: number;
  /** The header only points to these: somebody has to hold them. */
  readonly held: readonly unknown[];

  /**
   * @param bytes the arena's memory
   * @param name room for an address, if one is to be sent or received
   * @param control room for control messages
   */
  constructor(bytes: Uint8Array, name?: Uint8Array, control?: NodeJS.ArrayBufferView) {
    this.#start = bytes.length === 0 ? 0 : Number(addressOf(bytes));
    this.#nameLength = name?.length ?? 0;
    this.#controlLength = control?.byteLength ?? 0;
    this.held = [bytes, name, control];
    this.#pointer(MSG_IOV, this.#iovec);
    this.header[MSG_IOVLEN] = 1;
    if (name !== undefined) this.#pointer(MSG_NAME, name);
    if (control !== undefined) this.#pointer(MSG_CONTROL, control);
    this.reset();
  }

  /** Room for name and control as at first: the kernel writes there what it has used. */
  reset(): void {
    this.header[MSG_NAMELEN] = this.#nameLength;
    this.header[MSG_CONTROLLEN] = this.#controlLength;
    this.header[MSG_FLAGS] = 0;
  }

  get nameLength(): number {
    return this.header[MSG_NAMELEN];
  }

  set nameLength(length: number) {
    this.header[MSG_NAMELEN] = length;
  }

  get controlLength(): number {
    return this.header[MSG_CONTROLLEN];
  }

  set controlLength(length: number) {
    this.header[MSG_CONTROLLEN] = length;
  }

  /** MSG_TRUNC and others, after recvmsg. */
  get flags(): number {
    return this.header[MSG_FLAGS];
  }

  /** The next transfer is of `length` bytes at offset `at` of the arena. User addresses have 47 bits: a double holds them exactly. */
  at(at: number, length: number): void {
    const iovec = this.#iovec;
    const address = this.#start + at;
    iovec[0] = address >>> 0;
    iovec[1] = (address / 0x1_0000_0000) >>> 0;
    iovec[2] = length;
    this.header[MSG_IOVLEN] = 1;
  }

  /** The next transfer is first of `skip` bytes of other memory (an `addressOf`, as a number), then as with `at`. */
  behind(other: number, skip: number, at: number, length: number): void {
    const iovec = this.#iovec;
    const address = this.#start + at;
    iovec[0] = other >>> 0;
    iovec[1] = (other / 0x1_0000_0000) >>> 0;
    iovec[2] = skip;
    iovec[4] = address >>> 0;
    iovec[5] = (address / 0x1_0000_0000) >>> 0;
    iovec[6] = length;
    this.header[MSG_IOVLEN] = 2;
  }

  /** Bytes sent, or -1. */
  send(fd: number, flags: number): number {
    return sendmsg(fd, this.header, flags);
  }

  /** Bytes received, or -1. */
  receive(fd: number, flags: number): number {
    return recvmsg(fd, this.header, flags);
  }

  #pointer(word: number, view: NodeJS.ArrayBufferView): void {
    const address = addressOf(view);
    this.header[word] = Number(address & 0xffff_ffffn);
    this.header[word + 1] = Number(address >> 32n);
  }
}
