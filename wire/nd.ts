/**
 * Neighbor discovery (RFC 4861): ICMPv6 messages of types 133 to 137. All functions take the offset of the ICMPv6 header;
 * addresses are read by word (0 to 3) with `ndTarget`. Read §6.1, §7.1 and §8.1 before changing what `ndOk` accepts.
 */

import {
  isIpv6LinkLocal,
  isIpv6Multicast,
  SOLICITED_NODE_W0,
  SOLICITED_NODE_W1,
  SOLICITED_NODE_W2,
} from './address.ts';
import { get16, get32, set16, set32 } from './bytes.ts';
import {
  ICMPV6_CODE,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  ICMPV6_ROUTER_SOLICITATION,
  icmpv6Type,
  writeIcmpv6,
} from './icmpv6.ts';
import { IPV6_HOP_LIMIT, ipv6Dst, ipv6Src, setIpv6Address } from './ipv6.ts';
import type { Packet } from './packet.ts';
import { PROTO_ICMPV6 } from './protocol.ts';

/** Neighbor solicitation and advertisement, redirect: the address that it is about. */
export const ND_TARGET = 8;
/** Redirect: the destination that is better reached through the target. */
export const ND_REDIRECT_DESTINATION = 24;
/** Router advertisement. */
export const ND_RA_HOP_LIMIT = 4;
export const ND_RA_FLAGS = 5;
export const ND_RA_LIFETIME = 6;
export const ND_RA_REACHABLE_TIME = 8;
export const ND_RA_RETRANS_TIMER = 12;

/** Lengths of the messages without options, and so the offsets of their options. */
export const ND_RS_LEN = 8;
export const ND_RA_LEN = 16;
export const ND_NS_LEN = 24;
export const ND_NA_LEN = 24;
export const ND_REDIRECT_LEN = 40;

/** Flags of a neighbor advertisement, in the second word. */
export const ND_NA_ROUTER = 0x80000000 | 0;
export const ND_NA_SOLICITED = 0x40000000;
export const ND_NA_OVERRIDE = 0x20000000;
/** Flags of a router advertisement. */
export const ND_RA_MANAGED = 0x80;
export const ND_RA_OTHER = 0x40;

/** Option types. An option is type, length in units of 8 bytes, value. */
export const ND_OPT_SOURCE_LLA = 1;
export const ND_OPT_TARGET_LLA = 2;
export const ND_OPT_PREFIX = 3;
export const ND_OPT_REDIRECTED = 4;
export const ND_OPT_MTU = 5;
export const ND_OPT_RDNSS = 25;
/** Length of a link-layer address option for Ethernet, and offset of the MAC in it (RFC 2464 §6). */
export const ND_OPT_LLA_LEN = 8;
export const ND_OPT_LLA_MAC = 2;

/** Neighbor discovery never crosses a router: whoever receives another hop limit has a forgery (RFC 4861 §3.1). */
export const ND_HOP_LIMIT = 255;

/** Word 0 to 3 of the target, as int32. */
export function ndTarget(bytes: Uint8Array, at: number, word: number): number {
  return get32(bytes, at + ND_TARGET + (word << 2));
}

/** Flags of a neighbor advertisement: ND_NA_*. */
export function ndNaFlags(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + 4);
}

/** Seconds for which the sender of a router advertisement is a default router; 0: not at all. */
export function ndRaLifetime(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ND_RA_LIFETIME);
}

/** Whether an ICMPv6 type is neighbor discovery's. */
export function isNd(type: number): boolean {
  return type >= ICMPV6_ROUTER_SOLICITATION && type <= ICMPV6_REDIRECT;
}

