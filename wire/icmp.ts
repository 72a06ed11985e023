/** ICMP for IPv4 (RFC 792; RFC 1122 §3.2.2, RFC 1812 §4.3). All functions take the offset of the ICMP header. */
import { get16, get32, set16, set32 } from './bytes.ts';
import { checksum } from './checksum.ts';

export const ICMP_TYPE = 0;
export const ICMP_CODE = 1;
export const ICMP_CHECKSUM = 2;
/** Echo: identifier. */
export const ICMP_IDENTIFIER = 4;
/** Echo: sequence number. */
export const ICMP_SEQUENCE = 6;
/** Redirect: address of the better gateway. */
export const ICMP_GATEWAY = 4;
/** Destination unreachable, fragmentation needed: MTU of the next hop (RFC 1191 §4). */
export const ICMP_MTU = 6;
/** Length of the header; in errors, the offset of the packet that they are about. */
export const ICMP_LEN = 8;

export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_SOURCE_QUENCH = 4;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_ROUTER_ADVERTISEMENT = 9;
export const ICMP_ROUTER_SOLICITATION = 10;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;
export const ICMP_TIMESTAMP = 13;
export const ICMP_TIMESTAMP_REPLY = 14;

/** Codes of destination unreachable (RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1). */
export const ICMP_UNREACH_NET = 0;
export const ICMP_UNREACH_HOST = 1;
export const ICMP_UNREACH_PROTOCOL = 2;
export const ICMP_UNREACH_PORT = 3;
export const ICMP_UNREACH_FRAG_NEEDED = 4;
export const ICMP_UNREACH_SOURCE_ROUTE = 5;
/** Administratively prohibited: destination network, destination host (RFC 1122 §3.2.2.1), communication (RFC 1812 §5.2.7.1). */
export const ICMP_UNREACH_NET_PROHIBITED = 9;
export const ICMP_UNREACH_HOST_PROHIBITED = 10;
export const ICMP_UNREACH_ADMIN = 13;
/** Codes of time exceeded. */
export const ICMP_EXCEEDED_TTL = 0;
export const ICMP_EXCEEDED_REASSEMBLY = 1;

export function icmpType(bytes: Uint8Array, at: number): number {
  return bytes[at + ICMP_TYPE];
}

export function icmpCode(bytes: Uint8Array, at: number): number {
  return bytes[at + ICMP_CODE];
}

export function icmpChecksum(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMP_CHECKSUM);
}

export function icmpIdentifier(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMP_IDENTIFIER);
}

export function icmpSequence(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMP_SEQUENCE);
}

export function icmpMtu(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ICMP_MTU);
}

export function icmpGateway(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ICMP_GATEWAY);
}

/** Leaves the checksum as it was: see `update16`. */
export function setIcmpType(bytes: Uint8Array, at: number, type: number): void {
  bytes[at + ICMP_TYPE] = type;
}

/** Leaves the checksum as it was: see `update16`. */
export function setIcmpIdentifier(bytes: Uint8Array, at: number, identifier: number): void {
  set16(bytes, at + ICMP_IDENTIFIER, identifier);
}

export function setIcmpChecksum(bytes: Uint8Array, at: number, check: number): void {
  set16(bytes, at + ICMP_CHECKSUM, check);
}

/** Queries and their answers, which an identifier ties together (RFC 5508 §2). */
export function isIcmpQuery(type: number): boolean {
  return (
    type === ICMP_ECHO_REQUEST ||
    type === ICMP_ECHO_REPLY ||
    type === ICMP_TIMESTAMP ||
    type === ICMP_TIMESTAMP_REPLY
  );
}

/** Whether the message is about another packet, whose header it carries. No error is ever sent about one (RFC 1122 §3.2.2). */
export function isIcmpError(type: number): boolean {
  switch (type) {
    case ICMP_UNREACHABLE:
    case ICMP_SOURCE_QUENCH:
    case ICMP_REDIRECT:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER_PROBLEM:
      return true;
    default:
      return false;
  }
}

/**
 * Writes a header with checksum 0; returns the offset behind it. When the data stands, `fillIcmpChecksum`.
 * @param rest the second word: identifier and sequence number, or zero and MTU, or a gateway
 */
export function writeIcmp(bytes: Uint8Array, at: number, type: number, code: number, rest: number): number {
  bytes[at + ICMP_TYPE] = type;
  bytes[at + ICMP_CODE] = code;
  set16(bytes, at + ICMP_CHECKSUM, 0);
  set32(bytes, at + ICMP_IDENTIFIER, rest);
  return at + ICMP_LEN;
}

/** Computes the checksum over `length` bytes of header and data and writes it. */
export function fillIcmpChecksum(bytes: Uint8Array, at: number, length: number): void {
  set16(bytes, at + ICMP_CHECKSUM, 0);
  set16(bytes, at + ICMP_CHECKSUM, checksum(bytes, at, length));
}
