/**
 * How a row of the connection table lies in memory. All that a packet of a flow needs is in 192 bytes, three cache lines of
 * one page, because among 262,144 flows nearly every line and every page that is touched is a miss: with a column for each
 * field a TCP packet had nine of them to fetch and took twice as long.
 *
 *   words   original               reply
 *    0- 9   tuple                  tuple
 *   10-13   packets, bytes         packets, bytes        doubles
 *   14-15   expiry                 free                  double
 *   16-23   TCP: both senders      TCP: last segment, flags
 */
import { TUPLE_WORDS } from './tuple.ts';

export const ROW_WORDS = 2 * TUPLE_WORDS;
export const ROW_BYTES = 4 * ROW_WORDS;

/** In doubles: of a row, of a direction; and fields: packets and bytes from the start of a direction, expiry from that of a row. */
export const ROW_DOUBLES = ROW_WORDS / 2;
export const DIRECTION_DOUBLES = TUPLE_WORDS / 2;
export const FLOW_PACKETS = 5;
export const FLOW_BYTES = 6;
export const FLOW_EXPIRY = 7;

/** Words of TCP tracking from the start of a row: 8 for the two senders, 4 for the segment seen last. */
export const TCP_SENDERS = 16;
export const TCP_LAST = TUPLE_WORDS + 16;
/** Its bytes: 16 from here on. */
export const TCP_BYTES = 4 * (TUPLE_WORDS + 20);
