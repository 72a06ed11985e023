import { ByteQueue } from './byte-queue.ts';
import { CaptureError } from './capture-error.ts';
import { type CaptureInterface, RecordView } from './capture-record.ts';

export interface ReadOptions {
  /** The file as error messages shall name it. */
  file?: string;
  /**
   * Told of everything that is wrong with the file but leaves frames to be used: each kind of fault once, at
   * its first place. Where reading can go on it does, else it ends after the last whole record. Without it,
   * the first fault that costs a record or an option is thrown (after all records before it).
   */
  warn?: (problem: CaptureError) => void;
}

/** What the reading of every format needs: the bytes, where to complain, and what has been found so far. */
export class CaptureInput {
  readonly file: string;
  readonly queue = new ByteQueue();
  /** The record in hand. */
  readonly view = new RecordView();
  /** No more bytes will come. */
  ended = false;
  /** Nothing behind this place is to be believed. */
  stopped = false;
  /** Records found so far. */
  records = 0;
  readonly #warn: ((problem: CaptureError) => void) | undefined;
  readonly #told = new Set<string>();

  constructor(options: ReadOptions) {
    this.file = options.file ?? 'capture';
    this.#warn = options.warn;
  }

  /** A fault that costs nothing: the record is used as it is. `what` names the kind and is told once. */
  remark(offset: number, what: string, why: string, advice: string): void {
    if (this.#warn !== undefined) this.complain(offset, what, why, advice);
  }

  /** A fault that costs at most one record or option. */
  complain(offset: number, what: string, why: string, advice: string): void {
    const problem = new CaptureError(this.file, offset, what, why, advice);
    if (this.#warn === undefined) throw problem;
    if (this.#told.has(what)) return;
    this.#told.add(what);
    this.#warn(problem);
  }

  /** A fault behind which nothing can be found: reading ends here. */
  stop(offset: number, what: string, why: string): void {
    this.stopped = true;
    this.complain(offset, what, why, `use what is before it (records: ${this.records}) or capture again`);
  }
}

/** The reading of one format. */
export interface CaptureDecoder {
  /** The interfaces of the section being read, by number within it. */
  readonly interfaces: readonly CaptureInterface[];
  /** Offset in the file of the header, record or block that is not complete yet. */
  readonly begun: number;
  /** Goes on to the next record, the input's `view`; false when it needs more bytes than are waiting. */
  advance(): boolean;
  /** Comments on the record in hand. */
  recordComments(): readonly string[];
}
