import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import { DockerPlugin } from '../../src/control/docker/plugin.ts';
import { DeckError } from '../../src/control/error.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck, fakeHandover } from './fake-deck.ts';

// What Docker asks of its network and IPAM drivers: each call, twice, out of order, and for what is not there.

const NET = 'a'.repeat(64);
const EP = 'b'.repeat(64);
const OTHER = 'c'.repeat(64);
const SANDBOX = '/var/run/docker/netns/0123456789ab';
const SUBNET = '10.77.0.0/24';

let plane: FakeDataPlane;
let deck: Deck;
let plugin: DockerPlugin;
let log: string[];
let names: Map<string, string>;
/** Namespaces that do not exist yet. */
let unborn: Set<string>;
/** What the interface is called in its namespace. */
let ifname: string;
const { nameOfInterface } = fakeHandover;

beforeEach(async () => {
  plane = new FakeDataPlane();
  log = [];
  names = new Map();
  unborn = new Set([SANDBOX]);
  ifname = 'eth0';
  fakeHandover.nameOfInterface = () => ifname;
  deck = await fakeDeck(plane, (target) => {
    const name = 'path' in target ? target.path : `pid ${target.pid}`;
    if (unborn.has(name)) throw new DeckError('not-found', 'there is no namespace');
    return `identity of ${name}`;
  });
  plugin = pluginOf(deck);
});
afterEach(async () => {
  await plugin.close();
  await deck.close();
  fakeHandover.nameOfInterface = nameOfInterface;
  expect(log).toEqual([]);
});

function pluginOf(of: Deck): DockerPlugin {
  return new DockerPlugin({
    deck: of,
    saved: async () => {},
    log: (level, message) => log.push(`${level}: ${message}`),
    nameOf: async (id) => names.get(id),
  });
}

type Body = Record<string, unknown>;

/** The answer to a call that succeeds. */
async function ok(method: string, body: object = {}): Promise<Body> {
  const answer = await plugin.call(method, JSON.stringify(body));
  expect(answer, JSON.stringify(answer.body)).toMatchObject({ status: 200 });
  return answer.body as Body;
}

/** Why a call is refused. */
async function refused(method: string, body: object = {}): Promise<string> {
  const { status, body: answer } = await plugin.call(method, JSON.stringify(body));
  expect(status).toBe(400);
  const { Err, Error: same } = answer as { Err: string; Error: string };
  expect(same).toBe(Err);
  return Err;
}

function network(more: Body = {}, id = NET): Body {
  return {
    NetworkID: id,
    Options: { 'com.docker.network.enable_ipv6': false, 'com.docker.network.generic': {} },
    IPv4Data: [{ AddressSpace: 'LocalDefault', Pool: SUBNET, Gateway: '10.77.0.1/24', AuxAddresses: {} }],
    IPv6Data: [],
    ...more,
  };
}

function endpoint(address = '10.77.0.2/24', id = EP): Body {
  return {
    NetworkID: NET,
    EndpointID: id,
    Interface: { Address: address, AddressIPv6: '', MacAddress: '' },
    Options: { 'com.docker.network.endpoint.exposedports': [{ Proto: 6, Port: 80 }] },
  };
}

const place = { NetworkID: NET, EndpointID: EP };
const joining = { ...place, SandboxKey: SANDBOX, Options: {} };

function mapped(...bindings: Body[]): Body {
  return { ...place, Options: { 'com.docker.network.portmap': bindings } };
}

const WEB = { Proto: 6, IP: '', Port: 80, HostIP: '', HostPort: 8080, HostPortEnd: 8080 };

/** As far as a container that is running. */
async function joined(): Promise<void> {
  await ok('NetworkDriver.CreateNetwork', network());
  await ok('NetworkDriver.CreateEndpoint', endpoint());
  await ok('NetworkDriver.Join', joining);
}

