/**
 * The virtio-net header (virtio 1.2 §5.1.6; Linux `include/uapi/linux/virtio_net.h`): how a frame travels that is not
 * finished yet, with a partial checksum or as a segment of up to 64 KiB. It stands in the 12 bytes in front of the
 * frame, and all functions take its offset: `packet.at - VNET_LEN`. Fields are little-endian, as a TAP writes them
 * on the machines that we run on. All zero means an ordinary frame.
 */
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.ts';
import { ICMP_CHECKSUM } from './icmp.ts';
import { Malformed } from './malformed.ts';
import type { Packet } from './packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from './protocol.ts';
import { TCP_CHECKSUM } from './tcp.ts';
import { UDP_CHECKSUM } from './udp.ts';

export const VNET_FLAGS = 0;
export const VNET_GSO_TYPE = 1;
export const VNET_HDR_LEN = 2;
export const VNET_GSO_SIZE = 4;
export const VNET_CSUM_START = 6;
export const VNET_CSUM_OFFSET = 8;
export const VNET_NUM_BUFFERS = 10;
/** Length of the header with `num_buffers`. */
export const VNET_LEN = 12;

/** The checksum at csum_start + csum_offset holds the pseudo-header's sum only; whoever needs it finishes it. */
export const VNET_F_NEEDS_CSUM = 1;
/** Whoever delivered the frame has verified its checksum. */
export const VNET_F_DATA_VALID = 2;

/** One packet that is one packet. */
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
/** UDP to be cut into IP fragments (UFO); Linux gave it up in 4.14, and we never offer it. */
export const VNET_GSO_UDP = 3;
export const VNET_GSO_TCPV6 = 4;
/** UDP to be cut into datagrams (USO), IPv4 or IPv6. */
export const VNET_GSO_UDP_L4 = 5;
/** Bit beside a TCP type: the segment has CWR set, which only its first piece may carry (RFC 3168 §6.1.2). */
export const VNET_GSO_ECN = 0x80;

/**
 * Most pieces that one frame may ask for. A frame of 64 KiB with segments of one byte would cost 65,000 frames; no
 * link has a MTU below 68 (RFC 791 §3.2), which leaves at least 16 bytes of TCP payload: 4,096 pieces.
 */
export const VNET_MAX_SEGMENTS = 4096;

export function vnetFlags(bytes: Uint8Array, vnet: number): number {
  return bytes[vnet + VNET_FLAGS];
}

/** Whether the checksum is partial. */
export function needsChecksum(bytes: Uint8Array, vnet: number): boolean {
  return (bytes[vnet + VNET_FLAGS] & VNET_F_NEEDS_CSUM) !== 0;
}

/** One of VNET_GSO_*, without the ECN bit. */
export function gsoType(bytes: Uint8Array, vnet: number): number {
  return bytes[vnet + VNET_GSO_TYPE] & ~VNET_GSO_ECN;
}

export function gsoEcn(bytes: Uint8Array, vnet: number): boolean {
  return (bytes[vnet + VNET_GSO_TYPE] & VNET_GSO_ECN) !== 0;
}

/** Payload bytes of each piece but the last. */
export function gsoSize(bytes: Uint8Array, vnet: number): number {
  return getLe16(bytes, vnet + VNET_GSO_SIZE);
}

/** Length of all headers; a hint, which Linux fills with something larger at times (virtio 1.2 §5.1.6.2). */
export function vnetHeaderLength(bytes: Uint8Array, vnet: number): number {
  return getLe16(bytes, vnet + VNET_HDR_LEN);
}

/** Where the partial checksum begins to sum, counted from the Ethernet header. */
export function csumStart(bytes: Uint8Array, vnet: number): number {
  return getLe16(bytes, vnet + VNET_CSUM_START);
}

/** Where the checksum field is, counted from `csumStart`. */
export function csumOffset(bytes: Uint8Array, vnet: number): number {
  return getLe16(bytes, vnet + VNET_CSUM_OFFSET);
}

export function numBuffers(bytes: Uint8Array, vnet: number): number {
  return getLe16(bytes, vnet + VNET_NUM_BUFFERS);
}

/** An ordinary frame: nothing left to do. */
export function clearVnet(bytes: Uint8Array, vnet: number): void {
  bytes.fill(0, vnet, vnet + VNET_LEN);
}

/**
 * Writes all fields.
 * @param type one of VNET_GSO_*, with VNET_GSO_ECN where it applies
 * @param headerLength of all headers, Ethernet's included; 0 without GSO
 * @param size payload bytes per piece; 0 without GSO
 * @param start offset of the transport header from the Ethernet header; 0 without NEEDS_CSUM
 * @param offset of the checksum in the transport header; 0 without NEEDS_CSUM
 */
