import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { Leases } from '../../src/control/leases.ts';
import { fakeDeck } from '../control/fake-deck.ts';

/** The answer to a client that only listens. */
class Answer extends Writable {
  override _write(_: Buffer, __: string, done: () => void): void {
    done();
  }
  setTimeout(): this {
    return this;
  }
  writeHead(): this {
    return this;
  }
}

it('a sandbox that is brought twice at once is held once', async () => {
  const commands = [1, 2].map(() =>
    spawn('unshare', ['--net', 'sh', '-c', 'echo; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  // In their own namespaces by now.
  await Promise.all(commands.map(({ stdout }) => once(stdout, 'data')));
  const deck = await fakeDeck();
  const leases = new Leases(deck);
  try {
    const id = 'a'.repeat(32);
    const results = await Promise.allSettled(
      commands.map(({ pid }) => leases.open({ id, pid: pid! }, new Answer() as unknown as ServerResponse)),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(String((results[1] as PromiseRejectedResult).reason)).toContain(`sandbox ${id} is held already`);
    expect(leases.size).toBe(1);
    expect(leases.save()).toMatchObject([{ id, pid: commands[0]!.pid }]);
    expect(deck.containers()).toHaveLength(1);
  } finally {
    for (const command of commands) {
      command.kill('SIGKILL');
      if (command.exitCode === null && command.signalCode === null) await once(command, 'exit');
    }
    await leases.closeAll();
    await deck.close();
  }
});