describe('the handshake', () => {
  it('says what the plugin is', async () => {
    expect(await plugin.call('Plugin.Activate', '')).toEqual({
      status: 200,
      body: { Implements: ['NetworkDriver', 'IpamDriver'] },
    });
    expect(await ok('NetworkDriver.GetCapabilities')).toEqual({
      Scope: 'local',
      ConnectivityScope: 'local',
    });
  });

  it('answers what only swarms ask, and knows nothing else', async () => {
    expect(await ok('NetworkDriver.AllocateNetwork', { NetworkID: NET })).toEqual({ Options: {} });
    for (const call of ['FreeNetwork', 'DiscoverNew', 'DiscoverDelete']) {
      expect(await ok(`NetworkDriver.${call}`, { NetworkID: NET })).toEqual({});
    }
    expect((await plugin.call('NetworkDriver.GwAllocCheck', '{}')).status).toBe(404);
  });

  it.each(['{', '[]', '7', '"x"'])('refuses %s', async (text) => {
    const { status, body } = await plugin.call('NetworkDriver.Join', text);
    expect(status).toBe(400);
    expect(body).toMatchObject({ Err: expect.stringMatching(/is not (a )?JSON/) });
  });

  it.each([
    ['CreateNetwork', {}, 'no NetworkID'],
    ['CreateNetwork', { NetworkID: 7 }, 'NetworkID of the request is no text'],
    ['CreateNetwork', { NetworkID: NET, IPv4Data: 'x' }, 'IPv4Data of the request is no list'],
    ['CreateNetwork', { NetworkID: NET, Options: [] }, 'Options of the request is no object'],
    ['CreateEndpoint', { NetworkID: NET }, 'no EndpointID'],
    ['Join', { EndpointID: EP }, 'no SandboxKey'],
    ['Join', { ...joining, SandboxKey: 'x' }, 'no path'],
    ['Leave', {}, 'no EndpointID'],
  ])('refuses half a request: %s %j', async (call, body, why) => {
    expect(await refused(`NetworkDriver.${call}`, body)).toContain(why);
  });
});

describe('networks', () => {
  it('have Docker’s id, addresses and options', async () => {
    const options = {
      'com.docker.network.enable_ipv6': true,
      'com.docker.network.internal': true,
      'com.docker.network.generic': { 'tapdeck.name': 'front', 'com.docker.network.driver.mtu': '1500' },
    };
    const wishes = network({ Options: options });
    const [ipv4] = wishes['IPv4Data'] as Body[];
    ipv4!['AuxAddresses'] = { nas: '10.77.0.9/24' };
    wishes['IPv6Data'] = [{ Pool: 'fd00:77::/64', Gateway: 'fd00:77::1/64' }];
    expect(await ok('NetworkDriver.CreateNetwork', wishes)).toEqual({});
    expect(deck.network('front')).toMatchObject({
      id: NET,
      mtu: 1500,
      internal: true,
      ipv4: { subnet: SUBNET, gateway: '10.77.0.1', auxAddresses: { nas: '10.77.0.9' } },
      ipv6: { subnet: 'fd00:77::/64', gateway: 'fd00:77::1' },
    });
  });

  it('are made once, and removed once', async () => {
    for (let i = 0; i < 2; i++) expect(await ok('NetworkDriver.CreateNetwork', network())).toEqual({});
    expect(deck.networks().filter(({ id }) => id === NET)).toHaveLength(1);
    const other = network({ IPv4Data: [{ Pool: '10.78.0.0/24', Gateway: '10.78.0.1/24' }] });
    expect(await refused('NetworkDriver.CreateNetwork', other)).toContain('is there already');
    for (let i = 0; i < 2; i++) {
      expect(await ok('NetworkDriver.DeleteNetwork', { NetworkID: NET })).toEqual({});
    }
    expect(deck.networks().some(({ id }) => id === NET)).toBe(false);
  });

  it.each([
    [{ IPv4Data: [] }, 'has an IPv4 subnet'],
    [{ IPv4Data: [{ Pool: '0.0.0.0/0' }] }, 'another IPAM driver than null'],
    [{ IPv4Data: [{ Pool: '10.1.0.0/24' }, { Pool: '10.2.0.0/24' }] }, 'one subnet of an IP version'],
    [{ Options: { 'com.docker.network.enable_ipv6': true } }, 'has an IPv6 subnet'],
    [{ Options: { 'com.docker.network.generic': { colour: 'red' } } }, 'tapdeck.dns, tapdeck.name'],
    [
      { IPv4Data: [{ Pool: '172.17.5.0/24' }] },
      'subnet 172.17.5.0/24 overlaps with 172.17.0.0/16 of network bridge; choose another with --subnet, or leave it to the deck with --ipam-driver tapdeck',
    ],
  ])('are refused that cannot be: %j', async (wish, why) => {
    expect(await refused('NetworkDriver.CreateNetwork', network(wish))).toContain(why);
    expect(deck.networks().some(({ id }) => id === NET)).toBe(false);
  });

  it('are not removed while somebody is in them', async () => {
    await joined();
    expect(await refused('NetworkDriver.DeleteNetwork', { NetworkID: NET })).toContain('is in use');
  });
});

