// Classic pcap: draft-ietf-opsawg-pcap. A 24-byte header, then records of a 16-byte header and the frame.
import { EventEmitter } from 'node:events';
import { type Packet, parse } from 'pcap-parser';
import type { CaptureDecoder, CaptureInput } from './capture-input.ts';
import { type CaptureInterface, type CaptureRecord, MAX_CAPTURED_LENGTH } from './capture-record.ts';

const FILE_HEADER_LENGTH = 24;
const FILE_VERSION_MAJOR = 4;
const FILE_VERSION_MINOR = 6;
const FILE_SNAPLEN = 16;
const FILE_LINKTYPE = 20;

const RECORD_HEADER_LENGTH = 16;
const RECORD_SECONDS = 0;
const RECORD_FRACTION = 4;
const RECORD_CAPTURED = 8;
const RECORD_ORIGINAL = 12;

const LINKTYPE_MASK = 0x03ff_ffff;
const FCS_PRESENT = 0x0400_0000;
const FCS_SHIFT = 28;

/**
 * Feeds `pcap-parser` one whole record at a time. The package has no back-pressure, keeps everything up to a
 * lying captured length in memory and drops a truncated record in silence; given only pieces whose lengths
 * have been checked, it does none of this, and answers at once.
 */
class CheckedPieces extends EventEmitter {
  #packet: Packet | undefined;

  constructor() {
    super();
    parse(this).on('packet', (packet) => {
      this.#packet = packet;
    });
  }

  // The parser's stream: it is never ahead of what was asked for.
  pause(): void {}
  resume(): void {}

  feed(bytes: Uint8Array, at: number, length: number): Packet | undefined {
    this.#packet = undefined;
    this.emit('data', Buffer.from(bytes.buffer, bytes.byteOffset + at, length));
    return this.#packet;
  }
}

/** Reads classic pcap in either byte order: microseconds through `pcap-parser`, nanoseconds by itself. */
export class PcapDecoder implements CaptureDecoder {
  readonly interfaces: CaptureInterface[] = [];
  readonly #input: CaptureInput;
  readonly #littleEndian: boolean;
  readonly #pieces: CheckedPieces | undefined;
  readonly #ticksPerSecond: number;

  constructor(input: CaptureInput, littleEndian: boolean, nanoseconds: boolean) {
    this.#input = input;
    this.#littleEndian = littleEndian;
    this.#pieces = nanoseconds ? undefined : new CheckedPieces();
    this.#ticksPerSecond = nanoseconds ? 1_000_000_000 : 1_000_000;
  }

  get begun(): number {
    return this.#input.queue.offset;
  }

