import { discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { get16, set16 } from '../../wire/bytes.ts';
import { sum, update16 } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import {
  ICMP_CHECKSUM,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_IDENTIFIER,
  ICMP_LEN,
  icmpChecksum,
  icmpIdentifier,
  icmpType,
  setIcmpIdentifier,
} from '../../wire/icmp.ts';
import { fillIcmpv6Checksum, ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST } from '../../wire/icmpv6.ts';
import { IPV4_DF, IPV4_FRAGMENT, IPV4_LEN, IPV4_TOS, IPV4_TTL, ipv4HeaderLength } from '../../wire/ipv4.ts';
import { IPV6_HOP_LIMIT, IPV6_LEN, IPV6_MIN_MTU, ipv6TrafficClass } from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../../wire/protocol.ts';
import type { Random } from '../../wire/random.ts';
import { clearVnet, hasPartialChecksum, VNET_LEN } from '../../wire/virtio-net.ts';
import { EPOLLERR, EPOLLIN, type Epoll } from '../device/epoll.ts';
import { AF_INET, AF_INET6 } from '../device/inet.ts';
import { close, errno, O_CLOEXEC, O_NONBLOCK, setsockopt, socket } from '../device/syscall.ts';
import { EACCES, EAGAIN, EINTR, EMFILE, EPERM } from '../device/syscall-error.ts';
import { DatagramMessage, SOCKADDR_PORT } from './datagram-message.ts';
import { Descriptors } from './descriptors.ts';
import { ErrorQueue } from './error-queue.ts';
import { EMSGSIZE, icmpOfErrno, isExhausted, isShortage } from './host-error.ts';
import { SOCK_DGRAM, SOCK_RAW, SOCKADDR_IN, SOCKADDR_IN6 } from './host-socket.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import { IdleQueue } from './idle-queue.ts';
import type { Segment } from './segment.ts';
import { SegmentHeaders } from './segment-headers.ts';
import { type Owner, Shares } from './shares.ts';
import { SocketOptions } from './socket-options.ts';

const SOL_RAW = 255;
const ICMP_FILTER = 1;
const SOL_ICMPV6 = 58;
const ICMPV6_FILTER = 1;

/** Milliseconds after the last request for which answers are waited for (RFC 5508 REQ-1: 60 s at least). */
const IDLE = 60_000;
/** Programs that ping at once. */
const CAPACITY = 1024;
/** Most errors taken from one socket before the next has its turn. */
const ERRORS = 16;
const IDENTIFIERS = 65_536;

/** How the host lets us ping. */
export const PingMode = {
  /** Nobody has pinged yet. */
  UNKNOWN: 0,
  /** By a ping socket for each identifier: icmp(7), net.ipv4.ping_group_range. */
  PING: 1,
  /** By one raw socket for all, which takes CAP_NET_RAW. */
  RAW: 2,
  /** Not at all. */
  NONE: 3,
} as const;
export type PingMode = (typeof PingMode)[keyof typeof PingMode];

export interface PingOptions {
  segment: Segment;
  /** Where sockets are watched. */
  epoll: Epoll;
  /** Under which tag, by row. */
  tag: (row: number) => number;
  errors: IcmpErrors;
  /** Draws the identifiers that raw sockets use. */
  random: Random;
  /** Told once when the host does not let us ping. */
  log: (line: string) => void;
  /** Identifiers at once. */
  capacity?: number;
  /** What all sockets together may have; without end when left out. */
  descriptors?: Descriptors;
  /** Makes a socket, for tests. */
  socket?: typeof socket;
}

/**
 * Echo requests of the deck's, sent by the host, and what comes back: replies, and errors of routers on the way. Where the
 * host permits neither ping sockets nor raw ones they are dropped: a reply is never forged.
 *
 * Each of the deck's identifiers has a ping socket, whose own identifier the kernel chooses and we undo. Raw sockets hear
 * the replies to everybody's requests, so that identifiers are drawn at random there. (The raw-socket package waits in
 * libuv's loop and cannot be loaded by two threads, so it does not fit a data plane that has a loop and a thread of its
 * own.)
 */
export class PingSockets {
  /** How each IP version pings. */
  modeIpv4: PingMode = PingMode.UNKNOWN;
  modeIpv6: PingMode = PingMode.UNKNOWN;
  /** Requests that were dropped because the host does not let us ping. */
  forbidden = 0;
  /** Requests for which there was no socket or descriptor left. */
  exhausted = 0;
  /** Requests that a socket had no room for. */
  overrun = 0;
  /** Requests to multicast, broadcast and impossible addresses, and ICMP that no socket can send. */
  refused = 0;
  /** Requests that the host could not send, of which the sender was told. */
  unsent = 0;
  /** ICMP errors of others that were passed on. */
  errorsReceived = 0;

  readonly #headers: SegmentHeaders;
  readonly #epoll: Epoll;
  readonly #tag: (row: number) => number;
  readonly #errors: IcmpErrors;
  readonly #random: Random;
  readonly #log: (line: string) => void;
  readonly #socket: typeof socket;
  readonly #capacity: number;
  readonly #descriptors: Descriptors;
  readonly #message = new DatagramMessage();
  readonly #errorQueue = new ErrorQueue();
  readonly #options: SocketOptions;
  /** By row: the row's own socket, or the raw one, which it shares; -1 for rows that are free. */
  readonly #fd: Int32Array;
  readonly #isIpv6: Uint8Array;
  readonly #identifier: Uint16Array;
  /** Whose the identifier is. */
  readonly #sender: Int32Array;
  /** The identifier outside, of rows that share a raw socket. */
  readonly #outside: Uint16Array;
  /** Of the last request: bytes, and of how long pieces it was made, 0 when it was whole. */
  readonly #lastLength: Uint16Array;
  readonly #pieces: Uint16Array;
  /** Row + 1 by the deck's identifier, and by that outside; IPv6 in the second half. */
  readonly #byIdentifier = new Uint16Array(2 * IDENTIFIERS);
  readonly #byOutside = new Uint16Array(2 * IDENTIFIERS);
  readonly #idle: IdleQueue;
  readonly #shares = new Shares();
  readonly #free: number[] = [];
  #high = 0;
  #size = 0;
  #fragmentIdentification = 0;
  #logged = false;

  constructor(options: PingOptions) {
    const { segment, epoll, tag, errors, random, log, capacity = CAPACITY } = options;
    this.#headers = new SegmentHeaders(segment);
    this.#epoll = epoll;
    this.#tag = tag;
    this.#errors = errors;
    this.#random = random;
    this.#log = log;
    this.#socket = options.socket ?? socket;
    this.#capacity = capacity;
    this.#descriptors = options.descriptors ?? new Descriptors(Number.MAX_SAFE_INTEGER);
    // Behind the rows of identifiers are those of the raw sockets, IPv4 and IPv6.
    this.#options = new SocketOptions(capacity + 2);
    this.#fd = new Int32Array(capacity + 2).fill(-1);
    this.#isIpv6 = new Uint8Array(capacity + 2);
    this.#isIpv6[capacity + 1] = 1;
    this.#identifier = new Uint16Array(capacity);
    this.#sender = new Int32Array(capacity);
    this.#outside = new Uint16Array(capacity);
    this.#lastLength = new Uint16Array(capacity);
    this.#pieces = new Uint16Array(capacity);
    this.#idle = new IdleQueue(capacity, IDLE);
  }

  /** Rows that there may be: `tag` is asked for those below. */
  get rows(): number {
    return this.#capacity + 2;
  }

  /** Identifiers in use. */
  get size(): number {
    return this.#size;
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    return this.#idle.deadline;
  }

  expire(now: number): void {
    while (this.#idle.deadline <= now) this.#close(this.#idle.oldest);
  }

  close(): void {
    while (this.#idle.oldest >= 0) this.#close(this.#idle.oldest);
    for (const row of [this.#capacity, this.#capacity + 1]) {
      if (this.#fd[row]! >= 0) this.#release(this.#fd[row]!);
      this.#fd[row] = -1;
    }
  }

  /** Nobody asks with an identifier of the deck any more. */
  sever(identifier: number, isIpv6: boolean): void {
    const row = this.#byIdentifier[isIpv6 ? IDENTIFIERS + identifier : identifier]! - 1;
    if (row >= 0) this.#close(row);
  }

  // ---- outwards ----

  /** Sends an echo request; other ICMP no socket can send. */
  transmit(frame: Frame, now: number): Transmit {
    const { bytes, l3, l4 } = frame;
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const request = isIpv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST;
    if (frame.end - l4 < ICMP_LEN || get16(bytes, l4) !== request << 8) {
      this.refused++;
      return discarded(DropReason.ICMP_UNHANDLED);
    }
    if (!this.#headers.writeName(this.#message, bytes, l3, isIpv6, null)) {
      this.refused++;
      return discarded(DropReason.IP_MARTIAN_DESTINATION);
    }
    this.#message.nameView.setUint16(SOCKADDR_PORT, 0);
    const identifier = icmpIdentifier(bytes, l4);
    let row = this.#byIdentifier[isIpv6 ? IDENTIFIERS + identifier : identifier]! - 1;
    if (row < 0) {
      row = this.#open(identifier, isIpv6, frame.origin);
      if (row < 0) {
        if (row === NOT_ALLOWED) return discarded(DropReason.PING_FORBIDDEN);
        this.#tell(frame, -row);
        return discarded(isExhausted(-row) ? DropReason.SOCKET_EXHAUSTED : DropReason.SOCKET_ERROR);
      }
    }
    this.#idle.touch(row, now);
    this.#lastLength[row] = frame.end - l4;
    this.#pieces[row] = frame.largestFragment;
    const fd = this.#fd[row]!;
    const socketRow = this.#socketRow(row);
    if (isIpv6) {
      const hopLimit = bytes[l3 + IPV6_HOP_LIMIT]!;
      this.#options.setIpv6(socketRow, fd, hopLimit, ipv6TrafficClass(bytes, l3), frame.largestFragment);
    } else {
      const whole = frame.largestFragment === 0 && (get16(bytes, l3 + IPV4_FRAGMENT) & IPV4_DF) !== 0;
      this.#options.setIpv4(socketRow, fd, bytes[l3 + IPV4_TTL]!, bytes[l3 + IPV4_TOS]!, whole);
    }
    const number = this.#send(row, frame, isIpv6);
    if (number === 0) return Transmit.SENT;
    if (isShortage(number)) {
      this.overrun++;
      return discarded(DropReason.SOCKET_FULL);
    }
    this.unsent++;
    this.#tell(frame, number);
    return discarded(DropReason.SOCKET_ERROR);
  }

  /** @returns 0, or the number of an error that is about this request and no earlier one */
  #send(row: number, frame: Frame, isIpv6: boolean): number {
    const fd = this.#fd[row]!;
    const message = this.#message;
    const nameLength = isIpv6 ? SOCKADDR_IN6 : SOCKADDR_IN;
    const { bytes, l4, end } = frame;
    const isRaw = this.#isRaw(row);
    if (isRaw) this.#writeHead(row, frame, isIpv6);
    for (let attempt = 0; ; attempt++) {
      // A ping socket writes its identifier and the checksum itself.
      const count = isRaw
        ? message.sendWithHead(fd, nameLength, ICMP_LEN, bytes, l4 + ICMP_LEN, end - l4 - ICMP_LEN)
        : message.send(fd, nameLength, bytes, l4, end - l4);
      if (count >= 0) return 0;
      const number = -count;
      if (number === EINTR) continue;
      if (isShortage(number)) return number;
      // As with UDP: the call may have failed with an earlier request's error.
      this.#errorQueue.mtu = 0;
      const passed = this.#passErrors(this.#socketRow(row));
      if (attempt > (passed > 0 ? ERRORS : 0)) return number;
    }
  }

  /** The request's header with the identifier outside; the checksum of ICMPv6 is the kernel's (RFC 3542 §3.1). */
  #writeHead(row: number, frame: Frame, isIpv6: boolean): void {
    const { bytes, l4, end } = frame;
    const { head } = this.#message;
    for (let i = 0; i < ICMP_LEN; i++) head[i] = bytes[l4 + i]!;
    const outside = this.#outside[row]!;
    set16(head, ICMP_IDENTIFIER, outside);
    if (isIpv6) return;
    const partial = hasPartialChecksum(frame);
    const check = partial ? ~sum(bytes, l4, end - l4) & 0xffff : icmpChecksum(bytes, l4);
    set16(head, ICMP_CHECKSUM, update16(check, icmpIdentifier(bytes, l4), outside));
  }

  #tell(frame: Frame, number: number): void {
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const icmp = icmpOfErrno(number, isIpv6);
    const mtu = number === EMSGSIZE ? this.#errorQueue.mtu || (isIpv6 ? IPV6_MIN_MTU : 576) : 0;
    this.#errors.about(frame, icmp >> 8, icmp & 0xff, mtu);
  }

  /** A socket for an identifier of the deck: its row, the number of the error, negative, or NOT_ALLOWED. */
  #open(identifier: number, isIpv6: boolean, owner: Owner): number {
    const mode = this.#mode(isIpv6);
    if (mode === PingMode.NONE) {
      this.forbidden++;
      return NOT_ALLOWED;
    }
    if (!this.#shares.may(owner, this.#capacity - this.#size)) {
      this.exhausted++;
      return -EMFILE;
    }
    const row = this.#free.pop() ?? this.#high++;
    let fd = this.#fd[this.#capacity + +isIpv6]!;
    if (mode !== PingMode.RAW) fd = this.#make(row, SOCK_DGRAM, isIpv6);
    if (fd < 0) {
      this.#free.push(row);
      if (mode !== PingMode.UNKNOWN || !isForbidden(-fd)) return this.#failed(fd);
      const raw = this.#openRaw(isIpv6);
      if (raw === 0) return this.#open(identifier, isIpv6, owner);
      return isForbidden(-raw) ? this.#forbid(isIpv6) : this.#failed(raw);
    }
    if (mode === PingMode.UNKNOWN) this.#setMode(isIpv6, PingMode.PING);
    const half = isIpv6 ? IDENTIFIERS : 0;
    this.#fd[row] = fd;
    this.#isIpv6[row] = +isIpv6;
    this.#identifier[row] = identifier;
    this.#byIdentifier[half + identifier] = row + 1;
    if (mode === PingMode.RAW) {
      let outside: number;
      do outside = this.#random.below(IDENTIFIERS);
      while (this.#byOutside[half + outside] !== 0);
      this.#outside[row] = outside;
      this.#byOutside[half + outside] = row + 1;
    }
    this.#sender[row] = owner;
    this.#shares.take(owner);
    this.#size++;
    return row;
  }

  /** Counts a socket that could not be made. */
  #failed(number: number): number {
    if (isExhausted(-number)) this.exhausted++;
    else this.unsent++;
    return number;
  }

  /** Opens the raw socket of an IP version: 0, or the number of the error, negative. */
  #openRaw(isIpv6: boolean): number {
    const row = this.#capacity + +isIpv6;
    const fd = this.#make(row, SOCK_RAW, isIpv6);
    if (fd < 0) return fd;
    this.#fd[row] = fd;
    // Bits of what is not wanted: everything but replies. Errors come by the error queue.
    if (isIpv6) {
      const filter = new Uint32Array(8).fill(0xffff_ffff);
      filter[ICMPV6_ECHO_REPLY >> 5]! &= ~(1 << (ICMPV6_ECHO_REPLY & 31));
      setsockopt(fd, SOL_ICMPV6, ICMPV6_FILTER, filter, 32);
    } else setsockopt(fd, SOL_RAW, ICMP_FILTER, Int32Array.of(~(1 << ICMP_ECHO_REPLY)), 4);
    this.#setMode(isIpv6, PingMode.RAW);
    return 0;
  }

  #forbid(isIpv6: boolean): number {
    this.#setMode(isIpv6, PingMode.NONE);
    this.forbidden++;
    if (!this.#logged) {
      this.#logged = true;
      this.#log(
        'containers cannot ping the outside: the host permits neither ping sockets nor raw ones; ' +
          'allow it with "sysctl -w net.ipv4.ping_group_range=\'0 2147483647\'"',
      );
    }
    return NOT_ALLOWED;
  }

  /** A socket that is watched: its descriptor, or the number of the error, negative. */
  #make(row: number, type: number, isIpv6: boolean): number {
    if (this.#descriptors.left <= 0) return -EMFILE;
    const family = isIpv6 ? AF_INET6 : AF_INET;
    const fd = this.#socket(family, type | O_NONBLOCK | O_CLOEXEC, isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP);
    if (fd < 0) return -errno();
    this.#options.prepare(row, fd, isIpv6);
    try {
      this.#epoll.add(fd, this.#tag(row), EPOLLIN);
      this.#descriptors.used++;
      return fd;
    } catch {
      // fs.epoll.max_user_watches: there is none left for us, as with descriptors.
      close(fd);
      return -EMFILE;
    }
  }

  #close(row: number): void {
    const half = this.#isIpv6[row] === 1 ? IDENTIFIERS : 0;
    this.#byIdentifier[half + this.#identifier[row]!] = 0;
    if (this.#isRaw(row)) this.#byOutside[half + this.#outside[row]!] = 0;
    else this.#release(this.#fd[row]!);
    this.#idle.remove(row);
    this.#fd[row] = -1;
    this.#free.push(row);
    this.#shares.give(this.#sender[row]!);
    this.#size--;
  }

  #release(fd: number): void {
    close(fd);
    this.#descriptors.used--;
  }

  #mode(isIpv6: boolean): PingMode {
    return isIpv6 ? this.modeIpv6 : this.modeIpv4;
  }

  #setMode(isIpv6: boolean, mode: PingMode): void {
    if (isIpv6) this.modeIpv6 = mode;
    else this.modeIpv4 = mode;
  }

  #isRaw(row: number): boolean {
    return this.#mode(this.#isIpv6[row] === 1) === PingMode.RAW;
  }

  /** The row by which the row's socket is watched. */
  #socketRow(row: number): number {
    return this.#isRaw(row) ? this.#capacity + this.#isIpv6[row]! : row;
  }

  // ---- inwards ----

  /**
   * The next reply of a socket that epoll has reported, in a slot held for the caller; null when there is none now, none
   * for us, no slot is free, or there were errors, which `IcmpErrors` has.
   * @param events EPOLL bits; those of an error when not known
   */
  receive(arena: Arena, _now: number, row: number, events: number = EPOLLERR): Frame | null {
    const fd = this.#fd[row]!;
    if (fd < 0) return null;
    if ((events & EPOLLERR) !== 0) this.#passErrors(row);
    const frame = arena.allocate(BIG_SLOT - HEADROOM);
    if (frame === undefined) return null;
    const isIpv6 = this.#isIpv6[row] === 1;
    const { bytes, limit } = frame;
    const l3 = frame.at + ETH_LEN;
    const l4 = l3 + (isIpv6 ? IPV6_LEN : IPV4_LEN);
    // A raw IPv4 socket, and no other, gives the IP header as well.
    const withHeader = row === this.#capacity;
    const at = withHeader ? l3 : l4;
    const count = this.#message.receive(fd, bytes, at, limit - at);
    if (count < 0) {
      if (-count !== EAGAIN && -count !== EINTR) this.#passErrors(row);
    } else if (this.#writeReply(frame, row, l4, at + count, isIpv6)) return frame;
    arena.release(frame);
    return null;
  }

  #writeReply(frame: Frame, row: number, l4: number, end: number, isIpv6: boolean): boolean {
    const { bytes, at } = frame;
    const l3 = at + ETH_LEN;
    // Options of the header are not for whoever is behind a NAT.
    if (row === this.#capacity && ipv4HeaderLength(bytes, l3) !== IPV4_LEN) return false;
    if (end - l4 < ICMP_LEN || end - l3 > 0xffff) return false;
    if (icmpType(bytes, l4) !== (isIpv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY)) return false;
    const outside = icmpIdentifier(bytes, l4);
    const owner = this.#owner(row, outside, isIpv6);
    if (owner < 0) return false;
    const identifier = this.#identifier[owner]!;
    setIcmpIdentifier(bytes, l4, identifier);
    const protocol = isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP;
    this.#headers.writeReceived(this.#message, bytes, at, isIpv6, protocol, end - l4, false);
    if (isIpv6) {
      fillIcmpv6Checksum(bytes, l3, l4, end - l4);
      // RFC 8200 §4.5: only who sends cuts. A reply is as long as its request, and what cut that may cut this.
      frame.largestFragment = this.#pieces[owner]!;
      this.#fragmentIdentification = (this.#fragmentIdentification + 1) | 0;
      frame.fragmentIdentification = this.#fragmentIdentification;
    } else set16(bytes, l4 + ICMP_CHECKSUM, update16(icmpChecksum(bytes, l4), outside, identifier));
    clearVnet(bytes, at - VNET_LEN);
    frame.length = end - at;
    return true;
  }

  /** Whose the message is that a socket has, or -1: raw sockets hear also what is for other programs. */
  #owner(row: number, outside: number, isIpv6: boolean): number {
    if (row < this.#capacity) return row;
    return this.#byOutside[isIpv6 ? IDENTIFIERS + outside : outside]! - 1;
  }

  /** Passes on the ICMP errors that a socket has; answers how many it had, other programs' included. */
  #passErrors(row: number): number {
    const queue = this.#errorQueue;
    const fd = this.#fd[row]!;
    let count = 0;
    while (count < ERRORS && queue.next(fd)) {
      this.#passError(row);
      count++;
    }
    return count;
  }

  /** Writes the IP header anew that the socket wrote, and the deck's identifier. */
  #passError(row: number): void {
    const queue = this.#errorQueue;
    const errors = this.#errors;
    const isIpv6 = this.#isIpv6[row] === 1;
    const request = isIpv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST;
    // RFC 792: at least the first 8 bytes are quoted.
    if (queue.length < ICMP_LEN || get16(queue.bytes, 0) !== request << 8) return;
    const outside = icmpIdentifier(queue.bytes, 0);
    const owner = this.#owner(row, outside, isIpv6);
    if (owner < 0) return;
    const l3 = errors.begin(isIpv6);
    if (l3 < 0) return;
    this.errorsReceived++;
    const { bytes } = errors;
    const header = isIpv6 ? IPV6_LEN : IPV4_LEN;
    const quoted = Math.min(queue.length, errors.room(isIpv6) - header);
    const length = Math.max(this.#lastLength[owner]!, queue.length);
    const protocol = isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP;
    const l4 = this.#headers.writeQuoted(queue, bytes, l3, isIpv6, protocol, length, false);
    for (let i = 0; i < quoted; i++) bytes[l4 + i] = queue.bytes[i]!;
    const identifier = this.#identifier[owner]!;
    setIcmpIdentifier(bytes, l4, identifier);
    if (!isIpv6) set16(bytes, l4 + ICMP_CHECKSUM, update16(icmpChecksum(bytes, l4), outside, identifier));
    // It covers the host's address, and can be known only when all is quoted that it covers.
    else if (quoted === length) fillIcmpv6Checksum(bytes, l3, l4, length);
    else set16(bytes, l4 + ICMP_CHECKSUM, 0);
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

function isForbidden(number: number): boolean {
  return number === EACCES || number === EPERM;
}

/** No error number: the request is dropped, and nobody told. */
const NOT_ALLOWED = -0x1000;