describe('endpoints', () => {
  it('get the MAC that Docker left open, and none that it has chosen', async () => {
    await ok('NetworkDriver.CreateNetwork', network());
    for (let i = 0; i < 2; i++) {
      expect(await ok('NetworkDriver.CreateEndpoint', endpoint())).toEqual({
        Interface: { MacAddress: '02:42:0a:4d:00:02' },
      });
    }
    const chosen = endpoint('10.77.0.3/24', OTHER);
    (chosen['Interface'] as Body)['MacAddress'] = '02:00:00:00:00:07';
    expect(await ok('NetworkDriver.CreateEndpoint', chosen)).toEqual({ Interface: {} });
    expect(await ok('NetworkDriver.EndpointOperInfo', { ...place, EndpointID: OTHER })).toEqual({
      Value: { 'com.docker.network.endpoint.macaddress': '02:00:00:00:00:07' },
    });
    expect(await refused('NetworkDriver.CreateEndpoint', endpoint('10.77.0.9/24'))).toContain(
      'is there already',
    );
  });

  it('join with an interface for Docker to move, and leave', async () => {
    await ok('NetworkDriver.CreateNetwork', network());
    await ok('NetworkDriver.CreateEndpoint', endpoint());
    const answer = await ok('NetworkDriver.Join', joining);
    expect(answer).toEqual({
      InterfaceName: { SrcName: 'tdbbbbbbbbbbbb', DstPrefix: 'eth' },
      Gateway: '10.77.0.1',
      StaticRoutes: [],
      DisableGatewayService: false,
    });
    expect(deck.endpoints()).toMatchObject([{ id: EP, netns: SANDBOX, ipv4: '10.77.0.2' }]);
    // Docker has not taken it yet: the same once more.
    expect(await ok('NetworkDriver.Join', joining)).toEqual(answer);
    expect(plane.ports.size).toBe(1);
    for (let i = 0; i < 2; i++) expect(await ok('NetworkDriver.Leave', place)).toEqual({});
    expect(plane.ports.size).toBe(0);
    expect(deck.containers()).toEqual([]);
    // Without a new CreateEndpoint.
    await ok('NetworkDriver.Join', joining);
    expect(plane.ports.size).toBe(1);
    for (let i = 0; i < 2; i++) expect(await ok('NetworkDriver.DeleteEndpoint', place)).toEqual({});
    expect(plane.ports.size).toBe(0);
    expect(await refused('NetworkDriver.Join', joining)).toContain('start the container again');
  });

  it('leave nothing when the container ends before it has joined', async () => {
    await ok('NetworkDriver.CreateNetwork', network());
    await ok('NetworkDriver.CreateEndpoint', endpoint());
    await ok('NetworkDriver.DeleteEndpoint', place);
    expect(await ok('NetworkDriver.EndpointOperInfo', place)).toEqual({ Value: {} });
    await ok('NetworkDriver.DeleteNetwork', { NetworkID: NET });
    expect(plane.ports.size).toBe(0);
  });

  it('that cannot be had leave nothing', async () => {
    await ok('NetworkDriver.CreateNetwork', network());
    await ok('NetworkDriver.CreateEndpoint', endpoint());
    plane.failing.set('addTap', 'no port today');
    expect(await refused('NetworkDriver.Join', joining)).toContain('no port today');
    plane.failing.clear();
    expect(deck.containers()).toEqual([]);
    await ok('NetworkDriver.Join', joining);
  });

  it('of an internal network have no way out', async () => {
    await ok('NetworkDriver.CreateNetwork', network({ Options: { 'com.docker.network.internal': true } }));
    await ok('NetworkDriver.CreateEndpoint', endpoint());
    expect(await ok('NetworkDriver.Join', joining)).toEqual({
      InterfaceName: { SrcName: 'tdbbbbbbbbbbbb', DstPrefix: 'eth' },
      StaticRoutes: [],
      DisableGatewayService: true,
    });
  });

  it('of a lost network are refused, and go all the same', async () => {
    for (const [call, body] of [
      ['CreateEndpoint', endpoint()],
      ['Join', joining],
    ] as const) {
      expect(await refused(`NetworkDriver.${call}`, body)).toContain('there is no network aaaaaaaaaaaa');
    }
    expect(await refused('NetworkDriver.ProgramExternalConnectivity', mapped(WEB))).toContain(
      'is not joined',
    );
    for (const call of ['RevokeExternalConnectivity', 'Leave', 'DeleteEndpoint', 'DeleteNetwork']) {
      expect(await ok(`NetworkDriver.${call}`, place)).toEqual({});
    }
  });

  it('of one sandbox are one container, whose routes are Docker’s', async () => {
    await joined();
    const id = 'd'.repeat(64);
    await ok(
      'NetworkDriver.CreateNetwork',
      network({ IPv4Data: [{ Pool: '10.78.0.0/24', Gateway: '10.78.0.1/24' }] }, id),
    );
    const second = { NetworkID: id, EndpointID: OTHER };
    await ok('NetworkDriver.CreateEndpoint', { ...second, Interface: { Address: '10.78.0.2/24' } });
    await ok('NetworkDriver.Join', { ...second, SandboxKey: SANDBOX });
    expect(deck.containers()).toHaveLength(1);
    // The gateway is what Docker says, whatever the networks are called.
    await ok('NetworkDriver.ProgramExternalConnectivity', {
      ...second,
      Options: mapped(WEB)['Options'],
    });
    expect(Array.from(plane.publishes.values(), ({ network: number }) => number)).toEqual(
      Array(1).fill(plane.ports.get(deck.endpoint(OTHER).port)!.spec.network),
    );
    await ok('NetworkDriver.Leave', place);
    expect(deck.containers()).toMatchObject([{ endpoints: [{ id: OTHER }] }]);
  });
});

