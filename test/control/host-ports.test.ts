import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import type { DeckError } from '../../src/control/error.ts';
import { HostPolicy } from '../../src/control/host-policy.ts';
import type { SocketUplinkSpec } from '../../src/control/socket-uplink-spec.ts';
import { parseUplinkSpec } from '../../src/control/uplink-spec.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

/** Ports of endpoints of networks that leave by sockets of the host. */

let plane: FakeDataPlane;
let deck: Deck;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane, undefined, { uplinks: ['socket'] });
  await deck.attach({ pid: 1, name: 'web' });
});

afterEach(() => deck.close());

const listening = () =>
  Array.from(plane.listening, ([id, sockets]) => ({ ...sockets, host: plane.publishes.get(id)!.host }));
const refused = (publishing: Promise<unknown>) =>
  publishing.then(
    () => expect.fail('published'),
    (error: DeckError) => [error.code, error.message],
  );

describe('with uplink socket, ports', () => {
  it('are on all addresses of the host', async () => {
    await deck.publish('web', ['8080:80']);
    expect(listening()).toEqual([
      { uplink: 0, ifname: null, host: null },
      { uplink: 0, ifname: null, host: null },
    ]);
    await deck.unpublish('web', '8080');
    expect(plane.publishes.size).toBe(0);
  });

  it('are on any one of them, its loopback included, which the host knows best', async () => {
    await deck.publish('web', ['127.0.0.1:8080:80', '[2001:db8::9]:8080:80']);
    expect(listening().map(({ host }) => host)).toEqual([0x7f000001, [0x20010db8, 0, 0, 9]]);
    plane.hostRefuses = () => 'EADDRNOTAVAIL';
    expect(await refused(deck.publish('web', ['192.0.2.200:8080:80']))).toEqual([
      'invalid',
      'the host refuses: EADDRNOTAVAIL',
    ]);
  });

  it("are the deck's alone on the address of a gateway", async () => {
    plane.hostRefuses = () => 'EADDRNOTAVAIL';
    await deck.publish('web', ['172.17.0.1:8080:80']);
    expect(plane.publishes.size).toBe(1);
    expect(listening()).toEqual([]);
  });

  it('are by one interface only', async () => {
    const published = await deck.publish('web', ['%eth1:8080:80', '127.0.0.1%lo:81:80']);
    expect(published.map(({ host }) => host)).toEqual(['0.0.0.0%eth1', '::%eth1', '127.0.0.1%lo']);
    expect(listening().map(({ ifname }) => ifname)).toEqual(['eth1', 'eth1', 'lo']);
    expect(await deck.unpublish('web', '%eth1:8080:80')).toHaveLength(2);
    expect(await deck.unpublish('web', '127.0.0.1%lo:81:80')).toHaveLength(1);
  });

  it('are all had or none', async () => {
    plane.hostRefuses = ({ from }) => (from === 81 ? 'EADDRINUSE' : null);
    expect(await refused(deck.publish('web', ['80:80', '81:81', '82:82']))).toEqual([
      'conflict',
      'the host refuses: EADDRINUSE',
    ]);
    expect([plane.publishes.size, plane.listening.size]).toEqual([0, 0]);
    expect(deck.endpoint('web').ports).toEqual([]);
    plane.hostRefuses = () => 'EACCES';
    expect(await refused(deck.attach({ pid: 2, name: 'other', publish: ['80:80'] }))).toEqual([
      'permission',
      'the host refuses: EACCES',
    ]);
    expect(deck.endpoints().map(({ name }) => name)).toEqual(['web']);
  });

  it('are others when those that were chosen are taken, for both IP versions', async () => {
    const taken: number[] = [];
    plane.hostRefuses = ({ address, from }) => {
      if (typeof address === 'number' || taken.length === 5) return null;
      taken.push(from);
      return 'EADDRINUSE';
    };
    const [one, other, ...more] = await deck.publish('web', ['80']);
    expect(more).toEqual([]);
    expect(one!.hostPort).toBe(other!.hostPort);
    expect(taken).not.toContain(one!.hostPort);
    expect(new Set(taken).size).toBe(5);
    expect(plane.publishes.size).toBe(2);
    expect(deck.endpoint('web').ports).toHaveLength(2);
  });

  it('are the next of a range when the first is taken, and refused when all are', async () => {
    plane.hostRefuses = ({ from }) => (from < 8002 ? 'EADDRINUSE' : null);
    expect((await deck.publish('web', ['8000-8002:80']))[0]!.hostPort).toBe(8002);
    expect(await refused(deck.publish('web', ['8000-8002:81']))).toEqual([
      'unavailable',
      'publish "8000-8002:81": no port free in 8000-8002/tcp; take others away or give a host port',
    ]);
    expect(plane.publishes.size).toBe(2);
  });

  it('are of IPv4 alone on a host without IPv6, unless IPv6 was asked for', async () => {
    plane.hostRefuses = ({ address }) => (typeof address === 'number' ? null : 'EAFNOSUPPORT');
    expect((await deck.publish('web', ['8080:80'])).map(({ host }) => host)).toEqual(['0.0.0.0']);
    expect(plane.publishes.size).toBe(1);
    expect(await refused(deck.publish('web', ['[::]:8081:80']))).toEqual([
      'unavailable',
      'the host refuses: EAFNOSUPPORT',
    ]);
  });
});

