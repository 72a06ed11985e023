import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fragments, icmp, icmpEcho, ip, type Station, tagged, tcp, udp } from '../../src/testing/frames.ts';
import { Bridge } from '../../switch/bridge.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Icmp } from '../../switch/icmp.ts';
import { Icmpv6 } from '../../switch/icmpv6.ts';
import { Network } from '../../switch/network.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox } from '../../switch/outbox.ts';
import { RateLimit } from '../../switch/rate-limit.ts';
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { set16 } from '../../wire/bytes.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import { parse } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { VNET_F_NEEDS_CSUM, VNET_LEN, writeVnet } from '../../wire/virtio-net.ts';
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
  only,
  packetOf,
  patched,
  read,
  send,
  VIA_GA,
  verdictName,
} from './gateway-bed.ts';

const L3 = 14;
const L4 = 34;
const FAMILIES = [4, 6] as const;
const ALL_NODES = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };

function summedIpv4(frame: Uint8Array): Uint8Array {
  fillIpv4Checksum(frame, L3);
  return frame;
}

/** The frame with all its checksums made right again. */
function summed(frame: Uint8Array): Uint8Array {
  if (frame[12] === 8) fillIpv4Checksum(frame, L3);
  const packet = packetOf(frame);
  parse(packet);
  fillTransportChecksum(packet);
  return packet.bytes.slice(packet.at);
}

/** The frame with IPv4 options between header and payload. */
function withOptions(frame: Uint8Array, ...options: number[]): Uint8Array {
  const copy = new Uint8Array([...frame.slice(0, L4), ...options, ...frame.slice(L4)]);
  copy[L3] = 0x45 + options.length / 4;
  set16(copy, L3 + 2, copy.length - L3);
  return summedIpv4(copy);
}

/** The frame with an IPv6 extension header of `type` and content (without next header and length). */
function withExtension(frame: Uint8Array, type: number, ...content: number[]): Uint8Array {
  const length = content.length + 2;
  const copy = new Uint8Array([
    ...frame.slice(0, 54),
    frame[20],
    length / 8 - 1,
    ...content,
    ...frame.slice(54),
  ]);
  copy[20] = type;
  set16(copy, 18, copy.length - 54);
  return copy;
}

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 60_000;

