import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answerNetavark } from '../../src/integrations/netavark/plugin.ts';
import { Bed, GONE } from './bed.ts';

// The netavark plugin, with the JSON of netavark's plugin-API.md.

let bed: Bed;

beforeEach(async () => {
  bed = await Bed.make();
});
afterEach(async () => {
  GONE.clear();
  await bed.close();
});

const ID = '2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9';
const NETNS = '/run/netns/testctr';

/** As `create` gets it. */
const EXAMPLE = {
  name: 'example1',
  id: ID,
  driver: 'tapdeck',
  network_interface: 'enp1',
  subnets: [{ subnet: '10.88.0.0/16', gateway: '10.88.0.1' }],
  ipv6_enabled: false,
  internal: false,
  dns_enabled: false,
  ipam_options: { driver: 'host-local' },
  options: {},
};

/** As `setup` and `teardown` get it. */
const TESTCTR = {
  container_id: '752947ff91f961eb3cb47ffe9315016979f3ffbec09e4d96a4fae3fb03391697',
  container_name: 'testctr',
  port_mappings: [{ container_port: 80, host_ip: '127.0.0.1', host_port: 8080, protocol: 'tcp', range: 1 }],
  network: {
    dns_enabled: false,
    driver: 'tapdeck',
    id: ID,
    internal: false,
    ipv6_enabled: false,
    name: 'podman',
    network_interface: 'podman0',
    options: null,
    ipam_options: { driver: 'host-local' },
    subnets: [{ gateway: '10.88.0.1', lease_range: null, subnet: '10.88.0.0/16' }],
    network_dns_servers: null,
  },
  network_options: {
    aliases: ['752947ff91f9'],
    interface_name: 'eth0',
    static_ips: ['10.88.0.50'],
    static_mac: 'aa:bb:cc:dd:aa:00',
  },
};

async function call(command: string, said: object | string = '', netns?: string) {
  const { code, out } = await answerNetavark({
    args: [command, ...(netns === undefined ? [] : [netns])],
    input: async () => (typeof said === 'string' ? said : JSON.stringify(said)),
    reach: bed.reach,
    version: '1.2.3',
  });
  return { code, out: out === undefined ? undefined : JSON.parse(out) };
}

function inNetwork(network: object, more: object = {}) {
  return { ...TESTCTR, ...more, network: { ...TESTCTR.network, ...network } };
}

describe('info', () => {
  it('is the version of the program and of the protocol', async () => {
    expect(await call('info')).toEqual({ code: 0, out: { version: '1.2.3', api_version: '1.0.0' } });
  });
});

describe('create', () => {
  it('makes the network and answers it as it was asked for', async () => {
    expect(await call('create', EXAMPLE)).toEqual({ code: 0, out: EXAMPLE });
    expect(bed.deck.network('example1')).toMatchObject({
      ipv4: { subnet: '10.88.0.0/16', gateway: '10.88.0.1' },
    });
    expect(await call('create', EXAMPLE)).toEqual({ code: 0, out: EXAMPLE });
  });

  it('may be asked for by several at once', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => call('create', EXAMPLE)));
    expect(all).toEqual(all.map(() => ({ code: 0, out: EXAMPLE })));
  });

  it('chooses subnets that are left open', async () => {
    const { out } = await call('create', { ...EXAMPLE, subnets: null, ipv6_enabled: true, ipam_options: {} });
    const { ipv4, ipv6 } = bed.deck.network('example1');
    expect(out.subnets).toEqual([
      { subnet: ipv4!.subnet, gateway: ipv4!.gateway },
      { subnet: ipv6!.subnet, gateway: ipv6!.gateway },
    ]);
    expect(out.ipam_options).toEqual({ driver: 'host-local' });
  });

  it('takes options, of which mtu is short for ours', async () => {
    const options = { mtu: '1400', 'com.docker.network.bridge.enable_icc': 'false' };
    expect((await call('create', { ...EXAMPLE, options, internal: true })).code).toBe(0);
    expect(bed.deck.network('example1')).toMatchObject({ mtu: 1400, icc: false, internal: true });
  });

  it.each<[string, object | string, RegExp]>([
    ['no JSON', '{', /the network is not JSON/],
    ['no name', { ...EXAMPLE, name: '' }, /name is missing/],
    ['another IPAM driver', { ...EXAMPLE, ipam_options: { driver: 'dhcp' } }, /IPAM driver "dhcp"/],
    ['name servers', { ...EXAMPLE, network_dns_servers: ['192.0.2.53'] }, /DNS servers 192.0.2.53/],
    ['routes', { ...EXAMPLE, routes: [{ destination: '192.0.2.0/24' }] }, /routes of a network/],
    [
      'two subnets',
      { ...EXAMPLE, subnets: [{ subnet: '10.8.0.0/16' }, { subnet: '10.9.0.0/16' }] },
      /one subnet/,
    ],
    ['a subnet that is taken', { ...EXAMPLE, subnets: [{ subnet: '10.1.0.0/24' }] }, /overlaps/],
    ['an unknown option', { ...EXAMPLE, options: { colour: 'red' } }, /colour/],
    ['an MTU that is none', { ...EXAMPLE, options: { mtu: 'x' } }, /mtu/i],
    ['a name that another network has', { ...EXAMPLE, name: 'front' }, /tapdeck has a network front already/],
    ['an internal one that is not', { ...EXAMPLE, name: 'front', subnets: [], internal: true }, /already/],
  ])('%s is refused and makes nothing', async (_, network, message) => {
    const before = bed.deck.networks().length;
    const { code, out } = await call('create', network);
    expect([code, out.error]).toEqual([1, expect.stringMatching(message)]);
    expect(bed.deck.networks()).toHaveLength(before);
  });
});

