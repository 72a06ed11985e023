import { mkdtempSync, openSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Deck, type DeckParts } from '../../src/control/deck.ts';
import { DeckError } from '../../src/control/error.ts';
import { ADDRESS_REST } from '../../src/control/ipam.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeHandover, fakePacket } from './fake-deck.ts';

let plane: FakeDataPlane;
let deck: Deck;
/** Monotonic milliseconds. */
let now: number;
/** The default routes that were asked for, the last ones last. */
let routed: Parameters<DeckParts['setRoutes']>[0][];
let opened: Parameters<DeckParts['openTap']>[0][];
let openFails: Error | undefined;
/** Runs while a TAP is being opened. */
let whileOpening: () => void;
/** Descriptors that only a failed attach closes: they must be real. */
let realDescriptor: (() => number) | undefined;

beforeEach(async () => {
  plane = new FakeDataPlane();
  opened = [];
  routed = [];
  now = 0;
  openFails = undefined;
  whileOpening = () => {};
  realDescriptor = undefined;
  deck = await Deck.assemble({
    dataPlane: plane,
    ...fakeHandover,
    async openTap(target) {
      await new Promise((resolve) => setImmediate(resolve));
      whileOpening();
      if (openFails) throw openFails;
      opened.push(target);
      return {
        fd: realDescriptor?.() ?? -1,
        ifname: target.ifname,
        mac: target.mac!,
        mtu: target.mtu!,
      };
    },
    async setRoutes(target) {
      routed.push(target);
    },
    openPacket: fakePacket,
    hostAddresses: () => ['127.0.0.1', '192.0.2.77', '::1', 'fe80::77'],
    hostRoutes: () => ['10.77.0.0/16', 'fe80::/64'],
    now: () => now,
    identify: (target) => ('path' in target ? target.path : `pid ${target.pid}`),
  });
});

afterEach(() => deck.close());

describe('a new deck', () => {
  it('has the network bridge, with the addresses of the documents', () => {
    const [bridge, ...others] = deck.networks();
    expect(others.map(({ name, driver, ipv4, mac }) => [name, driver, ipv4, mac])).toEqual([
      ['host', 'host', null, ''],
      ['none', 'null', null, ''],
    ]);
    expect(bridge).toMatchObject({
      name: 'bridge',
      mtu: 65520,
      mac: '02:42:ac:11:00:01',
      ipv4: { subnet: '172.17.0.0/16', gateway: '172.17.0.1', ipRange: null, auxAddresses: {} },
      ipv6: { subnet: 'fd74:6170:6465::/64', gateway: 'fd74:6170:6465::1' },
      endpoints: [],
    });
    expect(plane.networks.get(0)).toEqual({
      macHi: 0x0242,
      macLo: 0xac110001 | 0,
      ipv4: { address: 0xac110001 | 0, prefix: 16 },
      ipv6: { address: [0xfd746170 | 0, 0x64650000, 0, 1], prefix: 64 },
      mtu: 65520,
    });
  });
});

