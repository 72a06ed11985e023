import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip } from '../device/sandbox.ts';
import { until } from './account.ts';
import { Lab } from './lab.ts';

// What ends while frames are on their way: a namespace, an interface, the daemon.

describe('a namespace under traffic', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = new Lab();
    await lab.open();
  });
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  const others = async () => (await lab.endpoints()).map(({ name }) => name).join() === 'a,c,d';

  it('may vanish, and nobody else notices', async () => {
    const [a, b] = [await lab.attach('a'), await lab.attach('b')];
    const [c, d] = [await lab.attach('c'), await lab.attach('d')];
    const flood = await a.servePeer('flood', b.ipv4, '9', '1.5');
    const lost = c.lostPings(d.ipv4, 75);
    // Somebody sends to it.
    lab.remove(b.netns);
    await until(others, 'the endpoint has gone');
    // It sends itself.
    const e = await lab.attach('e', '--ip', b.ipv4);
    const own = await e.servePeer('flood', a.ipv6, '9', '30');
    execFileSync('ip', ['-n', e.netns, 'link', 'del', 'eth0']);
    await until(others, 'the endpoint has gone');
    own.kill('SIGKILL');
    expect((await flood.ended).code).toBe(0);
    expect(await lost).toEqual([]);
    expect(lab.daemon.err.match(/detached [be] from \S+: its namespace or interface is gone/g)).toHaveLength(
      2,
    );
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });

  it('may go down and come up again', async () => {
    const [a, b] = [await lab.attach('up-a'), await lab.attach('up-b')];
    const before = await lab.drops();
    const flood = await a.servePeer('flood', b.ipv4, '9', '0.6');
    execFileSync('ip', ['-n', b.netns, 'link', 'set', 'eth0', 'down']);
    expect((await flood.ended).code).toBe(0);
    expect((await lab.drops()).LINK_DOWN! - before.LINK_DOWN!).toBeGreaterThan(0);
    execFileSync('ip', ['-n', b.netns, 'link', 'set', 'eth0', 'up']);
    expect(await a.ok('ping', '-c', '1', b.ipv4)).toContain('1 received');
  });
});

describe('the daemon under traffic', () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = new Lab();
    await lab.open();
  });
  afterEach(() => lab.close());

  it.each(['SIGTERM', 'SIGKILL'] as const)('ends by %s and leaves no interface', async (signal) => {
    const a = await lab.attach('a');
    // Frames that wait in the deck when it ends.
    const b = await lab.attach('b', '--faults', 'delay=300ms');
    const c = await lab.attach('c');
    await c.serve('Server listening', 'iperf3', '-s', '-1', '--forceflush');
    const traffic = [
      await a.servePeer('flood', b.ipv4, '9', '30'),
      await b.servePeer('flood', c.ipv6, '9', '30'),
      a.start('iperf3', '-c', c.ipv4, '-t', '30'),
    ];
    const received = async () => (await lab.counters()).ledger.received;
    await until(async () => (await received()) > 5000, 'there is traffic');
    lab.daemon.kill(signal);
    const { code, err } = await lab.daemon.ended;
    if (signal !== 'SIGKILL') {
      expect(code).toBe(0);
      expect(err).not.toContain('"level":50');
      expect(lab.account.leftovers().filter((one) => !one.startsWith('process '))).toEqual([]);
    }
    for (const { netns } of [a, b, c])
      expect(ip(netns, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    // They are still at it, into the void; the next daemon connects the same namespaces as if nothing had been.
    const next = await lab.account.daemon();
    if (signal === 'SIGKILL')
      expect(next.err).toContain('cleaned up after a daemon that did not exit cleanly');
    expect(next.err).toContain('connected a, b, c again');
    expect(await a.ok('ping', '-c', '1', c.ipv4)).toContain('1 received');
    expect(traffic.every(({ child }) => child.pid !== undefined)).toBe(true);
  });
});
