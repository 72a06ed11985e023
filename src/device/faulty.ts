import { type Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { type LineFaults, NO_FAULTS } from './faults.ts';
import { Impairment, type ImpairmentCounters } from './impairment.ts';

export { type Faults, FaultsError, type LineFaults, NO_FAULTS, parseFaults } from './faults.ts';

/** Frames taken from the device in one call while all of them are lost or wait. */
const BUDGET = 256;
/** Milliseconds after which a device that had no room is tried again. */
const RETRY = 1;

/**
 * A bad line in front of a device: loses, corrupts, duplicates, reorders and delays frames in both directions, by a
 * seed. A frame that it has taken for transmission counts as sent, whatever becomes of it: that is the line's affair.
 * While the device has no room for a frame, it takes no further one.
 *
 * Delayed frames of both directions move on in `receive` and `transmit`: call `receive` when `deadline` is reached.
 */
export class FaultyDevice implements Device {
  readonly #device: Device;
  readonly #arena: Arena;
  readonly #inbound: Impairment;
  readonly #outbound: Impairment;
  #stuck: Frame | null = null;
  #retryAt = 0;
  #more = false;
  /** Frames that the device refused after the line had taken them. */
  refused = 0;

  /** @param faults a direction that is left out is faultless */
  constructor(device: Device, arena: Arena, faults: Partial<LineFaults>) {
    const seed = faults.seed ?? 0;
    this.#device = device;
    this.#arena = arena;
    this.#inbound = new Impairment(faults.receive ?? NO_FAULTS, seed, arena, false);
    // The two directions of a line have nothing to do with each other, also when their faults are the same.
    this.#outbound = new Impairment(faults.transmit ?? NO_FAULTS, seed ^ 0x5bd1_e995, arena, true);
  }

  get fd(): number {
    return this.#device.fd;
  }

  get offload(): boolean {
    return this.#device.offload;
  }

  get gone(): boolean {
    return this.#device.gone;
  }

  /** What has happened to the frames that the deck receives, and to those that it sends. */
  get counters(): {
    readonly receive: Readonly<ImpairmentCounters>;
    readonly transmit: Readonly<ImpairmentCounters>;
  } {
    return { receive: this.#inbound.counters, transmit: this.#outbound.counters };
  }

  /** Frames that wait in either direction. */
  get held(): number {
    return this.#inbound.held + this.#outbound.held + (this.#stuck === null ? 0 : 1);
  }

  receive(arena: Arena, now: number): Frame | null {
    this.#send(now);
    this.#more = false;
    for (let taken = 0; ; taken++) {
      const due = this.#inbound.next(now);
      if (due !== null) return due;
      if (taken === BUDGET) {
        // The rest comes with the next call, so that a line that loses everything does not stop all others.
        this.#more = true;
        return null;
      }
      const frame = this.#device.receive(arena, now);
      if (frame === null) return null;
      this.#inbound.enter(frame, now);
    }
  }

  transmit(frame: Frame, now: number): Transmit {
    if (this.#device.gone) return Transmit.GONE;
    // Before anything is drawn: the same frame will be offered again.
    if (!this.#send(now)) return Transmit.BLOCKED;
    this.#arena.retain(frame);
    this.#outbound.enter(frame, now);
    this.#send(now);
    return Transmit.SENT;
  }

  deadline(): number {
    if (this.#more) return Number.NEGATIVE_INFINITY;
    const outbound = this.#stuck === null ? this.#outbound.deadline() : this.#retryAt;
    return Math.min(this.#device.deadline(), this.#inbound.deadline(), outbound);
  }

  close(): void {
    this.#inbound.clear();
    this.#outbound.clear();
    if (this.#stuck !== null) this.#arena.release(this.#stuck);
    this.#stuck = null;
    this.#device.close();
  }

  /** Gives the device what is due; false when it has no room for all of it. */
  #send(now: number): boolean {
    for (;;) {
      const frame = this.#stuck ?? this.#outbound.next(now);
      if (frame === null) return true;
      const status = this.#device.transmit(frame, now);
      if (status === Transmit.BLOCKED) {
        this.#stuck = frame;
        this.#retryAt = now + RETRY;
        return false;
      }
      if (status !== Transmit.SENT && status !== Transmit.GONE) this.refused++;
      this.#stuck = null;
      this.#arena.release(frame);
    }
  }
}
