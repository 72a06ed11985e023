/**
 * The host's sockets as the socket uplink uses them: calls that `src/device/syscall.ts` does not have, options, and
 * addresses. Structures are laid out for 64-bit little-endian Linux.
 */
import koffi from 'koffi';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { close, type Memory, setsockopt } from '../device/syscall.ts';

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
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_LINGER = 13;
export const SO_RCVLOWAT = 18;
export const SO_PEEK_OFF = 42;
export const SO_MEMINFO = 55;
/** Since Linux 5.14: which buffers stay as they are. */
export const SO_BUF_LOCK = 72;
export const SOCK_RCVBUF_LOCK = 2;

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

const LINGER_NOT = Int32Array.of(1, 0);

/** Closes a TCP socket; its other end is reset. */
export function abort(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_LINGER, LINGER_NOT, 8);
  close(fd);
}

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
