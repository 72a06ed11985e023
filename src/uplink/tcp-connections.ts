/**
 * The TCP connections that end in the socket uplink, a row of 32-bit words each. A connection has two halves: towards the
 * deck it is a TCP of ours, made of frames; towards the host it is a socket. "Inside" is the deck's end (the source of the
 * frames that we get), "outside" the end that the socket stands for.
 *
 * States and sequence numbers are those of RFC 9293 §3.3, of the half that faces the deck. Numbers are int32 and compared
 * by the sign of their difference (§3.4).
 */
import { TimerWheel } from '../../nat/timer-wheel.ts';
import { type HashKey, hash3, hashN } from '../../wire/hash.ts';

export const TcpState = {
  /** Nobody's row. */
  FREE: 0,
  /** A SYN has come from inside; the host's socket is connecting, and nothing has been answered yet. */
  CONNECTING: 1,
  /** The host's socket is connected, the SYN was answered (RFC 9293: SYN-RECEIVED). */
  SYN_RECV: 2,
  /** A connection was accepted on the host, our SYN has gone inside. */
  SYN_SENT: 3,
  ESTABLISHED: 4,
  FIN_WAIT_1: 5,
  FIN_WAIT_2: 6,
  CLOSE_WAIT: 7,
  CLOSING: 8,
  LAST_ACK: 9,
  TIME_WAIT: 10,
} as const;
export type TcpState = (typeof TcpState)[keyof typeof TcpState];

/** Words of a row. */
export const ROW = 64;

/** Four words each; IPv4 addresses are in the last. */
export const OUTSIDE = 0;
export const INSIDE = 4;
/** Outside port in the upper half, inside port in the lower. */
export const PORTS = 8;
export const IS_IPV6 = 9;
/** Next row of the bucket or of the free ones, + 1. */
const NEXT = 10;
const BUCKET = 11;
/** The host's socket, -1 when there is none any more. */
export const FD = 12;
export const STATE = 13;
export const FLAGS = 14;
/** Counts the connections that the row has held. */
export const SERIAL = 15;
/** What we send, RFC 9293 §3.3.1. */
export const SND_UNA = 16;
export const SND_NXT = 17;
/** The highest that `SND_NXT` was: after a timeout it goes back. */
export const SND_MAX = 18;
export const SND_WND = 19;
export const SND_WL1 = 20;
export const SND_WL2 = 21;
export const SND_SHIFT = 22;
/** Payload bytes of a segment at most, without options. */
export const SND_MSS = 23;
/** The largest window that the inside has ever offered (RFC 5961 §5.2). */
export const MAX_WND = 24;
export const RCV_NXT = 25;
/** Right edge of the window that we have offered. */
export const RCV_ADV = 26;
export const RCV_SHIFT = 27;
/** Sequence number of the first byte in the socket's receive queue: what is acknowledged is taken out there. */
export const HEAD = 28;
/** Sequence number at which the socket's peek offset stands. */
export const PEEK = 29;
export const CWND = 30;
export const SSTHRESH = 31;
export const DUPACKS = 32;
/** Loss recovery lasts until this is acknowledged (RFC 6582). */
export const RECOVER = 33;
/** Smoothed round-trip time and its variation, 1/8 and 1/4 ms; SRTT is -1 as long as nothing was measured. */
export const SRTT = 34;
export const RTTVAR = 35;
/** Timeouts in a row. */
export const BACKOFF = 36;
/** The sequence number whose acknowledgment is being timed. */
export const RTT_SEQ = 37;
export const TS_RECENT = 38;
/** Acknowledgment number of the last segment that we sent. */
export const LAST_ACK = 39;
/** Bytes that may wait in the socket's send queue, and bytes taken since that was last looked at. */
export const QUEUE_LIMIT = 40;
export const TAKEN = 41;
/** First of the frames that wait for bytes before them, + 1 (see held-frames.ts), and how many. */
export const HELD = 42;
export const HELD_COUNT = 43;
/** Whose socket it is (see shares.ts). */
export const OWNER = 44;
/** Challenge ACKs of this second. */
export const CHALLENGES = 45;
/** Left edge of the first block that was acknowledged selectively, valid with SACKED. */
export const SACK_EDGE = 46;
/** Right edge of the last such block, and where SND_MAX was when SND_UNA was last sent again. */
export const SACK_TOP = 49;
export const RESENT_AT = 50;
/** Bytes that the inside has acknowledged, as far as it matters. */
export const DELIVERED = 51;
/** Initial sequence number of the inside. */
export const IRS = 52;
/** Keep-alive probes that were not answered. */
export const PROBES = 47;
/** Whether its socket may have large buffers: a place in `LargeBuffers` + 1, 0 for none. */
export const LARGE_BUFFERS = 53;
/** Acknowledgments since the socket's queue was last emptied. */
export const UNTAKEN = 54;

