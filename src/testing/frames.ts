/**
 * Frames for tests, each from one call: complete, with right lengths and checksums. Who speaks to whom is said
 * by stations, so that a test reads like its story: `icmpEcho({ from: a, to: c, via: gateway, ttl: 1 })`.
 */
import { type Ipv6, type Mac, parseIpv4, parseIpv6, parseMac, solicitedNodeW3 } from '../../wire/address.ts';
import { ARP_LEN, ARP_REPLY, ARP_REQUEST, writeArp } from '../../wire/arp.ts';
import { get16, set16, set32 } from '../../wire/bytes.ts';
import { checksum, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import {
  ETH_LEN,
  ETH_TYPE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  writeEthernet,
} from '../../wire/ethernet.ts';
import {
  fillIcmpChecksum,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_LEN,
  writeIcmp,
} from '../../wire/icmp.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_LEN,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  writeIcmpv6,
} from '../../wire/icmpv6.ts';
import {
  fillIpv4Checksum,
  IPV4_DF,
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MF,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderLength,
  writeIpv4,
} from '../../wire/ipv4.ts';
import {
  IPV6_EXT_FRAGMENT,
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  setIpv6Dst,
  setIpv6Src,
  writeIpv6,
  writeIpv6Fragment,
} from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_CHECKSUM,
  TCP_FIN,
  TCP_LEN,
  TCP_OPT_MSS_LEN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  TCP_URG,
  writeTcp,
  writeTcpMss,
} from '../../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_LEN, writeUdp } from '../../wire/udp.ts';
import { VLAN_LEN, vlanTci } from '../../wire/vlan.ts';

/** Somebody on a network, in text: `{ mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' }`. */
export interface Station {
  mac: string;
  ipv4?: string;
  ipv6?: string;
}

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** Text, bytes, or a number of bytes of a pattern that shows when two of them were swapped. */
export type Data = string | Uint8Array | number;

/** What every IP packet can be told. */
export interface IpOptions {
  from: Station;
  to: Station;
  /** Whose MAC the frame is for when that is not `to`: the router on the way. */
  via?: Pick<Station, 'mac'>;
  /** IPv4 when both have an IPv4 address, unless this says 6. */
  family?: 4 | 6;
  /** TTL or hop limit; 64 when left out. */
  ttl?: number;
  /** IPv4 only. */
  identification?: number;
  /** IPv4 only; false when left out. */
  dontFragment?: boolean;
}

/** An Ethernet II frame around any payload; `type` below 0x600 is an IEEE 802.3 length. */
export function ethernet(options: { from: string; to: string; type: number; data?: Data }): Uint8Array {
  const data = bytesOf(options.data ?? 0);
  const frame = new Uint8Array(ETH_LEN + data.length);
  writeEthernetHeader(frame, options.to, options.from, options.type);
  frame.set(data, ETH_LEN);
  return frame;
}

/** A copy of `frame` with an 802.1Q tag behind the addresses. */
export function tagged(frame: Uint8Array, vlan: number, priority = 0): Uint8Array {
  const copy = new Uint8Array(frame.length + VLAN_LEN);
  copy.set(frame.subarray(0, ETH_TYPE));
  set16(copy, ETH_TYPE, ETHERTYPE_VLAN);
  set16(copy, ETH_TYPE + 2, vlanTci(vlan, priority, false));
  copy.set(frame.subarray(ETH_TYPE), ETH_TYPE + VLAN_LEN);
  return copy;
}

/** `from` asks everybody who has `ask`. Asking for one's own address is a gratuitous ARP. */
export function arpRequest(options: { from: Station; ask: string; to?: string }): Uint8Array {
  const { from, ask, to = BROADCAST } = options;
  return arp(ARP_REQUEST, from.mac, to, from.mac, ipv4Of(from), '00:00:00:00:00:00', ipv4(ask));
}

/** RFC 5227: `from`, who has no address yet, asks whether `ask` is taken. */
export function arpProbe(options: { from: Pick<Station, 'mac'>; ask: string }): Uint8Array {
  const { from, ask } = options;
  return arp(ARP_REQUEST, from.mac, BROADCAST, from.mac, 0, '00:00:00:00:00:00', ipv4(ask));
}

