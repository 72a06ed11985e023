/**
 * Translating the packets of a flow: both addresses and both ports at once.
 *
 * What changes is known from the two tuples of the flow, without looking at the packet: a packet of one direction leaves
 * as that to which the packets of the other one are the answer. The change of all fields is added up to one signed
 * number, and each checksum is read and written once (RFC 1624). A checksum is adjusted and never computed anew, so
 * that a wrong one stays wrong and its receiver finds out.
 */
import { get16, set16, set32 } from '../wire/bytes.ts';
import { adjust, FINISHED, halves, PARTIAL } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4 } from '../wire/ethernet.ts';
import {
  ICMP_CHECKSUM,
  ICMP_ECHO_REQUEST,
  ICMP_IDENTIFIER,
  ICMP_TIMESTAMP,
  icmpType,
  isIcmpQuery,
} from '../wire/icmp.ts';
import { ICMPV6_ECHO_REQUEST, icmpv6Type, isIcmpv6Echo } from '../wire/icmpv6.ts';
import { IPV4_CHECKSUM, IPV4_DST, IPV4_SRC } from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { TCP_CHECKSUM } from '../wire/tcp.ts';
import { UDP_CHECKSUM } from '../wire/udp.ts';
import { hasPartialChecksum } from '../wire/virtio-net.ts';
import { TUPLE_DST, TUPLE_DST_IPV4, TUPLE_PORTS, TUPLE_SRC, TUPLE_SRC_IPV4, TUPLE_WORDS } from './tuple.ts';

/**
 * Rewrites a packet of direction `ref & 1` so that the packets of the other direction are answers to it: its source
 * becomes their destination, its destination their source. Works alike on ordinary packets, 64 KiB GSO frames, partial
 * checksums and first fragments; of other fragments, which have no ports, the addresses are written.
 * @param packet parsed, and the one by whose tuple `ref` was found: its fields are taken to be as the tuple says
 * @param tuples of the connection table: `TUPLE_WORDS` words per direction of a row
 */
export function translate(packet: Packet, tuples: Int32Array, ref: number): void {
  // All in one function, although it is long: V8 inlines 920 bytes of code into a function and calls what is beyond.
  const { view, l3, l4, protocol } = packet;
  const own = ref * TUPLE_WORDS;
  const other = (ref ^ 1) * TUPLE_WORDS;
  // By how much the sum of the 16-bit words of the addresses changes.
  let change = 0;
  if (packet.etherType === ETHERTYPE_IPV4) {
    const src = tuples[other + TUPLE_DST_IPV4]!;
    const dst = tuples[other + TUPLE_SRC_IPV4]!;
    const srcBefore = tuples[own + TUPLE_SRC_IPV4]!;
    const dstBefore = tuples[own + TUPLE_DST_IPV4]!;
    if (src !== srcBefore) {
      view.setInt32(l3 + IPV4_SRC, src);
      change = halves(src) - halves(srcBefore);
    }
    if (dst !== dstBefore) {
      view.setInt32(l3 + IPV4_DST, dst);
      change += halves(dst) - halves(dstBefore);
    }
    if (change !== 0) {
      view.setUint16(l3 + IPV4_CHECKSUM, adjust(view.getUint16(l3 + IPV4_CHECKSUM), change));
    }
  } else {
    change = rewriteIpv6(packet.bytes, l3 + IPV6_SRC, tuples, own + TUPLE_SRC, other + TUPLE_DST);
    change += rewriteIpv6(packet.bytes, l3 + IPV6_DST, tuples, own + TUPLE_DST, other + TUPLE_SRC);
  }
  if (l4 === 0) return;

  const ports = swapPorts(tuples[other + TUPLE_PORTS]!);
  const isTcp = protocol === PROTO_TCP;
  if (!isTcp && protocol !== PROTO_UDP) {
    rewriteQuery(packet, change, ports);
    return;
  }
  const portsBefore = tuples[own + TUPLE_PORTS]!;
  let total = change;
  if (ports !== portsBefore) {
    view.setInt32(l4, ports);
    total += halves(ports) - halves(portsBefore);
  }
  const at = l4 + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
  const check = view.getUint16(at);
  if (hasPartialChecksum(packet)) {
    // It is the sum of the pseudo-header alone, in which there are no ports.
    if (change !== 0) view.setUint16(at, adjust(check, change, PARTIAL));
    return;
  }
  // RFC 768: all zero means that the sender computed none, and none it stays.
  if (total === 0 || (check === 0 && !isTcp)) return;
  const adjusted = adjust(check, total);
  // RFC 768: a checksum that comes to zero is sent as all ones.
  view.setUint16(at, adjusted === 0 && !isTcp ? 0xffff : adjusted);
}