// Bits of FLAGS.
/** In the queue of those who have something to send. */
export const QUEUED = 1 << 0;
/** An acknowledgment has to go out. */
export const ACK_DUE = 1 << 1;
/** The socket may have data. */
export const READABLE = 1 << 2;
/** The kernel said that the other end has sent its last. */
export const HANGUP = 1 << 3;
/** All has been read from the socket, end included. */
export const END_READ = 1 << 4;
/** Our FIN has a place in the sequence. */
export const FIN_SENT = 1 << 5;
/** What is at SND_UNA has to be sent again. */
export const RETRANSMIT = 1 << 6;
export const IN_RECOVERY = 1 << 7;
/** Both sides use timestamps (RFC 7323). */
export const TIMESTAMPS = 1 << 8;
/** The inside takes selective acknowledgments (RFC 2018). */
export const SACK = 1 << 9;
/** A round-trip time is being measured. */
export const TIMING = 1 << 10;
/** The kernel has been asked to say when there is room in the socket. */
export const ARMED = 1 << 11;
/** SYN or SYN/ACK has to go out. */
export const SYN_DUE = 1 << 12;
/** One byte has to go out although the window is shut (RFC 9293 §3.8.6.1). */
export const PROBE = 1 << 13;
/** The send side of the socket was shut: the inside has sent its FIN. */
export const FIN_RECEIVED = 1 << 14;
/** The socket is watched by epoll. */
export const WATCHED = 1 << 15;
export const SACKED = 1 << 16;
/** There is or was urgent data: a read ends there, though more may be behind it. */
export const WARY = 1 << 18;
/** In the queue of those whose last frame may be lost. */
export const WATCHING = 1 << 19;
/** What is at SND_UNA was sent again, because nothing was heard. */
export const TAIL_SENT = 1 << 20;
/** The socket's receive buffer was made larger. */
export const ROOMY = 1 << 21;
/** An acknowledgment may wait for something to go with. */
export const ACK_LATER = 1 << 22;
/** In the queue of those whose acknowledgment has waited. */
export const ACK_QUEUED = 1 << 23;
/** A keep-alive probe has to go out. */
export const KEEPALIVE_DUE = 1 << 17;
/** Something from inside is in the batch of those that go to their sockets together. */
export const SENDING = 1 << 24;

/** `a` comes before `b`. */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** Milliseconds; Linux's too. */
const LOWEST_RTO = 200;
const HIGHEST_RTO = 60_000;
/** Before anything was measured (RFC 6298 §2.1). */
const FIRST_RTO = 1000;

export class TcpConnections {
  readonly capacity: number;
  /** All rows; field `f` of row `r` is `words[r * ROW + f]`. */
  readonly words: Int32Array;
  /** When the row has something to do by itself, ms. */
  readonly deadline: Float64Array;
  /** When the segment was sent that is being timed, ms. */
  readonly timedAt: Float64Array;
  /** When something was last sent inside for the first time, ms. */
  readonly sentAt: Float64Array;
  /** When the inside was last heard of, ms. */
  readonly heard: Float64Array;
  /** Connections, those in TIME-WAIT included. */
  size = 0;
  readonly #wheel: TimerWheel;
  /** When the wheel will give the row back. */
  readonly #scheduled: Float64Array;
  readonly #buckets: Int32Array;
  readonly #key: HashKey;
  readonly #tuple = new Int32Array(9);
  /** First free row of those that were used before, + 1. */
  #free = 0;
  #fresh = 0;

