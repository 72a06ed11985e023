import { addressOf, errno } from '../device/syscall.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, SOCKADDR_IN6 } from './host-socket.ts';
import { Message } from './message.ts';

// bits/socket.h, linux/in.h, linux/in6.h, linux/udp.h.
export const SOL_IP = 0;
export const SOL_UDP = 17;
export const SOL_IPV6 = 41;
const IP_TOS = 1;
const IP_TTL = 2;
const IP_PKTINFO = 8;
const IP_RECVERR = 11;
const IPV6_RECVERR = 25;
const IPV6_PKTINFO = 50;
const IPV6_HOPLIMIT = 52;
const IPV6_TCLASS = 67;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** Where both have the port, in network order. */
export const SOCKADDR_PORT = 2;
export const SOCKADDR_IN_ADDRESS = 4;
export const SOCKADDR_IN6_ADDRESS = 8;
export const SOCKADDR_IN6_SCOPE = 24;

/** cmsghdr: length of itself and its data (8 bytes), level, type. The next begins at a multiple of 8. */
const CMSG_HEADER = 16;
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
/** More than all messages together that a socket of ours asks for. */
const CONTROL_ROOM = 512;
/** What may stand in front of the payload when it is sent. */
const HEAD_ROOM = 64;

/**
 * What sendmsg and recvmsg take for one datagram: its other end (`name`), where its bytes are, and what is said about it
 * beside them (control messages). Made once and used for every datagram.
 */
export class DatagramMessage {
  /** The other end, a sockaddr_in or sockaddr_in6. */
  readonly name = new Uint8Array(SOCKADDR_IN6);
  readonly nameView = new DataView(this.name.buffer);
  readonly control = new Uint8Array(CONTROL_ROOM);
  readonly controlView = new DataView(this.control.buffer);
  /** Bytes sent in front of the payload: `sendWithHead`. */
  readonly head = new Uint8Array(HEAD_ROOM);

  /** Of the datagram received: TTL or hop limit, -1 when the kernel did not say. */
  ttl = -1;
  /** Type of service or traffic class, 0 when the kernel did not say. */
  tos = 0;
  /** Bytes of each of the datagrams that the kernel has put together (UDP_GRO), 0 when it is one. */
  segment = 0;
  /** Where in `control` the local address is (4 or 16 bytes), -1 when the kernel did not say. */
  localAt = -1;
  /** Whether that is a group or broadcast address. */
  isLocalGroup = false;
  /** Where in `control` the sock_extended_err is, -1 for none. */
  errorAt = -1;

  readonly #message = new Message(this.name, this.control);
  readonly #headAddress = Number(addressOf(this.head));

  /**
   * Sends `length` bytes from `bytes[at]` on to `name`.
   * @param nameLength SOCKADDR_IN or SOCKADDR_IN6
   * @param controlLength bytes of control messages: see `addSegment` and `addLocal…`
   * @returns bytes sent, or the error number, negative
   */
  send(
    fd: number,
    nameLength: number,
    bytes: Uint8Array,
    at: number,
    length: number,
    controlLength = 0,
  ): number {
    this.#message.at(bytes, at, length);
    return this.#send(fd, nameLength, controlLength);
  }

  /** As `send`, with the first `headLength` bytes of `head` in front. */
  sendWithHead(
    fd: number,
    nameLength: number,
    headLength: number,
    bytes: Uint8Array,
    at: number,
    length: number,
  ): number {
    this.#message.behind(this.#headAddress, headLength, bytes, at, length);
    return this.#send(fd, nameLength, 0);
  }

  #send(fd: number, nameLength: number, controlLength: number): number {
    const count = this.#message.send(fd, MSG_DONTWAIT | MSG_NOSIGNAL, nameLength, controlLength);
    return count < 0 ? -errno() : count;
  }

  /**
   * Receives one datagram into `bytes[at]` and reads what is said about it.
   * @param flags MSG_ERRQUEUE, or none
   * @returns its length (that of the datagram, also when it did not fit), or the error number, negative
   */
  receive(fd: number, bytes: Uint8Array, at: number, room: number, flags = 0): number {
    const message = this.#message;
    message.at(bytes, at, room);
    const count = message.receive(fd, MSG_DONTWAIT | flags, SOCKADDR_IN6, CONTROL_ROOM);
    if (count < 0) return -errno();
    this.#readControl(message.controlLength);
    return count;
  }

  /** Asks the kernel to cut what is sent into datagrams of `size` bytes; returns the length of control messages now. */
  addSegment(controlLength: number, size: number): number {
    const at = this.#addControl(controlLength, 2, SOL_UDP, UDP_SEGMENT);
    this.controlView.setUint16(at, size, true);
    return controlLength + 24;
  }

  /** Says from which local address to send: 4 bytes in `bytes[at]`. */
  addLocalIpv4(controlLength: number, bytes: Uint8Array, from: number): number {
    // in_pktinfo: interface, the address to send from, destination.
    const at = this.#addControl(controlLength, 12, SOL_IP, IP_PKTINFO);
    this.control.fill(0, at, at + 16);
    for (let i = 0; i < 4; i++) this.control[at + 4 + i] = bytes[from + i]!;
    return controlLength + 32;
  }

  /** Says from which local address to send: 16 bytes in `bytes[at]`. */
  addLocalIpv6(controlLength: number, bytes: Uint8Array, from: number): number {
    // in6_pktinfo: address, interface.
    const at = this.#addControl(controlLength, 20, SOL_IPV6, IPV6_PKTINFO);
    this.control.fill(0, at, at + 24);
    for (let i = 0; i < 16; i++) this.control[at + i] = bytes[from + i]!;
    return controlLength + 40;
  }

  #addControl(at: number, length: number, level: number, type: number): number {
    const view = this.controlView;
    view.setUint32(at, CMSG_HEADER + length, true);
    view.setUint32(at + 4, 0, true);
    view.setInt32(at + CMSG_LEVEL, level, true);
    view.setInt32(at + CMSG_TYPE, type, true);
    return at + CMSG_HEADER;
  }

  #readControl(end: number): void {
    const view = this.controlView;
    this.ttl = -1;
    this.tos = 0;
    this.segment = 0;
    this.localAt = -1;
    this.isLocalGroup = false;
    this.errorAt = -1;
    for (let at = 0; at + CMSG_HEADER <= end; ) {
      const length = view.getUint32(at, true);
      if (length < CMSG_HEADER) return;
      const level = view.getInt32(at + CMSG_LEVEL, true);
      const type = view.getInt32(at + CMSG_TYPE, true);
      const data = at + CMSG_HEADER;
      if (level === SOL_IP) {
        if (type === IP_TTL) this.ttl = view.getInt32(data, true);
        else if (type === IP_TOS) this.tos = this.control[data]!;
        else if (type === IP_RECVERR) this.errorAt = data;
        else if (type === IP_PKTINFO) {
          // Behind the interface, the address to answer from; another one when this is no host's.
          this.localAt = data + 8;
          this.isLocalGroup = view.getInt32(data + 4) !== view.getInt32(data + 8);
        }
      } else if (level === SOL_IPV6) {
        if (type === IPV6_HOPLIMIT) this.ttl = view.getInt32(data, true);
        else if (type === IPV6_TCLASS) this.tos = this.control[data]!;
        else if (type === IPV6_RECVERR) this.errorAt = data;
        else if (type === IPV6_PKTINFO) {
          this.localAt = data;
          this.isLocalGroup = this.control[data] === 0xff;
        }
      } else if (level === SOL_UDP && type === UDP_GRO) this.segment = view.getInt32(data, true);
      at += (length + 7) & ~7;
    }
  }
}
