import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DaemonClient } from '../../src/control/client.ts';
import type { Container } from '../../src/control/container.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import type { NetworkInfo } from '../../src/control/network.ts';
import { ip, netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, type Running, until } from './account.ts';

// Containers that come into networks and leave them while they run.

/** How often a container comes and goes; `npm run test:networks` makes it a thousand. */
const CYCLES = Number(process.env['TAPDECK_CYCLES'] ?? 50);

const sandboxes = new Sandboxes();

function defaultRoute(netns: string, family = '-4'): [string, string] | null {
  const [route] = ip(netns, family, 'route', 'show', 'default');
  return route ? [route.gateway, route.dev] : null;
}

function addresses(netns: string, ifname: string): string[] {
  return ip(netns, 'addr', 'show', ifname)[0].addr_info.flatMap(
    ({ scope, local, prefixlen }: { scope: string; local: string; prefixlen: number }) =>
      scope === 'global' ? `${local}/${prefixlen}` : [],
  );
}

describe('on a deck', () => {
  let account: Account;
  let client: DaemonClient;
  let daemonPid: number;
  beforeAll(async () => {
    account = Account.root();
    await account.daemon();
    client = new DaemonClient(join(account.runtime, 'tapdeck.sock'));
    daemonPid = (await client.version()).pid;
    await account.ok('network', 'create', '--subnet', '10.91.0.0/24', 'alpha');
    await account.ok('network', 'create', '--subnet', '10.92.0.0/24', '--subnet', 'fd00:92::/64', 'zulu');
    await account.ok('network', 'create', '--subnet', '10.93.0.0/24', '--internal', 'inner');
  });
  afterEach(async () => {
    for (const { id } of await client.get<Container[]>('/v1/containers')) {
      await client.delete(`/v1/endpoints/${id}`);
    }
    sandboxes.removeAll();
  });
  afterAll(() => account.remove());

  async function attach(hint: string, ...options: string[]): Promise<string> {
    const netns = sandboxes.add(hint);
    await account.ok('attach', '--netns', netns, '--name', hint, ...options);
    return netns;
  }

  it('a container gets an interface with each network, and the way out that has the priority', async () => {
    const c = await attach('c', '--network', 'zulu');
    expect([defaultRoute(c), defaultRoute(c, '-6')]).toEqual([
      ['10.92.0.1', 'eth0'],
      ['fd00:92::1', 'eth0'],
    ]);
    await account.ok('network', 'connect', '--ip', '10.91.0.9', '--alias', 'db', 'alpha', 'c');
    expect(addresses(c, 'eth1')).toEqual(['10.91.0.9/24']);
    // The first network by name; it has no IPv6.
    expect([defaultRoute(c), defaultRoute(c, '-6')]).toEqual([
      ['10.91.0.1', 'eth1'],
      ['fd00:92::1', 'eth0'],
    ]);
    await account.ok('network', 'connect', '--gw-priority', '10', 'inner', 'c');
    await account.ok('network', 'connect', '--gw-priority', '7', '--ifname', 'up0', 'bridge', 'c');
    expect(defaultRoute(c)).toEqual(['172.17.0.1', 'up0']);
    const [inspected] = JSON.parse(await account.ok('inspect', 'c'));
    expect(inspected.NetworkSettings.Networks).toMatchObject({
      zulu: { IPAddress: '10.92.0.2', GlobalIPv6Address: 'fd00:92::2', Gateway: '10.92.0.1' },
      alpha: { IPAddress: '10.91.0.9', Aliases: ['db'], InterfaceName: 'eth1' },
      inner: { IPAddress: '10.93.0.2' },
      bridge: { GwPriority: 7 },
    });
    for (const gateway of ['10.92.0.1', '10.91.0.1', '10.93.0.1', '172.17.0.1', 'fd00:92::1']) {
      const ping = ['ping', '-c', '1', '-W', '20', gateway];
      expect(() => execFileSync('ip', ['netns', 'exec', c, ...ping]), gateway).not.toThrow();
    }
    await account.ok('network', 'disconnect', 'bridge', 'c');
    expect(ip(c, 'link').map(({ ifname }: { ifname: string }) => ifname)).not.toContain('up0');
    expect(defaultRoute(c)).toEqual(['10.91.0.1', 'eth1']);
    for (const network of ['alpha', 'zulu', 'inner']) await account.ok('network', 'disconnect', network, 'c');
    expect([defaultRoute(c), defaultRoute(c, '-6')]).toEqual([null, null]);
    expect(await account.ok('ps')).toMatch(/ c +- +- +- +Up /);
    await account.ok('network', 'connect', 'zulu', 'c');
    expect(defaultRoute(c)).toEqual(['10.92.0.1', 'eth0']);
  });

  it('others come and go without a packet of a connection lost', async () => {
    const [a, b] = [await attach('a', '--network', 'alpha'), await attach('b', '--network', 'alpha')];
    const inside = (netns: string, ...command: string[]): Running =>
      account.spawn(['ip', 'netns', 'exec', netns, ...command]);
    const server = inside(b, 'python3', '-uc', ECHO_SERVER);
    await server.said('listening');
    const { ipv4 } = await client.get<Endpoint>('/v1/endpoints/b');
    const talk = inside(a, 'python3', '-uc', ECHO_CLIENT, ipv4!);
    await talk.said('connected');
    // With a deadline it ends when so many answers are there, however late the last ones are.
    const ping = inside(a, 'ping', '-i', '0.005', '-c', '300', '-w', '50', ipv4!);
    for (let i = 0; i < 4; i++) {
      await client.post('/v1/networks/zulu/connect', { container: 'a' });
      await client.post('/v1/networks/bridge/connect', { container: 'b' });
      const c = sandboxes.add('c');
      await client.post('/v1/endpoints', { netns: netnsPath(c), name: 'c', network: 'alpha' });
      await client.post('/v1/networks/zulu/disconnect', { container: 'a' });
      await client.post('/v1/networks/bridge/disconnect', { container: 'b' });
      await client.delete('/v1/endpoints/c');
      sandboxes.remove(c);
    }
    const answers = Array.from((await ping.ended).out.matchAll(/icmp_seq=(\d+) ttl/g), ([, n]) => Number(n));
    expect(answers).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    talk.child.stdin!.end('\n');
    expect((await talk.ended).out).toMatch(/\nechoed (\d+) of \1\n$/);
  });

  it('one that has a further network when it is attached has it at once, or is not there', async () => {
    const c = sandboxes.add('c');
    const options = ['--netns', c, '--name', 'c', '--network', 'inner'];
    const refused = await account.tapdeck('attach', ...options, '--network', 'name=zulu,ip=10.92.0.1');
    expect(refused.err).toContain('address 10.92.0.1 is the gateway of 10.92.0.0/24');
    expect(ip(c, 'link')).toHaveLength(1);
    expect(await account.ok('attach', ...options, '--network', 'name=zulu,ip=10.92.0.77')).toMatch(
      /^c 10\.93\.0\.\d+ 10\.92\.0\.77 fd00:92::\w+\n$/,
    );
    expect(defaultRoute(c)).toEqual(['10.92.0.1', 'eth1']);
  });

  it('one of network none has lo, one of network host has the network of the host', async () => {
    const none = await account.ok('run', '--network', 'none', '--', 'ip', '-br', 'link');
    expect(none).toMatch(/^lo +UNKNOWN +00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP> *\n$/);
    const shell = ['sh', '-c', 'readlink /proc/self/ns/net; read line; exit 7'];
    const host = account.start('run', '--network', 'host', '--name', 'h', '--', ...shell);
    await host.said(readlinkSync('/proc/self/ns/net'));
    await until(async () => /\bh +host +- +\d+ +Up /.test(await account.ok('ps')), 'it is shown');
    host.child.stdin!.end('\n');
    expect((await host.ended).code).toBe(7);
    expect(await account.names()).toBe('');
    for (const [options, message] of [
      [['--network', 'host', '-p', '80:80'], /shares the ports of the host/],
      [['--network', 'host', '--ip', '10.0.0.1'], /network host has no interface/],
      [['--network', 'none', '-p', '80:80'], /has no interface to have ports at/],
      [['--network', 'none', '--network', 'alpha'], /cannot be in network none and in alpha/],
    ] as const) {
      const { code, err } = await account.tapdeck('run', ...options, '--', 'true');
      expect([code, err]).toEqual([125, expect.stringMatching(message)]);
    }
    expect((await account.tapdeck('run', '--network', 'host', '--', '/nowhere')).code).toBe(127);
  });

  it('one without an interface, and one with several, is forgotten when its namespace ends', async () => {
    await attach('c', '--network', 'none');
    await attach('d', '--network', 'alpha', '--network', 'zulu', '--network', 'inner');
    sandboxes.removeAll();
    await until(async () => (await account.names()) === '', 'they are forgotten');
  });

  it('unused networks go when somebody says yes', async () => {
    await account.ok('network', 'create', '--label', 'old', 'unused');
    const names = async () => (await client.get<NetworkInfo[]>('/v1/networks')).map(({ name }) => name);
    const prune = async (answer: string) => {
      const running = account.start('network', 'prune', '--filter', 'label=old');
      running.child.stdin!.end(answer);
      return running.ended;
    };
    expect(await prune('n\n')).toMatchObject({ code: 0, out: '' });
    expect(await prune('')).toMatchObject({ code: 0, out: '', err: expect.stringContaining('[y/N]') });
    expect(await names()).toContain('unused');
    expect(await prune('y\n')).toMatchObject({ code: 0, out: 'Deleted Networks:\nunused\n\n' });
    expect(await names()).not.toContain('unused');
  });

  it(
    `${CYCLES} times a container comes and goes, and everything is as it was`,
    async () => {
      const netns = sandboxes.add('cycle');
      const cycle = async () => {
        await client.post('/v1/endpoints', { netns: netnsPath(netns), name: 'c', network: 'alpha' });
        await client.post('/v1/networks/zulu/connect', { container: 'c' });
        await client.post('/v1/networks/alpha/disconnect', { container: 'c' });
        await client.delete('/v1/endpoints/c');
      };
      for (let i = 0; i < 5; i++) await cycle();
      const before = await settled(daemonPid);
      for (let i = 0; i < CYCLES; i++) await cycle();
      // It closes the connection of a request after its answer: there may be one less, too.
      await expect.poll(() => grown(before, inventory(daemonPid))).toEqual({});
      await expect.poll(() => account.processes()).toEqual([daemonPid]);
      const networks = await client.get<NetworkInfo[]>('/v1/networks');
      expect(networks.flatMap(({ endpoints }) => endpoints)).toEqual([]);
      expect(ip(netns, 'link')).toHaveLength(1);
      // Every address can be had: the lowest by its name, although it rests.
      const low = { netns: netnsPath(netns), name: 'c', network: 'alpha', ip: '10.91.0.2' };
      expect(await client.post<Endpoint>('/v1/endpoints', low)).toMatchObject({ ipv4: '10.91.0.2' });
    },
    60_000 + 500 * CYCLES,
  );
});

