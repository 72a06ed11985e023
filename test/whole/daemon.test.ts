import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ip, netnsPath, runIn, Sandboxes } from '../device/sandbox.ts';
import { Account, until } from './account.ts';

// The daemon and its clients over namespaces that somebody else made.

const sandboxes = new Sandboxes();
afterEach(() => sandboxes.removeAll());

describe('tapdeck daemon as root', () => {
  let account: Account;
  beforeAll(() => {
    account = Account.root();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  it('attaches, lists, connects and detaches namespaces', async () => {
    const daemon = await account.daemon();
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    expect(await account.ok('attach', '--netns', netnsPath(a))).toBe(`${a} 172.17.0.2 fd74:6170:6465::2\n`);
    // By the name that `ip netns` knows, and with everything chosen.
    await account.ok(
      ...['attach', '--netns', b, '--name', 'b', '--ip', '172.17.9.9', '--ip6', 'fd74:6170:6465::9'],
      ...['--mac', '06:00:00:00:00:09', '--ifname', 'net7', '--mtu', '1500'],
    );
    expect(await account.ok('ps')).toMatch(
      /^CONTAINER ID .*\n.* bridge +172\.17\.0\.2, .* Up .*\n.* b +bridge +172\.17\.9\.9, fd74:6170:6465::9 +- +Up /,
    );
    expect(ip(b, 'link', 'show', 'net7')[0]).toMatchObject({ address: '06:00:00:00:00:09', mtu: 1500 });
    expect((await runIn(a, 'ping', '-c', '2', '-i', '0.2', '172.17.9.9')).code).toBe(0);
    expect((await runIn(b, 'ping', '-c', '2', '-i', '0.2', 'fd74:6170:6465::2')).code).toBe(0);

    expect(await account.ok('fdb')).toContain(`06:00:00:00:00:09 dev b.net7 master bridge static\n`);
    expect(await account.ok('neigh')).toContain('172.17.9.9 dev bridge lladdr 06:00:00:00:00:09 PERMANENT\n');
    const { ledger, ports } = JSON.parse(await account.ok('counters', '--format', 'json'));
    expect(ledger).toMatchObject({ balanced: true, sent: expect.any(Number) });
    expect(ledger.sent).toBeGreaterThanOrEqual(8);
    expect(ports.map(({ endpoint }: { endpoint: string }) => endpoint).sort()).toEqual(['b', a].sort());
    // Nobody but the two is there to hear what a kernel says when an interface comes up.
    expect(await account.ok('drops', '--all')).toMatch(/^NO_EGRESS +\d+ +The frame was for everybody/m);

    expect(await account.ok('detach', a)).toBe(`${a}\n`);
    expect(ip(a, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect(await account.names()).toBe('b\n');
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(ip(b, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect(account.leftovers()).toEqual([]);
  });

  it('keeps its networks apart', async () => {
    await account.daemon();
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    await account.ok(
      'network',
      'create',
      '--subnet',
      '10.99.1.0/24',
      '--subnet',
      'fd00:99::/64',
      '--mtu',
      '1500',
      'lab',
    );
    await account.ok('attach', '--netns', a, '--name', 'a');
    await account.ok('attach', '--netns', b, '--name', 'b', '--network', 'lab');
    expect(ip(b, 'addr', 'show', 'eth0')[0]).toMatchObject({ mtu: 1500 });
    expect((await runIn(b, 'ping', '-c', '1', '10.99.1.1')).code).toBe(0);
    expect((await runIn(a, 'ping', '-c', '1', '-W', '1', '10.99.1.2')).code).toBe(1);
    expect((await runIn(b, 'ping', '-c', '1', '-W', '1', 'fd74:6170:6465::2')).code).toBe(1);
    await until(async () => /^NETWORK_ISOLATED +2 /m.test(await account.ok('drops')), 'both were counted');
    expect((await account.tapdeck('network', 'rm', 'lab')).err).toContain('network lab is in use by b');
    await account.ok('detach', 'b');
    expect(await account.ok('network', 'rm', 'lab')).toBe('lab\n');
  });

  it('loses only the port of a namespace that vanishes', async () => {
    const daemon = await account.daemon();
    const [a, b, c] = [sandboxes.add('a'), sandboxes.add('b'), sandboxes.add('c')];
    for (const [name, netns] of Object.entries({ a, b, c }))
      await account.ok('attach', '--netns', netns, '--name', name);
    sandboxes.remove(b);
    await until(async () => (await account.names()) === 'a\nc\n', 'the endpoint has gone');
    await daemon.said('detached b from bridge: its namespace or interface is gone');
    expect((await runIn(a, 'ping', '-c', '1', '172.17.0.4')).code).toBe(0);
    // Its addresses are nobody's for a while, and an interface that somebody deletes is as good as a namespace.
    const d = sandboxes.add('d');
    expect(await account.ok('attach', '--netns', d, '--name', 'd')).toContain('172.17.0.5');
    execFileSync('ip', ['-n', d, 'link', 'del', 'eth0']);
    await until(async () => (await account.names()) === 'a\nc\n', 'the endpoint has gone');
  });

  it('refuses what cannot be in one line, and leaves nothing behind', async () => {
    await account.daemon();
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    await account.ok('attach', '--netns', a, '--name', 'taken');
    sandboxes.addLink(b, 'veth9');
    const file = join(account.folder, 'file');
    const fifo = join(account.folder, 'fifo');
    writeFileSync(file, '');
    execFileSync('mkfifo', [fifo]);
    const rows: [string[], number, RegExp][] = [
      [
        ['--netns', '/run/netns/no-such-namespace'],
        1,
        /there is no network namespace at "\/run\/netns\/no-such-namespace"/,
      ],
      [['--netns', file], 2, /is not a network namespace/],
      [['--netns', fifo], 2, /is not a network namespace/],
      [['--netns', account.folder], 2, /is not a network namespace/],
      [['--netns', '/proc/self/ns/mnt'], 1, /not a network namespace/],
      [['--netns', `${file}/x`], 1, /there is no network namespace/],
      [['--pid', '999999999'], 1, /there is no process 999999999/],
      [['--pid', String(process.pid)], 2, /is in the namespace that tapdeck itself runs in/],
      [['--netns', b, '--name', 'taken'], 1, /container taken exists already/],
      [['--netns', b, '--ip', '172.17.0.2'], 1, /address 172.17.0.2 is in use by /],
      [['--netns', b, '--ip', '172.17.255.255'], 2, /is the broadcast address/],
      [['--netns', b, '--ip6', 'fd74:6170:6465::2'], 1, /is in use/],
      [['--netns', b, '--mac', '02:42:ac:11:00:02'], 1, /MAC 02:42:ac:11:00:02 is in use/],
      [['--netns', b, '--ifname', 'veth9'], 1, /there is one of that name already/],
      [['--netns', a, '--name', 'again'], 1, /is container taken already/],
      [['--netns', b, '--mtu', '1000'], 2, /MTU 1000 is out of range/],
      [['--netns', b, '--network', 'nowhere'], 1, /there is no network "nowhere"/],
    ];
    for (const [options, code, message] of rows) {
      const answer = await account.tapdeck('attach', ...options);
      expect([answer.code, answer.out], `${options.join(' ')}: ${answer.err}`).toEqual([code, '']);
      expect(answer.err).toMatch(/^tapdeck: error: [^\n]+\n$/);
      expect(answer.err).toMatch(message);
    }
    const links = ip(b, 'link').map(({ ifname }: { ifname: string }) => ifname);
    expect(links.sort()).toEqual(['lo', 'veth9', 'veth9p']);
    expect(await account.names()).toBe('taken\n');
    expect(await account.ok('attach', '--netns', b, '--name', 'b')).toBe('b 172.17.0.3 fd74:6170:6465::3\n');
  });

  it('is the only one at its socket, and takes over from one that was killed', async () => {
    const first = await account.daemon();
    const a = sandboxes.add('a');
    await account.ok('attach', '--netns', a, '--name', 'a');
    const second = await account.tapdeck('daemon');
    expect(second.code).toBe(1);
    expect(second.err).toContain(
      `a daemon (pid ${first.pid}) is running at ${account.runtime}/tapdeck.sock already`,
    );
    first.kill('SIGKILL');
    await first.ended;
    // The kernel has closed the TAP.
    expect(ip(a, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect((await account.tapdeck('ps')).err).toMatch(/^tapdeck: error: no daemon is running at /);
    const third = await account.daemon();
    expect(third.err).toContain(`cleaned up after a daemon that did not exit cleanly (pid ${first.pid})`);
    // What is connected again is as if nothing had been.
    expect(ip(a, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo', 'eth0']);
    third.kill('SIGINT');
    expect((await third.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });

  it('ends the sandboxes that it holds with it', async () => {
    const daemon = await account.daemon();
    const running = account.start(
      'run',
      '--name',
      'x',
      '--',
      'sh',
      '-c',
      'sleep 300 & echo in; exec sleep 300',
    );
    await running.said('in');
    await account.ok('detach', 'x');
    await running.said('x was detached; the command runs on without this network');
    daemon.kill('SIGTERM');
    expect(await running.ended).toMatchObject({
      code: 143,
      err: expect.stringContaining('tapdeck: the daemon is ending, and this sandbox with it\n'),
    });
    expect((await daemon.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });

  it('logs JSON lines where nobody watches', async () => {
    const daemon = await account.daemon();
    daemon.kill('SIGTERM');
    const { err } = await daemon.ended;
    const lines = err
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ msg }) => msg)).toEqual([
      `daemon ready at unix://${account.runtime}/tapdeck.sock`,
      'ending: SIGTERM',
      'ended',
    ]);
  });

  it('says what stands in the way of its socket', async () => {
    mkdirSync(join(account.runtime, 'tapdeck.sock'));
    const { code, err } = await account.tapdeck('daemon');
    expect([code, err.match(/\n/g)?.length]).toEqual([1, 1]);
    expect(err).toContain('exists and is not a socket');
    rmSync(join(account.runtime, 'tapdeck.sock'), { recursive: true });
    const elsewhere = await account.tapdeck('--host', 'unix:///proc/nowhere/tapdeck.sock', 'daemon');
    expect(elsewhere.code).toBe(1);
    expect(elsewhere.err).toMatch(
      /^tapdeck: error: there is no folder \/proc\/nowhere [^\n]*--host[^\n]*\n$/,
    );
    expect(account.leftovers()).toEqual([]);
  });
});

describe('tapdeck daemon as an ordinary user', () => {
  let account: Account;
  beforeAll(() => {
    account = Account.user();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  it("attaches what is the user's own", async () => {
    const daemon = await account.daemon();
    const container = account.spawn([
      'unshare',
      '--user',
      '--map-root-user',
      '--net',
      'sh',
      '-c',
      'echo in; exec sleep 300',
    ]);
    await container.said('in');
    expect(await account.ok('attach', '--pid', String(container.pid), '--name', 'mine')).toBe(
      'mine 172.17.0.2 fd74:6170:6465::2\n',
    );
    const ping = await account.ok('run', '--', 'ping', '-c', '1', '-W', '30', '172.17.0.2');
    expect(ping).toContain('1 received, 0% packet loss');
    container.kill('SIGKILL');
    await container.ended;
    await until(async () => (await account.names()) === '', 'the endpoint has gone');
    daemon.kill('SIGINT');
    expect((await daemon.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });

  it("is refused what is somebody else's", async () => {
    // Before the daemon, whose mount namespace here is a copy: later mounts are not in it.
    const theirs = sandboxes.add('x');
    await account.daemon();
    const rows: [string[], RegExp][] = [
      [['--netns', netnsPath(theirs)], /namespace/],
      [['--pid', '1'], /permission/],
    ];
    for (const [options, message] of rows) {
      const answer = await account.tapdeck('attach', ...options);
      expect([answer.code, answer.out], answer.err).toEqual([1, '']);
      expect(answer.err).toMatch(/^tapdeck: error: [^\n]+\n$/);
      expect(answer.err).toMatch(message);
    }
    expect(ip(theirs, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect(await account.names()).toBe('');
  });

  it('listens where nobody else can', async () => {
    await account.daemon();
    const stranger = Account.user();
    try {
      const { code, err } = await stranger.tapdeck('--host', `unix://${account.runtime}/tapdeck.sock`, 'ps');
      expect(code).toBe(1);
      expect(err).toMatch(/^tapdeck: error: no permission to talk to the daemon at [^\n]+\n$/);
    } finally {
      await stranger.remove();
    }
  });
});

describe('a process that only looks like a recorded one', () => {
  it('is left alone', async () => {
    const { endRecorded } = await import('../../src/control/recorded-sandbox.ts');
    const { findProcess } = await import('../../src/control/process.ts');
    const { netnsOf } = await import('../../src/control/netns-hold.ts');
    const account = Account.root();
    try {
      const start = async (id: string) => {
        const running = account.spawn([
          'env',
          `TAPDECK_SANDBOX=${id}`,
          'unshare',
          '--net',
          'sh',
          '-c',
          'echo in; exec sleep 300',
        ]);
        await running.said('in');
        return { ...findProcess(running.pid)!, id, name: 'x', netns: netnsOf(running.pid)!, running };
      };
      const { running, ...recorded } = await start('a'.repeat(32));
      // Another start time, another mark, another namespace: the pid was given to somebody else since.
      const strangers = [
        { ...recorded, startTime: recorded.startTime - 1, id: 'b'.repeat(32) },
        { ...recorded, netns: 'net:[1]' },
        { ...recorded, pid: 1, id: 'b'.repeat(32) },
      ];
      for (const stranger of strangers) expect(await endRecorded(stranger, 100)).toBe(0);
      expect(findProcess(recorded.pid)).toBeDefined();
      // The mark is proof enough, and so is the start time.
      expect(await endRecorded({ ...recorded, pid: 1, startTime: 1 }, 100)).toBe(1);
      await running.ended;
      const { running: other, ...known } = await start('c'.repeat(32));
      expect(await endRecorded({ ...known, id: 'd'.repeat(32) }, 100)).toBe(1);
      await other.ended;
    } finally {
      await account.remove();
    }
  });
});
