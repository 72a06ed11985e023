import type { Carrier } from '../wire/carrier.ts';
import type { Frame } from './frame.ts';

/** Frames in the order they came, at most as many as said. Holds the references that are handed to it. */
export class FrameRing {
  readonly #slots: (Frame | null)[];
  readonly #marks: Uint8Array;
  #head = 0;
  #size = 0;

  constructor(capacity: number) {
    this.#slots = new Array<Frame | null>(capacity).fill(null);
    this.#marks = new Uint8Array(capacity);
  }

  /** @param frames those of the arena, by slot */
  carry(carrier: Carrier, frames: readonly Frame[]): void {
    const length = this.#slots.length;
    const waiting = Array.from(
      { length: this.#size },
      (_, i) => this.#slots[(this.#head + i) % length]!.slot,
    );
    this.#slots.fill(null);
    this.#head = 0;
    this.#size = 0;
    for (const slot of carrier.plain(waiting)) {
      frames[slot]!.carry(carrier);
      this.push(frames[slot]!);
    }
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size === this.#slots.length;
  }

  /** Puts a frame at the end, with a number of the caller's; the caller has made sure that there is room. */
  push(frame: Frame, mark = 0): void {
    let index = this.#head + this.#size++;
    if (index >= this.#slots.length) index -= this.#slots.length;
    this.#slots[index] = frame;
    this.#marks[index] = mark;
  }

  /** The oldest frame, which stays; or null. */
  first(): Frame | null {
    return this.#size === 0 ? null : this.#slots[this.#head]!;
  }

  /** What the oldest frame was put in with. */
  get mark(): number {
    return this.#marks[this.#head]!;
  }

  /** Takes the oldest frame; or null. */
  shift(): Frame | null {
    if (this.#size === 0) return null;
    const head = this.#head;
    const frame = this.#slots[head]!;
    this.#slots[head] = null;
    this.#head = head + 1 === this.#slots.length ? 0 : head + 1;
    this.#size--;
    return frame;
  }
}
