import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Deck, type DeckParts } from '../../src/control/deck.ts';
import { DeckError } from '../../src/control/error.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeHandover, fakePacket } from './fake-deck.ts';

// Containers in several networks: which way they leave, and what goes with it.

let plane: FakeDataPlane;
let deck: Deck;
let log: string[];
let routed: Parameters<DeckParts['setRoutes']>[0][];
let opened: Parameters<DeckParts['openTap']>[0][];
/** Namespaces that are not there any more. */
let dead: Set<string>;
let routesFail: boolean;

async function open(uplinks: string[] = []): Promise<Deck> {
  plane = new FakeDataPlane();
  return Deck.assemble(
    {
      dataPlane: plane,
      ...fakeHandover,
      async openTap(target) {
        opened.push(target);
        return { fd: -1, ifname: target.ifname, mac: target.mac!, mtu: target.mtu! };
      },
      async setRoutes(target) {
        if (routesFail) throw new Error('no routes today');
        routed.push(target);
      },
      openPacket: fakePacket,
      hostAddresses: () => ['127.0.0.1', '192.0.2.77', '::1', 'fe80::77'],
      hostRoutes: () => [],
      now: () => 0,
      identify: (target, ofHost) => {
        const name = 'path' in target ? target.path : `pid ${target.pid}`;
        if (dead.has(name)) throw new DeckError('not-found', 'it is not there');
        return ofHost ? 'host' : name;
      },
    },
    { uplinks, log: (level, message) => log.push(`${level}: ${message}`) },
  );
}

/** Name, interface and gateway of the last default route. */
function lastRoute(): (string | undefined)[] {
  const { gateway4, gateway6 } = routed.at(-1)!;
  return [gateway4?.ifname, gateway4?.gateway, gateway6?.ifname];
}

beforeEach(async () => {
  log = [];
  routed = [];
  opened = [];
  dead = new Set();
  routesFail = false;
  deck = await open();
});
afterEach(() => deck.close());

