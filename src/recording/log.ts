import { crc32 } from 'node:zlib';
import type { Frame } from '../../switch/frame.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_SLOT,
  FRAME_VNET,
  inFile,
  RECORD_HEADER,
  TIME_AT,
} from './format.ts';
import type { RingWriter } from './ring.ts';
import { encodeValue } from './value.ts';

/** Writes records into a ring, until one does not fit: a recording with holes is none. */
export class RecordLog {
  /** Whether a record did not fit; nothing is written any more. */
  isOver = false;
  readonly #ring: RingWriter;
  readonly #onOver: () => void;

  /** @param onOver told when a record did not fit, once */
  constructor(ring: RingWriter, onOver: () => void = () => {}) {
    this.#ring = ring;
    this.#onOver = onOver;
  }

  /** Something happened to a port, or to none. */
  event(kind: number, port: number, now: number): void {
    const at = this.#begin(RECORD_HEADER, kind, port, now);
    if (at >= 0) this.#ring.commit(RECORD_HEADER);
  }

  /** As `event`, with two int32. */
  pair(kind: number, port: number, now: number, first: number, second: number): void {
    const length = RECORD_HEADER + 8;
    const at = this.#begin(length, kind, port, now);
    if (at < 0) return;
    this.#ring.words[(at + RECORD_HEADER) >> 2] = first;
    this.#ring.words[(at + RECORD_HEADER + 4) >> 2] = second;
    this.#ring.commit(length);
  }

  /** A frame as it is now, with its virtio-net header. */
  frame(kind: number, port: number, now: number, frame: Frame, slot: number): void {
    const length = FRAME_VNET + VNET_LEN + frame.length;
    const at = this.#begin(length, kind, port, now);
    if (at < 0) return;
    const { words, bytes } = this.#ring;
    words[(at + FRAME_SLOT) >> 2] = slot;
    words[(at + FRAME_LENGTH) >> 2] = frame.length;
    words[(at + FRAME_OFFSET) >> 2] = frame.at - frame.base;
    bytes.set(frame.bytes.subarray(frame.at - VNET_LEN, frame.at + frame.length), at + FRAME_VNET);
    this.#ring.commit(length);
  }

  value(kind: number, now: number, value: unknown): void {
    const text = new TextEncoder().encode(encodeValue(value));
    const length = RECORD_HEADER + text.length;
    const at = this.#begin(length, kind, 0, now);
    if (at < 0) return;
    this.#ring.bytes.set(text, at + RECORD_HEADER);
    this.#ring.commit(length);
  }

  #begin(length: number, kind: number, port: number, now: number): number {
    if (this.isOver) return -1;
    const { words, doubles } = this.#ring;
    const at = this.#ring.begin(length);
    if (at < 0) {
      this.isOver = true;
      this.#onOver();
      return -1;
    }
    words[at >> 2] = length;
    words[(at >> 2) + 1] = kind | (port << 8);
    doubles[(at + TIME_AT) >> 3] = now;
    return at;
  }
}

/** A record as it is in the file. */
export function encodeRecord(kind: number, now: number, body: Uint8Array): Uint8Array {
  const length = RECORD_HEADER + body.length;
  const record = new Uint8Array(inFile(length));
  const view = new DataView(record.buffer);
  view.setUint32(0, length, true);
  view.setUint32(4, kind, true);
  view.setFloat64(TIME_AT, now, true);
  record.set(body, RECORD_HEADER);
  view.setUint32(length, crc32(record.subarray(0, length)), true);
  return record;
}

export function encodeValueRecord(kind: number, now: number, value: unknown): Uint8Array {
  return encodeRecord(kind, now, new TextEncoder().encode(encodeValue(value)));
}
