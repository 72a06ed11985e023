/** UDP (RFC 768; RFC 8200 §8.1 over IPv6). All functions take the offset of the UDP header. */
import { get16, set16 } from './bytes.ts';

export const UDP_SRC_PORT = 0;
export const UDP_DST_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_LEN = 8;

export function udpSrcPort(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + UDP_SRC_PORT);
}

export function udpDstPort(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + UDP_DST_PORT);
}

/** Header and data, in bytes. */
export function udpLength(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + UDP_LENGTH);
}

/** 0 means that the sender computed none (RFC 768); legal over IPv4 only. */
export function udpChecksum(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + UDP_CHECKSUM);
}

/** The setters leave the checksum as it was: see `update16`. */
export function setUdpSrcPort(bytes: Uint8Array, at: number, port: number): void {
  set16(bytes, at + UDP_SRC_PORT, port);
}

export function setUdpDstPort(bytes: Uint8Array, at: number, port: number): void {
  set16(bytes, at + UDP_DST_PORT, port);
}

/** Invalidates what `parse` found. */
export function setUdpLength(bytes: Uint8Array, at: number, length: number): void {
  set16(bytes, at + UDP_LENGTH, length);
}

/** Writes a finished checksum: a computed 0 goes out as 0xffff, because 0 means "none" (RFC 768). */
export function setUdpChecksum(bytes: Uint8Array, at: number, check: number): void {
  set16(bytes, at + UDP_CHECKSUM, check === 0 ? 0xffff : check);
}

/**
 * Writes a header without a checksum (`fillTransportChecksum` computes it); returns the offset behind it.
 * @param length header and data, in bytes
 */
export function writeUdp(
  bytes: Uint8Array,
  at: number,
  srcPort: number,
  dstPort: number,
  length: number,
): number {
  set16(bytes, at + UDP_SRC_PORT, srcPort);
  set16(bytes, at + UDP_DST_PORT, dstPort);
  set16(bytes, at + UDP_LENGTH, length);
  set16(bytes, at + UDP_CHECKSUM, 0);
  return at + UDP_LEN;
}
