import { execFileSync } from 'node:child_process';
import { AF_INET, AF_INET6 } from '../../src/device/inet.ts';
import { inNamespace, type Namespace, openNamespace } from '../../src/device/netns.ts';
import {
  accept4,
  bind,
  close,
  errno,
  listen,
  O_CLOEXEC,
  O_NONBLOCK,
  recv,
  send,
  setsockopt,
  socket,
} from '../../src/device/syscall.ts';
import { checked, EAGAIN } from '../../src/device/syscall-error.ts';
import { ip, type Station } from '../../src/testing/frames.ts';
import {
  connect,
  SHUT_WR,
  SO_LINGER,
  SOCK_STREAM,
  SOCKADDR_IN6,
  SOL_SOCKET,
  shutdown,
  writeSockaddr4,
  writeSockaddr6,
} from '../../src/uplink/host-socket.ts';
import { SocketUplink, type SocketUplinkOptions } from '../../src/uplink/socket-uplink.ts';
import type { Transmit } from '../../switch/device.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { parseIpv4 } from '../../wire/address.ts';
import { get32, set16, set32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { icmpCode, icmpType } from '../../wire/icmp.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_TCP } from '../../wire/protocol.ts';
import { completeChecksum } from '../../wire/segmentation.ts';
import {
  TCP_LEN,
  tcpAcknowledgment,
  tcpDstPort,
  tcpFlags,
  tcpHeaderLength,
  tcpSequence,
  tcpSrcPort,
  tcpWindow,
  writeTcp,
} from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { checkVnet, clearVnet, gsoSize, VNET_LEN } from '../../wire/virtio-net.ts';
import { DECK, DEVICE, SEGMENT } from './outside-world.ts';
import { netnsPath, Sandboxes } from './sandbox.ts';

const SO_REUSEADDR = 2;
const SO_RCVBUF = 8;
const FLAGS = 'FSRPAUEC';
/** Milliseconds that what must come is waited for. */
const PATIENCE = 30_000;

/** A segment as a test writes it: numbers are relative to nothing, options are bytes, padded with zeros. */
export interface SentSegment {
  flags: string;
  seq: number;
  ack?: number;
  window?: number;
  options?: readonly number[];
  data?: Uint8Array | string;
  srcPort?: number;
  dstPort?: number;
  to?: Station;
  urgent?: number;
  /** Port of the deck by which its sender is attached. */
  origin?: number;
}

/** A frame that the uplink gave, taken apart. */
export interface TakenSegment {
  /** 'SA', 'A', 'FA', 'RA', 'PA' …; '' for what is no TCP. */
  flags: string;
  seq: number;
  ack: number;
  window: number;
  options: number[];
  data: Buffer;
  srcPort: number;
  dstPort: number;
  /** 0 when it is one segment. */
  gso: number;
  /** Of an ICMP error: type and code, and the quoted packet. */
  icmp: { type: number; code: number; quoted: Buffer } | null;
}

/**
 * The uplink's TCP as it is seen from the wire: frames in and out by hand, a clock that is moved by hand, and real sockets
 * on the loopback of a namespace of its own. The device's own address leads there.
 */
export class Wire {
  readonly arena = new Arena({ small: 256, big: 64 });
  readonly uplink: SocketUplink;
  now = 0;
  readonly #sandboxes = new Sandboxes();
  readonly #namespace: Namespace;
  readonly #fds: number[] = [];
  #entered = false;

  constructor(options: Partial<SocketUplinkOptions> = {}) {
    const name = this.#sandboxes.add('wire');
    execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    this.#namespace = openNamespace(netnsPath(name));
    this.uplink = new SocketUplink({ arena: this.arena, segment: SEGMENT, key: [1, 2], ...options });
  }

  close(): void {
    this.uplink.close();
    for (const fd of this.#fds.splice(0)) close(fd);
    this.#namespace.close();
    this.#sandboxes.removeAll();
  }

  /** A listening socket at 127.0.0.1, or at ::1. */
  listen(port: number, { backlog = 128, receiveBuffer = 0, isIpv6 = false } = {}): number {
    return inNamespace(this.#namespace, () => {
      const family = isIpv6 ? AF_INET6 : AF_INET;
      const fd = checked(socket(family, SOCK_STREAM | O_NONBLOCK | O_CLOEXEC, 0), 'socket');
      this.#fds.push(fd);
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, Int32Array.of(1), 4);
      if (receiveBuffer > 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, Int32Array.of(receiveBuffer), 4);
      const address = new Uint8Array(SOCKADDR_IN6);
      const length = isIpv6
        ? writeSockaddr6(address, Int32Array.of(0, 0, 0, 1), 0, port)
        : writeSockaddr4(address, parseIpv4('127.0.0.1')!, port);
      checked(bind(fd, address, length), 'bind');
      checked(listen(fd, backlog), 'listen');
      return fd;
    });
  }

  /** Clients on the loopback that connect to a port, and wait. */
  connect(port: number, count: number): void {
    inNamespace(this.#namespace, () => {
      for (let i = 0; i < count; i++) {
        const fd = checked(socket(AF_INET, SOCK_STREAM | O_NONBLOCK | O_CLOEXEC, 0), 'socket');
        this.#fds.push(fd);
        const address = new Uint8Array(SOCKADDR_IN6);
        connect(fd, address, writeSockaddr4(address, parseIpv4('127.0.0.1')!, port));
      }
    });
  }

  /** Ends a listening socket. */
  stopListening(listener: number): void {
    this.#fds.splice(this.#fds.indexOf(listener), 1);
    close(listener);
  }

  /** The next connection of a listening socket. */
  accept(listener: number): Peer {
    const fd = checked(accept4(listener, null, null, O_NONBLOCK | O_CLOEXEC), 'accept');
    this.#fds.push(fd);
    return new Peer(fd, () => this.#fds.splice(this.#fds.indexOf(fd), 1));
  }

  send({
    flags,
    seq,
    ack = 0,
    window = 65535,
    options = [],
    data = '',
    urgent = 0,
    ...rest
  }: SentSegment): Transmit {
    const { srcPort = 40000, dstPort = 80, to = DEVICE, origin = 0 } = rest;
    const payload = typeof data === 'string' ? Buffer.from(data) : data;
    const header = TCP_LEN + 4 * Math.ceil(options.length / 4);
    const segment = new Uint8Array(header + payload.length);
    let bits = 0;
    for (const letter of flags) bits |= 1 << FLAGS.indexOf(letter);
    writeTcp(segment, 0, srcPort, dstPort, seq | 0, ack | 0, bits, window, header);
    set16(segment, 18, urgent);
    segment.set(options, TCP_LEN);
    segment.set(payload, header);
    return this.transmit(ip({ from: DECK, to, via: DEVICE }, PROTO_TCP, segment), origin);
  }

  /** Any frame; answers what the device said. */
  transmit(bytes: Uint8Array, origin = 0): Transmit {
    const frame = this.arena.allocate(bytes.length);
    if (frame === undefined) throw new Error('no slot is free');
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    frame.bytes.set(bytes, frame.at);
    frame.length = bytes.length;
    frame.origin = origin;
    if (parse(frame) !== 0) throw new Error('the test made a bad frame');
    const status = this.within(() => this.uplink.transmit(frame, this.now));
    this.arena.release(frame);
    return status;
  }

  /** Runs `work` with this thread in the namespace: the sockets that it makes are there. */
  within<T>(work: () => T): T {
    if (this.#entered) return work();
    this.#entered = true;
    try {
      return inNamespace(this.#namespace, work);
    } finally {
      this.#entered = false;
    }
  }

  /** The next frame, waited for; null when none comes in time. What was there in time counts, however late we look. */
  take(wait = PATIENCE): TakenSegment | null {
    const end = performance.now() + wait;
    for (;;) {
      const isLast = performance.now() >= end;
      const frame = this.uplink.receive(this.arena, this.now);
      if (frame !== null) return this.#read(frame);
      // Acknowledgments wait for a moment.
      const due = this.uplink.deadline();
      if (due > this.now && due <= this.now + 1) {
        this.now = due;
        continue;
      }
      if (isLast) return null;
      Atomics.wait(SLEEPER, 0, 0, 1);
    }
  }

  /** The next frame, which must come. */
  expect(flags: string): TakenSegment {
    const segment = this.take();
    if (segment === null) throw new Error(`nothing came where ${flags} was expected`);
    if (segment.flags !== flags) {
      throw new Error(`${segment.flags || JSON.stringify(segment.icmp)} came where ${flags} was expected`);
    }
    return segment;
  }

  /** All frames that come until it is silent. */
  drain(wait = 20): TakenSegment[] {
    const taken: TakenSegment[] = [];
    for (let one = this.take(wait); one !== null; one = this.take(wait)) taken.push(one);
    return taken;
  }

  /** Nothing comes. */
  silence(wait = 20): void {
    const segment = this.take(wait);
    if (segment !== null) throw new Error(`${segment.flags} came where nothing was expected`);
  }

  /** Moves the clock to when something is due, or by what is said. */
  pass(milliseconds: number): void {
    this.now += milliseconds;
  }

  #read(frame: Frame): TakenSegment {
    const { bytes } = frame;
    if (parse(frame) !== 0 || checkVnet(frame) !== 0) throw new Error('the device made a bad frame');
    const gso = gsoSize(bytes, frame.at - VNET_LEN);
    if (gso === 0) completeChecksum(frame);
    if (!transportChecksumOk(frame)) throw new Error('the device made a wrong checksum');
    const { l4, payload, end } = frame;
    const taken: TakenSegment = {
      flags: '',
      seq: 0,
      ack: 0,
      window: 0,
      options: [],
      data: Buffer.alloc(0),
      srcPort: 0,
      dstPort: 0,
      gso,
      icmp: null,
    };
    if (frame.protocol === PROTO_TCP) {
      const bits = tcpFlags(bytes, l4);
      taken.flags = [...FLAGS].filter((_, i) => (bits & (1 << i)) !== 0).join('');
      taken.seq = tcpSequence(bytes, l4);
      taken.ack = tcpAcknowledgment(bytes, l4);
      taken.window = tcpWindow(bytes, l4);
      taken.options = [...bytes.subarray(l4 + TCP_LEN, l4 + tcpHeaderLength(bytes, l4))];
      taken.data = Buffer.from(bytes.slice(payload, end));
      taken.srcPort = tcpSrcPort(bytes, l4);
      taken.dstPort = tcpDstPort(bytes, l4);
    } else if (frame.protocol === PROTO_ICMP && frame.etherType === ETHERTYPE_IPV4) {
      const quoted = Buffer.from(bytes.slice(l4 + 8, end));
      taken.icmp = { type: icmpType(bytes, l4), code: icmpCode(bytes, l4), quoted };
    }
    this.arena.release(frame);
    return taken;
  }
}

const SLEEPER = new Int32Array(new SharedArrayBuffer(4));

/** A socket of the host's other end. */
export class Peer {
  readonly fd: number;
  readonly #forget: () => void;
  readonly #buffer = Buffer.alloc(1 << 20);

  constructor(fd: number, forget: () => void) {
    this.fd = fd;
    this.#forget = forget;
  }

  /** What there is to read: text, '' for the end, null for nothing yet, or the name of the error. */
  read(length = this.#buffer.length): Buffer | null | number {
    const count = recv(this.fd, this.#buffer, length, 0);
    if (count >= 0) return Buffer.from(this.#buffer.subarray(0, count));
    const number = errno();
    return number === EAGAIN ? null : number;
  }

  text(): string | null | number {
    const read = this.read();
    return Buffer.isBuffer(read) ? read.toString() : read;
  }

  /** As `text`, waited for. */
  said(): string | number {
    for (const end = performance.now() + PATIENCE; performance.now() < end; Atomics.wait(SLEEPER, 0, 0, 1)) {
      const text = this.text();
      if (text !== null) return text;
    }
    throw new Error('nothing was said');
  }

  write(data: string | Uint8Array): number {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    return send(this.fd, bytes, bytes.length, 0x4000);
  }

  finish(): void {
    shutdown(this.fd, SHUT_WR);
  }

  reset(): void {
    setsockopt(this.fd, SOL_SOCKET, SO_LINGER, Int32Array.of(1, 0), 8);
    this.close();
  }

  /** Somebody else closes it. */
  disown(): void {
    this.#forget();
  }

  close(): void {
    this.#forget();
    close(this.fd);
  }
}

/** MSS, SACK permitted, timestamps, window scale: as bytes of options. */
export const mssOption = (mss: number) => [2, 4, mss >> 8, mss & 255];
export const scaleOption = (shift: number) => [1, 3, 3, shift];
export const SACK_PERMITTED = [1, 1, 4, 2];

export function stampOption(value: number, echo = 0): number[] {
  const bytes = new Uint8Array(8);
  set32(bytes, 0, value);
  set32(bytes, 4, echo);
  return [1, 1, 8, 10, ...bytes];
}

/** The payload of an option by kind, or undefined. */
export function optionOf(options: readonly number[], kind: number): number[] | undefined {
  for (let i = 0; i < options.length && options[i] !== 0; ) {
    if (options[i] === 1) {
      i++;
      continue;
    }
    const length = options[i + 1]!;
    if (options[i] === kind) return options.slice(i + 2, i + length);
    i += length;
  }
  return undefined;
}

/** Words of an option's payload. */
export function wordsOf(option: readonly number[]): number[] {
  const bytes = Uint8Array.from(option);
  return Array.from({ length: bytes.length >> 2 }, (_, i) => get32(bytes, 4 * i));
}

/** A connection of the inside's, with the numbers that are next. */
export class Inside {
  readonly wire: Wire;
  readonly peer: Peer;
  readonly srcPort: number;
  seq: number;
  ack: number;
  readonly synack: TakenSegment;
  readonly #stamps: boolean;

  private constructor(
    wire: Wire,
    peer: Peer,
    srcPort: number,
    seq: number,
    synack: TakenSegment,
    stamps: boolean,
  ) {
    this.wire = wire;
    this.peer = peer;
    this.srcPort = srcPort;
    this.seq = seq;
    this.ack = (synack.seq + 1) | 0;
    this.synack = synack;
    this.#stamps = stamps;
  }

  /** Opens a connection from inside to the listener at port 80. */
  static connect(
    wire: Wire,
    listener: number,
    { srcPort = 40000, seq = 1000, window = 65535, options = mssOption(1460) as readonly number[] } = {},
  ): Inside {
    wire.send({ flags: 'S', seq, options, window, srcPort });
    const synack = wire.expect('SA');
    const stamps = optionOf(synack.options, 8) !== undefined;
    const made = new Inside(wire, wire.accept(listener), srcPort, (seq + 1) | 0, synack, stamps);
    made.segment({ flags: 'A', window });
    return made;
  }

  /** A segment with the right numbers, unless they are given; numbers do not move on. */
  segment(segment: Partial<SentSegment> & { flags: string }): void {
    const options = this.#stamps && segment.options === undefined ? stampOption(this.wire.now + 1) : [];
    this.wire.send({ seq: this.seq, ack: this.ack, srcPort: this.srcPort, options, ...segment });
  }

  /** Sends data with the right numbers, which move on. */
  data(data: string | Uint8Array, flags = 'PA'): void {
    this.segment({ flags, data });
    this.seq = (this.seq + data.length + (flags.includes('F') ? 1 : 0)) | 0;
  }

  /** Takes a segment with data, in order, and acknowledges it. */
  take(): TakenSegment {
    const taken = this.wire.take();
    if (taken === null) throw new Error('nothing came');
    this.ack = (taken.seq + taken.data.length + (taken.flags.includes('F') ? 1 : 0)) | 0;
    return taken;
  }

  acknowledge(): void {
    this.segment({ flags: 'A' });
  }
}

/** Bytes of a stream in which every place looks different from those near it. */
export function stream(from: number, length: number): Buffer {
  const out = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) out[i] = ((from + i) * 7 + ((from + i) >> 8)) & 255;
  return out;
}
