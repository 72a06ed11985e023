/**
 * Rewriting the addresses and ports of a packet in place: what SNAT and DNAT come down to. The packet has been
 * accepted by `parse`; checksums are adjusted, never computed anew (RFC 1624), so that a wrong one stays wrong and
 * its receiver finds out. Works alike on ordinary packets, on 64 KiB GSO frames and on partial checksums.
 */
import { get16, get32, set16, set32 } from '../wire/bytes.ts';
import { update16, update32, updatePartial32 } from '../wire/checksum.ts';
import { ICMP_IDENTIFIER, icmpType, isIcmpQuery } from '../wire/icmp.ts';
import { icmpv6Type, isIcmpv6Echo } from '../wire/icmpv6.ts';
import { IPV4_CHECKSUM, IPV4_DST, IPV4_SRC } from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { TCP_DST_PORT, TCP_SRC_PORT } from '../wire/tcp.ts';
import { checksumOffset } from '../wire/transport.ts';
import { hasPartialChecksum } from '../wire/virtio-net.ts';

/** Replaces the source address of an IPv4 packet (int32). */
export function setSourceIpv4(packet: Packet, address: number): void {
  setIpv4(packet, IPV4_SRC, address);
}

/** Replaces the destination address of an IPv4 packet (int32). */
export function setDestinationIpv4(packet: Packet, address: number): void {
  setIpv4(packet, IPV4_DST, address);
}

/** Replaces the source address of an IPv6 packet (four int32 words at `from` in `words`). */
export function setSourceIpv6(packet: Packet, words: Int32Array, from = 0): void {
  setIpv6(packet, IPV6_SRC, words, from);
}

/** Replaces the destination address of an IPv6 packet (four int32 words at `from` in `words`). */
export function setDestinationIpv6(packet: Packet, words: Int32Array, from = 0): void {
  setIpv6(packet, IPV6_DST, words, from);
}

/**
 * Replaces the source port of TCP or UDP, or the identifier of an ICMP query, which takes its place (RFC 3022 §2.2).
 * Does nothing for other protocols and for fragments other than the first, which have neither.
 */
export function setSourcePort(packet: Packet, port: number): void {
  const { protocol, l4 } = packet;
  if (l4 === 0) return;
  if (protocol === PROTO_TCP || protocol === PROTO_UDP) setPort(packet, l4 + TCP_SRC_PORT, port);
  else setIdentifier(packet, port);
}

/** As `setSourcePort`, for the destination port. */
export function setDestinationPort(packet: Packet, port: number): void {
  const { protocol, l4 } = packet;
  if (l4 === 0) return;
  if (protocol === PROTO_TCP || protocol === PROTO_UDP) setPort(packet, l4 + TCP_DST_PORT, port);
  else setIdentifier(packet, port);
}

function setIpv4(packet: Packet, field: number, address: number): void {
  const { bytes, l3 } = packet;
  const at = l3 + field;
  const before = get32(bytes, at);
  set32(bytes, at, address);
  set16(bytes, l3 + IPV4_CHECKSUM, update32(get16(bytes, l3 + IPV4_CHECKSUM), before, address));
  // ICMP sums no pseudo-header (RFC 792).
  if (packet.protocol !== PROTO_ICMP) adjustForAddress(packet, before, address);
}

function setIpv6(packet: Packet, field: number, words: Int32Array, from: number): void {
  const { bytes, l3 } = packet;
  for (let i = 0; i < 4; i++) {
    const at = l3 + field + 4 * i;
    const before = get32(bytes, at);
    const after = words[from + i]!;
    set32(bytes, at, after);
    adjustForAddress(packet, before, after);
  }
}

function setIdentifier(packet: Packet, identifier: number): void {
  const { bytes, l4, protocol } = packet;
  const isQuery =
    (protocol === PROTO_ICMP && isIcmpQuery(icmpType(bytes, l4))) ||
    (protocol === PROTO_ICMPV6 && isIcmpv6Echo(icmpv6Type(bytes, l4)));
  if (isQuery) setPort(packet, l4 + ICMP_IDENTIFIER, identifier);
}

/** Adjusts the transport checksum for an address of its pseudo-header. */
function adjustForAddress(packet: Packet, before: number, after: number): void {
  const at = checksumAt(packet);
  if (at === 0) return;
  const check = get16(packet.bytes, at);
  if (hasPartialChecksum(packet)) set16(packet.bytes, at, updatePartial32(check, before, after));
  else setChecksum(packet, at, update32(check, before, after));
}

function setPort(packet: Packet, at: number, port: number): void {
  const { bytes } = packet;
  const before = get16(bytes, at);
  set16(bytes, at, port);
  const check = checksumAt(packet);
  // A partial checksum holds the pseudo-header alone, in which there are no ports.
  if (check === 0 || hasPartialChecksum(packet)) return;
  setChecksum(packet, check, update16(get16(bytes, check), before, port));
}

/** Where the packet's finished or partial transport checksum is; 0 when it has none. */
function checksumAt(packet: Packet): number {
  const offset = checksumOffset(packet);
  if (offset < 0) return 0;
  const at = packet.l4 + offset;
  // RFC 768: all zero means that the sender computed none, and none it stays. (A partial one can be zero.)
  if (packet.protocol === PROTO_UDP && get16(packet.bytes, at) === 0 && !hasPartialChecksum(packet)) return 0;
  return at;
}

function setChecksum(packet: Packet, at: number, check: number): void {
  // RFC 768: a checksum that comes to zero is sent as all ones.
  set16(packet.bytes, at, check === 0 && packet.protocol === PROTO_UDP ? 0xffff : check);
}
