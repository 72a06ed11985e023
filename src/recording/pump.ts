import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import {
  FILE_HEADER,
  FRAME_LENGTH,
  FRAME_VNET,
  inFile,
  Kind,
  MAGIC,
  TIME_AT,
  TRAILER,
  TRAILER_MAGIC,
  VERSION,
} from './format.ts';
import { FrameDigest } from './frame-digest.ts';
import { encodeRecord, encodeValueRecord } from './log.ts';
import type { RecordedNames, RecordingEnd, RecordingHeader } from './plane.ts';
import { RingReader, type SharedRing } from './ring.ts';

/** Bytes that are given to the file at once. */
const CHUNK = 1 << 20;

/** Takes bytes of the file, which are its own from then on. */
export type RecordingSink = (bytes: Uint8Array) => void;

/**
 * The other end of a recorder's ring: makes the file of a recording. Frames that were sent are not in it; they are digested,
 * so that who plays the recording can tell whether he has sent the same.
 */
export class RecordingPump {
  readonly #ring: RingReader;
  readonly #sink: RecordingSink;
  readonly #digest = new FrameDigest();
  #chunk = new Uint8Array(CHUNK);
  #length = 0;
  /** What is behind a record: its checksum and bytes of zero. */
  readonly #seal = new DataView(new ArrayBuffer(16));
  #received = 0;
  #names: RecordedNames = { networks: {}, ports: {} };
  /** Of the record that was taken last. */
  #now: number;

  constructor(ring: SharedRing, header: RecordingHeader, state: Uint8Array, sink: RecordingSink) {
    this.#ring = new RingReader(ring);
    this.#sink = sink;
    this.#now = header.began;
    const head = Buffer.alloc(FILE_HEADER);
    head.write(MAGIC, 'latin1');
    head.writeUInt32LE(VERSION, MAGIC.length);
    this.#put(head);
    this.#put(encodeValueRecord(Kind.HEADER, header.began, header));
    this.#put(encodeRecord(Kind.STATE, header.began, state));
  }

  /** Bytes of the file until now. */
  bytes = 0;

  /** Milliseconds from the beginning to the record taken last. */
  duration(began: number): number {
    return this.#now - began;
  }

  /**
   * Takes the records that are in the ring, at most about so many bytes of them; answers whether it took all.
   */
  drain(most = Number.POSITIVE_INFINITY): boolean {
    let taken = 0;
    const isEmpty = this.#ring.drain((bytes, at, length, kind) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, length);
      const now = view.getFloat64(TIME_AT, true);
      this.#now = now;
      taken += length;
      if (kind === Kind.SENT) {
        const port = view.getUint32(4, true) >>> 8;
        this.#digest.add(port, now, bytes, at + FRAME_VNET, VNET_LEN + view.getInt32(FRAME_LENGTH, true));
      } else {
        if (kind === Kind.FRAME) this.#received++;
        this.#put(bytes, at, length);
        this.#seal.setUint32(0, crc32(bytes.subarray(at, at + length)), true);
        this.#put(new Uint8Array(this.#seal.buffer, 0, inFile(length) - length));
      }
      return taken < most;
    });
    this.flush();
    return isEmpty;
  }

  names(names: RecordedNames): void {
    this.#names = names;
    this.#put(encodeValueRecord(Kind.NAMES, this.#now, names));
  }

  /**
   * Writes the last record, when everything was taken.
   * @param state of the tables; null when it is not that behind the last record
   */
  end(problem: string | null, state: Uint8Array | null): RecordingEnd {
    const end: RecordingEnd = {
      problem,
      received: this.#received,
      sent: this.#digest.frames,
      frames: this.#digest.finish(),
      tables: state && createHash('sha256').update(state).digest('hex'),
    };
    const record = encodeValueRecord(Kind.END, this.#now, { ...end, names: this.#names });
    this.#put(record);
    const trailer = Buffer.alloc(TRAILER);
    trailer.writeUInt32LE(record.length);
    trailer.writeUInt32LE(TRAILER_MAGIC, 4);
    this.#put(trailer);
    this.flush();
    return end;
  }

  /** Gives what is complete to the file. */
  flush(): void {
    if (this.#length === 0) return;
    this.#sink(this.#chunk.subarray(0, this.#length));
    this.#chunk = new Uint8Array(CHUNK);
    this.#length = 0;
  }

  #put(bytes: Uint8Array, at = 0, length = bytes.length): void {
    this.bytes += length;
    if (this.#length + length > CHUNK) this.flush();
    if (length > CHUNK) {
      this.#sink(bytes.slice(at, at + length));
      return;
    }
    this.#chunk.set(bytes.subarray(at, at + length), this.#length);
    this.#length += length;
  }
}