describe('as an ordinary user', () => {
  it('a sandbox gets a further network, and its way out, while it runs', async () => {
    const account = Account.user();
    try {
      await account.daemon();
      await account.ok('network', 'create', '--subnet', '10.91.0.0/24', 'alpha');
      const run = account.start('run', '--name', 'c', '--', 'sh', '-c', 'echo in; read line');
      await run.said('in');
      const [{ pid }] = JSON.parse(await account.ok('ps', '--format', 'json')) as [{ pid: number }];
      const routes = () =>
        execFileSync('nsenter', ['-t', `${pid}`, '-n', 'ip', 'route'], { encoding: 'utf8' });
      expect(routes()).toMatch(/^default via 172\.17\.0\.1 dev eth0 /);
      await account.ok('network', 'connect', 'alpha', 'c');
      expect(routes()).toMatch(/^default via 10\.91\.0\.1 dev eth1 /);
      await account.ok('network', 'disconnect', 'alpha', 'c');
      expect(routes()).toMatch(/^default via 172\.17\.0\.1 dev eth0 /);
      expect(routes()).not.toContain('eth1');
      run.child.stdin!.end('\n');
      expect((await run.ended).code).toBe(0);
    } finally {
      await account.remove();
    }
  });
});

describe('beside networks of the host', () => {
  it('networks get subnets to which the host has no routes, out of the pools that it is given', async () => {
    const host = sandboxes.add('host');
    execFileSync('ip', ['-n', host, 'link', 'set', 'lo', 'up']);
    for (const route of ['172.17.0.0/16', '10.91.0.0/24']) {
      execFileSync('ip', ['-n', host, 'route', 'add', route, 'dev', 'lo']);
    }
    const account = Account.root(host);
    try {
      const subnetOf = async (name: string) => {
        const [network] = JSON.parse(await account.ok('network', 'inspect', name));
        return network.IPAM.Config[0].Subnet;
      };
      const daemon = await account.daemon();
      expect(await subnetOf('bridge')).toBe('172.18.0.0/16');
      daemon.child.kill('SIGTERM');
      await daemon.ended;
      await account.end();
      await account.daemon('--default-address-pool', 'base=10.91.0.0/22,size=24');
      expect(await subnetOf('bridge')).toBe('10.91.1.0/24');
      await account.ok('network', 'create', 'one');
      await account.ok('network', 'create', 'two');
      expect([await subnetOf('one'), await subnetOf('two')]).toEqual(['10.91.2.0/24', '10.91.3.0/24']);
      expect((await account.tapdeck('network', 'create', 'three')).err).toMatch(
        /^tapdeck: error: no IPv4 subnet is left in the default pools, .* the host has routes to them as to 10\.91\.0\.0\/24; /,
      );
    } finally {
      await account.remove();
      sandboxes.removeAll();
    }
  });
});

