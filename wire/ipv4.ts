/** IPv4 (RFC 791; RFC 1122 §3.2 for hosts, RFC 1812 §5 for routers). All functions take the offset of the header. */
import { get16, get32, set16, set32 } from './bytes.ts';
import { checksum, update16 } from './checksum.ts';

export const IPV4_VERSION_IHL = 0;
export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_IDENTIFICATION = 4;
/** Flags (3 bits) and fragment offset (13 bits, in units of 8 bytes). */
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SRC = 12;
export const IPV4_DST = 16;
/** Length of a header without options, and offset of the options. */
export const IPV4_LEN = 20;
/** Longest header: 15 words. */
export const IPV4_MAX_LEN = 60;
/** Every link carries a packet of this size unfragmented (RFC 791 §3.2). */
export const IPV4_MIN_MTU = 68;

/** Bits of the IPV4_FRAGMENT field. */
export const IPV4_DF = 0x4000;
export const IPV4_MF = 0x2000;
export const IPV4_OFFSET_MASK = 0x1fff;

/** Option types; the top bit says that the option is copied into all fragments (RFC 791 §3.1). */
export const IPV4_OPT_END = 0;
export const IPV4_OPT_NOP = 1;
export const IPV4_OPT_RECORD_ROUTE = 7;
export const IPV4_OPT_TIMESTAMP = 68;
/** Loose source and record route. */
export const IPV4_OPT_LSRR = 131;
/** Strict source and record route. */
export const IPV4_OPT_SSRR = 137;
/** Router alert (RFC 2113). */
export const IPV4_OPT_ROUTER_ALERT = 148;
export const IPV4_OPT_COPIED = 0x80;

/** Length of the header with its options, in bytes. */
export function ipv4HeaderLength(bytes: Uint8Array, at: number): number {
  return (bytes[at + IPV4_VERSION_IHL] & 0x0f) << 2;
}

/** Type of service: DSCP in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168). */
export function ipv4Tos(bytes: Uint8Array, at: number): number {
  return bytes[at + IPV4_TOS];
}

export function ipv4TotalLength(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + IPV4_TOTAL_LENGTH);
}

export function ipv4Identification(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + IPV4_IDENTIFICATION);
}

/** The field as it stands: flags and offset in units of 8 bytes. `parse` fills `packet.fragmentOffset` in bytes. */
export function ipv4Fragment(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + IPV4_FRAGMENT);
}

export function ipv4Ttl(bytes: Uint8Array, at: number): number {
  return bytes[at + IPV4_TTL];
}

export function ipv4Protocol(bytes: Uint8Array, at: number): number {
  return bytes[at + IPV4_PROTOCOL];
}

export function ipv4Checksum(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + IPV4_CHECKSUM);
}

export function ipv4Src(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + IPV4_SRC);
}

export function ipv4Dst(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + IPV4_DST);
}

/** The setters below leave the header checksum as it was: see `update16`, `update32` and `fillIpv4Checksum`. */
export function setIpv4TotalLength(bytes: Uint8Array, at: number, length: number): void {
  set16(bytes, at + IPV4_TOTAL_LENGTH, length);
}

export function setIpv4Identification(bytes: Uint8Array, at: number, identification: number): void {
  set16(bytes, at + IPV4_IDENTIFICATION, identification);
}

export function setIpv4Fragment(bytes: Uint8Array, at: number, fragment: number): void {
  set16(bytes, at + IPV4_FRAGMENT, fragment);
}

export function setIpv4Ttl(bytes: Uint8Array, at: number, ttl: number): void {
  bytes[at + IPV4_TTL] = ttl;
}

export function setIpv4Checksum(bytes: Uint8Array, at: number, check: number): void {
  set16(bytes, at + IPV4_CHECKSUM, check);
}

export function setIpv4Src(bytes: Uint8Array, at: number, address: number): void {
  set32(bytes, at + IPV4_SRC, address);
}

export function setIpv4Dst(bytes: Uint8Array, at: number, address: number): void {
  set32(bytes, at + IPV4_DST, address);
}

/** Computes the header checksum anew and writes it. */
export function fillIpv4Checksum(bytes: Uint8Array, at: number): void {
  set16(bytes, at + IPV4_CHECKSUM, 0);
  set16(bytes, at + IPV4_CHECKSUM, checksum(bytes, at, ipv4HeaderLength(bytes, at)));
}

/** One hop: TTL minus one, checksum adjusted (RFC 1812 §5.3.1). The caller has seen to it that the TTL is above 1. */
export function decrementIpv4Ttl(bytes: Uint8Array, at: number): void {
  const before = get16(bytes, at + IPV4_TTL);
  set16(bytes, at + IPV4_TTL, before - 0x100);
  set16(bytes, at + IPV4_CHECKSUM, update16(ipv4Checksum(bytes, at), before, before - 0x100));
}

/**
 * Writes a header of 20 bytes without options, its checksum included; returns the offset behind it.
 * @param totalLength header and data, in bytes
 * @param fragment flags and offset, e.g. `IPV4_DF`
 */
export function writeIpv4(
  bytes: Uint8Array,
  at: number,
  totalLength: number,
  protocol: number,
  ttl: number,
  src: number,
  dst: number,
  identification = 0,
  fragment = 0,
  tos = 0,
): number {
  bytes[at + IPV4_VERSION_IHL] = 0x45;
  bytes[at + IPV4_TOS] = tos;
  setIpv4TotalLength(bytes, at, totalLength);
  setIpv4Identification(bytes, at, identification);
  setIpv4Fragment(bytes, at, fragment);
  bytes[at + IPV4_TTL] = ttl;
  bytes[at + IPV4_PROTOCOL] = protocol;
  setIpv4Src(bytes, at, src);
  setIpv4Dst(bytes, at, dst);
  fillIpv4Checksum(bytes, at);
  return at + IPV4_LEN;
}

/** Whether all options lie within the header and no length is impossible; `parse` has answered this already. */
export function ipv4OptionsOk(bytes: Uint8Array, at: number): boolean {
  const end = at + ipv4HeaderLength(bytes, at);
  for (let option = at + IPV4_LEN; option < end; ) {
    const type = bytes[option];
    if (type === IPV4_OPT_END) return true;
    if (type === IPV4_OPT_NOP) {
      option++;
      continue;
    }
    if (option + 2 > end) return false;
    const length = bytes[option + 1];
    // The length counts type and length bytes too (RFC 791 §3.1): below 2 the walk would never end.
    if (length < 2 || option + length > end) return false;
    option += length;
  }
  return true;
}

/** Offset of the first option of `type`, or 0. Only for headers that `parse` has accepted. */
export function findIpv4Option(bytes: Uint8Array, at: number, type: number): number {
  const end = at + ipv4HeaderLength(bytes, at);
  for (let option = at + IPV4_LEN; option < end; ) {
    const found = bytes[option];
    if (found === type) return option;
    if (found === IPV4_OPT_END) return 0;
    option += found === IPV4_OPT_NOP ? 1 : bytes[option + 1];
  }
  return 0;
}

/** Whether the sender wants to choose the route (LSRR, SSRR): RFC 1812 §5.2.4.1 knows them, RFC 7126 §4.3 says drop. */
export function isIpv4SourceRouted(bytes: Uint8Array, at: number): boolean {
  if (bytes[at + IPV4_VERSION_IHL] === 0x45) return false;
  return findIpv4Option(bytes, at, IPV4_OPT_LSRR) !== 0 || findIpv4Option(bytes, at, IPV4_OPT_SSRR) !== 0;
}
