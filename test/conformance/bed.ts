import * as frames from '../../src/testing/frames.ts';
import { formatMac, parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';
import { ARP_REQUEST, arpOper, arpTpa } from '../../wire/arp.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import {
  ETH_LEN,
  ETH_TYPE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
} from '../../wire/ethernet.ts';
import {
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_SOLICITATION,
} from '../../wire/icmpv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_IGMP, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Datagram, endpoint } from './datagram.ts';
import { type Geography, geography, type Layout, type Place, type Station } from './geography.ts';
import { check, Failure } from './row.ts';
import type { Flow, Subject, Wire } from './subject.ts';

/** A packet that the NAT sent to somebody. */
export class Seen extends Datagram {
  /** The place to whose address and MAC it came; the station alone when the address is none of its own. */
  readonly at: string;
  readonly frame: Uint8Array;

  constructor(at: string, frame: Uint8Array) {
    super(frame.subarray(ETH_LEN));
    this.at = at;
    this.frame = frame;
  }

  override toString(): string {
    return `${super.toString()} at ${this.at}`;
  }
}

/** What packets can be told. */
export interface PacketOptions {
  /** Text, bytes, or a number of bytes of a pattern. A text that no other packet has when left out. */
  data?: frames.Data;
  ttl?: number;
  dontFragment?: boolean;
  identification?: number;
  /** Another source address than the place's. */
  spoof?: string;
}

export interface SegmentOptions extends PacketOptions {
  sequence?: number;
  acknowledgment?: number;
  mss?: number;
}

/** ICMP errors by what they say, for both IP versions: type and code. */
export const ERRORS = {
  'net unreachable': { 4: [3, 0], 6: [1, 0] },
  'host unreachable': { 4: [3, 1], 6: [1, 3] },
  'port unreachable': { 4: [3, 3], 6: [1, 4] },
  prohibited: { 4: [3, 13], 6: [1, 1] },
  'too big': { 4: [3, 4], 6: [2, 0] },
  'time exceeded': { 4: [11, 0], 6: [3, 0] },
} as const satisfies Record<string, Record<4 | 6, readonly [number, number]>>;
export type ErrorKind = keyof typeof ERRORS;

export interface ErrorOptions {
  /** How much of the packet is quoted; header and 8 bytes are the least (RFC 792). 528 bytes when left out. */
  quote?: number;
  /** Changes the quotation before it is sent. */
  alter?: (quotation: Uint8Array) => Uint8Array | undefined;
  /** Second word: MTU, or length of the quotation (RFC 4884). */
  rest?: number;
  /** To somebody else than the packet's source. */
  to?: string;
  ttl?: number;
}

/** An open TCP connection, for further segments. */
export interface Connection {
  /** The server's view of the client: `192.0.2.2:5000`. */
  readonly external: string;
  /** Client to server; answers what arrived there. */
  out(flags?: string, data?: frames.Data): Promise<Seen[]>;
  /** Server to client. */
  in(flags?: string, data?: frames.Data): Promise<Seen[]>;
}

/**
 * The test bed of one row and IP version, with the words in which rows are written: `'c1:5000'` is port 5000 of c1, and
 * what a call answers is everything that arrived anywhere because of it.
 */
export class Bed {
  readonly family: 4 | 6;
  readonly where: Geography;
  #wire!: Wire;
  readonly #station = new Map<string, Station>();
  #arrived: Seen[] = [];
  #counter = 0;

  private constructor(where: Geography, family: 4 | 6) {
    this.where = where;
    this.family = family;
    for (const station of where.stations) this.#station.set(station.name, station);
  }

  static async open(subject: Subject, layout: Layout, family: 4 | 6): Promise<Bed> {
    const bed = new Bed(geography(layout), family);
    bed.#wire = await subject.open(bed.where, (name, frame) => bed.#receive(name, frame));
    await bed.#introduce();
    return bed;
  }