/** Length of the message without options; 0 for types that are not neighbor discovery's. */
export function ndLength(type: number): number {
  switch (type) {
    case ICMPV6_ROUTER_SOLICITATION:
      return ND_RS_LEN;
    case ICMPV6_ROUTER_ADVERTISEMENT:
      return ND_RA_LEN;
    case ICMPV6_NEIGHBOR_SOLICITATION:
    case ICMPV6_NEIGHBOR_ADVERTISEMENT:
      return ND_NS_LEN;
    case ICMPV6_REDIRECT:
      return ND_REDIRECT_LEN;
    default:
      return 0;
  }
}

/**
 * Whether a parsed packet is a neighbor discovery message that may be believed: RFC 4861 §6.1.1, §6.1.2, §7.1.1, §7.1.2
 * and §8.1, except the checksum, which is `transportChecksumOk`'s. After true, the message, its target and every
 * option are inside the packet.
 */
export function ndOk(packet: Packet): boolean {
  const { bytes, l3, l4, end } = packet;
  if (packet.protocol !== PROTO_ICMPV6 || l4 === 0) return false;
  const type = icmpv6Type(bytes, l4);
  const length = ndLength(type);
  if (length === 0 || l4 + length > end) return false;
  if (bytes[l3 + IPV6_HOP_LIMIT] !== ND_HOP_LIMIT || bytes[l4 + ICMPV6_CODE] !== 0) return false;
  // RFC 6980 §5: never in fragments, not even in an atomic one.
  if (packet.fragmentHeader !== 0) return false;
  if (!ndOptionsOk(bytes, l4 + length, end)) return false;
  const unspecified =
    (ipv6Src(bytes, l3, 0) | ipv6Src(bytes, l3, 1) | ipv6Src(bytes, l3, 2) | ipv6Src(bytes, l3, 3)) === 0;
  switch (type) {
    case ICMPV6_NEIGHBOR_SOLICITATION:
      if (isIpv6Multicast(ndTarget(bytes, l4, 0))) return false;
      // Duplicate address detection: to the solicited-node group, and the sender has no address to teach (§7.1.1).
      return (
        !unspecified ||
        (isSolicitedNode(bytes, l3) && findNdOption(bytes, l4 + length, end, ND_OPT_SOURCE_LLA) === 0)
      );
    case ICMPV6_NEIGHBOR_ADVERTISEMENT:
      if (isIpv6Multicast(ndTarget(bytes, l4, 0))) return false;
      // A solicited answer goes to whoever asked, never to a group (§7.1.2).
      return !isIpv6Multicast(ipv6Dst(bytes, l3, 0)) || (ndNaFlags(bytes, l4) & ND_NA_SOLICITED) === 0;
    case ICMPV6_ROUTER_SOLICITATION:
      return !unspecified || findNdOption(bytes, l4 + length, end, ND_OPT_SOURCE_LLA) === 0;
    case ICMPV6_ROUTER_ADVERTISEMENT:
      return isIpv6LinkLocal(ipv6Src(bytes, l3, 0));
    default:
      // Redirect (§8.1): from a router's link-local address, about a destination that is no group.
      return (
        isIpv6LinkLocal(ipv6Src(bytes, l3, 0)) && !isIpv6Multicast(get32(bytes, l4 + ND_REDIRECT_DESTINATION))
      );
  }
}

/** Whether the destination is in ff02::1:ff00:0/104 (RFC 4291 §2.7.1). */
function isSolicitedNode(bytes: Uint8Array, l3: number): boolean {
  return (
    ipv6Dst(bytes, l3, 0) === SOLICITED_NODE_W0 &&
    ipv6Dst(bytes, l3, 1) === SOLICITED_NODE_W1 &&
    ipv6Dst(bytes, l3, 2) === SOLICITED_NODE_W2 &&
    ipv6Dst(bytes, l3, 3) >>> 24 === 0xff
  );
}

/** Whether the options from `option` on fill the message exactly; a length of 0 would never end (RFC 4861 §4.6). */
export function ndOptionsOk(bytes: Uint8Array, option: number, end: number): boolean {
  while (option + 2 <= end) {
    const length = bytes[option + 1] << 3;
    if (length === 0) return false;
    option += length;
  }
  return option === end;
}

