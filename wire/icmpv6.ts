/** ICMPv6 (RFC 4443). Neighbor discovery is in `nd.ts`. All functions take the offset of the ICMPv6 header. */
import { get16, get32, set16, set32 } from './bytes.ts';
import { checksum, pseudoSumIpv6 } from './checksum.ts';
import { PROTO_ICMPV6 } from './protocol.ts';

export const ICMPV6_TYPE = 0;
export const ICMPV6_CODE = 1;
export const ICMPV6_CHECKSUM = 2;
/** Echo: identifier. */
export const ICMPV6_IDENTIFIER = 4;
/** Echo: sequence number. */
export const ICMPV6_SEQUENCE = 6;
/** Packet too big: MTU of the next hop, 32 bits. */
export const ICMPV6_MTU = 4;
/** Length of the header; in errors, the offset of the packet that they are about. */
export const ICMPV6_LEN = 8;

export const ICMPV6_UNREACHABLE = 1;
export const ICMPV6_PACKET_TOO_BIG = 2;
export const ICMPV6_TIME_EXCEEDED = 3;
export const ICMPV6_PARAMETER_PROBLEM = 4;
export const ICMPV6_ECHO_REQUEST = 128;
export const ICMPV6_ECHO_REPLY = 129;
export const ICMPV6_MLD_QUERY = 130;
export const ICMPV6_MLD_REPORT = 131;
export const ICMPV6_MLD_DONE = 132;
export const ICMPV6_ROUTER_SOLICITATION = 133;
export const ICMPV6_ROUTER_ADVERTISEMENT = 134;
export const ICMPV6_NEIGHBOR_SOLICITATION = 135;
export const ICMPV6_NEIGHBOR_ADVERTISEMENT = 136;
export const ICMPV6_REDIRECT = 137;
export const ICMPV6_MLDV2_REPORT = 143;

/** Codes of destination unreachable (RFC 4443 §3.1). */
export const ICMPV6_UNREACH_NO_ROUTE = 0;
export const ICMPV6_UNREACH_ADMIN = 1;
export const ICMPV6_UNREACH_BEYOND_SCOPE = 2;
export const ICMPV6_UNREACH_ADDRESS = 3;
export const ICMPV6_UNREACH_PORT = 4;
/** Codes of time exceeded. */
export const ICMPV6_EXCEEDED_HOP_LIMIT = 0;
export const ICMPV6_EXCEEDED_REASSEMBLY = 1;
/** Codes of parameter problem. */
export const ICMPV6_PARAMETER_HEADER = 0;
export const ICMPV6_PARAMETER_NEXT_HEADER = 1;
export const ICMPV6_PARAMETER_OPTION = 2;

export function icmpv6Type(bytes: Uint8Array, at: number): number {
  return bytes[at + ICMPV6_TYPE];
}

export function icmpv6Code(bytes: Uint8Array, at: number): number {
  return bytes[at + ICMPV6_CODE];
}

export function icmpv6Checksum(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMPV6_CHECKSUM);
}

export function icmpv6Identifier(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMPV6_IDENTIFIER);
}

export function icmpv6Sequence(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMPV6_SEQUENCE);
}

/** 32 bits; values that no link has come out negative. */
export function icmpv6Mtu(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ICMPV6_MTU);
}

/** Leaves the checksum as it was: see `update16`. */
export function setIcmpv6Type(bytes: Uint8Array, at: number, type: number): void {
  bytes[at + ICMPV6_TYPE] = type;
}

/** Leaves the checksum as it was: see `update16`. */
export function setIcmpv6Identifier(bytes: Uint8Array, at: number, identifier: number): void {
  set16(bytes, at + ICMPV6_IDENTIFIER, identifier);
}

export function setIcmpv6Checksum(bytes: Uint8Array, at: number, check: number): void {
  set16(bytes, at + ICMPV6_CHECKSUM, check);
}

/** Errors have types below 128 (RFC 4443 §2.1). No error is ever sent about an error or a redirect (§2.4 e). */
export function isIcmpv6Error(type: number): boolean {
  return type < 128;
}

/**
 * Writes a header with checksum 0; returns the offset behind it. When the data stands, `fillIcmpv6Checksum`.
 * @param rest the second word: identifier and sequence number, or a MTU, or ND flags
 */
export function writeIcmpv6(bytes: Uint8Array, at: number, type: number, code: number, rest: number): number {
  bytes[at + ICMPV6_TYPE] = type;
  bytes[at + ICMPV6_CODE] = code;
  set16(bytes, at + ICMPV6_CHECKSUM, 0);
  set32(bytes, at + ICMPV6_IDENTIFIER, rest);
  return at + ICMPV6_LEN;
}

/**
 * Computes the checksum over the pseudo-header and `length` bytes of header and data, and writes it.
 * @param l3 offset of the IPv6 header, whose addresses stand
 */
export function fillIcmpv6Checksum(bytes: Uint8Array, l3: number, at: number, length: number): void {
  set16(bytes, at + ICMPV6_CHECKSUM, 0);
  set16(
    bytes,
    at + ICMPV6_CHECKSUM,
    checksum(bytes, at, length, pseudoSumIpv6(bytes, l3, PROTO_ICMPV6, length)),
  );
}

/** Echo requests and replies, which an identifier ties together (RFC 4443 §4). */
export function isIcmpv6Echo(type: number): boolean {
  return type === ICMPV6_ECHO_REQUEST || type === ICMPV6_ECHO_REPLY;
}