export function writeVnet(
  bytes: Uint8Array,
  vnet: number,
  flags: number,
  type: number,
  headerLength: number,
  size: number,
  start: number,
  offset: number,
): void {
  bytes[vnet + VNET_FLAGS] = flags;
  bytes[vnet + VNET_GSO_TYPE] = type;
  setLe16(bytes, vnet + VNET_HDR_LEN, headerLength);
  setLe16(bytes, vnet + VNET_GSO_SIZE, size);
  setLe16(bytes, vnet + VNET_CSUM_START, start);
  setLe16(bytes, vnet + VNET_CSUM_OFFSET, offset);
  // Receive buffers are never merged: the frame is in one (virtio 1.2 §5.1.6.4).
  setLe16(bytes, vnet + VNET_NUM_BUFFERS, 0);
}

/** When the Ethernet header grows (a tag is pushed) or shrinks, the offset in it moves. */
export function setCsumStart(bytes: Uint8Array, vnet: number, start: number): void {
  setLe16(bytes, vnet + VNET_CSUM_START, start);
}

/** For MSS clamping and routing to a smaller MTU. */
export function setGsoSize(bytes: Uint8Array, vnet: number, size: number): void {
  setLe16(bytes, vnet + VNET_GSO_SIZE, size);
}

/** The checksum is finished. */
export function clearNeedsChecksum(bytes: Uint8Array, vnet: number): void {
  bytes[vnet + VNET_FLAGS] &= ~VNET_F_NEEDS_CSUM;
  setLe16(bytes, vnet + VNET_CSUM_START, 0);
  setLe16(bytes, vnet + VNET_CSUM_OFFSET, 0);
}

/**
 * Whether the checksum of the packet's own transport header is partial: only then do addresses count in it and ports
 * do not. A partial checksum further in (of an encapsulated packet) does not concern the outer headers.
 */
export function hasPartialChecksum(packet: Packet): boolean {
  const { bytes, at } = packet;
  return needsChecksum(bytes, at - VNET_LEN) && at + csumStart(bytes, at - VNET_LEN) === packet.l4;
}

/**
 * Whether the header agrees with the frame. Call it after `parse` or `parseNetwork` answered NONE: it compares with the
 * headers that were found. A kernel writes no other, but a root user in a container can (PF_PACKET with PACKET_VNET_HDR).
 */
export function checkVnet(packet: Packet): Malformed {
  const { bytes, at } = packet;
  const vnet = at - VNET_LEN;
  const partial = needsChecksum(bytes, vnet);
  const gso = bytes[vnet + VNET_GSO_TYPE];
  if (!partial && gso === VNET_GSO_NONE) return Malformed.NONE;
  const tcp = packet.protocol === PROTO_TCP && packet.l4 !== 0;
  const udp = packet.protocol === PROTO_UDP && packet.l4 !== 0;
  if (partial) {
    const start = csumStart(bytes, vnet);
    const offset = csumOffset(bytes, vnet);
    // No fragment: a checksum is finished before the packet is cut.
    if (packet.moreFragments || packet.fragmentOffset !== 0) return Malformed.VNET_INHDR;
    if (at + start + offset + 2 > packet.end) return Malformed.VNET_INHDR;
    // Nowhere in the headers but in the checksum field: what is finished on the way out is written after everybody
    // has looked at them, and must not change what they saw.
    if (packet.l4 !== 0 && at + start === packet.l4) {
      const icmp = packet.protocol === PROTO_ICMP || packet.protocol === PROTO_ICMPV6;
      if (tcp && offset !== TCP_CHECKSUM) return Malformed.VNET_INHDR;
      if (udp && offset !== UDP_CHECKSUM) return Malformed.VNET_INHDR;
      if (icmp && offset !== ICMP_CHECKSUM) return Malformed.VNET_INHDR;
    } else if (at + start < endOfHeaders(packet)) return Malformed.VNET_INHDR;
    // Encapsulated GSO is never offered, so the checksum of a GSO frame is that of its own transport header.
    if (gso !== VNET_GSO_NONE && at + start !== packet.l4) return Malformed.VNET_INHDR;
  }
  if (gso === VNET_GSO_NONE) return Malformed.NONE;
  const size = gsoSize(bytes, vnet);
  if (size === 0 || packet.fragmentHeader !== 0 || packet.moreFragments) return Malformed.VNET_INHDR;
  if (packet.end - packet.payload > size * VNET_MAX_SEGMENTS) return Malformed.VNET_INHDR;
  switch (gso) {
    case VNET_GSO_TCPV4:
    case VNET_GSO_TCPV4 | VNET_GSO_ECN:
      return tcp && packet.etherType === ETHERTYPE_IPV4 ? Malformed.NONE : Malformed.VNET_INHDR;
    case VNET_GSO_TCPV6:
    case VNET_GSO_TCPV6 | VNET_GSO_ECN:
      return tcp && packet.etherType === ETHERTYPE_IPV6 ? Malformed.NONE : Malformed.VNET_INHDR;
    case VNET_GSO_UDP_L4:
      return udp ? Malformed.NONE : Malformed.VNET_INHDR;
    default:
      return Malformed.VNET_INHDR;
  }
}

/** Offset behind the headers that `parse` has recognised. */
function endOfHeaders({ etherType, l3, l4, payload, end }: Packet): number {
  if (l4 !== 0) return payload;
  return etherType === ETHERTYPE_ARP ? end : l3;
}

function getLe16(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8);
}

function setLe16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
