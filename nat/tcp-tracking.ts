/**
 * What a box in the middle can know about a TCP connection: in which of Linux's ten states it is, and whether a segment
 * lies in a window that the receiver has opened. A segment that neither side can have meant is INVALID, so that nobody
 * who merely guesses addresses and ports can reset, stall or prolong a connection (RFC 5961, RFC 7857 §2.2).
 *
 * The behaviour is that of Linux's connection tracking, found by asking the kernel: `fixtures/conntrack/` holds its answer for
 * every cell of the table below and for both sides of every window bound, and the script that asks. The window rules are
 * those of Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000):
 *
 *   I    a segment begins no later than the highest sequence that the receiver allowed
 *   II   it ends no earlier than one receive window before the highest sequence that its sender has sent
 *   III  it acknowledges nothing that has not been sent
 *   IV   it acknowledges nothing that is older than one window (at least `ACK_WINDOW`)
 *
 * I and III are broken only by forgers, wandering duplicates and those who know more than we do: INVALID. II and IV are
 * broken by honest, late segments, which pass and teach us nothing.
 */
import { get16, get32 } from '../wire/bytes.ts';
import type { Packet } from '../wire/packet.ts';
import {
  findTcpOption,
  TCP_ACK,
  TCP_ACKNOWLEDGMENT,
  TCP_FIN,
  TCP_FLAGS,
  TCP_LEN,
  TCP_OPT_SACK,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_WINDOW_SCALE,
  TCP_RST,
  TCP_SEQUENCE,
  TCP_SYN,
  TCP_URG,
  TCP_WINDOW,
} from '../wire/tcp.ts';
import { ROW_BYTES, ROW_WORDS, TCP_BYTES, TCP_LAST, TCP_SENDERS } from './flow-row.ts';
import type { Timeouts } from './timeouts.ts';

/** Linux's states of a tracked connection; the numbers are its own. */
export const TcpState = {
  NONE: 0,
  SYN_SENT: 1,
  SYN_RECV: 2,
  ESTABLISHED: 3,
  FIN_WAIT: 4,
  CLOSE_WAIT: 5,
  LAST_ACK: 6,
  TIME_WAIT: 7,
  CLOSE: 8,
  /** Both sides have sent a SYN (RFC 9293 §3.5, simultaneous open). */
  SYN_SENT2: 9,
} as const;
export type TcpState = (typeof TcpState)[keyof typeof TcpState];

/** By number, as `conntrack -L` prints them. */
export const TCP_STATE_NAMES: readonly string[] = Object.keys(TcpState);

/** What is to become of a segment of a known connection. */
export const TcpVerdict = {
  /** It belongs: pass it, refresh the row by `timeout`. */
  ACCEPT: 0,
  /** It cannot belong: nothing was changed, nothing is refreshed. */
  INVALID: 1,
  /** A SYN where the old connection is over: close the row and open a new one. */
  REOPEN: 2,
  /** It may belong, we cannot tell: pass it, refresh nothing. */
  IGNORE: 3,
} as const;
export type TcpVerdict = (typeof TcpVerdict)[keyof typeof TcpVerdict];

// Classes of segments: the columns by which the table is asked.
const SYN = 0;
const SYN_ACK = 1;
const FIN = 2;
const ACK = 3;
const RST = 4;
const NO_FLAG = 5;
const CLASSES = 6;
const STATES = 10;

const SS = TcpState.SYN_SENT;
const SR = TcpState.SYN_RECV;
const ES = TcpState.ESTABLISHED;
const FW = TcpState.FIN_WAIT;
const CW = TcpState.CLOSE_WAIT;
const LA = TcpState.LAST_ACK;
const TW = TcpState.TIME_WAIT;
const CL = TcpState.CLOSE;
const S2 = TcpState.SYN_SENT2;
/** In the table: the segment cannot belong. */
const IV = 10;
/** In the table: the segment passes without a change of state. */
const IG = 11;
/** Of `#checkReset`: the connection is closed, wherever the window is. */
const ANYWHERE = 12;