describe('the way out', () => {
  beforeEach(async () => {
    await deck.createNetwork({ name: 'alpha', subnet: '10.1.0.0/24' });
    await deck.createNetwork({ name: 'zulu', subnet: '10.2.0.0/24', ipv6: true });
    await deck.createNetwork({ name: 'inner', subnet: '10.3.0.0/24', internal: true });
  });

  it('is that of the highest gateway priority, then of the first network by name', async () => {
    await deck.attach({ pid: 1, name: 'c', network: 'bridge' });
    expect(routed).toEqual([]);
    await deck.connect('zulu', 'c');
    expect(lastRoute()).toEqual(['eth0', '172.17.0.1', 'eth0']);
    // First by name; it has no IPv6, for which the way stays.
    await deck.connect('alpha', 'c');
    expect(lastRoute()).toEqual(['eth2', '10.1.0.1', 'eth0']);
    await deck.disconnect('zulu', 'c');
    await deck.connect('zulu', 'c', { gatewayPriority: 1 });
    expect(lastRoute()).toEqual(['eth1', '10.2.0.1', 'eth1']);
    expect(routed.at(-1)).toMatchObject({ netns: 1, ifnames: ['eth0', 'eth2', 'eth1'] });
    expect(deck.endpoint('c')).toMatchObject({ network: 'zulu', gatewayPriority: 1 });
  });

  it('is made again when the endpoint that has it goes, before its interface does', async () => {
    await deck.attach({ pid: 1, name: 'c', network: 'alpha' });
    await deck.connect('zulu', 'c');
    let portsThen = 0;
    const before = routed.length;
    const removal = deck.disconnect('alpha', 'c').then(() => routed.length);
    while (routed.length === before) await new Promise((resolve) => setImmediate(resolve));
    portsThen = plane.ports.size;
    await removal;
    expect([portsThen, plane.ports.size]).toEqual([2, 1]);
    expect(lastRoute()).toEqual(['eth1', '10.2.0.1', 'eth1']);
    // The old route is among those that may be changed.
    expect(routed.at(-1)!.ifnames).toEqual(['eth1', 'eth0']);
    await deck.disconnect('zulu', 'c');
    expect(routed.at(-1)).toMatchObject({ gateway4: null, gateway6: null });
    await deck.connect('alpha', 'c');
    expect(opened.at(-1)).toMatchObject({ ifname: 'eth0', gateway4: '10.1.0.1' });
  });

  it('is made again when its interface vanishes', async () => {
    const first = await deck.attach({ pid: 1, name: 'c', network: 'alpha' });
    await deck.connect('zulu', 'c');
    plane.vanish(first.port);
    await expect.poll(() => deck.container('c').endpoints.length).toBe(1);
    await expect.poll(lastRoute).toEqual(['eth1', '10.2.0.1', 'eth1']);
    // The last interface takes the container along.
    plane.vanish(deck.endpoint('c').port);
    await expect.poll(() => deck.containers()).toEqual([]);
    expect(await deck.attach({ pid: 1, name: 'c' })).toMatchObject({ ifname: 'eth0' });
  });

  it.each(['before', 'behind'])(
    'is never half removed when its last interface vanishes, %s a connect',
    async (place) => {
      const first = await deck.attach({ pid: 1, name: 'c', network: 'alpha' });
      if (place === 'behind') plane.vanish(first.port);
      const connecting = deck.connect('zulu', 'c').catch(() => {});
      if (place === 'before') plane.vanish(first.port);
      await connecting;
      const known = () => deck.endpoints().map(({ network }) => network);
      await expect.poll(known).toEqual(place === 'before' ? ['zulu'] : []);
      expect(plane.ports.size).toBe(known().length);
      if (place === 'before') await deck.detach('c');
      expect(deck.containers()).toEqual([]);
      expect(plane.ports.size).toBe(0);
    },
  );

  it('vanishes with the namespace, all interfaces of which do at once', async () => {
    const first = await deck.attach({ pid: 1, name: 'c', network: 'alpha', networks: [{ network: 'zulu' }] });
    const second = deck.container('c').endpoints[1]!;
    const gone: string[] = [];
    deck.events.on('gone', ({ network }) => gone.push(network));
    dead.add('pid 1');
    const before = routed.length;
    plane.vanish(first.port);
    plane.vanish(second.port);
    await expect.poll(() => deck.containers()).toEqual([]);
    expect(gone).toEqual(['alpha', 'zulu']);
    expect(routed).toHaveLength(before);
    expect(await deck.attach({ pid: 2, name: 'c' })).toMatchObject({ ifname: 'eth0' });
  });

  it('is never an internal network', async () => {
    const inner = await deck.attach({ pid: 1, name: 'c', network: 'inner', gatewayPriority: 9 });
    expect(inner.ipv4).toBe('10.3.0.2');
    expect(opened[0]).not.toHaveProperty('gateway4');
    await deck.connect('zulu', 'c');
    expect(opened[1]).toMatchObject({ gateway4: '10.2.0.1' });
    await deck.connect('alpha', 'c', { gatewayPriority: -1 });
    expect(lastRoute()).toEqual(['eth1', '10.2.0.1', 'eth1']);
  });

  it('that cannot be made is no reason to fail', async () => {
    await deck.attach({ pid: 1, name: 'c' });
    routesFail = true;
    await deck.connect('alpha', 'c');
    expect(log).toEqual(['warn: cannot change the default routes of container c: no routes today']);
  });
});

