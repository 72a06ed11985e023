/** IPv6 (RFC 8200) with its extension headers. All functions take the offset of the fixed header. */
import { get16, get32, set16, set32 } from './bytes.ts';
import type { Packet } from './packet.ts';

/** Version (4 bits), traffic class (8 bits), flow label (20 bits). */
export const IPV6_VERSION_CLASS_FLOW = 0;
export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SRC = 8;
export const IPV6_DST = 24;
export const IPV6_LEN = 40;
/** Every link carries a packet of this size (RFC 8200 §5). */
export const IPV6_MIN_MTU = 1280;

/** Next-header values that are extension headers (RFC 7045 §4). */
export const IPV6_EXT_HOP_BY_HOP = 0;
export const IPV6_EXT_ROUTING = 43;
export const IPV6_EXT_FRAGMENT = 44;
export const IPV6_EXT_AH = 51;
/** Not an extension header: nothing follows (RFC 8200 §4.7). */
export const IPV6_NO_NEXT = 59;
export const IPV6_EXT_DESTINATION = 60;
export const IPV6_EXT_MOBILITY = 135;
export const IPV6_EXT_HIP = 139;
export const IPV6_EXT_SHIM6 = 140;

/**
 * Longest chain that `parse` follows. RFC 8200 §4.1 recommends each header once and destination options twice;
 * nodes may limit the number (RFC 8883), and a frame of 64 KiB made of nothing else must not cost 8,191 steps.
 */
export const IPV6_MAX_EXTENSIONS = 16;

/** Offsets in the fragment header. */
export const IPV6_FRAG_NEXT_HEADER = 0;
/** Offset (13 bits, in units of 8 bytes), two reserved bits, M flag. */
export const IPV6_FRAG_OFFSET = 2;
export const IPV6_FRAG_IDENTIFICATION = 4;
export const IPV6_FRAG_LEN = 8;
export const IPV6_FRAG_M = 0x0001;
/** Masks the offset; in place it is the offset in bytes. */
export const IPV6_FRAG_OFFSET_MASK = 0xfff8;

/** Offset of the type in a routing header (RFC 8200 §4.4). */
export const IPV6_ROUTING_TYPE = 2;
const ROUTING_TYPE_SOURCE_ROUTE = 0;
/** Offset in a routing header: how many stations are still to be visited. */
export const IPV6_ROUTING_SEGMENTS_LEFT = 3;

/** One byte of padding, without a length (RFC 8200 §4.2). */
export const IPV6_OPT_PAD1 = 0;
export const IPV6_OPT_PADN = 1;
export const IPV6_OPT_ROUTER_ALERT = 5;

export function ipv6TrafficClass(bytes: Uint8Array, at: number): number {
  return (get16(bytes, at) >>> 4) & 0xff;
}

export function ipv6FlowLabel(bytes: Uint8Array, at: number): number {
  return get32(bytes, at) & 0xfffff;
}

/** Bytes behind the fixed header, extension headers included. */
export function ipv6PayloadLength(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + IPV6_PAYLOAD_LENGTH);
}

/** What follows the fixed header; `packet.protocol` is what follows the last extension header. */
export function ipv6NextHeader(bytes: Uint8Array, at: number): number {
  return bytes[at + IPV6_NEXT_HEADER];
}

export function ipv6HopLimit(bytes: Uint8Array, at: number): number {
  return bytes[at + IPV6_HOP_LIMIT];
}

/** Word 0 to 3 of the source, as int32. */
export function ipv6Src(bytes: Uint8Array, at: number, word: number): number {
  return get32(bytes, at + IPV6_SRC + (word << 2));
}

/** Word 0 to 3 of the destination, as int32. */
export function ipv6Dst(bytes: Uint8Array, at: number, word: number): number {
  return get32(bytes, at + IPV6_DST + (word << 2));
}

/** Invalidates what `parse` found. */
export function setIpv6PayloadLength(bytes: Uint8Array, at: number, length: number): void {
  set16(bytes, at + IPV6_PAYLOAD_LENGTH, length);
}

export function setIpv6HopLimit(bytes: Uint8Array, at: number, hopLimit: number): void {
  bytes[at + IPV6_HOP_LIMIT] = hopLimit;
}

/** Writes the source from four int32 words. Transport checksums cover it: see `update32`. */
export function setIpv6Src(
  bytes: Uint8Array,
  at: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  setIpv6Address(bytes, at + IPV6_SRC, w0, w1, w2, w3);
}

/** Writes the destination from four int32 words. Transport checksums cover it: see `update32`. */
export function setIpv6Dst(
  bytes: Uint8Array,
  at: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  setIpv6Address(bytes, at + IPV6_DST, w0, w1, w2, w3);
}

