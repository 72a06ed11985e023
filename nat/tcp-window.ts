/**
 * Whether a segment lies in a window that its receiver has opened: the rules of Guido van Rooij, "Real Stateful TCP Packet
 * Filtering in IP Filter" (2000), as Linux applies them.
 *
 *   I    a segment begins no later than the highest sequence that the receiver allowed
 *   II   it ends no earlier than one receive window before the highest sequence that its sender has sent
 *   III  it acknowledges nothing that has not been sent
 *   IV   it acknowledges nothing that is older than one window (at least `ACK_WINDOW`)
 *
 * I and III are broken only by forgers, wandering duplicates and those who know more than we do: OUTSIDE. II and IV are
 * broken by honest segments that come late: LATE.
 */
import { get16, get32 } from '../wire/bytes.ts';
import type { Packet } from '../wire/packet.ts';
import {
  TCP_ACK,
  TCP_ACKNOWLEDGMENT,
  TCP_FLAGS,
  TCP_RST,
  TCP_SEQUENCE,
  TCP_SYN,
  TCP_WINDOW,
} from '../wire/tcp.ts';
import { ROW_BYTES, ROW_WORDS, TCP_BYTES, TCP_SENDERS } from './flow-row.ts';
import {
  COLUMNS,
  END,
  FLAGS,
  LAST_ACK,
  LAST_CLASS,
  LAST_DIRECTION,
  LAST_END,
  LAST_SEQUENCE,
  LAST_WINDOW,
  LIBERAL,
  MAX_ACK,
  MAX_ACK_SET,
  MAX_END,
  MAX_WINDOW,
  RETRANSMISSIONS,
  SACK_PERMITTED,
  SCALE,
  SCALE_OFFERED,
  SENDER_WORDS,
  UNACKNOWLEDGED,
} from './tcp-row.ts';
import { before, endOf, highestSack, permitsSack, windowScale } from './tcp-segment.ts';
import { ACK, classOf, NO_FLAG, SR, SS } from './tcp-state.ts';

/** Answers of `TcpWindow.check`. */
export const INSIDE = 0;
/** The segment cannot belong. */
export const OUTSIDE = 1;
/** It may belong, but says nothing new. */
export const LATE = 2;

/** An acknowledgment may lag behind by this much, however small the window is by now. */
export const ACK_WINDOW = 66_000;
/** Identical segments in a row after which the other side no longer seems to be there. */
export const MAX_RETRANSMISSIONS = 3;

/** The windows of all rows of a connection table. */
export class TcpWindow {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  /** @param words rows of the connection table; `bytes` is the same memory */
  constructor(words: Int32Array, bytes: Uint8Array) {
    this.#words = words;
    this.#bytes = bytes;
  }

  /** Begins a row with the first segment: a SYN, or one from the middle of a connection, about whose windows we know nothing. */
  open(row: number, isSyn: boolean, packet: Packet): void {
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    for (let i = 0; i < 2 * SENDER_WORDS; i++) words[word + i] = 0;
    for (let i = 0; i < SENDER_WORDS; i++) words[word + LAST_SEQUENCE + i] = 0;
    for (let i = 0; i < COLUMNS; i++) columns[column + i] = 0;
    const end = endOf(packet, get32(bytes, l4 + TCP_SEQUENCE), bytes[l4 + TCP_FLAGS]!);
    const window = get16(bytes, l4 + TCP_WINDOW) || 1;
    words[word + END] = end;
    words[word + MAX_WINDOW] = window;
    columns[column + LAST_CLASS] = NO_FLAG;
    if (isSyn) {
      words[word + MAX_END] = end;
      this.#readSynOptions(column, 0, bytes, l4);
    } else {
      words[word + MAX_END] = (end + window) | 0;
      columns[column + FLAGS] = SACK_PERMITTED | LIBERAL;
      columns[column + FLAGS + 1] = SACK_PERMITTED | LIBERAL;
    }
  }