describe('published ports', () => {
  const ports = () => deck.containers()[0]!.ports.map(({ host, hostPort, port }) => [host, hostPort, port]);

  it('come and go, and are told twice', async () => {
    await joined();
    for (let i = 0; i < 2; i++) await ok('NetworkDriver.ProgramExternalConnectivity', mapped(WEB));
    expect(ports()).toEqual([['0.0.0.0', 8080, 80]]);
    await ok('NetworkDriver.ProgramExternalConnectivity', mapped({ ...WEB, HostPort: 81, HostPortEnd: 81 }));
    expect(ports()).toEqual([['0.0.0.0', 81, 80]]);
    for (let i = 0; i < 2; i++) await ok('NetworkDriver.RevokeExternalConnectivity', place);
    expect(ports()).toEqual([]);
    await ok('NetworkDriver.ProgramExternalConnectivity', mapped(WEB));
    await ok('NetworkDriver.Leave', place);
    expect(plane.publishes.size).toBe(0);
  });

  it('are chosen, one of a range or any', async () => {
    await joined();
    const udp = { Proto: 17, Port: 53, HostIP: '10.77.0.1', HostPort: 0 };
    await ok(
      'NetworkDriver.ProgramExternalConnectivity',
      mapped({ ...WEB, HostPort: 8000, HostPortEnd: 8010 }, udp),
    );
    const [dns, web] = ports();
    expect(web).toEqual(['0.0.0.0', 8000, 80]);
    expect(dns![0]).toBe('10.77.0.1');
  });

  it('are refused that others have, or that are of no protocol of ours', async () => {
    await joined();
    expect(
      await refused('NetworkDriver.ProgramExternalConnectivity', mapped({ ...WEB, Proto: 132 })),
    ).toContain('tapdeck publishes tcp and udp');
    await deck.attach({ netns: '/run/netns/x', name: 'x', publish: ['8080:80'] });
    expect(await refused('NetworkDriver.ProgramExternalConnectivity', mapped(WEB))).toContain(
      'is published by container x already',
    );
  });
});

