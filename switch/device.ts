import type { DropReason } from './drop-reason.ts';
import type { Arena, Frame } from './frame.ts';

/** What became of a frame handed to `transmit`. */
export const Transmit = {
  /** The device has it. */
  SENT: 0,
  /** The device has no room now; try the same frame again when it becomes writable. */
  BLOCKED: 1,
  /** The device refused this frame (too long for it, its link is down); others may pass. */
  REFUSED: 2,
  /** The device is no more. */
  GONE: 3,
  /** The device does not understand the frame's virtio-net header; others may pass. */
  INVALID: 4,
} as const;
/** One of these, or a reason for which the device has discarded the frame: see `discarded`. */
export type Transmit = (typeof Transmit)[keyof typeof Transmit] | Discarded;

/** Frames that a device takes at once. */
export const BATCH = 32;

/** Above all answers of `Transmit`: the number of a drop reason is added to it. */
const DISCARDED = 0x100;
/** A drop reason as an answer to `transmit`. */
export type Discarded = number & { readonly discarded: DropReason };

/** The answer of a device that knows why it does not send a frame. */
export function discarded(reason: DropReason): Discarded {
  return (DISCARDED + reason) as Discarded;
}

/** Why the device has discarded the frame; 0 when it gave no reason of its own. */
export function discardReason(status: Transmit): DropReason {
  return (status < DISCARDED ? 0 : status - DISCARDED) as DropReason;
}

/**
 * Where frames come from and go to. A device knows nothing of switching. Live: `TapDevice`; in memory:
 * `MemoryDevice`; for captures in virtual time: `ReplayDevice`; around any of them: `FaultyDevice`.
 */
export interface Device {
  /** Descriptor to wait on with epoll, or -1 for a device that has none. */
  readonly fd: number;
  /** Whether the device takes GSO frames and partial checksums (virtio-net header); if not, both are finished in software first. */
  readonly offload: boolean;
  /** True once the device has vanished under us (its namespace ended); it then receives and sends nothing. */
  readonly gone: boolean;
  /**
   * The next frame, in a slot of `arena` held once for the caller, with `at` and `length` set and its
   * virtio-net header in the 12 bytes before `at`; null when none is waiting (or no slot is free).
   * @param now monotonic milliseconds
   */
  receive(arena: Arena, now: number): Frame | null;
  /** Sends `frame`; a device that keeps it for later retains it. Never changes its bytes. */
  transmit(frame: Frame, now: number): Transmit;
  /**
   * Sends the first `count` frames, at most `BATCH`, and writes to `outcomes` what `transmit` would have said of each. Only
   * devices have it for which that is better than one at a time.
   */
  transmitBatch?(frames: readonly Frame[], count: number, outcomes: Transmit[], now: number): void;
  /** When the device next has something to do by itself (monotonic milliseconds), Infinity if never. */
  deadline(): number;
  close(): void;
}
