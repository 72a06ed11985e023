import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Account, type Running } from './account.ts';

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('the tour as %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  /** In a mount namespace of its own: what others mount meanwhile is not what the tour left behind. */
  function start(...env: string[]): Running {
    const program = [process.execPath, join(account.program, 'dist/src/main.js'), 'demo'];
    const apart = account.name === 'root' ? ['unshare', '--mount'] : [];
    return account.spawn([...apart, 'env', ...env, ...program]);
  }

  it('shows everything and leaves nothing', async () => {
    const { code, out, err } = await start().ended;
    expect([code, err]).toEqual([0, '']);
    // For an answer that is only late it asks once more, and may have both then.
    const received = Array.from(out.matchAll(/packets transmitted, (\d+) received, /g), ([, count]) =>
      Number(count),
    );
    expect(received).toHaveLength(4);
    expect(Math.min(...received)).toBeGreaterThanOrEqual(3);
    expect(out).toMatch(/GB in \d+\.\d s: [\d.]+ Gbit\/s/);
    expect(out).toContain('02:42:ac:11:00:02 dev bob.eth0 master bridge static');
    expect(out).toMatch(/received \d+ \+ originated \d+ \+ copies \d+ = sent \d+/);
    expect(out).toMatch(/^ok .*kernel-traceroute$/m);
    expect(out).toContain('Nothing is left: no process, no namespace, no interface, no mount.');
    expect(account.leftovers()).toEqual([]);
  });

  it('needs neither ping nor iperf3', async () => {
    const tools = mkdtempSync(join(account.folder, 'tools-'));
    chmodSync(tools, 0o755);
    for (const tool of ['unshare', 'mount', 'umount', 'nsenter', 'setpriv', 'sh', 'sleep', 'env']) {
      const path = execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim();
      symlinkSync(path, join(tools, tool));
    }
    const { code, out, err } = await start(`PATH=${tools}`).ended;
    expect([code, err]).toEqual([0, '']);
    expect(out.match(/refuses TCP port 9, as it should, in [\d.]+ ms/g)).toHaveLength(4);
    expect(out).toMatch(/node \(a sender.*\n.*GB in \d+\.\d s: [\d.]+ Gbit\/s/);
    expect(account.leftovers()).toEqual([]);
  });

  it('says in one line what is missing, and replays all the same', async () => {
    const { code, out, err } = await account.tapdeckWithTun('', 'demo');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^Not possible here: [^\n]*\/dev\/net\/tun[^\n]*modprobe tun[^\n]*$/m);
    expect(out).toMatch(/^ok .*kernel-traceroute$/m);
    expect(out).toContain('Nothing is left');
    expect(account.leftovers()).toEqual([]);
  });

  it('can be interrupted and leaves nothing', async () => {
    // One whose transfer does not end by itself.
    const tools = mkdtempSync(join(account.folder, 'tools-'));
    chmodSync(tools, 0o755);
    const iperf = execFileSync('sh', ['-c', 'command -v iperf3'], { encoding: 'utf8' }).trim();
    const endless = `#!/bin/sh\ncase "$*" in *--client*) set -- "$@" --time 1000 ;; esac\nexec ${iperf} "$@"\n`;
    writeFileSync(join(tools, 'iperf3'), endless, { mode: 0o755 });
    const running = start(`PATH=${tools}:/usr/sbin:/usr/bin:/sbin:/bin`);
    await running.said('A bulk transfer');
    running.kill('SIGINT');
    const { code, out, err } = await running.ended;
    expect(code).toBe(1);
    expect(err).toBe('tapdeck: error: interrupted by SIGINT\n');
    expect(out).toContain('Nothing is left');
    expect(account.leftovers()).toEqual([]);
  });
});
