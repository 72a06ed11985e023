import { Transmit } from '../../switch/device.ts';
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
import { EPOLLERR, EPOLLIN, type Epoll } from '../device/epoll.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { close, errno, O_CLOEXEC, O_NONBLOCK, socket } from '../device/syscall.ts';
import { EAGAIN, EINTR, EINVAL, EIO, EMFILE } from '../device/syscall-error.ts';
import {
  DatagramMessage,
  SOCKADDR_IN,
  SOCKADDR_IN_ADDRESS,
  SOCKADDR_IN6,
  SOCKADDR_PORT,
} from './datagram-message.ts';
import { ErrorQueue } from './error-queue.ts';
import { EMSGSIZE, icmpOfErrno, isExhausted, isShortage } from './host-error.ts';
import { bindHostPort, SOCK_DGRAM } from './host-port.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import { IdleQueue } from './idle-queue.ts';
import type { ListenOptions } from './listeners.ts';
import { isLoopbackIpv4, LOOPBACK_IPV4 } from './loopback.ts';
import { PublishedPorts } from './published-ports.ts';
import type { Segment } from './segment.ts';
import { SegmentHeaders } from './segment-headers.ts';
import { SocketOptions } from './socket-options.ts';

/** Milliseconds after the last datagram from inside for which a port stays open (RFC 4787 REQ-5: 5 minutes are recommended). */
const IDLE = 300_000;
/** The same for ports that have only asked name servers: an answer comes soon or not at all. */
const IDLE_DNS = 30_000;
const PORT_DNS = 53;
/** Milliseconds after which a question to a name server is given up when its socket is needed: resolv.conf(5)'s time-out. */
const DNS_TIMEOUT = 5_000;
/** Sockets at once: a quarter of what one may have (65,536 ports) and more than most systems let a process open. */
const CAPACITY = 16_384;
/** Most datagrams that Linux cuts one call's bytes into (UDP_MAX_SEGMENTS before 6.11). */
const SEGMENTS = 64;
/** Most errors taken from one socket before the next has its turn. */
const ERRORS = 16;
const PORTS = 65_536;
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
 * A socket is a row: a small integer, in parallel arrays. Nothing is allocated per datagram, and its payload is written
 * by the kernel into the slot, and read from there.
 */
export class UdpSockets {
  /** Sockets opened since the start. */
  opened = 0;
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
  readonly #epoll: Epoll;
  readonly #tag: (row: number) => number;
  readonly #errors: IcmpErrors;
  readonly #socket: typeof socket;
  readonly #capacity: number;
  readonly #message = new DatagramMessage();
  readonly #errorQueue = new ErrorQueue();
  readonly #options: SocketOptions;

  readonly #fd: Int32Array;
  readonly #isIpv6: Uint8Array;
  /** The port that the deck knows: where the row is in `#byPort`, or the host's own of a published port. */
  readonly #port: Uint16Array;
  /** Publish that the row belongs to, or -1. */
  readonly #publish: Int32Array;
  /** The last datagram sent: to which port, and bytes of payload. An error mostly is about that one. */
  readonly #lastPort: Uint16Array;
  readonly #lastLength: Uint16Array;
  /** How long IPv6 packets may be that come in by the socket, as far as the deck has said. */
  readonly #inwardMtu: Uint16Array;
  readonly #mtu: number;
  /** Row + 1 by the deck's port; IPv6 in the second half. */
  readonly #byPort = new Uint16Array(2 * PORTS);
  readonly #published = new PublishedPorts();
  readonly #idle: IdleQueue;
  readonly #idleDns: IdleQueue;
  /** Rows that were used and are free again. */
  readonly #free: number[] = [];
  #high = 0;
  #size = 0;
  #fragmentIdentification = 0;

  constructor(options: UdpOptions) {
    const { segment, epoll, tag, errors, mtu = MTU, capacity = CAPACITY } = options;
    this.#headers = new SegmentHeaders(segment);
    this.#mtu = mtu;
    this.#epoll = epoll;
    this.#tag = tag;
    this.#errors = errors;
    this.#socket = options.socket ?? socket;
    this.#capacity = Math.min(capacity, PORTS - 1);
    this.#options = new SocketOptions(capacity);
    this.#fd = new Int32Array(capacity).fill(-1);
    this.#isIpv6 = new Uint8Array(capacity);
    this.#port = new Uint16Array(capacity);
    this.#publish = new Int32Array(capacity);
    this.#lastPort = new Uint16Array(capacity);
    this.#lastLength = new Uint16Array(capacity);
    this.#inwardMtu = new Uint16Array(capacity);
    this.#idle = new IdleQueue(capacity, IDLE);
    this.#idleDns = new IdleQueue(capacity, IDLE_DNS);
  }