/** (direction × class × state) → next state. */
// biome-ignore format: a table
const NEXT = Uint8Array.from([
  // original    NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
  /* SYN     */  SS, SS, IG, IG, IG, IG, IG, SS, SS, S2,
  /* SYN,ACK */  IV, IV, SR, IV, IV, IV, IV, IV, IV, SR,
  /* FIN     */  IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ACK     */  ES, IV, ES, ES, CW, CW, TW, TW, CL, IV,
  /* RST     */  IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none    */  IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
  // reply
  /* SYN     */  IV, S2, IV, IV, IV, IV, IV, SS, IV, S2,
  /* SYN,ACK */  IV, SR, IG, IG, IG, IG, IG, IG, IG, SR,
  /* FIN     */  IV, IV, FW, FW, LA, LA, LA, TW, CL, IV,
  /* ACK     */  IV, IG, SR, ES, CW, CW, TW, TW, CL, IG,
  /* RST     */  IV, CL, CL, CL, CL, CL, CL, CL, CL, CL,
  /* none    */  IV, IV, IV, IV, IV, IV, IV, IV, IV, IV,
]);

/**
 * Acknowledgments may lag behind by this much even where windows are small: ACKs of several connections' worth of
 * bursts are still under way when a window was just opened.
 */
export const ACK_WINDOW = 66_000;
/** RFC 7323 §2.3: a larger shift count is used as 14. */
const MAX_SCALE = 14;
/** Identical segments in a row after which the other side no longer seems to be there. */
const MAX_RETRANSMISSIONS = 3;

// Int32 columns of one row (`flow-row.ts`): for each direction what its sender has done, and the segment seen last.
const SENDER_WORDS = 4;
/** Highest sequence sent, plus one. */
const END = 0;
/** Highest sequence that the receiver allowed, plus one. */
const MAX_END = 1;
/** Largest window that this sender has announced. 0: nothing seen of it yet. Unsigned. */
const MAX_WINDOW = 2;
/** Highest acknowledgment that this sender has sent; see `MAX_ACK_SET`. */
const MAX_ACK = 3;
const LAST_SEQUENCE = TCP_LAST - TCP_SENDERS;
const LAST_ACK = LAST_SEQUENCE + 1;
const LAST_END = LAST_SEQUENCE + 2;
const LAST_WINDOW = LAST_SEQUENCE + 3;

// Uint8 columns of one row.
/** + direction: shift count of the windows that this sender announces (RFC 7323 §2). */
const SCALE = 0;
/** + direction: the flags below. */
const FLAGS = 2;
const LAST_CLASS = 4;
const LAST_DIRECTION = 5;
const LAST_SCALE = 6;
const LAST_FLAGS = 7;
const RETRANSMISSIONS = 8;
const STATUS = 9;
const COLUMNS = 10;

// Flags of one sender.
const SCALE_OFFERED = 1;
const SACK_PERMITTED = 2;
/** Picked up in the middle: the scale of its windows is not known, so that the window rules bind nobody. */
const LIBERAL = 4;
/** Sent the first FIN. */
const CLOSED_FIRST = 8;
const MAX_ACK_SET = 16;
/** Has sent what is not acknowledged yet. */
const UNACKNOWLEDGED = 32;
// Beside the first two, flags of the segment seen last.
/** A SYN passed in LAST_ACK: the ACK that answers it may be a challenge (RFC 5961 §4). */
const CHALLENGE_EXPECTED = 64;
const SIMULTANEOUS_OPEN = 128;

// Status of a row.
const REPLIED = 1;
const ASSURED = 2;
/** The first answer was a RST: there was never a connection. */
const REFUSED = 4;

// Answers of the window check.
const INSIDE = 0;
const OUTSIDE = 1;
const LATE = 2;

const SIGNIFICANT = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG;
/** Whether a set of flags occurs in TCP: bit n stands for n = flags & SIGNIFICANT. PSH, ECE and CWR go with anything. */
const VALID_FLAGS = new Uint8Array(SIGNIFICANT + 1);
for (const flags of [
  TCP_SYN,
  TCP_SYN | TCP_URG,
  TCP_SYN | TCP_ACK,
  TCP_RST,
  TCP_RST | TCP_ACK,
  TCP_FIN | TCP_ACK,
  TCP_FIN | TCP_ACK | TCP_URG,
  TCP_ACK,
  TCP_ACK | TCP_URG,
]) {
  VALID_FLAGS[flags] = 1;
}

