import type { DeckNameTable } from '../capture/live/deck-names.ts';

/** What a capture or a trace is to be. */
export interface FeedOptions {
  kind: 'capture' | 'trace';
  /** What the data plane writes to. */
  ring: SharedArrayBuffer;
  /** Bytes kept of each frame. */
  snapLength: number;
  filter: string;
  direction?: 'in' | 'out' | undefined;
  /** The file to which the thread writes by itself, instead of handing on chunks. */
  file?: number | undefined;
  application: string;
  hardware: string;
  os: string;
}

/** What the thread of captures is started with. */
export interface CaptureThreadData {
  /** Milliseconds of the data plane's clock when the machine's monotonic clock was at 0. */
  offset: number;
}

export type NameTable = DeckNameTable;

/** Main thread to the thread of captures. */
export type CaptureRequest =
  | { type: 'open'; feed: number; options: FeedOptions; buffers: readonly ArrayBuffer[] }
  /** A buffer has been written and can be filled again. */
  | { type: 'taken'; feed: number; buffer: ArrayBuffer }
  /** The data plane writes no more: what is in the ring is the rest. */
  | { type: 'finish'; feed: number }
  /** Nobody reads any more. */
  | { type: 'close'; feed: number }
  | { type: 'names'; names: NameTable };

/** Thread of captures to the main thread. */
export type CaptureNotice =
  /** What a buffer is filled with, which comes back by `taken`. */
  | { type: 'chunk'; feed: number; bytes: Uint8Array<ArrayBuffer> }
  /** So many bytes have been written to the feed's file. */
  | { type: 'progress'; feed: number; bytes: number }
  /** All has been handed on, or written: so many packets; or, with `ENOSPC: no space left on device`, say, cannot be. The file is used no more. */
  | { type: 'end'; feed: number; packets: number; error?: string };
