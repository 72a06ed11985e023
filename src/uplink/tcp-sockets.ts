import { TUPLE_DST, TUPLE_DST_IPV4, TUPLE_PORTS, TUPLE_SRC, TUPLE_SRC_IPV4 } from '../../nat/tuple.ts';
import { discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { HashKey } from '../../wire/hash.ts';
import { ipv4Dst, ipv4Src } from '../../wire/ipv4.ts';
import { ipv6Dst, ipv6Src } from '../../wire/ipv6.ts';
import { TCP_ACK, TCP_RST, TCP_SYN, tcpDstPort, tcpFlags, tcpSequence, tcpSrcPort } from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, type Epoll } from '../device/epoll.ts';
import { AF_INET6 } from '../device/inet.ts';
import { ECONNRESET } from '../device/syscall-error.ts';
import type { Descriptors } from './descriptors.ts';
import { HeldFrames } from './held-frames.ts';
import { icmpOfErrno, isExhausted } from './host-error.ts';
import { abort } from './host-socket.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import { isHostsOwnIpv6, isLoopbackIpv4 } from './loopback.ts';
import type { Segment } from './segment.ts';
import { SendBatch } from './send-batch.ts';
import type { Owner } from './shares.ts';
import {
  ARMED,
  END_READ,
  FIN_RECEIVED,
  FLAGS,
  HANGUP,
  INSIDE,
  IS_IPV6,
  OUTSIDE,
  OWNER,
  PORTS,
  RCV_NXT,
  READABLE,
  ROW,
  SENDING,
  SERIAL,
  SND_UNA,
  STATE,
  SYN_DUE,
  TcpConnections,
  TcpState,
  WARY,
} from './tcp-connections.ts';
import type { TcpCounters } from './tcp-counters.ts';
import { EPOLLPRI, EPOLLRDHUP, TcpHost } from './tcp-host.ts';
import { Outcome, TcpInput } from './tcp-input.ts';
import { TcpOutput } from './tcp-output.ts';
import { TcpResets } from './tcp-resets.ts';
import { TcpSegments } from './tcp-segments.ts';
import { TcpTimers } from './tcp-timers.ts';
import { TimeWait } from './time-wait.ts';

/**
 * Milliseconds in TIME-WAIT. On a link inside one machine no segment lives longer; Linux keeps sockets for 60 s because
 * of networks where they may. When room is needed, those that have waited longest go first.
 */
const TIME_WAIT = 10_000;

export interface TcpOptions {
  arena: Arena;
  segment: Segment;
  epoll: Epoll;
  /** Under which tag `epoll` knows the socket of a row; `serial` tells one use of the row from the next. */
  tag: (row: number, serial: number) => number;
  errors: IcmpErrors;
  /** Of hashes and of initial sequence numbers. */
  key: HashKey;
  /** Of the deck's segment. */
  mtu: number;
  /** Connections at once. */
  capacity: number;
  /** What all sockets together may have. */
  descriptors: Descriptors;
  /** Whether the kernel has SO_PEEK_OFF for TCP (see tcp-host.ts); found out when left out. */
  peekOffset?: boolean;
}

/**
 * TCP between the deck and the host's sockets. Towards the deck every connection is a TCP of its own, made of frames;
 * towards the outside it is a socket of the host. Payload goes from a slot into the socket and from the socket into a slot,
 * moved by the kernel alone; what cannot go on stays where it is: in the inside's own send queue because our window is
 * shut, in the socket's receive queue because the inside's is.
 *
 * From the inside, data is acknowledged when the kernel has taken it. From the outside, data stays in the socket until the
 * inside has acknowledged it, and is read from there once more when it has to be sent again.
 */