describe('several networks at once', () => {
  beforeEach(async () => {
    await deck.createNetwork({ name: 'front', subnet: '10.1.0.0/24' });
    await deck.createNetwork({ name: 'back', subnet: '10.2.0.0/24' });
  });

  it('are had all, in the order in which they are named', async () => {
    const first = await deck.attach({
      pid: 1,
      name: 'c',
      network: 'front',
      networks: [{ network: 'back', ip: '10.2.0.9', aliases: ['db'], gatewayPriority: 5 }],
      publish: ['8080:80'],
    });
    expect(first).toMatchObject({ network: 'front', ifname: 'eth0', ports: [] });
    expect(deck.container('c').endpoints).toMatchObject([
      { network: 'front', ifname: 'eth0' },
      { network: 'back', ifname: 'eth1', ipv4: '10.2.0.9', aliases: ['db'] },
    ]);
    expect(lastRoute()).toEqual(['eth1', '10.2.0.1', undefined]);
    expect(Array.from(plane.publishes.values(), ({ address }) => address)).toEqual([0x0a020009]);
    expect(deck.endpoint('c').ports).toHaveLength(1);
  });

  it.each([
    [[{ network: 'nowhere' }], 'there is no network "nowhere"'],
    [[{ network: 'front' }], 'network front is given twice'],
    [[{ network: 'back', ip: '10.1.0.9' }], 'lies outside'],
    [[{ network: 'back', ifname: 'eth0' }], 'has an interface eth0'],
    [[{ network: 'host' }], 'cannot be in network host and in front'],
    [[{ network: 'none' }], 'cannot be in network none and in front'],
  ])('are had all or none: %j', async (networks, why) => {
    await expect(deck.attach({ pid: 1, name: 'c', network: 'front', networks })).rejects.toThrow(why);
    expect([deck.containers(), deck.network('front').endpoints, deck.network('back').endpoints]).toEqual([
      [],
      [],
      [],
    ]);
    expect(await deck.attach({ pid: 1, name: 'c', network: 'back' })).toMatchObject({ ipv4: '10.2.0.2' });
  });

  it('are given back all when one cannot be opened', async () => {
    let count = 0;
    const add = plane.addTap.bind(plane);
    plane.addTap = async (tap, spec) => {
      if (++count === 2) throw new Error('no port left');
      return add(tap, spec);
    };
    await expect(
      deck.attach({ pid: 1, name: 'c', network: 'front', networks: [{ network: 'back' }] }),
    ).rejects.toThrow('no port left');
    expect(plane.ports.size).toBe(0);
    expect([deck.network('front').endpoints, deck.network('back').endpoints]).toEqual([[], []]);
    const again = { pid: 1, name: 'c', network: 'front', ip: '10.1.0.2', networks: [{ network: 'back' }] };
    await expect(deck.attach(again)).resolves.toMatchObject({ name: 'c' });
  });
});