describe('setup and teardown', () => {
  it('are those of the documents', async () => {
    expect(await call('setup', TESTCTR, NETNS)).toEqual({
      code: 0,
      out: {
        dns_search_domains: [],
        dns_server_ips: [],
        interfaces: {
          eth0: {
            mac_address: 'aa:bb:cc:dd:aa:00',
            subnets: [{ gateway: '10.88.0.1', ipnet: '10.88.0.50/16' }],
          },
        },
      },
    });
    expect(bed.containers).toEqual(['testctr podman/eth0=10.88.0.50 8080:80']);
    expect(bed.deck.containers()[0]!.ports[0]).toMatchObject({ host: '127.0.0.1', protocol: 'tcp' });
    for (let again = 0; again < 3; again++)
      expect(await call('teardown', TESTCTR, NETNS)).toEqual({ code: 0 });
    expect(bed.containers).toEqual([]);
  });

  it('make a network again that the deck has lost, and no other', async () => {
    await call('create', EXAMPLE);
    await bed.deck.removeNetwork('example1');
    expect((await call('setup', inNetwork({ name: 'example1' }), NETNS)).code).toBe(0);
    const other = inNetwork({ name: 'example1', subnets: [{ subnet: '10.99.0.0/16' }] });
    expect((await call('setup', other, '/run/netns/other')).out.error).toContain('already');
    await call('teardown', TESTCTR, NETNS);
  });

  it('publish ranges, of several protocols, with the address of an internal network without gateway', async () => {
    const port_mappings = [
      { container_port: 80, host_port: 8080, protocol: 'tcp,udp', range: 3, host_ip: '' },
    ];
    await call('setup', inNetwork({}, { port_mappings }), NETNS);
    expect(
      bed.deck.containers()[0]!.ports.map(({ hostPort, hostPortEnd, portEnd, protocol }) => ({
        hostPort,
        hostPortEnd,
        portEnd,
        protocol,
      })),
    ).toEqual([
      { hostPort: 8080, hostPortEnd: 8082, portEnd: 82, protocol: 'tcp' },
      { hostPort: 8080, hostPortEnd: 8082, portEnd: 82, protocol: 'udp' },
    ]);
    const back = inNetwork(
      { name: 'back', id: 'b', internal: true, dns_enabled: true, subnets: [{ subnet: '10.2.0.0/24' }] },
      { network_options: { interface_name: 'eth1', aliases: null, static_ips: null, static_mac: null } },
    );
    const { out } = await call('setup', back, NETNS);
    expect(out).toMatchObject({
      dns_server_ips: ['10.2.0.1'],
      interfaces: { eth1: { subnets: [{ ipnet: '10.2.0.2/24' }] } },
    });
    expect(out.interfaces.eth1.subnets[0]).not.toHaveProperty('gateway');
    await call('teardown', TESTCTR, NETNS);
    expect(bed.containers).toEqual(['testctr back/eth1=10.2.0.2']);
    await call('teardown', back, NETNS);
  });

  it.each<[string, string, object | string, string | undefined, RegExp]>([
    ['an unknown command', 'update', TESTCTR, NETNS, /"update" is unknown/],
    ['no namespace', 'setup', TESTCTR, undefined, /path of a network namespace/],
    ['a namespace that has gone', 'setup', TESTCTR, '/gone', /there is no network namespace/],
    ['half a configuration', 'setup', '{"container_id":', NETNS, /not JSON/],
    ['no container', 'setup', { ...TESTCTR, container_id: '' }, NETNS, /container_id is missing/],
    ['no interface', 'setup', { ...TESTCTR, network_options: {} }, NETNS, /interface_name is missing/],
    ['no network', 'teardown', { ...TESTCTR, network: null }, NETNS, /id is missing/],
    ['ports that are none', 'setup', { ...TESTCTR, port_mappings: [{ container_port: 0 }] }, NETNS, /port 0/],
  ])('%s is refused and leaves nothing', async (_, command, said, netns, message) => {
    GONE.add('/gone');
    const { code, out } = await call(command, said, netns);
    expect([code, out.error]).toEqual([1, expect.stringMatching(message)]);
    expect(bed.count).toEqual({ containers: 0, taps: 0, published: 0, members: 0 });
  });

  it('say that there is no daemon', async () => {
    bed.absent = true;
    for (const command of ['setup', 'teardown']) {
      const { code, out } = await call(command, TESTCTR, NETNS);
      expect([code, out]).toEqual([1, { error: expect.stringContaining('no daemon is running') }]);
    }
  });
});
