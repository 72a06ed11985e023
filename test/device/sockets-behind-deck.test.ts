import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { imbalance } from '../../src/replay/tables.ts';
import { fragments, icmpEcho, ip as ipFrame, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';
import { socketLimit } from '../../src/uplink/descriptors.ts';
import { SocketUplink, type SocketUplinkOptions } from '../../src/uplink/socket-uplink.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { DECK, DEVICE, FAR, OutsideWorld, ROUTER, SEGMENT } from './outside-world.ts';

// A container, the deck, its uplink of sockets, a router, and a host outside: what the container hears of it all.

const BOX: Station = { mac: '02:42:0a:00:00:09', ipv4: '10.0.0.9', ipv6: 'fd00::9' };

let world: OutsideWorld;
let deck: MemoryDeck;
let uplink: SocketUplink;

beforeAll(() => {
  world = new OutsideWorld();
  world.sysctl(world.host, 'net.ipv4.ping_group_range=0 2147483647');
});
afterAll(() => world.remove());
beforeEach(() => {
  deck = deckOf({ box: BOX });
});
afterEach(() => uplink.close());

/** A deck of these containers with an uplink of sockets, which is `uplink` then. */
function deckOf(boxes: Record<string, Station>, options: Partial<SocketUplinkOptions> = {}): MemoryDeck {
  const made = memoryDeck({
    uplinks: {
      out: {
        ipv4: `${DECK.ipv4}/29`,
        ipv6: `${DECK.ipv6}/64`,
        mac: DECK.mac,
        gateway4: DEVICE.ipv4,
        gateway6: DEVICE.ipv6,
        isHost: true,
      },
    },
    networks: { lan: { ipv4: '10.0.0.1/24', ipv6: 'fd00::1/64', uplink: 'out' } },
    ports: Object.fromEntries(Object.entries(boxes).map(([name, station]) => [name, { station }])),
  });
  const { device } = SEGMENT;
  made.virtual.attach('out', {
    ...device,
    network: 'out',
    wrap: (_, arena) => {
      uplink = new SocketUplink({ arena, segment: SEGMENT, key: [1, 2], ...options });
      return uplink;
    },
  });
  return made;
}

function only(family: 4 | 6, { mac, ipv4, ipv6 }: Station): Station {
  return family === 4 ? { mac, ipv4: ipv4! } : { mac, ipv6: ipv6! };
}

function send(frame: Uint8Array): void {
  world.in(world.host, () => deck.send('box', frame));
}

/** What the box hears next, waited for: the kernel may ask a second time, after a second. Its checksums are right. */
function hear(): Packet {
  const { dataplane, ports } = deck.virtual;
  for (const end = performance.now() + 30_000; performance.now() < end; ) {
    dataplane.poll(ports.get('out')!.id, 1, deck.now);
    const [bytes] = deck.take('box');
    if (bytes === undefined) continue;
    const packet = new Packet(new Uint8Array(bytes.length + 12));
    packet.bytes.set(bytes, 12);
    packet.at = 12;
    packet.length = bytes.length;
    expect(parse(packet)).toBe(0);
    expect(transportChecksumOk(packet)).toBe(true);
    return packet;
  }
  throw new Error(`nothing came: ${JSON.stringify(deck.drops())}`);
}

function ip(packet: Packet, at: number, family: 4 | 6): string {
  const word = (i: number) => get32(packet.bytes, at + 4 * i);
  return family === 4 ? formatIpv4(word(0)) : formatIpv6(word(0), word(1), word(2), word(3));
}

/** `10.1.0.1 > 10.0.0.9 11/0 about 10.0.0.9:5000 > 10.2.0.2:33434` */
function error(packet: Packet, family: 4 | 6): string {
  const { bytes, l3, l4 } = packet;
  const [src, dst, length] = family === 4 ? [12, 16, 20] : [8, 24, 40];
  const inner = l4 + 8;
  return (
    `${ip(packet, l3 + src, family)} > ${ip(packet, l3 + dst, family)} ${bytes[l4]}/${bytes[l4 + 1]} about ` +
    `${ip(packet, inner + src, family)}:${get16(bytes, inner + length)} > ` +
    `${ip(packet, inner + dst, family)}:${get16(bytes, inner + length + 2)}`
  );
}

describe.each([4, 6] as const)('a container over IPv%d', (family) => {
  const box = family === 4 ? BOX.ipv4! : BOX.ipv6!;
  const far = family === 4 ? FAR.ipv4 : FAR.ipv6;
  const router = family === 4 ? ROUTER.ipv4 : ROUTER.ipv6;
  const host = family === 4 ? '10.1.0.2' : 'fd01::2';
  const from = only(family, BOX);
  const to = only(family, FAR);
  const probe = (ttl: number, more: { dstPort?: number; data?: number } = {}) =>
    udp({ from, to, via: deck.gateway(), srcPort: 5000, dstPort: 33434, ttl, dontFragment: true, ...more });

  it('finds its way with UDP: each hop says who it is, about what the container sent', () => {
    const [exceeded, closed] = family === 4 ? ['11/0', '3/3'] : ['3/0', '1/4'];
    const about = `${box}:5000 > ${far}:33434`;
    const gateway = family === 4 ? '10.0.0.1' : 'fd00::1';
    send(probe(1));
    expect(error(hear(), family)).toBe(`${gateway} > ${box} ${exceeded} about ${about}`);
    send(probe(2));
    expect(error(hear(), family)).toBe(`${router} > ${box} ${exceeded} about ${about}`);
    send(probe(3));
    expect(error(hear(), family)).toBe(`${far} > ${box} ${closed} about ${about}`);
    expect(deck.drops()).toEqual({ IP_TTL_EXCEEDED: 1 });
  });

  it('is told by the one who knows why a connection comes to nothing', () => {
    const nowhere =
      family === 4 ? { mac: FAR.mac, ipv4: '203.0.113.9' } : { mac: FAR.mac, ipv6: '2001:db8::9' };
    send(
      tcp({ from, to: nowhere, via: deck.gateway(), srcPort: 5000, dstPort: 80, sequence: 77, flags: 'S' }),
    );
    const packet = hear();
    // The router has told the host, which does not say who it was.
    const device = family === 4 ? DEVICE.ipv4 : DEVICE.ipv6;
    const inside = family === 4 ? nowhere.ipv4 : nowhere.ipv6;
    expect(error(packet, family)).toBe(
      `${device} > ${box} ${family === 4 ? '3/0' : '1/0'} about ${box}:5000 > ${inside}:80`,
    );
    expect(get32(packet.bytes, packet.l4 + 8 + (family === 4 ? 20 : 40) + 4)).toBe(77);
    expect(uplink.tcp.connections.size).toBe(0);
  });

  it('has its fragments put together, in whatever order and how often they come, and no others', () => {
    const question = udp({ from, to, via: deck.gateway(), srcPort: 5000, dstPort: 7999, data: 3000 });
    const pieces = fragments(question, 1280);
    expect(pieces.length).toBe(3);
    const orders = [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
    ];
    for (const order of orders) {
      for (const i of order) send(pieces[i]!);
      // Whole, they have come to far, where nobody listens.
      expect(error(hear(), family)).toContain(`about ${box}:5000 > ${far}:7999`);
    }
    // A piece that comes twice does no harm; one that says something else in the same place costs the whole datagram.
    for (const i of [0, 0, 1, 2]) send(pieces[i]!);
    expect(error(hear(), family)).toContain(`about ${box}:5000 > ${far}:7999`);
    const other = fragments(
      udp({ from, to, via: deck.gateway(), srcPort: 5000, dstPort: 7999, data: 'x'.repeat(3000) }),
      1272,
    );
    for (const piece of [pieces[0]!, other[1]!, pieces[1]!, pieces[2]!]) send(piece);
    expect(deck.drops().FRAG_OVERLAP).toBeGreaterThan(0);
    expect(imbalance(deck.tables().ledger)).toBe(0);
  });

  it('pings, and finds its way so', () => {
    const echo = (ttl: number) =>
      icmpEcho({ from, to, via: deck.gateway(), identifier: 4321, sequence: 7, data: 'hello', ttl });
    send(echo(64));
    const { bytes, l3, l4, end } = hear();
    expect(bytes[l4]).toBe(family === 4 ? 0 : 129);
    expect([get16(bytes, l4 + 4), get16(bytes, l4 + 6)]).toEqual([4321, 7]);
    expect(Buffer.from(bytes.subarray(l4 + 8, end)).toString()).toBe('hello');
    expect(l3).toBe(26);
    send(echo(2));
    const answer = hear();
    const inner = answer.l4 + 8 + (family === 4 ? 20 : 40);
    expect(answer.bytes[answer.l4]).toBe(family === 4 ? 11 : 3);
    expect([get16(answer.bytes, inner + 4), get16(answer.bytes, inner + 6)]).toEqual([4321, 7]);
  });

  it('hears how long a datagram may be', () => {
    world.forgetPaths();
    // From the router first, then from the host, which has learned it.
    for (let i = 0; i < 2; i++) {
      send(probe(64, { dstPort: 7000, data: 1450 }));
      const packet = hear();
      const { bytes, l4 } = packet;
      expect(error(packet, family)).toMatch(family === 4 ? / 3\/4 about / : / 2\/0 about /);
      expect(get32(bytes, l4 + 4)).toBe(1400);
    }
  });

  it('has a reason for each packet that no socket sends, and the account balances', () => {
    const at = (address: string) =>
      family === 4 ? { mac: DEVICE.mac, ipv4: address } : { mac: DEVICE.mac, ipv6: address };
    const via = deck.gateway();
    send(tcp({ from, to, via, srcPort: 5000, dstPort: 80, flags: 'A', sequence: 1, acknowledgment: 1 }));
    send(tcp({ from, to: at(family === 4 ? '10.1.0.99' : 'fd01::99'), via, dstPort: 80, flags: 'S' }));
    send(ipFrame({ from, to, via }, 132, new Uint8Array(20)));
    send(udp({ from, to, via, srcPort: 5001, dstPort: 7000, data: 3 }));
    expect(deck.drops()).toEqual({ NO_SOCKET: 1, UNHANDLED_PROTO: 1 });
    expect(imbalance(deck.tables().ledger)).toBe(0);
  });

  it('sends nothing in the name of a group', () => {
    const group = family === 4 ? { mac: BOX.mac, ipv4: '224.0.0.5' } : { mac: BOX.mac, ipv6: 'ff0e::5' };
    send(udp({ from: group, to, via: deck.gateway(), srcPort: 5000, dstPort: 7000, data: 3 }));
    expect(deck.drops()).toEqual({ IP_SPOOF: 1 });
    expect(uplink.udp.size).toBe(0);
  });

  it('is told when nothing listens on the host itself', () => {
    const there = family === 4 ? { mac: DEVICE.mac, ipv4: host } : { mac: DEVICE.mac, ipv6: host };
    send(udp({ from, to: there, via: deck.gateway(), srcPort: 5000, dstPort: 7999, data: 3 }));
    expect(error(hear(), family)).toBe(
      `${host} > ${box} ${family === 4 ? '3/3' : '1/4'} about ${box}:5000 > ${host}:7999`,
    );
  });
});

describe('of the sockets that there are', () => {
  const OTHER: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };

  it.each([
    ['UDP', udp],
    ['TCP', (options: Parameters<typeof udp>[0]) => tcp({ ...options, flags: 'S' })],
  ] as const)('one container that wants all of them by %s leaves some to another', (_, packet) => {
    const drops = (name: string, station: Station, count: number) => {
      const before = deck.drops().SOCKET_EXHAUSTED ?? 0;
      const { mac, ipv4 } = station;
      for (let i = 0; i < count; i++) {
        const frame = packet({
          from: { mac, ipv4: ipv4! },
          to: only(4, FAR),
          via: deck.gateway(),
          srcPort: 20_000 + 2 * i,
          dstPort: 7999,
        });
        world.in(world.host, () => deck.send(name, frame));
      }
      return (deck.drops().SOCKET_EXHAUSTED ?? 0) - before;
    };
    uplink.close();
    deck = deckOf({ box: BOX, other: OTHER }, { sockets: 32 });
    expect(drops('box', BOX, 64)).toBeGreaterThan(0);
    expect(drops('other', OTHER, 2)).toBe(0);
    // Nor is there too little where the host sets no limit (RLIM_INFINITY).
    uplink.close();
    deck = deckOf({ box: BOX }, { sockets: socketLimit(Number.MAX_SAFE_INTEGER) });
    expect(drops('box', BOX, 64)).toBe(0);
  });
});

