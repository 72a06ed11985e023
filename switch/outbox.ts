import type { Frame } from './frame.ts';
import type { Verdict } from './verdict.ts';

/**
 * Frames that the deck itself originates (ARP requests and answers, ICMP errors, frames whose next hop has
 * just been resolved), in order, each with its verdict and held once. A stage puts them in; the edge takes
 * them out after the frame that caused them.
 */
export class Outbox {
  readonly #ring: (Frame | undefined)[];
  readonly #mask: number;
  #head = 0;
  #tail = 0;

  /** @param capacity frames, a power of two */
  constructor(capacity = 4096) {
    this.#ring = new Array(capacity).fill(undefined);
    this.#mask = capacity - 1;
  }

  get size(): number {
    return (this.#tail - this.#head) | 0;
  }

  /** Takes over the caller's reference; false (and nothing taken) when full. */
  push(frame: Frame, verdict: Verdict): boolean {
    if (this.size > this.#mask) return false;
    frame.verdict = verdict;
    this.#ring[this.#tail & this.#mask] = frame;
    this.#tail = (this.#tail + 1) | 0;
    return true;
  }

  /** The oldest frame, with its reference; undefined when empty. */
  shift(): Frame | undefined {
    if (this.#head === this.#tail) return undefined;
    const index = this.#head & this.#mask;
    const frame = this.#ring[index];
    this.#ring[index] = undefined;
    this.#head = (this.#head + 1) | 0;
    return frame;
  }
}
