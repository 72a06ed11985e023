import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  arpReply,
  fragments,
  icmpEcho,
  ip,
  type Station,
  tagged,
  tcp,
  udp,
} from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { set16 } from '../../wire/bytes.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import {
  VNET_F_NEEDS_CSUM,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import {
  C1,
  C2,
  D1,
  expectNoLeak,
  FEW,
  GA,
  GA_LOCAL,
  GB,
  gatewayBed,
  learned,
  only,
  patched,
  read,
  send,
  VIA_GA,
  verdictName,
} from '../switch/gateway-bed.ts';

const L3 = 14;
const L4 = 34;
const FAMILIES = [4, 6] as const;
const known = { known: true };

/** A frame of c1's, unfinished as a container's kernel hands it over: a GSO type, and all of the checksum but the payload's. */
function sendGso(deck: MemoryDeck, frame: Uint8Array, type: number, size: number): string {
  const { dataplane, ports } = deck.virtual;
  const isIpv4 = frame[12] === 8;
  const l4 = isIpv4 ? L4 : 54;
  const protocol = isIpv4 ? frame[23] : frame[20];
  const slot = dataplane.arena.allocate(frame.length)!;
  slot.bytes.set(frame, slot.at);
  let sum = protocol + frame.length - l4;
  for (let at = isIpv4 ? 26 : 22; at < l4; at += 2) sum += (frame[at] << 8) | frame[at + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const offset = protocol === 6 ? 16 : 6;
  set16(slot.bytes, slot.at + l4 + offset, sum);
  const headers = l4 + (protocol === 6 ? 20 : 8);
  writeVnet(slot.bytes, slot.at - VNET_LEN, VNET_F_NEEDS_CSUM, type, headers, size, l4, offset);
  dataplane.receive(ports.get('c1')!.id, slot, deck.now);
  return verdictName(dataplane.lastVerdict);
}

/** The datagrams that the frames carry, fragments put together; by identification. */
function payloads(frames: Uint8Array[]): Uint8Array[] {
  const wholes = new Map<number, Uint8Array>();
  for (const frame of frames) {
    const header = (frame[L3] & 15) * 4;
    const identification = (frame[18] << 8) | frame[19];
    const at = (((frame[20] << 8) | frame[21]) & 0x1fff) << 3;
    const data = frame.slice(L3 + header);
    const before = wholes.get(identification) ?? new Uint8Array(0);
    const whole = new Uint8Array(Math.max(before.length, at + data.length));
    whole.set(before);
    whole.set(data, at);
    wholes.set(identification, whole);
  }
  return [...wholes.values()];
}

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 60_000;

describe('router', () => {
  test.each(FAMILIES)('IP-2: IPv%i: a packet goes from network to network, one hop older', (family) => {
    const deck = gatewayBed(known);
    const frame = icmpEcho({ from: C1, to: D1, via: VIA_GA, family, ttl: 64, data: 100 });
    expect(send(deck, 'c1', frame)).toBe('FORWARD');
    const [out] = deck.take('d1');
    expect(read(out)).toMatchObject({ dst: D1.mac, src: GB.mac, ip: { ttl: 63 } });
    // Nothing else is changed.
    const expected = patched(frame, 0, ...out.slice(0, 12));
    if (family === 4) {
      expected[L3 + 8] = 63;
      fillIpv4Checksum(expected, L3);
    } else expected[L3 + 7] = 63;
    expect(out).toEqual(expected);
    expect(deck.tables().ledger).toMatchObject({ received: 1, originated: 0, copies: 0, sent: 1 });
    expectNoLeak(deck);
  });

  test(
    'IP-2: the header checksum is right for every header',
    () => {
      const deck = gatewayBed({ ...known, arena: FEW });
      const byte = fc.integer({ min: 0, max: 255 });
      fc.assert(
        fc.property(fc.integer({ min: 2, max: 255 }), byte, byte, byte, (ttl, tos, id, protocol) => {
          const frame = ip(
            { from: C1, to: D1, via: VIA_GA, ttl, identification: id * 257 },
            200 + (protocol % 50),
            8,
          );
          frame[L3 + 1] = tos;
          fillIpv4Checksum(frame, L3);
          expect(send(deck, 'c1', frame)).toBe('FORWARD');
          expect(only(deck, 'd1').ip!.ttl).toBe(ttl - 1);
        }),
        { numRuns: 1000 },
      );
    },
    PATIENCE,
  );

  test('IP-1: impossible headers are dropped', () => {
    const deck = gatewayBed(known);
    const good = udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9, data: 20 });
    const spoilt = (offset: number, ...bytes: number[]) => {
      const frame = patched(good, L3 + offset, ...bytes);
      fillIpv4Checksum(frame, L3);
      return frame;
    };
    expect(send(deck, 'c1', spoilt(0, 0x55)), 'version').toBe('IP_INHDR');
    expect(send(deck, 'c1', patched(good, L3, 0x44)), 'header length').toBe('IP_INHDR');
    expect(send(deck, 'c1', spoilt(2, 0, 19)), 'total length below the header').toBe('IP_INHDR');
    expect(send(deck, 'c1', spoilt(2, 0xff, 0)), 'total length behind the frame').toBe('IP_INHDR');
    expect(send(deck, 'c1', patched(good, L3 + 10, 1, 2)), 'header checksum').toBe('IP_CSUM');
    expect(
      send(deck, 'c1', patched(udp({ from: C1, to: D1, via: VIA_GA, family: 6, dstPort: 9 }), L3, 0x50)),
    ).toBe('IPV6_INHDR');
    expect(deck.takeAll()).toEqual({});
  });

  test.each(FAMILIES)(
    'IP-3: IPv%i: whose time is over is dropped, and the sender told by the gateway he used',
    (family) => {
      const deck = gatewayBed(known);
      for (const ttl of [0, 1]) {
        const frame = udp({ from: C1, to: D1, via: VIA_GA, family, dstPort: 33_434, ttl, data: 12 });
        expect(send(deck, 'c1', frame)).toBe('IP_TTL_EXCEEDED');
        expect(only(deck, 'c1')).toMatchObject({
          dst: C1.mac,
          src: GA.mac,
          ip: family === 4 ? { src: GA.ipv4, dst: C1.ipv4 } : { src: GA.ipv6, dst: C1.ipv6 },
          icmp: { type: family === 4 ? 11 : 3, code: 0, rest: 0 },
          payload: frame.slice(L3),
        });
      }
      expect(deck.take('d1')).toEqual([]);
    },
  );

  test('IP-3: but not about packets to a group', () => {
    const deck = gatewayBed(known);
    expect(
      send(deck, 'c1', udp({ from: C1, to: { mac: GA.mac, ipv4: '224.1.1.1' }, ttl: 1, dstPort: 9 })),
    ).toBe('IP_GROUP');
    expect(
      send(deck, 'c1', udp({ from: C1, to: { mac: GA.mac, ipv6: 'ff05::1' }, ttl: 1, dstPort: 9 })),
    ).toBe('IP_GROUP');
    expect(deck.takeAll()).toEqual({});
  });

  test.each(['192.0.2.1', '2001:db8::1'])('IP-7: %s has no route', (address) => {
    const deck = gatewayBed(known);
    const to: Station = address.includes(':')
      ? { mac: GA.mac, ipv6: address }
      : { mac: GA.mac, ipv4: address };
    expect(send(deck, 'c1', udp({ from: C1, to, dstPort: 9 }))).toBe('IP_INNOROUTES');
    expect(only(deck, 'c1').icmp).toMatchObject(
      address.includes(':') ? { type: 1, code: 0 } : { type: 3, code: 0 },
    );
  });

  test.each([
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '10.0.255.255',
    GA.ipv4,
    // Others' addresses: of another network, of its gateway, and of nobody here.
    D1.ipv4,
    GB.ipv4,
    '192.0.2.1',
    '::',
    '::1',
    '::ffff:10.0.0.2',
    '::10.0.0.2',
    'ff02::1',
    GA.ipv6,
    D1.ipv6,
    GB.ipv6,
    '2001:db8::1',
  ])('IP-8: %s is no source in network a', (address) => {
    const deck = gatewayBed(known);
    const from = address.includes(':') ? { mac: C1.mac, ipv6: address } : { mac: C1.mac, ipv4: address };
    expect(send(deck, 'c1', udp({ from, to: D1, via: VIA_GA, dstPort: 9 }))).toBe('IP_MARTIAN_SOURCE');
    expect(deck.takeAll()).toEqual({});
  });

  test('IP-8: a link-local source does not leave its link, and learns so (RFC 4443 §3.1)', () => {
    const deck = gatewayBed(known);
    const from = { ...C1, ipv6: 'fe80::2' };
    expect(send(deck, 'c1', udp({ from, to: D1, via: VIA_GA, family: 6, dstPort: 9 }))).toBe(
      'IP_MARTIAN_SOURCE',
    );
    expect(only(deck, 'c1')).toMatchObject({
      ip: { src: GA_LOCAL, dst: 'fe80::2' },
      icmp: { type: 1, code: 2 },
    });
  });

  test.each([
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '169.254.169.254',
    '240.0.0.1',
    '255.255.255.255',
    // All of a network, from inside and from outside of it.
    '10.0.255.255',
    '10.1.0.255',
    '::',
    '::1',
    '::ffff:10.1.0.2',
    'fe80::77',
  ])('IP-8: %s is no destination for a router', (address) => {
    const deck = gatewayBed(known);
    const to: Station = address.includes(':')
      ? { mac: GA.mac, ipv6: address }
      : { mac: GA.mac, ipv4: address };
    expect(send(deck, 'c1', udp({ from: C1, to, dstPort: 9 }))).toBe('IP_MARTIAN_DESTINATION');
    expect(deck.takeAll()).toEqual({});
  });

  test('IP-8: source routes are not taken', () => {
    const deck = gatewayBed(known);
    const frame = udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9 });
    for (const option of [131, 137]) {
      const routed = new Uint8Array([
        ...frame.slice(0, L4),
        option,
        7,
        4,
        10,
        0,
        0,
        3,
        0,
        ...frame.slice(L4),
      ]);
      routed[L3] = 0x47;
      set16(routed, L3 + 2, routed.length - L3);
      fillIpv4Checksum(routed, L3);
      expect(send(deck, 'c1', routed)).toBe('IP_SOURCE_ROUTED');
    }
    const frame6 = udp({ from: C1, to: D1, via: VIA_GA, family: 6, dstPort: 9 });
    const header = (type: number, left: number) => {
      const routed = new Uint8Array([
        ...frame6.slice(0, 54),
        17,
        2,
        type,
        left,
        ...new Array(20).fill(0),
        ...frame6.slice(54),
      ]);
      routed[20] = 43;
      set16(routed, 18, routed.length - 54);
      return routed;
    };
    expect(send(deck, 'c1', header(0, 1))).toBe('IP_SOURCE_ROUTED');
    expect(deck.takeAll()).toEqual({});
    expect(send(deck, 'c1', header(0, 0)), 'nothing left to route').toBe('FORWARD');
    expect(send(deck, 'c1', header(4, 1)), 'another type').toBe('FORWARD');
  });

  test('IP-9: "land" through the router ends there', () => {
    const deck = gatewayBed(known);
    expect(send(deck, 'c1', tcp({ from: { ...D1, mac: C1.mac }, to: D1, via: VIA_GA, dstPort: 80 }))).toBe(
      'IP_MARTIAN_SOURCE',
    );
    expect(deck.takeAll()).toEqual({});
  });

  test.each(FAMILIES)(
    'IP-12: IPv%i: what is too long for the next link is dropped, with the MTU told',
    (family) => {
      const deck = gatewayBed(known);
      const fits = udp({
        from: C1,
        to: D1,
        via: VIA_GA,
        family,
        dontFragment: true,
        dstPort: 9,
        data: family === 4 ? 1372 : 1352,
      });
      expect(fits).toHaveLength(1414);
      expect(send(deck, 'c1', fits)).toBe('FORWARD');
      const frame = udp({
        from: C1,
        to: D1,
        via: VIA_GA,
        family,
        dontFragment: true,
        dstPort: 9,
        data: family === 4 ? 1373 : 1353,
      });
      for (let i = 0; i < 20; i++) {
        expect(send(deck, 'c1', frame)).toBe('PKT_TOO_BIG');
        expect(only(deck, 'c1').icmp, 'however often it is asked').toEqual(
          family === 4 ? { type: 3, code: 4, rest: 1400 } : { type: 2, code: 0, rest: 1400 },
        );
      }
      expectNoLeak(deck);
    },
  );

  test.each([
    [4, VNET_GSO_TCPV4, 40, 'FORWARD'],
    [4, VNET_GSO_TCPV4, 39, 'PKT_TOO_BIG'],
    [6, VNET_GSO_TCPV6, 60, 'FORWARD'],
    [6, VNET_GSO_TCPV6, 59, 'PKT_TOO_BIG'],
  ] as const)(
    'IP-12: IPv%i: of a GSO frame the segments count: %i, %i bytes of headers',
    (family, type, headers, expected) => {
      const deck = gatewayBed({ ...known, mtuA: 65_520 });
      const frame = tcp({
        from: C1,
        to: D1,
        via: VIA_GA,
        family,
        dontFragment: true,
        flags: 'A',
        dstPort: 9,
        data: 30_000,
      });
      const size = 1400 - headers;
      expect(sendGso(deck, frame, type, size)).toBe(expected);
      if (expected === 'FORWARD') {
        const segments = deck.take('d1').map(read);
        expect(segments).toHaveLength(Math.ceil(30_000 / size));
        for (const segment of segments)
          expect(segment).toMatchObject({ dst: D1.mac, src: GB.mac, ip: { ttl: 63 } });
      } else expect(only(deck, 'c1').icmp!.rest).toBe(1400);
      expectNoLeak(deck);
    },
  );

  test('IP-12: without DF an IPv4 packet is fragmented, the first piece where it lies', () => {
    const deck = gatewayBed({ ...known, mtuA: 9000 });
    const frame = udp({ from: C1, to: D1, via: VIA_GA, identification: 5, dstPort: 9, data: 5000 });
    expect(send(deck, 'c1', frame)).toBe('FORWARD');
    const pieces = deck.take('d1');
    expect(pieces).toHaveLength(4);
    for (const piece of pieces) {
      expect(read(piece)).toMatchObject({ dst: D1.mac, src: GB.mac, ip: { ttl: 63 } });
      expect(read(piece).total).toBeLessThanOrEqual(1400);
    }
    expect(pieces.map((piece) => read(piece).ip!.fragmentOffset)).toEqual([0, 1376, 2752, 4128]);
    expect(payloads(pieces)).toEqual([frame.slice(L4)]);
    expect(deck.tables().ledger).toMatchObject({ received: 1, copies: 3, originated: 0, sent: 4 });
    expectNoLeak(deck);
  });

  test(
    'IP-12: fragments of fragments fit together again',
    () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 6000 }), fc.integer({ min: 68, max: 1500 }), (data, mtuB) => {
          const deck = gatewayBed({ ...known, mtuB, arena: { small: 256, big: 16 } });
          const frame = udp({ from: C1, to: D1, via: VIA_GA, identification: 9, dstPort: 9, data });
          for (const part of fragments(frame, 1500)) send(deck, 'c1', part);
          const pieces = deck.take('d1');
          for (const piece of pieces) expect(read(piece).total).toBeLessThanOrEqual(mtuB);
          expect(payloads(pieces)).toEqual([frame.slice(L4)]);
          expectNoLeak(deck);
        }),
        { numRuns: 100 },
      );
    },
    PATIENCE,
  );

  test('IP-12: GSO without DF: each datagram is cut for itself', () => {
    const deck = gatewayBed({ ...known, mtuA: 65_520 });
    const frame = udp({ from: C1, to: D1, via: VIA_GA, identification: 100, dstPort: 9, data: 5000 });
    expect(sendGso(deck, frame, VNET_GSO_UDP_L4, 2000)).toBe('CONSUME');
    const pieces = deck.take('d1');
    for (const piece of pieces) expect(read(piece).total).toBeLessThanOrEqual(1400);
    const datagrams = payloads(pieces);
    expect(datagrams.map((datagram) => datagram.length)).toEqual([2008, 2008, 1008]);
    expect(new Uint8Array(datagrams.flatMap((datagram) => [...datagram.slice(8)]))).toEqual(
      frame.slice(L4 + 8),
    );
    expect(deck.tables().ledger).toMatchObject({ received: 1, consumed: 1, copies: 5, sent: 5 });
    expectNoLeak(deck);
  });

  test('a partial checksum stays partial until a device needs it', () => {
    const deck = gatewayBed(known);
    expect(sendGso(deck, udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9, data: 99 }), 0, 0)).toBe('FORWARD');
    expect(only(deck, 'd1').ip).toMatchObject({ protocol: 17, ttl: 63 });
    expectNoLeak(deck);
  });

  test('a priority tag is taken off, a VLAN is not routed', () => {
    const deck = gatewayBed(known);
    const frame = icmpEcho({ from: C1, to: D1, via: VIA_GA });
    expect(send(deck, 'c1', tagged(frame, 0, 3))).toBe('FORWARD');
    expect(only(deck, 'd1')).toMatchObject({ dst: D1.mac, ip: { ttl: 63 } });
    expect(send(deck, 'c1', tagged(frame, 7))).toBe('VLAN_NOT_OURS');
    expect(send(deck, 'c1', tagged(tagged(frame, 7), 0))).toBe('VLAN_NOT_OURS');
  });

  test.each([
    [false, 'FORWARD'],
    [true, 'PORT_ISOLATED'],
  ])('a packet back into its own network: isolated %s', (isolated, expected) => {
    const deck = gatewayBed({ ...known, isolated });
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2, via: VIA_GA }))).toBe(expected);
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2, via: VIA_GA, family: 6 }))).toBe(expected);
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: D1, via: VIA_GA })), 'another network').toBe('FORWARD');
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: GA })), 'the gateway').toBe('FORWARD');
  });

  test('pieces that wait for their next hop are bounded, and come back to nobody', () => {
    const deck = gatewayBed({ mtuA: 65_000 });
    const frame = udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9, data: 60_000 });
    expect(send(deck, 'c1', frame)).toBe('HOLD');
    expect(deck.tables().ledger).toMatchObject({ held: 32 });
    deck.send('d1', arpReply({ from: D1, to: GB }));
    expect(deck.take('d1').filter((bytes) => bytes[12] === 8 && bytes[13] === 0)).toHaveLength(32);
    expectNoLeak(deck);
  });

  test('a network that goes takes its neighbors and what waits for them along', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.send('c1', fragments(icmpEcho({ from: C1, to: GA, data: 3000 }), 1500)[0]);
    deck.detach('d1');
    deck.detach('c1');
    deck.detach('c2');
    const { dataplane } = deck.virtual;
    dataplane.removeNetwork(1, 0);
    expect(deck.drops()).toMatchObject({ NETWORK_GONE: 1 });
    dataplane.removeNetwork(0, 0);
    expect(learned(deck)).toEqual([]);
    expect(dataplane.arena.free).toBe(dataplane.arena.frames.length);
    expect(dataplane.ledger.imbalance()).toBe(0);
  });

  test('the sender of a waiting packet whose own network is gone is not told', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.detach('c1');
    deck.detach('c2');
    deck.virtual.dataplane.removeNetwork(0, 0);
    deck.advance(5000);
    expect(deck.drops()).toMatchObject({ NEIGH_FAILED: 1 });
    expect(deck.virtual.dataplane.ledger.imbalance()).toBe(0);
  });

  test('an address that becomes known sends what waits for it', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: { ...D1, ipv4: '10.1.0.77' }, via: VIA_GA }));
    deck.attach('d9', { network: 'b', station: { mac: '02:42:0a:01:00:4d', ipv4: '10.1.0.77' } });
    expect(only(deck, 'd9')).toMatchObject({ dst: '02:42:0a:01:00:4d', ip: { ttl: 63 } });
    expectNoLeak(deck);
  });
});