describe('echo', () => {
  test.each(FAMILIES)('IPv%i: a request is answered in kind', (family) => {
    const deck = gatewayBed();
    const request = icmpEcho({
      from: C1,
      to: GA,
      family,
      identifier: 0x1234,
      sequence: 0x5678,
      ttl: 7,
      data: 99,
    });
    expect(send(deck, 'c1', request)).toBe('FORWARD');
    const [answer] = deck.take('c1');
    expect(answer).toHaveLength(request.length);
    expect(read(answer)).toMatchObject({
      dst: C1.mac,
      src: GA.mac,
      ip: family === 4 ? { src: GA.ipv4, dst: C1.ipv4, ttl: 64 } : { src: GA.ipv6, dst: C1.ipv6, ttl: 64 },
      icmp: { type: family === 4 ? 0 : 129, code: 0, rest: 0x12345678 },
      payload: request.slice(family === 4 ? 42 : 62),
    });
    expectNoLeak(deck);
  });

  test('the link-local address and the gateway of another network answer, too', () => {
    const deck = gatewayBed();
    send(
      deck,
      'c1',
      icmpEcho({ from: { ...C1, ipv6: 'fe80::2' }, to: { ...GA, ipv6: GA_LOCAL }, family: 6 }),
    );
    expect(only(deck, 'c1').ip).toMatchObject({ src: GA_LOCAL, dst: 'fe80::2' });
    send(deck, 'c1', icmpEcho({ from: C1, to: GB, via: VIA_GA }));
    expect(only(deck, 'c1')).toMatchObject({ src: GA.mac, ip: { src: GB.ipv4, dst: C1.ipv4 } });
    send(deck, 'c1', icmpEcho({ from: C1, to: GB, via: VIA_GA, family: 6 }));
    expect(only(deck, 'c1')).toMatchObject({ src: GA.mac, ip: { src: GB.ipv6, dst: C1.ipv6 } });
  });

  test.each(FAMILIES)('IPv%i: 64 KiB are answered in their own slot, without another', (family) => {
    const deck = gatewayBed({ mtuA: 65_520, arena: { small: 0, big: 1 } });
    const request = icmpEcho({ from: C1, to: GA, family, data: 65_440 });
    expect(send(deck, 'c1', request)).toBe('FORWARD');
    const [answer] = deck.take('c1');
    expect(read(answer).payload).toEqual(request.slice(family === 4 ? 42 : 62));
    expectNoLeak(deck);
  });

  test.each(FAMILIES)('IPv%i: a partial checksum is finished first', (family) => {
    const deck = gatewayBed();
    const { dataplane, ports } = deck.virtual;
    const request = icmpEcho({ from: C1, to: GA, family, data: 57 });
    const l4 = family === 4 ? L4 : 54;
    const frame = dataplane.arena.allocate(request.length)!;
    frame.bytes.set(request, frame.at);
    // IPv4: ICMP has no pseudo-header, so its partial sum is 0. IPv6: the pseudo-header's.
    let partial = 0;
    if (family === 6) {
      for (let at = 22; at < 54; at += 2) partial += (request[at] << 8) | request[at + 1];
      partial += 58 + request.length - l4;
      while (partial > 0xffff) partial = (partial & 0xffff) + (partial >>> 16);
    }
    set16(frame.bytes, frame.at + l4 + 2, partial);
    writeVnet(frame.bytes, frame.at - VNET_LEN, VNET_F_NEEDS_CSUM, 0, 0, 0, l4, 2);
    dataplane.receive(ports.get('c1')!.id, frame, 0);
    expect(verdictName(dataplane.lastVerdict)).toBe('FORWARD');
    expect(only(deck, 'c1').payload).toEqual(request.slice(l4 + 8));
    expectNoLeak(deck);
  });

  test.each(FAMILIES)('IPv%i: a wrong checksum is dropped', (family) => {
    const deck = gatewayBed();
    const request = icmpEcho({ from: C1, to: GA, family, data: 9 });
    expect(send(deck, 'c1', patched(request, request.length - 1, 0xee))).toBe('ICMP_CSUM');
    expect(deck.take('c1')).toEqual([]);
  });

  test('an answer, an error and a timestamp request are nothing to the gateway', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: GA, reply: true }))).toBe('ICMP_UNHANDLED');
    // Connection tracking looks at what an error quotes before anybody else does.
    expect(send(deck, 'c1', icmp({ from: C1, to: GA, type: 3, code: 3, data: 28 }))).toBe(
      'ICMP_ERROR_MALFORMED',
    );
    expect(send(deck, 'c1', icmp({ from: C1, to: GA, type: 13, data: 12 }))).toBe('ICMP_UNHANDLED');
    expect(send(deck, 'c1', icmp({ from: C1, to: GA, family: 6, type: 1, data: 48 }))).toBe(
      'ICMP_ERROR_MALFORMED',
    );
    expect(deck.take('c1')).toEqual([]);
  });

  test('Ethernet padding is not sent back', () => {
    const deck = gatewayBed();
    const request = icmpEcho({ from: C1, to: GA, data: 2 });
    send(deck, 'c1', new Uint8Array([...request, ...new Array(60 - request.length).fill(0xee)]));
    expect(deck.take('c1')[0]).toHaveLength(request.length);
  });

  test("a priority tag is understood, a VLAN is not the gateway's", () => {
    const deck = gatewayBed();
    const request = icmpEcho({ from: C1, to: GA });
    expect(send(deck, 'c1', tagged(request, 0, 5))).toBe('FORWARD');
    expect(deck.take('c1')[0]).toHaveLength(request.length);
    expect(send(deck, 'c1', tagged(request, 5))).toBe('VLAN_NOT_OURS');
    expect(deck.take('c1')).toEqual([]);
  });

  test('IPv4 to all is not answered, IPv6 to all nodes is (RFC 4443 §4.2)', () => {
    const deck = gatewayBed();
    const all: Station = { mac: 'ff:ff:ff:ff:ff:ff', ipv4: '10.0.255.255' };
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: all }))).toBe('FLOOD');
    expect(deck.take('c1')).toEqual([]);
    deck.takeAll();
    const request = icmpEcho({ from: C1, to: ALL_NODES, family: 6, data: 1000 });
    expect(send(deck, 'c1', request)).toBe('FLOOD');
    expect(only(deck, 'c1')).toMatchObject({
      dst: C1.mac,
      src: GA.mac,
      ip: { src: GA.ipv6, dst: C1.ipv6, ttl: 64 },
      icmp: { type: 129 },
      payload: request.slice(62),
    });
    expect(deck.take('c2'), 'the others get the request as it was').toEqual([request]);
    send(deck, 'c1', icmpEcho({ from: { ...C1, ipv6: 'fe80::2' }, to: ALL_NODES, family: 6 }));
    expect(only(deck, 'c1').ip).toMatchObject({ src: GA_LOCAL });
    expectNoLeak(deck);
  });

  test('an answer is as long as its request, and no byte of other frames leaves', () => {
    fc.assert(
      fc.property(fc.constantFrom(...FAMILIES), fc.integer({ min: 0, max: 1400 }), (family, data) => {
        const deck = gatewayBed({ arena: FEW });
        const request = icmpEcho({ from: C1, to: GA, family, data });
        send(deck, 'c1', request);
        const [answer] = deck.take('c1');
        expect(answer).toHaveLength(request.length);
        expect(read(answer).payload).toEqual(request.slice(request.length - data));
      }),
      { numRuns: 50 },
    );
  });
});

