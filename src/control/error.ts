/** What kind of failure it was, for programs; people read the message. */
export type DeckErrorCode = 'invalid' | 'not-found' | 'conflict' | 'permission' | 'unavailable';

/**
 * A refusal that a user can act on. The message is one line: what, why, what to do. Anything that is not a
 * `DeckError` is a defect of tapdeck.
 */
export class DeckError extends Error {
  readonly code: DeckErrorCode;
  /** What somebody else last said that explains it, a program or a log; shown line by line below the message. */
  readonly detail: readonly string[];

  constructor(
    code: DeckErrorCode,
    message: string,
    { detail = [], ...options }: ErrorOptions & { detail?: readonly string[] } = {},
  ) {
    super(message.replace(/\s*\n\s*/g, ' '), options);
    this.name = 'DeckError';
    this.code = code;
    this.detail = detail;
  }
}

export function invalid(message: string): DeckError {
  return new DeckError('invalid', message);
}

export function notFound(message: string): DeckError {
  return new DeckError('not-found', message);
}

export function conflict(message: string): DeckError {
  return new DeckError('conflict', message);
}

export function unavailable(message: string): DeckError {
  return new DeckError('unavailable', message);
}

const CODES = new Map<string, DeckErrorCode>([
  ['EPERM', 'permission'],
  ['EACCES', 'permission'],
  ['ENOENT', 'not-found'],
  ['ESRCH', 'not-found'],
  ['ENODEV', 'not-found'],
  ['EEXIST', 'conflict'],
  ['EBUSY', 'conflict'],
  ['EADDRINUSE', 'conflict'],
  ['EADDRNOTAVAIL', 'invalid'],
  ['EINVAL', 'invalid'],
  ['ENOTTY', 'invalid'],
]);

/**
 * What the device and runtime tiers threw, as a `DeckError`: their messages are one line for people already,
 * and their `code` is the name of an errno.
 */
export function asDeckError(error: unknown): DeckError {
  if (error instanceof DeckError) return error;
  if (!(error instanceof Error)) return unavailable(String(error));
  const code = (error as NodeJS.ErrnoException).code;
  return new DeckError((code && CODES.get(code)) || 'unavailable', error.message, { cause: error });
}