  /** Open sockets, published ports included. */
  get size(): number {
    return this.#size;
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    return Math.min(this.#idle.deadline, this.#idleDns.deadline);
  }

  /** Closes the sockets that were not used for long enough. */
  expire(now: number): void {
    while (this.#idle.deadline <= now) this.#close(this.#idle.oldest);
    while (this.#idleDns.deadline <= now) this.#close(this.#idleDns.oldest);
  }

  close(): void {
    for (let row = 0; row < this.#high; row++) if (this.#fd[row]! >= 0) this.#close(row);
  }

  // ---- outwards ----

  /** Sends what is in a frame with a whole UDP datagram, or with several (GSO). The frame is SENT also when the host did not send it. */
  transmit(frame: Frame, now: number): Transmit {
    const { bytes, l3, l4, payload } = frame;
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const port = get16(bytes, l4 + UDP_SRC_PORT);
    const destinationPort = get16(bytes, l4 + UDP_DST_PORT);
    const isFromDeck = this.#headers.isFromDeck(bytes, l3, isIpv6);
    const loopback = isFromDeck ? LOOPBACK_IPV4 : this.#published.client(port, destinationPort);
    if (!this.#headers.writeName(this.#message, bytes, l3, isIpv6, loopback)) {
      this.refused++;
      return Transmit.SENT;
    }
    this.#message.nameView.setUint16(SOCKADDR_PORT, destinationPort);
    let control = 0;
    let row: number;
    if (isFromDeck) {
      row = this.#byPort[isIpv6 ? PORTS + port : port]! - 1;
      if (row < 0) {
        row = this.#open(port, isIpv6, now);
        if (row < 0) {
          this.#tell(frame, -row);
          return Transmit.SENT;
        }
      }
      this.#touch(row, destinationPort, now);
    } else {
      row = this.#published.find(bytes, l3, port, isIpv6);
      if (row < 0) {
        this.refused++;
        return Transmit.SENT;
      }
      control = isIpv6
        ? this.#message.addLocalIpv6(0, bytes, l3 + IPV6_SRC)
        : this.#message.addLocalIpv4(0, bytes, l3 + IPV4_SRC);
    }
    const fd = this.#fd[row]!;
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
      this.#sendSegments(row, frame, isIpv6, control, gsoSize(bytes, vnet));
      return Transmit.SENT;
    }
    // UDP's own length may end before the packet does (RFC 768); `parse` has seen to it that it is at least a header.
    const length = Math.min(get16(bytes, l4 + UDP_LENGTH) - UDP_LEN, frame.end - payload);
    this.#lastPort[row] = destinationPort;
    this.#lastLength[row] = length;
    const number = this.#send(row, isIpv6, bytes, payload, length, control);
    if (number !== 0) this.#failed(frame, number, frame.end);
    return Transmit.SENT;
  }

  /** One call for as many datagrams as the kernel takes at once; one by one where it cannot cut them. */
  #sendSegments(row: number, frame: Frame, isIpv6: boolean, control: number, size: number): void {
    const { bytes, payload, end, l4 } = frame;
    this.#lastPort[row] = get16(bytes, l4 + UDP_DST_PORT);
    this.#lastLength[row] = size;
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
        this.#failed(frame, number, Math.min(end, payload + size));
        return;
      }
      at += count;
    }
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
    const fd = this.#fd[row]!;
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

  #failed(frame: Frame, number: number, end: number): void {
    if (isShortage(number)) this.overrun++;
    else {
      this.unsent++;
      this.#tell(frame, number, end);
    }
  }

