/** What tracking reads of a segment beside its header's fields: where it ends, and its options. */
import { get32 } from '../wire/bytes.ts';
import type { Packet } from '../wire/packet.ts';
import {
  findTcpOption,
  TCP_FIN,
  TCP_LEN,
  TCP_OPT_SACK,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_WINDOW_SCALE,
  TCP_SYN,
} from '../wire/tcp.ts';

/** RFC 7323 §2.3: a larger shift count is used as 14. */
const MAX_SCALE = 14;

/** Whether sequence number `a` comes before `b` (RFC 9293 §3.4). */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** Sequence number behind a segment: SYN and FIN count as one byte each. A GSO frame is one long segment. */
export function endOf(packet: Packet, sequence: number, flags: number): number {
  const syn = (flags & TCP_SYN) >>> 1;
  return (sequence + packet.end - packet.payload + syn + (flags & TCP_FIN)) | 0;
}

/** The shift count that a SYN offers, or -1. */
export function windowScale(bytes: Uint8Array, l4: number): number {
  const option = findTcpOption(bytes, l4, TCP_OPT_WINDOW_SCALE);
  return option !== 0 && bytes[option + 1] === 3 ? Math.min(bytes[option + 2]!, MAX_SCALE) : -1;
}

/** Whether a SYN permits SACK (RFC 2018 §2). */
export function permitsSack(bytes: Uint8Array, l4: number): boolean {
  const option = findTcpOption(bytes, l4, TCP_OPT_SACK_PERMITTED);
  return option !== 0 && bytes[option + 1] === 2;
}

/** NOP, NOP, timestamps: what nearly every segment carries, and no SACK (RFC 7323 appendix A). */
const TIMESTAMPS_ONLY = 0x0101080a;
const TIMESTAMPS_LEN = 12;

/** The highest right edge in a SACK option (RFC 2018 §3), `ack` when there is none beyond it. */
export function highestSack(bytes: Uint8Array, l4: number, payload: number, ack: number): number {
  const length = payload - l4 - TCP_LEN;
  if (length === 0 || (length === TIMESTAMPS_LEN && get32(bytes, l4 + TCP_LEN) === TIMESTAMPS_ONLY))
    return ack;
  const option = findTcpOption(bytes, l4, TCP_OPT_SACK);
  if (option === 0) return ack;
  const optionEnd = option + bytes[option + 1]!;
  let highest = ack;
  for (let right = option + 6; right + 4 <= optionEnd; right += 8) {
    const edge = get32(bytes, right);
    if (before(highest, edge)) highest = edge;
  }
  return highest;
}
