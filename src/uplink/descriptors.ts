import { readFileSync } from 'node:fs';

/** What systems let a process open where nobody has said anything (RLIMIT_NOFILE). */
const USUAL_LIMIT = 1024;
/** Descriptors that are the rest of the process's at least: TAPs, and whoever asks the daemon. */
const LEAST_RESERVE = 64;

/**
 * How many sockets the uplink may have. Less than the process may open: where connections take all descriptors, nobody
 * could be attached, nor ask the daemon what goes on.
 */
export class Descriptors {
  readonly limit: number;
  /** Sockets that are open. */
  used = 0;

  /** @param limit sockets at once */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Sockets that may still be opened; negative when more are open, as published ports are not refused here. */
  get left(): number {
    return this.limit - this.used;
  }
}

/** How many sockets the process leaves to uplinks: all that it may open (RLIMIT_NOFILE) but an eighth, or 64. */
export function socketLimit(openFiles: number = openFileLimit()): number {
  return Math.max(1, openFiles - Math.max(LEAST_RESERVE, Math.floor(openFiles / 8)));
}

/** The soft limit; Node.js has raised it to the hard one when it started. */
function openFileLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const [, soft] = /^Max open files\s+(\S+)/m.exec(limits) ?? [];
  return soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft ?? USUAL_LIMIT);
}