describe.each([4, 6] as const)('a container that goes over IPv%d', (family) => {
  const from = only(family, BOX);
  const to = only(family, FAR);
  const sockets = () => [uplink.udp.size, uplink.ping.size];

  it('takes its sockets with it, of connections that nobody has ended', () => {
    deck.virtual.dataplane.onSevered = (tuples, at) => uplink.sever(tuples, at);
    const via = deck.gateway();
    for (const srcPort of [5000, 5001, 5002]) {
      send(udp({ from, to, via, srcPort, dstPort: 7999 }));
      send(udp({ from, to, via, srcPort, dstPort: 7998 }));
      send(icmpEcho({ from, to, via, identifier: srcPort }));
    }
    expect(sockets()).toEqual([3, 3]);
    deck.detach('box');
    expect(sockets()).toEqual([0, 0]);
  });

  it('keeps the socket of a port as long as there is a connection by it', () => {
    const { dataplane } = deck.virtual;
    dataplane.onSevered = (tuples, at) => uplink.sever(tuples, at);
    const via = deck.gateway();
    for (const dstPort of [7998, 7999]) send(udp({ from, to, via, srcPort: 5000, dstPort }));
    dataplane.closeFlows({ dstPort: 7998 }, deck.now);
    expect(sockets()).toEqual([1, 0]);
    dataplane.closeFlows({ dstPort: 7999 }, deck.now);
    expect(sockets()).toEqual([0, 0]);
  });
});