/**
 * Offset of the first option of `type` from `option` on, or 0. Bounded by `end` for any bytes: an option of length 0 or
 * one that is cut off ends the search.
 */
export function findNdOption(bytes: Uint8Array, option: number, end: number, type: number): number {
  while (option + 8 <= end) {
    const length = bytes[option + 1] << 3;
    if (length === 0 || option + length > end) return 0;
    if (bytes[option] === type) return option;
    option += length;
  }
  return 0;
}

/** First two bytes of the MAC in a link-layer address option. */
export function ndOptionMacHi(bytes: Uint8Array, option: number): number {
  return get16(bytes, option + ND_OPT_LLA_MAC);
}

/** Last four bytes of the MAC in a link-layer address option, as int32. */
export function ndOptionMacLo(bytes: Uint8Array, option: number): number {
  return get32(bytes, option + ND_OPT_LLA_MAC + 2);
}

/** Writes a link-layer address option (ND_OPT_SOURCE_LLA, ND_OPT_TARGET_LLA); returns the offset behind it. */
export function writeNdMacOption(
  bytes: Uint8Array,
  option: number,
  type: number,
  hi: number,
  lo: number,
): number {
  bytes[option] = type;
  bytes[option + 1] = ND_OPT_LLA_LEN >>> 3;
  set16(bytes, option + ND_OPT_LLA_MAC, hi);
  set32(bytes, option + ND_OPT_LLA_MAC + 2, lo);
  return option + ND_OPT_LLA_LEN;
}

/** Writes a neighbor solicitation with checksum 0 for a target of four words; returns the offset of its options. */
export function writeNeighborSolicitation(
  bytes: Uint8Array,
  at: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): number {
  writeIcmpv6(bytes, at, ICMPV6_NEIGHBOR_SOLICITATION, 0, 0);
  setIpv6Address(bytes, at + ND_TARGET, w0, w1, w2, w3);
  return at + ND_NS_LEN;
}

/**
 * Writes a neighbor advertisement with checksum 0 for a target of four words; returns the offset of its options.
 * @param flags ND_NA_*
 */
export function writeNeighborAdvertisement(
  bytes: Uint8Array,
  at: number,
  flags: number,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
): number {
  writeIcmpv6(bytes, at, ICMPV6_NEIGHBOR_ADVERTISEMENT, 0, flags);
  setIpv6Address(bytes, at + ND_TARGET, w0, w1, w2, w3);
  return at + ND_NA_LEN;
}

/**
 * Writes a router advertisement with checksum 0; returns the offset of its options.
 * @param hopLimit for the hosts to use; 0: unspecified
 * @param flags ND_RA_MANAGED, ND_RA_OTHER
 * @param lifetime seconds
 * @param reachableTime milliseconds; 0: unspecified
 * @param retransTimer milliseconds; 0: unspecified
 */
export function writeRouterAdvertisement(
  bytes: Uint8Array,
  at: number,
  hopLimit: number,
  flags: number,
  lifetime: number,
  reachableTime = 0,
  retransTimer = 0,
): number {
  writeIcmpv6(
    bytes,
    at,
    ICMPV6_ROUTER_ADVERTISEMENT,
    0,
    (hopLimit << 24) | ((flags & 0xff) << 16) | (lifetime & 0xffff),
  );
  set32(bytes, at + ND_RA_REACHABLE_TIME, reachableTime);
  set32(bytes, at + ND_RA_RETRANS_TIMER, retransTimer);
  return at + ND_RA_LEN;
}

/** Writes a router solicitation with checksum 0; returns the offset of its options. */
export function writeRouterSolicitation(bytes: Uint8Array, at: number): number {
  return writeIcmpv6(bytes, at, ICMPV6_ROUTER_SOLICITATION, 0, 0);
}
