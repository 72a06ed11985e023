import * as ng from '../pcapng-format.ts';
import { BlockType } from '../pcapng-format.ts';
import type { Chunks } from './chunks.ts';

/** Comment and other options of constant bytes, as they stand in a block, padded. */
export type Options = Uint8Array;

/** Actions of XDP, as `epb_verdict` has them (uapi/linux/bpf.h, enum xdp_action). */
export const XdpAction = { ABORTED: 0, DROP: 1, PASS: 2, TX: 3, REDIRECT: 4 } as const;
export type XdpAction = (typeof XdpAction)[keyof typeof XdpAction];

/** Bytes of an Enhanced Packet Block besides the frame and its comments: head, the four options below, their end, total length. */
const FIXED = ng.EPB_DATA + (4 + 4) + (4 + 8) + (4 + 12) + (4 + 8) + 4 + 4;
const BILLION = 1_000_000_000;
const WORD = 0x1_0000_0000;

/** What stands in one Enhanced Packet Block: one object, filled anew for each. */
export class PacketNotes {
  interfaceId = 0;
  /** Seconds since 1970-01-01 UTC, and nanoseconds. */
  seconds = 0;
  nanoseconds = 0;
  originalLength = 0;
  flags = 0;
  /** The same on all copies; a safe integer. */
  packetId = 0;
  verdict: XdpAction = XdpAction.PASS;
  /** Packets that were lost between the last block of this interface and this one. */
  dropped = 0;
  comments: Options | null = null;
}

/**
 * Writes Enhanced Packet Blocks, some 200,000 in a second: no object, big integer or string is made for one. What is rare
 * goes by `PcapngWriter`.
 */
export class PacketBlocks {
  readonly #chunks: Chunks;

  constructor(chunks: Chunks) {
    this.#chunks = chunks;
  }

  /** Most bytes of a block for `captured` bytes with comments of `comments` bytes. */
  static room(captured: number, comments: number): number {
    return FIXED + ng.padded(captured) + comments;
  }

  /** Writes a frame's `captured` bytes from `at` on; there must be room. */
  write(notes: PacketNotes, bytes: Uint8Array, at: number, captured: number): void {
    const chunks = this.#chunks;
    const { comments } = notes;
    chunks.reserve(PacketBlocks.room(captured, comments?.length ?? 0));
    const { bytes: target, view, length: start } = chunks;
    view.setUint32(start, BlockType.ENHANCED_PACKET, true);
    view.setUint32(start + ng.EPB_INTERFACE, notes.interfaceId, true);
    setTime(view, start + ng.EPB_TIMESTAMP, notes.seconds, notes.nanoseconds);
    view.setUint32(start + ng.EPB_CAPTURED, captured, true);
    view.setUint32(start + ng.EPB_ORIGINAL, notes.originalLength, true);
    let end = start + ng.EPB_DATA;
    copy(target, end, bytes, at, captured);
    end += captured;
    while ((end - start) % 4 !== 0) target[end++] = 0;
    if (comments !== null) {
      target.set(comments, end);
      end += comments.length;
    }
    end = option(view, end, ng.EpbOpt.FLAGS, 4);
    view.setUint32(end, notes.flags, true);
    end = option(view, end + 4, ng.EpbOpt.PACKETID, 8);
    setU64(view, end, notes.packetId);
    // A byte for the kind of verdict and eight for its value.
    end = option(view, end + 8, ng.EpbOpt.VERDICT, 9);
    view.setUint32(end, ng.VERDICT_XDP | (notes.verdict << 8), true);
    view.setUint32(end + 4, 0, true);
    view.setUint32(end + 8, 0, true);
    end += 12;
    // Also where none were: the block, all of whose parts are multiples of 4, becomes a multiple of 8 (see `chunks.ts`).
    if (notes.dropped > 0 || (end & 7) !== 0) {
      end = option(view, end, ng.EpbOpt.DROPCOUNT, 8);
      setU64(view, end, notes.dropped);
      end += 8;
    }
    view.setUint32(end, ng.Opt.END, true);
    const total = end + 8 - start;
    view.setUint32(end + 4, total, true);
    view.setUint32(start + 4, total, true);
    chunks.length = start + total;
  }
}

/** Comments in the form in which a block has them. */
export function commentOptions(comments: readonly string[]): Options {
  const texts = comments.map((text) => new TextEncoder().encode(text).subarray(0, 0xffff));
  const bytes = new Uint8Array(texts.reduce((sum, { length }) => sum + 4 + ng.padded(length), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const text of texts) {
    option(view, at, ng.Opt.COMMENT, text.length);
    bytes.set(text, at + 4);
    at += 4 + ng.padded(text.length);
  }
  return bytes;
}

function option(view: DataView, at: number, code: number, length: number): number {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, length, true);
  return at + 4;
}

/** Below this, a loop is faster than the call of `set` and the view that it takes. */
const SHORT = 64;

function copy(target: Uint8Array, to: number, bytes: Uint8Array, at: number, length: number): void {
  if (length <= SHORT) for (let i = 0; i < length; i++) target[to + i] = bytes[at + i]!;
  else target.set(bytes.subarray(at, at + length), to);
}

/** Nanoseconds since 1970, 61 bits and more than a number holds, high half first. */
function setTime(view: DataView, at: number, seconds: number, nanoseconds: number): void {
  // seconds × 10⁹ in two halves: each product stays below 2⁵³.
  const low = (seconds % 0x10000) * BILLION + nanoseconds;
  const high = Math.floor(seconds / 0x10000) * BILLION;
  const sum = low + (high % 0x10000) * 0x10000;
  view.setUint32(at, Math.floor(high / 0x10000) + Math.floor(sum / WORD), true);
  view.setUint32(at + 4, sum % WORD, true);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % WORD, true);
  view.setUint32(at + 4, Math.floor(value / WORD), true);
}
