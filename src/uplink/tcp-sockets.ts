import { discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { FrameRing } from '../../switch/frame-ring.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { HashKey } from '../../wire/hash.ts';
import { IPV4_DF, IPV4_LEN, ipv4Dst, ipv4Src, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_LEN, ipv6Dst, ipv6Src, setIpv6Dst, setIpv6Src, writeIpv6 } from '../../wire/ipv6.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_LEN,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpDstPort,
  tcpFlags,
  tcpSequence,
  tcpSrcPort,
  writeTcp,
} from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, type Epoll } from '../device/epoll.ts';
import { AF_INET6 } from '../device/inet.ts';
import { ECONNRESET } from '../device/syscall-error.ts';
import type { Descriptors } from './descriptors.ts';
import { HeldFrames } from './held-frames.ts';
import { icmpOfErrno, isExhausted } from './host-error.ts';
import { abort } from './host-socket.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import type { ListenOptions } from './listeners.ts';
import { isHostsOwnIpv6, isLoopbackIpv4 } from './loopback.ts';
import type { Segment } from './segment.ts';
import { SendBatch } from './send-batch.ts';
import {
  ARMED,
  BACKOFF,
  CWND,
  DUPACKS,
  END_READ,
  FLAGS,
  HANGUP,
  IN_RECOVERY,
  INSIDE,
  IS_IPV6,
  KEEPALIVE_DUE,
  OUTSIDE,
  PORTS,
  PROBE,
  PROBES,
  RCV_NXT,
  READABLE,
  RETRANSMIT,
  ROW,
  SACKED,
  SENDING,
  SERIAL,
  SND_MAX,
  SND_NXT,
  SND_UNA,
  SND_WND,
  SSTHRESH,
  STATE,
  SYN_DUE,
  TcpConnections,
  TcpState,
  WARY,
} from './tcp-connections.ts';
import { EPOLLPRI, EPOLLRDHUP, TcpHost } from './tcp-host.ts';
import { IDLE, LOWEST_SSTHRESH, Outcome, TcpInput } from './tcp-input.ts';
import { TcpOutput } from './tcp-output.ts';
import { TcpSegments } from './tcp-segments.ts';

/** Resets that wait for the deck to take them. One that is lost is sent again when the inside sends again. */
const RESETS = 1024;
/**
 * Milliseconds in TIME-WAIT. On a link inside one machine no segment lives longer; Linux keeps sockets for 60 s because
 * of networks where they may. When room is needed, those that have waited longest go first.
 */
const TIME_WAIT = 10_000;
/** Unanswered SYNs, and unanswered retransmissions of data, until a connection is given up (RFC 9293 §3.8.3: R2). */
const SYN_RETRIES = 5;
const DATA_RETRIES = 10;
/** Milliseconds that an inside must have been silent for it to be given up. */
const SILENCE = 100_000;
/** Keep-alive probes, and milliseconds between them, as Linux has them. */
const KEEPALIVE_PROBES = 9;
const KEEPALIVE_INTERVAL = 75_000;
/** Bytes under way after a timeout. */
const LOSS_CWND = 256 * 1024;

