import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DaemonLock, takeEnded, takeLock } from '../../src/control/lock.ts';
import { isEnding } from '../../src/control/process.ts';

/** Holds a lock until it reads a line; with a second argument by a thread that outlives the first one, as in a process that is killed. */
const HOLDER = `
import ctypes, fcntl, os, platform, sys, threading
lock = open(sys.argv[1], 'a+')
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid()))
lock.flush()
def wait():
    print('held', flush=True)
    sys.stdin.readline()
    os._exit(0)
threading.Thread(target=wait).start()
if len(sys.argv) > 2:
    ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)
`;

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-lock-'));
  path = join(folder, 'd.lock');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function hold(...how: string[]) {
  const child = spawn('python3', ['-c', HOLDER, path, ...how], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const gone = once(child, 'exit');
  return {
    pid: child.pid!,
    /** May be called again. */
    async end() {
      if (!child.stdin.writableEnded) child.stdin.end('\n');
      await gone;
    },
  };
}

it('a lock is refused as long as its holder lives', async () => {
  const holder = await hold();
  try {
    expect(isEnding(holder.pid)).toBe(false);
    expect(await takeEnded(path)).toEqual({ heldBy: holder.pid });
    await expect(takeLock(path, '/d.sock')).rejects.toThrow(`a daemon (pid ${holder.pid}) is running at`);
  } finally {
    await holder.end();
  }
});

it('a lock is waited for while its holder ends', async () => {
  const holder = await hold('ending');
  try {
    await expect.poll(() => isEnding(holder.pid)).toBe(true);
    expect(DaemonLock.take(path)).toEqual({ heldBy: holder.pid });
    const order: string[] = [];
    const taking = takeLock(path, '/d.sock').then((lock) => {
      order.push('taken');
      lock.release();
    });
    setImmediate(() => {
      order.push('ended');
      void holder.end();
    });
    await taking;
    expect(order).toEqual(['ended', 'taken']);
  } finally {
    await holder.end();
  }
});