  next(): CaptureRecord | undefined {
    const input = this.#input;
    const queue = input.queue;
    const from = this.interfaces[0] ?? this.#fileHeader();
    if (from === undefined || queue.length < RECORD_HEADER_LENGTH) return undefined;

    const at = queue.start;
    const offset = queue.offset;
    const capturedLength = queue.view.getUint32(at + RECORD_CAPTURED, this.#littleEndian);
    if (capturedLength > MAX_CAPTURED_LENGTH) {
      input.stop(
        offset,
        'absurd record',
        `its captured length is ${capturedLength}, more than ${MAX_CAPTURED_LENGTH}; the file is damaged here or just before`,
      );
      return undefined;
    }
    const length = RECORD_HEADER_LENGTH + capturedLength;
    if (queue.length < length) return undefined;

    const record = this.#record(from, at, offset, capturedLength);
    const fraction = queue.view.getUint32(at + RECORD_FRACTION, this.#littleEndian);
    queue.skip(length);
    this.#remarkOn(record, from, fraction);
    return record;
  }

  #fileHeader(): CaptureInterface | undefined {
    const input = this.#input;
    const { queue } = input;
    if (queue.length < FILE_HEADER_LENGTH) return undefined;
    const { view, start } = queue;
    const major = view.getUint16(start + FILE_VERSION_MAJOR, this.#littleEndian);
    const minor = view.getUint16(start + FILE_VERSION_MINOR, this.#littleEndian);
    if (major !== 2 || minor !== 4) {
      input.stop(
        queue.offset,
        'unsupported pcap version',
        `it says ${major}.${minor}, only 2.4 is understood`,
      );
      return undefined;
    }
    this.#pieces?.feed(queue.bytes, start, FILE_HEADER_LENGTH);
    const link = view.getUint32(start + FILE_LINKTYPE, this.#littleEndian);
    const described: CaptureInterface = {
      id: 0,
      linkType: link & LINKTYPE_MASK,
      snapLength: view.getUint32(start + FILE_SNAPLEN, this.#littleEndian),
      name: undefined,
      description: undefined,
      macAddress: undefined,
      // Counted in units of 16 bits.
      fcsLength: link & FCS_PRESENT ? (link >>> FCS_SHIFT) * 2 : 0,
      comments: [],
      statistics: undefined,
    };
    this.interfaces.push(described);
    queue.skip(FILE_HEADER_LENGTH);
    return described;
  }

  #record(from: CaptureInterface, at: number, offset: number, capturedLength: number): CaptureRecord {
    const input = this.#input;
    const { bytes, view } = input.queue;
    let timestamp: bigint;
    let originalLength: number;
    let data: Uint8Array;
    if (this.#pieces === undefined) {
      const seconds = view.getUint32(at + RECORD_SECONDS, this.#littleEndian);
      const nanoseconds = view.getUint32(at + RECORD_FRACTION, this.#littleEndian);
      timestamp = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
      originalLength = view.getUint32(at + RECORD_ORIGINAL, this.#littleEndian);
      data = bytes.subarray(at + RECORD_HEADER_LENGTH, at + RECORD_HEADER_LENGTH + capturedLength);
    } else {
      const packet = this.#pieces.feed(bytes, at, RECORD_HEADER_LENGTH + capturedLength);
      if (packet === undefined) throw new Error(`${input.file}: byte ${offset}: pcap-parser gave no packet`);
      const { timestampSeconds, timestampMicroseconds } = packet.header;
      timestamp = BigInt(timestampSeconds) * 1_000_000_000n + BigInt(timestampMicroseconds) * 1000n;
      originalLength = packet.header.originalLength;
      // A plain view: Buffer's `slice` does not copy, which whoever wants to keep the data would rely on.
      data = new Uint8Array(packet.data.buffer, packet.data.byteOffset, packet.data.length);
    }
    return {
      number: ++input.records,
      offset,
      interfaceId: 0,
      interfaceName: undefined,
      linkType: from.linkType,
      timestamp,
      data,
      capturedLength,
      originalLength,
      fcsLength: from.fcsLength,
      flags: undefined,
      packetId: undefined,
      comments: [],
    };
  }

  // Such records are whole and are used, as libpcap and Wireshark do; but they are the usual sign of a lying
  // length before them.
  #remarkOn(record: CaptureRecord, from: CaptureInterface, fraction: number): void {
    const { offset, capturedLength, originalLength } = record;
    const advice = 'check that the file was not damaged in transfer';
    if (from.snapLength !== 0 && capturedLength > from.snapLength) {
      const why = `${capturedLength} bytes captured where the file allows ${from.snapLength}`;
      this.#input.remark(offset, 'record longer than the snapshot length', why, advice);
    }
    if (capturedLength > originalLength) {
      const why = `${capturedLength} bytes captured of a frame of ${originalLength}`;
      this.#input.remark(offset, 'more bytes captured than the frame had', why, advice);
    }
    if (fraction >= this.#ticksPerSecond) {
      const why = `${fraction} is not a part of a second in units of 1/${this.#ticksPerSecond}`;
      this.#input.remark(offset, 'impossible time', why, advice);
    }
  }
}
