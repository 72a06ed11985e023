/** Ethernet II and IEEE 802.3 (RFC 894, RFC 2464; IEEE 802.3 clause 3). All functions take the offset of the header. */
import { get16, get32, set16, set32 } from './bytes.ts';

export const ETH_DST = 0;
export const ETH_SRC = 6;
export const ETH_TYPE = 12;
/** Length of the header without tags. */
export const ETH_LEN = 14;
/** Shortest frame on a wire, without its check sequence; a TAP carries shorter ones too. */
export const ETH_MIN_FRAME = 60;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
/** IEEE 802.1Q, customer tag. */
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;
/** IEEE 802.1ad, service tag (Q-in-Q). */
export const ETHERTYPE_QINQ = 0x88a8;
/** Type fields below this are the length of an IEEE 802.3 frame with an LLC header (IEEE 802.3 §3.2.6). */
export const ETHERTYPE_MIN = 0x0600;

/** First two bytes of the destination. */
export function ethDstHi(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ETH_DST);
}

/** Last four bytes of the destination, as int32. */
export function ethDstLo(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ETH_DST + 2);
}

/** First two bytes of the source. */
export function ethSrcHi(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ETH_SRC);
}

/** Last four bytes of the source, as int32. */
export function ethSrcLo(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + ETH_SRC + 2);
}

/** The type field directly behind the addresses: the tag's own type in a tagged frame. */
export function ethType(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + ETH_TYPE);
}

export function setEthDst(bytes: Uint8Array, at: number, hi: number, lo: number): void {
  set16(bytes, at + ETH_DST, hi);
  set32(bytes, at + ETH_DST + 2, lo);
}

export function setEthSrc(bytes: Uint8Array, at: number, hi: number, lo: number): void {
  set16(bytes, at + ETH_SRC, hi);
  set32(bytes, at + ETH_SRC + 2, lo);
}

/** Invalidates what `parse` found. */
export function setEthType(bytes: Uint8Array, at: number, type: number): void {
  set16(bytes, at + ETH_TYPE, type);
}

/** Writes an untagged header; returns the offset behind it. */
export function writeEthernet(
  bytes: Uint8Array,
  at: number,
  dstHi: number,
  dstLo: number,
  srcHi: number,
  srcLo: number,
  type: number,
): number {
  setEthDst(bytes, at, dstHi, dstLo);
  setEthSrc(bytes, at, srcHi, srcLo);
  setEthType(bytes, at, type);
  return at + ETH_LEN;
}
