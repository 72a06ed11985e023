/**
 * Something is wrong with a capture file. The message is one line: file and byte offset, what is wrong, why
 * it cannot be used, what to do about it.
 */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
  /** The file as the user named it. */
  readonly file: string;
  /** Byte offset in the file of the block or record at fault, or -1 when the file as a whole is. */
  readonly offset: number;
  readonly what: string;
  readonly why: string;
  /** What to do about it. */
  readonly advice: string;

  constructor(
    file: string,
    offset: number,
    what: string,
    why: string,
    advice: string,
    options?: { cause?: unknown },
  ) {
    const place = offset < 0 ? file : `${file}: byte ${offset}`;
    super(`${place}: ${what}: ${why}; ${advice}`, options);
    this.file = file;
    this.offset = offset;
    this.what = what;
    this.why = why;
    this.advice = advice;
  }
}

/** What the system says of a failed call, without its code and the path: "no such file or directory". */
export function systemReason(error: unknown): string {
  return error instanceof Error
    ? error.message.replace(/^E\w+: /, '').replace(/, \w+(?: '.*')?$/, '')
    : String(error);
}
