/**
 * ICMP errors about packets of a flow. An error quotes the packet that it is about as its router or receiver saw it, that
 * is, as this NAT made it; its receiver must find the packet that it sent. Read RFC 5508 §4 and §7, RFC 4884 §3 to §5 and
 * RFC 5927 before changing a rule.
 *
 * A quotation may be cut anywhere behind the transport header's first 8 bytes, and its bytes are anybody's: everything
 * that is read of it is checked against its end first.
 */
import { DropReason } from '../switch/drop-reason.ts';
import { get16, get32, set16, set32 } from '../wire/bytes.ts';
import { adjust, FINISHED, halves, PARTIAL, pseudoSumIpv4, pseudoSumIpv6, sum } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import {
  ICMP_CHECKSUM,
  ICMP_IDENTIFIER,
  ICMP_LEN,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACHABLE,
  icmpCode,
  icmpMtu,
  icmpType,
  isIcmpError,
} from '../wire/icmp.ts';
import {
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  icmpv6Mtu,
  icmpv6Type,
  isIcmpv6Error,
} from '../wire/icmpv6.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DST,
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MIN_MTU,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TOTAL_LENGTH,
} from '../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_EXT_FRAGMENT,
  IPV6_FRAG_OFFSET,
  IPV6_FRAG_OFFSET_MASK,
  IPV6_LEN,
  IPV6_MAX_EXTENSIONS,
  IPV6_MIN_MTU,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SRC,
  ipv6ExtensionLength,
  isIpv6Extension,
} from '../wire/ipv6.ts';
import { Packet } from '../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { completeChecksum } from '../wire/segmentation.ts';
import { TCP_CHECKSUM, tcpSequence } from '../wire/tcp.ts';
import { transportChecksumOk } from '../wire/transport.ts';
import { UDP_CHECKSUM } from '../wire/udp.ts';
import { isAllZero, queryIdentifier, swapPorts } from './translate.ts';
import {
  IPV4_MAPPED,
  queryPorts,
  TUPLE_DST,
  TUPLE_KIND,
  TUPLE_PORTS,
  TUPLE_SRC,
  TUPLE_WORDS,
  tupleKind,
} from './tuple.ts';

/** What every error quotes of a transport header (RFC 792); the ports, the identifier and TCP's sequence number are in it. */
const QUOTED_L4 = 8;
/** Where ICMP and ICMPv6 say how long the quotation is, in words of 4 and of 8 bytes (RFC 4884 §4.1 to §4.5). */
const ICMP_QUOTATION_LENGTH = 5;
const ICMPV6_QUOTATION_LENGTH = 4;
/** Shortest quotation in front of an extension structure (RFC 4884 §4): a length that says less is no length. */
const EXTENDED_QUOTATION = 128;

/**
 * Whether the packet, whole or a first fragment, is an ICMP or ICMPv6 message about another packet, and so belongs to that
 * one's flow. ICMPv6 errors that nobody has defined yet are meant as well (RFC 4443 §2.4 a).
 */
export function isIcmpErrorPacket(packet: Packet): boolean {
  const { bytes, l4, protocol, etherType } = packet;
  if (l4 === 0) return false;
  if (etherType === ETHERTYPE_IPV4) return protocol === PROTO_ICMP && isIcmpError(icmpType(bytes, l4));
  return etherType === ETHERTYPE_IPV6 && protocol === PROTO_ICMPV6 && isIcmpv6Error(icmpv6Type(bytes, l4));
}

/**
 * Reads the quotation of an ICMP error (`isIcmpErrorPacket`), a whole packet, and writes to `words[at]` the tuple of the
 * flow's packets that travel where the error travels: the quoted one, inverted. Finishes the error's own checksum
 * if it was partial. The checksum of the quoted transport header is not looked at (RFC 5508 REQ-3).
 * @param zone the network by which the error came in
 * @returns 0, or the reason to drop the error: its checksum is wrong, its quotation is cut too short or wrong, it is
 *   about something that has no flow (an error, a fragment other than the first), or cannot be true
 */