describe('what Docker does not tell', () => {
  it('is found out: the namespace, the interface and the name', async () => {
    await joined();
    expect(deck.containers()).toMatchObject([{ name: 'docker-0123456789ab' }]);
    // Nobody could find it again.
    expect(deck.save().containers).toEqual([]);
    names.set(EP, 'web');
    unborn.clear();
    await expect.poll(() => deck.containers()[0]!.name).toBe('web');
    expect(deck.endpoints()).toMatchObject([{ ifname: 'eth0', name: 'web', container: 'web' }]);
    expect(deck.save().containers).toMatchObject([
      { name: 'web', netns: SANDBOX, namespace: `identity of ${SANDBOX}`, endpoints: [{ ifname: 'eth0' }] },
    ]);
    expect(deck.network(NET).endpoints).toEqual(['web']);
  });

  it('is not known while the interface has its old name', async () => {
    await joined();
    unborn.clear();
    ifname = 'tdbbbbbbbbbbbb';
    expect(deck.settle(deck.containers()[0]!.id)).toBe(false);
    expect(deck.save().containers).toEqual([]);
    ifname = 'eth3';
    await expect.poll(() => deck.endpoints()[0]!.ifname).toBe('eth3');
  });

  it('is known after a restart, by Docker’s ids', async () => {
    await joined();
    await ok('NetworkDriver.ProgramExternalConnectivity', mapped(WEB));
    unborn.clear();
    await expect.poll(() => deck.save().containers.length).toBe(1);
    await plugin.close();
    plugin = pluginOf(deck);
    expect(await ok('NetworkDriver.EndpointOperInfo', place)).toEqual({
      Value: { 'com.docker.network.endpoint.macaddress': '02:42:0a:4d:00:02' },
    });
    expect(await ok('NetworkDriver.CreateNetwork', network())).toEqual({});
    await ok('NetworkDriver.RevokeExternalConnectivity', place);
    expect(plane.publishes.size).toBe(0);
    // Docker wants an interface that it can move: the one that it has moved is no more.
    const { port } = deck.endpoints()[0]!;
    await ok('NetworkDriver.Join', joining);
    expect(plane.ports.has(port)).toBe(false);
    await ok('NetworkDriver.Leave', place);
    await ok('NetworkDriver.DeleteEndpoint', place);
    expect(plane.ports.size).toBe(0);
  });
});

describe('IPAM', () => {
  const pool = (Pool = '', more: Body = {}) =>
    ok('IpamDriver.RequestPool', { AddressSpace: 'tapdeck-local', Pool, SubPool: '', V6: false, ...more });
  const address = async (PoolID: unknown, Address = '', Options: Body = {}) =>
    (await ok('IpamDriver.RequestAddress', { PoolID, Address, Options }))['Address'];
  const GATEWAY = { RequestAddressType: 'com.docker.network.gateway' };

  it('says what it is', async () => {
    expect(await ok('IpamDriver.GetCapabilities')).toEqual({
      RequiresMACAddress: false,
      RequiresRequestReplay: false,
    });
    expect(await ok('IpamDriver.GetDefaultAddressSpaces')).toEqual({
      LocalDefaultAddressSpace: 'tapdeck-local',
      GlobalDefaultAddressSpace: 'tapdeck-global',
    });
  });

  it('gives subnets that the deck has free, until a network takes them', async () => {
    const { PoolID, Pool } = await pool();
    expect(Pool).toBe('172.18.0.0/16');
    // Network `bridge` has the first, and Docker this one.
    expect((await deck.createNetwork({ name: 'mine' })).ipv4!.subnet).toBe('172.19.0.0/16');
    expect(await address(PoolID, '', GATEWAY)).toBe('172.18.0.1/16');
    await ok('NetworkDriver.CreateNetwork', network({ IPv4Data: [{ Pool, Gateway: '172.18.0.1/16' }] }));
    expect(deck.network(NET).ipv4!.subnet).toBe(Pool);
    expect(await refused('IpamDriver.RequestPool', { Pool: '172.18.5.0/24' })).toContain('overlaps with');
  });

  it('keeps a subnet of which there came no network', async () => {
    const { Pool, PoolID } = await pool('10.9.0.0/24');
    const wishes = network({
      IPv4Data: [{ Pool, Gateway: '10.9.0.1/24' }],
      Options: { 'com.docker.network.generic': { colour: 'red' } },
    });
    await refused('NetworkDriver.CreateNetwork', wishes);
    plane.failing.set('addNetwork', 'no network today');
    await refused('NetworkDriver.CreateNetwork', { ...wishes, Options: {} });
    plane.failing.clear();
    await expect(deck.createNetwork({ name: 'x', subnet: '10.9.0.0/24' })).rejects.toThrow('of Docker');
    for (let i = 0; i < 2; i++) expect(await ok('IpamDriver.ReleasePool', { PoolID })).toEqual({});
    await deck.createNetwork({ name: 'x', subnet: '10.9.0.0/24' });
  });

  it('gives addresses that nobody has, whoever attached them', async () => {
    const { PoolID, Pool } = await pool(SUBNET, { SubPool: '10.77.0.128/25' });
    expect(await address(PoolID, '10.77.0.254', GATEWAY)).toBe('10.77.0.254/24');
    await ok('NetworkDriver.CreateNetwork', network({ IPv4Data: [{ Pool, Gateway: '10.77.0.254/24' }] }));
    await deck.attach({
      netns: '/run/netns/mine',
      name: 'mine',
      network: deck.network(NET).name,
      ip: '10.77.0.128',
    });
    expect(await address(PoolID)).toBe('10.77.0.129/24');
    expect(await address(PoolID, '10.77.0.7')).toBe('10.77.0.7/24');
    for (const taken of ['10.77.0.7', '10.77.0.128', '10.77.0.254']) {
      await refused('IpamDriver.RequestAddress', { PoolID, Address: taken, Options: {} });
    }
    for (let i = 0; i < 2; i++) {
      expect(await ok('IpamDriver.ReleaseAddress', { PoolID, Address: '10.77.0.7' })).toEqual({});
    }
    expect(await address(PoolID, '10.77.0.7')).toBe('10.77.0.7/24');
    await deck.detach('mine');
    expect(await address(PoolID)).toBe('10.77.0.128/24');
  });

  it('finds its pools again in the deck', async () => {
    const { PoolID, Pool } = await pool(SUBNET);
    await ok('NetworkDriver.CreateNetwork', network({ IPv4Data: [{ Pool, Gateway: '10.77.0.1/24' }] }));
    await ok('NetworkDriver.CreateEndpoint', endpoint());
    await ok('NetworkDriver.Join', joining);
    await plugin.close();
    plugin = pluginOf(deck);
    expect(await address(PoolID)).toBe('10.77.0.3/24');
    const lost = { PoolID: 'tapdeck-local/10.99.0.0/24', Address: '' };
    expect(await refused('IpamDriver.RequestAddress', lost)).toContain('there is no address pool');
    expect(await ok('IpamDriver.ReleaseAddress', lost)).toEqual({});
  });

  it('gives IPv6', async () => {
    const { PoolID, Pool } = await pool('', { V6: true });
    expect(Pool).toBe('fd74:6170:6465:1::/64');
    expect(await address(PoolID, '', GATEWAY)).toBe('fd74:6170:6465:1::1/64');
    expect(await address(PoolID)).toBe('fd74:6170:6465:1::2/64');
    expect(await refused('IpamDriver.RequestPool', { SubPool: '10.0.0.0/25' })).toContain('of no subnet');
  });
});

