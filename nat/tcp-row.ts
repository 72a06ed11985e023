/**
 * What TCP tracking remembers of a connection: offsets in the place that a row of the connection table has for it
 * (`flow-row.ts`). Words count from `TCP_SENDERS` of the row, bytes from `TCP_BYTES`.
 */
import { TCP_LAST, TCP_SENDERS } from './flow-row.ts';

// Words: for each direction what its sender has done, and the segment seen last.
export const SENDER_WORDS = 4;
/** Highest sequence sent, plus one. */
export const END = 0;
/** Highest sequence that the receiver allowed, plus one. */
export const MAX_END = 1;
/** Largest window that this sender has announced. 0: nothing seen of it yet. Unsigned. */
export const MAX_WINDOW = 2;
/** Highest acknowledgment that this sender has sent; see `MAX_ACK_SET`. */
export const MAX_ACK = 3;
export const LAST_SEQUENCE = TCP_LAST - TCP_SENDERS;
export const LAST_ACK = LAST_SEQUENCE + 1;
export const LAST_END = LAST_SEQUENCE + 2;
export const LAST_WINDOW = LAST_SEQUENCE + 3;

// Bytes.
/** + direction: shift count of the windows that this sender announces (RFC 7323 §2). */
export const SCALE = 0;
/** + direction: the flags below. */
export const FLAGS = 2;
export const LAST_CLASS = 4;
export const LAST_DIRECTION = 5;
export const LAST_SCALE = 6;
export const LAST_FLAGS = 7;
export const RETRANSMISSIONS = 8;
export const STATUS = 9;
/** How many bytes. */
export const COLUMNS = 10;

// Flags of one sender.
export const SCALE_OFFERED = 1;
export const SACK_PERMITTED = 2;
/** Picked up in the middle: the scale of its windows is not known, so that the window rules bind nobody. */
export const LIBERAL = 4;
/** Sent the first FIN. */
export const CLOSED_FIRST = 8;
export const MAX_ACK_SET = 16;
/** Has sent what is not acknowledged yet. */
export const UNACKNOWLEDGED = 32;
// Beside the first two, flags of the segment seen last.
/** A SYN passed in LAST_ACK: the ACK that answers it may be a challenge (RFC 5961 §4). */
export const CHALLENGE_EXPECTED = 64;
export const SIMULTANEOUS_OPEN = 128;

// Status of a row.
export const REPLIED = 1;
export const ASSURED = 2;
/** The first answer was a RST: there was never a connection. */
export const REFUSED = 4;