  /** Every station has spoken with the NAT before, so that no packet of a row has to wait for an address to be resolved. */
  async #introduce(): Promise<void> {
    const { stations, decks } = this.where;
    for (const { name, segment, mac, ipv4, ipv6 } of stations) {
      const deck = decks[segment];
      for (const address of ipv4) {
        this.#wire.send(name, frames.arpRequest({ from: { mac, ipv4: address }, ask: deck.ipv4[0]! }));
      }
      for (const address of ipv6) {
        this.#wire.send(
          name,
          frames.neighborSolicitation({ from: { mac, ipv6: address }, ask: deck.ipv6[0]! }),
        );
      }
    }
    await this.settle();
  }

  close(): Promise<void> {
    return this.#wire.close();
  }

  // ---- time and tables ----

  get virtual(): boolean {
    return this.#wire.virtual;
  }

  get now(): number {
    return this.#wire.now();
  }

  async seconds(count: number): Promise<void> {
    await this.#wire.advance(count * 1000);
  }

  flows(): Promise<Flow[]> {
    return this.#wire.flows();
  }

  /** The connection that a place has begun from a port (or identifier). */
  async flow(from: string): Promise<Flow | undefined> {
    const { address, port } = this.resolve(from);
    return (await this.flows()).find(({ src, srcPort }) => src === address && srcPort === port);
  }

  /** Seconds until the connection is forgotten if nothing comes. */
  async lifetime(from: string): Promise<number> {
    const flow = await this.flow(from);
    check(flow !== undefined, `there is no connection of ${from} in the table`);
    return flow.remaining / 1000;
  }

  // ---- sending ----

  /** Sends a frame and waits for nothing. */
  post(from: string, frame: Uint8Array, partial = false): void {
    this.#wire.send(this.#sender(from).name, frame, partial);
  }

  /** Everything that has arrived since the last call, when nothing is under way any more. */
  async settle(): Promise<Seen[]> {
    await this.#wire.settle();
    return this.#arrived.splice(0);
  }

  async send(from: string, ...sent: readonly Uint8Array[]): Promise<Seen[]> {
    for (const frame of sent) this.post(from, frame);
    return this.settle();
  }

  udp(from: string, to: string, options: PacketOptions = {}): Promise<Seen[]> {
    return this.send(from, this.udpFrame(from, to, options));
  }

  /** @param flags as tcpdump prints them, `A` for the dot */
  tcp(from: string, to: string, flags: string, options: SegmentOptions = {}): Promise<Seen[]> {
    return this.send(from, this.tcpFrame(from, to, flags, options));
  }

  /** An echo request; the port of `from` is its identifier. */
  ping(from: string, to: string, options: PacketOptions & { sequence?: number } = {}): Promise<Seen[]> {
    return this.send(from, this.pingFrame(from, to, options));
  }

  /** The answer to an echo request that was seen. */
  pong(to: Seen): Promise<Seen[]> {
    return this.send(to.at, this.pongFrame(to));
  }

  /** An ICMP error about a packet that was seen, to its source as it was seen. */
  error(
    from: string,
    about: Datagram,
    kind: ErrorKind | readonly [type: number, code: number],
    options: ErrorOptions = {},
  ): Promise<Seen[]> {
    return this.send(from, this.errorFrame(from, about, kind, options));
  }

  // ---- frames ----

  udpFrame(from: string, to: string, options: PacketOptions = {}): Uint8Array {
    const { srcPort, dstPort, ...ip } = this.#ip(from, to, options);
    return frames.udp({ ...ip, srcPort, dstPort, data: options.data ?? this.#text() });
  }

  tcpFrame(from: string, to: string, flags: string, options: SegmentOptions = {}): Uint8Array {
    const { sequence = 1000, acknowledgment = 0, mss, data = '' } = options;
    const words = { flags, sequence, acknowledgment, data, ...(mss === undefined ? {} : { mss }) };
    return frames.tcp({ ...this.#ip(from, to, options), ...words });
  }

  pingFrame(from: string, to: string, options: PacketOptions & { sequence?: number } = {}): Uint8Array {
    const { srcPort, ...ip } = this.#ip(from, to, options);
    const { sequence = 1 } = options;
    return frames.icmpEcho({ ...ip, identifier: srcPort, sequence, data: options.data ?? this.#text() });
  }

  pongFrame(to: Seen, options: PacketOptions = {}): Uint8Array {
    const { srcPort, dstPort, ...ip } = this.#ip(to.at, to.source, options);
    const { identifier } = to;
    const sequence = to.rest & 0xffff;
    return frames.icmpEcho({ ...ip, identifier, sequence, reply: true, data: to.payload });
  }

  errorFrame(
    from: string,
    about: Datagram,
    kind: ErrorKind | readonly [type: number, code: number],
    options: ErrorOptions = {},
  ): Uint8Array {
    const { quote = 528, alter, rest = 0, to = endpoint(about.src, 0), ttl } = options;
    const [type, code] = typeof kind === 'string' ? ERRORS[kind][this.family] : kind;
    const cut = about.bytes.slice(0, quote);
    const data = alter?.(cut) ?? cut;
    return this.icmpFrame(from, to, type, code, { rest, data, ...(ttl === undefined ? {} : { ttl }) });
  }

  /** Any ICMP message. */
  icmpFrame(
    from: string,
    to: string,
    type: number,
    code: number,
    options: PacketOptions & { rest?: number } = {},
  ): Uint8Array {
    const { rest = 0, data = 0 } = options;
    return frames.icmp({ ...this.#ip(from, to, options), type, code, rest, data });
  }

  /** Any IP packet. */
  ipFrame(
    from: string,
    to: string,
    protocol: number,
    data: frames.Data,
    options: PacketOptions = {},
  ): Uint8Array {
    return frames.ip(this.#ip(from, to, options), protocol, data);
  }

  #text(): string {
    return `tapdeck ${++this.#counter}`;
  }

  #ip(from: string, to: string, options: PacketOptions) {
    const source = this.resolve(from);
    const target = this.resolve(to);
    const sender = this.#sender(from);
    const address = options.spoof ?? source.address;
    const { ttl, dontFragment, identification } = options;
    return {
      from: this.#face(sender.mac, address),
      to: this.#face(this.#nextHop(sender, target.address), target.address),
      family: this.family,
      srcPort: source.port,
      dstPort: target.port,
      ...(ttl === undefined ? {} : { ttl }),
      ...(dontFragment === undefined ? {} : { dontFragment }),
      ...(identification === undefined ? {} : { identification }),
    };
  }

  #face(mac: string, address: string): frames.Station {
    return this.family === 4 ? { mac, ipv4: address } : { mac, ipv6: address };
  }

  /** Hosts of the sender's own segment are spoken to directly, all others through the NAT. */
  #nextHop(sender: Station, address: string): string {
    for (const { segment, mac, ipv4, ipv6 } of this.where.stations) {
      if (segment === sender.segment && (ipv4.includes(address) || ipv6.includes(address))) return mac;
    }
    return this.where.decks[sender.segment].mac;
  }

  // ---- names ----

  /** `c1:5000`, `out`, `192.0.2.2:80`, `[2001:db8::2]:80` as address and port (0 without one). */
  resolve(name: string): { address: string; port: number } {
    const match = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:]+))(?::(?<port>\d+))?$/.exec(name)?.groups;
    if (match === undefined) throw new TypeError(`'${name}' is neither a place nor an address with a port`);
    const host = match.ipv6 ?? match.host!;
    const place = this.#place(host);
    if (place === undefined && parseIpv4(host) === undefined && parseIpv6(host) === undefined)
      throw new TypeError(`there is no place '${host}'`);
    const address = place === undefined ? host : this.family === 4 ? place.ipv4 : place.ipv6;
    return { address, port: Number(match.port ?? 0) };
  }

  address(name: string): string {
    return this.resolve(name).address;
  }

  /** `c1:5000` as a packet shows it: `10.1.0.11:5000`. */
  text(name: string): string {
    const { address, port } = this.resolve(name);
    return endpoint(address, port);
  }

  #place(name: string): Place | undefined {
    return this.where.places.get(name);
  }

  #sender(name: string): Station {
    const host = name.split(':')[0]!;
    const station = this.#place(host)?.station;
    if (!station) throw new TypeError(`'${host}' is no station that can send`);
    return station;
  }

  // ---- receiving ----

  #receive(name: string, frame: Uint8Array): void {
    const station = this.#station.get(name)!;
    const mac = parseMac(station.mac)!;
    const group = (frame[0]! & 1) !== 0;
    if (!group && (ethDstHi(frame, 0) !== mac.hi || ethDstLo(frame, 0) !== mac.lo)) return;
    switch (get16(frame, ETH_TYPE)) {
      case ETHERTYPE_ARP:
        if (arpOper(frame, ETH_LEN) === ARP_REQUEST) this.#answerArp(station, frame);
        return;
      case ETHERTYPE_IPV4:
      case ETHERTYPE_IPV6:
        break;
      default:
        return;
    }
    const seen = new Seen(this.#placeOf(station, frame), frame);
    if (seen.icmpType === ICMPV6_NEIGHBOR_SOLICITATION && seen.family === 6) this.#answerNd(station, seen);
    if (!isHousekeeping(seen)) this.#arrived.push(seen);
  }

  #answerArp(station: Station, frame: Uint8Array): void {
    const asked = arpTpa(frame, ETH_LEN);
    const ipv4 = station.ipv4.find((address) => parseIpv4(address) === asked);
    if (ipv4 === undefined) return;
    const asker = formatMac(ethSrcHi(frame, 0), ethSrcLo(frame, 0));
    const spa = get32(frame, ETH_LEN + 14);
    const from = { mac: station.mac, ipv4 };
    this.#wire.send(station.name, frames.arpReply({ from, to: { mac: asker, ipv4: dotted(spa) } }));
  }

  #answerNd(station: Station, seen: Seen): void {
    const { bytes, l4 } = seen;
    const same = (text: string) => parseIpv6(text)!.every((word, i) => word === get32(bytes, l4 + 8 + 4 * i));
    const ipv6 = station.ipv6.find(same);
    // The unspecified address is that of duplicate address detection: nobody else has the deck's address.
    if (ipv6 === undefined || seen.src === '::') return;
    const asker = formatMac(ethSrcHi(seen.frame, 0), ethSrcLo(seen.frame, 0));
    const from = { mac: station.mac, ipv6 };
    this.#wire.send(station.name, frames.neighborAdvertisement({ from, to: { mac: asker, ipv6: seen.src } }));
  }

  #placeOf(station: Station, frame: Uint8Array): string {
    const { dst } = new Datagram(frame.subarray(ETH_LEN));
    for (const [name, place] of this.where.places) {
      if (place.station === station && (place.ipv4 === dst || place.ipv6 === dst)) return name;
    }
    return station.name;
  }

  // ---- TCP connections ----

  /**
   * The three-way handshake. `server` is the place that answers, when that is not the one that the client names.
   * @throws Failure when a segment does not arrive
   */
  async connect(
    client: string,
    to: string,
    server = to,
    options: { mss?: number } = {},
  ): Promise<Connection> {
    let clientNext = 1001;
    let serverNext = 5001;
    const there = server.split(':')[0]!;
    const here = client.split(':')[0]!;
    const syn = arrives(await this.tcp(client, to, 'S', { sequence: 1000, ...options }), there);
    const external = syn.source;
    const handshake = { sequence: 5000, acknowledgment: clientNext };
    arrives(await this.tcp(server, external, 'SA', handshake), here);
    const segment = async (isOut: boolean, flags: string, data: frames.Data): Promise<Seen[]> => {
      const length = typeof data === 'number' ? data : data.length;
      const advance = length + (/[SF]/.test(flags) ? 1 : 0);
      const sequence = isOut ? clientNext : serverNext;
      const acknowledgment = isOut ? serverNext : clientNext;
      if (isOut) clientNext += advance;
      else serverNext += advance;
      const ends = isOut ? ([client, to] as const) : ([server, external] as const);
      return this.tcp(...ends, flags, {
        sequence,
        acknowledgment: flags.includes('A') ? acknowledgment : 0,
        data,
      });
    };
    arrives(await segment(true, 'A', ''), there);
    return {
      external,
      out: (flags = 'PA', data = 'to the server') => segment(true, flags, data),
      in: (flags = 'PA', data = 'to the client') => segment(false, flags, data),
    };
  }
}

