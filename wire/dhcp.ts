/**
 * DHCP for IPv4 (RFC 2131 §2), with its options (RFC 2132). All functions take absolute offsets and an end, and none reads beyond it.
 */
import { get16, get32, set16, set32 } from './bytes.ts';

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

/** Offsets of the fixed part. */
export const DHCP_OP = 0;
export const DHCP_HTYPE = 1;
export const DHCP_HLEN = 2;
export const DHCP_XID = 4;
export const DHCP_FLAGS = 10;
export const DHCP_CIADDR = 12;
export const DHCP_YIADDR = 16;
export const DHCP_SIADDR = 20;
export const DHCP_GIADDR = 24;
export const DHCP_CHADDR = 28;
export const DHCP_SNAME = 44;
export const DHCP_FILE = 108;
export const DHCP_COOKIE = 236;
/** The fixed part and the cookie in front of the options. */
export const DHCP_LEN = 240;

export const DHCP_BOOTREQUEST = 1;
export const DHCP_BOOTREPLY = 2;
/** Ethernet, as ARP has it (RFC 1700), and the length of its addresses. */
export const DHCP_HTYPE_ETHERNET = 1;
export const DHCP_HLEN_ETHERNET = 6;
/** The flag by which a client says that it hears broadcasts only. */
export const DHCP_BROADCAST = 0x8000;
/** 99.130.83.99 (RFC 2131 §3). */
export const DHCP_MAGIC = 0x63825363;

/** Options (RFC 2132) that somebody here knows. */
export const DhcpOption = {
  PAD: 0,
  SUBNET_MASK: 1,
  ROUTER: 3,
  NAME_SERVER: 6,
  MTU: 26,
  REQUESTED_ADDRESS: 50,
  LEASE_TIME: 51,
  OVERLOAD: 52,
  MESSAGE_TYPE: 53,
  SERVER_IDENTIFIER: 54,
  END: 255,
} as const;

/** Values of option 53 (RFC 2132 §9.6). */
export const DhcpType = {
  DISCOVER: 1,
  OFFER: 2,
  REQUEST: 3,
  DECLINE: 4,
  ACK: 5,
  NAK: 6,
  RELEASE: 7,
  INFORM: 8,
} as const;

/** What a client's message says; filled by `parseDhcp` and reused, so that no message makes an object. */
export class DhcpRequest {
  /** One of `DhcpType`; 0 for BOOTP without it. */
  type = 0;
  xid = 0;
  flags = 0;
  ciaddr = 0;
  giaddr = 0;
  macHi = 0;
  macLo = 0;
  /** Options 50 and 54; 0 when they are not there. */
  requested = 0;
  server = 0;
}

/**
 * Reads a client's message; false for anything that is not one of Ethernet, or whose options are malformed: without an end, beyond the
 * end of their field, or of another length than they have.
 */
export function parseDhcp(bytes: Uint8Array, at: number, end: number, request: DhcpRequest): boolean {
  if (end - at < DHCP_LEN || get32(bytes, at + DHCP_COOKIE) !== DHCP_MAGIC) return false;
  if (bytes[at + DHCP_OP] !== DHCP_BOOTREQUEST) return false;
  if (bytes[at + DHCP_HTYPE] !== DHCP_HTYPE_ETHERNET || bytes[at + DHCP_HLEN] !== DHCP_HLEN_ETHERNET)
    return false;
  request.type = 0;
  request.requested = 0;
  request.server = 0;
  request.xid = get32(bytes, at + DHCP_XID);
  request.flags = get16(bytes, at + DHCP_FLAGS);
  request.ciaddr = get32(bytes, at + DHCP_CIADDR);
  request.giaddr = get32(bytes, at + DHCP_GIADDR);
  request.macHi = get16(bytes, at + DHCP_CHADDR);
  request.macLo = get32(bytes, at + DHCP_CHADDR + 2);
  const overload = readOptions(bytes, at + DHCP_LEN, end, request);
  if (overload < 0) return false;
  // RFC 2131 §4.1: first `file`, then `sname`; an option 52 in these means nothing.
  if ((overload & 1) !== 0 && readOptions(bytes, at + DHCP_FILE, at + DHCP_COOKIE, request) < 0) return false;
  return (overload & 2) === 0 || readOptions(bytes, at + DHCP_SNAME, at + DHCP_FILE, request) >= 0;
}