/** Whether sequence number `a` comes before `b` (RFC 9293 §3.4). */
function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

function classOf(flags: number): number {
  if ((flags & TCP_RST) !== 0) return RST;
  if ((flags & TCP_SYN) !== 0) return (flags & TCP_ACK) !== 0 ? SYN_ACK : SYN;
  if ((flags & TCP_FIN) !== 0) return FIN;
  return (flags & TCP_ACK) !== 0 ? ACK : NO_FLAG;
}

/** Sequence number behind a segment: SYN and FIN count as one byte each. A GSO frame is one long segment. */
function endOf(packet: Packet, sequence: number, flags: number): number {
  const syn = (flags & TCP_SYN) >>> 1;
  return (sequence + packet.end - packet.payload + syn + (flags & TCP_FIN)) | 0;
}

export interface TcpTrackingOptions {
  /** Whether a connection may be picked up in the middle, by an ACK of a connection that we do not know. */
  loose: boolean;
}

/**
 * TCP state of the rows of a connection table. Rows are given out by somebody else; `open` begins one. Packets must
 * have gone through `parse`, be whole (not a fragment) and carry TCP.
 */
export class TcpTracking {
  /** Of each row: a `TcpState`. */
  readonly state: Uint8Array;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #loose: boolean;

  /** @param rows of the connection table, in which TCP has its place */
  constructor(
    capacity: number,
    { loose }: TcpTrackingOptions,
    rows: Int32Array = new Int32Array(capacity * ROW_WORDS),
  ) {
    this.state = new Uint8Array(capacity);
    this.#words = rows;
    this.#bytes = new Uint8Array(rows.buffer);
    this.#loose = loose;
  }

