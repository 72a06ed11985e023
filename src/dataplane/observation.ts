import type { Frame, PortId } from '../../switch/frame.ts';
import { ROW_WORDS } from '../../switch/trace.ts';

/**
 * What is observed of packets, on its way to another thread: a ring in shared memory with one writer, which never waits, and one
 * reader.
 *
 * The unit is a **story**: what is observed of one packet in one go, from the frame as it came in to the verdict. A story is in
 * the ring as a whole or not at all, and then it is counted: `kept + missed` stories were there, exactly. A packet whose pieces
 * leave the deck later (after waiting for a neighbor or for room) has a story for each time, under the same packet id.
 */
export const RecordKind = {
  /** Head of a story. */
  STORY: 0,
  /** The frame as it came in (or was made), before a byte of it is rewritten. */
  FRAME_IN: 1,
  /** A copy as it went out. */
  FRAME_OUT: 2,
  /** A row of `switch/trace.ts`. */
  ROW: 3,
  /** The row of a verdict: one for every account in the ledger. */
  END: 4,
  /** Nothing: the rest of the ring up to its end. */
  PAD: 5,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** Ports that are counted one by one in what is missed: as many as a switch has (`switch/ports.ts`). */
const PORTS = 8192;
/** Bytes in front of the records: the words below, and what is missed of each port. */
const COUNTERS = 64;
const HEADER = COUNTERS + 4 * PORTS;
// Words of the header. Positions count units of 8 bytes and wrap at 32 bits.
const HEAD = 0;
const TAIL = 1;
const MISSED = 2;
const KEPT = 3;

const UNIT = 8;
const UNIT_SHIFT = 3;
// Words of a record.
const LENGTH = 0;
const KIND = 1;
/** STORY, FRAME_IN and FRAME_OUT: */
const PACKET = 2;
const PORT = 3;
/** STORY: in doubles from the record's beginning. */
const NOW = 2;
/** FRAME_…: the word of the ring at which the bytes begin; of a copy that is as the frame came in, they are those of that. */
const DATA = 4;
/** FRAME_…: bytes on the wire. STORY: units of 8 bytes of the whole story. */
const ORIGINAL = 6;
const CAPTURED = 7;
const FRAME_HEADER = 32;
/** ROW and END: where the row begins. */
const ROW = 2;
const ROW_BYTES = 4 * (ROW + ROW_WORDS);

/**
 * Words that are compared to find whether a copy is as the frame came in, in the same place of memory: whatever the deck changes
 * there, it changes in headers, or a checksum in them, too.
 */
const HEADERS = 64;

/** Bytes that are copied at once, and what the beginnings of most frames are multiples of. */
const BLOCK = 2048;
const ALIGNMENT = 256;

/** Smallest and largest ring, in bytes. */
export const LEAST_RING = 4096;
export const MOST_RING = 1 << 30;

/** Memory for a ring of at least `bytes`: a power of two and a header. */
export function makeObservationRing(bytes: number): SharedArrayBuffer {
  if (!(bytes >= 1 && bytes <= MOST_RING))
    throw new RangeError(`a ring of ${bytes} bytes: from 1 to ${MOST_RING} are possible`);
  let size = LEAST_RING;
  while (size < bytes) size *= 2;
  return new SharedArrayBuffer(HEADER + size);
}

/** The writing end. */
export class ObservationWriter {
  readonly #header: Int32Array;
  readonly #missedBy: Int32Array;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #bytes: Uint8Array;
  /** The words of the buffer that frames were in last. */
  #source: Int32Array = new Int32Array(0);
  /** Units of the ring, and their number less one. */
  readonly #size: number;
  readonly #mask: number;
  /** Where the story in hand begins, and where its next record goes: positions. */
  #begin = 0;
  #at = 0;
  /** The port of the story in hand. */
  #port = 0;
  /** The story's FRAME_IN: the word at which its bytes begin in the ring, their place in memory and number; none is -1. */
  #inData = -1;
  #inBytes: Uint8Array | null = null;
  #inAt = 0;
  #inLength = 0;
  /** Up to where the reader has read, or had when that was looked at. */
  #tail = 0;
  /** The story in hand does not fit. */
  #isFull = false;
  /** A story did not fit, and where the reader was then: until he has gone on, none is tried. */
  #isStuck = false;
  #stuckAt = 0;
  /** Views of the arena, by where they begin in units of `ALIGNMENT`; made when they are needed first. */
  readonly #blocks: (Uint8Array | undefined)[] = [];

  constructor(ring: SharedArrayBuffer) {
    this.#header = new Int32Array(ring, 0, COUNTERS / 4);
    this.#missedBy = new Int32Array(ring, COUNTERS, PORTS);
    this.#words = new Int32Array(ring, HEADER);
    this.#doubles = new Float64Array(ring, HEADER);
    this.#bytes = new Uint8Array(ring, HEADER);
    this.#size = this.#words.length >> 1;
    this.#mask = this.#size - 1;
  }

  /** Whether the story in hand has been given up for want of room. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Begins a story. The one in hand, if there is any, is forgotten and not counted. */
  begin(packet: number, port: number, now: number): void {
    this.#at = this.#begin;
    this.#port = port;
    this.#inData = -1;
    this.#isFull = this.#isStuck && Atomics.load(this.#header, TAIL) === this.#stuckAt;
    this.#isStuck = this.#isFull;
    if (this.#isFull) return;
    const at = this.#reserve(FRAME_HEADER);
    if (at < 0) return;
    this.#head(at, RecordKind.STORY, FRAME_HEADER, packet, port);
    this.#doubles[(at >> 1) + NOW] = now;
  }

  /** Adds a frame, its first `snaplen` bytes. */
  frame(kind: RecordKind, frame: Frame, port: number, snaplen: number): void {
    if (this.#isFull) return;
    const { length } = frame;
    const captured = Math.min(length, snaplen);
    const isSame = kind === RecordKind.FRAME_OUT && this.#isAsItCame(frame, captured);
    const bytes = FRAME_HEADER + (isSame ? 0 : captured);
    const at = this.#reserve(bytes);
    if (at < 0) return;
    this.#head(at, kind, bytes, frame.packet, port);
    const words = this.#words;
    const data = isSame ? this.#inData : at + (FRAME_HEADER >> 2);
    words[at + DATA] = data;
    words[at + ORIGINAL] = length;
    words[at + CAPTURED] = captured;
    if (isSame) return;
    this.#copy(frame, data << 2, captured);
    if (kind !== RecordKind.FRAME_IN) return;
    this.#inData = data;
    this.#inBytes = frame.bytes;
    this.#inAt = frame.at;
    this.#inLength = length;
  }

  /** Adds a row. */
  row(kind: RecordKind, row: Int32Array): void {
    if (this.#isFull) return;
    const at = this.#reserve(ROW_BYTES);
    if (at < 0) return;
    const words = this.#words;
    words[at + LENGTH] = ROW_BYTES;
    words[at + KIND] = kind;
    for (let i = 0; i < ROW_WORDS; i++) words[at + ROW + i] = row[i]!;
  }

  /** Gives the story to the reader, or counts it as missed. What nobody else counts needs no atomic operation. */
  commit(): void {
    const header = this.#header;
    if (this.#isFull) {
      header[MISSED] = (header[MISSED]! + 1) | 0;
      if (this.#port < PORTS) this.#missedBy[this.#port] = (this.#missedBy[this.#port]! + 1) | 0;
      this.#at = this.#begin;
      if (this.#isStuck) return;
      this.#stuckAt = Atomics.load(header, TAIL);
      // From an empty ring the reader takes nothing: the next story may be a shorter one.
      this.#isStuck = this.#stuckAt !== this.#begin;
    } else {
      this.#words[this.#storyAt() + ORIGINAL] = (this.#at - this.#begin) | 0;
      this.#begin = this.#at;
      header[KEPT] = (header[KEPT]! + 1) | 0;
      Atomics.store(header, HEAD, this.#at);
    }
  }

  /** Forgets the story in hand: nobody wants it. */
  rollBack(): void {
    this.#at = this.#begin;
  }

  /**
   * Copies without a new view of a part of either buffer, which would be an object per frame: long frames in blocks of which there
   * are views already, because nearly all frames begin at the same places of their slots, and the rest words at a time.
   */
  #copy({ bytes, at }: Frame, to: number, length: number): void {
    if (this.#source.buffer !== bytes.buffer) {
      this.#source = new Int32Array(bytes.buffer);
      this.#blocks.length = 0;
    }
    let i = 0;
    if (length >= BLOCK && (at & (ALIGNMENT - 1)) === 0) {
      for (; i + BLOCK <= length; i += BLOCK) this.#bytes.set(this.#block(bytes, at + i), to + i);
    }
    const from = bytes.byteOffset + at + i;
    if ((from & 3) === 0) {
      const words = this.#words;
      const source = this.#source;
      const whole = (length - i) >> 2;
      const fromWord = from >> 2;
      const toWord = (to + i) >> 2;
      for (let word = 0; word < whole; word++) words[toWord + word] = source[fromWord + word]!;
      i += whole << 2;
    }
    for (; i < length; i++) this.#bytes[to + i] = bytes[at + i]!;
  }

  #isAsItCame({ bytes, at, length }: Frame, captured: number): boolean {
    const from = bytes.byteOffset + at;
    const data = this.#inData;
    if (data < 0 || bytes !== this.#inBytes || at !== this.#inAt || length !== this.#inLength) return false;
    if ((from & 3) !== 0) return false;
    const words = this.#words;
    const source = this.#source;
    const fromWord = from >> 2;
    const whole = captured >> 2;
    const most = whole < HEADERS ? whole : HEADERS;
    for (let word = 0; word < most; word++) if (words[data + word] !== source[fromWord + word]) return false;
    if (whole <= HEADERS)
      for (let i = whole << 2; i < captured; i++)
        if (this.#bytes[4 * data + i] !== bytes[at + i]) return false;
    return true;
  }

  #block(bytes: Uint8Array, at: number): Uint8Array {
    const place = at / ALIGNMENT;
    const known = this.#blocks[place];
    if (known !== undefined) return known;
    const block = bytes.subarray(at, at + BLOCK);
    this.#blocks[place] = block;
    return block;
  }

  /** The word at which the story in hand begins: behind the padding, if there is any. */
  #storyAt(): number {
    const at = (this.#begin & this.#mask) << 1;
    return this.#words[at + KIND] === RecordKind.PAD ? 0 : at;
  }

  /** The word at which a record of `bytes` may be written; -1, and the story is given up, when there is no room. */
  #reserve(bytes: number): number {
    const units = (bytes + UNIT - 1) >> UNIT_SHIFT;
    const place = this.#at & this.#mask;
    // Records do not wrap: what is left at the end is padded.
    const padding = place + units > this.#size ? this.#size - place : 0;
    if (((this.#at - this.#tail) | 0) + padding + units > this.#size) {
      this.#tail = Atomics.load(this.#header, TAIL);
      if (((this.#at - this.#tail) | 0) + padding + units > this.#size) {
        this.#isFull = true;
        return -1;
      }
    }
    if (padding > 0) {
      this.#words[2 * place + LENGTH] = padding << UNIT_SHIFT;
      this.#words[2 * place + KIND] = RecordKind.PAD;
    }
    this.#at = (this.#at + padding + units) | 0;
    return padding > 0 ? 0 : 2 * place;
  }

  #head(at: number, kind: RecordKind, length: number, packet: number, port: number): void {
    const words = this.#words;
    words[at + LENGTH] = length;
    words[at + KIND] = kind;
    words[at + PACKET] = packet;
    words[at + PORT] = port;
  }
}

/**
 * The reading end. `nextStory` goes to a story, `nextRecord` through its records; what a record has is in the fields, and lies in
 * the ring: copy what is to be kept before `release`, which gives all that was read so far back to the writer.
 *
 *     while (reader.nextStory()) {
 *       while (reader.nextRecord()) if (reader.kind === RecordKind.FRAME_OUT) …
 *       reader.release();
 *     }
 */
export class ObservationReader {
  /** Of the story: the packet's id (32 bits, wrapping), the port by which it came in, when (monotonic ms of the data plane). */
  packet = 0;
  port = 0;
  now = 0;
  /** Of the record. */
  kind: RecordKind = RecordKind.PAD;
  /** FRAME_IN, FRAME_OUT: id, port, bytes on the wire, bytes here, and where they begin in `bytes`. */
  framePacket = 0;
  framePort = 0;
  length = 0;
  captured = 0;
  at = 0;
  /** ROW, END: where the row begins in `words`. */
  row = 0;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly #header: Int32Array;
  readonly #missedBy: Int32Array;
  readonly #doubles: Float64Array;
  readonly #mask: number;
  /** Positions: of the next record, behind the story, behind everything that was there when that was looked at. */
  #at = 0;
  #end = 0;
  #head = 0;
  #missed = 0;
  #missedSeen = 0;
  #kept = 0;
  #keptSeen = 0;

  constructor(ring: SharedArrayBuffer) {
    this.#header = new Int32Array(ring, 0, COUNTERS / 4);
    this.#missedBy = new Int32Array(ring, COUNTERS, PORTS);
    this.bytes = new Uint8Array(ring, HEADER);
    this.words = new Int32Array(ring, HEADER);
    this.#doubles = new Float64Array(ring, HEADER);
    this.#mask = (this.words.length >> 1) - 1;
    this.#at = Atomics.load(this.#header, TAIL);
    this.#end = this.#at;
    this.#head = this.#at;
  }

  /** Stories that the writer had no room for, since the ring was made. Exact as long as it is asked every 2^32 of them. */
  get missed(): number {
    const missed = Atomics.load(this.#header, MISSED);
    this.#missed += (missed - this.#missedSeen) >>> 0;
    this.#missedSeen = missed;
    return this.#missed;
  }

  /** How many of those came in by a port; wraps at 32 bits. */
  missedBy(port: PortId): number {
    return port < PORTS ? this.#missedBy[port]! >>> 0 : 0;
  }

  /** The ports by which those came in. */
  missedPorts(): PortId[] {
    const ports: PortId[] = [];
    for (let port = 0; port < PORTS; port++) if (Atomics.load(this.#missedBy, port) !== 0) ports.push(port);
    return ports;
  }

  /** Stories that were written, read or not. */
  get kept(): number {
    const kept = Atomics.load(this.#header, KEPT);
    this.#kept += (kept - this.#keptSeen) >>> 0;
    this.#keptSeen = kept;
    return this.#kept;
  }

  /** Whether there is a story behind the one in hand. */
  get isBehind(): boolean {
    return Atomics.load(this.#header, HEAD) !== this.#end;
  }

  /** Goes to the next story, past what is left of this one; false when there is none yet. */
  nextStory(): boolean {
    this.#at = this.#end;
    if (this.#at === this.#head) this.#head = Atomics.load(this.#header, HEAD);
    if (this.#at === this.#head) return false;
    const begin = this.#at;
    const at = this.#skipPadding();
    this.packet = this.words[at + PACKET]!;
    this.port = this.words[at + PORT]!;
    this.now = this.#doubles[(at >> 1) + NOW]!;
    this.#end = (begin + this.words[at + ORIGINAL]!) | 0;
    this.#advance(FRAME_HEADER);
    return true;
  }

  /** Goes to the story's next record; false behind the last. */
  nextRecord(): boolean {
    if (this.#at === this.#end) return false;
    const at = this.#skipPadding();
    const words = this.words;
    this.kind = words[at + KIND] as RecordKind;
    if (this.kind === RecordKind.ROW || this.kind === RecordKind.END) this.row = at + ROW;
    else {
      this.framePacket = words[at + PACKET]!;
      this.framePort = words[at + PORT]!;
      this.length = words[at + ORIGINAL]!;
      this.captured = words[at + CAPTURED]!;
      this.at = 4 * words[at + DATA]!;
    }
    this.#advance(words[at + LENGTH]!);
    return true;
  }

  /** Gives the room of the stories gone through, this one included, back to the writer. */
  release(): void {
    this.#at = this.#end;
    Atomics.store(this.#header, TAIL, this.#end);
  }

  #skipPadding(): number {
    const at = (this.#at & this.#mask) << 1;
    if (this.words[at + KIND] !== RecordKind.PAD) return at;
    this.#advance(this.words[at + LENGTH]!);
    return 0;
  }

  #advance(bytes: number): void {
    this.#at = (this.#at + ((bytes + UNIT - 1) >> UNIT_SHIFT)) | 0;
  }
}
