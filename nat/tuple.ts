/**
 * A tuple names one direction of a flow: where its packets come from and where they go, as netfilter's `nf_conntrack_tuple`.
 * It is ten int32 words in an array that somebody else owns, IPv4 and IPv6 alike (IPv4 as ::ffff:a.b.c.d), so
 * that one table holds both and no object is made per packet.
 */
import { get16, get32 } from '../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../wire/ethernet.ts';
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_IDENTIFIER,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMP_REPLY,
  icmpType,
} from '../wire/icmp.ts';
import { ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST, icmpv6Type } from '../wire/icmpv6.ts';
import { IPV4_DST, IPV4_SRC } from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';

/** Words of a tuple, and where each field is. */
export const TUPLE_LENGTH = 10;
/**
 * Words from one tuple to the next in an array of tuples. Those behind a tuple belong to the array's owner: the table of
 * connections keeps there what else it needs for a packet of that direction (`flow-row.ts`).
 */
export const TUPLE_WORDS = 24;
/** Source address: four words; IPv4 is in the last one. */
export const TUPLE_SRC = 0;
export const TUPLE_SRC_IPV4 = 3;
/** Destination address, likewise. */
export const TUPLE_DST = 4;
export const TUPLE_DST_IPV4 = 7;
/**
 * Source port in the upper half, destination port in the lower. For an ICMP query the identifier stands at the side of
 * who asks and the type of the request at the side of who answers; 0 for protocols without ports.
 */
export const TUPLE_PORTS = 8;
/** Protocol, IP version and zone: see `tupleKind`. */
export const TUPLE_KIND = 9;

/** Third word of an IPv4 address in a tuple (RFC 4291 §2.5.5.2). */
export const IPV4_MAPPED = 0xffff;
const KIND_IPV6 = 0x100;
const ZONE_SHIFT = 9;

/**
 * The last word of a tuple.
 * @param zone the network by which packets of this direction come in: the same addresses in two networks are two flows
 */
export function tupleKind(protocol: number, isIpv6: boolean, zone: number): number {
  return protocol | (isIpv6 ? KIND_IPV6 : 0) | (zone << ZONE_SHIFT);
}

/** The IP protocol of a kind word. */
export function kindProtocol(kind: number): number {
  return kind & 0xff;
}

export function kindIsIpv6(kind: number): boolean {
  return (kind & KIND_IPV6) !== 0;
}

export function kindZone(kind: number): number {
  return kind >>> ZONE_SHIFT;
}

/** The same kind in another zone. */
export function withZone(kind: number, zone: number): number {
  return (kind & ((1 << ZONE_SHIFT) - 1)) | (zone << ZONE_SHIFT);
}

/** The source port (or identifier) of a ports word. */
export function sourcePort(ports: number): number {
  return ports >>> 16;
}

/** The destination port of a ports word. */
export function destinationPort(ports: number): number {
  return ports & 0xffff;
}

export function portsWord(source: number, destination: number): number {
  return (source << 16) | destination;
}

/**
 * Writes the tuple of a parsed, whole IPv4 or IPv6 packet to `words[at]`; false for a packet that has none: an ICMP
 * message that is neither query nor answer, and a fragment other than the first.
 */
export function extractTuple(packet: Packet, zone: number, words: Int32Array, at: number): boolean {
  const { bytes, l3, l4, protocol } = packet;
  const isIpv6 = packet.etherType !== ETHERTYPE_IPV4;
  if (isIpv6) {
    words[at] = get32(bytes, l3 + IPV6_SRC);
    words[at + 1] = get32(bytes, l3 + IPV6_SRC + 4);
    words[at + 2] = get32(bytes, l3 + IPV6_SRC + 8);
    words[at + 3] = get32(bytes, l3 + IPV6_SRC + 12);
    words[at + 4] = get32(bytes, l3 + IPV6_DST);
    words[at + 5] = get32(bytes, l3 + IPV6_DST + 4);
    words[at + 6] = get32(bytes, l3 + IPV6_DST + 8);
    words[at + 7] = get32(bytes, l3 + IPV6_DST + 12);
  } else {
    words[at] = 0;
    words[at + 1] = 0;
    words[at + 2] = IPV4_MAPPED;
    words[at + TUPLE_SRC_IPV4] = get32(bytes, l3 + IPV4_SRC);
    words[at + 4] = 0;
    words[at + 5] = 0;
    words[at + 6] = IPV4_MAPPED;
    words[at + TUPLE_DST_IPV4] = get32(bytes, l3 + IPV4_DST);
  }
  words[at + TUPLE_KIND] = tupleKind(protocol, isIpv6, zone);
  if (l4 === 0) return false;
  switch (protocol) {
    case PROTO_TCP:
    case PROTO_UDP:
      words[at + TUPLE_PORTS] = get32(bytes, l4);
      return true;
    case PROTO_ICMP:
    case PROTO_ICMPV6: {
      const ports = queryPorts(bytes, l4, protocol, isIpv6);
      words[at + TUPLE_PORTS] = ports;
      return ports !== NO_QUERY;
    }
    default:
      words[at + TUPLE_PORTS] = 0;
      return true;
  }
}

