import { Arena, BIG_SLOT, type Frame } from '../../switch/frame.ts';
import type { Carrier } from '../../wire/carrier.ts';
import { SlotOp } from './format.ts';

/** Hears what devices do with slots. */
export type SlotListener = (op: SlotOp, frame: Frame) => void;

/**
 * The arena of a data plane as its devices see it: the same slots. What the data plane does with them follows from what enters
 * it; what devices do has to be told.
 */
export class DeviceArena extends Arena {
  onSlot: SlotListener | null = null;
  readonly #arena: Arena;

  constructor(arena: Arena) {
    super({ small: 0, big: 0 }, arena);
    this.#arena = arena;
  }

  override get free(): number {
    return this.#arena.free;
  }

  override get scarce(): boolean {
    return this.#arena.scarce;
  }

  override carry(carrier: Carrier): void {
    this.#arena.carry(carrier);
  }

  override allocate(length: number): Frame | undefined {
    const frame = this.#arena.allocate(length);
    if (this.onSlot !== null && frame !== undefined) this.onSlot(takes(frame), frame);
    return frame;
  }

  override park(frame: Frame): Frame | undefined {
    const kept = this.#arena.park(frame);
    if (this.onSlot !== null && kept !== undefined)
      this.onSlot(kept === frame ? SlotOp.RETAIN : takes(kept), kept);
    return kept;
  }

  override retain(frame: Frame): void {
    this.#arena.retain(frame);
    if (this.onSlot !== null) this.onSlot(SlotOp.RETAIN, frame);
  }

  override release(frame: Frame): void {
    this.#arena.release(frame);
    if (this.onSlot !== null) this.onSlot(SlotOp.RELEASE, frame);
  }
}

function takes(frame: Frame): SlotOp {
  return frame.limit - frame.base === BIG_SLOT ? SlotOp.TAKE_BIG : SlotOp.TAKE;
}