  constructor(capacity: number, key: HashKey) {
    this.capacity = capacity;
    // One row more, for segments of no connection (see tcp-segments.ts).
    this.words = new Int32Array((capacity + 1) * ROW);
    this.deadline = new Float64Array(capacity);
    this.timedAt = new Float64Array(capacity);
    this.sentAt = new Float64Array(capacity);
    this.heard = new Float64Array(capacity);
    this.#scheduled = new Float64Array(capacity);
    this.#wheel = new TimerWheel(capacity);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(capacity)));
    this.#key = key;
  }

  /** Rows from here on were never used. */
  get high(): number {
    return this.#fresh;
  }

  /** When `due` is next worth calling, ms. */
  get next(): number {
    return this.#wheel.deadline;
  }

  /** The row of an IPv4 connection, or -1. `ports` as in PORTS. */
  findIpv4(outside: number, inside: number, ports: number): number {
    const { words } = this;
    const bucket = this.#hashIpv4(outside, inside, ports);
    for (let row = this.#buckets[bucket] - 1; row >= 0; ) {
      const at = row * ROW;
      if (
        words[at + PORTS] === ports &&
        words[at + OUTSIDE + 3] === outside &&
        words[at + INSIDE + 3] === inside &&
        words[at + IS_IPV6] === 0
      )
        return row;
      row = words[at + NEXT] - 1;
    }
    return -1;
  }

  /** The row of an IPv6 connection, or -1: addresses are four words each at `tuple[0]` and `tuple[4]`, as in a row. */
  findIpv6(tuple: Int32Array, ports: number): number {
    const { words } = this;
    const bucket = this.#hashIpv6(tuple, 0, ports);
    search: for (let row = this.#buckets[bucket] - 1; row >= 0; row = words[row * ROW + NEXT] - 1) {
      const at = row * ROW;
      if (words[at + PORTS] !== ports || words[at + IS_IPV6] === 0) continue;
      for (let i = 0; i < 8; i++) if (words[at + i] !== tuple[i]) continue search;
      return row;
    }
    return -1;
  }

