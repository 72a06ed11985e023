import { get32, set16, set32 } from '../../wire/bytes.ts';
import {
  TCP_LEN,
  TCP_OPT_END,
  TCP_OPT_MSS,
  TCP_OPT_MSS_LEN,
  TCP_OPT_NOP,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_TIMESTAMPS,
  TCP_OPT_WINDOW_SCALE,
  tcpHeaderLength,
} from '../../wire/tcp.ts';

/**
 * Where the option of a kind begins in a TCP header, or -1. What is behind an option that cannot be is no option (RFC 9293
 * §3.1).
 * @param length of the option in all; 0 for any
 */
export function findOption(bytes: Uint8Array, l4: number, kind: number, length: number): number {
  const end = l4 + tcpHeaderLength(bytes, l4);
  for (let option = l4 + TCP_LEN; option < end; ) {
    const type = bytes[option];
    if (type === TCP_OPT_END) return -1;
    if (type === TCP_OPT_NOP) {
      option++;
      continue;
    }
    const size = option + 1 < end ? bytes[option + 1]! : 0;
    if (size < 2 || option + size > end) return -1;
    if (type === kind && (length === 0 || size === length)) return option;
    option += size;
  }
  return -1;
}

/**
 * Writes the options of a SYN at an offset; answers the offset behind them.
 * @param shift window scale, -1 for none
 * @param echo the timestamp that is answered
 */
export function writeSynOptions(
  bytes: Uint8Array,
  at: number,
  mss: number,
  isSack: boolean,
  isStamped: boolean,
  stamp: number,
  echo: number,
  shift: number,
): number {
  let option = at;
  bytes[option] = TCP_OPT_MSS;
  bytes[option + 1] = TCP_OPT_MSS_LEN;
  set16(bytes, option + 2, mss);
  option += 4;
  if (isSack) {
    bytes[option] = TCP_OPT_NOP;
    bytes[option + 1] = TCP_OPT_NOP;
    bytes[option + 2] = TCP_OPT_SACK_PERMITTED;
    bytes[option + 3] = 2;
    option += 4;
  }
  if (isStamped) option = writeTimestamps(bytes, option, stamp, echo);
  if (shift >= 0) {
    bytes[option] = TCP_OPT_NOP;
    bytes[option + 1] = TCP_OPT_WINDOW_SCALE;
    bytes[option + 2] = 3;
    bytes[option + 3] = shift;
    option += 4;
  }
  return option;
}

/** Writes a timestamps option, aligned as RFC 7323 appendix A recommends; answers the offset behind it. */
export function writeTimestamps(bytes: Uint8Array, at: number, value: number, echo: number): number {
  set32(bytes, at, ALIGNED_TIMESTAMPS);
  set32(bytes, at + 4, value);
  set32(bytes, at + 8, echo);
  return at + TIMESTAMPS_LEN;
}

/** Where the timestamp begins in the option of a header, or -1. */
export function findTimestamp(bytes: Uint8Array, l4: number): number {
  // How everybody writes it.
  const isAligned =
    tcpHeaderLength(bytes, l4) >= TCP_LEN + TIMESTAMPS_LEN &&
    get32(bytes, l4 + TCP_LEN) === ALIGNED_TIMESTAMPS;
  if (isAligned) return l4 + TCP_LEN + 4;
  const option = findOption(bytes, l4, TCP_OPT_TIMESTAMPS, TIMESTAMPS_OPTION_LEN);
  return option < 0 ? -1 : option + 2;
}

/** Bytes of the option, aligned. */
export const TIMESTAMPS_LEN = 12;
export const TIMESTAMPS_OPTION_LEN = 10;
/** NOP, NOP, kind 8, length 10. */
const ALIGNED_TIMESTAMPS = 0x0101080a;