export function readQuotation(packet: Packet, zone: number, words: Int32Array, at: number): number {
  const { bytes, l3, l4 } = packet;
  if (packet.moreFragments) return DropReason.ICMP_ERROR_MALFORMED;
  // RFC 5508 REQ-3: a NAT that changes the quotation would make a wrong checksum look right.
  if (!completeChecksum(packet) || !transportChecksumOk(packet)) return DropReason.ICMP_CSUM;
  const isIpv6 = packet.etherType !== ETHERTYPE_IPV4;
  // Source quench is deprecated (RFC 6633), and a redirect is for the link that it came from (RFC 1812 §5.2.7.2).
  const type = icmpType(bytes, l4);
  if (!isIpv6 && (type === ICMP_SOURCE_QUENCH || type === ICMP_REDIRECT)) return DropReason.ICMP_UNHANDLED;
  const fault = findQuoted(packet);
  if (fault !== 0) return fault;

  const inner = quoted.l3;
  const src = isIpv6 ? IPV6_SRC : IPV4_SRC;
  const dst = isIpv6 ? IPV6_DST : IPV4_DST;
  const length = isIpv6 ? 16 : 4;
  // An error goes to who sent the packet that it is about (RFC 1122 §3.2.2, RFC 4443 §3): this one does not.
  for (let i = 0; i < length; i++) {
    if (bytes[l3 + dst + i] !== bytes[inner + src + i]) return DropReason.ICMP_ERROR_UNRELATED;
  }
  if (!isMtuPossible(packet)) return DropReason.ICMP_ERROR_UNRELATED;

  let ports = 0;
  if (quoted.protocol === PROTO_TCP || quoted.protocol === PROTO_UDP) ports = get32(bytes, quoted.l4);
  else if (quoted.protocol === (isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP)) {
    // No error is sent about an error (RFC 1122 §3.2.2, RFC 4443 §2.4 e); other messages have no flow.
    if (queryIdentifier(bytes, quoted.l4, isIpv6, 0) < 0) return DropReason.ICMP_ERROR_UNRELATED;
    ports = queryPorts(bytes, quoted.l4, quoted.protocol, isIpv6);
  }
  readAddress(bytes, inner + dst, isIpv6, words, at + TUPLE_SRC);
  readAddress(bytes, inner + src, isIpv6, words, at + TUPLE_DST);
  words[at + TUPLE_PORTS] = swapPorts(ports);
  words[at + TUPLE_KIND] = tupleKind(quoted.protocol, isIpv6, zone);
  return 0;
}

/**
 * Sequence number (int32) of the TCP segment that the error quotes, for `TcpTracking.isInWindow`: somebody who has not
 * seen the connection does not know it (RFC 5927 §4.1). 0 when no segment is quoted.
 */
export function quotedTcpSequence(packet: Packet): number {
  if (findQuoted(packet) !== 0 || quoted.protocol !== PROTO_TCP) return 0;
  return tcpSequence(packet.bytes, quoted.l4);
}

/**
 * The next hop's MTU that an error claims: "fragmentation needed" or "packet too big". -1 for all other errors, 0 from
 * routers that do not say (RFC 1191 §5).
 */
export function claimedMtu(packet: Packet): number {
  const { bytes, l4 } = packet;
  if (packet.etherType === ETHERTYPE_IPV4) {
    const isAbout =
      icmpType(bytes, l4) === ICMP_UNREACHABLE && icmpCode(bytes, l4) === ICMP_UNREACH_FRAG_NEEDED;
    return isAbout ? icmpMtu(bytes, l4) : -1;
  }
  if (icmpv6Type(bytes, l4) !== ICMPV6_PACKET_TOO_BIG) return -1;
  const mtu = icmpv6Mtu(bytes, l4);
  // 2^31 and more come out negative, and are no limit.
  return mtu < 0 ? 0x7fffffff : mtu;
}

