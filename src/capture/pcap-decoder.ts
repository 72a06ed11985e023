// Classic pcap: draft-ietf-opsawg-pcap. A 24-byte header, then records of a 16-byte header and the frame.
import type { CaptureDecoder, CaptureInput } from './capture-input.ts';
import { type CaptureInterface, MAX_CAPTURED_LENGTH } from './capture-record.ts';

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

const MILLION = 1_000_000;

/** Reads classic pcap in either byte order, with microseconds or nanoseconds. */
export class PcapDecoder implements CaptureDecoder {
  readonly interfaces: CaptureInterface[] = [];
  readonly #input: CaptureInput;
  readonly #littleEndian: boolean;
  readonly #ticksPerSecond: number;

  constructor(input: CaptureInput, littleEndian: boolean, nanoseconds: boolean) {
    this.#input = input;
    this.#littleEndian = littleEndian;
    this.#ticksPerSecond = nanoseconds ? 1000 * MILLION : MILLION;
  }

  get begun(): number {
    return this.#input.queue.offset;
  }

  advance(): boolean {
    const input = this.#input;
    const { queue, view: record } = input;
    const from = this.interfaces[0] ?? this.#fileHeader();
    if (from === undefined || queue.length < RECORD_HEADER_LENGTH) return false;

    const at = queue.start;
    const { view, offset } = queue;
    const littleEndian = this.#littleEndian;
    const capturedLength = view.getUint32(at + RECORD_CAPTURED, littleEndian);
    if (capturedLength > MAX_CAPTURED_LENGTH) {
      input.stop(
        offset,
        'absurd record',
        `its captured length is ${capturedLength}, more than ${MAX_CAPTURED_LENGTH}; the file is damaged here or just before`,
      );
      return false;
    }
    const length = RECORD_HEADER_LENGTH + capturedLength;
    if (queue.length < length) return false;

    const fraction = view.getUint32(at + RECORD_FRACTION, littleEndian);
    const ticks = this.#ticksPerSecond;
    const isPart = fraction < ticks;
    record.number = ++input.records;
    record.offset = offset;
    record.from = from;
    record.bytes = queue.bytes;
    record.at = at + RECORD_HEADER_LENGTH;
    record.capturedLength = capturedLength;
    record.originalLength = view.getUint32(at + RECORD_ORIGINAL, littleEndian);
    record.seconds =
      view.getUint32(at + RECORD_SECONDS, littleEndian) + (isPart ? 0 : Math.floor(fraction / ticks));
    record.nanoseconds = (isPart ? fraction : fraction % ticks) * (ticks === MILLION ? 1000 : 1);
    record.fcsLength = from.fcsLength;
    queue.skip(length);
    this.#remarkOn(from, fraction);
    return true;
  }

  /** The format has none. */
  recordComments(): readonly string[] {
    return [];
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

  // Such records are whole and are used, as libpcap and Wireshark do; but they are the usual sign of a lying
  // length before them.
  #remarkOn(from: CaptureInterface, fraction: number): void {
    const { offset, capturedLength, originalLength } = this.#input.view;
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
