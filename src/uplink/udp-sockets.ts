import { Transmit } from '../../switch/device.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { isIpv4Host, isIpv6Host } from '../../switch/martian.ts';
import { isIpv6LinkLocal } from '../../wire/address.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { checksum, fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from '../../wire/ethernet.ts';
import {
  IPV4_DF,
  IPV4_DST,
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_SRC,
  IPV4_TOS,
  IPV4_TTL,
  writeIpv4,
} from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_HOP_LIMIT,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_SRC,
  ipv6TrafficClass,
  setIpv6Dst,
  setIpv6Src,
  writeIpv6,
} from '../../wire/ipv6.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
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
  SOCKADDR_IN6_ADDRESS,
  SOCKADDR_PORT,
} from './datagram-message.ts';
import { ErrorQueue } from './error-queue.ts';
import { EMSGSIZE, icmpOfErrno, isExhausted, isShortage } from './host-error.ts';
import { bindHostPort, SOCK_DGRAM } from './host-port.ts';
import { type IcmpErrors, quotedUdpHeader } from './icmp-errors.ts';
import { IdleQueue } from './idle-queue.ts';
import type { ListenOptions } from './listeners.ts';
import { isLoopbackIpv4, isLoopbackIpv6, LOOPBACK_IPV4 } from './loopback.ts';
import type { Segment } from './segment.ts';
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
/** Hop limit of what came without the kernel's saying how far it had still to go. */
const TTL = 64;
/** An IPv4 packet's length has 16 bits. */
const LONGEST_IPV4 = 0xffff;

export interface UdpOptions {
  segment: Segment;
  /** Where sockets are watched. */
  epoll: Epoll;
  /** Under which tag, by row. */
  tag: (row: number) => number;
  errors: IcmpErrors;
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

  readonly #segment: Segment;
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
  /** Row + 1 by the deck's port; IPv6 in the second half. */
  readonly #byPort = new Uint16Array(2 * PORTS);
  /** Rows of published ports by port; IPv6 from `PORTS` on. */
  readonly #published = new Map<number, PublishedPort[]>();
  readonly #idle: IdleQueue;
  readonly #idleDns: IdleQueue;
  /** Rows that were used and are free again. */
  readonly #free: number[] = [];
  #high = 0;
  #size = 0;
  #identification = 0;

  constructor({ segment, epoll, tag, errors, capacity = CAPACITY, socket: make = socket }: UdpOptions) {
    this.#segment = segment;
    this.#epoll = epoll;
    this.#tag = tag;
    this.#errors = errors;
    this.#socket = make;
    this.#capacity = Math.min(capacity, PORTS - 1);
    this.#options = new SocketOptions(capacity);
    this.#fd = new Int32Array(capacity).fill(-1);
    this.#isIpv6 = new Uint8Array(capacity);
    this.#port = new Uint16Array(capacity);
    this.#publish = new Int32Array(capacity);
    this.#lastPort = new Uint16Array(capacity);
    this.#lastLength = new Uint16Array(capacity);
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
    if (!this.#writeDestination(frame, isIpv6)) {
      this.refused++;
      return Transmit.SENT;
    }
    const port = get16(bytes, l4 + UDP_SRC_PORT);
    const destinationPort = get16(bytes, l4 + UDP_DST_PORT);
    let control = 0;
    let row: number;
    if (this.#isFromDeck(bytes, l3, isIpv6)) {
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
      row = this.#answering(frame, port, isIpv6);
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

  /** Writes the frame's destination to the message's name; false when nothing is sent there. */
  #writeDestination(frame: Frame, isIpv6: boolean): boolean {
    const { bytes, l3, l4 } = frame;
    const { name, nameView } = this.#message;
    const { device } = this.#segment;
    name[SOCKADDR_PORT] = bytes[l4 + UDP_DST_PORT]!;
    name[SOCKADDR_PORT + 1] = bytes[l4 + UDP_DST_PORT + 1]!;
    if (!isIpv6) {
      let address = get32(bytes, l3 + IPV4_DST);
      if (!isIpv4Host(address)) return false;
      if (address === device.ipv4) address = this.#loopbackClient(frame);
      nameView.setUint16(0, AF_INET, true);
      nameView.setInt32(SOCKADDR_IN_ADDRESS, address);
      return true;
    }
    const at = l3 + IPV6_DST;
    const w0 = get32(bytes, at);
    const w1 = get32(bytes, at + 4);
    const w2 = get32(bytes, at + 8);
    const w3 = get32(bytes, at + 12);
    if (!isIpv6Host(w0, w1, w2) || isIpv6LinkLocal(w0)) return false;
    nameView.setUint16(0, AF_INET6, true);
    const { ipv6 } = device;
    const own = w0 === ipv6[0] && w1 === ipv6[1] && w2 === ipv6[2] && w3 === ipv6[3];
    // Flow information stays 0, and so does the scope.
    for (let i = 0; i < 16; i++) name[SOCKADDR_IN6_ADDRESS + i] = own ? +(i === 15) : bytes[at + i]!;
    return true;
  }

  /** Whose datagram the frame answers, when a program on the host's loopback has asked: mostly 127.0.0.1. */
  #loopbackClient({ bytes, l3, l4 }: Frame): number {
    const published = this.#published.get(get16(bytes, l4 + UDP_SRC_PORT));
    if (published === undefined || this.#isFromDeck(bytes, l3, false)) return LOOPBACK_IPV4;
    const port = get16(bytes, l4 + UDP_DST_PORT);
    for (const { loopback } of published) {
      const client = loopback.get(port);
      if (client !== undefined) return client;
    }
    return LOOPBACK_IPV4;
  }

  #isFromDeck(bytes: Uint8Array, l3: number, isIpv6: boolean): boolean {
    const { ipv4, ipv6 } = this.#segment.deck;
    if (!isIpv6) return get32(bytes, l3 + IPV4_SRC) === ipv4;
    const at = l3 + IPV6_SRC;
    return (
      get32(bytes, at) === ipv6[0] &&
      get32(bytes, at + 4) === ipv6[1] &&
      get32(bytes, at + 8) === ipv6[2] &&
      get32(bytes, at + 12) === ipv6[3]
    );
  }