/** Every link carries 68 bytes of IPv4 (RFC 791 §3.2) and 1,280 of IPv6 (RFC 8201 §4: discard a message that says less). */
function isMtuPossible(packet: Packet): boolean {
  const mtu = claimedMtu(packet);
  if (mtu < 0) return true;
  return packet.etherType === ETHERTYPE_IPV4 ? mtu === 0 || mtu >= IPV4_MIN_MTU : mtu >= IPV6_MIN_MTU;
}

/**
 * Rewrites an error that `readQuotation` has accepted and whose tuple is that of `ref`, so that its receiver finds in it
 * the packet that it sent (RFC 5508 REQ-4, REQ-5): the quoted addresses, ports and checksums, and the error's own. What
 * follows the quotation (RFC 4884) stays as it is.
 * @param ref the flow, and the direction in which the error travels
 * @param hide whether the error comes from inside: its source then is the address under which the receiver knows the
 *   flow's other end. The flow's own end is always translated; a router outside keeps its address.
 */
export function translateError(packet: Packet, tuples: Int32Array, ref: number, hide: boolean): void {
  if (findQuoted(packet) !== 0) return;
  const { bytes, l3, l4 } = packet;
  const isIpv6 = packet.etherType !== ETHERTYPE_IPV4;
  const own = ref * TUPLE_WORDS;
  const other = (ref ^ 1) * TUPLE_WORDS;
  const change = translateQuoted(bytes, isIpv6, tuples, other);

  const src = l3 + (isIpv6 ? IPV6_SRC : IPV4_SRC);
  const dst = l3 + (isIpv6 ? IPV6_DST : IPV4_DST);
  let outer = writeAddress(bytes, dst, isIpv6, tuples, other + TUPLE_SRC);
  if (hide || isAddress(bytes, src, isIpv6, tuples, own + TUPLE_SRC)) {
    outer += writeAddress(bytes, src, isIpv6, tuples, other + TUPLE_DST);
  }
  if (!isIpv6) adjustAt(bytes, l3 + IPV4_CHECKSUM, outer, FINISHED);
  // ICMP sums no pseudo-header (RFC 792), ICMPv6 does (RFC 4443 §2.3).
  adjustAt(bytes, l4 + ICMP_CHECKSUM, isIpv6 ? change + outer : change, FINISHED);
}

/**
 * Makes of the quoted packet the one whose tuple is `tuples[to]`.
 * @returns by how much the sum of its bytes changed, checksums included
 */
function translateQuoted(bytes: Uint8Array, isIpv6: boolean, tuples: Int32Array, to: number): number {
  const { l3, l4, end, protocol } = quoted;
  const ports = tuples[to + TUPLE_PORTS]!;
  const isTcp = protocol === PROTO_TCP;
  const form = isTcp || protocol === PROTO_UDP ? quotedForm(bytes, isIpv6) : FINISHED;
  const addresses =
    writeAddress(bytes, l3 + (isIpv6 ? IPV6_SRC : IPV4_SRC), isIpv6, tuples, to + TUPLE_SRC) +
    writeAddress(bytes, l3 + (isIpv6 ? IPV6_DST : IPV4_DST), isIpv6, tuples, to + TUPLE_DST);
  let change = addresses;
  if (!isIpv6) change += adjustAt(bytes, l3 + IPV4_CHECKSUM, addresses, FINISHED);

  if (isTcp || protocol === PROTO_UDP) {
    const before = get32(bytes, l4);
    set32(bytes, l4, ports);
    const moved = halves(ports) - halves(before);
    change += moved;
    const check = l4 + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
    // Not quoted, or half of it, from which the new half cannot be told.
    if (check + 2 > end) return change;
    // RFC 768: a checksum of zero says that there is none.
    if (!isTcp && get16(bytes, check) === 0) return change;
    change += adjustAt(bytes, check, form === PARTIAL ? addresses : addresses + moved, form);
    // A UDP checksum that comes to zero is sent as all ones (RFC 768), which is the same number.
    if (!isTcp && get16(bytes, check) === 0) set16(bytes, check, 0xffff);
  } else if (protocol === (isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP)) {
    const before = get16(bytes, l4 + ICMP_IDENTIFIER);
    const identifier = queryIdentifier(bytes, l4, isIpv6, ports);
    set16(bytes, l4 + ICMP_IDENTIFIER, identifier);
    const moved = identifier - before;
    const check = l4 + ICMP_CHECKSUM;
    change += moved + adjustAt(bytes, check, isIpv6 ? addresses + moved : moved, FINISHED);
    if (get16(bytes, check) === 0 && isAllZero(bytes, l4, end)) set16(bytes, check, 0xffff);
  }
  return change;
}