  /**
   * A new row for addresses and ports that have none, or -1 when all are taken. All fields but those are 0, the socket is
   * -1, no timer is set.
   */
  add(isIpv6: boolean, tuple: Int32Array, ports: number, now: number): number {
    const { words } = this;
    let row = this.#free - 1;
    if (row >= 0) this.#free = words[row * ROW + NEXT];
    else if (this.#fresh < this.capacity) row = this.#fresh++;
    else return -1;
    const at = row * ROW;
    const serial = words[at + SERIAL];
    words.fill(0, at, at + ROW);
    for (let i = 0; i < 8; i++) words[at + i] = tuple[i];
    words[at + PORTS] = ports;
    words[at + IS_IPV6] = isIpv6 ? 1 : 0;
    words[at + SERIAL] = serial + 1;
    words[at + FD] = -1;
    const bucket = isIpv6
      ? this.#hashIpv6(tuple, 0, ports)
      : this.#hashIpv4(tuple[OUTSIDE + 3], tuple[INSIDE + 3], ports);
    words[at + BUCKET] = bucket;
    words[at + NEXT] = this.#buckets[bucket];
    this.#buckets[bucket] = row + 1;
    this.size++;
    this.deadline[row] = Number.POSITIVE_INFINITY;
    this.#scheduled[row] = Number.POSITIVE_INFINITY;
    this.heard[row] = now;
    return row;
  }

  /** Forgets a connection; its socket and frames are the caller's affair. */
  remove(row: number): void {
    const { words } = this;
    const at = row * ROW;
    if (this.#scheduled[row] !== Number.POSITIVE_INFINITY) {
      this.#wheel.cancel(row);
      this.#scheduled[row] = Number.POSITIVE_INFINITY;
    }
    const bucket = words[at + BUCKET];
    if (this.#buckets[bucket] === row + 1) this.#buckets[bucket] = words[at + NEXT];
    else {
      let other = this.#buckets[bucket] - 1;
      while (words[other * ROW + NEXT] !== row + 1) other = words[other * ROW + NEXT] - 1;
      words[other * ROW + NEXT] = words[at + NEXT];
    }
    words[at + STATE] = TcpState.FREE;
    words[at + FLAGS] = 0;
    words[at + NEXT] = this.#free;
    this.#free = row + 1;
    this.size--;
  }

  /** Sets the row's one timer, instead of what it was set to. */
  arm(row: number, at: number, now: number): void {
    this.deadline[row] = at;
    // One that fires too early is found not due and set again, which costs less than moving it with every segment.
    if (this.#scheduled[row] <= at) return;
    if (this.#scheduled[row] !== Number.POSITIVE_INFINITY) this.#wheel.cancel(row);
    this.#scheduled[row] = at;
    this.#wheel.schedule(row, at, now);
  }

  /** A row whose timer has come, or -1 when there is none: it is no longer set then. */
  due(now: number): number {
    for (;;) {
      const row = this.#wheel.pop(now);
      if (row < 0) return -1;
      this.#scheduled[row] = Number.POSITIVE_INFINITY;
      const at = this.deadline[row];
      if (at <= now) {
        this.deadline[row] = Number.POSITIVE_INFINITY;
        return row;
      }
      if (at !== Number.POSITIVE_INFINITY) this.arm(row, at, now);
    }
  }

  /** Retransmission timeout, ms (RFC 6298 §2). */
  timeout(row: number): number {
    const { words } = this;
    const at = row * ROW;
    const measured = words[at + SRTT];
    const rto = measured < 0 ? FIRST_RTO : Math.max(LOWEST_RTO, (measured >> 3) + words[at + RTTVAR]);
    return Math.min(HIGHEST_RTO, rto * 2 ** Math.min(16, words[at + BACKOFF]));
  }

  /** Gives what we send its initial sequence number, which our SYN takes: nothing else may be acknowledged, sent or not. */
  begin(row: number, now: number): void {
    const { words } = this;
    const at = row * ROW;
    const initial = this.#initialSequence(row, now);
    words[at + SND_UNA] = initial;
    words[at + SND_NXT] = (initial + 1) | 0;
    words[at + SND_MAX] = words[at + SND_NXT];
  }

  /** An initial sequence number, RFC 6528 §3: a clock of 4 µs, and a keyed hash of who is connected. */
  #initialSequence(row: number, now: number): number {
    const [k0, k1] = this.#key;
    const inner = this.#secret(row, k0, k1);
    // Hashed twice, with what nobody sees in between: once is good for tables only (wire/hash.ts).
    const outer = this.#secret(row, k1 ^ inner, (k0 + inner) | 0);
    return (Math.floor(now * 250) + outer) | 0;
  }

  #secret(row: number, k0: number, k1: number): number {
    return hashN(k0, k1, this.words, row * ROW, 9);
  }

  #hashIpv4(outside: number, inside: number, ports: number): number {
    return hash3(this.#key[0], this.#key[1], outside, inside, ports) & (this.#buckets.length - 1);
  }

  #hashIpv6(words: Int32Array, at: number, ports: number): number {
    const tuple = this.#tuple;
    for (let i = 0; i < 8; i++) tuple[i] = words[at + i];
    tuple[8] = ports;
    return hashN(this.#key[0], this.#key[1], tuple, 0, 9) & (this.#buckets.length - 1);
  }
}