/** What a process has open when that changes no more: it closes the connection of a request after its answer. */
async function settled(pid: number): Promise<Record<string, number>> {
  for (let last = inventory(pid); ; ) {
    await sleep(300);
    const now = inventory(pid);
    if (JSON.stringify(now) === JSON.stringify(last)) return now;
    last = now;
  }
}

/** Of what there is more now than before. */
function grown(before: Record<string, number>, now: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(now).filter(([kind, count]) => count > (before[kind] ?? 0)));
}

/** What a process has open, by kind. */
function inventory(pid: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let target: string;
    try {
      target = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:.*/, '');
    } catch {
      // Closed meanwhile.
      continue;
    }
    counts[target] = (counts[target] ?? 0) + 1;
  }
  const threads = /^Threads:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1];
  return Object.fromEntries(Object.entries({ ...counts, threads: Number(threads) }).sort());
}

const ECHO_SERVER = `
import socket
listener = socket.create_server(('0.0.0.0', 7777))
print('listening')
connection, _ = listener.accept()
while data := connection.recv(4096): connection.sendall(data)
`;

/** Says a word every few milliseconds until somebody says stop, and counts those that came back. */
const ECHO_CLIENT = `
import select, socket, sys
connection = socket.create_connection((sys.argv[1], 7777))
print('connected')
sent = got = 0
while not select.select([sys.stdin], [], [], 0.004)[0]:
    connection.sendall(b'word')
    sent += 1
    got += connection.recv(4, socket.MSG_WAITALL) == b'word'
print(f'echoed {got} of {sent}')
`;
