import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  arpRequest,
  ethernet,
  fragments,
  icmp,
  icmpEcho,
  ip,
  neighborAdvertisement,
  neighborSolicitation,
  type Station,
  tagged,
  tcp,
  udp,
} from '../../src/testing/index.ts';
import type { DropReason } from '../../switch/drop-reason.ts';
import { formatMac } from '../../wire/address.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import { Random } from '../../wire/random.ts';
import { type Host, Lab } from './lab.ts';

// Frames as no kernel makes them, sent from a namespace by a packet socket: each is counted under its own reason, and
// nobody else notices.

const EXPERIMENT = 0x88b5;
const MAC_ALL_NODES = '33:33:00:00:00:01';

type Reason = keyof typeof DropReason;

function patched(frame: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = frame.slice();
  copy.set(bytes, at);
  return copy;
}

/** As `patched`, with the IPv4 header's checksum right again. */
function rewritten(frame: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = patched(frame, at, ...bytes);
  fillIpv4Checksum(copy, ETH_LEN);
  return copy;
}

/** Frames that `a` sends, by the reason for which they are discarded: one count for each frame. */
function badFrames(a: Host, b: Host): Partial<Record<Reason, Uint8Array[]>> {
  const gateway = a.gateway;
  const raw = (type: number, data: number, to: string = gateway.mac, from = a.mac) =>
    ethernet({ from, to, type, data });
  const v4 = udp({ from: a, to: gateway, dstPort: 9, data: 100 });
  const v6 = udp({ from: a, to: gateway, family: 6, dstPort: 9, data: 100 });
  // What stands behind a broken chain of extension headers, nobody can know.
  const toB = udp({ from: a, to: b, family: 6, dstPort: 9, data: 100 });
  const zeros = (count: number) => new Array<number>(count).fill(0);
  const advertisement = (target: Station) =>
    icmp({ from: { mac: a.mac, ipv6: 'fe80::1' }, to: target, family: 6, ttl: 255, type: 134, data: 8 });
  const arp = arpRequest({ from: a, ask: gateway.ipv4, to: gateway.mac });
  const solicitation = neighborSolicitation({ from: a, ask: gateway.ipv6, to: gateway });
  const to = (address: string) => ({ mac: gateway.mac, [address.includes(':') ? 'ipv6' : 'ipv4']: address });
  const from = (address: string) => ({ mac: a.mac, [address.includes(':') ? 'ipv6' : 'ipv4']: address });
  const ping = (source: Station, target: Station) => icmpEcho({ from: source, to: target });
  return {
    // A kernel sends no frame that is shorter than its Ethernet header.
    HDR_TRUNC: [
      ...[0, 1, 2, 3].map((length) => raw(0x8100, length, b.mac)),
      ...[0, 1, 19].map((length) => v4.subarray(0, ETH_LEN + length)),
      ...[0, 1, 39].map((length) => v6.subarray(0, ETH_LEN + length)),
      ...[0, 1, 27].map((length) => arp.subarray(0, ETH_LEN + length)),
      ip({ from: a, to: gateway }, 6, 19),
      ip({ from: a, to: gateway, family: 6 }, 17, 7),
      ip({ from: a, to: gateway }, 1, 3),
    ],
    IP_INHDR: [
      patched(v4, 14, 0x65),
      patched(v4, 14, 0x44),
      rewritten(v4, 16, 0xff, 0xff),
      rewritten(v4, 16, 0, 19),
      v4.subarray(0, v4.length - 1),
    ],
    IP_CSUM: [patched(v4, 24, 0xde, 0xad)],
    IPV6_INHDR: [
      patched(v6, 14, 0x45),
      patched(v6, 18, 0xff, 0xff),
      v6.subarray(0, v6.length - 1),
      patched(toB, 20, 0),
    ],
    // More fragments to come, after data that is no multiple of 8.
    FRAG_INVALID: [rewritten(udp({ from: a, to: gateway, dstPort: 9, data: 13 }), 20, 0x20, 0)],
    L4_INHDR: [
      patched(v4, 38, 0, 7),
      patched(v4, 38, 0, 200),
      patched(tcp({ from: a, to: gateway, dstPort: 9 }), 46, 0x40),
      patched(tcp({ from: a, to: gateway, family: 6, dstPort: 9 }), 66, 0xf0),
    ],
    ARP_INHDR: [
      patched(arp, 14, 0, 6),
      patched(arp, 16, 0x86, 0xdd),
      patched(arp, 18, 7),
      patched(arp, 19, 16),
    ],
    MAC_RESERVED: Array.from({ length: 16 }, (_, i) =>
      raw(EXPERIMENT, 46, `01:80:c2:00:00:0${i.toString(16)}`),
    ),
    MAC_SOURCE_INVALID: [
      '01:00:5e:00:00:01',
      'ff:ff:ff:ff:ff:ff',
      '00:00:00:00:00:00',
      '33:33:00:00:00:01',
    ].map((source) => raw(EXPERIMENT, 46, b.mac, source)),
    MAC_OWN: [raw(EXPERIMENT, 46, b.mac, gateway.mac), raw(EXPERIMENT, 46, 'ff:ff:ff:ff:ff:ff', gateway.mac)],
    MAC_FOREIGN: [raw(EXPERIMENT, 46, gateway.mac, b.mac), raw(EXPERIMENT, 46, 'ff:ff:ff:ff:ff:ff', b.mac)],
    FDB_SAME_PORT: [raw(EXPERIMENT, 46, a.mac)],
    // Of b's port: its Ethernet header and a tag come on top of the MTU.
    PKT_TOO_BIG: [
      raw(EXPERIMENT, b.mtu + 1, b.mac),
      raw(EXPERIMENT, 60_000, b.mac),
      tagged(raw(EXPERIMENT, b.mtu + 1, b.mac), 5),
    ],
    VLAN_NOT_OURS: [tagged(ping(a, gateway), 5), tagged(arp, 4094), tagged(tagged(ping(a, gateway), 5), 6)],
    ARP_NOT_FOR_US: [arpRequest({ from: a, ask: b.ipv4, to: gateway.mac })],
    ARP_SPOOF: [
      patched(arp, 22, ...[2, 0, 0, 0, 0, 9]),
      ...[gateway.mac, b.mac, 'ff:ff:ff:ff:ff:ff'].map((mac) =>
        arpRequest({ from: { mac: a.mac, ipv4: gateway.ipv4 }, ask: b.ipv4, to: mac }),
      ),
      arpRequest({ from: { mac: a.mac, ipv4: '192.0.2.7' }, ask: gateway.ipv4, to: gateway.mac }),
      arpRequest({ from: { mac: a.mac, ipv4: b.ipv4 }, ask: gateway.ipv4, to: gateway.mac }),
    ],
    ND_INVALID: [patched(solicitation, 21, 64), patched(solicitation, solicitation.length - 7, 0)],
    ND_SPOOF: [
      neighborAdvertisement({ from: { mac: a.mac, ipv6: b.ipv6 }, to: gateway }),
      neighborAdvertisement({ from: { mac: a.mac, ipv6: gateway.ipv6 }, to: b }),
    ],
    ND_NOT_FOR_US: [neighborSolicitation({ from: a, ask: b.ipv6, to: gateway })],
    // To the gateway, to all and to another host; and behind an extension header.
    RA_GUARD: [
      advertisement({ mac: MAC_ALL_NODES, ipv6: 'ff02::1' }),
      advertisement(gateway),
      advertisement(b),
      icmp({ from: a, to: b, family: 6, ttl: 255, type: 137, data: 32 }),
      ip(
        { from: a, to: b, family: 6, ttl: 255 },
        60,
        Uint8Array.of(58, 0, 1, 4, 0, 0, 0, 0, 134, ...zeros(15)),
      ),
    ],
    IP_MARTIAN_SOURCE: [
      ...['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', gateway.ipv4].map((source) =>
        ping(from(source), gateway),
      ),
      // Answers would go to another network, or nowhere.
      ...['192.0.2.7', '2001:db8::7'].map((source) =>
        ping(from(source), to(source.includes(':') ? b.ipv6 : b.ipv4)),
      ),
      ...['::1', 'ff02::1', gateway.ipv6].map((source) => ping(from(source), gateway)),
    ],
    IP_MARTIAN_DESTINATION: ['127.0.0.1', '0.0.0.1', '169.254.169.254', 'fe80::77'].map((target) =>
      ping(a, to(target)),
    ),
    IP_SOURCE_ROUTED: [
      // Routing header of type 0 with one segment left.
      ip({ from: a, to: to(b.ipv6) }, 43, Uint8Array.of(59, 2, 0, 1, ...zeros(20))),
    ],
    IP_INNOROUTES: [ping(a, to('203.0.113.9')), ping(a, to('2001:db8::9'))],
    IP_TTL_EXCEEDED: [
      icmpEcho({ from: a, to: b, via: gateway, ttl: 1 }),
      icmpEcho({ from: a, to: b, via: gateway, family: 6, ttl: 0 }),
    ],
    IP_GROUP: [ping(a, to('224.0.0.251'))],
    UNHANDLED_PROTO: [raw(EXPERIMENT, 46), raw(46, 46), ip({ from: a, to: gateway }, 132, 40)],
    NO_SOCKET: [
      v4,
      v6,
      tcp({ from: a, to: gateway, dstPort: 9 }),
      tcp({ from: a, to: gateway, family: 6, dstPort: 9 }),
    ],
    ICMP_CSUM: [patched(ping(a, gateway), 36, 0xba, 0xd0)],
    ICMP_UNHANDLED: [icmp({ from: a, to: gateway, type: 13, data: 12 })],
    L4_CSUM: [
      patched(v4, 40, 0xba, 0xd0),
      patched(tcp({ from: a, to: gateway, dstPort: 9 }), 50, 0xba, 0xd0),
    ],
    // It overlaps with `firstFragment`, which is kept for the rest of its datagram.
    FRAG_OVERLAP: [fragments(longPing(a), 1000)[1]!],
  };
}

