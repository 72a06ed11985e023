import { constants } from 'node:os';
import { errno, strerror } from './syscall.ts';

// Numbers that the code branches on, and those that Node's own list leaves out.
export const EPERM = constants.errno.EPERM;
export const ENOENT = constants.errno.ENOENT;
export const EINTR = constants.errno.EINTR;
export const EIO = constants.errno.EIO;
export const EBADF = constants.errno.EBADF;
export const EAGAIN = constants.errno.EAGAIN;
export const EACCES = constants.errno.EACCES;
export const EBUSY = constants.errno.EBUSY;
export const EEXIST = constants.errno.EEXIST;
export const ENODEV = constants.errno.ENODEV;
export const EINVAL = constants.errno.EINVAL;
export const ENOTTY = constants.errno.ENOTTY;
export const ENOSPC = constants.errno.ENOSPC;
export const ENOSYS = constants.errno.ENOSYS;
export const ENOBUFS = constants.errno.ENOBUFS;
export const ENXIO = constants.errno.ENXIO;
export const ESRCH = constants.errno.ESRCH;
export const ECONNRESET = constants.errno.ECONNRESET;
export const EADDRNOTAVAIL = constants.errno.EADDRNOTAVAIL;
export const ENETDOWN = constants.errno.ENETDOWN;
export const ENETUNREACH = constants.errno.ENETUNREACH;
export const EOPNOTSUPP = constants.errno.EOPNOTSUPP;
export const ENFILE = constants.errno.ENFILE;
export const EMFILE = constants.errno.EMFILE;
export const EAFNOSUPPORT = constants.errno.EAFNOSUPPORT;
export const EADDRINUSE = constants.errno.EADDRINUSE;
export const EBADFD = 77;

const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) NAMES.set(number, name);
// Two names share a number: the one that the manual pages use.
for (const [number, name] of [
  [EAGAIN, 'EAGAIN'],
  [EOPNOTSUPP, 'EOPNOTSUPP'],
  [EBADFD, 'EBADFD'],
  [108, 'ESHUTDOWN'],
  [112, 'EHOSTDOWN'],
] as const) {
  NAMES.set(number, name);
}

/** `EPERM` for 1, and so on. */
export function errnoName(number: number): string {
  return NAMES.get(number) ?? `errno ${number}`;
}

/** What a `SyscallError` tells beyond what failed. */
export interface Explanation {
  /** Why, in place of the system's own words for the number. */
  why?: string;
  /** What the reader can do about it. */
  remedy?: string;
}

/**
 * A refused system call in one line: what, why, what to do.
 * `cannot open /dev/net/tun: permission denied (EACCES); allow it as udev does: chmod 0666 /dev/net/tun`
 */
export class SyscallError extends Error {
  /** The number's name: `EPERM`. */
  readonly code: string;
  readonly errno: number;

  constructor(what: string, number: number, { why, remedy }: Explanation = {}) {
    const code = errnoName(number);
    const reason = why ?? lowerFirst(strerror(number));
    super(`${what}: ${reason} (${code})${remedy === undefined ? '' : `; ${remedy}`}`);
    this.name = 'SyscallError';
    this.code = code;
    this.errno = number;
  }
}

/** `result` of a call just made, unless it is the -1 of failure. */
export function checked(result: number, what: string, explain?: (number: number) => Explanation): number {
  if (result >= 0) return result;
  const number = errno();
  throw new SyscallError(what, number, { ...SCARCE.get(number), ...explain?.(number) });
}

/** What any call may want that makes a descriptor, whatever else it does. */
const SCARCE = new Map<number, Explanation>([
  [EMFILE, { remedy: 'raise the limit of open files (ulimit -n)' }],
  [ENFILE, { remedy: 'raise the sysctl fs.file-max' }],
]);

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