  /**
   * Begins a row with the first packet of a connection, which names its original direction.
   * @returns false when this packet cannot begin one: then the row is as it was
   */
  open(row: number, packet: Packet): boolean {
    const { bytes, l4 } = packet;
    const flags = bytes[l4 + TCP_FLAGS]!;
    if (VALID_FLAGS[flags & SIGNIFICANT] === 0) return false;
    const isSyn = classOf(flags) === SYN;
    // RFC 5382 REQ-2 wants any valid sequence; a mid-stream ACK is one after a restart of this box.
    if (!isSyn && (classOf(flags) !== ACK || !this.#loose)) return false;

    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    for (let i = 0; i < 2 * SENDER_WORDS; i++) words[word + i] = 0;
    for (let i = 0; i < SENDER_WORDS; i++) words[word + LAST_SEQUENCE + i] = 0;
    for (let i = 0; i < COLUMNS; i++) columns[column + i] = 0;
    this.state[row] = TcpState.NONE;

    const end = endOf(packet, get32(bytes, l4 + TCP_SEQUENCE), flags);
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
    return this.track(row, 0, packet) === TcpVerdict.ACCEPT;
  }

  /** Follows one packet of a known connection. */
  track(row: number, direction: 0 | 1, packet: Packet): TcpVerdict {
    const verdict = this.#follow(row, direction, packet);
    if (direction === 1 && (verdict === TcpVerdict.ACCEPT || verdict === TcpVerdict.IGNORE)) {
      this.#bytes[row * ROW_BYTES + TCP_BYTES + STATUS]! |= REPLIED;
    }
    return verdict;
  }

  /** Whether a valid answer has made this a connection worth keeping (Linux's ASSURED). */
  isAssured(row: number): boolean {
    return (this.#bytes[row * ROW_BYTES + TCP_BYTES + STATUS]! & ASSURED) !== 0;
  }

  /** Whether anything valid has come in the reply direction (Linux's SEEN_REPLY). */
  isReplied(row: number): boolean {
    return (this.#bytes[row * ROW_BYTES + TCP_BYTES + STATUS]! & REPLIED) !== 0;
  }

  /** Whether a RST came before any other answer: there was never a connection. */
  isRefused(row: number): boolean {
    return (this.#bytes[row * ROW_BYTES + TCP_BYTES + STATUS]! & REFUSED) !== 0;
  }

  /** How long the row is to be kept after the packet that was accepted last, milliseconds. */
  timeout(row: number, timeouts: Timeouts): number {
    switch (this.state[row]) {
      case TcpState.ESTABLISHED: {
        const columns = this.#bytes;
        const column = row * ROW_BYTES + TCP_BYTES;
        // Picked up in the middle, and not yet seen to be alive on both sides.
        if ((columns[column + STATUS]! & ASSURED) === 0) return timeouts.tcpOpening;
        const unanswered =
          columns[column + RETRANSMISSIONS]! >= MAX_RETRANSMISSIONS ||
          ((columns[column + FLAGS]! | columns[column + FLAGS + 1]!) & UNACKNOWLEDGED) !== 0 ||
          this.#words[row * ROW_WORDS + TCP_SENDERS + LAST_WINDOW] === 0;
        return unanswered
          ? Math.min(timeouts.tcpUnanswered, timeouts.tcpEstablished)
          : timeouts.tcpEstablished;
      }
      case TcpState.FIN_WAIT:
      case TcpState.CLOSE_WAIT:
      case TcpState.LAST_ACK:
      case TcpState.TIME_WAIT:
        return timeouts.tcpClosing;
      case TcpState.CLOSE:
        return timeouts.tcpReset;
      default:
        return timeouts.tcpOpening;
    }
  }

  /**
   * Whether `sequence` is that of a segment which was sent in `direction` and is not acknowledged: the check that keeps
   * forged ICMP errors out (RFC 5927 §4.1, as TCPs do it themselves).
   */
  isInWindow(row: number, direction: 0 | 1, sequence: number): boolean {
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

  #follow(row: number, direction: 0 | 1, packet: Packet): TcpVerdict {
    const { bytes, l4 } = packet;
    const flags = bytes[l4 + TCP_FLAGS]!;
    if (VALID_FLAGS[flags & SIGNIFICANT] === 0) return TcpVerdict.INVALID;
    const kind = classOf(flags);
    const old = this.state[row]!;
    let next = NEXT[(direction * CLASSES + kind) * STATES + old]!;
    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    let checked = false;

    switch (next) {
      case SS:
        if (old >= TW) {
          // RFC 9293 §3.6.1: TIME-WAIT may be left by a new SYN. A connection that was reset is over for whoever reset it.
          const flagsOfBoth = columns[column + FLAGS]! | columns[column + FLAGS + 1]!;
          if (
            (flagsOfBoth & CLOSED_FIRST) !== 0 ||
            (columns[column + STATUS]! & REFUSED) !== 0 ||
            (columns[column + LAST_DIRECTION] === direction && columns[column + LAST_CLASS] === RST)
          ) {
            return TcpVerdict.REOPEN;
          }
          this.#remember(word, column, direction, kind, packet, old);
          return TcpVerdict.IGNORE;
        }
        break;
      case IG:
        if (
          kind === SYN_ACK &&
          columns[column + LAST_CLASS] === SYN &&
          columns[column + LAST_DIRECTION] !== direction &&
          get32(bytes, l4 + TCP_ACKNOWLEDGMENT) === words[word + LAST_END]
        ) {
          // Both sides agree on a connection that we took for a stray SYN: begin again with what that SYN said.
          this.#adopt(word, column, direction);
          next = SR;
          break;
        }
        this.#remember(word, column, direction, kind, packet, old);
        return TcpVerdict.IGNORE;
      case IV:
        return kind === SYN && (columns[column + STATUS]! & REFUSED) !== 0
          ? TcpVerdict.REOPEN
          : TcpVerdict.INVALID;
      case TW:
        if (
          old === LA &&
          columns[column + LAST_DIRECTION] !== direction &&
          columns[column + LAST_CLASS] === SYN &&
          (columns[column + LAST_FLAGS]! & CHALLENGE_EXPECTED) !== 0
        ) {
          // RFC 5961 §4: the answer to that SYN, not to the FIN.
          columns[column + LAST_FLAGS]! &= ~CHALLENGE_EXPECTED;
          return TcpVerdict.IGNORE;
        }
        break;
      case S2:
        columns[column + LAST_FLAGS]! |= SIMULTANEOUS_OPEN;
        break;
      case SR:
        if (direction === 1 && kind === ACK && (columns[column + LAST_FLAGS]! & SIMULTANEOUS_OPEN) !== 0) {
          next = ES;
        }
        break;
      case CL:
        if (kind === RST) {
          next = this.#checkReset(row, direction, packet, old);
          if (next === IV) return TcpVerdict.INVALID;
          if (next === ANYWHERE) {
            next = CL;
            checked = true;
          }
        }
        break;
    }

    if (!checked) {
      const answer = this.#checkWindow(row, direction, kind, packet);
      if (answer === LATE) return TcpVerdict.IGNORE;
      if (answer === OUTSIDE) {
        this.#rememberOutside(column, direction, kind);
        return TcpVerdict.INVALID;
      }
    }
    columns[column + LAST_CLASS] = kind;
    columns[column + LAST_DIRECTION] = direction;
    this.state[row] = next;
    if (next === FW && old !== FW) columns[column + FLAGS + direction]! |= CLOSED_FIRST;

    const status = columns[column + STATUS]!;
    if ((status & REPLIED) === 0) {
      // Linux forgets such a row at once; RFC 7857 §2.2 keeps it for 4 minutes, but a new SYN starts from nothing.
      if (kind === RST) columns[column + STATUS] = status | REFUSED;
      // A SYN repeated into silence must not keep the row alive for ever.
      if (kind === SYN && old === SS) return TcpVerdict.IGNORE;
    } else if ((status & ASSURED) === 0 && next === ES && (old === SR || old === ES)) {
      columns[column + STATUS] = status | ASSURED;
    }
    return TcpVerdict.ACCEPT;
  }

  /** Notes a segment that passes although we do not understand it: the answer may explain it. */
  #remember(
    word: number,
    column: number,
    direction: number,
    kind: number,
    packet: Packet,
    old: number,
  ): void {
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const sequence = get32(bytes, l4 + TCP_SEQUENCE);
    columns[column + LAST_CLASS] = kind;
    columns[column + LAST_DIRECTION] = direction;
    words[word + LAST_SEQUENCE] = sequence;
    words[word + LAST_END] = endOf(packet, sequence, bytes[l4 + TCP_FLAGS]!);
    words[word + LAST_WINDOW] = get16(bytes, l4 + TCP_WINDOW);
    if (kind === SYN && direction === 0) {
      const scale = windowScale(bytes, l4);
      let flags = scale < 0 ? 0 : SCALE_OFFERED;
      if (permitsSack(bytes, l4)) flags |= SACK_PERMITTED;
      if (old === LA) flags |= CHALLENGE_EXPECTED;
      columns[column + LAST_SCALE] = scale < 0 ? 0 : scale;
      columns[column + LAST_FLAGS] = flags;
    }
    // Perhaps a challenge from an old incarnation of the peer: the RST that answers it will have this sequence.
    if (old === SS && kind === ACK && direction === 1) {
      words[word + LAST_ACK] = get32(bytes, l4 + TCP_ACKNOWLEDGMENT);
    }
  }

  /** Takes the ignored SYN that was seen last for the beginning of a new connection, answered in `direction`. */
  #adopt(word: number, column: number, direction: number): void {
    const words = this.#words;
    const columns = this.#bytes;
    const asker = direction ^ 1;
    const from = word + asker * SENDER_WORDS;
    words[from + END] = words[word + LAST_END]!;
    words[from + MAX_END] = words[word + LAST_END]!;
    words[from + MAX_WINDOW] = words[word + LAST_WINDOW]! || 1;
    columns[column + LAST_FLAGS]! &= ~CHALLENGE_EXPECTED;
    columns[column + SCALE + asker] = columns[column + LAST_SCALE]!;
    columns[column + FLAGS + asker] = columns[column + LAST_FLAGS]!;
    const to = word + direction * SENDER_WORDS;
    for (let i = 0; i < SENDER_WORDS; i++) words[to + i] = 0;
    columns[column + SCALE + direction] = 0;
    columns[column + FLAGS + direction]! &= LIBERAL;
  }

  /**
   * Whether a RST may close the connection (RFC 5961 §3: only one at exactly the next sequence does; any other in the
   * window is answered by a challenge ACK, whose sender may still go on).
   * @returns the next state if the RST is in the window, ANYWHERE when the window does not matter, or IV
   */
  #checkReset(row: number, direction: 0 | 1, packet: Packet, old: number): number {
    // Both sides forget a connection on its way out when they like: the RST may answer anything.
    if (old >= FW && old <= CL) return ANYWHERE;
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    const sequence = get32(bytes, l4 + TCP_SEQUENCE);
    const lastClass = columns[column + LAST_CLASS];
    const isAnswer = columns[column + LAST_DIRECTION] !== direction;
    const status = columns[column + STATUS]!;
    const peer = direction ^ 1;
    // Our SYN met an old incarnation of the peer, which challenged it (RFC 9293 §3.10.7.3): the RST puts an end to that one.
    if (old === SS && lastClass === ACK && isAnswer && sequence === words[word + LAST_ACK]) return ANYWHERE;
    if (lastClass !== SYN && (columns[column + FLAGS + peer]! & MAX_ACK_SET) !== 0) {
      const established = old === ES && (status & ASSURED) !== 0;
      // Answers a SYN that passed although we did not understand it.
      if (sequence === 0 && !established) return CL;
      const expected = words[word + peer * SENDER_WORDS + MAX_ACK]!;
      if (before(sequence, expected)) return IV;
      if (!established || sequence === expected) return CL;
      // Right behind data that is still under way to the receiver.
      if (lastClass === ACK && !isAnswer && sequence === words[word + LAST_END]) return CL;
      return old;
    }
    // Answers a segment that passed although it was not understood: then our window says nothing.
    const wasIgnored =
      ((status & REPLIED) !== 0 && lastClass === SYN && isAnswer) ||
      ((status & ASSURED) === 0 && lastClass === ACK);
    return wasIgnored && get32(bytes, l4 + TCP_ACKNOWLEDGMENT) === words[word + LAST_END] ? ANYWHERE : CL;
  }

  /** A FIN or RST outside the window changes nothing but what counts as seen last. */
  #rememberOutside(column: number, direction: number, kind: number): void {
    if (kind !== FIN && kind !== RST) return;
    const columns = this.#bytes;
    if ((columns[column + STATUS]! & ASSURED) === 0) return;
    const lastClass = columns[column + LAST_CLASS];
    if (columns[column + LAST_DIRECTION] !== direction && (lastClass === FIN || lastClass === RST)) return;
    columns[column + LAST_CLASS] = kind;
    columns[column + LAST_DIRECTION] = direction;
  }

  /** The rules I to IV, and what an accepted segment teaches. */
  #checkWindow(row: number, direction: 0 | 1, kind: number, packet: Packet): number {
    const { bytes, l4 } = packet;
    const words = this.#words;
    const columns = this.#bytes;
    const word = row * ROW_WORDS + TCP_SENDERS;
    const column = row * ROW_BYTES + TCP_BYTES;
    const sender = word + direction * SENDER_WORDS;
    const receiver = word + (direction ^ 1) * SENDER_WORDS;
    const senderFlags = column + FLAGS + direction;
    const receiverFlags = column + FLAGS + (direction ^ 1);
    const state = this.state[row];

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

    if (kind === ACK) this.#countRetransmission(word, column, direction, sequence, ack, end, rawWindow);
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

/** The shift count that a SYN offers, or -1. */
function windowScale(bytes: Uint8Array, l4: number): number {
  const option = findTcpOption(bytes, l4, TCP_OPT_WINDOW_SCALE);
  return option !== 0 && bytes[option + 1] === 3 ? Math.min(bytes[option + 2]!, MAX_SCALE) : -1;
}

function permitsSack(bytes: Uint8Array, l4: number): boolean {
  const option = findTcpOption(bytes, l4, TCP_OPT_SACK_PERMITTED);
  return option !== 0 && bytes[option + 1] === 2;
}

/** NOP, NOP, timestamps: what nearly every segment carries, and no SACK (RFC 7323 appendix A). */
const TIMESTAMPS_ONLY = 0x0101080a;
const TIMESTAMPS_LEN = 12;

/** The highest right edge in a SACK option (RFC 2018 §3), `ack` when there is none beyond it. */
function highestSack(bytes: Uint8Array, l4: number, payload: number, ack: number): number {
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