/** Writes an address, four int32 words, anywhere. */
export function setIpv6Address(
  bytes: Uint8Array,
  at: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): void {
  set32(bytes, at, w0);
  set32(bytes, at + 4, w1);
  set32(bytes, at + 8, w2);
  set32(bytes, at + 12, w3);
}

/**
 * Writes the fixed header except the addresses (`setIpv6Src`, `setIpv6Dst`), which callers have in different
 * forms; returns the offset behind it.
 * @param payloadLength bytes behind the fixed header
 */
export function writeIpv6(
  bytes: Uint8Array,
  at: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
  trafficClass = 0,
  flowLabel = 0,
): number {
  set32(bytes, at, 0x60000000 | ((trafficClass & 0xff) << 20) | (flowLabel & 0xfffff));
  set16(bytes, at + IPV6_PAYLOAD_LENGTH, payloadLength);
  bytes[at + IPV6_NEXT_HEADER] = nextHeader;
  bytes[at + IPV6_HOP_LIMIT] = hopLimit;
  return at + IPV6_LEN;
}

/** Writes a fragment header; returns the offset behind it. `offset` is in bytes, a multiple of 8. */
export function writeIpv6Fragment(
  bytes: Uint8Array,
  at: number,
  nextHeader: number,
  offset: number,
  more: boolean,
  identification: number,
): number {
  bytes[at + IPV6_FRAG_NEXT_HEADER] = nextHeader;
  bytes[at + 1] = 0;
  set16(bytes, at + IPV6_FRAG_OFFSET, (offset & IPV6_FRAG_OFFSET_MASK) | (more ? IPV6_FRAG_M : 0));
  set32(bytes, at + IPV6_FRAG_IDENTIFICATION, identification);
  return at + IPV6_FRAG_LEN;
}

/** Identification of a fragment; `at` is `packet.fragmentHeader`. */
export function ipv6FragmentIdentification(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + IPV6_FRAG_IDENTIFICATION);
}

/** Whether a next-header value names an extension header that can be stepped over; ESP (50) cannot. */
export function isIpv6Extension(nextHeader: number): boolean {
  switch (nextHeader) {
    case IPV6_EXT_HOP_BY_HOP:
    case IPV6_EXT_ROUTING:
    case IPV6_EXT_FRAGMENT:
    case IPV6_EXT_AH:
    case IPV6_EXT_DESTINATION:
    case IPV6_EXT_MOBILITY:
    case IPV6_EXT_HIP:
    case IPV6_EXT_SHIM6:
      return true;
    default:
      return false;
  }
}

/** Length in bytes of the extension header of type `nextHeader` at `at`. */
export function ipv6ExtensionLength(bytes: Uint8Array, at: number, nextHeader: number): number {
  if (nextHeader === IPV6_EXT_FRAGMENT) return IPV6_FRAG_LEN;
  // The authentication header alone counts in units of 4 bytes (RFC 4302 §2.2).
  if (nextHeader === IPV6_EXT_AH) return (bytes[at + 1] + 2) << 2;
  return (bytes[at + 1] + 1) << 3;
}

/** Whether the options of a hop-by-hop or destination options header fill it exactly (RFC 8200 §4.2). */
export function ipv6OptionsOk(bytes: Uint8Array, at: number): boolean {
  const end = at + ((bytes[at + 1] + 1) << 3);
  let option = at + 2;
  while (option < end) {
    if (bytes[option] === IPV6_OPT_PAD1) option++;
    else if (option + 2 > end) return false;
    else option += 2 + bytes[option + 1];
  }
  return option === end;
}

/**
 * Offset of the first extension header of type `nextHeader` in an IPv6 packet that `parse` has accepted, or 0.
 * What is inside a fragment other than the first is not looked at.
 */
export function findIpv6Extension(packet: Packet, nextHeader: number): number {
  const { bytes, l3 } = packet;
  const end = packet.l4 !== 0 ? packet.l4 : packet.fragmentHeader + IPV6_FRAG_LEN;
  let next = bytes[l3 + IPV6_NEXT_HEADER];
  let at = l3 + IPV6_LEN;
  while (at < end) {
    if (next === nextHeader) return at;
    const length = ipv6ExtensionLength(bytes, at, next);
    next = bytes[at];
    at += length;
  }
  return 0;
}

/** Whether the sender of a parsed packet wants to choose the route, by the type of routing header that RFC 5095 abolished. */
export function isIpv6SourceRouted(packet: Packet): boolean {
  const { bytes, l3, l4 } = packet;
  // Without extension headers the transport header follows at once.
  if (l4 === l3 + IPV6_LEN) return false;
  const routing = findIpv6Extension(packet, IPV6_EXT_ROUTING);
  return (
    routing !== 0 &&
    bytes[routing + IPV6_ROUTING_TYPE] === ROUTING_TYPE_SOURCE_ROUTE &&
    bytes[routing + IPV6_ROUTING_SEGMENTS_LEFT] !== 0
  );
}