/**
 * Whether the quoted checksum is partial. A container's kernel quotes a packet as the switch gave it, which the
 * sender's kernel may have left unfinished; nothing in the quotation says so, but then the field is the pseudo-header's sum.
 * One finished checksum in 65,536 is that too and is quoted wrongly, which no receiver looks at (RFC 5508 REQ-3).
 */
function quotedForm(bytes: Uint8Array, isIpv6: boolean): number {
  const { l3, l4, end, protocol } = quoted;
  const at = l4 + (protocol === PROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM);
  if (at + 2 > end) return FINISHED;
  const length = isIpv6
    ? l3 + IPV6_LEN + get16(bytes, l3 + IPV6_PAYLOAD_LENGTH) - l4
    : l3 + get16(bytes, l3 + IPV4_TOTAL_LENGTH) - l4;
  const pseudo = isIpv6
    ? pseudoSumIpv6(bytes, l3, protocol, length)
    : pseudoSumIpv4(bytes, l3, protocol, length);
  return pseudo % 0xffff === get16(bytes, at) % 0xffff ? PARTIAL : FINISHED;
}

/** Adjusts the checksum at `at` for a change of what it covers; returns by how much it changed itself. */
function adjustAt(bytes: Uint8Array, at: number, change: number, form: number): number {
  if (change === 0) return 0;
  const before = get16(bytes, at);
  const after = adjust(before, change, form);
  set16(bytes, at, after);
  return after - before;
}

/** Writes the address at `words[from]`; returns by how much the sum of its words changed. */
function writeAddress(
  bytes: Uint8Array,
  at: number,
  isIpv6: boolean,
  words: Int32Array,
  from: number,
): number {
  let change = 0;
  for (let i = isIpv6 ? 0 : 3, field = at; i < 4; i++, field += 4) {
    const word = words[from + i]!;
    change += halves(word) - halves(get32(bytes, field));
    set32(bytes, field, word);
  }
  return change;
}

function isAddress(bytes: Uint8Array, at: number, isIpv6: boolean, words: Int32Array, from: number): boolean {
  for (let i = isIpv6 ? 0 : 3, field = at; i < 4; i++, field += 4) {
    if (get32(bytes, field) !== words[from + i]) return false;
  }
  return true;
}

function readAddress(bytes: Uint8Array, at: number, isIpv6: boolean, words: Int32Array, to: number): void {
  if (!isIpv6) {
    words[to] = 0;
    words[to + 1] = 0;
    words[to + 2] = IPV4_MAPPED;
  }
  for (let i = isIpv6 ? 0 : 3, field = at; i < 4; i++, field += 4) words[to + i] = get32(bytes, field);
}

// ---- where what is in a quotation ----

/**
 * The quoted packet: `l3`, `l4`, `end` of what is quoted of it, `protocol`. Scratch: filled anew by each function that
 * begins with `findQuoted`, so that nothing is handed from one call to the next.
 */
const quoted = new Packet(new Uint8Array(0));

/** Fills `quoted`; returns 0 or why the quotation is of no use. */
function findQuoted(packet: Packet): number {
  quoted.l3 = packet.l4 + ICMP_LEN;
  quoted.end = quotationEnd(packet);
  return packet.etherType === ETHERTYPE_IPV4 ? findQuotedIpv4(packet.bytes) : findQuotedIpv6(packet.bytes);
}