/** `from` tells `to` its address. */
export function arpReply(options: { from: Station; to: Station }): Uint8Array {
  const { from, to } = options;
  return arp(ARP_REPLY, from.mac, to.mac, from.mac, ipv4Of(from), to.mac, ipv4Of(to));
}

function arp(
  oper: number,
  source: string,
  destination: string,
  sha: string,
  spa: number,
  tha: string,
  tpa: number,
): Uint8Array {
  const frame = new Uint8Array(ETH_LEN + ARP_LEN);
  writeEthernetHeader(frame, destination, source, ETHERTYPE_ARP);
  const sender = mac(sha);
  const target = mac(tha);
  writeArp(frame, ETH_LEN, oper, sender.hi, sender.lo, spa, target.hi, target.lo, tpa);
  return frame;
}

/** `from` asks the solicited-node group (or `to`) who has `ask` (RFC 4861 §4.3). */
export function neighborSolicitation(options: { from: Station; ask: string; to?: Station }): Uint8Array {
  const { from, ask, to } = options;
  const target = ipv6(ask);
  const group: Ipv6 = [0xff020000 | 0, 0, 1, solicitedNodeW3(target[3])];
  const groupMac = `33:33:${mac6(solicitedNodeW3(target[3]))}`;
  const message = nd(ICMPV6_NEIGHBOR_SOLICITATION, 0, target, 1, from.mac);
  const destination = to ? ipv6Of(to) : group;
  return icmpv6(from.mac, to?.mac ?? groupMac, ipv6Of(from), destination, 255, message);
}

/** `from` tells `to` that it has its IPv6 address: solicited, override (RFC 4861 §4.4). */
export function neighborAdvertisement(options: { from: Station; to: Station; router?: boolean }): Uint8Array {
  const { from, to, router = false } = options;
  const flags = (router ? 0x80000000 : 0) | 0x60000000;
  const message = nd(ICMPV6_NEIGHBOR_ADVERTISEMENT, flags, ipv6Of(from), 2, from.mac);
  return icmpv6(from.mac, to.mac, ipv6Of(from), ipv6Of(to), 255, message);
}

function nd(type: number, rest: number, target: Ipv6, option: number, linkLayer: string): Uint8Array {
  const message = new Uint8Array(ICMPV6_LEN + 16 + 8);
  const at = writeIcmpv6(message, 0, type, 0, rest);
  for (const [i, word] of target.entries()) set32(message, at + 4 * i, word);
  message[at + 16] = option;
  message[at + 17] = 1;
  const { hi, lo } = mac(linkLayer);
  set16(message, at + 18, hi);
  set32(message, at + 20, lo);
  return message;
}

/** An echo request, or with `reply` the answer to one. */
export function icmpEcho(
  options: IpOptions & { identifier?: number; sequence?: number; reply?: boolean; data?: Data },
): Uint8Array {
  const { identifier = 1, sequence = 1, reply = false } = options;
  const data = bytesOf(options.data ?? 56);
  const message = new Uint8Array(ICMP_LEN + data.length);
  message.set(data, ICMP_LEN);
  const rest = (identifier << 16) | sequence;
  if (familyOf(options) === 6) {
    writeIcmpv6(message, 0, reply ? ICMPV6_ECHO_REPLY : ICMPV6_ECHO_REQUEST, 0, rest);
  } else {
    writeIcmp(message, 0, reply ? ICMP_ECHO_REPLY : ICMP_ECHO_REQUEST, 0, rest);
  }
  return ip(options, familyOf(options) === 6 ? PROTO_ICMPV6 : PROTO_ICMP, message);
}

/** Any ICMP or ICMPv6 message: `rest` is its second word. */
export function icmp(
  options: IpOptions & { type: number; code?: number; rest?: number; data?: Data },
): Uint8Array {
  const data = bytesOf(options.data ?? 0);
  const message = new Uint8Array(ICMP_LEN + data.length);
  writeIcmp(message, 0, options.type, options.code ?? 0, options.rest ?? 0);
  message.set(data, ICMP_LEN);
  return ip(options, familyOf(options) === 6 ? PROTO_ICMPV6 : PROTO_ICMP, message);
}

export function udp(options: IpOptions & { srcPort?: number; dstPort: number; data?: Data }): Uint8Array {
  const data = bytesOf(options.data ?? 0);
  const datagram = new Uint8Array(UDP_LEN + data.length);
  writeUdp(datagram, 0, options.srcPort ?? 49152, options.dstPort, datagram.length);
  datagram.set(data, UDP_LEN);
  return ip(options, PROTO_UDP, datagram);
}