export class TcpSockets {
  /** Connections from outside for which there was no descriptor or row. */
  refused = 0;
  readonly connections: TcpConnections;
  readonly host: TcpHost;
  readonly #words: Int32Array;
  readonly #segment: Segment;
  readonly #errors: IcmpErrors;
  readonly #held: HeldFrames;
  readonly #segments: TcpSegments;
  readonly #output: TcpOutput;
  readonly #input: TcpInput;
  readonly #batch: SendBatch;
  readonly #resets: TcpResets;
  readonly #timers: TcpTimers;
  readonly #tuple = new Int32Array(8);
  /** The connection of the segment before: most are of the same. */
  #last = -1;
  readonly #timeWait: TimeWait;
  readonly #counters = {
    opened: 0,
    accepted: 0,
    failed: 0,
    exhausted: 0,
    reset: 0,
    broken: 0,
    timedOut: 0,
    corrupt: 0,
  };

  constructor(options: TcpOptions) {
    const { arena, segment, epoll, tag, errors, key, mtu, capacity, descriptors, peekOffset } = options;
    const connections = new TcpConnections(capacity, key);
    const { words } = connections;
    this.connections = connections;
    this.#words = words;
    this.#segment = segment;
    this.#errors = errors;
    this.#held = new HeldFrames(arena, words);
    const tagOf = (row: number) => tag(row, words[row * ROW + SERIAL]!);
    this.host = new TcpHost(connections, arena.bytes, epoll, segment, tagOf, descriptors, peekOffset);
    this.#segments = new TcpSegments(words, segment);
    this.#resets = new TcpResets(arena, words, this.#segments, errors);
    this.#output = new TcpOutput(connections, this.host, this.#held, this.#segments, mtu, (row) => {
      this.#break(row);
      return null;
    });
    this.#batch = new SendBatch(arena, words, this.host, {
      full: (row, frame) => {
        this.#held.hold(row * ROW, frame, true);
        this.host.arm(row);
      },
      broken: (row) => this.#break(row),
    });
    this.#input = new TcpInput(connections, this.host, this.#held, this.#output, this.#batch);
    this.#timers = new TcpTimers(
      connections,
      this.#output,
      (row) => this.host.discard(row, words[row * ROW + SND_UNA]!),
      (row) => this.#giveUp(row),
      (row) => this.#forget(row),
    );
    this.#timeWait = new TimeWait(words, capacity);
  }

  get counters(): TcpCounters {
    const { unacceptable, challenges } = this.#input;
    const { resent } = this.#output;
    const { timeouts } = this.#timers;
    const { strange } = this.#resets;
    return { ...this.#counters, resent, timeouts, strange, unacceptable, challenges };
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    const { tails, acks } = this.#output;
    return Math.min(this.connections.next, tails.deadline, acks.deadline);
  }

  /** Whether `receive` may have a frame without anything new from the host. */
  get pending(): boolean {
    return this.#output.pending || this.#resets.pending || this.#batch.size > 0;
  }

  /** Whether the last `receive` found no slot for what it had. */
  get starved(): boolean {
    return this.#segments.starved;
  }

  /** A segment from the deck. It is SENT also when our TCP has no use for it: it may be one that was sent again. */
  transmit(frame: Frame, now: number): Transmit {
    const words = this.#words;
    const { bytes, l4 } = frame;
    if (!transportChecksumOk(frame)) {
      this.#counters.corrupt++;
      return discarded(DropReason.L4_CSUM);
    }
    const row = this.#find(frame);
    if (row < 0) {
      if ((tcpFlags(bytes, l4) & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN) return this.#open(frame, now);
      return this.#resets.refuse(frame);
    }
    if ((words[row * ROW + FLAGS]! & SENDING) !== 0 && !this.#input.mayFollow(row, frame))
      this.#batch.flush();
    switch (words[row * ROW + STATE]) {
      case TcpState.FREE:
        return this.#resets.refuse(frame);
      case TcpState.CONNECTING:
        return this.#whileConnecting(row, frame);
      case TcpState.SYN_SENT:
        return this.#conclude(row, frame, this.#input.answer(row, frame, now), now);
      default:
        return this.#conclude(row, frame, this.#input.segment(row, frame, now), now);
    }
  }

  /** The next segment for the deck, in a slot held for the caller; null when there is none, or no slot. */
  receive(arena: Arena, now: number): Frame | null {
    this.#batch.flush();
    return this.#resets.next() ?? this.#output.next(arena, now) ?? this.#resets.next();
  }

  /** The socket of a row has something to say. */
  ready(row: number, serial: number, events: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    const state = words[at + STATE];
    // Of a socket that was closed after the kernel had made the event.
    if (state === TcpState.FREE || ((words[at + SERIAL]! ^ serial) & SERIAL_MASK) !== 0) return;
    // Also what comes with the news that it is connected: a server may have spoken and closed by then, and the edge does not
    // come again.
    if ((events & EPOLLPRI) !== 0) words[at + FLAGS] |= WARY;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) words[at + FLAGS] |= HANGUP;
    if (state === TcpState.CONNECTING) {
      if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) !== 0) this.#connected(row, events, now);
      return;
    }
    if ((events & EPOLLERR) !== 0) {
      // What came before the error is delivered before it, unless nothing can be read any more.
      const synchronized = state !== TcpState.SYN_RECV && state !== TcpState.SYN_SENT;
      if (!synchronized || (words[at + FLAGS] & END_READ) !== 0) {
        if (this.host.failure(row) !== 0) {
          this.#break(row);
          return;
        }
      }
      // Reading finds out: an error ends the stream, but not as its end does.
      words[at + FLAGS] |= WARY;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) {
      if ((words[at + FLAGS] & END_READ) === 0) this.#output.wake(row, READABLE);
    }
    if ((events & EPOLLOUT) !== 0 && (words[at + FLAGS] & ARMED) !== 0) {
      words[at + FLAGS] &= ~ARMED;
      if (state >= TcpState.ESTABLISHED && !this.#input.resume(row)) this.#break(row);
    }
  }

  /**
   * A connection that was accepted on the host, with its socket, which passes to the uplink. Addresses are a sockaddr_in or
   * sockaddr_in6. A client on the host's loopback, or with a link-local address, appears under the device's address.
   */
  accept(fd: number, client: Uint8Array, local: Uint8Array, owner: Owner, now: number): void {
    const words = this.#words;
    const tuple = this.#tuple;
    const isIpv6 = (client[0]! | (client[1]! << 8)) === AF_INET6;
    const { device } = this.#segment;
    if (isIpv6) {
      const own = isHostsOwnIpv6(client, 8);
      for (let i = 0; i < 4; i++) {
        tuple[OUTSIDE + i] = own ? device.ipv6[i]! : get32(client, 8 + 4 * i);
        tuple[INSIDE + i] = get32(local, 8 + 4 * i);
      }
    } else {
      tuple.fill(0);
      const address = get32(client, 4);
      tuple[OUTSIDE + 3] = isLoopbackIpv4(address) ? device.ipv4 : address;
      tuple[INSIDE + 3] = get32(local, 4);
    }
    const ports = (client[2]! << 24) | (client[3]! << 16) | (local[2]! << 8) | local[3]!;
    const known = isIpv6
      ? this.connections.findIpv6(tuple, ports)
      : this.connections.findIpv4(tuple[OUTSIDE + 3]!, tuple[INSIDE + 3]!, ports);
    // The host's kernel knows that the one before is over, and so do we then.
    if (known >= 0 && words[known * ROW + STATE] === TcpState.TIME_WAIT) this.#forget(known);
    // Two clients at 127.0.0.1 and 127.0.0.2 with the same port look the same from inside: the second has to wait.
    const row =
      known >= 0 && words[known * ROW + STATE] !== TcpState.FREE ? -1 : this.#add(isIpv6, ports, now);
    if (row < 0) {
      this.#counters.exhausted++;
      this.refused++;
      abort(fd);
      return;
    }
    const at = row * ROW;
    words[at + STATE] = TcpState.SYN_SENT;
    words[at + OWNER] = owner;
    if (this.host.adopt(row, fd) !== 0) {
      this.#counters.exhausted++;
      this.refused++;
      this.#forget(row);
      return;
    }
    this.#counters.accepted++;
    this.connections.begin(row, now);
    this.#output.wake(row, SYN_DUE);
  }

  /**
   * Resets both ends of the connections that were accepted for a publish.
   * @param owner as it was said to `accept`
   * @returns false when there is no room for further resets of the inside, and there may be more of them
   */
  closeAccepted(owner: Owner): boolean {
    this.#batch.flush();
    const words = this.#words;
    for (let row = 0; row < this.connections.high; row++) {
      const at = row * ROW;
      if (words[at + STATE] === TcpState.FREE || words[at + OWNER] !== owner) continue;
      if (words[at + STATE] !== TcpState.TIME_WAIT && !this.#resets.reset(row)) return false;
      this.host.abort(row);
      this.#forget(row);
    }
    return true;
  }

  /**
   * Ends a connection of which the inside will hear nothing any more. The outside is reset, unless the inside had sent its
   * last: that still gets there.
   * @param tuples at offset `at`, how its segments look that come from here (nat/tuple.ts)
   */
  sever(isIpv6: boolean, tuples: Int32Array, at: number): void {
    this.#batch.flush();
    const ports = tuples[at + TUPLE_PORTS]!;
    let row: number;
    if (isIpv6) {
      for (let i = 0; i < 4; i++) {
        this.#tuple[OUTSIDE + i] = tuples[at + TUPLE_SRC + i]!;
        this.#tuple[INSIDE + i] = tuples[at + TUPLE_DST + i]!;
      }
      row = this.connections.findIpv6(this.#tuple, ports);
    } else {
      const outside = tuples[at + TUPLE_SRC_IPV4]!;
      row = this.connections.findIpv4(outside, tuples[at + TUPLE_DST_IPV4]!, ports);
    }
    if (row < 0) return;
    if ((this.#words[row * ROW + FLAGS]! & FIN_RECEIVED) !== 0) this.host.close(row);
    else this.host.abort(row);
    this.#forget(row);
  }

  /** Does what is due: sends again, asks again, gives up. */
  expire(now: number): void {
    this.#batch.flush();
    this.#timers.expire(now);
  }

  /** Ends all connections. The outside is reset; the inside finds out when it sends. */
  close(): void {
    this.#batch.flush();
    for (let row = 0; row < this.connections.high; row++) {
      if (this.#words[row * ROW + STATE] === TcpState.FREE) continue;
      this.host.abort(row);
      this.#forget(row);
    }
    this.#resets.clear();
  }

  #find({ bytes, l3, l4, etherType }: Frame): number {
    const words = this.#words;
    const ports = (tcpDstPort(bytes, l4) << 16) | tcpSrcPort(bytes, l4);
    const last = this.#last * ROW;
    if (etherType === ETHERTYPE_IPV6) {
      const tuple = this.#tuple;
      for (let i = 0; i < 4; i++) {
        tuple[OUTSIDE + i] = ipv6Dst(bytes, l3, i);
        tuple[INSIDE + i] = ipv6Src(bytes, l3, i);
      }
      return this.connections.findIpv6(tuple, ports);
    }
    const outside = ipv4Dst(bytes, l3);
    const inside = ipv4Src(bytes, l3);
    if (
      last >= 0 &&
      words[last + PORTS] === ports &&
      words[last + OUTSIDE + 3] === outside &&
      words[last + INSIDE + 3] === inside &&
      words[last + IS_IPV6] === 0 &&
      words[last + STATE] !== TcpState.FREE
    )
      return this.#last;
    this.#last = this.connections.findIpv4(outside, inside, ports);
    return this.#last;
  }

  /** A row for what is in `#tuple`; those in TIME-WAIT make room. */
  #add(isIpv6: boolean, ports: number, now: number): number {
    const row = this.connections.add(isIpv6, this.#tuple, ports, now);
    if (row >= 0) return row;
    const oldest = this.#timeWait.shift();
    if (oldest < 0) return -1;
    this.#forget(oldest);
    return this.connections.add(isIpv6, this.#tuple, ports, now);
  }

  /** A SYN from inside: the host is asked to connect, and the answer waits for it. */
  #open(frame: Frame, now: number): Transmit {
    const words = this.#words;
    const { bytes, l3, l4 } = frame;
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    const tuple = this.#tuple;
    if (!isIpv6) {
      tuple.fill(0);
      tuple[OUTSIDE + 3] = ipv4Dst(bytes, l3);
      tuple[INSIDE + 3] = ipv4Src(bytes, l3);
    }
    const row = this.#add(isIpv6, (tcpDstPort(bytes, l4) << 16) | tcpSrcPort(bytes, l4), now);
    if (row < 0) {
      this.#counters.exhausted++;
      this.#resets.refuse(frame);
      return discarded(DropReason.SOCKET_EXHAUSTED);
    }
    words[row * ROW + STATE] = TcpState.CONNECTING;
    words[row * ROW + OWNER] = frame.origin;
    this.#input.synchronize(row, frame);
    const number = this.host.open(row);
    if (number === 0) {
      this.#counters.opened++;
      return Transmit.SENT;
    }
    this.#forget(row);
    if (isExhausted(number)) {
      this.#counters.exhausted++;
      this.#resets.refuse(frame);
      return discarded(DropReason.SOCKET_EXHAUSTED);
    }
    this.#counters.failed++;
    const error = icmpOfErrno(number, isIpv6);
    if (number === ECONNREFUSED) this.#resets.refuse(frame);
    else this.#errors.about(frame, error >> 8, error & 0xff, 0);
    return discarded(DropReason.SOCKET_ERROR);
  }

  /** The host has connected, or has not. */
  #connected(row: number, events: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    const number = (events & (EPOLLERR | EPOLLHUP)) === 0 ? 0 : this.host.failure(row);
    if (number === 0) {
      this.host.settle(row);
      words[at + STATE] = TcpState.SYN_RECV;
      this.connections.begin(row, now);
      this.#output.wake(row, SYN_DUE);
      return;
    }
    this.#counters.failed++;
    if (number === ECONNREFUSED || number === ECONNRESET) this.#resets.refuseSyn(row);
    else this.#resets.quote(row, number);
    this.host.close(row);
    this.#forget(row);
  }

  /** More from an inside whose SYN was not answered yet. */
  #whileConnecting(row: number, frame: Frame): Transmit {
    const { bytes, l4 } = frame;
    const flags = tcpFlags(bytes, l4);
    const at = row * ROW;
    const sequence = tcpSequence(bytes, l4);
    if ((flags & TCP_RST) !== 0) {
      if (sequence !== this.#words[at + RCV_NXT]) return Transmit.SENT;
      this.#counters.reset++;
      this.host.abort(row);
      this.#forget(row);
      return Transmit.SENT;
    }
    // Another SYN is a new attempt with other numbers; the one before is given up.
    if ((flags & TCP_SYN) !== 0 && (flags & TCP_ACK) === 0) {
      if (((sequence + 1) | 0) !== this.#words[at + RCV_NXT]) this.#input.synchronize(row, frame);
    } else if ((flags & TCP_ACK) !== 0) return this.#resets.refuse(frame);
    return Transmit.SENT;
  }

  #conclude(row: number, frame: Frame, outcome: Outcome, now: number): Transmit {
    switch (outcome) {
      case Outcome.KEEP:
        break;
      case Outcome.RESET:
        this.#counters.reset++;
        this.host.abort(row);
        this.#forget(row);
        break;
      case Outcome.BROKEN:
        this.#break(row);
        break;
      case Outcome.CLOSED:
        this.host.close(row);
        this.#forget(row);
        break;
      case Outcome.STRANGE:
        return this.#resets.refuse(frame);
      case Outcome.REUSE:
        this.#forget(row);
        this.#find(frame);
        return this.#open(frame, now);
      case Outcome.TIME_WAIT:
        this.host.close(row);
        this.#held.clear(row * ROW);
        this.#timeWait.add(row);
        this.connections.arm(row, now + TIME_WAIT, now);
    }
    return Transmit.SENT;
  }

  /** Nothing was heard from inside for too long: both ends are told. */
  #giveUp(row: number): void {
    this.#counters.timedOut++;
    this.#resets.reset(row);
    this.host.abort(row);
    this.#forget(row);
  }

  /** The host's socket has failed: the inside is reset. */
  #break(row: number): void {
    this.#counters.broken++;
    const state = this.#words[row * ROW + STATE];
    // The inside has not heard of this connection, or has not answered yet.
    if (state !== TcpState.TIME_WAIT) this.#resets.reset(row);
    this.host.abort(row);
    this.#forget(row);
  }

  #forget(row: number): void {
    this.#held.clear(row * ROW);
    this.connections.remove(row);
    if (this.#last === row) this.#last = -1;
  }
}

const ECONNREFUSED = 111;
/** Bits of the serial that a tag has room for. */
export const SERIAL_MASK = 0xff;
