/** TCP (RFC 9293). All functions take the offset of the TCP header. */
import { get16, get32, set16, set32 } from './bytes.ts';

export const TCP_SRC_PORT = 0;
export const TCP_DST_PORT = 2;
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGMENT = 8;
/** Data offset in 32-bit words (upper four bits), reserved bits. */
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
/** Length of a header without options, and offset of the options. */
export const TCP_LEN = 20;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
/** ECN-Echo (RFC 3168 §6.1). */
export const TCP_ECE = 0x40;
/** Congestion Window Reduced (RFC 3168 §6.1). */
export const TCP_CWR = 0x80;

/** As they are named, ACK last: `SYN+ACK`. */
const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [TCP_SYN, 'SYN'],
  [TCP_FIN, 'FIN'],
  [TCP_RST, 'RST'],
  [TCP_PSH, 'PSH'],
  [TCP_URG, 'URG'],
  [TCP_ECE, 'ECE'],
  [TCP_CWR, 'CWR'],
  [TCP_ACK, 'ACK'],
];

/** Flags in words: `SYN+ACK`, `PSH+ACK`; `no flags` for none. */
export function tcpFlagNames(flags: number): string {
  const names = FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name);
  return names.length === 0 ? 'no flags' : names.join('+');
}

export const TCP_OPT_END = 0;
export const TCP_OPT_NOP = 1;
export const TCP_OPT_MSS = 2;
export const TCP_OPT_WINDOW_SCALE = 3;
export const TCP_OPT_SACK_PERMITTED = 4;
export const TCP_OPT_SACK = 5;
export const TCP_OPT_TIMESTAMPS = 8;
export const TCP_OPT_MSS_LEN = 4;

export function tcpSrcPort(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + TCP_SRC_PORT);
}

export function tcpDstPort(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + TCP_DST_PORT);
}

/** As int32; compare by the sign of a difference `| 0` (RFC 9293 §3.4). */
export function tcpSequence(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + TCP_SEQUENCE);
}

/** As int32. */
export function tcpAcknowledgment(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + TCP_ACKNOWLEDGMENT);
}

/** Length of the header with its options, in bytes. */
export function tcpHeaderLength(bytes: Uint8Array, at: number): number {
  return (bytes[at + TCP_DATA_OFFSET] >>> 4) << 2;
}

export function tcpFlags(bytes: Uint8Array, at: number): number {
  return bytes[at + TCP_FLAGS];
}

/** As it stands, not scaled. */
export function tcpWindow(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + TCP_WINDOW);
}

export function tcpChecksum(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + TCP_CHECKSUM);
}

export function tcpUrgent(bytes: Uint8Array, at: number): number {
  return get16(bytes, at + TCP_URGENT);
}

/** The setters leave the checksum as it was: see `update16`, `update32`. */
export function setTcpSrcPort(bytes: Uint8Array, at: number, port: number): void {
  set16(bytes, at + TCP_SRC_PORT, port);
}

export function setTcpDstPort(bytes: Uint8Array, at: number, port: number): void {
  set16(bytes, at + TCP_DST_PORT, port);
}

export function setTcpSequence(bytes: Uint8Array, at: number, sequence: number): void {
  set32(bytes, at + TCP_SEQUENCE, sequence);
}

export function setTcpAcknowledgment(bytes: Uint8Array, at: number, acknowledgment: number): void {
  set32(bytes, at + TCP_ACKNOWLEDGMENT, acknowledgment);
}

export function setTcpFlags(bytes: Uint8Array, at: number, flags: number): void {
  bytes[at + TCP_FLAGS] = flags;
}

export function setTcpWindow(bytes: Uint8Array, at: number, window: number): void {
  set16(bytes, at + TCP_WINDOW, window);
}

export function setTcpChecksum(bytes: Uint8Array, at: number, check: number): void {
  set16(bytes, at + TCP_CHECKSUM, check);
}

/**
 * Writes a header without a checksum (`fillTransportChecksum` computes it); returns the offset of the options.
 * @param headerLength header and options in bytes, a multiple of 4 from 20 to 60; the caller writes the options
 */
export function writeTcp(
  bytes: Uint8Array,
  at: number,
  srcPort: number,
  dstPort: number,
  sequence: number,
  acknowledgment: number,
  flags: number,
  window: number,
  headerLength = TCP_LEN,
): number {
  set16(bytes, at + TCP_SRC_PORT, srcPort);
  set16(bytes, at + TCP_DST_PORT, dstPort);
  set32(bytes, at + TCP_SEQUENCE, sequence);
  set32(bytes, at + TCP_ACKNOWLEDGMENT, acknowledgment);
  bytes[at + TCP_DATA_OFFSET] = headerLength << 2;
  bytes[at + TCP_FLAGS] = flags;
  set16(bytes, at + TCP_WINDOW, window);
  set16(bytes, at + TCP_CHECKSUM, 0);
  set16(bytes, at + TCP_URGENT, 0);
  return at + TCP_LEN;
}

/**
 * Offset of the first option of `type` with a plausible length, or 0. A broken option list ends the search, as
 * it does in every TCP: the segment itself is not at fault (RFC 9293 §3.2).
 */
export function findTcpOption(bytes: Uint8Array, at: number, type: number): number {
  const end = at + tcpHeaderLength(bytes, at);
  for (let option = at + TCP_LEN; option < end; ) {
    const found = bytes[option];
    if (found === TCP_OPT_END) return 0;
    if (found === TCP_OPT_NOP) {
      option++;
      continue;
    }
    if (option + 2 > end) return 0;
    const length = bytes[option + 1];
    if (length < 2 || option + length > end) return 0;
    if (found === type) return option;
    option += length;
  }
  return 0;
}

/** The maximum segment size that a SYN announces, or 0 when it announces none (RFC 9293 §3.7.1). */
export function tcpMss(bytes: Uint8Array, at: number): number {
  const option = findTcpOption(bytes, at, TCP_OPT_MSS);
  return option !== 0 && bytes[option + 1] === TCP_OPT_MSS_LEN ? get16(bytes, option + 2) : 0;
}

/** Writes a MSS option at `option`; returns the offset behind it. */
export function writeTcpMss(bytes: Uint8Array, option: number, mss: number): number {
  bytes[option] = TCP_OPT_MSS;
  bytes[option + 1] = TCP_OPT_MSS_LEN;
  set16(bytes, option + 2, mss);
  return option + TCP_OPT_MSS_LEN;
}
