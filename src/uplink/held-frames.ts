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
/** Blocks of a selective acknowledgment that leave room for timestamps (RFC 2018 §3); of each: left edge, right edge, arrival. */
const SACK_BLOCKS = 3;
const BLOCK = 3;

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
  /** When it came, in a count of all that came, which goes round. */
  readonly #arrival = new Int32Array(CAPACITY);
  readonly #blocks = new Int32Array(SACK_BLOCKS * BLOCK);
  #arrivals = 0;
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
      if (sequence === otherSequence && frame.end - frame.payload <= other.end - other.payload) {
        this.#arrive(next);
        return true;
      }
      previous = next;
      next = this.#next[next - 1];
    }
    const kept = this.#arena.park(frame);
    if (kept === undefined) return false;
    const entry = this.#free;
    this.#free = this.#next[entry - 1];
    this.#frames[entry - 1] = kept;
    this.#arrive(entry);
    this.#next[entry - 1] = next;
    if (previous === 0) words[at + HELD] = entry;
    else this.#next[previous - 1] = entry;
    words[at + HELD_COUNT]++;
    this.#count++;
    return true;
  }

  #arrive(entry: number): void {
    this.#arrival[entry - 1] = this.#arrivals;
    this.#arrivals = (this.#arrivals + 1) | 0;
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

  /**
   * Up to three blocks of what is there behind a hole (RFC 2018 §3), those that grew last before others (§4): each is said
   * in three acknowledgments at least, and more than three holes come to be known all the same. Answers the bytes written.
   */
  writeSack(bytes: Uint8Array, at: number, fields: number): number {
    const words = this.#words;
    let count = 0;
    let left = 0;
    let right = 0;
    let arrival = 0;
    let isOpen = false;
    let contiguous = words[fields + RCV_NXT];
    for (let entry = words[fields + HELD]; entry !== 0; entry = this.#next[entry - 1]) {
      const frame = this.#frames[entry - 1]!;
      const sequence = tcpSequence(frame.bytes, frame.l4);
      const end = (sequence + frame.end - frame.payload) | 0;
      // What only waits for room in the socket is no hole; it will be acknowledged.
      if (!before(contiguous, sequence)) {
        if (before(contiguous, end)) contiguous = end;
        continue;
      }
      const came = this.#arrival[entry - 1];
      if (isOpen && !before(right, sequence)) {
        if (before(right, end)) right = end;
        if (before(arrival, came)) arrival = came;
        continue;
      }
      if (isOpen) count = this.#insertBlock(count, left, right, arrival);
      isOpen = true;
      left = sequence;
      right = end;
      arrival = came;
    }
    if (!isOpen) return 0;
    count = this.#insertBlock(count, left, right, arrival);
    bytes[at] = TCP_OPT_NOP;
    bytes[at + 1] = TCP_OPT_NOP;
    bytes[at + 2] = TCP_OPT_SACK;
    bytes[at + 3] = 2 + 8 * count;
    for (let block = 0; block < count; block++) {
      set32(bytes, at + 4 + 8 * block, this.#blocks[block * BLOCK]);
      set32(bytes, at + 8 + 8 * block, this.#blocks[block * BLOCK + 1]);
    }
    return 4 + 8 * count;
  }

  /** Puts a block before those that grew earlier; the earliest falls out. Answers how many there are. */
  #insertBlock(count: number, left: number, right: number, arrival: number): number {
    const blocks = this.#blocks;
    let place = count * BLOCK;
    while (place > 0 && before(blocks[place - BLOCK + 2], arrival)) place -= BLOCK;
    if (place === blocks.length) return count;
    blocks.copyWithin(place + BLOCK, place, blocks.length - BLOCK);
    blocks[place] = left;
    blocks[place + 1] = right;
    blocks[place + 2] = arrival;
    return Math.min(count + 1, SACK_BLOCKS);
  }
}