describe('networks host and none', () => {
  it('have containers without an interface', async () => {
    const none = await deck.attach({ pid: 1, name: 'alone', network: 'none' });
    const host = await deck.attach({ pid: 2, name: 'h', network: 'host' });
    await deck.attach({ pid: 3, name: 'h2', network: 'host' });
    for (const endpoint of [none, host]) {
      expect(endpoint).toMatchObject({ ifname: '', mac: '', mtu: 0, ipv4: null, ipv6: null, port: -1 });
    }
    expect(opened).toEqual([]);
    // Only lo, which is up.
    expect(routed).toEqual([{ netns: 1, ifnames: [''], gateway4: null, gateway6: null }]);
    expect(deck.network('host').endpoints).toEqual(['h', 'h2']);
    await deck.detach('h');
    await deck.detach('alone');
    expect(deck.containers().map(({ name }) => name)).toEqual(['h2']);
  });

  it('are for containers that are in no other network', async () => {
    await deck.createNetwork({ name: 'lab' });
    await deck.attach({ pid: 1, name: 'alone', network: 'none' });
    await deck.attach({ pid: 2, name: 'h', network: 'host' });
    await deck.attach({ pid: 3, name: 'web' });
    for (const [network, container, why] of [
      ['lab', 'alone', 'cannot be in network none and in lab'],
      ['lab', 'h', 'cannot be in network host and in lab'],
      ['none', 'web', 'cannot be in network none and in bridge'],
      ['host', 'web', 'cannot be in network host and in bridge'],
    ] as const) {
      await expect(deck.connect(network, container)).rejects.toThrow(why);
    }
    await expect(deck.disconnect('host', 'h')).rejects.toThrow('has no network of its own');
    await deck.disconnect('bridge', 'web');
    await expect(deck.connect('host', 'web')).rejects.toThrow('has a network namespace of its own');
    await deck.connect('none', 'web');
    await deck.disconnect('none', 'alone');
    expect(await deck.connect('lab', 'alone')).toMatchObject({ ifname: 'eth0' });
  });

  it.each([
    [{ network: 'none', publish: ['80:80'] }, 'has no interface to have ports at'],
    [{ network: 'host', publish: ['80:80'] }, 'shares the ports of the host'],
    [{ network: 'none', ip: '10.0.0.1' }, 'ip 10.0.0.1: network none has no interface'],
    [{ network: 'host', ifname: 'eth0' }, 'ifname eth0: network host has no interface'],
    [{ network: 'none', mac: '06:00:00:00:00:01' }, 'mac 06:00:00:00:00:01: network none has no interface'],
  ])('refuse %j: %s', async (options, why) => {
    await expect(deck.attach({ pid: 1, name: 'x', ...options })).rejects.toThrow(why);
    expect(deck.containers()).toEqual([]);
    expect(await deck.attach({ pid: 1, name: 'x' })).toMatchObject({ name: 'x' });
  });

  it('have the same ids in every deck, so that a restart changes none', async () => {
    const ids = () => ['host', 'none'].map((name) => deck.network(name).id);
    const before = ids();
    await deck.close();
    deck = await open();
    expect(ids()).toEqual(before);
    expect(before[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(before[0]).not.toBe(before[1]);
  });

  it('can be neither made nor removed', async () => {
    await expect(deck.createNetwork({ name: 'host' })).rejects.toMatchObject({ code: 'conflict' });
    await expect(deck.createNetwork({ name: 'x', driver: 'host' })).rejects.toThrow(
      'only one network with driver host',
    );
    await expect(deck.createNetwork({ name: 'x', driver: 'null' })).rejects.toThrow('--network none');
    await expect(deck.createNetwork({ name: 'x', driver: 'macvlan' })).rejects.toThrow(
      'there is no network driver "macvlan"',
    );
    for (const name of ['bridge', 'host', 'none']) {
      await expect(deck.removeNetwork(name)).rejects.toThrow('is there by default and cannot be removed');
    }
    await expect(deck.flows({ network: 'none' })).rejects.toThrow('nothing of network none passes by here');
    expect((await deck.createNetwork({ name: 'x', driver: 'bridge' })).driver).toBe('bridge');
  });
});

describe('published ports', () => {
  beforeEach(async () => {
    await deck.createNetwork({ name: 'alpha', subnet: '10.1.0.0/24' });
    await deck.createNetwork({ name: 'inner', subnet: '10.3.0.0/24', internal: true });
  });
  const targets = () => Array.from(plane.publishes.values(), ({ address, from }) => [address, from]);

  it('go with the way out, and wait while there is none', async () => {
    const seen: number[] = [];
    deck.events.on('publish', ({ ports }) => seen.push(ports.length));
    await deck.attach({ pid: 1, name: 'c', publish: ['8080:80'] });
    expect(deck.container('c').ports).toHaveLength(2);
    // Of IPv4 alone, which is all that this network has.
    await deck.connect('alpha', 'c');
    expect(targets()).toEqual([[0x0a010002, 8080]]);
    expect(deck.container('c').endpoints.map(({ network, ports }) => [network, ports.length])).toEqual([
      ['bridge', 0],
      ['alpha', 1],
    ]);
    expect(log).toEqual([
      'warn: 1 published ports of container c lead nowhere until it is in a network again where they can',
    ]);
    await deck.disconnect('alpha', 'c');
    expect(deck.endpoint('c')).toMatchObject({ network: 'bridge', ports: [{}, {}] });
    await deck.disconnect('bridge', 'c');
    expect(targets()).toEqual([]);
    expect(deck.container('c').ports).toEqual([]);
    // Nobody else gets them meanwhile.
    await expect(deck.attach({ pid: 2, name: 'd', publish: ['8080:80'] })).rejects.toThrow(
      'published by container c',
    );
    await deck.connect('inner', 'c');
    expect(targets()).toEqual([]);
    await deck.connect('alpha', 'c');
    expect(targets()).toEqual([[0x0a010003, 8080]]);
    await deck.detach('c');
    expect(targets()).toEqual([]);
    await deck.attach({ pid: 2, name: 'd', publish: ['8080:80'] });
    expect(seen).toEqual([2, 1, 2, 0, 1, 2]);
  });

  it('are refused where nothing leads out', async () => {
    await expect(deck.attach({ pid: 1, name: 'c', network: 'inner', publish: ['80:80'] })).rejects.toThrow(
      'ports of c cannot be published: network inner is internal; leave -p out, or use another network',
    );
    await deck.attach({ pid: 1, name: 'c', network: 'inner' });
    await expect(deck.publish('c', ['80:80'])).rejects.toThrow('it is in no network that leads out');
    await deck.connect('alpha', 'c');
    expect(await deck.publish('c', ['80:80'])).toHaveLength(1);
    await deck.disconnect('alpha', 'c');
    await expect(deck.publish('c', ['81:81'])).rejects.toThrow('it is in no network that leads out');
    expect(deck.container('c').ports).toEqual([]);
  });

  it('are on the address of the network when none is given', async () => {
    const binding = 'com.docker.network.bridge.host_binding_ipv4';
    await deck.close();
    deck = await open(['socket']);
    const network = await deck.createNetwork({
      name: 'local',
      ipv6: true,
      options: { [binding]: '127.0.0.1' },
    });
    expect(network).toMatchObject({ hostBinding: '127.0.0.1', options: { [binding]: '127.0.0.1' } });
    const endpoint = await deck.attach({
      pid: 1,
      name: 'c',
      network: 'local',
      publish: ['8080:80', '0.0.0.0:8081:81', '[::1]:8082:82'],
    });
    expect(endpoint.ports.map(({ host, hostPort }) => `${host} ${hostPort}`)).toEqual([
      '127.0.0.1 8080',
      '0.0.0.0 8081',
      '::1 8082',
    ]);
    // Named as it was asked for, or as it is shown.
    expect(await deck.unpublish('c', '8080:80')).toHaveLength(1);
    await deck.publish('c', ['8080:80']);
    expect(await deck.unpublish('c', '127.0.0.1:8080')).toHaveLength(1);
    await deck.createNetwork({ name: 'all', options: { [binding]: '0.0.0.0' } });
    expect(deck.network('all').hostBinding).toBe(null);
  });
});

describe('a crowd', () => {
  it('of 100 that attach at once have 100 addresses, and what is left over is said', async () => {
    await deck.createNetwork({ name: 'small', subnet: '10.9.0.0/25', ipv6Subnet: 'fd00:9::/120' });
    const attach = (pid: number) => deck.attach({ pid, name: `c${pid}`, network: 'small' });
    const endpoints = await Promise.all(Array.from({ length: 100 }, (_, i) => attach(i + 1)));
    for (const key of ['ipv4', 'ipv6', 'mac', 'port', 'id'] as const) {
      expect(new Set(endpoints.map((endpoint) => endpoint[key])).size, key).toBe(100);
    }
    const more = await Promise.allSettled(Array.from({ length: 100 }, (_, i) => attach(i + 101)));
    expect(more.filter(({ status }) => status === 'fulfilled')).toHaveLength(25);
    const refused = more.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    expect(refused.reason.message).toContain('no address is left in 10.9.0.0/25');
    await Promise.all(deck.containers().map(({ id }) => deck.detach(id)));
    expect(deck.network('small').endpoints).toEqual([]);
    // Addresses rest, but not at the price of a refusal.
    const again = await Promise.all(Array.from({ length: 100 }, (_, i) => attach(i + 1)));
    expect(new Set(again.map(({ ipv4 }) => ipv4)).size).toBe(100);
  });

  it('that connects, disconnects and detaches at once leaves nothing', async () => {
    await deck.createNetwork({ name: 'lab', subnet: '10.9.0.0/24' });
    const names = Array.from({ length: 20 }, (_, i) => `c${i}`);
    await Promise.all(names.map((name, i) => deck.attach({ pid: i + 1, name })));
    await Promise.allSettled(
      names.flatMap((name) => [
        deck.connect('lab', name),
        deck.disconnect('bridge', name),
        deck.connect('lab', name),
        deck.detach(name),
        deck.connect('bridge', name),
        deck.disconnect('lab', name),
      ]),
    );
    expect(deck.containers()).toEqual([]);
    expect(deck.endpoints()).toEqual([]);
    expect(plane.ports.size).toBe(0);
    expect([deck.network('bridge').endpoints, deck.network('lab').endpoints]).toEqual([[], []]);
    expect(log).toEqual([]);
    await deck.removeNetwork('lab');
  });

  it.each([[['publish', 'disconnect']], [['disconnect', 'publish']]])(
    'that %s has its ports lead to nothing that it has not',
    async ([first]) => {
      await deck.createNetwork({ name: 'lab', subnet: '10.9.0.0/24' });
      await deck.attach({ pid: 1, name: 'web', networks: [{ network: 'lab' }] });
      const publish = () => deck.publish('web', ['8080:80']);
      const disconnect = () => deck.disconnect('bridge', 'web');
      const both = first === 'publish' ? [publish(), disconnect()] : [disconnect(), publish()];
      await Promise.all(both);
      // Neither at its address in network bridge, which another gets, nor at the one that it has no more by IPv6.
      expect(Array.from(plane.publishes.values(), ({ address }) => address)).toEqual([0x0a090002]);
    },
  );
});

describe('networks that cannot be', () => {
  const wish = { name: 'lab', subnet: '10.9.0.0/24', ipv6Subnet: 'fd00:9::/64' };

  it.each([
    [{ name: '__proto__' }, 'network name "__proto__" is not allowed'],
    [{ name: '' }, 'network name "" is not allowed'],
    [{ name: 'n'.repeat(300) }, 'is too long'],
    [{ name: 'nétz' }, 'is not allowed'],
    [{ name: '网络' }, 'is not allowed'],
    [{ name: 'a/b' }, 'is not allowed'],
    [{ name: 'bridge' }, 'network bridge exists already'],
    [{ subnet: '10.9.0.1/24' }, 'did you mean 10.9.0.0/24?'],
    [{ subnet: '10.9.0.0/31' }, 'too small'],
    [{ subnet: '10.9.0.0/32' }, 'too small'],
    [{ subnet: '0.0.0.0/0' }, 'too large'],
    [{ subnet: '172.17.8.0/24' }, 'overlaps with 172.17.0.0/16 of network bridge'],
    [{ ipv6Subnet: '::ffff:10.9.0.0/120' }, 'IPv4-mapped'],
    [{ ipv6Subnet: 'fd74:6170:6465::/48' }, 'overlaps with fd74:6170:6465::/64 of network bridge'],
    [{ gateway: '10.8.0.1' }, "gateway 10.8.0.1 lies outside the network's subnet 10.9.0.0/24"],
    [{ gateway: '10.9.0.255' }, 'gateway 10.9.0.255 is the broadcast address'],
    [{ ipv6Gateway: 'fd00:8::1' }, 'lies outside'],
    [
      { auxAddresses: { a: '10.9.0.7' }, gateway: '10.9.0.7' },
      "auxiliary address a=10.9.0.7 is the gateway's",
    ],
    [{ auxAddresses: { a: 'fd00:8::7' } }, 'lies outside'],
    [{ ipRange: '10.8.0.0/25' }, 'range 10.8.0.0/25 lies outside'],
    [{ ipv6Range: '10.9.0.0/25' }, 'not an IPv6 address'],
    [{ mtu: 1000 }, 'MTU 1000 is out of range'],
    [{ labels: { 'a b': '' } }, 'label "a b"'],
    [{ options: { 'com.docker.network.bridge.enable_icc': 'ja' } }, '"ja" is neither true nor false'],
    [{ options: { 'com.docker.network.bridge.name': 'br0' } }, 'there is no such option'],
    [{ options: { constructor: 'x' } }, 'there is no such option'],
    [{ options: { 'tapdeck.uplink': 'nowhere' } }, 'there is no uplink "nowhere"'],
    [{ options: { 'com.docker.network.driver.mtu': '1500' }, mtu: 1500 }, 'say the same'],
    [{ internal: true, options: { 'tapdeck.uplink': 'td0' } }, 'is internal and cannot have uplink td0'],
  ])('are refused, and leave nothing: %j', async (more, why) => {
    await expect(deck.createNetwork({ ...wish, ...more })).rejects.toThrow(why);
    await expect(deck.createNetwork({ ...wish, ...more })).rejects.toBeInstanceOf(DeckError);
    expect(deck.networks()).toHaveLength(3);
    await expect(deck.createNetwork(wish)).resolves.toMatchObject({ name: 'lab' });
  });

  it('of one IP version are refused the wishes of the other', async () => {
    for (const more of [
      { ipv6Gateway: 'fd00:9::1' },
      { ipv6Range: 'fd00:9::/80' },
      { auxAddresses: { a: 'fd00:9::9' } },
    ]) {
      await expect(deck.createNetwork({ name: 'lab', subnet: '10.9.0.0/24', ...more })).rejects.toThrow(
        'network lab has no IPv6; add --ipv6 or an IPv6 subnet',
      );
    }
  });

  it('are not removed while somebody is in them, by whom being told', async () => {
    const network = await deck.createNetwork(wish);
    for (let i = 1; i <= 5; i++) await deck.attach({ pid: i, name: `c${i}`, network: 'lab' });
    await expect(deck.removeNetwork(network.id)).rejects.toThrow(
      'network lab is in use by c1, c2, c3 and 2 more; take them away first with "tapdeck network disconnect" or "tapdeck detach"',
    );
    for (let i = 2; i <= 5; i++) await deck.disconnect('lab', `c${i}`);
    await expect(deck.removeNetwork('lab')).rejects.toThrow(
      'network lab is in use by c1; take it away first',
    );
    await deck.disconnect('lab', 'c1');
    await deck.removeNetwork('lab');
    expect(deck.containers()).toHaveLength(5);
  });
});

describe('network options', () => {
  it('reach the data plane', async () => {
    await deck.createNetwork({
      name: 'strict',
      options: {
        'com.docker.network.bridge.enable_icc': 'false',
        'com.docker.network.bridge.enable_ip_masquerade': '0',
        'com.docker.network.driver.mtu': '1400',
      },
    });
    await deck.createNetwork({ name: 'inner', internal: true });
    const [, strict, inner] = Array.from(plane.networks.values());
    expect(strict).toMatchObject({ icc: false, masquerade: false, mtu: 1400 });
    expect(inner).toMatchObject({ internal: true });
    const guarded = await deck.attach({ pid: 1, name: 'a' });
    const free = await deck.attach({ pid: 2, name: 'b', allowSpoof: true });
    expect(plane.ports.get(guarded.port)!.spec.guard).toBeUndefined();
    expect(plane.ports.get(free.port)!.spec.guard).toBe(false);
  });
});

describe('prune', () => {
  it('removes what nobody uses and the filters mean', async () => {
    await deck.createNetwork({ name: 'used', labels: { project: 'shop' } });
    await deck.createNetwork({ name: 'shop', labels: { project: 'shop', keep: '' } });
    await deck.createNetwork({ name: 'blog', labels: { project: 'blog' } });
    await deck.createNetwork({ name: 'bare' });
    await deck.attach({ pid: 1, network: 'used' });
    const pruned = async (...filters: string[]) =>
      (await deck.pruneNetworks(filters)).map(({ name }) => name);
    expect(await pruned('until=1h')).toEqual([]);
    expect(await pruned('label=project=shop', 'label!=keep')).toEqual([]);
    expect(await pruned('label=project=blog')).toEqual(['blog']);
    expect(await pruned('label=keep', 'until=2100-01-01')).toEqual(['shop']);
    for (const wrong of ['name=x', 'until=soon', 'label', '__proto__=1', '']) {
      await expect(deck.pruneNetworks([wrong]), wrong).rejects.toThrow(DeckError);
    }
    expect(await pruned()).toEqual(['bare']);
    expect(deck.networks().map(({ name }) => name)).toEqual(['bridge', 'host', 'none', 'used']);
  });
});

describe('endpoints that somebody else believes to have fixed addresses', () => {
  const NETWORK = {
    name: 'slirp',
    subnet: '10.0.2.0/24',
    gateway: '10.0.2.2',
    ipv6Subnet: 'fd00::/64',
    auxAddresses: { guest: '10.0.2.100' },
    options: { 'tapdeck.dns': '10.0.2.3,fd00::3' },
  };

  it('have local addresses besides, which no endpoint gets, and a gateway with a name server of its own address', async () => {
    await deck.createNetwork(NETWORK);
    expect(Array.from(plane.networks.values()).at(-1)).toMatchObject({
      ipv4Pool: [0x0a000203],
      ipv6Pool: [[0xfd000000 | 0, 0, 0, 3]],
    });
    await expect(deck.createNetwork({ ...NETWORK, name: 'two', subnet: '10.0.3.0/24' })).rejects.toThrow();
    const attach = (more: object) =>
      deck.attach({ netns: `/n/${opened.length}`, network: 'slirp', ifname: 'tap0', ...more });
    await attach({ localAddresses: ['10.0.2.100', '192.0.2.9'], ipv6: false });
    expect(opened[0]).toMatchObject({
      addresses: ['10.0.2.1/24', '10.0.2.100/24', '192.0.2.9/32'],
      gateway4: '10.0.2.2',
    });
    expect(opened[0]).not.toHaveProperty('gateway6');
    await attach({ takeOver: true });
    expect(opened[1]).toMatchObject({ addresses: ['10.0.2.4/24', 'fd00::2/64'], replace: true });
    expect(opened[1]).not.toHaveProperty('gateway4');
    await expect(attach({ localAddresses: ['10.0.2.7'] })).rejects.toThrow(
      'another endpoint of network slirp',
    );
    await expect(attach({ ip: '10.0.2.3' })).rejects.toThrow('is in use by the name server');
    await expect(attach({ hostAtGateway: true })).rejects.toThrow('only uplink socket leads');
    // What a restart makes again is what was asked for.
    expect(deck.save().containers.flatMap(({ endpoints }) => endpoints)).toMatchObject([
      { ipv6: false, localAddresses: ['10.0.2.100', '192.0.2.9'] },
      { ip: '10.0.2.4' },
    ]);
    expect(deck.network('slirp').options).toMatchObject({ 'tapdeck.dns': '10.0.2.3,fd00::3' });
  });
});