  /**
   * Whether `sequence` is that of a segment which was sent in `direction` and is not acknowledged: the check that keeps
   * forged ICMP errors out (RFC 5927 §4.1, as TCPs do it themselves).
   */
  isOutstanding(row: number, direction: 0 | 1, sequence: number): boolean {
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    const words = this.#words;
    const columns = this.#bytes;
    if ((columns[column + FLAGS + direction]! & LIBERAL) !== 0) return true;
    const sender = word + direction * SENDER_WORDS;
    if (words[sender + MAX_WINDOW] === 0) return false;
    const receiver = word + (direction ^ 1) * SENDER_WORDS;
    const end = words[sender + END]!;
    const known = (columns[column + FLAGS + (direction ^ 1)]! & MAX_ACK_SET) !== 0;
    // A keep-alive probe repeats the last byte acknowledged (RFC 9293 §3.8.4).
    const lowest = known ? (words[receiver + MAX_ACK]! - 1) | 0 : (end - ACK_WINDOW) | 0;
    return !before(sequence, lowest) && !before(end, sequence);
  }

  /**
   * The rules I to IV, and what an accepted segment teaches.
   * @param state of the connection before this segment
   * @returns INSIDE, OUTSIDE or LATE
   */
  check(row: number, direction: 0 | 1, state: number, packet: Packet): number {
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    const sender = word + direction * SENDER_WORDS;
    const receiver = word + (direction ^ 1) * SENDER_WORDS;
    const senderFlags = column + FLAGS + direction;
    const receiverFlags = column + FLAGS + (direction ^ 1);

    const flags = bytes[l4 + TCP_FLAGS]!;
    const hasAck = (flags & TCP_ACK) !== 0;
    let sequence = get32(bytes, l4 + TCP_SEQUENCE);
    let ack = get32(bytes, l4 + TCP_ACKNOWLEDGMENT);
    const rawWindow = get16(bytes, l4 + TCP_WINDOW);
    let window = rawWindow;
    let end = endOf(packet, sequence, flags);
    // What has arrived out of order has been sent, too (RFC 2018).
    let sack =
      (columns[receiverFlags]! & SACK_PERMITTED) !== 0 ? highestSack(bytes, l4, packet.payload, ack) : ack;

    const isSyn = (flags & TCP_SYN) !== 0;
    if (
      words[sender + MAX_WINDOW] === 0 ||
      // A new attempt from the same port, which may differ from the first in everything.
      (isSyn && (state === SS || state === SR) && before(words[sender + END]!, end)) ||
      // What acknowledges our SYN is its answer, whatever a forged or stale one has said before. Linux goes by that one.
      (isSyn && hasAck && state === SS && direction === 1 && ack === words[receiver + END])
    ) {
      this.#beginSender(column, sender, receiver, direction, packet, flags, end, sack);
      // Simultaneous open: there is nothing to compare with.
      if (direction === 1 && isSyn && !hasAck) return INSIDE;
    }

    // A segment without ACK acknowledges nothing; some stacks set the flag in a RST that acknowledges nothing.
    if (!hasAck || ((flags & TCP_RST) !== 0 && ack === 0)) {
      ack = words[receiver + END]!;
      sack = ack;
    }
    // RFC 9293 §3.5.2: a RST that answers a SYN has sequence 0.
    if ((flags & TCP_RST) !== 0 && sequence === 0 && state === SS) {
      sequence = words[sender + END]!;
      end = sequence;
    }

    const senderEnd = words[sender + END]!;
    const receiverEnd = words[receiver + END]!;
    const receiverWindow = words[receiver + MAX_WINDOW]!;
    const maxEnd = words[sender + MAX_END]!;
    const acksOnlySent = !before(receiverEnd, sack);
    const inReceiveWindow = receiverWindow === 0 || !before(end, (senderEnd - receiverWindow) | 0);
    const ackLag = Math.max(words[sender + MAX_WINDOW]! >>> 0, ACK_WINDOW);
    const ackIsRecent = !before(sack, (receiverEnd - ackLag) | 0);
    const liberal = (columns[senderFlags]! & LIBERAL) !== 0;

    // I
    if (before(maxEnd, sequence)) {
      const beyond = (end - maxEnd + 1) >>> 0;
      if (
        receiverWindow !== 0 &&
        inReceiveWindow &&
        ackIsRecent &&
        acksOnlySent &&
        beyond <= receiverWindow >>> 0
      ) {
        // More than was allowed, as some TCPs do: if it gets through, its acknowledgment must not be a surprise.
        words[sender + END] = end;
        columns[senderFlags]! |= UNACKNOWLEDGED;
        return liberal ? INSIDE : LATE;
      }
      return liberal ? INSIDE : OUTSIDE;
    }
    // III
    if (!acksOnlySent) return liberal ? INSIDE : OUTSIDE;
    // II and IV
    if (!inReceiveWindow || !ackIsRecent) return liberal ? INSIDE : LATE;

    // RFC 7323 §2.2: the window of a SYN is never scaled.
    if (!isSyn) window = (window << columns[column + SCALE + direction]!) | 0;
    const reach = (window + (sack - ack)) | 0;
    if (words[sender + MAX_WINDOW]! >>> 0 < reach >>> 0) words[sender + MAX_WINDOW] = reach;
    if (before(senderEnd, end)) {
      words[sender + END] = end;
      columns[senderFlags]! |= UNACKNOWLEDGED;
    }
    if (hasAck) {
      if ((columns[senderFlags]! & MAX_ACK_SET) === 0) {
        words[sender + MAX_ACK] = ack;
        columns[senderFlags]! |= MAX_ACK_SET;
      } else if (before(words[sender + MAX_ACK]!, ack)) {
        words[sender + MAX_ACK] = ack;
      }
    }
    if (receiverWindow !== 0 && before(maxEnd, end)) {
      words[receiver + MAX_WINDOW] = (receiverWindow + (end - maxEnd)) | 0;
    }
    const allowed = (sack + window) | 0;
    if (!before(allowed, words[receiver + MAX_END]!)) {
      // A closed window is probed with one byte (RFC 9293 §3.8.6.1).
      words[receiver + MAX_END] = window === 0 ? (allowed + 1) | 0 : allowed;
    }
    if (ack === receiverEnd) columns[receiverFlags]! &= ~UNACKNOWLEDGED;

    if (classOf(flags) === ACK)
      this.#countRetransmission(word, column, direction, sequence, ack, end, rawWindow);
    return INSIDE;
  }

