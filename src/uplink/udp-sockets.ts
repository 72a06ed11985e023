import { discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { checksum, fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { ICMP_LEN } from '../../wire/icmp.ts';
import { ICMPV6_PACKET_TOO_BIG, icmpv6Mtu, icmpv6Type } from '../../wire/icmpv6.ts';
import { IPV4_DF, IPV4_FRAGMENT, IPV4_LEN, IPV4_SRC, IPV4_TOS, IPV4_TTL } from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_HOP_LIMIT,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_SRC,
  ipv6NextHeader,
  ipv6TrafficClass,
} from '../../wire/ipv6.ts';
import { PROTO_ICMPV6, PROTO_UDP } from '../../wire/protocol.ts';
import {
  setUdpChecksum,
  UDP_CHECKSUM,
  UDP_DST_PORT,
  UDP_LEN,
  UDP_LENGTH,
  UDP_SRC_PORT,
  writeUdp,
} from '../../wire/udp.ts';
import {
  gsoSize,
  gsoType,
  VNET_F_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import { EPOLLERR, type Epoll } from '../device/epoll.ts';
import { socket } from '../device/syscall.ts';
import { EAGAIN, EINTR, EINVAL, EIO } from '../device/syscall-error.ts';
import {
  DatagramMessage,
  SOCKADDR_IN_ADDRESS,
  SOCKADDR_IN6_ADDRESS,
  SOCKADDR_PORT,
} from './datagram-message.ts';
import { Descriptors } from './descriptors.ts';
import { ErrorQueue } from './error-queue.ts';
import { EMSGSIZE, icmpOfErrno, isExhausted, isShortage } from './host-error.ts';
import { SOCKADDR_IN, SOCKADDR_IN6 } from './host-socket.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import type { ListenOptions } from './listeners.ts';
import { isHostsOwnIpv6, isLoopbackIpv4, isLoopbackIpv6, LOOPBACK_IPV4 } from './loopback.ts';
import type { Client } from './published-ports.ts';
import type { Segment } from './segment.ts';
import { SegmentHeaders } from './segment-headers.ts';
import { SocketOptions } from './socket-options.ts';
import { UdpTable } from './udp-table.ts';

/** Sockets at once: a quarter of what one may have (65,536 ports) and more than most systems let a process open. */
const CAPACITY = 16_384;
/** Most datagrams that Linux cuts one call's bytes into (UDP_MAX_SEGMENTS before 6.11). */
const SEGMENTS = 64;
/** Most errors taken from one socket before the next has its turn. */
const ERRORS = 16;
const MTU = 65_520;
/** An IPv4 packet's length has 16 bits, and so has what is behind an IPv6 header. */
const LONGEST = 0xffff;

export interface UdpOptions {
  segment: Segment;
  /** Where sockets are watched. */
  epoll: Epoll;
  /** Under which tag, by row. */
  tag: (row: number) => number;
  errors: IcmpErrors;
  /** Of the segment; 65,520 when left out. */
  mtu?: number;
  /** Sockets at once, published ports included. */
  capacity?: number;
  /** What all sockets together may have; no fewer than `capacity` when left out. */
  descriptors?: Descriptors;
  /** Makes a socket, for tests. */
  socket?: typeof socket;
}

/**
 * The outside's UDP in sockets of the host. Each port from which the deck sends has one socket for each IP version, by
 * which it speaks to everybody and hears everybody: mapping is endpoint-independent (RFC 4787 REQ-1) outside as it is in
 * the deck, and who may answer is the deck's to filter. Published ports have theirs, bound.
 *
 * What the kernel says about datagrams is passed on: ICMP errors of others by `IcmpErrors`, with their senders' addresses;
 * TTL, type of service, ECN and don't-fragment both ways as far as sockets can (DF only outwards).
 *
 * Nothing is allocated per datagram, and its payload is written by the kernel into the slot, and read from there.
 */
export class UdpSockets {
  /** Datagrams for which there was no socket or descriptor left. */
  exhausted = 0;
  /** Datagrams that a socket had no room for, as a full queue. */
  overrun = 0;
  /** Datagrams to multicast, broadcast and impossible addresses, and from ports that nobody listens on any more. */
  refused = 0;
  /** Datagrams that the host could not send, of which the sender was told. */
  unsent = 0;
  /** ICMP errors of others that were passed on. */
  errorsReceived = 0;

  readonly #headers: SegmentHeaders;
  readonly #errors: IcmpErrors;
  readonly #message = new DatagramMessage();
  readonly #errorQueue = new ErrorQueue();
  readonly #options: SocketOptions;

  readonly #table: UdpTable;
  readonly #mtu: number;
  #fragmentIdentification = 0;

  constructor(options: UdpOptions) {
    const { segment, epoll, tag, errors, mtu = MTU } = options;
    const capacity = Math.min(CAPACITY, options.capacity ?? CAPACITY);
    this.#headers = new SegmentHeaders(segment);
    this.#mtu = mtu;
    this.#errors = errors;
    this.#options = new SocketOptions(capacity);
    this.#table = new UdpTable({
      epoll,
      tag,
      options: this.#options,
      descriptors: options.descriptors ?? new Descriptors(capacity),
      capacity,
      mtu,
      socket: options.socket ?? socket,
    });
  }

  /** Open sockets, published ports included. */
  get size(): number {
    return this.#table.size;
  }

  /** Sockets opened since the start. */
  get opened(): number {
    return this.#table.opened;
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    return this.#table.deadline;
  }

  /** Closes the sockets that were not used for long enough. */
  expire(now: number): void {
    this.#table.expire(now);
  }

  close(): void {
    this.#table.close();
  }

  /** Nobody speaks from a port of the deck any more. */
  sever(port: number, isIpv6: boolean): void {
    this.#table.release(port, isIpv6);
  }

  /**
   * Binds sockets to all of the ports, or throws a `SyscallError` and to none.
   * @param publish names them for `unpublish`
   */
  publish(publish: number, options: ListenOptions): void {
    this.#table.publish(publish, options);
  }

  unpublish(publish: number): void {
    this.#table.unpublish(publish);
  }

  // ---- outwards ----

  /** Sends what is in a frame with a whole UDP datagram, or with several (GSO). */
  transmit(frame: Frame, now: number): Transmit {
    const { bytes, l3, l4, payload } = frame;
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const port = get16(bytes, l4 + UDP_SRC_PORT);
    const destinationPort = get16(bytes, l4 + UDP_DST_PORT);
    const isFromDeck = this.#headers.isFromDeck(bytes, l3, isIpv6);
    const { published } = this.#table;
    let row = isFromDeck ? this.#table.find(port, isIpv6) : published.find(bytes, l3, port, isIpv6);
    const client = isFromDeck ? null : published.client(row, port, isIpv6, destinationPort, now);
    if (!this.#headers.writeName(this.#message, bytes, l3, isIpv6, client)) {
      this.refused++;
      return discarded(DropReason.IP_MARTIAN_DESTINATION);
    }
    this.#message.nameView.setUint16(SOCKADDR_PORT, destinationPort);
    let control = 0;
    if (isFromDeck) {
      if (row < 0) {
        row = this.#table.open(port, isIpv6, frame.origin, now);
        if (row < 0) return this.#unopened(frame, -row);
      }
      this.#table.touch(row, destinationPort, now);
    } else {
      if (row < 0) {
        this.refused++;
        return discarded(DropReason.NO_SOCKET);
      }
      control = isIpv6
        ? this.#message.addLocalIpv6(0, bytes, l3 + IPV6_SRC)
        : this.#message.addLocalIpv4(0, bytes, l3 + IPV4_SRC);
    }
    const fd = this.#table.fd[row]!;
    if (isIpv6) {
      // RFC 8200 §4.5: only who sends cuts, so a datagram that came whole goes whole, and pieces become no longer.
      const hopLimit = bytes[l3 + IPV6_HOP_LIMIT]!;
      this.#options.setIpv6(row, fd, hopLimit, ipv6TrafficClass(bytes, l3), frame.largestFragment);
    } else {
      const whole = frame.largestFragment === 0 && (get16(bytes, l3 + IPV4_FRAGMENT) & IPV4_DF) !== 0;
      this.#options.setIpv4(row, fd, bytes[l3 + IPV4_TTL]!, bytes[l3 + IPV4_TOS]!, whole);
    }
    const vnet = frame.at - VNET_LEN;
    if (gsoType(bytes, vnet) !== VNET_GSO_NONE) {
      return this.#sendSegments(row, frame, isIpv6, control, gsoSize(bytes, vnet));
    }
    // UDP's own length may end before the packet does (RFC 768); `parse` has seen to it that it is at least a header.
    const length = Math.min(get16(bytes, l4 + UDP_LENGTH) - UDP_LEN, frame.end - payload);
    this.#table.lastPort[row] = destinationPort;
    this.#table.lastLength[row] = length;
    const number = this.#send(row, isIpv6, bytes, payload, length, control);
    return number === 0 ? Transmit.SENT : this.#failed(frame, number, frame.end);
  }

  /** One call for as many datagrams as the kernel takes at once; one by one where it cannot cut them. */
  #sendSegments(row: number, frame: Frame, isIpv6: boolean, control: number, size: number): Transmit {
    const { bytes, payload, end, l4 } = frame;
    this.#table.lastPort[row] = get16(bytes, l4 + UDP_DST_PORT);
    this.#table.lastLength[row] = size;
    let whole = true;
    for (let at = payload; at < end; ) {
      const count = Math.min(end - at, whole ? size * SEGMENTS : size);
      const more = count > size ? this.#message.addSegment(control, size) : control;
      const number = this.#send(row, isIpv6, bytes, at, count, more);
      if (number !== 0) {
        // The path is too small for a datagram, or the interface cannot finish checksums (udp_send_skb).
        if (whole && count > size && (number === EINVAL || number === EIO || number === EMSGSIZE)) {
          whole = false;
          continue;
        }
        return this.#failed(frame, number, Math.min(end, payload + size));
      }
      at += count;
    }
    return Transmit.SENT;
  }

  /** @returns 0, or the number of an error that is about this datagram and no earlier one */
  #send(
    row: number,
    isIpv6: boolean,
    bytes: Uint8Array,
    at: number,
    length: number,
    control: number,
  ): number {
    const fd = this.#table.fd[row]!;
    const nameLength = isIpv6 ? SOCKADDR_IN6 : SOCKADDR_IN;
    for (let attempt = 0; ; attempt++) {
      const count = this.#message.send(fd, nameLength, bytes, at, length, control);
      if (count >= 0) return 0;
      const number = -count;
      if (number === EINTR) continue;
      if (isShortage(number)) return number;
      // With IP_RECVERR the first call after an ICMP error came fails with that, and sends nothing: it is passed on, and
      // the datagram sent again. Several errors may have come.
      this.#errorQueue.mtu = 0;
      const passed = this.#passErrors(row);
      if (attempt > (passed > 0 ? ERRORS : 0)) return number;
    }
  }

  #failed(frame: Frame, number: number, end: number): Transmit {
    if (isShortage(number)) {
      this.overrun++;
      return discarded(DropReason.SOCKET_FULL);
    }
    this.unsent++;
    this.#tell(frame, number, end);
    return discarded(DropReason.SOCKET_ERROR);
  }

  /** There is no socket for a frame. */
  #unopened(frame: Frame, number: number): Transmit {
    this.#tell(frame, number);
    if (isExhausted(number)) {
      this.exhausted++;
      return discarded(DropReason.SOCKET_EXHAUSTED);
    }
    this.unsent++;
    return discarded(DropReason.SOCKET_ERROR);
  }

  #tell(frame: Frame, number: number, end: number = frame.end): void {
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const icmp = icmpOfErrno(number, isIpv6);
    const mtu = number === EMSGSIZE ? this.#errorQueue.mtu || (isIpv6 ? IPV6_MIN_MTU : 576) : 0;
    this.#errors.about(frame, icmp >> 8, icmp & 0xff, mtu, end);
  }

  // ---- inwards ----

  /**
   * The next datagram of a socket that epoll has reported, or several of one sender put together by the kernel (GRO), in
   * a slot held for the caller; null when there is none now, no slot is free, or there were errors, which `IcmpErrors` has.
   * @param events EPOLL bits; those of an error when not known
   */
  receive(arena: Arena, now: number, row: number, events: number = EPOLLERR): Frame | null {
    const fd = this.#table.fd[row]!;
    if (fd < 0) return null;
    if ((events & EPOLLERR) !== 0) this.#passErrors(row);
    const frame = arena.allocate(BIG_SLOT - HEADROOM);
    if (frame === undefined) return null;
    const isIpv6 = this.#table.isIpv6[row] === 1;
    const { bytes, at, limit } = frame;
    const message = this.#message;
    const payload = at + ETH_LEN + (isIpv6 ? IPV6_LEN : IPV4_LEN) + UDP_LEN;
    const count = message.receive(fd, bytes, payload, limit - payload);
    if (count < 0) {
      arena.release(frame);
      // An ICMP error has come since: it is read with the next call.
      if (-count !== EAGAIN && -count !== EINTR) this.#passErrors(row);
      return null;
    }
    if (this.#write(frame, row, payload, count, isIpv6, now)) return frame;
    this.refused++;
    arena.release(frame);
    return null;
  }

  /** Writes the headers in front of a datagram; false when it is not for the deck. */
  #write(frame: Frame, row: number, payload: number, count: number, isIpv6: boolean, now: number): boolean {
    const { bytes, at } = frame;
    const message = this.#message;
    const length = UDP_LEN + count;
    const l3 = at + ETH_LEN;
    const total = payload + count - l3;
    if (isIpv6 ? length > LONGEST : total > LONGEST) return false;
    const port = this.#table.port[row]!;
    const srcPort = message.nameView.getUint16(SOCKADDR_PORT);
    const isPublished = this.#table.publisher[row]! >= 0;
    if (isPublished) {
      // To a group or broadcast address: it is for the host's segment, and stays there.
      if (message.localAt < 0 || message.isLocalGroup) return false;
      const isOwn = isIpv6
        ? isHostsOwnIpv6(message.name, SOCKADDR_IN6_ADDRESS)
        : isLoopbackIpv4(this.#client);
      if (isOwn && !this.#remember(row, isIpv6, srcPort, now)) return false;
    }
    this.#headers.writeReceived(message, bytes, at, isIpv6, PROTO_UDP, length, isPublished);
    writeUdp(bytes, payload - UDP_LEN, srcPort, port, length);
    const pseudoSum = isIpv6
      ? pseudoSumIpv6(bytes, l3, PROTO_UDP, length)
      : pseudoSumIpv4(bytes, l3, PROTO_UDP, length);
    this.#finish(frame, payload, count, pseudoSum);
    if (isIpv6) this.#limit(frame, row, payload, count);
    return true;
  }

  /** The sender of an IPv4 datagram. */
  get #client(): number {
    return get32(this.#message.name, SOCKADDR_IN_ADDRESS);
  }

  /** Notes who of the host's own has sent a datagram to a published port; false when it could not be answered. */
  #remember(row: number, isIpv6: boolean, clientPort: number, now: number): boolean {
    const { name } = this.#message;
    let client: Client | null = null;
    if (!isIpv6) client = this.#client === LOOPBACK_IPV4 ? null : this.#client;
    else if (!isLoopbackIpv6(name, SOCKADDR_IN6_ADDRESS)) client = name;
    return this.#table.published.remember(row, this.#table.port[row]!, isIpv6, clientPort, client, now);
  }

  /**
   * RFC 8200 §4.5: only who sends cuts. Its sender has cut it, or would have if it had heard of the networks behind the
   * deck, and so the deck may: into pieces as long as those networks have said.
   */
  #limit(frame: Frame, row: number, payload: number, count: number): void {
    const mtu = this.#table.inwardMtu[row]!;
    const { segment } = this.#message;
    const longest = segment > 0 && segment < count ? segment : count;
    if (payload + longest - frame.at - ETH_LEN <= mtu) return;
    frame.largestFragment = mtu;
    this.#fragmentIdentification = (this.#fragmentIdentification + 1) | 0;
    frame.fragmentIdentification = this.#fragmentIdentification;
  }

  /**
   * Hears a packet-too-big message of the deck's about a datagram that came from here. Nobody outside could be told, so
   * what comes to that port from now on may be cut. False when it is no such message.
   */
  tooBig(frame: Frame): boolean {
    const { bytes, l4, end } = frame;
    const quoted = l4 + ICMP_LEN;
    if (frame.protocol !== PROTO_ICMPV6 || quoted + IPV6_LEN + UDP_LEN > end) return false;
    if (icmpv6Type(bytes, l4) !== ICMPV6_PACKET_TOO_BIG || ipv6NextHeader(bytes, quoted) !== PROTO_UDP)
      return false;
    const port = get16(bytes, quoted + IPV6_LEN + UDP_DST_PORT);
    let row = this.#table.find(port, true);
    // As the source of an answer would be.
    if (!this.#headers.isFromDeck(bytes, quoted + IPV6_DST - IPV6_SRC, true)) {
      row = this.#table.published.find(bytes, quoted + IPV6_DST - IPV6_SRC, port, true);
    }
    if (row < 0) return false;
    const mtu = icmpv6Mtu(bytes, l4);
    this.#table.inwardMtu[row] = mtu < 0 ? this.#mtu : Math.min(this.#mtu, Math.max(IPV6_MIN_MTU, mtu));
    return true;
  }

  /** Leaves the checksum to whoever has to write it out, and says where datagrams are to be cut apart. */
  #finish(frame: Frame, payload: number, count: number, pseudoSum: number): void {
    const { bytes, at } = frame;
    const l4 = payload - UDP_LEN;
    const { segment } = this.#message;
    const isGso = segment > 0 && segment < count;
    set16(bytes, l4 + UDP_CHECKSUM, fold(pseudoSum));
    writeVnet(
      bytes,
      at - VNET_LEN,
      VNET_F_NEEDS_CSUM,
      isGso ? VNET_GSO_UDP_L4 : VNET_GSO_NONE,
      isGso ? payload - at : 0,
      isGso ? segment : 0,
      l4 - at,
      UDP_CHECKSUM,
    );
    frame.length = payload + count - at;
  }

  /** Passes on the ICMP errors that a socket has; answers how many. */
  #passErrors(row: number): number {
    const queue = this.#errorQueue;
    const fd = this.#table.fd[row]!;
    let count = 0;
    while (count < ERRORS && queue.next(fd)) {
      this.#passError(row);
      count++;
    }
    this.errorsReceived += count;
    return count;
  }

  /** Writes the headers anew that the socket wrote: as the deck had sent them. */
  #passError(row: number): void {
    const queue = this.#errorQueue;
    const errors = this.#errors;
    const isIpv6 = this.#table.isIpv6[row] === 1;
    const l3 = errors.begin(isIpv6);
    if (l3 < 0) return;
    const { bytes } = errors;
    const header = (isIpv6 ? IPV6_LEN : IPV4_LEN) + UDP_LEN;
    const quoted = Math.min(queue.length, errors.room(isIpv6) - header);
    const sent = queue.port === this.#table.lastPort[row] ? this.#table.lastLength[row]! : 0;
    const length = UDP_LEN + Math.max(sent, queue.length);
    // A published port's answers come from the address that the client had asked.
    const isPublished = this.#table.publisher[row]! >= 0 && queue.localAt >= 0;
    const l4 = this.#headers.writeQuoted(queue, bytes, l3, isIpv6, PROTO_UDP, length, isPublished);
    writeUdp(bytes, l4, this.#table.port[row]!, queue.port, length);
    for (let i = 0; i < quoted; i++) bytes[l4 + UDP_LEN + i] = queue.bytes[i]!;
    // Known only when all that it covers is quoted.
    if (UDP_LEN + quoted === length) {
      const pseudoSum = isIpv6
        ? pseudoSumIpv6(bytes, l3, PROTO_UDP, length)
        : pseudoSumIpv4(bytes, l3, PROTO_UDP, length);
      setUdpChecksum(bytes, l4, checksum(bytes, l4, length, pseudoSum));
    }
    errors.finish(
      isIpv6,
      header + quoted,
      queue.type,
      queue.code,
      queue.rest,
      queue.control,
      queue.offenderAt(isIpv6),
    );
  }
}
