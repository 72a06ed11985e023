import { CaptureError } from '../capture/capture-error.ts';
import type { CaptureRecord } from '../capture/capture-record.ts';
import { LinkType, linkTypeName } from '../capture/link-type.ts';
import { readCaptureSync } from '../capture/read-capture.ts';
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
}

/** Why a record was not replayed. */
export type Unreplayed = 'not Ethernet' | 'too long';

/**
 * Reads a capture for replay: record by record in constant memory. Frames are taken as they were captured,
 * however long they say that they are, without the frame check sequence that a bridge never sees.
 */
export class CaptureSource {
  readonly file: string;
  /** Length of the current record's frame, from the start of its data. */
  length = 0;
  /** Virtual time at which the current record is due, milliseconds. */
  due = 0;
  /** The record at the front; undefined at the end. Valid until `next`. */
  record: CaptureRecord | undefined;
  /** Records that were left out. */
  readonly unreplayed: Record<Unreplayed, number> = { 'not Ethernet': 0, 'too long': 0 };
  /** The capture's time (nanoseconds) that is `#offset` in virtual time (milliseconds). */
  #epoch: bigint;
  #offset = 0;
  readonly #records: Iterator<CaptureRecord>;
  readonly #only: (record: CaptureRecord) => boolean;
  readonly #warn: (problem: CaptureError) => void;

  /** @throws CaptureError when the file cannot be read or is no capture */
  constructor(path: string, options: CaptureSourceOptions = {}) {
    this.file = options.file ?? path;
    const { warn } = options;
    this.#only = options.only ?? (() => true);
    this.#warn = warn ?? (() => {});
    this.#records = readCaptureSync(path, { file: this.file, ...(warn && { warn }) });
    this.#take();
    this.#epoch = this.record?.timestamp ?? 0n;
  }

  /** Shifts the capture in time: what it calls `timestamp` happens at virtual time `at` (milliseconds). */
  align(timestamp: bigint, at = 0): void {
    this.#epoch = timestamp;
    this.#offset = at;
    if (this.record) this.due = Math.max(0, this.#virtual(this.record));
  }

  /** Goes on to the next record. A frame is never due before the one that stands before it in the file. */
  next(): void {
    const before = this.due;
    this.#take();
    if (this.record) this.due = Math.max(before, this.#virtual(this.record));
  }

  close(): void {
    this.record = undefined;
    this.#records.return?.();
  }

  #virtual(record: CaptureRecord): number {
    return this.#offset + Number(record.timestamp - this.#epoch) / 1e6;
  }

  #take(): void {
    this.record = undefined;
    for (let step = this.#records.next(); !step.done; step = this.#records.next()) {
      const record = step.value;
      if (!this.#replayable(record) || !this.#only(record)) continue;
      this.record = record;
      this.length = replayedLength(record);
      return;
    }
  }

  #replayable(record: CaptureRecord): boolean {
    if (record.linkType !== LinkType.ETHERNET) {
      this.#leaveOut(
        record,
        'not Ethernet',
        `its link type is ${linkTypeName(record.linkType)}, and the deck switches Ethernet frames`,
        'capture on one Ethernet interface instead (tcpdump -i eth0)',
      );
      return false;
    }
    if (replayedLength(record) > LONGEST_FRAME) {
      this.#leaveOut(
        record,
        'too long',
        `it has ${record.capturedLength} bytes, and a frame at most ${LONGEST_FRAME}`,
        'it is left out',
      );
      return false;
    }
    return true;
  }

  #leaveOut(record: CaptureRecord, reason: Unreplayed, why: string, advice: string): void {
    if (this.unreplayed[reason]++ > 0) return;
    this.#warn(
      new CaptureError(this.file, record.offset, `frame ${record.number} is ${reason}`, why, advice),
    );
  }
}

/** The captured bytes without the frame check sequence, which is not the switch's to see. */
function replayedLength(record: CaptureRecord): number {
  const { capturedLength, originalLength, fcsLength } = record;
  return fcsLength === 0 ? capturedLength : Math.min(capturedLength, Math.max(0, originalLength - fcsLength));
}

/** The source whose record is due first; the first of those that are due at once. Undefined when all have ended. */
export function earliest<S extends CaptureSource>(sources: readonly S[]): S | undefined {
  let first: S | undefined;
  for (const source of sources) {
    if (source.record && (first === undefined || source.due < first.due)) first = source;
  }
  return first;
}
