import type { Arena, Frame } from '../../switch/frame.ts';
import { IPV4_LEN } from '../../wire/ipv4.ts';
import { IPV6_LEN } from '../../wire/ipv6.ts';
import { TCP_ACK, TCP_FIN, TCP_LEN, TCP_PSH, TCP_SYN } from '../../wire/tcp.ts';
import type { HeldFrames } from './held-frames.ts';
import { RowQueue } from './row-queue.ts';
import { TailQueue } from './tail-queue.ts';
import {
  ACK_DUE,
  ACK_LATER,
  ACK_QUEUED,
  BACKOFF,
  before,
  CWND,
  END_READ,
  FIN_RECEIVED,
  FIN_SENT,
  FLAGS,
  HANGUP,
  HEAD,
  HELD_COUNT,
  IN_RECOVERY,
  IS_IPV6,
  KEEPALIVE_DUE,
  LAST_ACK,
  MAX_WND,
  PEEK,
  PROBE,
  QUEUE_LIMIT,
  QUEUED,
  RCV_ADV,
  RCV_NXT,
  RCV_SHIFT,
  READABLE,
  RECOVER,
  RESENT_AT,
  RETRANSMIT,
  ROW,
  RTT_SEQ,
  SACK,
  SACK_EDGE,
  SACKED,
  SND_MAX,
  SND_MSS,
  SND_NXT,
  SND_UNA,
  SND_WND,
  STATE,
  SYN_DUE,
  TAIL_SENT,
  type TcpConnections,
  TcpState,
  TIMESTAMPS,
  TIMING,
  TS_RECENT,
  WARY,
  WATCHING,
} from './tcp-connections.ts';
import { BROKEN, END, NOTHING, type TcpHost } from './tcp-host.ts';
import { TIMESTAMPS_LEN, writeSynOptions, writeTimestamps } from './tcp-options.ts';
import { longestSegment, type TcpSegments } from './tcp-segments.ts';

/** Our window is offered in units of 128 bytes: up to 8 MiB. */
export const WINDOW_SHIFT = 7;
/** Bytes of a segment, when our window is to open, that are enough of a long one. */
const WINDOW_STEP = 4096;
/** Milliseconds of silence: longer than an inside delays an acknowledgment for, which is 40 in Linux. */
const TAIL_DELAY = 50;
/** Milliseconds: most answers come sooner, and who waits for the acknowledgment alone hardly notices. */
const ACK_DELAY = 1;

/** The sending side towards the deck: which connection has something to send, and what. */
export class TcpOutput {
  /** Frames sent again because the inside has missed them. */
  resent = 0;
  /** Connections whose last frame may be lost. */
  readonly tails: TailQueue;
  /** Connections whose acknowledgment waits. */
  readonly acks: TailQueue;
  readonly #connections: TcpConnections;
  readonly #words: Int32Array;
  readonly #host: TcpHost;
  readonly #held: HeldFrames;
  readonly #segments: TcpSegments;
  readonly #mtu: number;
  readonly #onBroken: (row: number, arena: Arena, now: number) => Frame | null;
  /** Rows with something to send, in the order in which they had it. */
  readonly #queue: RowQueue;

  /**
   * @param mtu of the deck's segment
   * @param onBroken resets the inside of a row whose socket has failed
   */
  constructor(
    connections: TcpConnections,
    host: TcpHost,
    held: HeldFrames,
    segments: TcpSegments,
    mtu: number,
    onBroken: (row: number, arena: Arena, now: number) => Frame | null,
  ) {
    this.#connections = connections;
    const { words } = connections;
    this.#words = words;
    this.#host = host;
    this.#held = held;
    this.#segments = segments;
    this.#mtu = mtu;
    this.#onBroken = onBroken;
    // Rows that went away leave something behind in it.
    this.tails = new TailQueue(2 * connections.capacity, TAIL_DELAY);
    this.acks = new TailQueue(2 * connections.capacity, ACK_DELAY);
    this.#queue = new RowQueue(2 * connections.capacity, (row) => (words[row * ROW + FLAGS]! & QUEUED) !== 0);
  }

  get pending(): boolean {
    return this.#queue.size > 0;
  }

  /** Notes that a row has something to send. */
  wake(row: number, flags: number): void {
    const at = row * ROW + FLAGS;
    const words = this.#words;
    if ((words[at] & QUEUED) === 0) {
      this.#queue.push(row);
    }
    words[at] |= flags | QUEUED;
  }

