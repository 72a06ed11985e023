import { ICMP_UNREACH_FRAG_NEEDED, ICMP_UNREACHABLE } from '../../wire/icmp.ts';
import { ICMPV6_PACKET_TOO_BIG } from '../../wire/icmpv6.ts';
import {
  DatagramMessage,
  SOCKADDR_IN_ADDRESS,
  SOCKADDR_IN6_ADDRESS,
  SOCKADDR_PORT,
} from './datagram-message.ts';
import { MSG_ERRQUEUE } from './host-socket.ts';

// linux/errqueue.h: struct sock_extended_err { u32 errno; u8 origin, type, code, pad; u32 info, data }, then the offender.
const EE_ERRNO = 0;
const EE_ORIGIN = 4;
const EE_TYPE = 5;
const EE_CODE = 6;
const EE_INFO = 8;
const EE_OFFENDER = 16;
const SO_EE_ORIGIN_LOCAL = 1;
const SO_EE_ORIGIN_ICMP = 2;
const SO_EE_ORIGIN_ICMP6 = 3;

/** More than an error quotes: 1,232 bytes over IPv6, and what a router adds behind (RFC 4884). */
const ROOM = 2048;

/**
 * Reads a socket's error queue (IP_RECVERR, ip(7); IPV6_RECVERR): what routers and hosts have said about datagrams that
 * left by it, and what the kernel itself has. `next`, then the fields.
 */
export class ErrorQueue {
  /** What the error quotes of the datagram, from behind the header that the socket writes on. */
  readonly bytes = new Uint8Array(ROOM);
  /** Bytes of it. */
  length = 0;
  /** The ICMP or ICMPv6 error. */
  type = 0;
  code = 0;
  /** Its second word: 0, or the next hop's MTU. */
  rest = 0;
  /** The port that the datagram was for; 0 for those without. */
  port = 0;
  /** The MTU of the path, when the kernel has last refused a datagram for its length. */
  mtu = 0;
  readonly #message = new DatagramMessage();

  /** Where the address is that the datagram was for. */
  get destination(): Uint8Array {
    return this.#message.name;
  }

  destinationAt(isIpv6: boolean): number {
    return isIpv6 ? SOCKADDR_IN6_ADDRESS : SOCKADDR_IN_ADDRESS;
  }

  /** Where the offender's address is, and with which the local address. */
  get control(): Uint8Array {
    return this.#message.control;
  }

  offenderAt(isIpv6: boolean): number {
    const from = this.#message.errorAt + EE_OFFENDER;
    return from + (isIpv6 ? SOCKADDR_IN6_ADDRESS : SOCKADDR_IN_ADDRESS);
  }

  /** Where in `control` the address is that the datagram came from; -1 when the socket does not ask for it. */
  get localAt(): number {
    return this.#message.localAt;
  }

  /**
   * Takes errors from the queue up to one that is somebody's ICMP error, and describes it. The kernel's own about the
   * length of a datagram is noted in `mtu` and passed over: whoever sent the datagram has been told.
   * @returns whether there was one
   */
  next(fd: number): boolean {
    const message = this.#message;
    for (;;) {
      const count = message.receive(fd, this.bytes, 0, ROOM, MSG_ERRQUEUE);
      if (count < 0) return false;
      const at = message.errorAt;
      if (at < 0) continue;
      const { controlView: view, nameView } = message;
      const info = view.getInt32(at + EE_INFO, true);
      const origin = view.getUint8(at + EE_ORIGIN);
      if (origin === SO_EE_ORIGIN_LOCAL && view.getInt32(at + EE_ERRNO, true) !== 0) {
        this.mtu = info;
        continue;
      }
      if (origin !== SO_EE_ORIGIN_ICMP && origin !== SO_EE_ORIGIN_ICMP6) continue;
      this.length = Math.min(count, ROOM);
      this.type = view.getUint8(at + EE_TYPE);
      this.code = view.getUint8(at + EE_CODE);
      this.port = nameView.getUint16(SOCKADDR_PORT);
      const tooBig =
        origin === SO_EE_ORIGIN_ICMP6
          ? this.type === ICMPV6_PACKET_TOO_BIG
          : this.type === ICMP_UNREACHABLE && this.code === ICMP_UNREACH_FRAG_NEEDED;
      this.rest = tooBig ? info : 0;
      return true;
    }
  }
}