describe('the socket', () => {
  let folder: string;
  let socket: string;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'td-plugin-'));
    socket = join(folder, 'plugins', 'tapdeck.sock');
    await plugin.listen(socket);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function post(path: string, body: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      // As Docker does it: without a content type.
      const sent = request({ socketPath: socket, method: 'POST', path, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode!, text }));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  it('is root’s alone, takes bodies without a type, and goes with the plugin', async () => {
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await post('/Plugin.Activate', '')).toEqual({
      status: 200,
      text: '{"Implements":["NetworkDriver","IpamDriver"]}',
    });
    expect((await post('/NetworkDriver.CreateNetwork', JSON.stringify(network()))).status).toBe(200);
    expect((await post('/NetworkDriver.CreateNetwork', '{"Netw')).status).toBe(400);
    await plugin.close();
    expect(() => statSync(socket)).toThrow('ENOENT');
  });

  it('asks for the names that the last daemon did not learn', async () => {
    await joined();
    unborn.clear();
    await expect.poll(() => deck.save().containers.length).toBe(1);
    const next = pluginOf(deck);
    await plugin.close();
    names.set(EP, 'web');
    await next.listen(join(folder, 'next.sock'));
    await expect.poll(() => deck.containers()[0]!.name).toBe('web');
    await next.close();
  });

  it('goes on after half a request, and one that is too long', async () => {
    const half = connect(socket);
    await new Promise((resolve) =>
      half.write('POST /NetworkDriver.Join HTTP/1.1\r\nContent-Length: 9\r\n\r\n{', resolve),
    );
    half.destroy();
    await expect(post('/NetworkDriver.Join', ' '.repeat(2 << 20))).rejects.toThrow();
    expect((await post('/Plugin.Activate', '')).status).toBe(200);
  });

  it('says where it cannot be', async () => {
    const other = pluginOf(deck);
    await expect(other.listen(socket)).rejects.toThrow('--docker-plugin=PATH');
    await other.close();
    expect(statSync(socket).isSocket()).toBe(true);
  });
});
