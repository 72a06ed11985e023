import type { Frame } from '../../switch/frame.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_OPT_MSS,
  TCP_OPT_MSS_LEN,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_WINDOW_SCALE,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpFlags,
  tcpSequence,
  tcpWindow,
} from '../../wire/tcp.ts';
import type { HeldFrames } from './held-frames.ts';
import type { SendBatch } from './send-batch.ts';
import { FIRST_CWND, HIGHEST_CWND, IDLE, TcpAcknowledgments } from './tcp-acknowledgments.ts';
import {
  ACK_DUE,
  BACKOFF,
  before,
  CHALLENGES,
  CWND,
  FD,
  FIN_RECEIVED,
  FIN_SENT,
  FLAGS,
  HEAD,
  HELD_COUNT,
  IRS,
  LAST_ACK,
  MAX_WND,
  PEEK,
  PROBES,
  RCV_ADV,
  RCV_NXT,
  RCV_SHIFT,
  READABLE,
  RECOVER,
  ROW,
  SACK,
  SENDING,
  SND_MAX,
  SND_MSS,
  SND_NXT,
  SND_SHIFT,
  SND_UNA,
  SND_WL1,
  SND_WL2,
  SND_WND,
  SRTT,
  SSTHRESH,
  STATE,
  SYN_DUE,
  type TcpConnections,
  TcpState,
  TIMESTAMPS,
  TS_RECENT,
} from './tcp-connections.ts';
import type { TcpHost } from './tcp-host.ts';
import { findOption, findTimestamp } from './tcp-options.ts';
import { type TcpOutput, WINDOW_SHIFT } from './tcp-output.ts';

/** Without the option, the other end takes segments of this size (RFC 9293 §3.7.1). */
const DEFAULT_MSS = 536;
/** A smaller one would make more headers than data; Linux has the same floor (tcp_min_snd_mss). */
const LOWEST_MSS = 48;
/** Largest window scale (RFC 7323 §2.3). */
const HIGHEST_SHIFT = 14;
/** Bytes of a segment whose acknowledgment may wait: what asks for an answer is small, as a rule. */
const SMALL = 2048;
/** Challenge ACKs that a connection sends in a second (RFC 5961 §7). */
const CHALLENGES_PER_SECOND = 10;
/** Milliseconds after which a timestamp says nothing any more: its clock may have gone half around (RFC 7323 §5.5). */
const STAMP_LIFETIME = 24 * 86_400_000;

