import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { systemReason } from '../capture/capture-error.ts';
import {
  FILE_HEADER,
  inFile,
  Kind,
  MAGIC,
  RECORD_HEADER,
  TIME_AT,
  TRAILER,
  TRAILER_MAGIC,
  VERSION,
} from './format.ts';
import type { RecordingEnd } from './plane.ts';
import { RecordingError } from './recording-error.ts';
import { decodeValue } from './value.ts';

const CHUNK = 1 << 20;
/** No record is longer: state of tables is a few megabytes, and a frame 64 KiB. */
const LONGEST = 1 << 30;
/** The last one is digests and the names of at most some thousand ports. */
const LONGEST_END = 1 << 24;

/**
 * The records of a recording, one at a time, in a buffer that is used again: the file may be larger than memory. What is in
 * hand are `bytes` from `at` on.
 */
export class RecordingReader {
  readonly file: string;
  /** Bytes of the file. */
  readonly size: number;
  bytes: Uint8Array = new Uint8Array(CHUNK);
  at = 0;
  /** The record in hand: its kind, 0 behind the last one; port, time and length. */
  kind = 0;
  port = 0;
  now = 0;
  length = 0;
  /** Where it begins in the file. */
  offset = FILE_HEADER;
  #view = new DataView(this.bytes.buffer);
  readonly #fd: number;
  /** As far as the file was read, and how much of that is in `bytes`. */
  #position = 0;
  #filled = 0;
  #next = 0;

  /** Opens a recording, and has its first record in hand. Throws RecordingError. */
  constructor(file: string) {
    this.file = file;
    try {
      this.#fd = openSync(file, 'r');
    } catch (error) {
      throw new RecordingError(file, -1, systemReason(error), { cause: error });
    }
    this.size = fstatSync(this.#fd).size;
    try {
      this.#begin();
      this.next();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether a file says that it is a recording. */
  static isRecording(file: string): boolean {
    const fd = openSync(file, 'r');
    try {
      const magic = Buffer.alloc(MAGIC.length);
      return readSync(fd, magic) === MAGIC.length && magic.toString('latin1') === MAGIC;
    } finally {
      closeSync(fd);
    }
  }

  #begin(): void {
    if (!this.#fill(FILE_HEADER))
      throw new RecordingError(this.file, this.#filled, 'it ends in its first bytes');
    const magic = Buffer.from(this.bytes.subarray(0, MAGIC.length)).toString('latin1');
    if (magic !== MAGIC) throw new RecordingError(this.file, 0, 'it is no recording of tapdeck');
    const version = this.#view.getUint32(MAGIC.length, true);
    if (version !== VERSION) {
      const whose = version > VERSION ? 'a newer' : 'an older';
      throw new RecordingError(
        this.file,
        MAGIC.length,
        `it is of format ${version}, by ${whose} tapdeck; this one plays format ${VERSION}: play it with the one that made it`,
      );
    }
    this.#next = FILE_HEADER;
  }

  /** The last record, which says what all came to; null in a recording that was cut. The record in hand stays. */
  end(): RecordingEnd | null {
    const trailer = Buffer.alloc(TRAILER);
    if (this.size < FILE_HEADER + TRAILER) return null;
    readSync(this.#fd, trailer, 0, TRAILER, this.size - TRAILER);
    const length = trailer.readUInt32LE(0);
    if (trailer.readUInt32LE(4) !== TRAILER_MAGIC || length > LONGEST_END) return null;
    if (length > this.size - TRAILER - FILE_HEADER) return null;
    const record = Buffer.alloc(length);
    readSync(this.#fd, record, 0, length, this.size - TRAILER - length);
    if (length < RECORD_HEADER || record.readUInt32LE(4) !== Kind.END) return null;
    if (inFile(record.readUInt32LE(0)) !== length) return null;
    if (!isWhole(new DataView(record.buffer, record.byteOffset), 0)) return null;
    return decodeValue(record.toString('utf8', RECORD_HEADER, record.readUInt32LE(0))) as RecordingEnd;
  }

  /** Takes the next record; `kind` is 0 when there is none. Throws RecordingError for one that was cut, or is none. */
  next(): void {
    if (this.length > 0) this.offset += inFile(this.length);
    if (this.kind === Kind.END) {
      this.kind = 0;
      this.length = 0;
      return;
    }
    if (!this.#fill(RECORD_HEADER)) {
      if (this.#filled > this.#next) this.#cut();
      this.kind = 0;
      this.length = 0;
      this.at = this.#next;
      return;
    }
    const length = this.#view.getUint32(this.#next, true);
    if (length < RECORD_HEADER || length > LONGEST) {
      this.kind = 0;
      throw new RecordingError(
        this.file,
        this.offset,
        `a record of ${length} bytes is none; what was before it was used`,
      );
    }
    // Memory is not asked for what the file cannot have.
    if (length > this.size - this.offset || !this.#fill(inFile(length))) this.#cut();
    // What a bit that fell over would make of tables, nobody knows.
    if (!isWhole(this.#view, this.#next)) {
      this.kind = 0;
      throw new RecordingError(this.file, this.offset, 'a record is damaged; what was before it was used');
    }
    this.at = this.#next;
    this.length = length;
    this.#next += inFile(length);
    const kind = this.#view.getUint32(this.at + 4, true);
    this.kind = kind & 0xff;
    this.port = kind >>> 8;
    this.now = this.#view.getFloat64(this.at + TIME_AT, true);
  }

  /** An int32 of the record in hand. */
  int(at: number): number {
    return this.#view.getInt32(this.at + at, true);
  }

  /** The body of the record in hand, as JSON. */
  value<T>(): T {
    const text = new TextDecoder().decode(
      this.bytes.subarray(this.at + RECORD_HEADER, this.at + this.length),
    );
    try {
      return decodeValue(text) as T;
    } catch (error) {
      throw new RecordingError(this.file, this.offset, 'it does not say what was done', { cause: error });
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #cut(): never {
    this.kind = 0;
    const missing = 'it ends in the middle of a record: the recording was cut; what was before it was used';
    throw new RecordingError(this.file, this.offset, missing);
  }

  /** Whether so many bytes from `#next` on are there, or can be had. */
  #fill(length: number): boolean {
    if (this.#filled - this.#next >= length) return true;
    this.bytes.copyWithin(0, this.#next, this.#filled);
    this.#filled -= this.#next;
    this.#next = 0;
    if (length > this.bytes.length) {
      const longer = new Uint8Array(length + CHUNK);
      longer.set(this.bytes.subarray(0, this.#filled));
      this.bytes = longer;
      this.#view = new DataView(longer.buffer);
    }
    while (this.#filled < length) {
      const count = readSync(
        this.#fd,
        this.bytes,
        this.#filled,
        this.bytes.length - this.#filled,
        this.#position,
      );
      this.#position += count;
      if (count === 0) return false;
      this.#filled += count;
    }
    return true;
  }
}

/** Whether the checksum behind the record at `at` is that of the record. */
function isWhole(view: DataView, at: number): boolean {
  const length = view.getUint32(at, true);
  const record = new Uint8Array(view.buffer, view.byteOffset + at, length);
  return crc32(record) === view.getUint32(at + length, true);
}
