import type { Frame } from '../../switch/frame.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_LEN,
  TCP_OPT_END,
  TCP_OPT_MSS,
  TCP_OPT_MSS_LEN,
  TCP_OPT_NOP,
  TCP_OPT_SACK,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_TIMESTAMPS,
  TCP_OPT_WINDOW_SCALE,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpFlags,
  tcpHeaderLength,
  tcpSequence,
  tcpWindow,
} from '../../wire/tcp.ts';
import type { HeldFrames } from './held-frames.ts';
import type { SendBatch } from './send-batch.ts';
import {
  ACK_DUE,
  BACKOFF,
  before,
  CHALLENGES,
  CWND,
  DELIVERED,
  DUPACKS,
  FD,
  FIN_RECEIVED,
  FIN_SENT,
  FLAGS,
  HEAD,
  HELD_COUNT,
  IN_RECOVERY,
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
  RESENT_AT,
  RETRANSMIT,
  ROOMY,
  ROW,
  RTT_SEQ,
  RTTVAR,
  SACK,
  SACK_EDGE,
  SACK_TOP,
  SACKED,
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
  TAIL_SENT,
  type TcpConnections,
  TcpState,
  TIMESTAMPS,
  TIMING,
  TS_RECENT,
  UNTAKEN,
} from './tcp-connections.ts';
import type { TcpHost } from './tcp-host.ts';
import { type TcpOutput, WINDOW_SHIFT } from './tcp-output.ts';

