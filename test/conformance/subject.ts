import type { Geography } from './geography.ts';

/** One connection in the subject's table; addresses and ports of the direction that began it, and of the answers. */
export interface Flow {
  protocol: number;
  family: 4 | 6;
  state: string | null;
  src: string;
  dst: string;
  /** For ICMP queries: the identifier. */
  srcPort: number;
  dstPort: number;
  replySrc: string;
  replyDst: string;
  /** Milliseconds. */
  remaining: number;
  unreplied: boolean;
  assured: boolean;
}

/** A NAT under test. */
export interface Subject {
  readonly name: 'tapdeck' | 'kernel';
  /** Sets it up. @throws when it refuses the layout, Undrivable when it cannot be set up so */
  open(geography: Geography, onFrame: FrameListener): Promise<Wire>;
}

/** Hears of every frame that the NAT sends towards a station; the bytes are the listener's. */
export type FrameListener = (station: string, frame: Uint8Array) => void;

/** The NAT with stations on it. */
export interface Wire {
  /** Whether time is moved by hand. */
  readonly virtual: boolean;
  /** Milliseconds. */
  now(): number;
  /**
   * A station sends a frame.
   * @param partial the transport checksum is left to be completed, as from a container with checksum offload
   */
  send(station: string, frame: Uint8Array, partial?: boolean): void;
  /** Until all that is under way has arrived. */
  settle(): Promise<void>;
  /** @throws Undrivable when that is too long to wait */
  advance(milliseconds: number): Promise<void>;
  flows(): Promise<Flow[]>;
  /** @throws when the NAT cannot account for a frame */
  close(): Promise<void>;
}
