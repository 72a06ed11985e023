/** ARP for IPv4 over Ethernet (RFC 826; RFC 5227 for probes and announcements). Names are the RFC's: sha, spa, tha, tpa. */
import { get16, get32, set16, set32 } from './bytes.ts';
import { ETHERTYPE_IPV4 } from './ethernet.ts';

export const ARP_HTYPE = 0;
export const ARP_PTYPE = 2;
export const ARP_HLEN = 4;
export const ARP_PLEN = 5;
export const ARP_OPER = 6;
export const ARP_SHA = 8;
export const ARP_SPA = 14;
export const ARP_THA = 18;
export const ARP_TPA = 24;
export const ARP_LEN = 28;

export const ARP_HTYPE_ETHERNET = 1;
export const ARP_REQUEST = 1;
export const ARP_REPLY = 2;

export function arpOper(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ARP_OPER);
}

export function arpShaHi(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ARP_SHA);
}

export function arpShaLo(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ARP_SHA + 2);
}

export function arpSpa(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ARP_SPA);
}

export function arpThaHi(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ARP_THA);
}

export function arpThaLo(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ARP_THA + 2);
}

export function arpTpa(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ARP_TPA);
}

/** A request from 0.0.0.0: "does anybody have this address?" (RFC 5227 §2.1.1). It teaches nothing about its sender. */
export function isArpProbe(bytes: Uint8Array, at: number): boolean {
  return arpOper(bytes, at) === ARP_REQUEST && arpSpa(bytes, at) === 0;
}

/** Sender and target address are the same: an announcement (RFC 5227 §2.3), also known as gratuitous ARP. */
export function isArpAnnouncement(bytes: Uint8Array, at: number): boolean {
  const spa = arpSpa(bytes, at);
  return spa !== 0 && spa === arpTpa(bytes, at);
}

/** Writes a whole ARP packet; returns the offset behind it. */
export function writeArp(
  bytes: Uint8Array,
  at: number,
  oper: number,
  shaHi: number,
  shaLo: number,
  spa: number,
  thaHi: number,
  thaLo: number,
  tpa: number,
): number {
  set16(bytes, at + ARP_HTYPE, ARP_HTYPE_ETHERNET);
  set16(bytes, at + ARP_PTYPE, ETHERTYPE_IPV4);
  bytes[at + ARP_HLEN] = 6;
  bytes[at + ARP_PLEN] = 4;
  set16(bytes, at + ARP_OPER, oper);
  set16(bytes, at + ARP_SHA, shaHi);
  set32(bytes, at + ARP_SHA + 2, shaLo);
  set32(bytes, at + ARP_SPA, spa);
  set16(bytes, at + ARP_THA, thaHi);
  set32(bytes, at + ARP_THA + 2, thaLo);
  set32(bytes, at + ARP_TPA, tpa);
  return at + ARP_LEN;
}