/** Value of option 53 of a message whose cookie is there, 0 when it has none: `DhcpType`. */
export function dhcpMessageType(bytes: Uint8Array, at: number, end: number): number {
  for (let option = at + DHCP_LEN; option + 2 < end && bytes[option] !== DhcpOption.END; ) {
    if (bytes[option] === DhcpOption.MESSAGE_TYPE) return bytes[option + 2];
    option += bytes[option] === DhcpOption.PAD ? 1 : 2 + bytes[option + 1];
  }
  return 0;
}

/** Reads the options of one field; the value of option 52 (0 when it is not there), or -1 when they are malformed. */
function readOptions(bytes: Uint8Array, from: number, end: number, request: DhcpRequest): number {
  let overload = 0;
  for (let at = from; at < end; ) {
    const option = bytes[at];
    if (option === DhcpOption.END) return overload;
    if (option === DhcpOption.PAD) {
      at++;
      continue;
    }
    if (at + 2 > end) return -1;
    const length = bytes[at + 1];
    const value = at + 2;
    at = value + length;
    if (at > end) return -1;
    switch (option) {
      case DhcpOption.MESSAGE_TYPE:
        if (length !== 1) return -1;
        request.type = bytes[value];
        break;
      case DhcpOption.REQUESTED_ADDRESS:
        if (length !== 4) return -1;
        request.requested = get32(bytes, value);
        break;
      case DhcpOption.SERVER_IDENTIFIER:
        if (length !== 4) return -1;
        request.server = get32(bytes, value);
        break;
      case DhcpOption.OVERLOAD:
        if (length !== 1) return -1;
        overload = bytes[value] & 3;
        break;
    }
  }
  return -1;
}

/** Writes the fixed part of an answer, of which the rest is zero; answers the offset of the options. */
export function writeDhcpReply(bytes: Uint8Array, at: number, request: DhcpRequest, yiaddr: number): number {
  bytes[at + DHCP_OP] = DHCP_BOOTREPLY;
  bytes[at + DHCP_HTYPE] = DHCP_HTYPE_ETHERNET;
  bytes[at + DHCP_HLEN] = DHCP_HLEN_ETHERNET;
  set32(bytes, at + DHCP_XID, request.xid);
  set16(bytes, at + DHCP_FLAGS, request.flags);
  set32(bytes, at + DHCP_YIADDR, yiaddr);
  set16(bytes, at + DHCP_CHADDR, request.macHi);
  set32(bytes, at + DHCP_CHADDR + 2, request.macLo);
  set32(bytes, at + DHCP_COOKIE, DHCP_MAGIC);
  return at + DHCP_LEN;
}

/** Write an option of one, two or four bytes; answer the offset behind it. */
export function writeDhcpOption8(bytes: Uint8Array, at: number, option: number, value: number): number {
  bytes[at] = option;
  bytes[at + 1] = 1;
  bytes[at + 2] = value;
  return at + 3;
}

export function writeDhcpOption16(bytes: Uint8Array, at: number, option: number, value: number): number {
  bytes[at] = option;
  bytes[at + 1] = 2;
  set16(bytes, at + 2, value);
  return at + 4;
}

export function writeDhcpOption32(bytes: Uint8Array, at: number, option: number, value: number): number {
  bytes[at] = option;
  bytes[at + 1] = 4;
  set32(bytes, at + 2, value);
  return at + 6;
}