  /** The next segment of any connection, in a slot held for the caller; null when there is none, or no slot. */
  next(arena: Arena, now: number): Frame | null {
    const words = this.#words;
    const segments = this.#segments;
    while (this.#queue.size > 0) {
      const row = this.#queue.shift();
      const at = row * ROW;
      // Of a row that went away meanwhile; one that came in its place has queued itself again.
      if ((words[at + FLAGS]! & QUEUED) === 0) continue;
      words[at + FLAGS]! &= ~QUEUED;
      segments.starved = false;
      const frame = this.#emit(row, arena, now);
      if (frame === null && !segments.starved) continue;
      // To the end of the queue, as long as it has more: everybody has a turn.
      if (words[at + STATE] !== TcpState.FREE) this.wake(row, 0);
      return frame;
    }
    return null;
  }

  /** Notes that an acknowledgment has to go out soon: with an answer, if there is one by then (RFC 9293 §3.8.6.3). */
  acknowledge(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW + FLAGS;
    if ((words[at]! & (ACK_LATER | ACK_DUE)) !== 0 || !this.#acknowledged(row, now)) this.wake(row, ACK_DUE);
    else words[at]! |= ACK_LATER;
  }

  /** Sends the acknowledgments that have waited long enough. */
  flush(now: number): void {
    const words = this.#words;
    for (let row = this.acks.pop(now); row >= 0; row = this.acks.pop(now)) {
      const at = row * ROW + FLAGS;
      words[at]! &= ~ACK_QUEUED;
      if ((words[at]! & ACK_LATER) !== 0) this.wake(row, ACK_DUE);
    }
  }

  #acknowledged(row: number, now: number): boolean {
    const at = row * ROW + FLAGS;
    if ((this.#words[at]! & ACK_QUEUED) !== 0) return true;
    if (!this.acks.push(row, now)) return false;
    this.#words[at]! |= ACK_QUEUED;
    return true;
  }

  /** Notes that the row has something under way, and may have to be reminded of it. */
  watch(row: number, now: number): void {
    const at = row * ROW + FLAGS;
    if ((this.#words[at]! & WATCHING) === 0 && this.tails.push(row, now)) this.#words[at]! |= WATCHING;
  }

  /**
   * A connection of which nothing was heard though something is under way: the last frame may be lost, behind which none
   * comes to show it. It is sent again once, without waiting for the retransmission timeout (as RFC 8985 §7 does).
   */
  remind(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    words[at + FLAGS]! &= ~WATCHING;
    const state = words[at + STATE]!;
    if (state < TcpState.ESTABLISHED || state === TcpState.TIME_WAIT) return;
    if (words[at + SND_UNA] === words[at + SND_MAX] || words[at + SND_WND] === 0) return;
    const connections = this.#connections;
    if (now - Math.max(connections.heard[row]!, connections.sentAt[row]!) < TAIL_DELAY) {
      this.watch(row, now);
      return;
    }
    if ((words[at + FLAGS]! & TAIL_SENT) !== 0 || words[at + BACKOFF] !== 0) return;
    words[at + RECOVER] = words[at + SND_MAX]!;
    this.wake(row, RETRANSMIT | TAIL_SENT | IN_RECOVERY);
  }

  #emit(row: number, arena: Arena, now: number): Frame | null {
    const words = this.#words;
    const at = row * ROW;
    const flags = words[at + FLAGS];
    if ((flags & SYN_DUE) !== 0) return this.#sendSyn(row, arena, now);
    const state = words[at + STATE];
    if (state < TcpState.ESTABLISHED) {
      const due = state === TcpState.SYN_RECV && (flags & ACK_DUE) !== 0;
      return due ? this.#sendAck(row, arena, now) : null;
    }
    if ((flags & RETRANSMIT) !== 0) {
      const frame = this.#retransmit(row, arena, now);
      if (frame !== null || words[at + STATE] === TcpState.FREE) return frame;
    }
    if ((flags & (READABLE | END_READ)) !== 0 && state !== TcpState.TIME_WAIT) {
      const frame = this.#sendData(row, arena, now);
      if (frame !== null || words[at + STATE] === TcpState.FREE) return frame;
    }
    if ((words[at + FLAGS] & (ACK_DUE | KEEPALIVE_DUE)) !== 0) return this.#sendAck(row, arena, now);
    return null;
  }

  /** Data from SND_NXT on, as much as window and frame allow, or the FIN when all data is sent. */
  #sendData(row: number, arena: Arena, now: number): Frame | null {
    const words = this.#words;
    const at = row * ROW;
    const next = words[at + SND_NXT];
    const flying = (next - words[at + SND_UNA]) | 0;
    const finSent = (words[at + FLAGS] & FIN_SENT) !== 0;
    const end = finSent ? (words[at + SND_MAX] - 1) | 0 : 0;
    if (finSent && !before(next, end)) {
      // After a timeout, all data was sent again: the FIN is left.
      return next === end ? this.#sendFin(row, arena, now) : null;
    }
    if ((words[at + FLAGS] & END_READ) !== 0 && !finSent && next === words[at + SND_MAX]) {
      return this.#sendFin(row, arena, now);
    }
    let usable = Math.min(words[at + SND_WND], words[at + CWND]) - flying;
    const probe = (words[at + FLAGS] & PROBE) !== 0;
    if (probe && usable <= 0) usable = 1;
    const options = (words[at + FLAGS] & TIMESTAMPS) !== 0 ? TIMESTAMPS_LEN : 0;
    const mss = words[at + SND_MSS] - options;
    // Silly windows are not filled (RFC 9293 §3.8.6.2.1): a full segment, half of the largest window, or with nothing under way.
    if (usable <= 0 || (usable < mss && flying > 0 && usable < words[at + MAX_WND] >> 1)) {
      this.#persist(row, now);
      return null;
    }
    const frame = this.#segments.allocate(arena, true);
    if (frame === undefined) return null;
    const room = longestSegment(words[at + IS_IPV6] !== 0) - TCP_LEN - options;
    let wanted = Math.min(usable, room);
    // Only whole segments, so that no short one is in the middle of the stream.
    if (wanted > mss) wanted -= wanted % mss;
    const got = this.#fill(frame, row, next, wanted, options);
    if (got <= 0) {
      arena.release(frame);
      words[at + FLAGS] &= ~PROBE;
      if (got === END) {
        words[at + FLAGS] = (words[at + FLAGS] & ~READABLE) | END_READ;
        return finSent ? null : this.#sendFin(row, arena, now);
      }
      if (got === BROKEN) return this.#onBroken(row, arena, now);
      words[at + FLAGS] &= ~READABLE;
      return null;
    }
    let sent = got;
    let control = TCP_ACK;
    if (got < wanted) {
      control |= TCP_PSH;
      const flags = words[at + FLAGS];
      // Less than was asked for is all there is. What comes later makes an edge (epoll(7)).
      if ((flags & (HANGUP | WARY | FIN_SENT)) === 0) words[at + FLAGS] &= ~READABLE;
      else if ((flags & (HANGUP | WARY | FIN_SENT)) === HANGUP) {
        // Nothing comes behind it: the other end was done before this was read.
        words[at + FLAGS] = (flags & ~READABLE) | END_READ | FIN_SENT;
        control |= TCP_FIN;
        sent++;
        this.#finState(at);
      }
    }
    words[at + FLAGS] &= ~PROBE;
    this.#advance(row, next, sent, now);
    this.#finish(frame, row, next, control, options, got, mss, now);
    return frame;
  }

  /** Writes the FIN, which takes one sequence number and no window. */
  #sendFin(row: number, arena: Arena, now: number): Frame | null {
    const frame = this.#segments.allocate(arena, false);
    if (frame === undefined) return null;
    const words = this.#words;
    const at = row * ROW;
    const next = words[at + SND_NXT];
    if ((words[at + FLAGS] & FIN_SENT) === 0) {
      words[at + FLAGS] |= FIN_SENT;
      this.#finState(at);
    }
    this.#advance(row, next, 1, now);
    const options = (words[at + FLAGS] & TIMESTAMPS) !== 0 ? TIMESTAMPS_LEN : 0;
    this.#finish(frame, row, next, TCP_ACK | TCP_FIN, options, 0, 1, now);
    return frame;
  }

  #finState(at: number): void {
    const words = this.#words;
    words[at + STATE] = (words[at + FLAGS] & FIN_RECEIVED) !== 0 ? TcpState.LAST_ACK : TcpState.FIN_WAIT_1;
  }

