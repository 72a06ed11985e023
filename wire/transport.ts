/** Checksums of the transport header of a packet that `parse` has accepted, whatever its IP version and protocol. */
import { get16, set16 } from './bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6, sum, update16 } from './checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.ts';
import { ICMP_CHECKSUM } from './icmp.ts';
import { findIpv6Extension, IPV6_EXT_ROUTING, IPV6_ROUTING_SEGMENTS_LEFT } from './ipv6.ts';
import type { Packet } from './packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from './protocol.ts';
import { findTcpOption, setTcpChecksum, TCP_CHECKSUM, TCP_OPT_MSS, tcpChecksum, tcpMss } from './tcp.ts';
import { UDP_CHECKSUM, UDP_LENGTH } from './udp.ts';
import { clearNeedsChecksum, hasPartialChecksum, VNET_LEN } from './virtio-net.ts';

/**
 * Whether the transport checksum is right. True also where there is nothing to verify: other protocols, fragments
 * (their checksum covers the whole datagram), a partial checksum (the bytes have not left the machine since
 * they were written), UDP over IPv4 without a checksum (RFC 768).
 */
export function transportChecksumOk(packet: Packet): boolean {
  const { bytes, l4 } = packet;
  const offset = checksumOffset(packet);
  if (offset < 0 || packet.moreFragments || hasPartialChecksum(packet)) return true;
  if (packet.protocol === PROTO_UDP && get16(bytes, l4 + UDP_CHECKSUM) === 0) {
    // Over IPv6 the checksum is mandatory (RFC 8200 §8.1).
    return packet.etherType === ETHERTYPE_IPV4;
  }
  // The pseudo-header has the final destination, which is in the routing header as long as segments are left
  // (RFC 8200 §8.1); only that host can verify it.
  if (packet.etherType === ETHERTYPE_IPV6) {
    const routing = findIpv6Extension(packet, IPV6_EXT_ROUTING);
    if (routing !== 0 && bytes[routing + IPV6_ROUTING_SEGMENTS_LEFT] !== 0) return true;
  }
  return transportSum(packet) === 0xffff;
}

/**
 * Computes the transport checksum anew and writes it; it is then no longer partial. Does nothing for other protocols, and
 * for fragments, whose checksum covers bytes that are elsewhere.
 */
export function fillTransportChecksum(packet: Packet): void {
  const offset = checksumOffset(packet);
  if (offset < 0 || packet.moreFragments) return;
  const field = packet.l4 + offset;
  set16(packet.bytes, field, 0);
  const check = ~transportSum(packet) & 0xffff;
  // RFC 768: a computed 0 is sent as all ones, because 0 says that there is none.
  set16(packet.bytes, field, check === 0 && packet.protocol === PROTO_UDP ? 0xffff : check);
  if (hasPartialChecksum(packet)) clearNeedsChecksum(packet.bytes, packet.at - VNET_LEN);
}

/**
 * Finishes a TCP or UDP checksum that the sender has left to its interface, and that therefore is the sum of the pseudo-header
 * alone (as virtio-net's NEEDS_CSUM). For packets of captures, which have no virtio-net header that would say so. True when it was
 * unfinished.
 */
export function finishTransportChecksum(packet: Packet): boolean {
  const { bytes, l4, protocol } = packet;
  if (l4 === 0 || packet.moreFragments || (protocol !== PROTO_TCP && protocol !== PROTO_UDP)) return false;
  const field = l4 + checksumOffset(packet);
  if (get16(bytes, field) !== fold(pseudoSum(packet)) || transportSum(packet) === 0xffff) return false;
  set16(bytes, field, 0);
  const check = ~transportSum(packet) & 0xffff;
  set16(bytes, field, check === 0 && protocol === PROTO_UDP ? 0xffff : check);
  return true;
}

/**
 * Lowers the MSS that a TCP SYN announces to `mss`, so that its peer's segments fit a smaller link; true when it had to.
 * Keeps the checksum right, partial or finished.
 */
export function clampMss(packet: Packet, mss: number): boolean {
  const { bytes, l4 } = packet;
  if (packet.protocol !== PROTO_TCP || l4 === 0) return false;
  const before = tcpMss(bytes, l4);
  if (before <= mss) return false;
  const field = findTcpOption(bytes, l4, TCP_OPT_MSS) + 2;
  set16(bytes, field, mss);
  // A partial checksum does not cover it yet.
  if (hasPartialChecksum(packet)) return true;
  // Behind an odd number of NOPs the two bytes belong to two words, in which they are seen swapped (RFC 1071 §2 B).
  const odd = ((field - l4) & 1) !== 0;
  const check = odd
    ? update16(tcpChecksum(bytes, l4), swap16(before), swap16(mss))
    : update16(tcpChecksum(bytes, l4), before, mss);
  setTcpChecksum(bytes, l4, check);
  return true;
}

function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

/** Where the checksum is in the transport header; -1 for protocols whose checksum is not of this kind. */
export function checksumOffset(packet: Packet): number {
  if (packet.l4 === 0) return -1;
  switch (packet.protocol) {
    case PROTO_TCP:
      return TCP_CHECKSUM;
    case PROTO_UDP:
      return UDP_CHECKSUM;
    case PROTO_ICMP:
      return packet.etherType === ETHERTYPE_IPV4 ? ICMP_CHECKSUM : -1;
    case PROTO_ICMPV6:
      return packet.etherType === ETHERTYPE_IPV6 ? ICMP_CHECKSUM : -1;
    default:
      return -1;
  }
}

/** Sum over pseudo-header, transport header and payload, the checksum field as it stands. */
function transportSum(packet: Packet): number {
  return sum(packet.bytes, packet.l4, transportLength(packet), pseudoSum(packet));
}

/** UDP has a length of its own, which may end before the packet does (RFC 768). */
function transportLength({ bytes, l4, protocol, end }: Packet): number {
  return protocol === PROTO_UDP ? get16(bytes, l4 + UDP_LENGTH) : end - l4;
}

function pseudoSum(packet: Packet): number {
  const { bytes, l3, protocol } = packet;
  if (packet.etherType === ETHERTYPE_IPV6) return pseudoSumIpv6(bytes, l3, protocol, transportLength(packet));
  return protocol === PROTO_ICMP ? 0 : pseudoSumIpv4(bytes, l3, protocol, transportLength(packet));
}