/** What is to become of a connection after a segment. */
export const Outcome = {
  /** It goes on, or waits in TIME-WAIT. */
  KEEP: 0,
  /** The inside has reset it. */
  RESET: 1,
  /** The host's socket has failed: the inside is to be reset. */
  BROKEN: 2,
  /** Both sides are done, and the inside was done last: nothing is left to wait for. */
  CLOSED: 3,
  /** The segment is of another connection that was never ours: RST for it, and nothing changes (RFC 9293 §3.10.7.4). */
  STRANGE: 4,
  /** A SYN that begins a new connection under the same addresses and ports. */
  REUSE: 5,
  /** Both sides are done; this waits for stragglers. */
  TIME_WAIT: 6,
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** The receiving side of our TCP: segments from the deck, in the order of RFC 9293 §3.10.7. */
export class TcpInput {
  /** Segments that were discarded because of their sequence or acknowledgment numbers. */
  unacceptable = 0;
  /** Challenge ACKs sent (RFC 5961). */
  challenges = 0;
  readonly #connections: TcpConnections;
  readonly #words: Int32Array;
  readonly #host: TcpHost;
  readonly #held: HeldFrames;
  readonly #output: TcpOutput;
  readonly #acknowledgments: TcpAcknowledgments;
  readonly #batch: SendBatch;
  /** Of the segment at hand: its timestamp and the one that it echoes; `#stamped` says whether it has any. */
  #stamped = false;
  #stamp = 0;

  constructor(
    connections: TcpConnections,
    host: TcpHost,
    held: HeldFrames,
    output: TcpOutput,
    batch: SendBatch,
  ) {
    this.#connections = connections;
    this.#words = connections.words;
    this.#host = host;
    this.#held = held;
    this.#output = output;
    this.#acknowledgments = new TcpAcknowledgments(connections, host, output);
    this.#batch = batch;
  }

  /** The inside's SYN, or SYN/ACK: what it offers. Ours is answered in kind. */
  synchronize(row: number, frame: Frame): void {
    const words = this.#words;
    const at = row * ROW;
    const { bytes, l4 } = frame;
    const sequence = tcpSequence(bytes, l4);
    words[at + IRS] = sequence;
    words[at + RCV_NXT] = (sequence + 1) | 0;
    words[at + RCV_ADV] = words[at + RCV_NXT];
    words[at + LAST_ACK] = words[at + RCV_NXT];
    words[at + SND_WL1] = sequence;
    words[at + SND_WND] = tcpWindow(bytes, l4);
    words[at + MAX_WND] = words[at + SND_WND];
    words[at + CWND] = FIRST_CWND;
    words[at + SSTHRESH] = HIGHEST_CWND;
    words[at + SRTT] = -1;
    // Of an earlier SYN: this one is another attempt.
    words[at + FLAGS]! &= ~(SACK | TIMESTAMPS);
    words[at + SND_SHIFT] = 0;
    words[at + RCV_SHIFT] = 0;
    const mss = findOption(bytes, l4, TCP_OPT_MSS, TCP_OPT_MSS_LEN);
    const scale = findOption(bytes, l4, TCP_OPT_WINDOW_SCALE, 3);
    if (scale >= 0) {
      words[at + SND_SHIFT] = Math.min(HIGHEST_SHIFT, bytes[scale + 2]!);
      words[at + RCV_SHIFT] = WINDOW_SHIFT;
    }
    if (findOption(bytes, l4, TCP_OPT_SACK_PERMITTED, 2) >= 0) words[at + FLAGS]! |= SACK;
    const stamp = findTimestamp(bytes, l4);
    if (stamp >= 0) {
      words[at + FLAGS]! |= TIMESTAMPS;
      words[at + TS_RECENT] = get32(bytes, stamp);
    }
    words[at + SND_MSS] = Math.max(LOWEST_MSS, mss < 0 ? DEFAULT_MSS : get16(bytes, mss + 2));
  }

  /** A segment for a connection in SYN_SENT: the inside answers our SYN (RFC 9293 §3.10.7.3). */
  answer(row: number, frame: Frame, now: number): Outcome {
    const words = this.#words;
    const at = row * ROW;
    const { bytes, l4 } = frame;
    const flags = tcpFlags(bytes, l4);
    const acknowledges = (flags & TCP_ACK) !== 0;
    if (acknowledges && tcpAcknowledgment(bytes, l4) !== words[at + SND_NXT]) {
      return (flags & TCP_RST) !== 0 ? Outcome.KEEP : Outcome.STRANGE;
    }
    if ((flags & TCP_RST) !== 0) return acknowledges ? Outcome.RESET : Outcome.KEEP;
    if ((flags & TCP_SYN) === 0) return Outcome.KEEP;
    const offered = (words[at + RCV_ADV] - words[at + RCV_NXT]) | 0;
    this.synchronize(row, frame);
    words[at + RCV_ADV] = (words[at + RCV_NXT] + offered) | 0;
    const initial = words[at + SND_UNA];
    if (!acknowledges) {
      // Both sides have begun at once: SYN crosses SYN (RFC 9293 §3.5).
      words[at + STATE] = TcpState.SYN_RECV;
      this.#output.wake(row, SYN_DUE);
      return Outcome.KEEP;
    }
    this.#establish(at, initial, now, row);
    this.#output.wake(row, ACK_DUE);
    return Outcome.KEEP;
  }

  /** Whether a segment may be handled while what came before it is still in the batch: an acknowledgment, and the end in its place. */
  mayFollow(row: number, frame: Frame): boolean {
    const words = this.#words;
    const at = row * ROW;
    if (words[at + STATE] !== TcpState.ESTABLISHED || frame.end !== frame.payload) return false;
    const flags = tcpFlags(frame.bytes, frame.l4);
    if ((flags & (TCP_SYN | TCP_RST)) !== 0) return false;
    return (flags & TCP_FIN) === 0 || tcpSequence(frame.bytes, frame.l4) === words[at + RCV_NXT];
  }

  /** A segment for a connection that is synchronized, from SYN_RECV on (RFC 9293 §3.10.7.4). */
  segment(row: number, frame: Frame, now: number): Outcome {
    const words = this.#words;
    const at = row * ROW;
    const { bytes, l4 } = frame;
    const flags = tcpFlags(bytes, l4);
    const sequence = tcpSequence(bytes, l4);
    const payload = frame.end - frame.payload;
    const fin = (flags & TCP_FIN) !== 0 ? 1 : 0;
    const end = (sequence + payload + fin) | 0;
    const next = words[at + RCV_NXT];
    const lastAck = words[at + LAST_ACK];
    const state = words[at + STATE];

    const opens = (flags & (TCP_SYN | TCP_RST)) === TCP_SYN;
    if (state === TcpState.SYN_RECV && opens && ((sequence + 1) | 0) === next) {
      // A SYN again means that our SYN/ACK was lost; one that acknowledges is the second of an opening from both sides.
      if ((flags & TCP_ACK) === 0 || tcpAcknowledgment(bytes, l4) !== words[at + SND_NXT]) {
        this.#output.wake(row, SYN_DUE);
        return Outcome.KEEP;
      }
      this.#establish(at, words[at + SND_UNA], now, row);
      this.#output.wake(row, ACK_DUE);
      return Outcome.KEEP;
    }
    this.#stamped = false;
    if ((words[at + FLAGS]! & TIMESTAMPS) !== 0) {
      const option = findTimestamp(bytes, l4);
      this.#stamped = option >= 0;
      if (option >= 0) this.#stamp = get32(bytes, option);
    }
    if (state === TcpState.TIME_WAIT && (flags & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN) {
      // A new connection from the same port. RFC 9293 §3.6.1 asks for a later number, so that it is no straggler; here
      // none can be but this connection's own SYN. Ports come back fast, and Linux's numbers and timestamps are random.
      if (sequence !== words[at + IRS]) return Outcome.REUSE;
    }
    // RFC 7323 §5.2: an old timestamp is of an old segment, unless it is a RST.
    if (
      this.#stamped &&
      (flags & TCP_RST) === 0 &&
      before(this.#stamp, words[at + TS_RECENT]) &&
      now - this.#connections.heard[row] < STAMP_LIFETIME
    ) {
      this.#refuse(row, payload > 0 || fin !== 0, now);
      return Outcome.KEEP;
    }
    // First, the sequence number. Not before what we have acknowledged last, not behind what we have offered.
    if (before(end, lastAck) || before(words[at + RCV_ADV], sequence)) {
      if ((flags & TCP_RST) === 0) {
        if (payload === 0 || payload === 1) this.#keepAlive(row, sequence, now);
        this.#refuse(row, payload > 0 || fin !== 0, now);
      } else this.unacceptable++;
      return Outcome.KEEP;
    }

    // Second, RST: at the very number, or it may be somebody's guess (RFC 5961 §3.2).
    if ((flags & TCP_RST) !== 0) {
      if (sequence === next) return Outcome.RESET;
      this.#challenge(row, now);
      return Outcome.KEEP;
    }
    // Fourth, SYN (RFC 5961 §4.2).
    if ((flags & TCP_SYN) !== 0) {
      this.#challenge(row, now);
      return Outcome.KEEP;
    }
    // Fifth, ACK.
    if ((flags & TCP_ACK) === 0) return Outcome.KEEP;
    const acknowledgment = tcpAcknowledgment(bytes, l4);
    if (state === TcpState.SYN_RECV) {
      if (acknowledgment !== words[at + SND_NXT]) return Outcome.STRANGE;
      this.#establish(at, words[at + SND_UNA], now, row);
      words[at + SND_WND] = tcpWindow(bytes, l4) << words[at + SND_SHIFT];
      words[at + MAX_WND] = words[at + SND_WND];
      words[at + SND_WL1] = sequence;
      words[at + SND_WL2] = acknowledgment;
      this.#output.wake(row, READABLE);
    } else {
      // RFC 5961 §5.2: neither of what we have not sent, nor older than any window.
      const una = words[at + SND_UNA];
      if (
        before(words[at + SND_MAX], acknowledgment) ||
        before(acknowledgment, (una - words[at + MAX_WND]) | 0)
      ) {
        this.unacceptable++;
        this.#challenge(row, now);
        return Outcome.KEEP;
      }
      this.#acknowledgments.take(row, frame, acknowledgment, sequence, payload + fin, now);
    }
    // RFC 7323 §4.3. Of what is accepted alone: a guess with a late timestamp would have all that is true count as old.
    if (this.#stamped && !before(lastAck, sequence)) words[at + TS_RECENT] = this.#stamp;
    this.#connections.heard[row] = now;
    words[at + PROBES] = 0;

    // Seventh, the data, and eighth, the FIN.
    if (payload + fin > 0) {
      if ((words[at + FLAGS] & FIN_RECEIVED) !== 0) this.#output.wake(row, ACK_DUE);
      else if (!this.#receive(row, frame, sequence, end, now)) return Outcome.BROKEN;
    }
    return this.#settle(row);
  }

  /** The socket has room again: what was held for it goes on. False when the socket is broken. */
  resume(row: number): boolean {
    const words = this.#words;
    const at = row * ROW;
    if ((words[at + FLAGS] & FIN_RECEIVED) !== 0) return true;
    const edge = words[at + RCV_ADV];
    if (words[at + HELD_COUNT] > 0 && !this.#drain(row)) return false;
    const room = this.#host.room(row);
    // The inside may be waiting for as much as a whole segment, and nothing else will tell it of the room.
    const offered = (edge - words[at + RCV_NXT]) | 0;
    if (room - offered >= this.#output.windowStep(at)) this.#output.wake(row, ACK_DUE);
    return true;
  }

  /** What becomes of the connection now that both halves may be done. */
  #settle(row: number): Outcome {
    const words = this.#words;
    const at = row * ROW;
    const flags = words[at + FLAGS];
    const acknowledged = (flags & FIN_SENT) !== 0 && words[at + SND_UNA] === words[at + SND_MAX];
    switch (words[at + STATE]) {
      case TcpState.FIN_WAIT_1:
        if ((flags & FIN_RECEIVED) !== 0) {
          words[at + STATE] = acknowledged ? TcpState.TIME_WAIT : TcpState.CLOSING;
          if (acknowledged) return Outcome.TIME_WAIT;
        } else if (acknowledged) words[at + STATE] = TcpState.FIN_WAIT_2;
        break;
      case TcpState.FIN_WAIT_2:
        if ((flags & FIN_RECEIVED) !== 0) {
          words[at + STATE] = TcpState.TIME_WAIT;
          return Outcome.TIME_WAIT;
        }
        break;
      case TcpState.CLOSING:
        if (acknowledged) {
          words[at + STATE] = TcpState.TIME_WAIT;
          return Outcome.TIME_WAIT;
        }
        break;
      case TcpState.LAST_ACK:
        if (acknowledged) return Outcome.CLOSED;
        break;
      case TcpState.ESTABLISHED:
        if ((flags & FIN_RECEIVED) !== 0) words[at + STATE] = TcpState.CLOSE_WAIT;
        break;
    }
    return Outcome.KEEP;
  }

  #establish(at: number, initial: number, now: number, row: number): void {
    const words = this.#words;
    const first = (initial + 1) | 0;
    words[at + STATE] = TcpState.ESTABLISHED;
    words[at + SND_UNA] = first;
    words[at + SND_NXT] = first;
    words[at + SND_MAX] = first;
    words[at + HEAD] = first;
    words[at + PEEK] = first;
    words[at + RECOVER] = first;
    words[at + SND_WL2] = first;
    this.#acknowledgments.measure(row, first, now);
    words[at + BACKOFF] = 0;
    this.#connections.heard[row] = now;
    this.#connections.arm(row, now + IDLE, now);
    words[at + FLAGS] |= READABLE;
  }

  /** Data or FIN within the window. False when the socket is broken. */
  #receive(row: number, frame: Frame, sequence: number, end: number, now: number): boolean {
    const words = this.#words;
    const at = row * ROW;
    const next = words[at + RCV_NXT];
    if (!before(next, end)) {
      // All of it is known: our acknowledgment was lost.
      this.#output.wake(row, ACK_DUE);
      return true;
    }
    const first = this.#held.first(at);
    const isBlocked = first !== null && !before(next, tcpSequence(first.bytes, first.l4));
    if (before(next, sequence) || isBlocked) {
      // What was not offered is not kept.
      if (!before(words[at + RCV_ADV], end)) this.#held.hold(at, frame, isBlocked);
      this.#output.wake(row, ACK_DUE);
      return this.#drain(row);
    }
    const flags = tcpFlags(frame.bytes, frame.l4);
    const length = frame.end - frame.payload;
    if (first === null && length < SMALL && (flags & TCP_FIN) === 0) {
      const skip = (next - sequence) | 0;
      if (this.#batch.add(row, frame, frame.payload + skip, length - skip)) {
        this.#stretch(at);
        this.#output.acknowledge(row, now);
        return true;
      }
    }
    const left = this.#deliver(row, frame, sequence);
    if (left < 0) return false;
    if (left > 0) {
      // The kernel has taken less than it said it would.
      this.#held.hold(at, frame, true);
      this.#host.arm(row);
    }
    if (first !== null) {
      // The hole is filled. What fills it needs no place among those that wait: others may have them all.
      this.#output.wake(row, ACK_DUE);
      if ((words[at + FLAGS]! & FIN_RECEIVED) !== 0) this.#held.clear(at);
      return this.#drain(row);
    }
    // Whoever has sent his last is mostly answered by the last of the other end.
    const isLast = (flags & TCP_FIN) !== 0 && (words[at + FLAGS] & FIN_SENT) !== 0;
    if (length < SMALL && !isLast && left === 0) this.#output.acknowledge(row, now);
    else this.#output.wake(row, ACK_DUE);
    return true;
  }

  /** Sends on what is held, as far as it is next. False when the socket is broken. */
  #drain(row: number): boolean {
    const words = this.#words;
    const at = row * ROW;
    for (;;) {
      const frame = this.#held.first(at);
      if (frame === null) return true;
      const sequence = tcpSequence(frame.bytes, frame.l4);
      if (before(words[at + RCV_NXT], sequence)) return true;
      const left = this.#deliver(row, frame, sequence);
      if (left < 0) return false;
      if (left > 0) {
        this.#host.arm(row);
        return true;
      }
      this.#held.shift(at);
      if ((words[at + FLAGS] & FIN_RECEIVED) !== 0) {
        this.#held.clear(at);
        return true;
      }
      this.#output.wake(row, ACK_DUE);
    }
  }

  /** Gives the socket what is new in a segment that begins at or before RCV_NXT: 0, what is left over, or -1. */
  #deliver(row: number, frame: Frame, sequence: number): number {
    const words = this.#words;
    const at = row * ROW;
    const skip = (words[at + RCV_NXT] - sequence) | 0;
    const length = frame.end - frame.payload - skip;
    if (length > 0) {
      const taken = this.#host.push(row, frame.payload + skip, length);
      if (taken < 0) return -1;
      words[at + RCV_NXT] = (words[at + RCV_NXT] + taken) | 0;
      this.#stretch(at);
      if (taken < length) return length - taken;
    }
    if ((tcpFlags(frame.bytes, frame.l4) & TCP_FIN) !== 0 && length >= 0) {
      words[at + RCV_NXT] = (words[at + RCV_NXT] + 1) | 0;
      this.#stretch(at);
      words[at + FLAGS] |= FIN_RECEIVED;
      if (words[at + FD]! >= 0 && (words[at + FLAGS]! & SENDING) === 0) this.#host.finish(row);
    }
    return 0;
  }

  /** What was taken was offered, also from an inside that had sent more. */
  #stretch(at: number): void {
    const words = this.#words;
    if (before(words[at + RCV_ADV]!, words[at + RCV_NXT]!)) words[at + RCV_ADV] = words[at + RCV_NXT]!;
  }

  /** An acknowledgment for a segment that is out of bounds: always when it has data, seldom otherwise. */
  #refuse(row: number, data: boolean, now: number): void {
    this.unacceptable++;
    if (data) this.#output.wake(row, ACK_DUE);
    else this.#challenge(row, now);
  }

  /** RFC 5961 §3.2: an acknowledgment with the right numbers, from which a true peer learns what to do. */
  #challenge(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    // Second and number in one word.
    const second = (now / 1000) & 0xffffff;
    let spent = words[at + CHALLENGES];
    if (spent >>> 8 !== second) spent = second << 8;
    if ((spent & 0xff) >= CHALLENGES_PER_SECOND) return;
    words[at + CHALLENGES] = spent + 1;
    this.challenges++;
    this.#output.wake(row, ACK_DUE);
  }

  /** The inside asks whether the other end is still there (RFC 9293 §3.8.4): the host's kernel will, as often. */
  #keepAlive(row: number, sequence: number, now: number): void {
    const words = this.#words;
    if (((sequence + 1) | 0) !== words[row * ROW + RCV_NXT]) return;
    const idle = Math.round((now - this.#connections.heard[row]) / 1000);
    if (idle >= 1) this.#host.keepAlive(row, Math.min(idle, 7200));
    this.#connections.heard[row] = now;
  }
}
