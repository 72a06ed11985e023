import type { Chunks } from './chunks.ts';

/** What reads a ring and writes chunks: a capture, or a trace. */
export interface Feed {
  readonly chunks: Chunks;
  /** Packets, each copy of them, or lines that have been written. */
  readonly written: number;
  /** Takes at most so many stories; answers how many there were room and names for. */
  take(most: number, now: number): number;
  /** Takes notice that names have changed. */
  renamed(): void;
  /** Whether there is something in the ring, or in hand, that `take` has not taken. */
  readonly isBehind: boolean;
  /** Writes what stands at the end, when nothing is left. */
  finish(): void;
}
