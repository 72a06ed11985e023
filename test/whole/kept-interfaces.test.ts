import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ip, Sandboxes } from '../device/sandbox.ts';
import { Account, type Running } from './account.ts';

// Interfaces outlive the daemon when its service manager keeps their descriptors: systemd's descriptor store, played by
// fixtures/service-manager.py, as systemd itself is process 1 or nothing.

const MANAGER = fileURLToPath(new URL('../../fixtures/service-manager.py', import.meta.url));
const STARTED = /started (\d+) with (\d+) descriptors/g;

const sandboxes = new Sandboxes();
let account: Account;
beforeAll(() => {
  account = Account.root();
});
afterEach(async () => {
  await account.end();
  sandboxes.removeAll();
});
afterAll(() => account.remove());

async function service(): Promise<Running> {
  const manager = account.spawn([
    ...['python3', MANAGER, process.execPath],
    ...[join(account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'none'],
  ]);
  await times(manager, 'daemon ready', 1);
  return manager;
}

async function times(manager: Running, text: string, count: number): Promise<void> {
  // What it says itself of each start comes by another pipe.
  while (manager.err.split(text).length <= count || starts(manager).length < count) {
    if (manager.child.exitCode !== null) throw new Error(`ended: ${manager.out}${manager.err}`);
    await sleep(5);
  }
}

/** The daemons that there were, and with how many interfaces each began. */
const starts = (manager: Running) =>
  Array.from(manager.out.matchAll(STARTED), ([, pid, count]) => ({ pid: Number(pid), count: Number(count) }));

const interfaces = (netns: string): string[] =>
  ip(netns, 'link').map(({ ifindex, ifname }: { ifindex: number; ifname: string }) => `${ifindex} ${ifname}`);

const ping = (netns: string, address: string) =>
  execFileSync('ip', ['netns', 'exec', netns, 'ping', '-c', '1', '-W', '30', address], { encoding: 'utf8' });

describe('a daemon whose service manager keeps descriptors', () => {
  it('leaves interfaces as they are when it is killed, and when it is restarted; the next one goes on with them', async () => {
    const manager = await service();
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    await account.ok('network', 'create', '--subnet', '10.77.0.0/24', 'lab');
    await account.ok('attach', '--netns', a, '--name', 'a', '--network', 'lab');
    await account.ok('network', 'connect', 'bridge', 'a');
    await account.ok('attach', '--netns', b, '--name', 'b', '--network', 'lab');
    // What somebody did inside, and no daemon knows of.
    execFileSync('ip', ['-n', a, 'addr', 'add', '192.0.2.7/32', 'dev', 'eth0']);
    const before = [interfaces(a), interfaces(b), ip(a, 'addr')];

    process.kill(starts(manager)[0]!.pid, 'SIGKILL');
    // They never go: not even while there is no daemon.
    expect(interfaces(a)).toEqual(before[0]);
    await times(manager, 'daemon ready', 2);
    expect(manager.err).toContain('connected a, b again');
    expect([interfaces(a), interfaces(b), ip(a, 'addr')]).toEqual(before);
    expect(ping(a, '10.77.0.3')).toContain(' 0% packet loss');

    manager.kill('SIGHUP');
    await times(manager, 'daemon ready', 3);
    expect([interfaces(a), interfaces(b), ip(a, 'addr')]).toEqual(before);
    expect(ping(b, '10.77.0.2')).toContain(' 0% packet loss');
    expect(starts(manager).map(({ count }) => count)).toEqual([0, 3, 3]);

    // What is detached is gone when that is answered, and nobody has it any more.
    await account.ok('network', 'disconnect', 'bridge', 'a');
    expect(interfaces(a)).toHaveLength(2);
    await account.ok('detach', 'b');
    expect(interfaces(b)).toHaveLength(1);
    process.kill(starts(manager)[2]!.pid, 'SIGKILL');
    await times(manager, 'daemon ready', 4);
    expect(starts(manager)[3]!.count).toBe(1);

    manager.kill('SIGTERM');
    await manager.ended;
    expect(interfaces(a)).toHaveLength(1);
  });

  it('takes away the interfaces of containers that are not to be had again', async () => {
    const manager = await service();
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    await account.ok('attach', '--netns', a, '--name', 'a');
    await account.ok('attach', '--netns', b, '--name', 'b');
    // Its interface goes with the namespace.
    sandboxes.remove(b);
    while ((await account.names()) !== 'a\n') await sleep(10);
    process.kill(starts(manager)[0]!.pid, 'SIGSTOP');
    execFileSync('rm', [account.state]);
    process.kill(starts(manager)[0]!.pid, 'SIGKILL');
    await times(manager, 'daemon ready', 2);
    expect(starts(manager)[1]!.count).toBe(1);
    expect(await account.names()).toBe('');
    expect(interfaces(a)).toHaveLength(1);
    manager.kill('SIGTERM');
    await manager.ended;
  });
});