/**
 * Whether the tuple at `words[at]` is that of a parsed, whole packet: what `extractTuple` and a comparison would say, for
 * who expects one flow. Only for TCP and UDP; others answer false.
 */
export function hasTuple(packet: Packet, zone: number, words: Int32Array, at: number): boolean {
  const { bytes, l3, l4, protocol } = packet;
  if ((protocol !== PROTO_TCP && protocol !== PROTO_UDP) || l4 === 0) return false;
  if (words[at + TUPLE_PORTS] !== get32(bytes, l4)) return false;
  const isIpv6 = packet.etherType !== ETHERTYPE_IPV4;
  if (words[at + TUPLE_KIND] !== tupleKind(protocol, isIpv6, zone)) return false;
  if (!isIpv6) {
    return (
      words[at + TUPLE_SRC_IPV4] === get32(bytes, l3 + IPV4_SRC) &&
      words[at + TUPLE_DST_IPV4] === get32(bytes, l3 + IPV4_DST)
    );
  }
  for (let i = 0; i < 4; i++) {
    if (words[at + TUPLE_SRC + i] !== get32(bytes, l3 + IPV6_SRC + 4 * i)) return false;
    if (words[at + TUPLE_DST + i] !== get32(bytes, l3 + IPV6_DST + 4 * i)) return false;
  }
  return true;
}

/** No query has type 0 on the asking side and identifier 0 on the answering one. */
const NO_QUERY = 0;

/** The ports word of an ICMP query or its answer at `bytes[l4]`; 0 for other messages. */
export function queryPorts(bytes: Uint8Array, l4: number, protocol: number, isIpv6: boolean): number {
  const identifier = get16(bytes, l4 + ICMP_IDENTIFIER);
  if (protocol === PROTO_ICMP && !isIpv6) {
    switch (icmpType(bytes, l4)) {
      case ICMP_ECHO_REQUEST:
        return portsWord(identifier, ICMP_ECHO_REQUEST);
      case ICMP_ECHO_REPLY:
        return portsWord(ICMP_ECHO_REQUEST, identifier);
      case ICMP_TIMESTAMP:
        return portsWord(identifier, ICMP_TIMESTAMP);
      case ICMP_TIMESTAMP_REPLY:
        return portsWord(ICMP_TIMESTAMP, identifier);
    }
  } else if (protocol === PROTO_ICMPV6 && isIpv6) {
    switch (icmpv6Type(bytes, l4)) {
      case ICMPV6_ECHO_REQUEST:
        return portsWord(identifier, ICMPV6_ECHO_REQUEST);
      case ICMPV6_ECHO_REPLY:
        return portsWord(ICMPV6_ECHO_REQUEST, identifier);
    }
  }
  return NO_QUERY;
}

/** Writes to `words[to]` the tuple of packets that answer those of `words[from]` and come in by `zone`. */
export function invertTuple(words: Int32Array, from: number, to: number, zone: number): void {
  for (let i = 0; i < 4; i++) {
    const src = words[from + TUPLE_SRC + i]!;
    words[to + TUPLE_SRC + i] = words[from + TUPLE_DST + i]!;
    words[to + TUPLE_DST + i] = src;
  }
  const ports = words[from + TUPLE_PORTS]!;
  words[to + TUPLE_PORTS] = (ports << 16) | (ports >>> 16);
  words[to + TUPLE_KIND] = withZone(words[from + TUPLE_KIND]!, zone);
}
