import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import { parseUplinkSpec } from '../../src/control/uplink-spec.ts';
import { hostOf } from '../../src/control/zones.ts';
import type { ZoneName } from '../../switch/zone.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

let plane: FakeDataPlane;
let deck: Deck;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
});

afterEach(() => deck.close());

/** What has been asked of the data plane is done, and what followed from it. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

function texts({ ipv4, ipv6 }: Omit<ZoneName, 'name'>): string[] {
  return [...ipv4.map(formatIpv4), ...ipv6.map(([a, b, c, d]) => formatIpv6(a!, b!, c!, d!))];
}

/** The names of a network, by its number in the order of making. */
async function names(network: number): Promise<Record<string, string[]>> {
  await settled();
  return Object.fromEntries(plane.names.get(network)!.map((entry) => [entry.name, texts(entry)]));
}

/** The network's own, which are there from the start. */
const BRIDGE = {
  'gateway.tapdeck.internal': ['172.17.0.1', 'fd74:6170:6465::1'],
  'gateway.docker.internal': ['172.17.0.1', 'fd74:6170:6465::1'],
  localhost: ['127.0.0.1', '::1'],
};

describe('the names of a network', () => {
  it('are from the start those of its gateway, and of localhost', async () => {
    expect(await names(0)).toEqual(BRIDGE);
  });

  it('are those of its containers: name, host name, aliases and short id, alone and with the network', async () => {
    const endpoint = await deck.attach({
      netns: '/ns/a',
      name: 'web',
      hostname: 'web-1',
      aliases: ['www', 'web'],
    });
    const { id } = deck.container('web');
    const addresses = [endpoint.ipv4!, endpoint.ipv6!].filter((text) => text !== null);
    const own = ['web', 'web-1', 'www', id.slice(0, 12)];
    const expected = own.flatMap((name) => [name, `${name}.bridge`]).map((name) => [name, addresses]);
    expect(await names(0)).toEqual({ ...Object.fromEntries(expected), ...BRIDGE });
    // An address leads back to the first name that has it.
    expect(plane.names.get(0)![0]!.name).toBe('web.bridge');
  });

  it('go with the container', async () => {
    await deck.attach({ netns: '/ns/a', name: 'web' });
    await deck.detach('web');
    expect(await names(0)).toEqual(BRIDGE);
  });

  it('may be several containers: an alias has the addresses of all', async () => {
    await deck.attach({ netns: '/ns/a', name: 'a', ip: '172.17.0.10', aliases: ['pool'] });
    await deck.attach({ netns: '/ns/b', name: 'b', ip: '172.17.0.11', aliases: ['pool'] });
    await settled();
    const pool = plane.names.get(0)!.filter(({ name }) => name === 'pool');
    expect(pool.flatMap(({ ipv4 }) => ipv4.map(formatIpv4))).toEqual(['172.17.0.10', '172.17.0.11']);
  });

  it('are not those that no name can be', async () => {
    const long = 'x'.repeat(64);
    await deck.attach({ netns: '/ns/a', name: 'web', aliases: [long, 'a..b'], hostname: 'ok' });
    expect(Object.keys(await names(0))).toEqual(expect.arrayContaining(['web', 'ok', 'ok.bridge']));
    expect(Object.keys(await names(0)).filter((name) => name.includes('..') || name.includes(long))).toEqual(
      [],
    );
  });

  it('may stand for the gateway when somebody wants it', async () => {
    await deck.attach({
      netns: '/ns/a',
      name: 'a',
      ip: '172.17.0.10',
      aliases: ['gateway.tapdeck.internal'],
    });
    expect((await names(0))['gateway.tapdeck.internal']![0]).toBe('172.17.0.10');
  });

  it('are sent once for many attaches at a time', async () => {
    let sent = 0;
    const setNames = plane.setNames.bind(plane);
    plane.setNames = (network, all) => {
      sent++;
      return setNames(network, all);
    };
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => deck.attach({ netns: `/ns/${i}`, name: `c${i}` })),
    );
    const all = await names(0);
    for (let i = 0; i < 50; i++) expect(all).toHaveProperty(`c${i}`);
    expect(sent).toBeLessThan(20);
  });
});

