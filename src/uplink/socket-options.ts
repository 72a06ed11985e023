import { setsockopt } from '../device/syscall.ts';
import { SOL_IP, SOL_IPV6, SOL_UDP } from './datagram-message.ts';
import { IPV6_V6ONLY, SOL_SOCKET } from './host-socket.ts';

// linux/in.h, linux/in6.h, linux/udp.h, asm-generic/socket.h.
const IP_TOS = 1;
const IP_TTL = 2;
const IP_PKTINFO = 8;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IP_RECVTTL = 12;
const IP_RECVTOS = 13;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MTU_DISCOVER = 23;
const IPV6_MTU = 24;
const IPV6_RECVERR = 25;
const IPV6_RECVPKTINFO = 49;
const IPV6_RECVHOPLIMIT = 51;
const IPV6_RECVTCLASS = 66;
const IPV6_TCLASS = 67;
const UDP_GRO = 104;
const SO_RCVBUF = 8;
/** Of IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: cut what is too long, or never. */
const PMTUDISC_DONT = 0;
const PMTUDISC_DO = 2;

/** Room for more datagrams of 64 KiB than the two that fit by default; the kernel takes memory only for what is there. */
const RECEIVE_BUFFER = 1024 * 1024;
const UNKNOWN = -1;

/**
 * What datagram sockets are told about the headers that they write, by row. TTL, type of service and don't-fragment are
 * mostly those of the datagram before: the kernel is told when they are not.
 */
export class SocketOptions {
  readonly #ttl: Int16Array;
  readonly #tos: Int16Array;
  /** IPv6: how long pieces may be, 0 for whole datagrams. IPv4: 1 for those that may be cut. */
  readonly #pieces: Int32Array;
  readonly #word = new Int32Array(1);

  constructor(capacity: number) {
    this.#ttl = new Int16Array(capacity);
    this.#tos = new Int16Array(capacity);
    this.#pieces = new Int32Array(capacity);
  }

  /** A new UDP socket; published ones are told the address that a datagram was for. */
  prepareUdp(row: number, fd: number, isIpv6: boolean, isPublished: boolean): void {
    this.prepare(row, fd, isIpv6);
    // Since Linux 5.0: several datagrams of one sender come as one.
    this.#set(fd, SOL_UDP, UDP_GRO, 1);
    this.#set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    if (!isPublished) return;
    if (isIpv6) this.#set(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1);
    else this.#set(fd, SOL_IP, IP_PKTINFO, 1);
  }

  /** A new socket: its errors are wanted, and what came with its datagrams. */
  prepare(row: number, fd: number, isIpv6: boolean): void {
    this.#ttl[row] = UNKNOWN;
    this.#tos[row] = UNKNOWN;
    this.#pieces[row] = UNKNOWN;
    if (isIpv6) {
      this.#set(fd, SOL_IPV6, IPV6_V6ONLY, 1);
      this.#set(fd, SOL_IPV6, IPV6_RECVERR, 1);
      this.#set(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, 1);
      this.#set(fd, SOL_IPV6, IPV6_RECVTCLASS, 1);
    } else {
      this.#set(fd, SOL_IP, IP_RECVERR, 1);
      this.#set(fd, SOL_IP, IP_RECVTTL, 1);
      this.#set(fd, SOL_IP, IP_RECVTOS, 1);
    }
  }

  /** @param whole whether the datagram must not be cut */
  setIpv4(row: number, fd: number, ttl: number, tos: number, whole: boolean): void {
    if (this.#ttl[row] !== ttl) {
      this.#ttl[row] = ttl;
      this.#set(fd, SOL_IP, IP_TTL, ttl);
    }
    if (this.#tos[row] !== tos) {
      this.#tos[row] = tos;
      this.#set(fd, SOL_IP, IP_TOS, tos);
    }
    if (this.#pieces[row] !== +!whole) {
      this.#pieces[row] = +!whole;
      this.#set(fd, SOL_IP, IP_MTU_DISCOVER, whole ? PMTUDISC_DO : PMTUDISC_DONT);
    }
  }

  /**
   * As `setIpv4`.
   * @param pieces how long the pieces may be into which the datagram is cut, 0 when it must not be cut
   */
  setIpv6(row: number, fd: number, hopLimit: number, trafficClass: number, pieces: number): void {
    if (this.#ttl[row] !== hopLimit) {
      this.#ttl[row] = hopLimit;
      this.#set(fd, SOL_IPV6, IPV6_UNICAST_HOPS, hopLimit);
    }
    if (this.#tos[row] !== trafficClass) {
      this.#tos[row] = trafficClass;
      this.#set(fd, SOL_IPV6, IPV6_TCLASS, trafficClass);
    }
    if (this.#pieces[row] !== pieces) {
      this.#pieces[row] = pieces;
      this.#set(fd, SOL_IPV6, IPV6_MTU_DISCOVER, pieces === 0 ? PMTUDISC_DO : PMTUDISC_DONT);
      this.#set(fd, SOL_IPV6, IPV6_MTU, pieces);
    }
  }

  /** What the kernel does not know it answers with an error, and the socket does without. */
  #set(fd: number, level: number, option: number, value: number): void {
    this.#word[0] = value;
    setsockopt(fd, level, option, this.#word, 4);
  }
}