const TCP_FLAG = { F: TCP_FIN, S: TCP_SYN, R: TCP_RST, P: TCP_PSH, A: TCP_ACK, U: TCP_URG } as const;

/** A segment; `flags` are written as tcpdump prints them, with `A` for the dot: 'S', 'SA', 'PA', 'FA', 'R'. */
export function tcp(
  options: IpOptions & {
    srcPort?: number;
    dstPort: number;
    flags?: string;
    sequence?: number;
    acknowledgment?: number;
    window?: number;
    mss?: number;
    data?: Data;
  },
): Uint8Array {
  const { srcPort = 49152, dstPort, sequence = 0, acknowledgment = 0, window = 65535, mss } = options;
  const data = bytesOf(options.data ?? 0);
  const headerLength = TCP_LEN + (mss === undefined ? 0 : TCP_OPT_MSS_LEN);
  const segment = new Uint8Array(headerLength + data.length);
  let flags = 0;
  for (const letter of options.flags ?? 'S') {
    if (!(letter in TCP_FLAG)) throw new TypeError(`'${letter}' is no TCP flag; use F, S, R, P, A and U`);
    flags |= TCP_FLAG[letter as keyof typeof TCP_FLAG];
  }
  const at = writeTcp(segment, 0, srcPort, dstPort, sequence, acknowledgment, flags, window, headerLength);
  if (mss !== undefined) writeTcpMss(segment, at, mss);
  segment.set(data, headerLength);
  return ip(options, PROTO_TCP, segment);
}

/** Any IP packet: `data` is all behind the IP header. Fills the checksum of ICMP, ICMPv6, UDP and TCP. */
export function ip(options: IpOptions, protocol: number, data: Data): Uint8Array {
  const { from, to, via = to, ttl = 64, identification = 0, dontFragment = false } = options;
  const payload = bytesOf(data);
  if (familyOf(options) === 6) {
    const message = payload.slice();
    return ipv6Frame(from.mac, via.mac, ipv6Of(from), ipv6Of(to), ttl, protocol, message);
  }
  const frame = new Uint8Array(ETH_LEN + IPV4_LEN + payload.length);
  writeEthernetHeader(frame, via.mac, from.mac, ETHERTYPE_IPV4);
  const total = IPV4_LEN + payload.length;
  const fragment = dontFragment ? IPV4_DF : 0;
  const l4 = writeIpv4(
    frame,
    ETH_LEN,
    total,
    protocol,
    ttl,
    ipv4Of(from),
    ipv4Of(to),
    identification,
    fragment,
  );
  frame.set(payload, l4);
  if (protocol === PROTO_ICMP) fillIcmpChecksum(frame, l4, payload.length);
  else fillTransport(frame, l4, protocol, pseudoSumIpv4(frame, ETH_LEN, protocol, payload.length));
  return frame;
}

function icmpv6(
  source: string,
  destination: string,
  src: Ipv6,
  dst: Ipv6,
  hopLimit: number,
  message: Uint8Array,
): Uint8Array {
  return ipv6Frame(source, destination, src, dst, hopLimit, PROTO_ICMPV6, message);
}

function ipv6Frame(
  source: string,
  destination: string,
  src: Ipv6,
  dst: Ipv6,
  hopLimit: number,
  protocol: number,
  payload: Uint8Array,
): Uint8Array {
  const frame = new Uint8Array(ETH_LEN + IPV6_LEN + payload.length);
  writeEthernetHeader(frame, destination, source, ETHERTYPE_IPV6);
  const l4 = writeIpv6(frame, ETH_LEN, payload.length, protocol, hopLimit);
  setIpv6Src(frame, ETH_LEN, ...src);
  setIpv6Dst(frame, ETH_LEN, ...dst);
  frame.set(payload, l4);
  if (protocol === PROTO_ICMPV6) fillIcmpv6Checksum(frame, ETH_LEN, l4, payload.length);
  else fillTransport(frame, l4, protocol, pseudoSumIpv6(frame, ETH_LEN, protocol, payload.length));
  return frame;
}

