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

/** What the machine has run out of, and what helps: no defect, wherever it shows. */
const SHORTAGES = new Map([
  ['ENOSPC', 'free some space there'],
  ['EDQUOT', 'free some space there, or raise the quota'],
  ['EROFS', 'choose another place, or mount it for writing'],
  ['EMFILE', 'raise the limit of open files (ulimit -n)'],
  ['ENFILE', 'raise the sysctl fs.file-max'],
  ['ENOMEM', 'free some memory'],
]);

/** What a user can do about an error of the system that can come from anywhere; undefined for any other. */
export function asShortage(error: unknown): DeckError | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  const remedy = code === undefined ? undefined : SHORTAGES.get(code);
  return remedy === undefined
    ? undefined
    : new DeckError('unavailable', `${message}; ${remedy}`, { cause: error });
}

/** A write to this file has failed. */
export function cannotWrite(path: string, error: unknown): DeckError {
  const { code, message } = error as NodeJS.ErrnoException;
  const remedy = (code && SHORTAGES.get(code)) || 'check its folder and permissions';
  // Node's message has no name of the file where a descriptor was written to.
  const reason = message.replace(/, \w+(?: '.*')?$/s, '');
  return new DeckError('unavailable', `cannot write ${path}: ${reason}; ${remedy}`, { cause: error });
}
