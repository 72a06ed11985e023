/** Something is wrong with a recording. The message is one line: file and byte offset, what is wrong, what to do about it. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
  /** Byte offset in the file of the record at fault, or -1 when the file as a whole is. */
  readonly offset: number;

  constructor(file: string, offset: number, problem: string, options?: { cause?: unknown }) {
    super(`${offset < 0 ? file : `${file}: byte ${offset}`}: ${problem}`, options);
    this.offset = offset;
  }
}
