import type { Carrier } from '../wire/carrier.ts';
import type { Frame } from './frame.ts';
import type { Verdict } from './verdict.ts';

/** How a frame came into the outbox: which side of the ledger it is on. */
export const Provenance = {
  /** The deck made it: an answer, a request, an error. It is new in the ledger. */
  ORIGINATED: 0,
  /** It was answered HOLD before and goes on now (or is given up): it is no longer held. */
  RESUMED: 1,
  /** A further piece of a frame that has a verdict of its own, such as its second fragment: one more copy. */
  COPIED: 2,
  /** Put together from fragments, of which the last has a verdict of its own. It is new in the ledger, but no new packet. */
  REASSEMBLED: 3,
} as const;
export type Provenance = (typeof Provenance)[keyof typeof Provenance];

/**
 * Frames that leave the deck without having just come in, in order, each with its verdict and held once. A stage
 * puts them in; the edge takes them out after the frame that caused them, and keeps the ledger by `provenance`.
 */
export class Outbox {
  /** How the frame that `shift` gave last had come in. */
  provenance: Provenance = Provenance.ORIGINATED;
  /** The packet in hand, because of which frames are made; 0 when there is none. */
  cause = 0;
  readonly #ring: (Frame | undefined)[];
  readonly #provenances: Uint8Array;
  readonly #mask: number;
  #head = 0;
  #tail = 0;

  /** @param capacity frames, a power of two; twice as many as can be held at one time */
  constructor(capacity = 4096) {
    this.#ring = new Array(capacity).fill(undefined);
    this.#provenances = new Uint8Array(capacity);
    this.#mask = capacity - 1;
  }

  get size(): number {
    return (this.#tail - this.#head) | 0;
  }

  /** Nothing is in it between two frames, but where it goes on. */
  carry(carrier: Carrier): void {
    if (this.size > 0) throw new Error('frames are on their way');
    this.#head = carrier.number(this.#head);
    this.#tail = this.#head;
  }

  /** A frame that the deck made; until it leaves, its packet is the cause. Takes over the caller's reference; false (and nothing taken) when there is no room. */
  originate(frame: Frame, verdict: Verdict): boolean {
    frame.packet = this.cause;
    return this.#offer(frame, verdict, Provenance.ORIGINATED);
  }

  /** One more piece of another frame. Takes over the caller's reference; false (and nothing taken) when there is no room. */
  copy(frame: Frame, verdict: Verdict): boolean {
    return this.#offer(frame, verdict, Provenance.COPIED);
  }

  /** A datagram that was put together. Takes over the caller's reference; false (and nothing taken) when there is no room. */
  reassembled(frame: Frame, verdict: Verdict): boolean {
    return this.#offer(frame, verdict, Provenance.REASSEMBLED);
  }

  /**
   * A frame whose verdict was HOLD, with the reference that its holder took. There is always room: half of the
   * ring is kept free for these, or a frame would be lost to the ledger.
   */
  resume(frame: Frame, verdict: Verdict): void {
    if (this.size > this.#mask) throw new RangeError('more frames were held than the outbox has room for');
    this.#put(frame, verdict, Provenance.RESUMED);
  }

  /** The oldest frame, with its reference; undefined when empty. */
  shift(): Frame | undefined {
    if (this.#head === this.#tail) return undefined;
    const index = this.#head & this.#mask;
    const frame = this.#ring[index];
    this.provenance = this.#provenances[index] as Provenance;
    this.#ring[index] = undefined;
    this.#head = (this.#head + 1) | 0;
    return frame;
  }

  #offer(frame: Frame, verdict: Verdict, provenance: Provenance): boolean {
    if (this.size > this.#mask >> 1) return false;
    this.#put(frame, verdict, provenance);
    return true;
  }

  #put(frame: Frame, verdict: Verdict, provenance: Provenance): void {
    const index = this.#tail & this.#mask;
    frame.verdict = verdict;
    this.#ring[index] = frame;
    this.#provenances[index] = provenance;
    this.#tail = (this.#tail + 1) | 0;
  }
}