  /** Sends again what is at SND_UNA: one frame, up to what the inside has beyond the hole. */
  #retransmit(row: number, arena: Arena, now: number): Frame | null {
    const words = this.#words;
    const at = row * ROW;
    const una = words[at + SND_UNA];
    const finSent = (words[at + FLAGS] & FIN_SENT) !== 0;
    const end = finSent ? (words[at + SND_MAX] - 1) | 0 : words[at + SND_MAX];
    const options = (words[at + FLAGS] & TIMESTAMPS) !== 0 ? TIMESTAMPS_LEN : 0;
    const mss = words[at + SND_MSS] - options;
    let wanted = Math.min((end - una) | 0, longestSegment(words[at + IS_IPV6] !== 0) - TCP_LEN - options);
    if ((words[at + FLAGS] & SACKED) !== 0) {
      const hole = (words[at + SACK_EDGE] - una) | 0;
      if (hole > 0) wanted = Math.min(wanted, hole);
    }
    if (wanted > mss) wanted -= wanted % mss;
    const frame = this.#segments.allocate(arena, wanted > 0);
    if (frame === undefined) return null;
    words[at + FLAGS] &= ~(RETRANSMIT | TIMING);
    this.resent++;
    words[at + RESENT_AT] = words[at + SND_MAX];
    let got = 0;
    let control = TCP_ACK | TCP_PSH;
    if (wanted > 0) {
      got = this.#fill(frame, row, una, wanted, options);
      if (got < 0) {
        arena.release(frame);
        return got === NOTHING ? null : this.#onBroken(row, arena, now);
      }
    }
    if (finSent && ((una + got) | 0) === end) control |= TCP_FIN;
    else if (got === 0) {
      arena.release(frame);
      return null;
    }
    this.#connections.arm(row, now + this.#connections.timeout(row), now);
    this.#finish(frame, row, una, control, options, got, mss, now);
    return frame;
  }

  /** Reads payload into the frame behind its headers. */
  #fill(frame: Frame, row: number, sequence: number, length: number, options: number): number {
    const to = this.#segments.headerAt(frame, row) + TCP_LEN + options;
    return this.#host.peek(row, sequence, to, length);
  }

  /** Notes that `count` sequence numbers from `next` on are under way. */
  #advance(row: number, next: number, count: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    const idle = next === words[at + SND_UNA];
    const after = (next + count) | 0;
    words[at + SND_NXT] = after;
    if (before(words[at + SND_MAX], after)) {
      words[at + SND_MAX] = after;
      // Only what is sent for the first time can be timed (Karn).
      if ((words[at + FLAGS] & (TIMING | IN_RECOVERY)) === 0) {
        words[at + FLAGS] |= TIMING;
        words[at + RTT_SEQ] = after;
        this.#connections.timedAt[row] = now;
      }
    }
    this.#connections.sentAt[row] = now;
    this.watch(row, now);
    if (idle) this.#connections.arm(row, now + this.#connections.timeout(row), now);
  }

  /** The window is shut and nothing is under way: a timer sees to it that we hear when it opens (RFC 9293 §3.8.6.1). */
  #persist(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    if (words[at + SND_MAX] !== words[at + SND_UNA]) return;
    this.#connections.arm(row, now + this.#connections.timeout(row), now);
  }

  /**
   * Bytes by which our window opens at least: a segment, or half of what there may be when that is less (RFC 9293
   * §3.8.6.2.2, MUST-39).
   */
  windowStep(at: number): number {
    const words = this.#words;
    return Math.min(words[at + SND_MSS], WINDOW_STEP, words[at + QUEUE_LIMIT] >> 1);
  }

  #sendAck(row: number, arena: Arena, now: number): Frame | null {
    const frame = this.#segments.allocate(arena, false);
    if (frame === undefined) return null;
    const words = this.#words;
    const at = row * ROW;
    let sequence = words[at + SND_NXT];
    if ((words[at + FLAGS] & KEEPALIVE_DUE) !== 0) {
      words[at + FLAGS] &= ~KEEPALIVE_DUE;
      // One number back, which the inside has to answer (RFC 9293 §3.8.4).
      sequence = (words[at + SND_UNA] - 1) | 0;
    }
    let options = 0;
    const tcp = this.#segments.headerAt(frame, row);
    if ((words[at + FLAGS] & TIMESTAMPS) !== 0) options = TIMESTAMPS_LEN;
    if (words[at + HELD_COUNT] > 0 && (words[at + FLAGS] & SACK) !== 0) {
      options += this.#held.writeSack(frame.bytes, tcp + TCP_LEN + options, at);
    }
    this.#finish(frame, row, sequence, TCP_ACK, options, 0, 1, now);
    return frame;
  }

  /** SYN or SYN/ACK, with the options that the inside has offered, or all of them. */
  #sendSyn(row: number, arena: Arena, now: number): Frame | null {
    const frame = this.#segments.allocate(arena, false);
    if (frame === undefined) return null;
    const words = this.#words;
    const at = row * ROW;
    words[at + FLAGS] &= ~(SYN_DUE | ACK_DUE);
    const answers = words[at + STATE] === TcpState.SYN_RECV;
    const { bytes } = frame;
    const tcp = this.#segments.headerAt(frame, row);
    const ip = words[at + IS_IPV6] !== 0 ? IPV6_LEN : IPV4_LEN;
    const option = writeSynOptions(
      bytes,
      tcp + TCP_LEN,
      this.#mtu - ip - TCP_LEN,
      !answers || (words[at + FLAGS]! & SACK) !== 0,
      !answers || (words[at + FLAGS]! & TIMESTAMPS) !== 0,
      now | 0,
      answers ? words[at + TS_RECENT]! : 0,
      !answers || words[at + RCV_SHIFT] !== 0 ? WINDOW_SHIFT : -1,
    );
    const sequence = words[at + SND_UNA];
    words[at + SND_NXT] = (sequence + 1) | 0;
    words[at + SND_MAX] = words[at + SND_NXT];
    // Not scaled in a SYN (RFC 7323 §2.2).
    // So much a new socket takes; what it does not would be held.
    const window = 0xffff;
    words[at + RCV_ADV] = (words[at + RCV_NXT] + window) | 0;
    words[at + LAST_ACK] = words[at + RCV_NXT];
    if (words[at + BACKOFF] === 0) {
      words[at + FLAGS] |= TIMING;
      words[at + RTT_SEQ] = words[at + SND_NXT];
      this.#connections.timedAt[row] = now;
    }
    this.#connections.arm(row, now + this.#connections.timeout(row), now);
    const control = answers ? TCP_SYN | TCP_ACK : TCP_SYN;
    const acknowledgment = answers ? words[at + RCV_NXT] : 0;
    this.#segments.write(frame, row, sequence, acknowledgment, control, window, option - tcp, 0, 1);
    return frame;
  }

  /** Writes the headers of a segment that is filled and whose options but timestamps are written, with our window. */
  #finish(
    frame: Frame,
    row: number,
    sequence: number,
    control: number,
    options: number,
    payload: number,
    mss: number,
    now: number,
  ): void {
    const words = this.#words;
    const at = row * ROW;
    const next = words[at + RCV_NXT];
    const shift = words[at + RCV_SHIFT];
    const due = (words[at + FLAGS] & (ACK_DUE | ACK_LATER)) !== 0;
    words[at + FLAGS] &= ~(ACK_DUE | ACK_LATER);
    words[at + LAST_ACK] = next;
    if ((words[at + FLAGS] & TIMESTAMPS) !== 0) {
      const tcp = this.#segments.headerAt(frame, row);
      writeTimestamps(frame.bytes, tcp + TCP_LEN, now | 0, words[at + TS_RECENT]);
    }
    let window = (words[at + RCV_ADV] - next) | 0;
    // Without much news from inside, there is none for it either.
    if (
      due &&
      window < words[at + QUEUE_LIMIT] - (words[at + QUEUE_LIMIT] >> 2) &&
      (words[at + FLAGS] & FIN_RECEIVED) === 0
    ) {
      const room = Math.min(this.#host.room(row) >> shift, 0xffff) << shift;
      // The right edge never goes back (RFC 9293 §3.8.6), and moves in steps, also when it has stood still at 0.
      if (room - window >= this.windowStep(at)) window = room;
    }
    // Rounded up to what can be said, so that rounding does not move the edge back either.
    const field = Math.min(0xffff, (window + (1 << shift) - 1) >> shift);
    words[at + RCV_ADV] = (next + (field << shift)) | 0;
    this.#segments.write(frame, row, sequence, next, control, field, TCP_LEN + options, payload, mss);
  }

  /** Forgets what was read ahead: after a timeout all is sent again from SND_UNA on. */
  rewind(row: number): void {
    const words = this.#words;
    const at = row * ROW;
    words[at + SND_NXT] = words[at + SND_UNA];
    words[at + FLAGS] = (words[at + FLAGS] & ~TIMING) | READABLE;
    // Where the kernel's offset stands is another matter: `peek` moves it.
    if (before(words[at + PEEK], words[at + HEAD])) words[at + PEEK] = words[at + HEAD];
  }
}