describe('what a container sees', () => {
  it('is by default its own network, and nothing need be said', async () => {
    await deck.attach({ netns: '/ns/a', name: 'web' });
    await settled();
    expect(plane.searches.size).toBe(0);
  });

  it('are all its networks, by priority and name, at each of its ports', async () => {
    await deck.createNetwork({ name: 'back', subnet: '10.1.0.0/24' });
    await deck.createNetwork({ name: 'vip', subnet: '10.2.0.0/24' });
    await deck.attach({ netns: '/ns/a', name: 'web' });
    await deck.connect('back', 'web');
    await deck.connect('vip', 'web', { gatewayPriority: 1 });
    await settled();
    const ports = deck.container('web').endpoints.map(({ port }) => port);
    expect(plane.searches.size).toBe(3);
    for (const port of ports) expect(plane.searches.get(port)!.networks).toEqual([2, 1, 0]);

    await deck.disconnect('vip', 'web');
    await deck.disconnect('back', 'web');
    await settled();
    expect(plane.searches.get(ports[0]!)!.networks).toEqual([0]);
  });

  it('are its links, as long as the other is in the same network', async () => {
    await deck.createNetwork({ name: 'back', subnet: '10.1.0.0/24' });
    await deck.attach({ netns: '/ns/a', name: 'web', links: ['db:database', 'absent'] });
    const { port } = deck.container('web').endpoints[0]!;
    const db = await deck.attach({ netns: '/ns/b', name: 'db' });
    await settled();
    const { own } = plane.searches.get(port)!;
    expect(own.map(({ name }) => name)).toEqual(['database.bridge', 'database']);
    expect(own.map(texts)[0]).toContain(db.ipv4);
    expect(Object.keys(await names(0))).not.toContain('database');

    await deck.detach('db');
    await settled();
    expect(plane.searches.get(port)!.own).toEqual([]);
  });
});

describe('the host', () => {
  const HOST = () => [
    '127.0.0.1',
    '169.254.1.1',
    '192.0.2.77',
    '192.0.2.78',
    '::1',
    'fe80::77',
    '2001:db8::77',
  ];
  const where = (spec: string | null, hostLoopback = false) =>
    texts(hostOf(spec === null ? null : parseUplinkSpec(spec), hostLoopback, HOST));

  it.each([
    ['socket', false, ['192.0.2.77', '2001:db8::77']],
    ['socket', true, ['192.0.0.1', 'fd74:6170:6465:ffff::1']],
    ['socket,host-access=no', false, []],
    ['socket,host-access=no', true, ['192.0.0.1', 'fd74:6170:6465:ffff::1']],
    ['tap:td0,addr=192.0.2.2/24', false, ['192.0.2.1']],
    ['packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1', false, []],
    [null, false, []],
  ] as const)('is for a network behind %s (its loopback: %s) at %j', (spec, loopback, addresses) => {
    expect(where(spec, loopback)).toEqual(addresses);
  });

  it('has its names in networks that reach it, and in no others', async () => {
    const other = new FakeDataPlane();
    const withUplink = await fakeDeck(other, undefined, { uplinks: ['socket'] });
    await withUplink.createNetwork({ name: 'apart', internal: true });
    // Of the two next hops that stand for the host's loopback, the one to which it has a route.
    await withUplink.createNetwork({ name: 'ipv4', hostLoopback: true });
    await settled();
    const hosts = Array.from(other.names.values(), (all) =>
      all.filter(({ name }) => name.startsWith('host.')).map((entry) => [entry.name, texts(entry)]),
    );
    expect(hosts).toEqual([
      [
        ['host.tapdeck.internal', ['192.0.2.77']],
        ['host.docker.internal', ['192.0.2.77']],
      ],
      [],
      [
        ['host.tapdeck.internal', ['192.0.0.1']],
        ['host.docker.internal', ['192.0.0.1']],
      ],
    ]);
    await withUplink.close();
  });
});

describe('the resolv.conf of a container', () => {
  it('names its gateways, those that lead out first, and has names tried as they are', async () => {
    const other = new FakeDataPlane();
    const withUplink = await fakeDeck(other, undefined, {
      uplinks: ['socket'],
      dns: { resolvConf: '/nonexistent/resolv.conf' },
    });
    await withUplink.createNetwork({ name: 'apart', internal: true, subnet: '10.1.0.0/24' });
    await withUplink.attach({ netns: '/ns/a', name: 'web', network: 'apart' });
    expect(withUplink.resolvConf('web')).toBe('nameserver 10.1.0.1\noptions ndots:0\n');
    await withUplink.connect('bridge', 'web');
    expect(withUplink.resolvConf('web')).toBe(
      'nameserver 172.17.0.1\nnameserver fd74:6170:6465::1\nnameserver 10.1.0.1\noptions ndots:0\n',
    );
    expect(
      withUplink.resolvConf('web', { servers: ['192.0.2.9'], search: ['a.example'], options: ['ndots:1'] }),
    ).toBe('nameserver 192.0.2.9\nsearch a.example\noptions ndots:1\n');
    await withUplink.close();
  });
});
