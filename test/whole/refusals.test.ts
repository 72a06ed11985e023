import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ip, Sandboxes } from '../device/sandbox.ts';
import { Account } from './account.ts';

// Mistakes on the command line against a running daemon: one line that says what, why and what to do, and nothing is
// left behind.

describe('a wrong word on the command line', () => {
  const sandboxes = new Sandboxes();
  afterEach(() => sandboxes.removeAll());

  /** Exactly one line on stderr, nothing on stdout. */
  async function refused(account: Account, words: string[]): Promise<{ code: number; err: string }> {
    const { code, out, err } = await account.tapdeck(...words);
    expect(out, words.join(' ')).toBe('');
    expect(err, words.join(' ')).toMatch(/^tapdeck: error: [^\n]+\n$/);
    return { code, err };
  }

  it('is answered with what is wrong, and nothing is made', async () => {
    const account = Account.root();
    try {
      await account.daemon();
      await account.ok('network', 'create', '--subnet', '10.98.0.0/24', 'four');
      const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
      await account.ok('attach', '--netns', a, '--name', 'taken', '--network', 'four');
      const attach = ['attach', '--netns', b];
      const rows: [string[], number, RegExp][] = [
        [[...attach, '--ip', '172.17.0'], 2, /"172.17.0" is not an IPv4 address/],
        [[...attach, '--ip', '10.1.2.3'], 2, /10.1.2.3 lies outside/],
        [[...attach, '--ip', '172.17.0.0'], 2, /172.17.0.0 is the/],
        [[...attach, '--ip', '172.17.0.1'], 1, /172.17.0.1 is the gateway/],
        [[...attach, '--ip6', '172.17.0.9'], 2, /is not an IPv6 address/],
        [[...attach, '--ip6', 'fd74:6170:6465::1'], 1, /is the gateway/],
        [[...attach, '--ip6', 'fe80::1'], 2, /lies outside/],
        [[...attach, '--network', 'four', '--ip6', 'fd00::7'], 2, /network four has no IPv6/],
        [[...attach, '--network', 'four', '--ip', '10.98.0.2'], 1, /10.98.0.2 is in use/],
        [[...attach, '--name', 'a b'], 2, /container name "a b" is not allowed/],
        [[...attach, '--mac', '02:42'], 2, /"02:42" is not a MAC/],
        [[...attach, '--mac', '00:00:00:00:00:00'], 2, /00:00:00:00:00:00 cannot be a station's/],
        [[...attach, '--mac', '02:42:ac:11:00:01'], 1, /is the gateway's/],
        [[...attach, '--ifname', 'sixteen-letters-'], 2, /interface name "sixteen-letters-" is not allowed/],
        [[...attach, '--ifname', 'lo'], 2, /interface name "lo" is not allowed/],
        [[...attach, '--mtu', '65521'], 2, /MTU 65521 is out of range/],
        [[...attach, '--faults', 'loss=200%'], 2, /loss=200%/],
        [['attach', '--netns', ''], 2, /namespace/],
        [['attach', '--netns', `/run/netns/${b}/x`], 1, /there is no network namespace/],
        [['detach', 'nobody'], 1, /there is no container "nobody"/],
        [['fdb', '--network', 'nowhere'], 1, /there is no network "nowhere"/],
        [['network', 'create', '--subnet', '10.98.0.128/25', 'x'], 1, /overlaps with 10.98.0.0\/24/],
        [['network', 'create', '--subnet', '10.97.0.0/24', '--gateway', '10.96.0.1', 'x'], 2, /10.96.0.1/],
      ];
      const answers = await inTurns(
        rows.map(
          ([words]) =>
            () =>
              refused(account, words),
        ),
      );
      expect(answers.map(({ code, err }, i) => [rows[i]![0], code, err])).toEqual(
        rows.map(([words, code, message]) => [words, code, expect.stringMatching(message)]),
      );
      expect(await account.names()).toBe('taken\n');
      // Those that every deck has, and four.
      expect((await account.ok('network', 'ls', '-q')).trim().split('\n')).toHaveLength(4);
      expect(ip(b, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
      expect(await account.ok('attach', '--netns', b, '--name', 'b')).toMatch(/^b 172\.17\.0\.2 /);
    } finally {
      await account.remove();
    }
  });

  it('ends a daemon that may not let the group in, and leaves nothing', async () => {
    const account = Account.user();
    try {
      const { code, err } = await refused(account, ['daemon', '--group', '0', '--uplink', 'none']);
      expect([code, err]).toEqual([
        1,
        expect.stringMatching(/cannot give .*tapdeck.sock to group 0: EPERM;/),
      ]);
      expect(await account.untilNothingIsLeft()).toEqual([]);
    } finally {
      await account.remove();
    }
  });

  it.each([
    ['no /dev/net/tun', 'root', '', /cannot open \/dev\/net\/tun: there is no such device .*modprobe tun/],
    ['no permission for it', 'user', '000', /cannot open \/dev\/net\/tun: permission denied .*chmod 0666/],
  ] as const)('is not what it looks like with %s', async (_, who, tun, message) => {
    const account = Account[who]();
    try {
      const mine = account.spawn([
        'unshare',
        ...(who === 'user' ? ['--user', '--map-root-user'] : []),
        '--net',
        'sh',
        '-c',
        'echo in; exec sleep 60',
      ]);
      await mine.said('in');
      const daemon = account.spawn([process.execPath, join(account.program, 'dist/src/main.js'), 'daemon'], {
        tun,
      });
      await daemon.said('daemon ready');
      const { code, err } = await refused(account, ['attach', '--pid', String(mine.pid), '--name', 'x']);
      expect([code, err]).toEqual([1, expect.stringMatching(message)]);
      expect(await account.names()).toBe('');
      mine.kill('SIGKILL');
      daemon.kill('SIGTERM');
      expect((await daemon.ended).code).toBe(0);
      expect(await account.untilNothingIsLeft()).toEqual([]);
    } finally {
      await account.remove();
    }
  });
});

/** Two at a time: as many as a small machine runs at once. */
async function inTurns<T>(work: (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  for (let i = 0; i < work.length; i += 2)
    results.push(...(await Promise.all(work.slice(i, i + 2).map((each) => each()))));
  return results;
}
