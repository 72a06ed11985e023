import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { awaitEnd } from '../../src/cli/embedded.ts';
import { DaemonClient } from '../../src/control/client.ts';
import { runtimePaths } from '../../src/control/paths.ts';
import { findProcess } from '../../src/control/process.ts';

let folder: string;
let daemon: ChildProcess;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-embedded-'));
  daemon = spawn('sleep', ['60']);
});
afterEach(() => {
  daemon.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

/** A daemon that is there and has its socket, and says each time that it is asked what `said` answers. */
function slow(said: () => Promise<boolean>) {
  const paths = runtimePaths(`unix://${folder}/tapdeck.sock`);
  writeFileSync(paths.socket, '');
  const client = new DaemonClient(paths.socket);
  client.closeSandbox = async () => ({ ending: await said() });
  const version = {
    version: '',
    pid: daemon.pid!,
    startedAt: '',
    untilEmpty: true,
    uplinks: [],
    notices: [],
  };
  return awaitEnd(paths, { client, version }, 'id');
}

describe('the end of a daemon that ends with its last sandbox', () => {
  it('is waited for, however long it has its socket', async () => {
    const order: string[] = [];
    await slow(async () => {
      order.push('asked');
      if (order.length === 3) daemon.kill('SIGKILL');
      return true;
    });
    expect(order).toEqual(['asked', 'asked', 'asked']);
    expect(findProcess(daemon.pid!)).toBeUndefined();
  });

  it('is not waited for when somebody has given it a reason to stay', async () => {
    await slow(async () => false);
    expect(findProcess(daemon.pid!)).toBeDefined();
  });

  it('is near when it does not answer any more', async () => {
    await slow(() => {
      daemon.kill('SIGKILL');
      return Promise.reject(new Error('refused'));
    });
    expect(findProcess(daemon.pid!)).toBeUndefined();
  });
});
