import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { flock } from '../device/syscall.ts';
import { cannotWrite, DeckError } from './error.ts';
import { isEnding } from './process.ts';

// sys/file.h.
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Milliseconds for which a process that ends is waited for: a thousand interfaces and more. */
const ENDING = 30_000;

/**
 * What makes one daemon the only one at its socket. The kernel lets go of it when the process ends, however it
 * ends: who gets the lock knows that what lies beside it was left behind.
 */
export class DaemonLock {
  readonly #path: string;
  #fd: number;

  /** Takes the lock, or answers the pid of the process that has it (0 when it has not said so yet). */
  static take(path: string): DaemonLock | { heldBy: number } {
    for (;;) {
      const fd = openSync(path, 'a+', 0o600);
      if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        closeSync(fd);
        return { heldBy: readPid(path) };
      }
      // Between our open and our lock its last holder may have removed the file: then we have locked nothing.
      if (isSameFile(fd, path)) return new DaemonLock(path, fd);
      closeSync(fd);
    }
  }

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /** The pid that the last holder left in the file: it ended without releasing the lock. 0 when there is none. */
  get predecessor(): number {
    return readPid(this.#path);
  }

  /** Writes our pid into the file. Throws a `DeckError`. */
  sign(): void {
    try {
      ftruncateSync(this.#fd, 0);
      writeSync(this.#fd, `${process.pid}\n`);
    } catch (error) {
      throw cannotWrite(this.#path, error);
    }
  }

  /** Removes the file, then lets go. What somebody else has put in its place is his. */
  release(): void {
    if (this.#fd < 0) return;
    if (isSameFile(this.#fd, this.#path)) unlinkSync(this.#path);
    closeSync(this.#fd);
    this.#fd = -1;
  }
}

function readPid(path: string): number {
  try {
    return Number.parseInt(readFileSync(path, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}

function isSameFile(fd: number, path: string): boolean {
  try {
    return fstatSync(fd).ino === statSync(path).ino;
  } catch {
    return false;
  }
}

/**
 * As `DaemonLock.take`, but waits for a holder that is ending. One that was killed has its lock until the kernel has closed
 * what it had open: that takes 20 ms for each interface.
 */
export async function takeEnded(path: string): Promise<ReturnType<typeof DaemonLock.take>> {
  const deadline = performance.now() + ENDING;
  for (;;) {
    const lock = DaemonLock.take(path);
    if (lock instanceof DaemonLock || !isEnding(lock.heldBy) || performance.now() > deadline) return lock;
    await sleep(10);
  }
}

/** As `takeEnded`, for who cannot go on without. Throws a `DeckError` that names the holder. */
export async function takeLock(path: string, socket: string): Promise<DaemonLock> {
  const lock = await takeEnded(path);
  if (lock instanceof DaemonLock) return lock;
  const who = lock.heldBy ? `(pid ${lock.heldBy}) ` : '';
  throw new DeckError(
    'conflict',
    `a daemon ${who}is running at ${socket} already; stop it first, or start this one elsewhere with --host unix:///PATH`,
  );
}