/**
 * Undoes `translate`: makes of a translated packet of direction `ref & 1` what came in, for an error that is to be sent
 * about it.
 */
export function restore(packet: Packet, tuples: Int32Array, ref: number): void {
  // The way back is the translation of a flow with the tuples the other way round.
  swapEnds(tuples, (ref ^ 1) * TUPLE_WORDS, 0);
  swapEnds(tuples, ref * TUPLE_WORDS, TUPLE_WORDS);
  translate(packet, turned, 0);
}

/** Two tuples without kind: scratch of `restore`. */
const turned = new Int32Array(2 * TUPLE_WORDS);

function swapEnds(tuples: Int32Array, from: number, to: number): void {
  for (let i = 0; i < 4; i++) {
    turned[to + TUPLE_SRC + i] = tuples[from + TUPLE_DST + i]!;
    turned[to + TUPLE_DST + i] = tuples[from + TUPLE_SRC + i]!;
  }
  turned[to + TUPLE_PORTS] = swapPorts(tuples[from + TUPLE_PORTS]!);
}

/** The ports word of the answer to a packet with this one. */
export function swapPorts(ports: number): number {
  return (ports << 16) | (ports >>> 16);
}

/** Writes the address `words[after]` where `words[before]` stands; returns by how much the sum of its words changed. */
function rewriteIpv6(
  bytes: Uint8Array,
  at: number,
  words: Int32Array,
  before: number,
  after: number,
): number {
  let change = 0;
  for (let i = 0; i < 4; i++) {
    const word = words[after + i]!;
    const was = words[before + i]!;
    if (word === was) continue;
    set32(bytes, at + 4 * i, word);
    change += halves(word) - halves(was);
  }
  return change;
}

/** The identifier takes the place of the port of whoever asks (RFC 3022 §2.2, RFC 5508 REQ-1). */
function rewriteQuery(packet: Packet, addresses: number, ports: number): void {
  const { bytes, l4, end, protocol } = packet;
  const isIpv6 = packet.etherType !== ETHERTYPE_IPV4;
  if (protocol !== (isIpv6 ? PROTO_ICMPV6 : PROTO_ICMP)) return;
  const form = hasPartialChecksum(packet) ? PARTIAL : FINISHED;
  // ICMP sums no pseudo-header (RFC 792), ICMPv6 does (RFC 4443 §2.3).
  let change = isIpv6 ? addresses : 0;
  const identifier = queryIdentifier(bytes, l4, isIpv6, ports);
  if (identifier >= 0) {
    if (form === FINISHED) change += identifier - get16(bytes, l4 + ICMP_IDENTIFIER);
    set16(bytes, l4 + ICMP_IDENTIFIER, identifier);
  }
  if (change === 0) return;
  const check = adjust(get16(bytes, l4 + ICMP_CHECKSUM), change, form);
  set16(bytes, l4 + ICMP_CHECKSUM, check === 0 && isAllZero(bytes, l4, end) ? 0xffff : check);
}

/**
 * The identifier that the ports word of a query's tuple gives to the message at `bytes[l4]`: it stands at the side of
 * who asks. -1 when the message is neither query nor answer.
 */
export function queryIdentifier(bytes: Uint8Array, l4: number, isIpv6: boolean, ports: number): number {
  let asks: boolean;
  if (isIpv6) {
    const type = icmpv6Type(bytes, l4);
    if (!isIcmpv6Echo(type)) return -1;
    asks = type === ICMPV6_ECHO_REQUEST;
  } else {
    const type = icmpType(bytes, l4);
    if (!isIcmpQuery(type)) return -1;
    asks = type === ICMP_ECHO_REQUEST || type === ICMP_TIMESTAMP;
  }
  return asks ? ports >>> 16 : ports & 0xffff;
}

/**
 * Whether an ICMP message consists of zeros but for its checksum: an echo reply with nothing in it. Its checksum is
 * 0xffff, which an update cannot tell from 0 (RFC 1624 §3); in all others something is not zero.
 */
export function isAllZero(bytes: Uint8Array, l4: number, end: number): boolean {
  for (let i = l4; i < end; i++) {
    if (bytes[i] !== 0 && i !== l4 + ICMP_CHECKSUM && i !== l4 + ICMP_CHECKSUM + 1) return false;
  }
  return true;
}
