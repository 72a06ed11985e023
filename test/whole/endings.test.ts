import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ip } from '../device/sandbox.ts';
import { until } from './account.ts';
import { type Host, Lab } from './lab.ts';

// What ends while frames are on their way: a namespace, an interface, the daemon.

/** Of two who do not flood: answers and ARP of who does would have to find a place in his own queue. */
async function untilAnswered(from: Host, address: string): Promise<void> {
  await until(async () => (await from.lostPings(address, 1)).length === 0, 'a ping is answered');
}

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
    for (const name of ['b', 'e']) {
      await lab.daemon.said(new RegExp(`detached ${name} from \\S+: its namespace or interface is gone`));
    }
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });

  it('may go down and come up again', async () => {
    const [a, b, c] = [await lab.attach('up-a'), await lab.attach('up-b'), await lab.attach('up-c')];
    const before = await lab.drops();
    const flood = await a.servePeer('flood', b.ipv4, '9', '30');
    execFileSync('ip', ['-n', b.netns, 'link', 'set', 'eth0', 'down']);
    await until(async () => (await lab.drops()).LINK_DOWN! > before.LINK_DOWN!, 'frames find it down');
    execFileSync('ip', ['-n', b.netns, 'link', 'set', 'eth0', 'up']);
    await untilAnswered(c, b.ipv4);
    flood.kill('SIGKILL');
    await flood.ended;
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
    const d = await lab.attach('d');
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
    for (const { netns } of [a, b, c, d])
      expect(ip(netns, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    // They are still at it, into the void; the next daemon connects the same namespaces as if nothing had been.
    const next = await lab.account.daemon();
    if (signal === 'SIGKILL')
      expect(next.err).toContain('cleaned up after a daemon that did not exit cleanly');
    expect(next.err).toContain('connected a, b, c, d again');
    await untilAnswered(d, c.ipv4);
    expect(traffic.every(({ child }) => child.pid !== undefined)).toBe(true);
  });
});
