/**
 * What a box in the middle can know about a TCP connection: in which of Linux's ten states it is, and whether a segment
 * lies in a window that the receiver has opened. A segment that neither side can have meant is INVALID, so that nobody
 * who merely guesses addresses and ports can reset, stall or prolong a connection (RFC 5961, RFC 7857 §2.2).
 *
 * The behaviour is that of Linux's connection tracking, found by asking the kernel: `fixtures/conntrack/` holds its answer for
 * every cell of the table in `tcp-state.ts` and for both sides of every bound in `tcp-window.ts`, and the script that asks.
 */
import { get16, get32 } from '../wire/bytes.ts';
import type { Packet } from '../wire/packet.ts';
import { TCP_ACKNOWLEDGMENT, TCP_FLAGS, TCP_SEQUENCE, TCP_WINDOW } from '../wire/tcp.ts';
import { ROW_BYTES, ROW_WORDS, TCP_BYTES, TCP_SENDERS } from './flow-row.ts';
import {
  ASSURED,
  CHALLENGE_EXPECTED,
  CLOSED_FIRST,
  END,
  FLAGS,
  LAST_ACK,
  LAST_CLASS,
  LAST_DIRECTION,
  LAST_END,
  LAST_FLAGS,
  LAST_SCALE,
  LAST_SEQUENCE,
  LAST_WINDOW,
  LIBERAL,
  MAX_ACK,
  MAX_ACK_SET,
  MAX_END,
  MAX_WINDOW,
  REFUSED,
  REPLIED,
  RETRANSMISSIONS,
  SACK_PERMITTED,
  SCALE,
  SCALE_OFFERED,
  SENDER_WORDS,
  SIMULTANEOUS_OPEN,
  STATUS,
  UNACKNOWLEDGED,
} from './tcp-row.ts';
import { before, endOf, permitsSack, windowScale } from './tcp-segment.ts';
import {
  ACK,
  areFlagsValid,
  CL,
  classOf,
  ES,
  FIN,
  FW,
  IG,
  IV,
  LA,
  nextState,
  RST,
  S2,
  SR,
  SS,
  SYN,
  SYN_ACK,
  TcpState,
  TW,
} from './tcp-state.ts';
import { LATE, MAX_RETRANSMISSIONS, OUTSIDE, TcpWindow } from './tcp-window.ts';
import type { Timeouts } from './timeouts.ts';

export { TCP_STATE_NAMES, TcpState } from './tcp-state.ts';

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

/** Of `#checkReset`: the connection is closed, wherever the window is. */
const ANYWHERE = 12;

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
  readonly #window: TcpWindow;
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
    this.#window = new TcpWindow(this.#words, this.#bytes);
    this.#loose = loose;
  }

  /**
   * Begins a row with the first packet of a connection, which names its original direction.
   * @returns false when this packet cannot begin one: then the row is as it was
   */
  open(row: number, packet: Packet): boolean {
    const { bytes, l4 } = packet;
    const flags = bytes[l4 + TCP_FLAGS]!;
    if (!areFlagsValid(flags)) return false;
    const isSyn = classOf(flags) === SYN;
    // RFC 5382 REQ-2 wants any valid sequence; a mid-stream ACK is one after a restart of this box.
    if (!isSyn && (classOf(flags) !== ACK || !this.#loose)) return false;

    this.state[row] = TcpState.NONE;
    this.#window.open(row, isSyn, packet);
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
    return this.#window.isOutstanding(row, direction, sequence);
  }

  #follow(row: number, direction: 0 | 1, packet: Packet): TcpVerdict {
    const { bytes, l4 } = packet;
    const flags = bytes[l4 + TCP_FLAGS]!;
    if (!areFlagsValid(flags)) return TcpVerdict.INVALID;
    const kind = classOf(flags);
    const old = this.state[row]!;
    let next = nextState(direction, kind, old);
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
      const answer = this.#window.check(row, direction, old, packet);
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
}