  #countRetransmission(
    word: number,
    column: number,
    direction: number,
    sequence: number,
    ack: number,
    end: number,
    window: number,
  ): void {
    const words = this.#words;
    const columns = this.#bytes;
    if (
      columns[column + LAST_DIRECTION] === direction &&
      words[word + LAST_SEQUENCE] === sequence &&
      words[word + LAST_ACK] === ack &&
      words[word + LAST_END] === end &&
      words[word + LAST_WINDOW] === window
    ) {
      if (columns[column + RETRANSMISSIONS]! < MAX_RETRANSMISSIONS) columns[column + RETRANSMISSIONS]!++;
      return;
    }
    columns[column + LAST_DIRECTION] = direction;
    words[word + LAST_SEQUENCE] = sequence;
    words[word + LAST_ACK] = ack;
    words[word + LAST_END] = end;
    words[word + LAST_WINDOW] = window;
    columns[column + RETRANSMISSIONS] = 0;
  }

  /** Begins to follow a sender with the first segment that is seen of it. */
  #beginSender(
    column: number,
    sender: number,
    receiver: number,
    direction: number,
    packet: Packet,
    flags: number,
    end: number,
    sack: number,
  ): void {
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const window = get16(bytes, l4 + TCP_WINDOW);
    words[sender + END] = end;
    if ((flags & TCP_SYN) !== 0) {
      words[sender + MAX_END] = end;
      words[sender + MAX_WINDOW] = window || 1;
      this.#readSynOptions(column, direction, bytes, l4);
      // RFC 7323 §2.2: both must offer scaling.
      if (
        direction === 1 &&
        (columns[column + FLAGS]! & columns[column + FLAGS + 1]! & SCALE_OFFERED) === 0
      ) {
        columns[column + SCALE] = 0;
        columns[column + SCALE + 1] = 0;
      }
      return;
    }
    const scaled = (window << columns[column + SCALE + direction]!) | 0 || 1;
    words[sender + MAX_WINDOW] = scaled;
    words[sender + MAX_END] = (end + scaled) | 0;
    if (words[receiver + MAX_WINDOW] === 0) {
      words[receiver + END] = sack;
      words[receiver + MAX_END] = sack;
    } else if (sack === ((words[receiver + END]! + 1) | 0)) {
      // Answers a keep-alive that was seen before anything else.
      words[receiver + END] = sack;
    }
  }

  #readSynOptions(column: number, direction: number, bytes: Uint8Array, l4: number): void {
    const columns = this.#bytes;
    const scale = windowScale(bytes, l4);
    let flags = columns[column + FLAGS + direction]! & LIBERAL;
    if (scale >= 0) flags |= SCALE_OFFERED;
    if (permitsSack(bytes, l4)) flags |= SACK_PERMITTED;
    columns[column + SCALE + direction] = scale < 0 ? 0 : scale;
    columns[column + FLAGS + direction] = flags;
  }
}