describe('errors', () => {
  const closed = (from: Station, family: 4 | 6, extra = {}) =>
    udp({ from, to: GA, family, dstPort: 9, data: 20, ...extra });

  test('IP-4: no error is sent about what must not have one', () => {
    const cases: [string, Uint8Array][] = [
      ['an ICMP error', icmp({ from: C1, to: { ...D1, mac: GA.mac }, ttl: 1, type: 3, code: 1, data: 28 })],
      ['a redirect', icmp({ from: C1, to: { ...D1, mac: GA.mac }, ttl: 1, type: 5, data: 28 })],
      ['an unknown type', icmp({ from: C1, to: { ...D1, mac: GA.mac }, ttl: 1, type: 77 })],
      [
        'an ICMPv6 error',
        icmp({ from: C1, to: { ...D1, mac: GA.mac }, family: 6, ttl: 1, type: 1, data: 48 }),
      ],
      [
        'an unknown ICMPv6 error',
        icmp({ from: C1, to: { ...D1, mac: GA.mac }, family: 6, ttl: 1, type: 100 }),
      ],
      ['an ICMPv6 redirect', icmp({ from: C1, to: { ...D1, mac: GA.mac }, family: 6, ttl: 1, type: 137 })],
      [
        'a further fragment',
        fragments(udp({ from: C1, to: D1, via: VIA_GA, ttl: 1, dstPort: 9, data: 3000 }), 1500)[1],
      ],
      [
        'a further IPv6 fragment',
        fragments(udp({ from: C1, to: D1, via: VIA_GA, family: 6, ttl: 1, dstPort: 9, data: 3000 }), 1500)[1],
      ],
      ['a broadcast frame', closed(C1, 4, { via: { mac: 'ff:ff:ff:ff:ff:ff' } })],
      ['a multicast frame', closed(C1, 4, { via: { mac: '01:00:5e:00:00:01' } })],
      ['a packet to a group', udp({ from: C1, to: { mac: GA.mac, ipv4: '224.0.0.9' }, ttl: 1, dstPort: 9 })],
      [
        'a packet to an IPv6 group',
        udp({ from: C1, to: { mac: GA.mac, ipv6: 'ff05::9' }, ttl: 1, dstPort: 9 }),
      ],
      [
        'a packet to all of the network',
        udp({ from: C1, to: { mac: GA.mac, ipv4: '10.0.255.255' }, ttl: 1, dstPort: 9 }),
      ],
      [
        'a packet to all of another network',
        udp({ from: C1, to: { mac: GA.mac, ipv4: '10.1.0.255' }, ttl: 1, dstPort: 9 }),
      ],
      [
        'a packet to 255.255.255.255',
        udp({ from: C1, to: { mac: GA.mac, ipv4: '255.255.255.255' }, dstPort: 9 }),
      ],
      ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255', '10.0.255.255', GA.ipv4].map(
        (ipv4): [string, Uint8Array] => [`a packet from ${ipv4}`, closed({ ...C1, ipv4 }, 4)],
      ),
      ...['::', '::1', 'ff02::1', '::ffff:10.0.0.2', GA.ipv6, GA_LOCAL].map((ipv6): [string, Uint8Array] => [
        `a packet from ${ipv6}`,
        closed({ ...C1, ipv6 }, 6),
      ]),
    ];
    const deck = gatewayBed();
    for (const [about, frame] of cases) {
      send(deck, 'c1', frame);
      expect(deck.take('c1'), about).toEqual([]);
    }
    expectNoLeak(deck);
  });

  test.each([4, 6] as const)(
    'IPv%i: what a gateway refuses, it refuses by the address that was asked',
    (family) => {
      const key = family === 4 ? 'ipv4' : 'ipv6';
      const deck = gatewayBed();
      const addresses = [GA[key], GB[key], ...(family === 6 ? [GA_LOCAL] : [])];
      for (const address of addresses) {
        const to = { mac: GA.mac, [key]: address };
        send(deck, 'c1', udp({ from: C1, to, family, dstPort: 9, data: 20 }));
        expect(only(deck, 'c1').ip).toMatchObject({ src: address, dst: C1[key] });
        send(deck, 'c1', ip({ from: C1, to, family }, 132, 20));
        expect(only(deck, 'c1').ip).toMatchObject({ src: address, dst: C1[key] });
        // The first of two fragments, and no second.
        send(deck, 'c1', fragments(udp({ from: C1, to, family, dstPort: 9, data: 3000 }), 1500)[0]);
        deck.advance(60_000);
        expect(only(deck, 'c1').ip).toMatchObject({ src: address, dst: C1[key] });
      }
      expectNoLeak(deck);
    },
  );

  test('IP-4: the rules hold by themselves, whoever asks for an error', () => {
    const deck = gatewayBed();
    const { dataplane } = deck.virtual;
    const originator = new Originator(dataplane.arena, new Outbox());
    const random = new Random(1);
    const limit = new RateLimit(random);
    const fragmenter = new Fragmenter(originator, random);
    const icmp4 = new Icmp(originator, fragmenter, limit);
    const icmp6 = new Icmpv6(originator, fragmenter, limit);
    const bridge = new Bridge(0, dataplane.ports, dataplane.fdb);
    const network = new Network(0, bridge, 0, {
      macHi: 0x0242,
      macLo: 0x0a000001,
      ipv4: { address: parseIpv4(GA.ipv4)!, prefix: 16 },
      ipv6: { address: parseIpv6(GA.ipv6)!, prefix: 64 },
      mtu: 1500,
    });
    /** Whether an error goes out about the frame: port unreachable, or packet too big. */
    const told = (bytes: Uint8Array, tooBig = false): boolean => {
      const frame = dataplane.arena.allocate(bytes.length)!;
      frame.bytes.set(bytes, frame.at);
      parse(frame);
      if (frame.etherType === 0x0800) icmp4.error(frame, network, 3, 3, 0, 0);
      else icmp6.error(frame, network, tooBig ? 2 : 1, tooBig ? 0 : 4, 1280, 0);
      dataplane.arena.release(frame);
      const error = originator.outbox.shift();
      if (error !== undefined) dataplane.arena.release(error);
      return error !== undefined;
    };
    for (const family of FAMILIES) {
      expect(told(closed(C1, family))).toBe(true);
      expect(told(closed(C1, family, { via: { mac: '01:00:5e:00:00:01' } })), 'a group of the link').toBe(
        false,
      );
      expect(told(closed(GA, family)), 'the gateway itself').toBe(false);
    }
    for (const ipv4 of ['10.0.255.255', '224.0.0.1', '255.255.255.255', '240.0.0.1']) {
      expect(told(udp({ from: C1, to: { ...GA, ipv4 }, dstPort: 9 })), ipv4).toBe(false);
    }
    for (const ipv4 of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '240.0.0.1', '10.0.255.255']) {
      expect(told(closed({ ...C1, ipv4 }, 4)), ipv4).toBe(false);
    }
    for (const ipv6 of ['::', '::1', 'ff02::1', '::ffff:10.0.0.2', GA_LOCAL]) {
      expect(told(closed({ ...C1, ipv6 }, 6)), ipv6).toBe(false);
    }
    const toGroup = udp({ from: C1, to: ALL_NODES, family: 6, dstPort: 9 });
    expect(told(toGroup)).toBe(false);
    expect(told(toGroup, true), 'RFC 4443 §2.4 e.3: but for path MTU discovery').toBe(true);
    expectNoLeak(deck);
  });

  test('IP-4: a datagram in fragments has one, and so has an echo request', () => {
    const deck = gatewayBed();
    const datagram = udp({ from: C1, to: D1, via: VIA_GA, ttl: 1, dstPort: 9, data: 3000 });
    for (const fragment of fragments(datagram, 1500)) expect(send(deck, 'c1', fragment)).toBe('CONSUME');
    expect(deck.drops()).toEqual({ IP_TTL_EXCEEDED: 1 });
    expect(only(deck, 'c1').icmp).toEqual({ type: 11, code: 0, rest: 0 });
    send(deck, 'c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, ttl: 1 }));
    expect(only(deck, 'c1').icmp).toEqual({ type: 11, code: 0, rest: 0 });
  });

  test.each([
    [4, 0],
    [4, 500],
    [4, 519],
    [4, 520],
    [4, 521],
    [4, 1400],
    [6, 0],
    [6, 1183],
    [6, 1184],
    [6, 1185],
    [6, 1400],
  ] as const)('IP-5: IPv%i with %i bytes: as much of the packet as the error may carry', (family, data) => {
    const deck = gatewayBed();
    const frame = udp({ from: C1, to: GA, family, dstPort: 9, data });
    expect(send(deck, 'c1', frame)).toBe('NO_SOCKET');
    const said = only(deck, 'c1');
    const room = family === 4 ? 576 - 28 : 1280 - 48;
    expect(said.payload).toEqual(frame.slice(L3, L3 + room));
    expect(said.total).toBe(Math.min(frame.length - L3, room) + (family === 4 ? 28 : 48));
    if (family === 4) expect(said.tos).toBe(0xc0);
  });

  test.each(FAMILIES)(
    'IP-6: IPv%i: 100,000 datagrams in a second bring at most 1,050 errors, whoever asks',
    (family) => {
      const deck = gatewayBed();
      let errors = 0;
      for (let i = 0; i < 100_000; i++) {
        const from = {
          ...C1,
          ipv4: `10.0.${(i >> 8) & 127}.${(i & 127) + 2}`,
          ipv6: `fd00::${(i & 0x7fff).toString(16)}:2`,
        };
        deck.send('c1', closed(from, family));
        if (i % 100 === 99) {
          deck.advance(1);
          errors += deck.take('c1').length;
        }
      }
      expect(errors).toBeLessThanOrEqual(1050);
      expect(errors).toBeGreaterThan(700);
    },
  );

  test.each(FAMILIES)(
    'IP-6: IPv%i: one receiver gets six at once and then one a second',
    (family) => {
      const deck = gatewayBed();
      const times: number[] = [];
      for (let i = 0; i < 500; i++) {
        deck.send('c1', closed(C1, family));
        times.push(...deck.takeTimed('c1').map(({ now }) => now));
        deck.advance(10);
      }
      expect(times).toEqual([0, 10, 20, 30, 40, 50, 1000, 2000, 3000, 4000]);
      deck.send('c2', closed(C2, family));
      expect(deck.take('c2'), 'which is nothing to others').toHaveLength(1);
    },
    PATIENCE,
  );

  test('IP-6: how many are left in the common bucket cannot be counted from outside', () => {
    // The figure after which errors stop differs from seed to seed (CVE-2020-25705).
    const figures = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => {
      const deck = gatewayBed({ seed });
      for (let i = 0; i < 200; i++) deck.send('c1', closed({ ...C1, ipv4: `10.0.7.${i + 2}` }, 4));
      return deck.take('c1').length;
    });
    for (const figure of figures) {
      expect(figure).toBeLessThanOrEqual(50);
      expect(figure).toBeGreaterThan(37);
    }
    expect(new Set(figures).size).toBeGreaterThan(3);
  });

  test('IP-7: a closed UDP port is 3/3, and 1/4', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', closed(C1, 4))).toBe('NO_SOCKET');
    expect(only(deck, 'c1')).toMatchObject({ ip: { src: GA.ipv4 }, icmp: { type: 3, code: 3, rest: 0 } });
    expect(send(deck, 'c1', closed(C1, 6))).toBe('NO_SOCKET');
    expect(only(deck, 'c1')).toMatchObject({ ip: { src: GA.ipv6 }, icmp: { type: 1, code: 4, rest: 0 } });
    send(
      deck,
      'c1',
      udp({ from: { ...C1, ipv6: 'fe80::2' }, to: { ...GA, ipv6: GA_LOCAL }, family: 6, dstPort: 9 }),
    );
    expect(only(deck, 'c1').ip).toMatchObject({ src: GA_LOCAL, dst: 'fe80::2' });
  });

  test('IP-7: an unknown protocol is 3/2, and 4/1 with the place that names it', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', ip({ from: C1, to: GA }, 200, 8))).toBe('UNHANDLED_PROTO');
    expect(only(deck, 'c1').icmp).toEqual({ type: 3, code: 2, rest: 0 });
    expect(send(deck, 'c1', ip({ from: C1, to: GA, family: 6 }, 200, 8))).toBe('UNHANDLED_PROTO');
    expect(only(deck, 'c1').icmp).toEqual({ type: 4, code: 1, rest: 6 });
    const behind = withExtension(ip({ from: C1, to: GA, family: 6 }, 200, 8), 60, 1, 4, 0, 0, 0, 0);
    send(deck, 'c1', behind);
    expect(only(deck, 'c1').icmp).toEqual({ type: 4, code: 1, rest: 40 });
    expect(send(deck, 'c1', ip({ from: C1, to: GA, family: 6 }, 59, 8)), 'no next header').toBe(
      'UNHANDLED_PROTO',
    );
    expect(deck.take('c1')).toEqual([]);
  });

  test.each([
    ['SYN', 'S', 0, { flags: 0x14, sequence: 0, acknowledgment: 1001 }],
    ['SYN with data', 'S', 10, { flags: 0x14, sequence: 0, acknowledgment: 1011 }],
    ['FIN', 'F', 0, { flags: 0x14, sequence: 0, acknowledgment: 1001 }],
    ['nothing', '', 5, { flags: 0x14, sequence: 0, acknowledgment: 1005 }],
    ['ACK', 'A', 5, { flags: 0x04, sequence: 0x7777, acknowledgment: 0 }],
    ['SYN, ACK', 'SA', 0, { flags: 0x04, sequence: 0x7777, acknowledgment: 0 }],
  ])('IP-7: a closed TCP port is reset: %s (RFC 9293 §3.10.7.1)', (_, flags, data, expected) => {
    for (const family of FAMILIES) {
      const deck = gatewayBed();
      const segment = tcp({
        from: C1,
        to: GA,
        family,
        srcPort: 5,
        dstPort: 6,
        flags,
        sequence: 1000,
        acknowledgment: 0x7777,
        data,
      });
      expect(send(deck, 'c1', segment)).toBe('NO_SOCKET');
      const [reset] = deck.take('c1');
      const l4 = family === 4 ? L4 : 54;
      expect(read(reset)).toMatchObject({ dst: C1.mac, src: GA.mac, ip: { protocol: 6, ttl: 64 } });
      const view = new DataView(reset.buffer, reset.byteOffset + l4);
      expect({
        flags: view.getUint8(13),
        sequence: view.getUint32(4),
        acknowledgment: view.getUint32(8),
      }).toEqual(expected);
      expect([view.getUint16(0), view.getUint16(2), reset.length - l4]).toEqual([6, 5, 20]);
    }
  });

  test('IP-7: a segment for a group is not answered, also when it comes by the unicast MAC (RFC 9293 §3.9.2.3)', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', tcp({ from: C1, to: ALL_NODES, via: VIA_GA, dstPort: 80 }))).toBe('NO_SOCKET');
    expect(deck.take('c1')).toEqual([]);
  });

  test('IP-7: a reset is not answered, a wrong checksum is not even a segment', () => {
    const deck = gatewayBed();
    const segment = tcp({ from: C1, to: GA, dstPort: 6, flags: 'S' });
    expect(send(deck, 'c1', tcp({ from: C1, to: GA, dstPort: 6, flags: 'R' }))).toBe('NO_SOCKET');
    expect(send(deck, 'c1', patched(segment, L4 + 16, 1, 2))).toBe('L4_CSUM');
    expect(deck.take('c1')).toEqual([]);
  });

  test('IP-7: no route is 3/0, and 1/0', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', udp({ from: C1, to: { ...GA, ipv4: '192.0.2.1' }, dstPort: 9 }))).toBe(
      'IP_INNOROUTES',
    );
    expect(only(deck, 'c1')).toMatchObject({ ip: { src: GA.ipv4 }, icmp: { type: 3, code: 0 } });
    expect(
      send(deck, 'c1', udp({ from: C1, to: { ...GA, ipv6: '2001:db8::1' }, family: 6, dstPort: 9 })),
    ).toBe('IP_INNOROUTES');
    expect(only(deck, 'c1')).toMatchObject({ ip: { src: GA.ipv6 }, icmp: { type: 1, code: 0 } });
  });

  test('IP-8: source-routed packets and impossible sources are dropped', () => {
    const deck = gatewayBed();
    const ping = icmpEcho({ from: C1, to: GA });
    expect(send(deck, 'c1', withOptions(ping, 131, 7, 4, 10, 0, 0, 3, 0))).toBe('IP_SOURCE_ROUTED');
    expect(send(deck, 'c1', withOptions(ping, 1, 137, 7, 4, 10, 0, 0, 3))).toBe('IP_SOURCE_ROUTED');
    expect(send(deck, 'c1', withOptions(ping, 7, 7, 4, 0, 0, 0, 0, 0)), 'record route is not').toBe(
      'FORWARD',
    );
    deck.take('c1');
    const ping6 = icmpEcho({ from: C1, to: GA, family: 6 });
    const routed = withExtension(ping6, 43, 0, 1, ...new Array(20).fill(0));
    expect(send(deck, 'c1', routed)).toBe('IP_SOURCE_ROUTED');
    expect(only(deck, 'c1').icmp, 'RFC 8200 §4.4').toEqual({ type: 4, code: 0, rest: 42 });
    expect(
      send(deck, 'c1', withExtension(ping6, 43, 0, 0, ...new Array(20).fill(0))),
      'no segment left',
    ).toBe('FORWARD');
    deck.take('c1');
    for (const ipv4 of [
      '0.0.0.0',
      '0.1.2.3',
      '127.0.0.1',
      '224.0.0.1',
      '255.255.255.255',
      '10.0.255.255',
      GA.ipv4,
    ]) {
      expect(send(deck, 'c1', icmpEcho({ from: { ...C1, ipv4 }, to: GA })), ipv4).toBe('IP_MARTIAN_SOURCE');
    }
    for (const ipv6 of ['::', '::1', '::ffff:10.0.0.2', 'ff02::1', GA.ipv6, GA_LOCAL]) {
      expect(send(deck, 'c1', icmpEcho({ from: { ...C1, ipv6 }, to: GA, family: 6 })), ipv6).toBe(
        'IP_MARTIAN_SOURCE',
      );
    }
    expect(deck.take('c1')).toEqual([]);
  });

  test('IP-8: options that must not be skipped are not (RFC 8200 §4.2)', () => {
    const deck = gatewayBed();
    const ping = icmpEcho({ from: C1, to: GA, family: 6 });
    const option = (type: number) => withExtension(ping, 60, type, 4, 0, 0, 0, 0);
    expect(send(deck, 'c1', option(0x1e)), 'skip').toBe('FORWARD');
    deck.take('c1');
    expect(send(deck, 'c1', option(0x5e)), 'discard').toBe('IPV6_INHDR');
    expect(deck.take('c1')).toEqual([]);
    expect(send(deck, 'c1', option(0x9e)), 'discard and tell').toBe('IPV6_INHDR');
    expect(only(deck, 'c1').icmp).toEqual({ type: 4, code: 2, rest: 42 });
  });

  test('IP-9: "land", a packet from its own destination, ends there', () => {
    const deck = gatewayBed();
    for (const family of FAMILIES) {
      expect(send(deck, 'c1', tcp({ from: { ...GA, mac: C1.mac }, to: GA, family, dstPort: 80 }))).toBe(
        'IP_MARTIAN_SOURCE',
      );
      expect(
        send(deck, 'c1', tcp({ from: { ...GB, mac: C1.mac }, to: GB, via: VIA_GA, family, dstPort: 80 })),
      ).toBe('IP_MARTIAN_SOURCE');
    }
    expect(deck.takeAll()).toEqual({});
  });

  test('IP-11: UDP without checksum is a datagram over IPv4 and none over IPv6', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', patched(closed(C1, 4), L4 + 6, 0, 0))).toBe('NO_SOCKET');
    expect(only(deck, 'c1').icmp).toMatchObject({ type: 3, code: 3 });
    expect(send(deck, 'c1', patched(closed(C1, 6), 54 + 6, 0, 0))).toBe('L4_CSUM');
    expect(send(deck, 'c1', patched(closed(C1, 4), L4 + 6, 1, 2))).toBe('L4_CSUM');
    expect(deck.take('c1')).toEqual([]);
  });

  test('want of memory costs the error, not the deck', () => {
    const deck = gatewayBed({ arena: { small: 1, big: 0 } });
    expect(send(deck, 'c1', closed(C1, 4))).toBe('NO_SOCKET');
    expect(deck.take('c1')).toEqual([]);
    expectNoLeak(deck);
  });

  test('the gateway of a network without IPv6 does not speak it', () => {
    const deck = gatewayBed();
    deck.virtual.addNetwork('plain', {
      macHi: 0x0242,
      macLo: 0x0a020001,
      ipv4: { address: 0x0a020001, prefix: 24 },
      ipv6: null,
      mtu: 1500,
    });
    deck.attach('p1', { network: 'plain' });
    const gateway = { mac: '02:42:0a:02:00:01', ipv4: '10.2.0.1', ipv6: 'fe80::42:aff:fe02:1' };
    const p1 = { mac: '02:42:0a:02:00:02', ipv4: '10.2.0.2', ipv6: 'fe80::2' };
    expect(send(deck, 'p1', icmpEcho({ from: p1, to: gateway }))).toBe('FORWARD');
    deck.take('p1');
    send(deck, 'p1', icmpEcho({ from: p1, to: gateway, family: 6 }));
    send(deck, 'p1', icmpEcho({ from: p1, to: ALL_NODES, family: 6 }));
    expect(deck.take('p1')).toEqual([]);
  });

  test(
    'every error and answer is right whatever the packet holds',
    () => {
      const from = fc.constantFrom<Station>(C1, C2);
      fc.assert(
        fc.property(
          from,
          fc.constantFrom(...FAMILIES),
          fc.uint8Array({ maxLength: 1400 }),
          fc.integer({ min: 0, max: 255 }),
          (station, family, data, protocol) => {
            const deck = gatewayBed({ arena: FEW });
            const frame = summed(ip({ from: station, to: GA, family }, protocol, data));
            send(deck, station === C1 ? 'c1' : 'c2', frame);
            for (const said of [...deck.take('c1'), ...deck.take('c2')].map(read)) {
              expect(said.total).toBeLessThanOrEqual(Math.max(frame.length - L3, family === 4 ? 576 : 1280));
            }
            expectNoLeak(deck);
          },
        ),
      );
    },
    PATIENCE,
  );
});
