import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ip, run } from '../device/sandbox.ts';
import { type Running, until } from './account.ts';
import { Lab, type Station } from './lab.ts';
import { DECK, FAMILIES, FAR, OUT, type Outside, outside } from './outside.ts';

// What ends while connections are at it: a published port, an endpoint, the daemon with its uplink.

let lab: Lab;
let world: Outside;
beforeEach(async () => {
  lab = new Lab();
  world = outside(lab);
  await lab.open(...world.uplink);
});
afterEach(() => lab.close());

/** Datagrams that a namespace's kernel has had for one of its ports, whether anybody listens there or not. */
async function datagrams(host: Station, family: 'ipv4' | 'ipv6'): Promise<number> {
  const { kernel } = JSON.parse(
    await host.ok('nstat', '--json', '--ignore', '--noupdate', '--zeros'),
  ) as Record<'kernel', Record<string, number>>;
  const names = ['InDatagrams', 'NoPorts', 'InErrors'];
  return names.reduce((sum, name) => sum + kernel[`${family === 'ipv4' ? 'Udp' : 'Udp6'}${name}`]!, 0);
}

/** Waits until some more have come. */
async function coming(host: Station, family: 'ipv4' | 'ipv6'): Promise<void> {
  const before = await datagrams(host, family);
  await until(async () => (await datagrams(host, family)) > before + 100, 'datagrams come');
}

/** None comes any more, though somebody sends all the time. */
async function noneComes(host: Station, family: 'ipv4' | 'ipv6', flood: Running): Promise<void> {
  const [before, refused] = [await datagrams(host, family), sum(await lab.drops())];
  await until(async () => sum(await lab.drops()) > refused + 1000, 'some have come as far as the deck');
  expect(flood.child.exitCode).toBeNull();
  expect((await datagrams(host, family)) - before).toBe(0);
}

function sum(numbers: Record<string, number>): number {
  return Object.values(numbers).reduce((total, number) => total + number, 0);
}

async function flows(...filter: string[]): Promise<unknown[]> {
  return JSON.parse(await lab.account.ok('conntrack', ...filter, '--format', 'json')) as unknown[];
}

describe.each(FAMILIES)('a flow of datagrams over %s', (family) => {
  it('ends with the published port: not one more arrives', async () => {
    const a = await lab.attach('a', '-p', '5000:5000/udp', '-p', '5001:5001/udp');
    const flood = await world.far.servePeer('flood', DECK[family], '5000', '100');
    // And back, from the published port, all the time.
    const back = await a.serve('ready', 'python3', '-c', BACK, FAR[family], '5000', '100');
    await coming(a, family);
    await lab.account.ok('unpublish', 'a', '5000/udp');
    await noneComes(a, family, flood);
    expect(await flows('-p', 'udp', '-d', DECK[family], '--dport', '5000')).toEqual([]);
    // Another published port of the same endpoint works on.
    back.kill('SIGKILL');
    await a.servePeer('reply', '5001');
    expect(await world.far.peer('ask', DECK[family], '5001', 'still')).toBe(`${FAR[family]} still\n`);
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });

  it('ends with its endpoint, and is not taken up by who gets the address', async () => {
    const a = await lab.attach('a', '-p', '5000:5000/udp');
    const b = await lab.attach('b');
    const flood = await world.far.servePeer('flood', DECK[family], '5000', '100');
    const inside = await b.servePeer('flood', DECK[family], '5000', '100');
    const out = await a.servePeer('flood', OUT[family], '9', '100');
    await coming(a, family);
    await lab.account.ok('detach', 'a');
    const next = await lab.attach('next', '--ip', a.ipv4, '--ip6', a.ipv6);
    expect([next.ipv4, next.ipv6]).toEqual([a.ipv4, a.ipv6]);
    await noneComes(next, family, flood);
    expect(await flows('-s', a[family])).toEqual([]);
    for (const program of [flood, inside, out]) program.kill('SIGKILL');
    expect((await lab.counters()).ledger.balanced).toBe(true);
  });
});

/** Sends from a certain port for so many seconds. */
const BACK = `
import socket, sys, time
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", port))
end = time.monotonic() + seconds
print("ready", flush=True)
while time.monotonic() < end:
    udp.sendto(b"back", (host, port))
    time.sleep(0.001)
`;

/** Of the machine, but for when those end that it has from a router. */
async function routes(): Promise<string> {
  const [ipv4, ipv6] = [await run('ip', 'route'), await run('ip', '-6', 'route')];
  return `${ipv4.output}${ipv6.output}`.replace(/ expires \d+sec/g, '');
}

/** What a deck with an uplink could leave on the machine itself. */
async function machine(): Promise<Record<string, unknown>> {
  const names = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'];
  return {
    links: readdirSync('/sys/class/net').sort(),
    routes: await routes(),
    rules: (await run('nft', 'list', 'ruleset')).output,
    forwarding: names.map((name) => readFileSync(`/proc/sys/${name}`, 'utf8')),
  };
}

describe('the daemon under connections', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('ends by %s and leaves nothing', async (signal) => {
    const before = await machine();
    const a = await lab.attach('a', '-p', '5000:5000/udp', '-p', '7000-7099:7000-7099');
    const b = await lab.attach('b');
    await a.servePeer('echo', '7007');
    const crowd = await world.far.servePeer('crowd', DECK.ipv6, '7007', '50');
    await world.far.serve('Server listening', 'iperf3', '-s', '-1', '--forceflush');
    await world.far.servePeer('flood', DECK.ipv4, '5000', '100');
    await b.servePeer('flood', DECK.ipv6, '5000', '100');
    b.start('iperf3', '-c', FAR.ipv4, '-t', '100');
    await until(async () => (await lab.counters()).ledger.received > 20_000, 'there is traffic');
    expect((await flows()).length).toBeGreaterThan(50);
    lab.daemon.kill(signal);
    const { code, err } = await lab.daemon.ended;
    if (signal === 'SIGTERM') {
      expect(code).toBe(0);
      expect(err).not.toContain('"level":50');
      expect(lab.account.leftovers().filter((one) => !one.startsWith('process '))).toEqual([]);
    }
    const links = (netns: string) => ip(netns, 'link').map(({ ifname }: { ifname: string }) => ifname);
    // Of one that is killed they go one after the other.
    await until(() => !links(world.out.netns).includes('up0'), 'the uplink is gone');
    for (const { netns } of [a, b]) await until(() => links(netns).join() === 'lo', 'the interface is gone');
    await lab.stop();
    expect(await machine()).toEqual(before);
    expect(crowd.child.exitCode ?? crowd.child.signalCode).not.toBeNull();
    // The next one takes the same uplink, and what was published there is published again.
    const next = await lab.account.daemon(...world.uplink);
    expect(await lab.account.ok('port')).toContain('a 5000/udp -> 0.0.0.0:5000\n');
    await a.servePeer('reply', '5000');
    expect(await world.far.peer('ask', DECK.ipv4, '5000', 'again')).toBe(`${FAR.ipv4} again\n`);
    await lab.stop();
    next.kill('SIGTERM');
    expect((await next.ended).code).toBe(0);
    expect(await lab.account.untilNothingIsLeft()).toEqual([]);
  });
});