function longPing(a: Host): Uint8Array {
  return icmpEcho({ from: a, to: a.gateway, identification: 7, data: 4000 });
}

function firstFragment(a: Host): Uint8Array {
  return fragments(longPing(a), 1500)[0]!;
}

describe('frames from a namespace', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = new Lab();
    await lab.open();
  });
  afterEach(() => lab.stopPrograms());
  afterAll(() => lab.close());

  it('are discarded under the right reason, and go to nobody', async () => {
    const a = await lab.attach('a', '--allow-spoof');
    const b = await lab.attach('b', '--mtu', '1500');
    const rows = badFrames(a, b);
    const bad = Object.values(rows).flat();
    const capture = await b.capture();
    const before = await lab.drops();
    await a.send([firstFragment(a), ...bad]);
    // Behind them, so that they have been handled when it is answered.
    expect(await a.ok('ping', '-c', '1', a.gateway.ipv4)).toContain('1 received');
    const after = await lab.drops();
    const counted = Object.keys(rows).map((reason) => [reason, after[reason]! - before[reason]!]);
    expect(Object.fromEntries(counted)).toEqual(
      Object.fromEntries(Object.entries(rows).map(([reason, frames]) => [reason, frames.length])),
    );
    expect(await b.ok('ping', '-c', '1', a.ipv6)).toContain('1 received');
    const hex = (frame: Uint8Array) => Buffer.from(frame).toString('hex');
    const sent = new Set(bad.map(hex));
    const arrived = (await capture.stop()).map(hex);
    expect(arrived.length).toBeGreaterThan(0);
    expect(arrived.filter((frame) => sent.has(frame))).toEqual([]);
    expect((await lab.counters()).ledger.balanced).toBe(true);
    expect(after.EXCEPTION).toBe(0);
    expect(lab.daemon.err).not.toContain('"level":50');
  });

  it('of any content and to anybody cost nothing but themselves', async () => {
    const [x, y] = [await lab.attach('x'), await lab.attach('y')];
    const random = new Random(11);
    const receivers = [x.gateway.mac, x.gateway.mac, y.mac, 'ff:ff:ff:ff:ff:ff', MAC_ALL_NODES, x.mac];
    const types = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, EXPERIMENT, 46];
    const frames = Array.from({ length: 1500 }, () => {
      const frame = ethernet({
        from: random.chance(0.9) ? x.mac : formatMac(random.below(0x1_0000), random.next()),
        to: receivers[random.below(receivers.length)]!,
        type: types[random.below(types.length)]!,
        data: Uint8Array.from({ length: random.below(200) }, () => random.below(256)),
      });
      // Half of them get further than the first byte of an IP header.
      if (random.chance(0.5)) frame[14] = frame[12] === 0x86 ? 0x60 : 0x45;
      return frame;
    });
    // With room for all, and for the pings behind them.
    x.longQueue();
    await x.send(frames);
    for (const address of [y.ipv4, y.ipv6, x.gateway.ipv4, x.gateway.ipv6])
      expect(await x.ok('ping', '-c', '1', address)).toContain('1 received');
    expect((await lab.counters()).ledger.balanced).toBe(true);
    expect((await lab.drops()).EXCEPTION).toBe(0);
  });
});
