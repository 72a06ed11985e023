import type { Arena, Frame } from '../../switch/frame.ts';
import { set32 } from '../../wire/bytes.ts';
import { TCP_OPT_NOP, TCP_OPT_SACK, tcpSequence } from '../../wire/tcp.ts';
import { before, HELD, HELD_COUNT, RCV_NXT } from './tcp-connections.ts';

/** Frames that are held for all connections together: a part of the arena's slots. */
const CAPACITY = 512;
/** Frames that are held for one connection; no more than there are places left, so that a few cannot have them all. */
const PER_CONNECTION = 64;
/** Frames that wait for sockets which are full. More are not kept: thousands of readers may be slow at the same time. */
const MOST_BLOCKED = 256;

/**
 * Segments that cannot go into their socket yet: because one before them is missing, or because the socket is full. They
 * stay in their slots, in the order of their sequence numbers, in a list for each connection. Whoever has no place here
 * is lost, as in a router whose queue is full, and sent again.
 */
export class HeldFrames {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #frames: (Frame | null)[] = new Array<Frame | null>(CAPACITY).fill(null);
  /** Next of the same connection or of the free ones, + 1. */
  readonly #next = new Int32Array(CAPACITY);
  #free = 1;
  #count = 0;

  /** @param words of the connections; `at` below is where a row begins in it */
  constructor(arena: Arena, words: Int32Array) {
    this.#arena = arena;
    this.#words = words;
    for (let i = 0; i < CAPACITY - 1; i++) this.#next[i] = i + 2;
  }

  /** The first frame of a connection, or null. */
  first(at: number): Frame | null {
    const first = this.#words[at + HELD];
    return first === 0 ? null : this.#frames[first - 1]!;
  }

  /** The frame behind the `index`th, counted from 0, or null. */
  #nth(at: number, index: number): Frame | null {
    let entry = this.#words[at + HELD];
    for (let i = 0; i < index && entry !== 0; i++) entry = this.#next[entry - 1];
    return entry === 0 ? null : this.#frames[entry - 1]!;
  }

  /**
   * Keeps a frame; false when there is no room for it.
   * @param isBlocked its socket is full; no segment before it is missing
   */
  hold(at: number, frame: Frame, isBlocked: boolean): boolean {
    const words = this.#words;
    if (isBlocked && this.#count >= MOST_BLOCKED) return false;
    if (words[at + HELD_COUNT] >= Math.min(PER_CONNECTION, CAPACITY - this.#count)) return false;
    const sequence = tcpSequence(frame.bytes, frame.l4);
    let previous = 0;
    let next = words[at + HELD];
    while (next !== 0) {
      const other = this.#frames[next - 1]!;
      const otherSequence = tcpSequence(other.bytes, other.l4);
      if (before(sequence, otherSequence)) break;
      // The same again. A longer one is not looked for: what is missing will come once more.
      if (sequence === otherSequence && frame.end - frame.payload <= other.end - other.payload) return true;
      previous = next;
      next = this.#next[next - 1];
    }
    const kept = this.#arena.park(frame);
    if (kept === undefined) return false;
    const entry = this.#free;
    this.#free = this.#next[entry - 1];
    this.#frames[entry - 1] = kept;
    this.#next[entry - 1] = next;
    if (previous === 0) words[at + HELD] = entry;
    else this.#next[previous - 1] = entry;
    words[at + HELD_COUNT]++;
    this.#count++;
    return true;
  }

  /** Lets the first frame of a connection go. */
  shift(at: number): void {
    const words = this.#words;
    const entry = words[at + HELD];
    words[at + HELD] = this.#next[entry - 1];
    words[at + HELD_COUNT]--;
    this.#count--;
    this.#arena.release(this.#frames[entry - 1]!);
    this.#frames[entry - 1] = null;
    this.#next[entry - 1] = this.#free;
    this.#free = entry;
  }

  clear(at: number): void {
    while (this.#words[at + HELD] !== 0) this.shift(at);
  }

  /** Up to three blocks of what is there behind a hole (RFC 2018 §3); answers the bytes written. */
  writeSack(bytes: Uint8Array, at: number, fields: number): number {
    const words = this.#words;
    let blocks = 0;
    let left = 0;
    let right = 0;
    let out = at + 4;
    for (let index = 0; blocks < 3; index++) {
      const frame = this.#nth(fields, index);
      if (frame === null) break;
      const sequence = tcpSequence(frame.bytes, frame.l4);
      const end = (sequence + frame.end - frame.payload) | 0;
      // What only waits for room in the socket is no hole; it will be acknowledged.
      if (!before(words[fields + RCV_NXT], sequence)) continue;
      if (blocks > 0 && !before(right, sequence)) {
        if (before(right, end)) {
          right = end;
          set32(bytes, out - 4, right);
        }
        continue;
      }
      left = sequence;
      right = end;
      set32(bytes, out, left);
      set32(bytes, out + 4, right);
      out += 8;
      blocks++;
    }
    if (blocks === 0) return 0;
    bytes[at] = TCP_OPT_NOP;
    bytes[at + 1] = TCP_OPT_NOP;
    bytes[at + 2] = TCP_OPT_SACK;
    bytes[at + 3] = out - at - 2;
    return out - at;
  }
}