/** UDP's and TCP's checksum, whose field holds 0 now; other protocols are left as they are. */
function fillTransport(frame: Uint8Array, l4: number, protocol: number, pseudo: number): void {
  if (protocol !== PROTO_UDP && protocol !== PROTO_TCP) return;
  const at = l4 + (protocol === PROTO_UDP ? UDP_CHECKSUM : TCP_CHECKSUM);
  const check = checksum(frame, l4, frame.length - l4, pseudo);
  // 0 would mean "none" in UDP, and 0xffff is the same number (RFC 768).
  set16(frame, at, check === 0 && protocol === PROTO_UDP ? 0xffff : check);
}

/**
 * The packet of an untagged frame in fragments, as a sender with this MTU would make them (RFC 791, RFC 8200
 * §4.5). One frame, a copy, when it fits.
 * @param identification IPv6 only: IPv4 fragments take the packet's own
 */
export function fragments(frame: Uint8Array, mtu: number, identification = 1): Uint8Array[] {
  if (frame.length - ETH_LEN <= mtu) return [frame.slice()];
  const type = get16(frame, ETH_TYPE);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6)
    throw new TypeError('only IP packets have fragments');
  const isIpv4 = type === ETHERTYPE_IPV4;
  const headerEnd = ETH_LEN + (isIpv4 ? ipv4HeaderLength(frame, ETH_LEN) : IPV6_LEN);
  const extra = isIpv4 ? 0 : IPV6_FRAG_LEN;
  const room = (mtu - (headerEnd - ETH_LEN) - extra) & ~7;
  const data = frame.subarray(headerEnd);
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < data.length; offset += room) {
    const part = data.subarray(offset, offset + room);
    const more = offset + part.length < data.length;
    const piece = new Uint8Array(headerEnd + extra + part.length);
    piece.set(frame.subarray(0, headerEnd));
    piece.set(part, headerEnd + extra);
    if (isIpv4) {
      set16(piece, ETH_LEN + IPV4_TOTAL_LENGTH, piece.length - ETH_LEN);
      set16(piece, ETH_LEN + IPV4_FRAGMENT, (more ? IPV4_MF : 0) | (offset >> 3));
      fillIpv4Checksum(piece, ETH_LEN);
    } else {
      set16(piece, ETH_LEN + IPV6_PAYLOAD_LENGTH, piece.length - ETH_LEN - IPV6_LEN);
      const next = piece[ETH_LEN + IPV6_NEXT_HEADER]!;
      piece[ETH_LEN + IPV6_NEXT_HEADER] = IPV6_EXT_FRAGMENT;
      writeIpv6Fragment(piece, headerEnd, next, offset, more, identification);
    }
    pieces.push(piece);
  }
  return pieces;
}

// ---- from text ----

function familyOf(options: IpOptions): 4 | 6 {
  const { from, to, family } = options;
  return family ?? (from.ipv4 !== undefined && to.ipv4 !== undefined ? 4 : 6);
}

function writeEthernetHeader(frame: Uint8Array, destination: string, source: string, type: number): void {
  const dst = mac(destination);
  const src = mac(source);
  writeEthernet(frame, 0, dst.hi, dst.lo, src.hi, src.lo, type);
}

function bytesOf(data: Data): Uint8Array {
  if (typeof data === 'string') return new TextEncoder().encode(data);
  if (typeof data === 'number') return Uint8Array.from({ length: data }, (_, i) => (i + (i >> 8)) & 0xff);
  return data;
}

function mac(text: string): Mac {
  return parseMac(text) ?? wrong(text, 'a MAC', '02:42:0a:00:00:02');
}

function ipv4(text: string): number {
  return parseIpv4(text) ?? wrong(text, 'an IPv4 address', '10.0.0.2');
}

function ipv6(text: string): Ipv6 {
  return parseIpv6(text) ?? wrong(text, 'an IPv6 address', 'fd00::2');
}

function ipv4Of(station: Station): number {
  if (station.ipv4 === undefined) throw new TypeError(`the station ${station.mac} has no IPv4 address`);
  return ipv4(station.ipv4);
}

function ipv6Of(station: Station): Ipv6 {
  if (station.ipv6 === undefined) throw new TypeError(`the station ${station.mac} has no IPv6 address`);
  return ipv6(station.ipv6);
}

function mac6(word: number): string {
  return [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(':');
}

function wrong(text: string, kind: string, example: string): never {
  throw new TypeError(`'${text}' is not ${kind}; one looks like ${example}`);
}
