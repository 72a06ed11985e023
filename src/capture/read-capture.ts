import { closeSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CaptureError, systemReason } from './capture-error.ts';
import type { ReadOptions } from './capture-input.ts';
import { CaptureParser } from './capture-parser.ts';
import type { CaptureRecord, RecordView } from './capture-record.ts';

const CHUNK_LENGTH = 64 * 1024;

/**
 * The records of a capture file, in constant memory whatever its size. The data of a record is valid until the
 * next one is asked for.
 * @throws CaptureError when the file cannot be read or is not a capture; for other faults see `ReadOptions.warn`.
 */
export async function* readCapture(path: string, options: ReadOptions = {}): AsyncGenerator<CaptureRecord> {
  const file = options.file ?? path;
  const chunk = new Uint8Array(CHUNK_LENGTH);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    yield* readCaptureStream(chunksOf(handle, chunk), { ...options, file });
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    await handle?.close();
  }
}

async function* chunksOf(handle: FileHandle, chunk: Uint8Array): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) return;
    yield chunk.subarray(0, bytesRead);
  }
}

/** The records of a capture that comes in chunks, from a pipe for example. A chunk may be reused after its turn. */
export async function* readCaptureStream(
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions = {},
): AsyncGenerator<CaptureRecord> {
  const parser = new CaptureParser(options);
  for await (const chunk of chunks) {
    parser.push(chunk);
    yield* recordsOf(parser);
    if (parser.stopped) return;
  }
  parser.end();
  yield* recordsOf(parser);
}

/**
 * A capture file that is read record by record, in constant memory and without waiting on the event loop: for virtual
 * time. Nothing is made per record.
 */
export class CaptureFile {
  readonly #parser: CaptureParser;
  readonly #file: string;
  readonly #chunk = new Uint8Array(CHUNK_LENGTH);
  #fd: number;

  /** @throws CaptureError when the file cannot be opened */
  constructor(path: string, options: ReadOptions = {}) {
    this.#file = options.file ?? path;
    this.#parser = new CaptureParser({ ...options, file: this.#file });
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      throw unreadable(this.#file, error);
    }
  }

  /** The record that `advance` found: one object for all of them, valid until the next call. */
  get view(): RecordView {
    return this.#parser.view;
  }

  /** The same as an object that stays; its data does not. */
  record(): CaptureRecord {
    return this.#parser.record();
  }

  /** What the file says of its interfaces so far. */
  get parser(): CaptureParser {
    return this.#parser;
  }

  /**
   * Goes on to the next record; false at the end of the file.
   * @throws CaptureError as `readCapture`
   */
  advance(): boolean {
    const parser = this.#parser;
    for (;;) {
      if (parser.advance()) return true;
      if (this.#fd < 0 || parser.stopped) return false;
      let count: number;
      try {
        count = readSync(this.#fd, this.#chunk, 0, CHUNK_LENGTH, null);
      } catch (error) {
        throw unreadable(this.#file, error);
      }
      if (count > 0) parser.push(count === CHUNK_LENGTH ? this.#chunk : this.#chunk.subarray(0, count));
      else {
        this.close();
        parser.end();
      }
    }
  }

  /** Lets the file go. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** As `readCapture`, without waiting on the event loop. */
export function* readCaptureSync(path: string, options: ReadOptions = {}): Generator<CaptureRecord> {
  const file = new CaptureFile(path, options);
  try {
    while (file.advance()) yield file.record();
  } finally {
    file.close();
  }
}

/** The records of a capture that is in memory. */
export function* parseCapture(bytes: Uint8Array, options: ReadOptions = {}): Generator<CaptureRecord> {
  const parser = new CaptureParser(options);
  for (let at = 0; at < bytes.length && !parser.stopped; at += CHUNK_LENGTH) {
    parser.push(bytes.subarray(at, at + CHUNK_LENGTH));
    yield* recordsOf(parser);
  }
  parser.end();
  yield* recordsOf(parser);
}

function* recordsOf(parser: CaptureParser): Generator<CaptureRecord> {
  for (let record = parser.next(); record !== undefined; record = parser.next()) yield record;
}

/** The system's own words for what goes wrong with a path, and what the user can do. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: 'check the path',
  ENOTDIR: 'check the path',
  EISDIR: 'give a file, not a directory',
  EACCES: 'make it readable for this user',
};

function unreadable(file: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof CaptureError || code === undefined) return error;
  const advice = ADVICE[code] ?? 'see the reason';
  return new CaptureError(file, -1, 'cannot be read', systemReason(error), advice, {
    cause: error,
  });
}
