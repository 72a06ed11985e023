import type { Route } from './frame-builder.ts';

/** What became of a frame at once. */
export interface Fate {
  /** By which it came. */
  readonly port: string;
  readonly frame: Uint8Array;
  /** Of addresses that a frame does not say: those of the station at the port. */
  readonly route: Route;
  /** In words: `forwarded to b`, `flooded`, `dropped: IP_CSUM`. */
  readonly verdict: string;
  /** What the deck sent because of it, by port; ports that sent nothing are left out. */
  readonly sent: Readonly<Record<string, readonly Uint8Array[]>>;
  /** Why frames were dropped meanwhile: the frame itself, or copies of it on their way out. */
  readonly reasons: readonly string[];
}
