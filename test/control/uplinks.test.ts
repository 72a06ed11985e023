import { closeSync, fstatSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Deck, type DeckOptions, type DeckParts } from '../../src/control/deck.ts';
import { parseUplinkSpec } from '../../src/control/uplink-spec.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeHandover } from './fake-deck.ts';

let plane: FakeDataPlane;
let taps: Parameters<DeckParts['openTap']>[0][];
let packets: Parameters<DeckParts['openPacket']>[0][];
let openFails: Error | undefined;
let packetMtu: number;
let log: string[];
const decks: Deck[] = [];
const descriptors: number[] = [];

beforeEach(() => {
  plane = new FakeDataPlane();
  taps = [];
  packets = [];
  openFails = undefined;
  packetMtu = 1500;
  log = [];
});

afterEach(async () => {
  for (const deck of decks.splice(0)) await deck.close();
  for (const fd of descriptors.splice(0)) if (isOpen(fd)) closeSync(fd);
});

/** A descriptor that is real: what fails later has to close it. */
function descriptor(): number {
  const fd = openSync('/dev/null', 'r');
  descriptors.push(fd);
  return fd;
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

async function open(uplinks: DeckOptions['uplinks'] = []): Promise<Deck> {
  const deck = await Deck.assemble(
    {
      dataPlane: plane,
      ...fakeHandover,
      async openTap(target) {
        if (openFails) throw openFails;
        taps.push(target);
        return { fd: descriptor(), ifname: target.ifname, mac: target.mac!, mtu: target.mtu! };
      },
      openPacket(target) {
        if (openFails) throw openFails;
        packets.push(target);
        const mac = '02:00:00:00:00:01';
        return { fd: descriptor(), ifname: target.ifname, mac, mtu: packetMtu, headerLength: 12 };
      },
      setRoutes: async () => {},
      hostAddresses: () => ['127.0.0.1', '192.0.2.77', '::1', 'fe80::77'],
      hostRoutes: () => [],
      now: () => 0,
      identify: (target) => ('path' in target ? target.path : `pid ${target.pid}`),
    },
    { uplinks, log: (level, message) => log.push(`${level}: ${message}`) },
  );
  decks.push(deck);
  return deck;
}

/** Without those that have no way out by their nature. */
function bridges(deck: Deck) {
  return deck.networks().filter(({ driver }) => driver === 'bridge');
}

const TAP = 'tap:td0,addr=192.0.2.2/24,addr=192.0.2.3/24,addr=2001:db8::2/64,mtu=1400';
const PACKET =
  'packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1,netns=/run/netns/x,filtering=endpoint-independent';

describe('a deck with uplinks', () => {
  it('makes an interface with the other address for a tap, and tells the data plane of its own', async () => {
    const deck = await open([TAP]);
    expect(taps).toEqual([
      {
        netns: '/proc/self/ns/net',
        ifname: 'td0',
        mac: '02:42:c0:00:02:01',
        mtu: 1400,
        addresses: ['192.0.2.1/24', '2001:db8::1/64'],
        exclusive: true,
      },
    ]);
    expect(plane.uplinks.get(0)).toEqual({
      macHi: 0x0242,
      macLo: 0xc0000202 | 0,
      mtu: 1400,
      filtering: 'address-dependent',
      ipv4: { address: 0xc0000202 | 0, prefix: 24 },
      ipv4Pool: [0xc0000203 | 0],
      gateway4: 0xc0000201 | 0,
      ipv6: { address: [0x20010db8, 0, 0, 2], prefix: 64 },
      ipv6Pool: [],
      gateway6: [0x20010db8, 0, 0, 1],
    });
    expect(Array.from(plane.ports.values(), ({ spec }) => spec)).toEqual([{ network: 0, mtu: 1400 }]);
    expect(deck.uplinks()).toEqual([
      {
        name: 'td0',
        kind: 'tap',
        ifname: 'td0',
        netns: null,
        mac: '02:42:c0:00:02:02',
        mtu: 1400,
        ipv4: { subnet: '192.0.2.0/24', addresses: ['192.0.2.2', '192.0.2.3'], gateway: '192.0.2.1' },
        ipv6: { subnet: '2001:db8::/64', addresses: ['2001:db8::2'], gateway: '2001:db8::1' },
        filtering: 'address-dependent',
        state: 'up',
        default: true,
        spec: 'tap:td0,addr=192.0.2.2/24,addr=192.0.2.3/24,gw=192.0.2.1,addr=2001:db8::2/64,gw=2001:db8::1,mtu=1400,filtering=address-dependent',
      },
    ]);
  });

  it('opens an interface that is there for a packet uplink, and takes its MTU', async () => {
    packetMtu = 9000;
    const deck = await open([parseUplinkSpec(PACKET)]);
    expect(packets).toEqual([
      { ifname: 'eth1', netns: '/run/netns/x', mac: '02:42:c6:33:64:07', addresses: ['198.51.100.7'] },
    ]);
    expect(plane.uplinks.get(0)).toMatchObject({
      mtu: 9000,
      filtering: 'endpoint-independent',
      gateway4: 0xc6336401 | 0,
      ipv6: null,
      gateway6: null,
    });
    expect(Array.from(plane.ports.values(), ({ spec }) => spec)).toEqual([{ network: 0, mtu: 9000 }]);
    expect(deck.uplinks()).toMatchObject([{ name: 'eth1', netns: '/run/netns/x', mtu: 9000, ipv6: null }]);
  });

  it('never makes a frame larger than a port can have', async () => {
    packetMtu = 65_536;
    await open([PACKET]);
    expect(plane.uplinks.get(0)?.mtu).toBe(65_520);
  });

  it('gives the two ends of a wire different MACs, also when their addresses end alike', async () => {
    await open(['tap:td0,addr=fd00::1:0:0:2/32,gw=fd00::2:0:0:2']);
    expect(plane.uplinks.get(0)).toMatchObject({ macHi: 0x0242, macLo: 2 });
    expect(taps[0]!.mac).toBe('06:42:00:00:00:02');
  });

  it('lets the default network leave by the first, others by that which they name, internal ones by none', async () => {
    const deck = await open([TAP, PACKET]);
    const [td0, eth1] = [0, 2];
    await deck.createNetwork({ name: 'first' });
    await deck.createNetwork({ name: 'second', uplink: 'eth1' });
    await deck.createNetwork({ name: 'inner', internal: true });
    expect(Array.from(plane.uplinks.keys())).toEqual([td0, eth1]);
    expect(Array.from(plane.networks.values(), ({ uplink }) => uplink)).toEqual([td0, td0, eth1, undefined]);
    expect(bridges(deck).map(({ name, uplink, internal }) => [name, uplink, internal])).toEqual([
      ['bridge', 'td0', false],
      ['first', 'td0', false],
      ['second', 'eth1', false],
      ['inner', null, true],
    ]);
    expect(deck.uplinks().map(({ name, default: first }) => [name, first])).toEqual([
      ['td0', true],
      ['eth1', false],
    ]);
  });

  it('names their ports and neighbors after them', async () => {
    const deck = await open([TAP]);
    const { ports } = await deck.counters();
    expect(ports).toMatchObject([{ network: 'td0', endpoint: 'uplink', ifname: 'td0' }]);
    plane.neighbors = [{ family: 4, address: [0], network: 0, mac: null, state: 'INCOMPLETE', age: 0 }];
    expect(await deck.neighbors()).toMatchObject([{ network: 'td0' }]);
  });

  it('says so when one loses its interface, and goes on', async () => {
    const deck = await open([TAP]);
    const [port] = plane.ports.keys();
    plane.vanish(port!);
    plane.vanish(port!);
    expect(deck.uplinks()).toMatchObject([{ state: 'gone' }]);
    expect(log).toEqual([expect.stringMatching(/^error: uplink td0 has lost its interface: [^\n]+$/)]);
    await deck.createNetwork({ name: 'after' });
  });

  it.each([
    [[TAP, TAP], 'conflict', /^uplink td0 is given twice; an uplink is called after its interface/],
    [
      [TAP, 'tap:td1,addr=192.0.2.130/25'],
      'conflict',
      /^uplink td1: subnet 192\.0\.2\.128\/25 overlaps with 192\.0\.2\.0\/24 of uplink td0; choose another$/,
    ],
    [['tap:td0'], 'invalid', /^uplink "tap:td0": it has no address/],
  ] as const)('is not made of %j', async (uplinks, code, message) => {
    await expect(open(uplinks)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect([taps, packets, plane.closed]).toEqual([[], [], true]);
  });

  it('is not made when an interface cannot be, and says whose', async () => {
    openFails = Object.assign(new Error('there is no interface eth1 in this host'), { code: 'ENODEV' });
    await expect(open([PACKET])).rejects.toMatchObject({
      code: 'not-found',
      message: 'uplink eth1: there is no interface eth1 in this host',
    });
    expect(plane.closed).toBe(true);
  });

  it('is not made by an ordinary user, who is told what it takes', async () => {
    openFails = new Error('cannot make it: it belongs to this user namespace, in which we are not root; …');
    await expect(open([TAP])).rejects.toMatchObject({
      code: 'permission',
      message: expect.stringMatching(/^uplink td0: an interface in the host's namespace takes root; run/),
    });
    plane = new FakeDataPlane();
    await expect(open([`${TAP},netns=x`])).rejects.toThrow('uplink td0: cannot make it');
  });

  it.each([
    ['addUplink', 'closed here'],
    ['addTap', 'closed by the data plane'],
  ])('keeps nothing when %s fails; the descriptor is %s', async (method, whose) => {
    plane.failing.set(method, 'all ports are in use');
    await expect(open([TAP])).rejects.toThrow('uplink td0: all ports are in use');
    expect(isOpen(descriptors[0]!)).toBe(whose !== 'closed here');
    expect([plane.uplinks.size, plane.closed]).toEqual([0, true]);
  });

  it('is not made on an interface that cannot carry IPv6', async () => {
    packetMtu = 1000;
    await expect(open(['packet:eth1,addr=fd00::7/64,gw=fe80::1'])).rejects.toThrow(
      'uplink eth1: MTU 1000 is out of range',
    );
    expect(isOpen(descriptors[0]!)).toBe(false);
  });
});

describe('networks beside uplinks', () => {
  it('have other subnets, chosen and given', async () => {
    const deck = await open(['tap:td0,addr=172.18.5.2/24', 'tap:td1,addr=172.17.9.2/24']);
    // Docker's own for the default network lies under an uplink here, and so does the next.
    expect(deck.network('bridge').ipv4?.subnet).toBe('172.19.0.0/16');
    expect(deck.network('bridge').ipv6?.subnet).toBe('fd74:6170:6465::/64');
    await expect(deck.createNetwork({ name: 'lab', subnet: '172.18.0.0/16' })).rejects.toThrow(
      'subnet 172.18.0.0/16 overlaps with 172.18.5.0/24 of uplink td0; choose another',
    );
    await deck.createNetwork({ name: 'one', subnet: '10.1.0.0/16' });
    await expect(deck.createNetwork({ name: 'two', subnet: '10.1.2.0/24' })).rejects.toThrow(
      'overlaps with 10.1.0.0/16 of network one; choose another',
    );
  });

  it('have other names, too', async () => {
    const deck = await open([TAP]);
    await expect(deck.createNetwork({ name: 'td0' })).rejects.toMatchObject({
      code: 'conflict',
      message: 'there is an uplink td0 already; choose another name for the network',
    });
    await deck.createNetwork({ name: 'td00' });
    await expect(open(['tap:bridge,addr=192.0.2.2/24'])).rejects.toThrow(
      'uplink bridge has the name of network bridge, which every deck has',
    );
  });

  it('show under what address an endpoint stands outside', async () => {
    const deck = await open([TAP]);
    await deck.createNetwork({ name: 'lab', ipv6Subnet: 'fd01:203:405:1::/64', npt: '2001:db8:1::/64' });
    // Words of the inside prefix add up to fd01+0203+0405+0001, of the outside one to 2001+0db8+0001; the difference goes
    // into the first word behind it (RFC 6296 §3.5).
    const { ipv6Outside } = await deck.attach({ pid: 1, network: 'lab', ip6: 'fd01:203:405:1::2' });
    expect(ipv6Outside).toBe('2001:db8:1:0:d550::2');
    expect((await deck.attach({ pid: 2 })).ipv6Outside).toBeNull();
  });

  it('stand outside under another prefix when they are told to', async () => {
    const deck = await open([TAP]);
    const network = await deck.createNetwork({
      name: 'lab',
      ipv6Subnet: 'fd00:1::/64',
      npt: '2001:db8:1::/64',
    });
    expect(network.npt).toBe('2001:db8:1::/64');
    expect(Array.from(plane.networks.values()).at(-1)).toMatchObject({
      npt: { address: [0x20010db8, 0x00010000, 0, 0], prefix: 64 },
    });
    const wish = { name: 'other', ipv6: true, npt: '2001:db8:1::/64' };
    await expect(deck.createNetwork(wish)).rejects.toThrow(
      'subnet 2001:db8:1::/64 overlaps with 2001:db8:1::/64 of network lab as it stands outside',
    );
    await deck.removeNetwork('lab');
    expect((await deck.createNetwork(wish)).npt).toBe('2001:db8:1::/64');
  });

  it.each([
    [{ uplink: 'eth9' }, 'not-found', /^there is no uplink "eth9"; there are td0, eth1$/],
    [{ internal: true, uplink: 'td0' }, 'invalid', /^network lab is internal and cannot have uplink td0/],
    [
      { internal: true, npt: '2001:db8:1::/64' },
      'invalid',
      /^network lab is internal and cannot have prefix/,
    ],
    [{ npt: '2001:db8:1::/64' }, 'invalid', /the network has no IPv6; add --ipv6 or an IPv6 subnet/],
    [{ ipv6: true, uplink: 'eth1', npt: '2001:db8:1::/64' }, 'invalid', /uplink eth1 has no IPv6/],
    [{ ipv6: true, npt: '2001:db8:1::/80' }, 'invalid', /is smaller than its subnet fd74:/],
    [
      { ipv6Subnet: 'fd00:1::/64', npt: '2001:db8:1::/48' },
      'invalid',
      /2001:db8:1::\/48 for network lab is larger than its subnet fd00:1::\/64, .*as 2001:db8:1::\/64$/,
    ],
    [{ ipv6: true, npt: '2001:db8:1::1/64' }, 'invalid', /has host bits set/],
    [{ ipv6: true, npt: '10.0.0.0/8' }, 'invalid', /is not an IPv6 address/],
    [{ ipv6: true, npt: '2001:db8::/64' }, 'conflict', /overlaps with 2001:db8::\/64 of uplink td0/],
    [
      { ipv6Subnet: 'fd00:1::/120', npt: '2001:db8:1::/112' },
      'invalid',
      /too small.*the longest prefix is \/112/,
    ],
  ] as const)('are not made with %j, and nothing of them stays', async (wish, code, message) => {
    const deck = await open([TAP, PACKET]);
    const { size } = plane.networks;
    const refused = deck.createNetwork({ name: 'lab', ...wish });
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(plane.networks.size).toBe(size);
    await deck.createNetwork({ name: 'lab', ipv6Subnet: 'fd00:1::/64', npt: '2001:db8:1::/64' });
  });

  it('have no way out in a deck without uplinks', async () => {
    const deck = await open();
    expect(deck.uplinks()).toEqual([]);
    expect(deck.network('bridge')).toMatchObject({ internal: false, uplink: null, npt: null });
    await expect(deck.createNetwork({ name: 'lab', uplink: 'td0' })).rejects.toThrow(
      'there is no uplink "td0"; the deck has none; start it with --uplink',
    );
    await expect(deck.createNetwork({ name: 'lab', ipv6: true, npt: '2001:db8:1::/64' })).rejects.toThrow(
      'the deck has no uplink; start it with --uplink',
    );
  });
});
