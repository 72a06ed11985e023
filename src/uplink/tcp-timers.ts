import { IDLE, LOWEST_SSTHRESH } from './tcp-acknowledgments.ts';
import {
  BACKOFF,
  CWND,
  DUPACKS,
  FLAGS,
  IN_RECOVERY,
  KEEPALIVE_DUE,
  PROBE,
  PROBES,
  READABLE,
  RETRANSMIT,
  ROW,
  SACKED,
  SND_MAX,
  SND_UNA,
  SND_WND,
  SSTHRESH,
  STATE,
  SYN_DUE,
  type TcpConnections,
  TcpState,
} from './tcp-connections.ts';
import type { TcpOutput } from './tcp-output.ts';

/** Unanswered SYNs, and unanswered retransmissions of data, until a connection is given up (RFC 9293 §3.8.3: R2). */
const SYN_RETRIES = 5;
const DATA_RETRIES = 10;
/** Milliseconds that an inside must have been silent for it to be given up. */
const SILENCE = 100_000;
/** Keep-alive probes, and milliseconds between them, as Linux has them. */
const KEEPALIVE_PROBES = 9;
const KEEPALIVE_INTERVAL = 75_000;
/** Bytes under way after a timeout. */
const LOSS_CWND = 256 * 1024;

/** What the inside's silence leads to: sending again, asking again, giving up. */
export class TcpTimers {
  /** Timeouts after which all was sent again. */
  timeouts = 0;
  readonly #connections: TcpConnections;
  readonly #words: Int32Array;
  readonly #output: TcpOutput;
  readonly #takeRest: (row: number) => void;
  readonly #giveUp: (row: number) => void;
  readonly #forget: (row: number) => void;

  /**
   * @param takeRest what the inside of a row has acknowledged is to be taken from its socket
   * @param giveUp nothing was heard from the inside of a row for too long
   * @param forget a row has been in TIME-WAIT for long enough
   */
  constructor(
    connections: TcpConnections,
    output: TcpOutput,
    takeRest: (row: number) => void,
    giveUp: (row: number) => void,
    forget: (row: number) => void,
  ) {
    this.#connections = connections;
    this.#words = connections.words;
    this.#output = output;
    this.#takeRest = takeRest;
    this.#giveUp = giveUp;
    this.#forget = forget;
  }

  /** Does what is due. */
  expire(now: number): void {
    const connections = this.#connections;
    for (let row = connections.due(now); row >= 0; row = connections.due(now)) this.#timeout(row, now);
    this.#output.flush(now);
    const { tails } = this.#output;
    for (let row = tails.pop(now); row >= 0; row = tails.pop(now)) this.#output.remind(row, now);
  }

  #timeout(row: number, now: number): void {
    const words = this.#words;
    const at = row * ROW;
    switch (words[at + STATE]) {
      case TcpState.FREE:
      case TcpState.CONNECTING:
        return;
      case TcpState.SYN_RECV:
      case TcpState.SYN_SENT:
        if (words[at + BACKOFF]!++ >= SYN_RETRIES) this.#giveUp(row);
        else this.#output.wake(row, SYN_DUE);
        return;
      case TcpState.TIME_WAIT:
        this.#forget(row);
        return;
    }
    const silent = now - this.#connections.heard[row]!;
    const flags = words[at + FLAGS]!;
    if (words[at + SND_MAX] !== words[at + SND_UNA]) {
      if (++words[at + BACKOFF]! > DATA_RETRIES && silent > SILENCE) {
        this.#giveUp(row);
        return;
      }
      this.timeouts++;
      const flying = (words[at + SND_MAX]! - words[at + SND_UNA]!) | 0;
      // RFC 5681 §3.1: only the first timeout says something about the path.
      if (words[at + BACKOFF] === 1) words[at + SSTHRESH] = Math.max(LOWEST_SSTHRESH, flying >> 1);
      words[at + CWND] = LOSS_CWND;
      words[at + DUPACKS] = 0;
      words[at + FLAGS]! &= ~(IN_RECOVERY | RETRANSMIT | SACKED);
      this.#output.rewind(row);
      this.#output.wake(row, words[at + SND_WND] === 0 ? PROBE : 0);
      this.#connections.arm(row, now + this.#connections.timeout(row), now);
      return;
    }
    if ((flags & READABLE) !== 0 && words[at + SND_WND] === 0) {
      // Something waits for the window to open.
      if (++words[at + BACKOFF]! > DATA_RETRIES && silent > SILENCE) {
        this.#giveUp(row);
        return;
      }
      this.#output.wake(row, PROBE);
      this.#connections.arm(row, now + this.#connections.timeout(row), now);
      return;
    }
    this.#takeRest(row);
    if (silent < IDLE) {
      this.#connections.arm(row, this.#connections.heard[row]! + IDLE, now);
      return;
    }
    if (words[at + PROBES]!++ >= KEEPALIVE_PROBES) {
      this.#giveUp(row);
      return;
    }
    this.#output.wake(row, KEEPALIVE_DUE);
    this.#connections.arm(row, now + KEEPALIVE_INTERVAL, now);
  }
}