  #tell(frame: Frame, number: number, end: number = frame.end): void {
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const icmp = icmpOfErrno(number, isIpv6);
    const mtu = number === EMSGSIZE ? this.#errorQueue.mtu || (isIpv6 ? IPV6_MIN_MTU : 576) : 0;
    this.#errors.about(frame, icmp >> 8, icmp & 0xff, mtu, end);
  }

  /** A socket for a port of the deck: its row, or the number of the error, negative. */
  #open(port: number, isIpv6: boolean, now: number): number {
    const row = this.#take(now);
    if (row < 0) {
      this.exhausted++;
      return -EMFILE;
    }
    const type = SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC;
    let fd = this.#socket(isIpv6 ? AF_INET6 : AF_INET, type, PROTO_UDP);
    if (fd < 0 && isExhausted(errno()) && this.#yield(now)) {
      fd = this.#socket(isIpv6 ? AF_INET6 : AF_INET, type, PROTO_UDP);
    }
    if (fd < 0) {
      const number = errno();
      this.#free.push(row);
      if (isExhausted(number)) this.exhausted++;
      else this.unsent++;
      return -number;
    }
    if (!this.#add(row, fd, port, isIpv6, -1)) {
      this.exhausted++;
      return -EMFILE;
    }
    this.#byPort[isIpv6 ? PORTS + port : port] = row + 1;
    return row;
  }

  /** Begins to use a socket; false, and the socket closed, when it cannot be watched (fs.epoll.max_user_watches). */
  #add(row: number, fd: number, port: number, isIpv6: boolean, publish: number): boolean {
    this.#options.prepareUdp(row, fd, isIpv6, publish >= 0);
    try {
      this.#epoll.add(fd, this.#tag(row), EPOLLIN);
    } catch {
      close(fd);
      this.#free.push(row);
      return false;
    }
    this.#fd[row] = fd;
    this.#port[row] = port;
    this.#isIpv6[row] = isIpv6 ? 1 : 0;
    this.#publish[row] = publish;
    this.#lastPort[row] = 0;
    this.#inwardMtu[row] = this.#mtu;
    this.#size++;
    this.opened++;
    return true;
  }

  /** A free row, or -1. */
  #take(now: number): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#high < this.#capacity) return this.#high++;
    return this.#yield(now) ? this.#free.pop()! : -1;
  }

  /** Gives up the oldest question to a name server whose answer nobody waits for any more. */
  #yield(now: number): boolean {
    const row = this.#idleDns.oldest;
    if (row < 0 || now - this.#idleDns.lastUse(row) < DNS_TIMEOUT) return false;
    this.#close(row);
    return true;
  }

  #touch(row: number, destinationPort: number, now: number): void {
    if (destinationPort === PORT_DNS && !this.#idle.has(row)) this.#idleDns.touch(row, now);
    else {
      this.#idleDns.remove(row);
      this.#idle.touch(row, now);
    }
  }

  #close(row: number): void {
    const isIpv6 = this.#isIpv6[row] === 1;
    const port = this.#port[row]!;
    if (this.#publish[row]! < 0) this.#byPort[isIpv6 ? PORTS + port : port] = 0;
    this.#idle.remove(row);
    this.#idleDns.remove(row);
    // The kernel stops watching it by itself.
    close(this.#fd[row]!);
    this.#fd[row] = -1;
    this.#free.push(row);
    this.#size--;
  }

  // ---- published ports ----

  /**
   * Binds sockets to all of the ports, or throws a `SyscallError` and to none.
   * @param publish names them for `unpublish`
   */
  publish(publish: number, { from, to, ...where }: ListenOptions): void {
    const isIpv6 = where.family === 6;
    const rows: number[] = [];
    try {
      for (let port = from; port <= to; port++) {
        const fd = bindHostPort({ ...where, protocol: 17, port });
        const row = this.#take(Number.POSITIVE_INFINITY);
        if (row < 0) {
          close(fd);
          throw new RangeError(
            `there are ${this.#capacity} UDP sockets already; withdraw other published ports`,
          );
        }
        if (!this.#add(row, fd, port, isIpv6, publish)) {
          throw new RangeError(
            'the host lets us watch no more sockets; raise the sysctl fs.epoll.max_user_watches',
          );
        }
        rows.push(row);
        this.#published.add(row, port, isIpv6, where.host);
      }
    } catch (error) {
      for (const row of rows) this.#withdraw(row);
      throw error;
    }
  }

  unpublish(publish: number): void {
    for (let row = 0; row < this.#high; row++) {
      if (this.#fd[row]! >= 0 && this.#publish[row] === publish) this.#withdraw(row);
    }
  }

  #withdraw(row: number): void {
    this.#published.remove(row, this.#port[row]!, this.#isIpv6[row] === 1);
    this.#close(row);
  }

  // ---- inwards ----

  /**
   * The next datagram of a socket that epoll has reported, or several of one sender put together by the kernel (GRO), in
   * a slot held for the caller; null when there is none now, no slot is free, or there were errors, which `IcmpErrors` has.
   * @param events EPOLL bits; those of an error when not known
   */
  receive(arena: Arena, _now: number, row: number, events: number = EPOLLERR): Frame | null {
    const fd = this.#fd[row]!;
    if (fd < 0) return null;
    if ((events & EPOLLERR) !== 0) this.#passErrors(row);
    const frame = arena.allocate(BIG_SLOT - HEADROOM);
    if (frame === undefined) return null;
    const isIpv6 = this.#isIpv6[row] === 1;
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
    if (this.#write(frame, row, payload, count, isIpv6)) return frame;
    this.refused++;
    arena.release(frame);
    return null;
  }

  /** Writes the headers in front of a datagram; false when it is not for the deck. */
  #write(frame: Frame, row: number, payload: number, count: number, isIpv6: boolean): boolean {
    const { bytes, at } = frame;
    const message = this.#message;
    const length = UDP_LEN + count;
    const l3 = at + ETH_LEN;
    const total = payload + count - l3;
    if (isIpv6 ? length > LONGEST : total > LONGEST) return false;
    const port = this.#port[row]!;
    const srcPort = message.nameView.getUint16(SOCKADDR_PORT);
    const isPublished = this.#publish[row]! >= 0;
    if (isPublished) {
      // To a group or broadcast address: it is for the host's segment, and stays there.
      if (message.localAt < 0 || message.isLocalGroup) return false;
      const client = get32(message.name, SOCKADDR_IN_ADDRESS);
      if (!isIpv6 && isLoopbackIpv4(client)) this.#published.remember(row, port, srcPort, client);
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

  /**
   * RFC 8200 §4.5: only who sends cuts. Its sender has cut it, or would have if it had heard of the networks behind the
   * deck, and so the deck may: into pieces as long as those networks have said.
   */
  #limit(frame: Frame, row: number, payload: number, count: number): void {
    const mtu = this.#inwardMtu[row]!;
    const { segment } = this.#message;
    const longest = segment > 0 && segment < count ? segment : count;
    if (payload + longest - frame.at - ETH_LEN <= mtu) return;
    frame.largestFragment = mtu;
    this.#fragmentIdentification = (this.#fragmentIdentification + 1) | 0;
    frame.fragmentIdentification = this.#fragmentIdentification;
  }

  /**
   * Hears a packet-too-big message of the deck's about a datagram that came from here. Nobody outside could be told, so
   * what comes to that port from now on may be cut.
   */
  tooBig(frame: Frame): void {
    const { bytes, l4, end } = frame;
    const quoted = l4 + ICMP_LEN;
    if (frame.protocol !== PROTO_ICMPV6 || quoted + IPV6_LEN + UDP_LEN > end) return;
    if (icmpv6Type(bytes, l4) !== ICMPV6_PACKET_TOO_BIG || ipv6NextHeader(bytes, quoted) !== PROTO_UDP)
      return;
    const port = get16(bytes, quoted + IPV6_LEN + UDP_DST_PORT);
    let row = this.#byPort[PORTS + port]! - 1;
    // As the source of an answer would be.
    if (!this.#headers.isFromDeck(bytes, quoted + IPV6_DST - IPV6_SRC, true)) {
      row = this.#published.find(bytes, quoted + IPV6_DST - IPV6_SRC, port, true);
    }
    if (row < 0) return;
    const mtu = icmpv6Mtu(bytes, l4);
    this.#inwardMtu[row] = mtu < 0 ? this.#mtu : Math.min(this.#mtu, Math.max(IPV6_MIN_MTU, mtu));
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
    const fd = this.#fd[row]!;
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
    const isIpv6 = this.#isIpv6[row] === 1;
    const l3 = errors.begin(isIpv6);
    if (l3 < 0) return;
    const { bytes } = errors;
    const header = (isIpv6 ? IPV6_LEN : IPV4_LEN) + UDP_LEN;
    const quoted = Math.min(queue.length, errors.room(isIpv6) - header);
    const sent = queue.port === this.#lastPort[row] ? this.#lastLength[row]! : 0;
    const length = UDP_LEN + Math.max(sent, queue.length);
    // A published port's answers come from the address that the client had asked.
    const isPublished = this.#publish[row]! >= 0 && queue.localAt >= 0;
    const l4 = this.#headers.writeQuoted(queue, bytes, l3, isIpv6, PROTO_UDP, length, isPublished);
    writeUdp(bytes, l4, this.#port[row]!, queue.port, length);
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