/** What became of TCP connections, and of segments, since the start. */
export interface TcpCounters {
  /** Connections made to the outside, and taken from there. */
  opened: number;
  accepted: number;
  /** Connections that the host refused, or could not make. */
  failed: number;
  /** New connections for which there was no descriptor, memory or row. */
  exhausted: number;
  /** Connections that the inside has reset, and those that were reset by the outside or failed. */
  reset: number;
  broken: number;
  /** Connections given up because the inside was silent. */
  timedOut: number;
  /** Frames sent again, and timeouts after which all was. */
  resent: number;
  timeouts: number;
  /** Segments of no connection, answered by a reset. */
  strange: number;
  /** Segments with a wrong checksum. */
  corrupt: number;
  /** Segments out of bounds, and challenge ACKs sent. */
  unacceptable: number;
  challenges: number;
}

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
  readonly #arena: Arena;
  readonly #segment: Segment;
  readonly #errors: IcmpErrors;
  readonly #held: HeldFrames;
  readonly #segments: TcpSegments;
  readonly #output: TcpOutput;
  readonly #input: TcpInput;
  readonly #batch: SendBatch;
  readonly #resets = new FrameRing(RESETS);
  readonly #tuple = new Int32Array(8);
  /** The connection of the segment before: most are of the same. */
  #last = -1;
  /** Rows in TIME-WAIT and their serials, in the order in which they came there. */
  readonly #waiting: Int32Array;
  #waitingFirst = 0;
  #waitingCount = 0;
  readonly #counters = {
    opened: 0,
    accepted: 0,
    failed: 0,
    exhausted: 0,
    reset: 0,
    broken: 0,
    timedOut: 0,
    timeouts: 0,
    strange: 0,
    corrupt: 0,
  };

  constructor(options: TcpOptions) {
    const { arena, segment, epoll, tag, errors, key, mtu, capacity, descriptors, peekOffset } = options;
    const connections = new TcpConnections(capacity, key);
    const { words } = connections;
    this.connections = connections;
    this.#words = words;
    this.#arena = arena;
    this.#segment = segment;
    this.#errors = errors;
    this.#held = new HeldFrames(arena, words);
    const tagOf = (row: number) => tag(row, words[row * ROW + SERIAL]!);
    this.host = new TcpHost(connections, arena.bytes, epoll, segment, tagOf, descriptors, peekOffset);
    this.#segments = new TcpSegments(words, segment);
    this.#output = new TcpOutput(connections, this.host, this.#held, this.#segments, key, mtu, (row) => {
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
    this.#waiting = new Int32Array(2 * capacity);
  }

  get counters(): TcpCounters {
    const { unacceptable, challenges } = this.#input;
    return { ...this.#counters, resent: this.#output.resent, unacceptable, challenges };
  }

  /** When `expire` has something to do, monotonic milliseconds; Infinity for never. */
  get deadline(): number {
    const { tails, acks } = this.#output;
    return Math.min(this.connections.next, tails.deadline, acks.deadline);
  }

  /** Whether `receive` may have a frame without anything new from the host. */
  get pending(): boolean {
    return this.#output.pending || this.#resets.size > 0 || this.#batch.size > 0;
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
      return this.#refuse(frame);
    }
    if ((words[row * ROW + FLAGS]! & SENDING) !== 0 && !this.#input.mayFollow(row, frame))
      this.#batch.flush();
    switch (words[row * ROW + STATE]) {
      case TcpState.FREE:
        return this.#refuse(frame);
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
    return this.#resets.shift() ?? this.#output.next(arena, now) ?? this.#resets.shift();
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
  accept(fd: number, client: Uint8Array, local: Uint8Array, now: number): void {
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
    if (this.host.adopt(row, fd) !== 0) {
      this.#counters.exhausted++;
      this.refused++;
      this.#forget(row);
      return;
    }
    this.#counters.accepted++;
    words[at + SND_UNA] = this.#output.initialSequence(row, now);
    this.#output.wake(row, SYN_DUE);
  }

  /**
   * Resets both ends of the connections that were accepted at these ports of the host.
   * @param host an int32 or four words; null for all addresses of the IP version
   */
  closeAccepted({ family, host, from, to }: Omit<ListenOptions, 'ifname'>): void {
    this.#batch.flush();
    const words = this.#words;
    const { deck } = this.#segment;
    for (let row = 0; row < this.connections.capacity; row++) {
      const at = row * ROW;
      if (words[at + STATE] === TcpState.FREE || (words[at + IS_IPV6] !== 0) !== (family === 6)) continue;
      const port = words[at + PORTS]! & 0xffff;
      if (port < from || port > to) continue;
      const isAt = (address: number | readonly number[]) =>
        typeof address === 'number'
          ? words[at + INSIDE + 3] === address
          : address.every((word, i) => words[at + INSIDE + i] === word);
      // What goes out comes from the deck.
      if (isAt(family === 4 ? deck.ipv4 : deck.ipv6) || (host !== null && !isAt(host))) continue;
      if (words[at + STATE] !== TcpState.TIME_WAIT) this.#reset(row, TCP_ACK);
      this.host.abort(row);
      this.#forget(row);
    }
  }

  /** Does what is due: sends again, asks again, gives up. */
  expire(now: number): void {
    this.#batch.flush();
    for (let row = this.connections.due(now); row >= 0; row = this.connections.due(now)) {
      this.#timeout(row, now);
    }
    this.#output.flush(now);
    const { tails } = this.#output;
    for (let row = tails.pop(now); row >= 0; row = tails.pop(now)) this.#output.remind(row, now);
  }

  /** Ends all connections. The outside is reset; the inside finds out when it sends. */
  close(): void {
    this.#batch.flush();
    for (let row = 0; row < this.connections.capacity; row++) {
      if (this.#words[row * ROW + STATE] === TcpState.FREE) continue;
      this.host.abort(row);
      this.#forget(row);
    }
    for (let frame = this.#resets.shift(); frame; frame = this.#resets.shift()) this.#arena.release(frame);
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
    if (row >= 0 || !this.#evict()) return row;
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
      this.#refuse(frame);
      return discarded(DropReason.SOCKET_EXHAUSTED);
    }
    words[row * ROW + STATE] = TcpState.CONNECTING;
    this.#input.synchronize(row, frame);
    const number = this.host.open(row);
    if (number === 0) {
      this.#counters.opened++;
      return Transmit.SENT;
    }
    this.#forget(row);
    if (isExhausted(number)) {
      this.#counters.exhausted++;
      this.#refuse(frame);
      return discarded(DropReason.SOCKET_EXHAUSTED);
    }
    this.#counters.failed++;
    const error = icmpOfErrno(number, isIpv6);
    if (number === ECONNREFUSED) this.#refuse(frame);
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
      words[at + SND_UNA] = this.#output.initialSequence(row, now);
      this.#output.wake(row, SYN_DUE);
      return;
    }
    this.#counters.failed++;
    if (number === ECONNREFUSED || number === ECONNRESET) this.#reset(row, 0);
    else this.#quote(row, number);
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
    } else if ((flags & TCP_ACK) !== 0) return this.#refuse(frame);
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
        return this.#refuse(frame);
      case Outcome.REUSE:
        this.#forget(row);
        this.#find(frame);
        return this.#open(frame, now);
      case Outcome.TIME_WAIT:
        this.host.close(row);
        this.#held.clear(row * ROW);
        this.#wait(row);
        this.connections.arm(row, now + TIME_WAIT, now);
    }
    return Transmit.SENT;
  }

  #timeout(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    switch (words[at + STATE]) {
      case TcpState.FREE:
      case TcpState.CONNECTING:
        return;
      case TcpState.SYN_RECV:
      case TcpState.SYN_SENT:
        if (words[at + BACKOFF]!++ >= SYN_RETRIES) this.#giveUp(row);
        else this.#output.wake(row, SYN_DUE);
        return;
      case TcpState.TIME_WAIT:
        this.#forget(row);
        return;
    }
    const silent = now - this.connections.heard[row]!;
    const flags = words[at + FLAGS]!;
    if (words[at + SND_MAX] !== words[at + SND_UNA]) {
      if (++words[at + BACKOFF]! > DATA_RETRIES && silent > SILENCE) {
        this.#giveUp(row);
        return;
      }
      this.#counters.timeouts++;
      const flying = (words[at + SND_MAX]! - words[at + SND_UNA]!) | 0;
      // RFC 5681 §3.1: only the first timeout says something about the path.
      if (words[at + BACKOFF] === 1) words[at + SSTHRESH] = Math.max(LOWEST_SSTHRESH, flying >> 1);
      words[at + CWND] = LOSS_CWND;
      words[at + DUPACKS] = 0;
      words[at + FLAGS]! &= ~(IN_RECOVERY | RETRANSMIT | SACKED);
      this.#output.rewind(row);
      this.#output.wake(row, words[at + SND_WND] === 0 ? PROBE : 0);
      this.connections.arm(row, now + this.#output.timeout(row), now);
      return;
    }
    if ((flags & READABLE) !== 0 && words[at + SND_WND] === 0) {
      // Something waits for the window to open.
      if (++words[at + BACKOFF]! > DATA_RETRIES && silent > SILENCE) {
        this.#giveUp(row);
        return;
      }
      this.#output.wake(row, PROBE);
      this.connections.arm(row, now + this.#output.timeout(row), now);
      return;
    }
    if (silent < IDLE) {
      this.connections.arm(row, this.connections.heard[row]! + IDLE, now);
      return;
    }
    if (words[at + PROBES]!++ >= KEEPALIVE_PROBES) {
      this.#giveUp(row);
      return;
    }
    this.#output.wake(row, KEEPALIVE_DUE);
    this.connections.arm(row, now + KEEPALIVE_INTERVAL, now);
  }

  /** Nothing was heard from inside for too long: both ends are told. */
  #giveUp(row: number): void {
    this.#counters.timedOut++;
    this.#reset(row, TCP_ACK);
    this.host.abort(row);
    this.#forget(row);
  }

  /** The host's socket has failed: the inside is reset. */
  #break(row: number): void {
    this.#counters.broken++;
    const state = this.#words[row * ROW + STATE];
    // The inside has not heard of this connection, or has not answered yet.
    if (state !== TcpState.TIME_WAIT) this.#reset(row, TCP_ACK);
    this.host.abort(row);
    this.#forget(row);
  }

  #forget(row: number): void {
    this.#held.clear(row * ROW);
    this.connections.remove(row);
    if (this.#last === row) this.#last = -1;
  }

  /** Notes who is in TIME-WAIT since when. */
  #wait(row: number): void {
    const waiting = this.#waiting;
    if (this.#waitingCount * 2 === waiting.length) this.#unqueue();
    let index = this.#waitingFirst + 2 * this.#waitingCount++;
    if (index >= waiting.length) index -= waiting.length;
    waiting[index] = row;
    waiting[index + 1] = this.#words[row * ROW + SERIAL]!;
  }

  /** Forgets the connection that has been in TIME-WAIT longest; false when there is none. */
  #evict(): boolean {
    const words = this.#words;
    while (this.#waitingCount > 0) {
      const row = this.#waiting[this.#waitingFirst]!;
      const serial = this.#waiting[this.#waitingFirst + 1]!;
      this.#unqueue();
      // Its time may be over, and the row another's.
      if (words[row * ROW + STATE] !== TcpState.TIME_WAIT || words[row * ROW + SERIAL] !== serial) continue;
      this.#forget(row);
      return true;
    }
    return false;
  }

  #unqueue(): void {
    this.#waitingFirst += 2;
    if (this.#waitingFirst === this.#waiting.length) this.#waitingFirst = 0;
    this.#waitingCount--;
  }

  /** RST to the inside of a connection. Without TCP_ACK: for a SYN that was not answered, which it acknowledges. */
  #reset(row: number, control: number): void {
    const words = this.#words;
    const at = row * ROW;
    if (this.#resets.full) return;
    const frame = this.#segments.allocate(this.#arena, false);
    if (frame === undefined) return;
    const sequence = control === 0 ? 0 : words[at + SND_NXT]!;
    const next = words[at + RCV_NXT]!;
    this.#segments.write(frame, row, sequence, next, TCP_RST | TCP_ACK, 0, TCP_LEN, 0, 1);
    this.#resets.push(frame);
  }

  /** RST for a segment that belongs to no connection (RFC 9293 §3.10.7.1), or not to the one it names. */
  #refuse(frame: Frame): Transmit {
    const { bytes, l3, l4 } = frame;
    const flags = tcpFlags(bytes, l4);
    const status = discarded(DropReason.NO_SOCKET);
    if ((flags & TCP_RST) !== 0) return status;
    this.#counters.strange++;
    if (this.#resets.full) return status;
    const reset = this.#segments.allocate(this.#arena, false);
    if (reset === undefined) return status;
    const acknowledges = (flags & TCP_ACK) !== 0;
    const control = (flags & TCP_SYN ? 1 : 0) + (flags & TCP_FIN ? 1 : 0);
    const next = (tcpSequence(bytes, l4) + frame.end - frame.payload + control) | 0;
    this.#segments.writeReset(
      reset,
      frame,
      l3,
      acknowledges ? tcpAcknowledgment(bytes, l4) : 0,
      acknowledges ? 0 : next,
      acknowledges ? TCP_RST : TCP_RST | TCP_ACK,
    );
    this.#resets.push(reset);
    return status;
  }

  /** Tells the inside by ICMP why its SYN came to nothing: the SYN is written once more, to be quoted. */
  #quote(row: number, number: number): void {
    const words = this.#words;
    const at = row * ROW;
    const isIpv6 = words[at + IS_IPV6] !== 0;
    const quoted = this.#errors.begin(isIpv6);
    if (quoted < 0) return;
    const { bytes } = this.#errors;
    const o = at + OUTSIDE;
    const i = at + INSIDE;
    let l4: number;
    if (isIpv6) {
      l4 = writeIpv6(bytes, quoted, TCP_LEN, PROTO_TCP, QUOTED_TTL);
      setIpv6Src(bytes, quoted, words[i]!, words[i + 1]!, words[i + 2]!, words[i + 3]!);
      setIpv6Dst(bytes, quoted, words[o]!, words[o + 1]!, words[o + 2]!, words[o + 3]!);
    } else {
      const total = IPV4_LEN + TCP_LEN;
      l4 = writeIpv4(bytes, quoted, total, PROTO_TCP, QUOTED_TTL, words[i + 3]!, words[o + 3]!, 0, IPV4_DF);
    }
    const ports = words[at + PORTS]!;
    const sequence = (words[at + RCV_NXT]! - 1) | 0;
    writeTcp(bytes, l4, ports & 0xffff, ports >>> 16, sequence, 0, TCP_SYN, 0);
    const error = icmpOfErrno(number, isIpv6);
    const length = (isIpv6 ? IPV6_LEN : IPV4_LEN) + TCP_LEN;
    this.#errors.finish(isIpv6, length, error >> 8, error & 0xff, 0, null, 0);
  }
}

const ECONNREFUSED = 111;
const QUOTED_TTL = 64;
/** Bits of the serial that a tag has room for. */
export const SERIAL_MASK = 0xff;
