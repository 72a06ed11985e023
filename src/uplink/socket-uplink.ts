import {
  destinationPort,
  kindIsIpv6,
  kindProtocol,
  TUPLE_DST,
  TUPLE_DST_IPV4,
  TUPLE_KIND,
  TUPLE_PORTS,
} from '../../nat/tuple.ts';
import { type Device, discarded, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { Action, Stage } from '../../switch/trace.ts';
import type { HashKey } from '../../wire/hash.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';
import { Epoll } from '../device/epoll.ts';
import { Descriptors, socketLimit } from './descriptors.ts';
import { IcmpErrors } from './icmp-errors.ts';
import { Listeners, type ListenOptions } from './listeners.ts';
import { PingSockets } from './ping-sockets.ts';
import type { Segment } from './segment.ts';
import { ownerOfPublish } from './shares.ts';
import type { TcpCounters } from './tcp-counters.ts';
import { SERIAL_MASK, TcpSockets } from './tcp-sockets.ts';
import { UdpSockets } from './udp-sockets.ts';

/** What an epoll tag means: the kind in the lowest bits, a row or nothing above. */
const Kind = { TCP: 0, UDP: 1, LISTENERS: 2, PING: 3 } as const;
const KIND_BITS = 2;
const SERIAL_BITS = 8;
/** Connections are small, and those in TIME-WAIT, which have no socket, make room for others. */
const MOST_CONNECTIONS = 65_536;
const LEAST_CONNECTIONS = 4096;
/** Datagrams taken from one socket before the next has its turn. */
const BURST = 32;

export interface SocketUplinkOptions {
  /** The data plane's: payload is moved by the kernel between its slots and sockets. */
  arena: Arena;
  segment: Segment;
  /** Of the segment; 65520 when left out. */
  mtu?: number;
  /** Random: of hashes and of TCP's initial sequence numbers. */
  key: HashKey;
  /** TCP connections at once, those in TIME-WAIT included; enough for all sockets when left out. */
  connections?: number;
  /** Sockets at once, of all protocols; most of what the process may open when left out. */
  sockets?: number;
  /** Whether the kernel has SO_PEEK_OFF for TCP; found out when left out. */
  peekOffset?: boolean;
  /** Told what the host does not permit, once. */
  log?: (line: string) => void;
}

/**
 * An uplink that ends in ordinary sockets of the host: to the deck it is a device like a TAP, behind which there seem to be
 * a router and the world. It takes no privilege. What endpoints send is translated by the deck to the deck's own address on
 * this segment before it comes here; connections and datagrams that listening sockets get come in with their senders'
 * real addresses, for the deck to let in or not.
 *
 * One descriptor of epoll stands for all sockets. What the device has to say by itself (acknowledgments, resets) makes
 * `deadline` past, so that the loop asks for it.
 */
export class SocketUplink implements Device {
  readonly offload = true;
  readonly gone = false;
  readonly tcp: TcpSockets;
  readonly udp: UdpSockets;
  readonly ping: PingSockets;
  readonly #epoll = new Epoll();
  readonly #segment: Segment;
  readonly #errors: IcmpErrors;
  readonly #listeners: Listeners;
  #closed = false;
  /** Refused connections that were told of. */
  #refused = 0;
  /** Descriptors that epoll reported, and which of them is next. */
  #ready = 0;
  #next = 0;
  #burst = 0;

  constructor({
    arena,
    segment,
    mtu = 65_520,
    key,
    sockets = socketLimit(),
    connections = Math.min(MOST_CONNECTIONS, Math.max(LEAST_CONNECTIONS, 2 * sockets)),
    peekOffset,
    log = () => {},
  }: SocketUplinkOptions) {
    const epoll = this.#epoll;
    const errors = new IcmpErrors(segment);
    const descriptors = new Descriptors(sockets);
    this.#segment = segment;
    this.#errors = errors;
    this.tcp = new TcpSockets({
      arena,
      segment,
      epoll,
      tag: (row, serial) =>
        (row << (KIND_BITS + SERIAL_BITS)) | ((serial & SERIAL_MASK) << KIND_BITS) | Kind.TCP,
      errors,
      key,
      mtu,
      capacity: connections,
      descriptors,
      ...(peekOffset !== undefined && { peekOffset }),
    });
    this.udp = new UdpSockets({
      segment,
      epoll,
      tag: (row) => (row << KIND_BITS) | Kind.UDP,
      errors,
      mtu,
      // Whoever asks everybody leaves half of the sockets to connections.
      capacity: Math.max(1, Math.floor(sockets / 2)),
      descriptors,
    });
    this.ping = new PingSockets({
      segment,
      epoll,
      tag: (row) => (row << KIND_BITS) | Kind.PING,
      errors,
      random: new Random(key[0] ^ key[1]),
      descriptors,
      log,
    });
    this.#listeners = new Listeners(
      (fd, client, local, publish, now) => this.tcp.accept(fd, client, local, ownerOfPublish(publish), now),
      descriptors,
      (fd) => this.tcp.host.prepare(fd),
    );
    epoll.add(this.#listeners.fd, Kind.LISTENERS);
  }

  /** Readable while a socket has something for us. */
  get fd(): number {
    return this.#epoll.fd;
  }

  get counters(): TcpCounters {
    return this.tcp.counters;
  }

  /** Listens at ports of the host, or throws a `SyscallError` and at none. */
  publish(publish: number, protocol: 6 | 17, options: ListenOptions): void {
    if (protocol !== PROTO_TCP) {
      this.udp.publish(publish, options);
      return;
    }
    this.#listeners.open(publish, options);
  }

  /**
   * Ends listening, and resets the connections that came in by it; `receive` has their last words.
   * @returns false when there are more of them than there is room for: to be called again when these were received
   */
  unpublish(publish: number): boolean {
    this.udp.unpublish(publish);
    this.#listeners.close(publish);
    return this.tcp.closeAccepted(ownerOfPublish(publish));
  }

  /**
   * The deck has ended a connection, or the last of a port of its own: the socket has nobody to speak for any more.
   * @param tuples at offset `at`, how the connection's packets look that come from here (nat/tuple.ts)
   */
  sever(tuples: Int32Array, at: number): void {
    if (this.#closed) return;
    const kind = tuples[at + TUPLE_KIND]!;
    const isIpv6 = kindIsIpv6(kind);
    const protocol = kindProtocol(kind);
    if (protocol === PROTO_TCP) {
      this.tcp.sever(isIpv6, tuples, at);
      return;
    }
    // What comes to another address comes by a published port, whose socket stays.
    if (!this.#isForDeck(tuples, at, isIpv6)) return;
    const port = destinationPort(tuples[at + TUPLE_PORTS]!);
    if (protocol === PROTO_UDP) this.udp.sever(port, isIpv6);
    else if (protocol === PROTO_ICMP || protocol === PROTO_ICMPV6) this.ping.sever(port, isIpv6);
  }

  /** Connections from outside that were refused since this was last asked, because there was no descriptor or row for them. */
  takeRefused(): number {
    const refused = this.tcp.refused + this.#listeners.refused;
    const count = refused - this.#refused;
    this.#refused = refused;
    return count;
  }

  receive(arena: Arena, now: number): Frame | null {
    if (this.#closed) return null;
    if (now >= this.#timed()) this.#expire(now);
    for (let hasWaited = false; ; ) {
      const frame = this.tcp.receive(arena, now) ?? this.#errors.next(arena) ?? this.#take(arena, now);
      if (frame !== null) return frame;
      // Events may have given TCP something to say.
      if (this.#next < this.#ready || this.tcp.pending) {
        if (arena.free === 0) return null;
        if (this.#next >= this.#ready && !this.#hasSlot(arena)) return null;
        continue;
      }
      // Others have their turn between two looks: who sends nothing but what is refused would keep us here.
      if (hasWaited) return null;
      hasWaited = true;
      this.#next = 0;
      this.#ready = this.#epoll.wait(0);
      if (this.#ready === 0) return null;
    }
  }

  transmit(frame: Frame, now: number): Transmit {
    if (this.#closed) return Transmit.GONE;
    this.#errors.now = now;
    const outcome = this.#hand(frame, now);
    if (frame.trace !== null && outcome === Transmit.SENT) {
      frame.trace.point(frame, Stage.UPLINK, Action.SOCKET, frame.protocol);
    }
    return outcome;
  }

  /** Gives the packet to who speaks its protocol with the host. */
  #hand(frame: Frame, now: number): Transmit {
    if (frame.l4 !== 0) {
      if (frame.protocol === PROTO_TCP) return this.tcp.transmit(frame, now);
      if (frame.protocol === PROTO_UDP) return this.udp.transmit(frame, now);
      if (frame.protocol === PROTO_ICMP) return this.ping.transmit(frame, now);
      if (frame.protocol === PROTO_ICMPV6) {
        return this.udp.tooBig(frame) ? Transmit.SENT : this.ping.transmit(frame, now);
      }
    }
    return discarded(DropReason.UNHANDLED_PROTO);
  }

  deadline(): number {
    if (this.#closed) return Number.POSITIVE_INFINITY;
    if (this.tcp.pending || this.#errors.size > 0) return Number.NEGATIVE_INFINITY;
    return this.#timed();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.tcp.close();
    this.udp.close();
    this.ping.close();
    this.#listeners.closeAll();
    this.#epoll.close();
  }

  /** The next frame of the sockets that epoll reported; null when all have had their turn. */
  #take(arena: Arena, now: number): Frame | null {
    const epoll = this.#epoll;
    while (this.#next < this.#ready) {
      const tag = epoll.tag(this.#next);
      const kind = tag & ((1 << KIND_BITS) - 1);
      if (kind === Kind.UDP || kind === Kind.PING) {
        if (this.#burst < BURST) {
          const sockets = kind === Kind.UDP ? this.udp : this.ping;
          const frame = sockets.receive(arena, now, tag >>> KIND_BITS, epoll.events(this.#next));
          if (frame !== null) {
            this.#burst++;
            return frame;
          }
        }
      } else if (kind === Kind.TCP) {
        const serial = (tag >> KIND_BITS) & SERIAL_MASK;
        this.tcp.ready(tag >>> (KIND_BITS + SERIAL_BITS), serial, epoll.events(this.#next), now);
      } else this.#listeners.accept(now);
      this.#burst = 0;
      this.#next++;
    }
    return null;
  }

  #isForDeck(tuples: Int32Array, at: number, isIpv6: boolean): boolean {
    const { ipv4, ipv6 } = this.#segment.deck;
    if (!isIpv6) return tuples[at + TUPLE_DST_IPV4] === ipv4;
    return ipv6.every((word, i) => tuples[at + TUPLE_DST + i] === word);
  }

  /** Whether a frame of any size can be had at all: if not, what is pending waits. */
  #hasSlot(arena: Arena): boolean {
    return arena.free > 0 && !this.tcp.starved;
  }

  #timed(): number {
    return Math.min(this.tcp.deadline, this.udp.deadline, this.ping.deadline, this.#listeners.deadline);
  }

  #expire(now: number): void {
    this.tcp.expire(now);
    this.udp.expire(now);
    this.ping.expire(now);
    if (now >= this.#listeners.deadline) this.#listeners.accept(now);
  }
}