/** Without the option, the other end takes segments of this size (RFC 9293 §3.7.1). */
const DEFAULT_MSS = 536;
/** A smaller one would make more headers than data; Linux has the same floor (tcp_min_snd_mss). */
const LOWEST_MSS = 48;
/** Largest window scale (RFC 7323 §2.3). */
const HIGHEST_SHIFT = 14;
/** Bytes under way at first. It is a link inside one machine that we send over, and it is given what a short burst holds. */
const FIRST_CWND = 512 * 1024;
const HIGHEST_CWND = 16 * 1024 * 1024;
/** What one more frame adds when congestion is being avoided. */
const CWND_STEP = 64 * 1024;
/** Acknowledged bytes that may lie in the socket's queue before they are taken out. */
const DISCARD = 128 * 1024;
/** The same of a connection on which all is acknowledged, and how often that may be the case before they are. */
const DISCARD_IDLE = 4 * 1024;
const UNTAKEN_MOST = 4;
/** Bytes after which a connection is one that moves data, and is given room in the socket for it. */
const STEADY = 512 * 1024;
/** Bytes of a segment whose acknowledgment may wait: what asks for an answer is small, as a rule. */
const SMALL = 2048;
/** Bytes of room of which the inside is told by a segment of their own (RFC 9293 §3.8.6.2.2). */
const WORTH_TELLING = 4096;
/** Challenge ACKs that a connection sends in a second (RFC 5961 §7). */
const CHALLENGES_PER_SECOND = 10;
const DUPLICATES = 3;
/** A link inside one machine is not congested for long. */
export const LOWEST_SSTHRESH = 512 * 1024;
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
    let mss = DEFAULT_MSS;
    const end = l4 + tcpHeaderLength(bytes, l4);
    for (let option = l4 + TCP_LEN; option < end; ) {
      const type = bytes[option];
      if (type === TCP_OPT_END) break;
      if (type === TCP_OPT_NOP) {
        option++;
        continue;
      }
      const length = option + 1 < end ? bytes[option + 1]! : 0;
      if (length < 2 || option + length > end) break;
      if (type === TCP_OPT_MSS && length === TCP_OPT_MSS_LEN) mss = get16(bytes, option + 2);
      else if (type === TCP_OPT_WINDOW_SCALE && length === 3) {
        words[at + SND_SHIFT] = Math.min(HIGHEST_SHIFT, bytes[option + 2]!);
        words[at + RCV_SHIFT] = WINDOW_SHIFT;
      } else if (type === TCP_OPT_SACK_PERMITTED && length === 2) words[at + FLAGS] |= SACK;
      else if (type === TCP_OPT_TIMESTAMPS && length === 10) {
        words[at + FLAGS] |= TIMESTAMPS;
        words[at + TS_RECENT] = get32(bytes, option + 2);
      }
      option += length;
    }
    words[at + SND_MSS] = Math.max(LOWEST_MSS, mss);
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
    const state = words[at + STATE];

    if (state === TcpState.SYN_RECV && (flags & TCP_SYN) !== 0 && ((sequence + 1) | 0) === next) {
      // A SYN again means that our SYN/ACK was lost; one that acknowledges is the second of an opening from both sides.
      if ((flags & TCP_ACK) === 0 || tcpAcknowledgment(bytes, l4) !== words[at + SND_NXT]) {
        if ((flags & TCP_RST) === 0) this.#output.wake(row, SYN_DUE);
        return Outcome.KEEP;
      }
      this.#establish(at, words[at + SND_UNA], now, row);
      this.#output.wake(row, ACK_DUE);
      return Outcome.KEEP;
    }
    this.#stamped = false;
    if ((words[at + FLAGS] & TIMESTAMPS) !== 0) this.#readStamp(bytes, l4);
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
    if (before(end, words[at + LAST_ACK]) || before(words[at + RCV_ADV], sequence)) {
      if ((flags & TCP_RST) === 0) {
        if (payload === 0 || payload === 1) this.#keepAlive(row, sequence, now);
        this.#refuse(row, payload > 0 || fin !== 0, now);
      } else this.unacceptable++;
      return Outcome.KEEP;
    }
    if (this.#stamped && !before(words[at + LAST_ACK], sequence)) words[at + TS_RECENT] = this.#stamp;

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
      this.#acknowledge(row, frame, acknowledgment, sequence, payload + fin, now);
    }
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
    if (room - offered >= WORTH_TELLING) this.#output.wake(row, ACK_DUE);
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
    this.#measure(row, first, now);
    words[at + BACKOFF] = 0;
    this.#connections.heard[row] = now;
    this.#connections.arm(row, now + IDLE, now);
    words[at + FLAGS] |= READABLE;
  }

  /** What a segment acknowledges, and the window that it offers. */
  #acknowledge(
    row: number,
    frame: Frame,
    acknowledgment: number,
    sequence: number,
    length: number,
    now: number,
  ): void {
    const words = this.#words;
    const at = row * ROW;
    const una = words[at + SND_UNA];
    const window = tcpWindow(frame.bytes, frame.l4) << words[at + SND_SHIFT];
    const wasShut = words[at + SND_WND] === 0;
    let moved = false;
    // Only from a segment that is newer than the one from which the window is known (RFC 9293 §3.10.7.4).
    if (!before(acknowledgment, una)) {
      const wl1 = words[at + SND_WL1];
      if (before(wl1, sequence) || (wl1 === sequence && !before(acknowledgment, words[at + SND_WL2]))) {
        moved = window !== words[at + SND_WND];
        words[at + SND_WND] = window;
        words[at + SND_WL1] = sequence;
        words[at + SND_WL2] = acknowledgment;
        if (window > words[at + MAX_WND]) words[at + MAX_WND] = window;
      }
    }
    if (before(una, acknowledgment)) {
      this.#advance(row, frame, acknowledgment, now);
      return;
    }
    if (words[at + SND_MAX] === una) {
      // Nothing is under way; a window that has opened, or grown, lets more go.
      if (!moved) return;
      words[at + BACKOFF] = 0;
      this.#output.wake(row, 0);
      return;
    }
    if (wasShut && window > 0) {
      // What we have probed with was not taken: it and all else begins anew.
      words[at + BACKOFF] = 0;
      this.#output.rewind(row);
      this.#output.wake(row, 0);
      return;
    }
    if (moved) {
      if (window > 0) this.#output.wake(row, 0);
      return;
    }
    // RFC 5681 §2: a duplicate acknowledgment has no data and the same window.
    if (acknowledgment !== una || length > 0 || window === 0) return;
    this.#noteSack(frame, at);
    if ((words[at + FLAGS] & IN_RECOVERY) !== 0) {
      // A further frame has left the network (RFC 5681 §3.2 step 4).
      words[at + CWND] = Math.min(HIGHEST_CWND, words[at + CWND] + CWND_STEP);
      // What was sent after it has arrived: what was sent again is lost again.
      const again = (words[at + FLAGS] & SACKED) !== 0 && before(words[at + RESENT_AT], words[at + SACK_TOP]);
      this.#output.wake(row, again ? RETRANSMIT : 0);
      return;
    }
    // With few frames under way there cannot be three behind the one that is missing (RFC 5827).
    const flying = (words[at + SND_MAX] - una) | 0;
    const behind = Math.ceil(flying / CWND_STEP) - 1;
    // One acknowledgment may stand for several that a receiver has put together, so that bytes count as well (RFC 6675 §4).
    const beyond =
      (words[at + FLAGS]! & SACKED) !== 0 ? (words[at + SACK_TOP]! - words[at + SACK_EDGE]!) | 0 : 0;
    const enough = Math.min(DUPLICATES, Math.max(1, behind));
    if (++words[at + DUPACKS]! < enough && beyond <= CWND_STEP) return;
    words[at + SSTHRESH] = Math.max(flying >> 1, LOWEST_SSTHRESH);
    words[at + CWND] = words[at + SSTHRESH] + DUPLICATES * CWND_STEP;
    words[at + RECOVER] = words[at + SND_MAX];
    words[at + FLAGS] |= IN_RECOVERY;
    this.#output.wake(row, RETRANSMIT);
  }

  /** New data is acknowledged. */
  #advance(row: number, frame: Frame, acknowledgment: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    const acknowledged = (acknowledgment - words[at + SND_UNA]) | 0;
    words[at + SND_UNA] = acknowledgment;
    // After a timeout the inside may have more than we have sent again.
    if (before(words[at + SND_NXT], acknowledgment)) words[at + SND_NXT] = acknowledgment;
    words[at + DUPACKS] = 0;
    words[at + BACKOFF] = 0;
    this.#measure(row, acknowledgment, now);
    words[at + FLAGS]! &= ~TAIL_SENT;
    if ((words[at + FLAGS] & IN_RECOVERY) !== 0) {
      if (before(acknowledgment, words[at + RECOVER])) {
        // A hole was filled, and the next begins here (RFC 6582 §3.2).
        this.#noteSack(frame, at);
        this.#output.wake(row, RETRANSMIT);
      } else {
        words[at + FLAGS] &= ~(IN_RECOVERY | RETRANSMIT | SACKED);
        words[at + CWND] = words[at + SSTHRESH];
      }
    } else {
      const cwnd = words[at + CWND];
      const grown = cwnd < words[at + SSTHRESH] ? acknowledged : ((CWND_STEP * acknowledged) / cwnd) | 0;
      words[at + CWND] = Math.min(HIGHEST_CWND, cwnd + grown);
    }
    if ((words[at + FLAGS]! & ROOMY) === 0) {
      words[at + DELIVERED]! += acknowledged;
      if (words[at + DELIVERED]! > STEADY) {
        // Asked again after as much when there is no room for it now.
        words[at + DELIVERED] = 0;
        if (this.#host.enlarge(row)) words[at + FLAGS]! |= ROOMY;
      }
    }
    const done = acknowledgment === words[at + SND_MAX];
    const fin = done && (words[at + FLAGS] & FIN_SENT) !== 0 ? 1 : 0;
    const read = (acknowledgment - fin) | 0;
    const length = (read - words[at + HEAD]) | 0;
    // A few small ones may stay, and go together with those behind them. With the end there are none behind.
    const isIdle = done && (fin !== 0 || length >= DISCARD_IDLE || ++words[at + UNTAKEN]! >= UNTAKEN_MOST);
    if (isIdle || length >= DISCARD) {
      words[at + UNTAKEN] = 0;
      this.#host.discard(row, read);
    }
    this.#connections.arm(row, now + (done ? IDLE : this.#output.timeout(row)), now);
    if (!done) this.#output.watch(row, now);
    this.#output.wake(row, this.#host.again);
  }

  /** RFC 6298 §2, of one segment at a time. */
  #measure(row: number, acknowledgment: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    if ((words[at + FLAGS] & TIMING) === 0 || before(acknowledgment, words[at + RTT_SEQ])) return;
    words[at + FLAGS] &= ~TIMING;
    const sample = Math.min(60_000, Math.round(now - this.#connections.timedAt[row]));
    if (words[at + SRTT] < 0) {
      words[at + SRTT] = sample << 3;
      words[at + RTTVAR] = sample << 1;
      return;
    }
    const error = sample - (words[at + SRTT] >> 3);
    words[at + SRTT] += error;
    words[at + RTTVAR] += Math.abs(error) - (words[at + RTTVAR] >> 2);
  }

  /** Where the first block begins that the inside has beyond the hole. */
  #noteSack(frame: Frame, at: number): void {
    const words = this.#words;
    const { bytes, l4 } = frame;
    words[at + FLAGS] &= ~SACKED;
    const end = l4 + tcpHeaderLength(bytes, l4);
    for (let option = l4 + TCP_LEN; option < end; ) {
      const type = bytes[option];
      if (type === TCP_OPT_END) return;
      if (type === TCP_OPT_NOP) {
        option++;
        continue;
      }
      const length = option + 1 < end ? bytes[option + 1]! : 0;
      if (length < 2 || option + length > end) return;
      if (type === TCP_OPT_SACK) {
        words[at + SACK_TOP] = words[at + SND_UNA];
        for (let block = option + 2; block + 8 <= option + length; block += 8) {
          const left = get32(bytes, block);
          const right = get32(bytes, block + 4);
          if (!before(words[at + SND_UNA], left) || before(words[at + SND_MAX], right)) continue;
          if (before(words[at + SACK_TOP], right)) words[at + SACK_TOP] = right;
          if ((words[at + FLAGS] & SACKED) !== 0 && !before(left, words[at + SACK_EDGE])) continue;
          words[at + FLAGS] |= SACKED;
          words[at + SACK_EDGE] = left;
        }
        return;
      }
      option += length;
    }
  }

  #readStamp(bytes: Uint8Array, l4: number): void {
    // NOP, NOP, kind 8, length 10: how everybody writes it (RFC 7323 appendix A).
    if (tcpHeaderLength(bytes, l4) >= TCP_LEN + 12 && get32(bytes, l4 + TCP_LEN) === 0x0101080a) {
      this.#stamped = true;
      this.#stamp = get32(bytes, l4 + TCP_LEN + 4);
      return;
    }
    const end = l4 + tcpHeaderLength(bytes, l4);
    for (let option = l4 + TCP_LEN; option < end; ) {
      const type = bytes[option];
      if (type === TCP_OPT_END) return;
      if (type === TCP_OPT_NOP) {
        option++;
        continue;
      }
      const length = option + 1 < end ? bytes[option + 1]! : 0;
      if (length < 2 || option + length > end) return;
      if (type === TCP_OPT_TIMESTAMPS && length === 10) {
        this.#stamped = true;
        this.#stamp = get32(bytes, option + 2);
        return;
      }
      option += length;
    }
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
    if (spent >> 8 !== second) spent = second << 8;
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

/** Milliseconds after which an inside that says nothing is asked whether it is still there (RFC 1122 §4.2.3.6). */
export const IDLE = 7_200_000;