describe('a deck with uplink socket', () => {
  it('tells the data plane of a host behind it, and of the next hop that stands for it', () => {
    expect(plane.uplinks.get(0)).toMatchObject({
      mtu: 65520,
      isHost: true,
      denied: [],
      ipv4: { address: 0xc0000002 | 0, prefix: 29 },
      gateway4: 0xc0000001 | 0,
    });
    const [port] = plane.ports.values();
    expect(port?.spec).toEqual({ network: 0, mtu: 65520 });
    const prefix = [0xfd746170 | 0, 0x6465ffff, 0];
    expect(plane.segments).toEqual([
      {
        deck: { mac: { hi: 0x0242, lo: 0xc0000002 | 0 }, ipv4: 0xc0000002 | 0, ipv6: [...prefix, 2] },
        device: { mac: { hi: 0x0242, lo: 0xc0000001 | 0 }, ipv4: 0xc0000001 | 0, ipv6: [...prefix, 1] },
      },
    ]);
    expect(deck.uplinks()).toMatchObject([{ name: 'socket', kind: 'socket', ifname: null, default: true }]);
  });

  it("denies what it is told to, and the host's addresses", async () => {
    const other = new FakeDataPlane();
    const strict = await fakeDeck(other, undefined, { uplinks: ['socket,host-access=no,deny=10.0.0.0/8'] });
    expect(other.uplinks.get(0)?.denied).toEqual([
      { address: 0x0a000000, prefix: 8 },
      { address: 0x7f000001, prefix: 32 },
      { address: 0xc000024d | 0, prefix: 32 },
      { address: [0, 0, 0, 1], prefix: 128 },
      { address: [0xfe800000 | 0, 0, 0, 0x77], prefix: 128 },
    ]);
    await strict.close();
  });

  it('notices when the host gets addresses and loses some', () => {
    let own = ['192.0.2.1'];
    const spec = parseUplinkSpec('socket,host-access=no') as SocketUplinkSpec;
    const policy = new HostPolicy(spec, () => own);
    expect(policy.changed()).toBe(false);
    own = ['192.0.2.2', '::1'];
    expect(policy.changed()).toBe(true);
    expect(policy.denied).toEqual([
      { address: 0xc0000202 | 0, prefix: 32 },
      { address: [0, 0, 0, 1], prefix: 128 },
    ]);
    expect(policy.changed()).toBe(false);
  });

  it("gives a network the host's loopback when it asks for it", async () => {
    const network = await deck.createNetwork({ name: 'lab', hostLoopback: true });
    expect(network.hostLoopback).toBe(true);
    expect(deck.network('bridge').hostLoopback).toBe(false);
    expect(Array.from(plane.networks.values(), ({ hostLoopback = false }) => hostLoopback)).toEqual([
      false,
      true,
    ]);
    await expect(deck.createNetwork({ name: 'in', internal: true, hostLoopback: true })).rejects.toThrow(
      "network in is internal and cannot have the host's loopback",
    );
    const elsewhere = await fakeDeck(new FakeDataPlane());
    await expect(elsewhere.createNetwork({ name: 'lab', hostLoopback: true })).rejects.toThrow(
      "network lab cannot have the host's loopback, to which only uplink socket leads",
    );
    await elsewhere.close();
  });

  it('gives no prefix an address of its own outside', async () => {
    await expect(deck.createNetwork({ name: 'lab', ipv6: true, npt: '2001:db8:1::/64' })).rejects.toThrow(
      'uplink socket has the addresses of the host',
    );
  });
});