/** What stations and routers say of themselves on a link: no packet of a row. */
function isHousekeeping({ family, protocol, icmpType, dst }: Seen): boolean {
  if (family === 4) return protocol === PROTO_IGMP;
  // Multicast listener and router discovery go to groups of the link; neighbor discovery and redirects also to one.
  return dst.startsWith('ff02:') || (icmpType >= ICMPV6_ROUTER_SOLICITATION && icmpType <= ICMPV6_REDIRECT);
}

function dotted(address: number): string {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255].join('.');
}

// ---- what is expected ----

/**
 * The one packet that arrived, at `place`, with right checksums.
 * @throws Failure
 */
export function arrives(seen: readonly Seen[], place: string): Seen {
  const [first] = seen;
  if (first === undefined) throw new Failure(`nothing arrives at ${place}`);
  if (seen.length > 1 || first.at !== place)
    throw new Failure(`not one packet at ${place}, but ${listed(seen)}`);
  checkSums(first);
  return first;
}

/** The one packet that arrived, an ICMP error. */
export function errs(seen: readonly Seen[], place: string, kind: ErrorKind): Seen {
  const error = arrives(seen, place);
  const [type, code] = ERRORS[kind][error.family];
  if (error.icmpType !== type || error.icmpCode !== code)
    throw new Failure(`not ICMP ${type}/${code} at ${place}, but ${error}`);
  return error;
}

/** @throws Failure when something arrived */
export function nothing(seen: readonly Seen[], what = 'something arrives'): void {
  if (seen.length > 0) throw new Failure(`${what}: ${listed(seen)}`);
}

export function checkSums(packet: Seen): void {
  if (!packet.headerChecksumOk) throw new Failure(`the header checksum is wrong: ${packet}`);
  const known = [PROTO_UDP, PROTO_TCP, PROTO_ICMP, PROTO_ICMPV6].includes(packet.protocol as 17);
  if (known && !packet.isFragment && !packet.transportChecksumOk)
    throw new Failure(`the checksum is wrong: ${packet}`);
}

export function listed(seen: readonly Seen[]): string {
  if (seen.length === 0) return 'nothing';
  const few = seen.slice(0, 3).join('; ');
  return seen.length > 3 ? `${few} and ${seen.length - 3} more` : few;
}
