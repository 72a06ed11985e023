import { BATCH } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { writeBatch } from '../device/write-batch.ts';
import { FD, FIN_RECEIVED, FLAGS, RCV_NXT, ROW, SENDING, STATE, TcpState } from './tcp-connections.ts';
import type { TcpHost } from './tcp-host.ts';

/** What is to be done when a socket has not taken all of a payload. */
export interface SendBatchEvents {
  /** The socket is full: the frame's payload has to go there later, from RCV_NXT on, which is where it was again. */
  full(row: number, frame: Frame): void;
  /** The socket has failed. */
  broken(row: number): void;
}

/**
 * Small payloads on their way to sockets of the host, one for each connection, that are sent with one call (see
 * write-batch.ts): a send wakes its receiver, and a burst of answers would be handed over one by one. Whoever adds a payload
 * may take it for sent, as long as nothing is said to the inside before `flush`; also that the end has come behind it, if the
 * connection was established until then.
 */
export class SendBatch {
  size = 0;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #host: TcpHost;
  readonly #events: SendBatchEvents;
  readonly #rows = new Int32Array(BATCH);
  readonly #from = new Int32Array(BATCH);
  readonly #lengths = new Int32Array(BATCH);
  readonly #frames: Frame[] = [];

  constructor(arena: Arena, words: Int32Array, host: TcpHost, events: SendBatchEvents) {
    this.#arena = arena;
    this.#words = words;
    this.#host = host;
    this.#events = events;
  }

  /** Adds `length` bytes at offset `from` of the arena, which are in `frame`, for a row that has none here; false when there is no room. */
  add(row: number, frame: Frame, from: number, length: number): boolean {
    if (this.size === BATCH || writeBatch(this.#arena.bytes) === null) return false;
    const index = this.size++;
    this.#rows[index] = row;
    this.#from[index] = from;
    this.#lengths[index] = length;
    this.#frames[index] = frame;
    this.#arena.retain(frame);
    const at = row * ROW;
    this.#words[at + FLAGS]! |= SENDING;
    this.#words[at + RCV_NXT] = (this.#words[at + RCV_NXT]! + length) | 0;
    return true;
  }

  /** Sends what was added. */
  flush(): void {
    const count = this.size;
    if (count === 0) return;
    this.size = 0;
    if (count === 1) {
      this.#conclude(0, this.#host.push(this.#rows[0]!, this.#from[0]!, this.#lengths[0]!));
      return;
    }
    const batch = writeBatch(this.#arena.bytes)!;
    for (let i = 0; i < count; i++) {
      batch.add(this.#words[this.#rows[i]! * ROW + FD]!, this.#from[i]!, this.#lengths[i]!);
    }
    batch.submit();
    for (let i = 0; i < count; i++) {
      const result = batch.results[i]!;
      this.#conclude(i, this.#host.pushed(this.#rows[i]!, result, -result));
    }
  }

  /** @param taken bytes that the socket has taken, -1 when it has failed */
  #conclude(index: number, taken: number): void {
    const words = this.#words;
    const row = this.#rows[index]!;
    const at = row * ROW;
    const frame = this.#frames[index]!;
    const left = this.#lengths[index]! - Math.max(0, taken);
    words[at + FLAGS]! &= ~SENDING;
    const ends = (words[at + FLAGS]! & FIN_RECEIVED) !== 0;
    if (left === 0) {
      if (ends) this.#host.finish(row);
    } else {
      words[at + RCV_NXT] = (words[at + RCV_NXT]! - left) | 0;
      if (ends) {
        // It has come too early then, and will come again.
        words[at + RCV_NXT] = (words[at + RCV_NXT]! - 1) | 0;
        words[at + FLAGS]! &= ~FIN_RECEIVED;
        words[at + STATE] = TcpState.ESTABLISHED;
      }
      if (taken < 0) this.#events.broken(row);
      else this.#events.full(row, frame);
    }
    this.#arena.release(frame);
  }
}