  /** The row that has the published port from which the frame comes, or -1. */
  #answering({ bytes, l3 }: Frame, port: number, isIpv6: boolean): number {
    const published = this.#published.get(isIpv6 ? PORTS + port : port);
    if (published === undefined) return -1;
    let wildcard = -1;
    for (const { row, host } of published) {
      if (host === null) wildcard = row;
      else if (typeof host === 'number') {
        if (host === get32(bytes, l3 + IPV4_SRC)) return row;
      } else if (host.every((word, i) => word === get32(bytes, l3 + IPV6_SRC + 4 * i))) return row;
    }
    return wildcard;
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
    this.#options.prepareUdp(row, fd, isIpv6, false);
    this.#add(row, fd, port, isIpv6, -1);
    this.#byPort[isIpv6 ? PORTS + port : port] = row + 1;
    return row;
  }

  #add(row: number, fd: number, port: number, isIpv6: boolean, publish: number): void {
    this.#fd[row] = fd;
    this.#port[row] = port;
    this.#isIpv6[row] = isIpv6 ? 1 : 0;
    this.#publish[row] = publish;
    this.#lastPort[row] = 0;
    this.#epoll.add(fd, this.#tag(row), EPOLLIN);
    this.#size++;
    this.opened++;
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
        this.#options.prepareUdp(row, fd, isIpv6, true);
        this.#add(row, fd, port, isIpv6, publish);
        rows.push(row);
        const key = isIpv6 ? PORTS + port : port;
        const others = this.#published.get(key) ?? [];
        others.push({ row, host: where.host, loopback: new Map() });
        this.#published.set(key, others);
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
    const key = this.#isIpv6[row] === 1 ? PORTS + this.#port[row]! : this.#port[row]!;
    const others = this.#published.get(key)!.filter((other) => other.row !== row);
    if (others.length === 0) this.#published.delete(key);
    else this.#published.set(key, others);
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
    const whole = isIpv6
      ? this.#writeIpv6(frame, row, payload, count)
      : this.#writeIpv4(frame, row, payload, count);
    if (whole) return frame;
    this.refused++;
    arena.release(frame);
    return null;
  }

  #writeIpv4(frame: Frame, row: number, payload: number, count: number): boolean {
    const { bytes, at } = frame;
    const { name, nameView, control, localAt, specificAt, tos } = this.#message;
    const { deck, device } = this.#segment;
    const length = UDP_LEN + count;
    if (IPV4_LEN + length > LONGEST_IPV4) return false;
    let src = get32(name, SOCKADDR_IN_ADDRESS);
    const srcPort = nameView.getUint16(SOCKADDR_PORT);
    let dst = deck.ipv4;
    if (this.#publish[row]! >= 0) {
      // To a group or broadcast address: it is for the host's segment, and stays there.
      if (localAt < 0 || get32(control, localAt) !== get32(control, specificAt)) return false;
      dst = get32(control, localAt);
      if (isLoopbackIpv4(src)) this.#rememberLoopback(row, srcPort, src);
    }
    if (isLoopbackIpv4(src)) src = device.ipv4;
    this.#identification = (this.#identification + 1) & 0xffff;
    writeEthernet(bytes, at, deck.mac.hi, deck.mac.lo, device.mac.hi, device.mac.lo, ETHERTYPE_IPV4);
    const l3 = at + ETH_LEN;
    // Without DF: its sender's network may have cut it, and the kernel does not say.
    const total = IPV4_LEN + length;
    writeIpv4(bytes, l3, total, PROTO_UDP, this.#ttl(), src, dst, this.#identification, 0, tos);
    writeUdp(bytes, payload - UDP_LEN, srcPort, this.#port[row]!, length);
    this.#finish(frame, payload, count, pseudoSumIpv4(bytes, l3, PROTO_UDP, length));
    return true;
  }

  #writeIpv6(frame: Frame, row: number, payload: number, count: number): boolean {
    const { bytes, at } = frame;
    const { name, nameView, control, localAt, tos } = this.#message;
    const { deck, device } = this.#segment;
    const length = UDP_LEN + count;
    if (length > 0xffff) return false;
    writeEthernet(bytes, at, deck.mac.hi, deck.mac.lo, device.mac.hi, device.mac.lo, ETHERTYPE_IPV6);
    const l3 = at + ETH_LEN;
    writeIpv6(bytes, l3, length, PROTO_UDP, this.#ttl(), tos);
    const { ipv6 } = device;
    if (isLoopbackIpv6(name, SOCKADDR_IN6_ADDRESS)) setIpv6Src(bytes, l3, ipv6[0], ipv6[1], ipv6[2], ipv6[3]);
    else for (let i = 0; i < 16; i++) bytes[l3 + IPV6_SRC + i] = name[SOCKADDR_IN6_ADDRESS + i]!;
    if (this.#publish[row]! >= 0) {
      if (localAt < 0 || control[localAt] === 0xff) return false;
      for (let i = 0; i < 16; i++) bytes[l3 + IPV6_DST + i] = control[localAt + i]!;
    } else setIpv6Dst(bytes, l3, deck.ipv6[0], deck.ipv6[1], deck.ipv6[2], deck.ipv6[3]);
    writeUdp(bytes, payload - UDP_LEN, nameView.getUint16(SOCKADDR_PORT), this.#port[row]!, length);
    this.#finish(frame, payload, count, pseudoSumIpv6(bytes, l3, PROTO_UDP, length));
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

  /** At least 2: the deck is a router still to be passed. */
  #ttl(): number {
    const { ttl } = this.#message;
    return ttl < 0 ? TTL : Math.max(2, ttl);
  }

  /** All of 127/8 is one address to the deck; answers go to the one that asked last with that port. */
  #rememberLoopback(row: number, port: number, client: number): void {
    const published = this.#published.get(this.#port[row]!)!.find((other) => other.row === row)!;
    if (client === LOOPBACK_IPV4) published.loopback.delete(port);
    else published.loopback.set(port, client);
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
    const { deck, device } = this.#segment;
    const header = quotedUdpHeader(isIpv6);
    const quoted = Math.min(queue.length, errors.room(isIpv6) - header);
    const sent = queue.port === this.#lastPort[row] ? this.#lastLength[row]! : 0;
    const length = UDP_LEN + Math.max(sent, queue.length);
    const { destination, control, localAt } = queue;
    const destinationAt = queue.destinationAt(isIpv6);
    // A published port's answers come from the address that the client had asked.
    const isPublished = this.#publish[row]! >= 0 && localAt >= 0;
    let pseudoSum: number;
    if (isIpv6) {
      writeIpv6(bytes, l3, length, PROTO_UDP, 1);
      if (isPublished) for (let i = 0; i < 16; i++) bytes[l3 + IPV6_SRC + i] = control[localAt + i]!;
      else setIpv6Src(bytes, l3, deck.ipv6[0], deck.ipv6[1], deck.ipv6[2], deck.ipv6[3]);
      if (isLoopbackIpv6(destination, destinationAt)) {
        setIpv6Dst(bytes, l3, device.ipv6[0], device.ipv6[1], device.ipv6[2], device.ipv6[3]);
      } else for (let i = 0; i < 16; i++) bytes[l3 + IPV6_DST + i] = destination[destinationAt + i]!;
      pseudoSum = pseudoSumIpv6(bytes, l3, PROTO_UDP, length);
    } else {
      const src = isPublished ? get32(control, localAt) : deck.ipv4;
      const to = get32(destination, destinationAt);
      const dst = isLoopbackIpv4(to) ? device.ipv4 : to;
      writeIpv4(bytes, l3, IPV4_LEN + length, PROTO_UDP, 1, src, dst);
      pseudoSum = pseudoSumIpv4(bytes, l3, PROTO_UDP, length);
    }
    const l4 = l3 + header - UDP_LEN;
    writeUdp(bytes, l4, this.#port[row]!, queue.port, length);
    for (let i = 0; i < quoted; i++) bytes[l4 + UDP_LEN + i] = queue.bytes[i]!;
    // Known only when all that it covers is quoted.
    if (UDP_LEN + quoted === length) setUdpChecksum(bytes, l4, checksum(bytes, l4, length, pseudoSum));
    errors.finish(
      isIpv6,
      header + quoted,
      queue.type,
      queue.code,
      queue.rest,
      control,
      queue.offenderAt(isIpv6),
    );
  }
}

interface PublishedPort {
  row: number;
  /** The host's address that it is bound to: an int32 or four words; null for all of them. */
  host: ListenOptions['host'];
  /** Clients on the host's loopback with another address than 127.0.0.1, by port. */
  loopback: Map<number, number>;
}