describe('attach', () => {
  it('chooses addresses, MAC, interface and name, and tells device and data plane the same', async () => {
    const endpoint = await deck.attach({ netns: '/run/netns/blue' });
    expect(endpoint).toMatchObject({
      name: 'blue',
      network: 'bridge',
      ifname: 'eth0',
      mac: '02:42:ac:11:00:02',
      mtu: 65520,
      ipv4: '172.17.0.2',
      ipv6: 'fd74:6170:6465::2',
      netns: '/run/netns/blue',
      pid: null,
    });
    expect(opened[0]).toEqual({
      netns: '/run/netns/blue',
      ifname: 'eth0',
      mac: '02:42:ac:11:00:02',
      mtu: 65520,
      addresses: ['172.17.0.2/16', 'fd74:6170:6465::2/64'],
      gateway4: '172.17.0.1',
      gateway6: 'fd74:6170:6465::1',
    });
    expect(plane.ports.get(endpoint.port)?.spec).toEqual({
      network: 0,
      mac: { hi: 0x0242, lo: 0xac110002 | 0 },
      mtu: 65520,
      ipv4: 0xac110002 | 0,
      ipv6: [0xfd746170 | 0, 0x64650000, 0, 2],
    });
    expect(deck.endpoints()).toEqual([endpoint]);
    expect(deck.network('bridge').endpoints).toEqual(['blue']);
  });

  it('takes what it is told', async () => {
    const endpoint = await deck.attach({
      pid: 42,
      name: 'web.1',
      ip: '172.17.8.9',
      ip6: 'fd74:6170:6465::99',
      mac: '06-00-00-00-00-01',
      ifname: 'net1',
      mtu: 1500,
    });
    expect(endpoint).toMatchObject({
      name: 'web.1',
      ipv4: '172.17.8.9',
      ipv6: 'fd74:6170:6465::99',
      mac: '06:00:00:00:00:01',
      ifname: 'net1',
      mtu: 1500,
      pid: 42,
    });
    expect(opened[0]!.netns).toBe(42);
  });

  it('makes one container of a namespace', async () => {
    await deck.attach({ pid: 7, name: 'a' });
    await expect(deck.attach({ pid: 7, name: 'b' })).rejects.toThrow(
      'process 7 is container a already; connect it to further networks with "tapdeck network connect NETWORK a"',
    );
    expect(deck.containers().map(({ name }) => name)).toEqual(['a']);
    await deck.detach('a');
    await expect(deck.attach({ pid: 7, name: 'b' })).resolves.toMatchObject({ container: 'b' });
  });

  it('proposes no names from /proc, and none that is taken or not allowed', async () => {
    const names = [];
    for (const netns of ['/proc/12/ns/net', '/run/netns/x', '/var/run/netns/x', '/run/netns/-odd']) {
      names.push((await deck.attach({ netns })).name);
    }
    expect(names[0]).toMatch(/^container-[0-9a-f]{8}$/);
    expect(names[1]).toBe('x');
    expect(names[2]).toMatch(/^container-/);
    expect(names[3]).toMatch(/^container-/);
  });

  it('never gives two endpoints the same address, MAC, name or port when they attach at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ ip: fc.option(fc.integer({ min: 1, max: 6 })), fails: fc.boolean() }), {
          maxLength: 12,
        }),
        async (wishes) => {
          const name = `n${Math.abs(wishes.length)}-${deck.networks().length}`;
          const network = await deck.createNetwork({ name, ipv6: true });
          const prefix = network.ipv4!.subnet.replace('.0.0/16', '.0.').replace(/\.0\/20$/, '.');
          const results = await Promise.allSettled(
            wishes.map(({ ip, fails }, i) =>
              deck.attach({
                pid: i + 1,
                network: name,
                ...(ip !== null && { ip: `${prefix}${ip}` }),
                ...(fails && { mac: 'no mac' }),
              }),
            ),
          );
          const endpoints = results.flatMap((result) =>
            result.status === 'fulfilled' ? [result.value] : [],
          );
          for (const key of ['ipv4', 'ipv6', 'mac', 'name', 'port'] as const) {
            expect(new Set(endpoints.map((endpoint) => endpoint[key])).size).toBe(endpoints.length);
          }
          for (const result of results) {
            if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(DeckError);
          }
          await Promise.all(endpoints.map(({ id }) => deck.detach(id)));
          await deck.removeNetwork(name);
        },
      ),
      { numRuns: 30 },
    );
    expect(deck.endpoints()).toEqual([]);
  });

  const everything = {
    netns: '/run/netns/x',
    name: 'x',
    ip: '172.17.0.77',
    ip6: 'fd74:6170:6465::77',
    mac: '06:00:00:00:00:77',
    ifname: 'net7',
  };

  it('gives everything back when the TAP cannot be opened', async () => {
    openFails = Object.assign(new Error('cannot open /dev/net/tun: permission denied (EACCES); allow it'), {
      code: 'EACCES',
    });
    await expect(deck.attach(everything)).rejects.toMatchObject({ code: 'permission' });
    openFails = undefined;
    await expect(deck.attach(everything)).resolves.toMatchObject({ name: 'x', ipv4: '172.17.0.77' });
  });

  it('gives everything back when the data plane refuses', async () => {
    plane.failing.set('addTap', 'all ports are taken');
    await expect(deck.attach(everything)).rejects.toMatchObject({
      code: 'unavailable',
      message: 'all ports are taken',
    });
    expect(deck.network('bridge').endpoints).toEqual([]);
    plane.failing.clear();
    await expect(deck.attach(everything)).resolves.toMatchObject({ name: 'x', ipv4: '172.17.0.77' });
  });

  it('gives everything back whichever wish is refused', async () => {
    await deck.attach({
      pid: 1,
      name: 'taken',
      ip: '172.17.0.50',
      ip6: 'fd74:6170:6465::50',
      mac: '06:00:00:00:00:50',
    });
    const refused = [
      { name: 'taken' },
      { name: '-x' },
      { name: 'x'.repeat(65) },
      { name: '__proto__' },
      { ip: '172.17.0.50' },
      { ip: '172.18.0.50' },
      { ip: 'ten' },
      { ip6: 'fd74:6170:6465::50' },
      { ip6: 'fe80::1%eth0' },
      { mac: '06:00:00:00:00:50' },
      { mac: '02:42:ac:11:00:01' },
      { mac: '01:00:5e:00:00:01' },
      { mac: '00:00:00:00:00:00' },
      { mac: '02:42' },
      { ifname: 'a/b' },
      { ifname: 'sixteen-letters-' },
      { ifname: '' },
      { ifname: 'lo' },
      { mtu: 1279 },
      { mtu: 65521 },
      { mtu: 1500.5 },
      { network: 'nowhere' },
      { network: 'constructor' },
      { pid: 4 },
    ];
    for (const wish of refused) {
      await expect(deck.attach({ ...everything, ...wish }), JSON.stringify(wish)).rejects.toBeInstanceOf(
        DeckError,
      );
    }
    expect(deck.endpoints()).toHaveLength(1);
    await expect(deck.attach(everything)).resolves.toMatchObject({ name: 'x' });
  });

  it('derives another MAC when somebody has taken the one that belongs to the address', async () => {
    await deck.attach({ pid: 1, mac: '02:42:ac:11:00:03' });
    expect(await deck.attach({ pid: 2 })).toMatchObject({ ipv4: '172.17.0.3', mac: '06:42:ac:11:00:03' });
  });
});

