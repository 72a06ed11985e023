import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { finishTransportChecksum } from '../../wire/transport.ts';
import { CaptureError } from '../capture/capture-error.ts';
import type { CaptureRecord, RecordView } from '../capture/capture-record.ts';
import { LinkType, linkTypeName } from '../capture/link-type.ts';
import { CaptureFile } from '../capture/read-capture.ts';
import { LONGEST_FRAME } from './virtual-deck.ts';

/** The frames of one capture file that can be replayed, in the order of the file. */
export interface CaptureSourceOptions {
  /** The file as messages shall name it; the path by default. */
  file?: string;
  /** Records of the capture that are meant; all by default. */
  only?: (record: CaptureRecord) => boolean;
  /**
   * Hears of everything that is wrong with the file, and once of each kind of frame that is left out. Without
   * it, the first fault of the file is thrown (after all records before it).
   */
  warn?: (problem: CaptureError) => void;
  /** Whether `warn` hears of the first frame that the capture itself has cut; it is replayed as it is. */
  tellCut?: boolean;
  /** Whether checksums are finished that senders have left to their interfaces; scenarios have the bytes that their files have. */
  finishChecksums?: boolean;
}

/** Why a record was not replayed. */
export type Unreplayed = 'not Ethernet' | 'too long';

/**
 * Reads a capture for replay: record by record in constant memory, and without an object per record. Frames are taken as
 * they were captured, however long they say that they are, without the frame check sequence that a bridge never sees.
 */
export class CaptureSource {
  readonly file: string;
  /** Length of the current record's frame. */
  length = 0;
  /** Virtual time at which the current record is due, milliseconds. */
  due = 0;
  /** Whether there is a record at the front. */
  more = false;
  /** The record at the front, while there is `more`; valid until `next`. Its frame begins at `view.bytes[view.at]`. */
  readonly view: RecordView;
  /** Frames of which the capture has only the beginning. */
  cut = 0;
  /** Records that were left out. */
  readonly unreplayed: Record<Unreplayed, number> = { 'not Ethernet': 0, 'too long': 0 };
  /** The capture's time that is `#offset` in virtual time (milliseconds). */
  #seconds = 0;
  #nanoseconds = 0;
  #offset = 0;
  readonly #input: CaptureFile;
  readonly #only: ((record: CaptureRecord) => boolean) | undefined;
  readonly #warn: (problem: CaptureError) => void;
  readonly #tellCut: boolean;
  readonly #finish: ChecksumFinisher | undefined;

  /** @throws CaptureError when the file cannot be read or is no capture */
  constructor(path: string, options: CaptureSourceOptions = {}) {
    this.file = options.file ?? path;
    const { warn } = options;
    this.#only = options.only;
    this.#warn = warn ?? (() => {});
    this.#tellCut = options.tellCut ?? false;
    this.#finish = options.finishChecksums ? new ChecksumFinisher() : undefined;
    this.#input = new CaptureFile(path, { file: this.file, ...(warn && { warn }) });
    this.view = this.#input.view;
    this.#take();
    this.#seconds = this.view.seconds;
    this.#nanoseconds = this.view.nanoseconds;
  }

  /** The record at the front as an object; undefined at the end. Its data is valid until `next`. */
  get record(): CaptureRecord | undefined {
    return this.more ? this.#input.record() : undefined;
  }

  /** Shifts the capture in time: what it calls `timestamp` happens at virtual time `at` (milliseconds). */
  align(timestamp: bigint, at = 0): void {
    this.#seconds = Number(timestamp / BILLION);
    this.#nanoseconds = Number(timestamp % BILLION);
    this.#offset = at;
    if (this.more) this.due = Math.max(0, this.#virtual());
  }

  /** Goes on to the next record. A frame is never due before the one that stands before it in the file. */
  next(): void {
    this.#take();
    if (this.more) this.due = Math.max(this.due, this.#virtual());
  }

  close(): void {
    this.more = false;
    this.#input.close();
  }

  #virtual(): number {
    const { seconds, nanoseconds } = this.view;
    return this.#offset + ((seconds - this.#seconds) * 1e9 + (nanoseconds - this.#nanoseconds)) / 1e6;
  }

  #take(): void {
    this.more = false;
    while (this.#input.advance()) {
      const length = replayedLength(this.view);
      if (!this.#replayable(length) || (this.#only !== undefined && !this.#only(this.#input.record())))
        continue;
      this.more = true;
      this.length = length;
      if (this.view.capturedLength < this.view.originalLength) this.#noteCut();
      this.#finish?.finish(this.view.bytes, this.view.at, length);
      return;
    }
    this.#input.close();
  }

  #replayable(length: number): boolean {
    const { linkType } = this.view.from;
    if (linkType !== LinkType.ETHERNET) {
      this.#leaveOut(
        'not Ethernet',
        `its link type is ${linkTypeName(linkType)}, and the deck switches Ethernet frames`,
        'capture on one Ethernet interface instead (tcpdump -i eth0)',
      );
      return false;
    }
    if (length > LONGEST_FRAME) {
      this.#leaveOut(
        'too long',
        `it has ${this.view.capturedLength} bytes, and a frame at most ${LONGEST_FRAME}`,
        'it is left out',
      );
      return false;
    }
    return true;
  }

  /** A short snapshot length: what is missing would otherwise look as if its sender had left it out. */
  #noteCut(): void {
    if (this.cut++ > 0 || !this.#tellCut) return;
    const { offset, number, capturedLength, originalLength } = this.view;
    this.#warn(
      new CaptureError(
        this.file,
        offset,
        `frame ${number} is cut`,
        `${capturedLength} of its ${originalLength} bytes were captured, and no more are replayed`,
        'capture with a larger snapshot length (tcpdump -s 0)',
      ),
    );
  }

  #leaveOut(reason: Unreplayed, why: string, advice: string): void {
    if (this.unreplayed[reason]++ > 0) return;
    const { offset, number } = this.view;
    this.#warn(new CaptureError(this.file, offset, `frame ${number} is ${reason}`, why, advice));
  }
}

/**
 * Where sender and receiver are on one machine, or the interface computes checksums (TX offload), a capture has TCP and UDP
 * packets without a checksum. The switch that saw them was told so beside the frame.
 */
export class ChecksumFinisher {
  #packet = new Packet(new Uint8Array(0));

  /** Writes the checksum of the frame at `at`, if it is unfinished. */
  finish(bytes: Uint8Array, at: number, length: number): void {
    // The reader goes on to another buffer now and then.
    if (this.#packet.bytes !== bytes) this.#packet = new Packet(bytes);
    this.#packet.at = at;
    this.#packet.length = length;
    if (parse(this.#packet) === Malformed.NONE) finishTransportChecksum(this.#packet);
  }
}

const BILLION = 1_000_000_000n;

/** The captured bytes without the frame check sequence, which is not the switch's to see. */
function replayedLength({ capturedLength, originalLength, fcsLength }: RecordView): number {
  return fcsLength === 0 ? capturedLength : Math.min(capturedLength, Math.max(0, originalLength - fcsLength));
}

/** The source whose record is due first; the first of those that are due at once. Undefined when all have ended. */
export function earliest<S extends CaptureSource>(sources: readonly S[]): S | undefined {
  let first: S | undefined;
  for (const source of sources) {
    if (source.more && (first === undefined || source.due < first.due)) first = source;
  }
  return first;
}