/**
 * Where the quotation ends, at the latest: an extension structure may follow (RFC 4884 §4), and padding before it. Where a
 * router leaves the length out (§5), its extensions lie at 128 bytes, behind all that is written here.
 */
function quotationEnd({ bytes, etherType, l4, end }: Packet): number {
  let length = 0;
  if (etherType === ETHERTYPE_IPV4) {
    switch (icmpType(bytes, l4)) {
      case ICMP_UNREACHABLE:
      case ICMP_TIME_EXCEEDED:
      case ICMP_PARAMETER_PROBLEM:
        length = bytes[l4 + ICMP_QUOTATION_LENGTH] << 2;
    }
  } else {
    switch (icmpv6Type(bytes, l4)) {
      case ICMPV6_UNREACHABLE:
      case ICMPV6_TIME_EXCEEDED:
        length = bytes[l4 + ICMPV6_QUOTATION_LENGTH] << 3;
    }
  }
  return length < EXTENDED_QUOTATION ? end : Math.min(end, l4 + ICMP_LEN + length);
}

function findQuotedIpv4(bytes: Uint8Array): number {
  const { l3 } = quoted;
  if (l3 + IPV4_LEN > quoted.end) return DropReason.ICMP_ERROR_MALFORMED;
  const first = bytes[l3];
  // RFC 5508 REQ-3 b: options are skipped, whatever they say.
  const headerLength = (first & 0x0f) << 2;
  const total = get16(bytes, l3 + IPV4_TOTAL_LENGTH);
  if (
    first >>> 4 !== 4 ||
    headerLength < IPV4_LEN ||
    total < headerLength ||
    l3 + headerLength > quoted.end
  ) {
    return DropReason.ICMP_ERROR_MALFORMED;
  }
  // RFC 5508 REQ-3 a.
  if (sum(bytes, l3, headerLength) !== 0xffff) return DropReason.ICMP_ERROR_MALFORMED;
  quoted.end = Math.min(quoted.end, l3 + total);
  quoted.protocol = bytes[l3 + IPV4_PROTOCOL];
  quoted.l4 = l3 + headerLength;
  if ((get16(bytes, l3 + IPV4_FRAGMENT) & IPV4_OFFSET_MASK) !== 0) return DropReason.ICMP_ERROR_UNRELATED;
  return isTransportQuoted() ? 0 : DropReason.ICMP_ERROR_MALFORMED;
}

function findQuotedIpv6(bytes: Uint8Array): number {
  const { l3 } = quoted;
  let at = l3 + IPV6_LEN;
  if (at > quoted.end || bytes[l3] >>> 4 !== 6) return DropReason.ICMP_ERROR_MALFORMED;
  const end = Math.min(quoted.end, at + get16(bytes, l3 + IPV6_PAYLOAD_LENGTH));
  quoted.end = end;
  let next = bytes[l3 + IPV6_NEXT_HEADER];
  for (let left = IPV6_MAX_EXTENSIONS; isIpv6Extension(next); left--) {
    if (left === 0 || at + 8 > end) return DropReason.ICMP_ERROR_MALFORMED;
    const length = ipv6ExtensionLength(bytes, at, next);
    if (at + length > end) return DropReason.ICMP_ERROR_MALFORMED;
    if (next === IPV6_EXT_FRAGMENT && (get16(bytes, at + IPV6_FRAG_OFFSET) & IPV6_FRAG_OFFSET_MASK) !== 0) {
      return DropReason.ICMP_ERROR_UNRELATED;
    }
    next = bytes[at];
    at += length;
  }
  quoted.protocol = next;
  quoted.l4 = at;
  return isTransportQuoted() ? 0 : DropReason.ICMP_ERROR_MALFORMED;
}

/** Whether there is enough of the transport header to tell which flow it is of. */
function isTransportQuoted(): boolean {
  switch (quoted.protocol) {
    case PROTO_TCP:
    case PROTO_UDP:
    case PROTO_ICMP:
    case PROTO_ICMPV6:
      return quoted.l4 + QUOTED_L4 <= quoted.end;
    default:
      return true;
  }
}