describe('detach', () => {
  it('frees name and addresses, by name, id and the beginning of the id', async () => {
    const one = await deck.attach({ pid: 1, name: 'one' });
    const seen: string[] = [];
    deck.events.on('detach', ({ name }) => seen.push(name));
    await deck.detach('one');
    expect(plane.ports.size).toBe(0);
    const other = await deck.attach({ pid: 2 });
    expect(other.ipv4).toBe('172.17.0.3');
    now += ADDRESS_REST;
    const again = await deck.attach({ pid: 1, name: 'one' });
    expect(again.ipv4).toBe(one.ipv4);
    await deck.detach(other.name);
    await deck.detach(again.id.slice(0, 12));
    await expect(deck.detach(one.id)).rejects.toMatchObject({ code: 'not-found' });
    await expect(deck.detach('hasOwnProperty')).rejects.toMatchObject({ code: 'not-found' });
    expect(seen).toEqual(['one', other.name, 'one']);
  });

  it('happens once when two ask', async () => {
    await deck.attach({ pid: 1, name: 'one' });
    const results = await Promise.allSettled([deck.detach('one'), deck.detach('one')]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('frees the endpoint also when the data plane cannot remove the port', async () => {
    await deck.attach({ pid: 1, name: 'one' });
    plane.failing.set('removePort', 'no such port');
    await deck.detach('one');
    expect(deck.endpoints()).toEqual([]);
  });
});

describe('connect and disconnect', () => {
  const seen: [string, string, string][] = [];
  beforeEach(async () => {
    seen.length = 0;
    await deck.createNetwork({ name: 'other', ipv6: true });
    await deck.attach({ pid: 7, name: 'a' });
    for (const what of ['attach', 'detach', 'gone'] as const) {
      deck.events.on(what, ({ container, network }) => seen.push([what, container, network]));
    }
  });

  it('give a container the next interface, in a further network, and take it away', async () => {
    const second = await deck.connect('other', 'a', {
      aliases: ['b'],
      links: ['db', 'x:y'],
      ip: '172.18.0.9',
    });
    expect(second).toMatchObject({
      name: 'a',
      container: 'a',
      containerId: deck.container('a').id,
      network: 'other',
      ifname: 'eth1',
      ipv4: '172.18.0.9',
      aliases: ['b'],
      links: ['db:db', 'x:y'],
      gatewayPriority: 0,
      allowSpoof: false,
    });
    expect(opened[1]).not.toHaveProperty('gateway4');
    expect(opened[1]).not.toHaveProperty('gateway6');
    expect(deck.container('a').endpoints.map(({ network }) => network)).toEqual(['bridge', 'other']);
    expect(deck.network('other').endpoints).toEqual(['a']);
    expect(await deck.disconnect('other', 'a')).toEqual(second);
    await deck.disconnect('bridge', 'a');
    expect(deck.container('a').endpoints).toEqual([]);
    expect(plane.ports.size).toBe(0);
    await deck.connect('other', 'a');
    expect(opened[2]).toMatchObject({ ifname: 'eth0', gateway4: '172.18.0.1' });
    expect(seen).toEqual([
      ['attach', 'a', 'other'],
      ['detach', 'a', 'other'],
      ['detach', 'a', 'bridge'],
      ['attach', 'a', 'other'],
    ]);
  });

  it('refuse what is not there, or there already, and leave nothing half-done', async () => {
    await expect(deck.connect('bridge', 'a')).rejects.toThrow('container a is in network bridge already');
    await expect(deck.disconnect('other', 'a')).rejects.toThrow(
      'container a is not in network other; it is in bridge',
    );
    await expect(deck.connect('nowhere', 'a')).rejects.toThrow('there is no network "nowhere"');
    await expect(deck.connect('other', 'nobody')).rejects.toThrow('there is no container "nobody"');
    for (const wish of [
      { ip: '10.0.0.1' },
      { ip6: '10.0.0.1' },
      { mac: '01:00:00:00:00:00' },
      { ifname: 'eth0' },
      { aliases: ['a b'] },
      { links: ['a:b:c'] },
      { gatewayPriority: 0.5 },
    ]) {
      await expect(deck.connect('other', 'a', wish), JSON.stringify(wish)).rejects.toBeInstanceOf(DeckError);
    }
    openFails = new Error('no TAP today');
    await expect(deck.connect('other', 'a')).rejects.toThrow('no TAP today');
    openFails = undefined;
    expect(deck.network('other').endpoints).toEqual([]);
    expect(await deck.connect('other', 'a')).toMatchObject({ ipv4: '172.18.0.2', ifname: 'eth1' });
  });

  it('happen one after the other, however many ask', async () => {
    const results = await Promise.allSettled([
      deck.connect('other', 'a'),
      deck.connect('other', 'a'),
      deck.disconnect('bridge', 'a'),
      deck.disconnect('bridge', 'a'),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
    expect(deck.container('a').endpoints.map(({ network }) => network)).toEqual(['other']);
  });

  it('end together with the container', async () => {
    await deck.connect('other', 'a');
    const removed = await deck.detach('a');
    expect(removed.endpoints).toHaveLength(2);
    expect(seen.slice(1)).toEqual([
      ['detach', 'a', 'bridge'],
      ['detach', 'a', 'other'],
    ]);
    expect(deck.containers()).toEqual([]);
    await expect(deck.connect('other', 'a')).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('a namespace that vanishes', () => {
  it('takes its endpoint along, and nothing else', async () => {
    const one = await deck.attach({ pid: 1, name: 'one' });
    const two = await deck.attach({ pid: 2, name: 'two' });
    const gone: string[] = [];
    deck.events.on('gone', ({ name }) => gone.push(name));
    plane.vanish(one.port);
    await new Promise((resolve) => setImmediate(resolve));
    expect(deck.endpoints()).toEqual([two]);
    expect(gone).toEqual(['one']);
    now += ADDRESS_REST;
    expect(await deck.attach({ pid: 3 })).toMatchObject({ ipv4: one.ipv4 });
  });
});

describe('networks', () => {
  it('are made with what is asked for, and removed when empty', async () => {
    const network = await deck.createNetwork({
      name: 'lab',
      subnet: '10.9.0.0/24',
      gateway: '10.9.0.254',
      ipv6Subnet: 'fd00:9::/64',
      mtu: 1500,
    });
    expect(network).toMatchObject({
      mtu: 1500,
      ipv4: { subnet: '10.9.0.0/24', gateway: '10.9.0.254' },
      ipv6: { subnet: 'fd00:9::/64', gateway: 'fd00:9::1' },
      mac: '02:42:0a:09:00:fe',
    });
    await deck.attach({ pid: 1, network: 'lab' });
    await expect(deck.removeNetwork('lab')).rejects.toThrow(
      /^network lab is in use by container-[0-9a-f]{8}; take it away first/,
    );
    await deck.detach(deck.endpoints()[0]!.name);
    await deck.removeNetwork(network.id);
    expect(deck.networks().map(({ name }) => name)).toEqual(['bridge', 'host', 'none']);
    await expect(deck.createNetwork({ name: 'lab', subnet: '10.9.0.0/24' })).resolves.toMatchObject({
      ipv6: null,
    });
  });

  it('without IPv6 take no IPv6 wishes', async () => {
    await deck.createNetwork({ name: 'four' });
    await expect(deck.attach({ pid: 1, network: 'four', ip6: 'fd00::2' })).rejects.toThrow('has no IPv6');
    expect(await deck.attach({ pid: 1, network: 'four', mtu: 576 })).toMatchObject({ ipv6: null });
    await expect(deck.createNetwork({ name: 'x', ipv6Gateway: 'fd00::1' })).rejects.toThrow('has no IPv6');
  });

  it('give back name and subnets when they cannot be made', async () => {
    const wish = { name: 'lab', subnet: '10.9.0.0/24', ipv6Subnet: 'fd00:9::/64' };
    plane.failing.set('addNetwork', 'no room');
    await expect(deck.createNetwork(wish)).rejects.toThrow('no room');
    plane.failing.clear();
    for (const more of [
      { gateway: '10.8.0.1' },
      { mtu: 100 },
      { ipv6Subnet: '::' },
      { subnet: '172.17.1.0/24' },
    ]) {
      await expect(deck.createNetwork({ ...wish, ...more }), JSON.stringify(more)).rejects.toBeInstanceOf(
        DeckError,
      );
    }
    await expect(deck.createNetwork(wish)).resolves.toMatchObject({ name: 'lab' });
    await expect(deck.createNetwork(wish)).rejects.toMatchObject({ code: 'conflict' });
    await expect(deck.createNetwork({ name: 'bridge' })).rejects.toMatchObject({ code: 'conflict' });
  });

  it('keep bridge', async () => {
    await expect(deck.removeNetwork('bridge')).rejects.toThrow('cannot be removed');
  });
});

describe('tables', () => {
  it('call ports by their endpoints', async () => {
    const web = await deck.attach({ pid: 1, name: 'web' });
    plane.fdb = [
      { network: 0, macHi: 0x0242, macLo: 0xac110002 | 0, port: web.port, static: true, age: 0 },
      { network: 0, macHi: 0x0242, macLo: 0xac110001 | 0, port: 77, static: true, age: 0 },
      { network: 0, macHi: 0x0a00, macLo: 1, port: web.port, static: false, age: 12_340 },
    ];
    plane.neighbors = [
      {
        network: 0,
        family: 4,
        address: [0xac110002 | 0],
        state: 'PERMANENT',
        mac: { hi: 0x0242, lo: 2 },
        age: 5,
      },
      {
        network: 0,
        family: 6,
        address: [0xfd000000 | 0, 0, 0, 5],
        state: 'INCOMPLETE',
        mac: null,
        age: 1500,
      },
    ];
    expect(await deck.fdb()).toEqual([
      {
        mac: '02:42:ac:11:00:02',
        network: 'bridge',
        endpoint: 'web',
        ifname: 'eth0',
        port: web.port,
        state: 'static',
        age: null,
      },
      {
        mac: '02:42:ac:11:00:01',
        network: 'bridge',
        endpoint: 'gateway',
        ifname: null,
        port: 77,
        state: 'static',
        age: null,
      },
      {
        mac: '0a:00:00:00:00:01',
        network: 'bridge',
        endpoint: 'web',
        ifname: 'eth0',
        port: web.port,
        state: 'learned',
        age: 12.3,
      },
    ]);
    expect(await deck.neighbors()).toEqual([
      { address: '172.17.0.2', network: 'bridge', mac: '02:42:00:00:00:02', state: 'PERMANENT', age: null },
      { address: 'fd00::5', network: 'bridge', mac: null, state: 'INCOMPLETE', age: 1.5 },
    ]);
    const { ledger, ports } = await deck.counters();
    expect(ledger).toEqual({
      received: 5,
      originated: 1,
      copies: 0,
      sent: 4,
      consumed: 1,
      held: 0,
      dropped: 1,
      balanced: true,
    });
    expect(ports).toMatchObject([{ endpoint: 'web', network: 'bridge', rxFrames: 1, txBytes: 120 }]);
    expect((await deck.drops())[0]).toMatchObject({ reason: 'FDB_SAME_PORT', count: 1 });
  });
});

describe('close', () => {
  it('detaches all, ends the data plane, and refuses what comes later', async () => {
    await deck.attach({ pid: 1 });
    const detached: string[] = [];
    deck.events.on('detach', ({ name }) => detached.push(name));
    await Promise.all([deck.close(), deck.close()]);
    expect(plane.closed).toBe(true);
    expect(plane.ports.size).toBe(0);
    expect(detached).toHaveLength(1);
    await expect(deck.attach({ pid: 1 })).rejects.toMatchObject({ code: 'unavailable' });
    await expect(deck.fdb()).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('closes the TAP of an attach that it overtakes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
    try {
      let descriptor = -1;
      realDescriptor = () => {
        descriptor = openSync(join(folder, 'tap'), 'w');
        return descriptor;
      };
      let closing: Promise<void> | undefined;
      whileOpening = () => {
        closing = deck.close();
      };
      await expect(deck.attach({ pid: 1 })).rejects.toMatchObject({ code: 'unavailable' });
      await closing;
      expect(descriptor).toBeGreaterThan(0);
      let target = '';
      try {
        target = readlinkSync(`/proc/self/fd/${descriptor}`);
      } catch {
        // Closed, and nothing else has the number now.
      }
      expect(target).not.toContain(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
