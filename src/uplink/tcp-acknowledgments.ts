import type { Frame } from '../../switch/frame.ts';
import { get32 } from '../../wire/bytes.ts';
import { TCP_OPT_SACK, tcpWindow } from '../../wire/tcp.ts';
import {
  BACKOFF,
  before,
  CWND,
  DELIVERED,
  DUPACKS,
  FIN_SENT,
  FLAGS,
  HEAD,
  IN_RECOVERY,
  MAX_WND,
  RECOVER,
  RESENT_AT,
  RETRANSMIT,
  ROOMY,
  ROW,
  RTT_SEQ,
  RTTVAR,
  SACK_EDGE,
  SACK_TOP,
  SACKED,
  SND_MAX,
  SND_NXT,
  SND_SHIFT,
  SND_UNA,
  SND_WL1,
  SND_WL2,
  SND_WND,
  SRTT,
  SSTHRESH,
  TAIL_SENT,
  type TcpConnections,
  TIMING,
  UNTAKEN,
} from './tcp-connections.ts';
import type { TcpHost } from './tcp-host.ts';
import { findOption } from './tcp-options.ts';
import type { TcpOutput } from './tcp-output.ts';

/** Bytes under way at first. It is a link inside one machine that we send over, and it is given what a short burst holds. */
export const FIRST_CWND = 512 * 1024;
export const HIGHEST_CWND = 16 * 1024 * 1024;
/** What one more frame adds when congestion is being avoided. */
const CWND_STEP = 64 * 1024;
/** Acknowledged bytes that may lie in the socket's queue before they are taken out. */
const DISCARD = 128 * 1024;
/** The same of a connection on which all is acknowledged, and how often that may be the case before they are. */
const DISCARD_IDLE = 4 * 1024;
const UNTAKEN_MOST = 4;
/** Milliseconds after which also a few small ones are taken: the kernel counts the whole segment that they are the end of. */
const REST = 20;
/** Bytes after which a connection is one that moves data, and is given room in the socket for it. */
const STEADY = 512 * 1024;
const DUPLICATES = 3;
/** A link inside one machine is not congested for long. */
export const LOWEST_SSTHRESH = 512 * 1024;
/** Milliseconds after which an inside that says nothing is asked whether it is still there (RFC 1122 §4.2.3.6). */
export const IDLE = 7_200_000;

/**
 * What the inside's acknowledgments say: the window, what may be forgotten and what is missing (RFC 5681, RFC 6582, RFC 6675),
 * and how long the way there and back takes (RFC 6298).
 */
export class TcpAcknowledgments {
  readonly #connections: TcpConnections;
  readonly #words: Int32Array;
  readonly #host: TcpHost;
  readonly #output: TcpOutput;

  constructor(connections: TcpConnections, host: TcpHost, output: TcpOutput) {
    this.#connections = connections;
    this.#words = connections.words;
    this.#host = host;
    this.#output = output;
  }

  /** What a segment acknowledges, and the window that it offers. */
  take(
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
    this.measure(row, acknowledgment, now);
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
    const isTaken = isIdle || length >= DISCARD;
    if (isTaken) {
      // What comes behind a long one may be its end, which keeps all of its memory, and the window shut, until it is taken.
      words[at + UNTAKEN] = length >= DISCARD_IDLE ? UNTAKEN_MOST - 1 : 0;
      this.#host.discard(row, read);
    }
    const idle = isTaken ? IDLE : REST;
    this.#connections.arm(row, now + (done ? idle : this.#connections.timeout(row)), now);
    if (!done) this.#output.watch(row, now);
    this.#output.wake(row, this.#host.again);
  }

  /** RFC 6298 §2, of one segment at a time. */
  measure(row: number, acknowledgment: number, now: number): void {
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
    words[at + FLAGS]! &= ~SACKED;
    const option = findOption(bytes, l4, TCP_OPT_SACK, 0);
    if (option < 0) return;
    words[at + SACK_TOP] = words[at + SND_UNA]!;
    const end = option + bytes[option + 1]!;
    for (let block = option + 2; block + 8 <= end; block += 8) {
      const left = get32(bytes, block);
      const right = get32(bytes, block + 4);
      if (!before(words[at + SND_UNA]!, left) || before(words[at + SND_MAX]!, right)) continue;
      if (before(words[at + SACK_TOP]!, right)) words[at + SACK_TOP] = right;
      if ((words[at + FLAGS]! & SACKED) !== 0 && !before(left, words[at + SACK_EDGE]!)) continue;
      words[at + FLAGS]! |= SACKED;
      words[at + SACK_EDGE] = left;
    }
  }
}
