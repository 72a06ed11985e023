import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  arpProbe,
  arpReply,
  arpRequest,
  BROADCAST,
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
} from '../../src/testing/frames.ts';
import { memoryDeck } from '../../src/testing/memory-deck.ts';
import { LINK_LOCALS } from '../../switch/port-guard.ts';
import { formatIpv6, parseIpv6 } from '../../wire/address.ts';
import { set32 } from '../../wire/bytes.ts';
import { fillIcmpv6Checksum } from '../../wire/icmpv6.ts';
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
  patched,
  send,
  VIA_GA,
} from './gateway-bed.ts';

/** c2, which says that it has the gateway's addresses. */
const LIAR = { mac: C2.mac, ipv4: GA.ipv4, ipv6: GA.ipv6 };
const LOCAL = { ...C2, ipv6: 'fe80::42:aff:fe00:3' };
const ALL_NODES = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };
const ICMPV6 = 58;

/** A router advertisement (134) or redirect (137). */
function router(type: number, to: { mac: string; ipv6: string }, from: Station = LOCAL): Uint8Array {
  return icmp({ from, to, family: 6, ttl: 255, type, rest: 0x40000708, data: new Uint8Array(32) });
}

/** An ND message behind an empty destination options header. */
function hidden(message: Uint8Array, headers = 1, from: Station = LIAR, protocol = ICMPV6): Uint8Array {
  const options = Array.from({ length: headers }, (_, i) => [
    i + 1 < headers ? 60 : protocol,
    0,
    1,
    4,
    0,
    0,
    0,
    0,
  ]);
  const data = Uint8Array.from([...options.flat(), ...message.slice(54)]);
  return ip({ from, to: from.mac === C1.mac ? C2 : C1, family: 6, ttl: 255 }, 60, data);
}

function hiddenFrom(from: Station, message: Uint8Array, protocol = ICMPV6): Uint8Array {
  return hidden(message, 1, from, protocol);
}

function withIcmpv6Checksum(frame: Uint8Array): Uint8Array {
  fillIcmpv6Checksum(frame, 14, 54, frame.length - 54);
  return frame;
}

function concat(head: readonly number[], tail: ArrayLike<number>): Uint8Array {
  return Uint8Array.from([...head, ...Array.from(tail)]);
}

describe('nobody but the gateway speaks for it', () => {
  test.each([
    ['an announcement to all', 'ARP_SPOOF', arpRequest({ from: LIAR, ask: GA.ipv4 })],
    ['a question in its name', 'ARP_SPOOF', arpRequest({ from: LIAR, ask: C1.ipv4 })],
    ['an answer to one', 'ARP_SPOOF', arpReply({ from: LIAR, to: C1 })],
    ['a priority-tagged answer', 'ARP_SPOOF', tagged(arpReply({ from: LIAR, to: C1 }), 0, 5)],
    ['an advertisement to all', 'ND_SPOOF', neighborAdvertisement({ from: LIAR, to: ALL_NODES })],
    ['an advertisement to one', 'ND_SPOOF', neighborAdvertisement({ from: LIAR, to: C1 })],
    [
      'an advertisement of its link-local address',
      'ND_SPOOF',
      neighborAdvertisement({ from: { ...LIAR, ipv6: GA_LOCAL }, to: C1 }),
    ],
    ['a solicitation in its name', 'ND_SPOOF', neighborSolicitation({ from: LIAR, ask: C1.ipv6 })],
    [
      'a solicitation in its name to one',
      'ND_SPOOF',
      neighborSolicitation({ from: LIAR, ask: C1.ipv6, to: C1 }),
    ],
    ['behind an extension header', 'ND_SPOOF', hidden(neighborAdvertisement({ from: LIAR, to: C1 }))],
    ['behind too many', 'IPV6_INHDR', hidden(neighborAdvertisement({ from: LIAR, to: C1 }), 20)],
    ['a priority-tagged advertisement', 'ND_SPOOF', tagged(neighborAdvertisement({ from: LIAR, to: C1 }), 0)],
    ['an answer behind LLC/SNAP', 'SNAP_ENCAPSULATED', encapsulated(arpReply({ from: LIAR, to: C1 }))],
    ['a router advertisement to all', 'RA_GUARD', router(134, ALL_NODES)],
    ['a router advertisement to one', 'RA_GUARD', router(134, C1)],
    ['a redirect to one', 'RA_GUARD', router(137, C1)],
  ])('%s is dropped', (_, reason, frame) => {
    const deck = gatewayBed();
    expect(send(deck, 'c2', frame)).toBe(reason);
    // With the victim's address learned, a frame to it is forwarded rather than flooded.
    deck.send('c1', icmpEcho({ from: C1, to: C2 }));
    expect(send(deck, 'c2', frame)).toBe(reason);
    expect(deck.take('c1')).toEqual([]);
    expect(deck.drops()).toEqual({ [reason]: 2 });
    expectNoLeak(deck);
  });

  test.each([
    ['a question for the gateway', arpRequest({ from: C2, ask: GA.ipv4 })],
    ['a probe for its address', arpProbe({ from: C2, ask: GA.ipv4 })],
    ['an answer', arpReply({ from: C2, to: C1 })],
    ['the address of another gateway', arpReply({ from: { ...C2, ipv4: GB.ipv4 }, to: C1 })],
    ['a solicitation', neighborSolicitation({ from: C2, ask: C1.ipv6 })],
    ['an advertisement', neighborAdvertisement({ from: C2, to: C1 })],
    ['a ping', icmpEcho({ from: C2, to: C1, family: 6 })],
    ['a datagram', udp({ from: LIAR, to: C1, family: 6, dstPort: 9 })],
    ['a VLAN of its own', tagged(arpReply({ from: LIAR, to: C1 }), 5)],
    ['in a VLAN of its own', tagged(neighborAdvertisement({ from: LIAR, to: C1 }), 5)],
    ['half an ARP packet', arpReply({ from: LIAR, to: C1 }).subarray(0, 41)],
    ['half an advertisement', neighborAdvertisement({ from: LIAR, to: C1 }).subarray(0, 60)],
    ['half an IPv6 header', neighborAdvertisement({ from: LIAR, to: C1 }).subarray(0, 40)],
    ['an extension header', hidden(icmpEcho({ from: C2, to: C1, family: 6 }))],
    ['another protocol', ip({ from: C2, to: C1, family: 6 }, 253, 20)],
  ])('%s reaches the others', (_, frame) => {
    const deck = gatewayBed();
    deck.send('c2', frame);
    expect(deck.take('c1')).toEqual([Uint8Array.from(frame)]);
    expectNoLeak(deck);
  });

  test('what it refuses to others it refuses also where there are none', () => {
    const deck = gatewayBed();
    expect(send(deck, 'd1', arpRequest({ from: { ...D1, ipv4: GB.ipv4 }, ask: GB.ipv4 }))).toBe('ARP_SPOOF');
    expect(send(deck, 'd1', neighborAdvertisement({ from: { ...D1, ipv6: GB.ipv6 }, to: ALL_NODES }))).toBe(
      'ND_SPOOF',
    );
    expectNoLeak(deck);
  });
});

/** An endpoint of network a and what it may say; c2 listens, and d1 in another network. */
const SECURE = { known: true, guard: true, arena: FEW } as const;
const NOBODY = { mac: '02:42:0a:00:00:63', ipv4: '10.0.0.99', ipv6: 'fd00::99' };
const OWN_LOCAL = 'fe80::42:aff:fe00:2';
const DHCP = { mac: BROADCAST, ipv4: '255.255.255.255' };

/** c1 in somebody else's words. */
function as(lie: Partial<Station>): Station {
  return { ...C1, ...lie };
}

/** A neighbor solicitation with which somebody looks whether an address is taken (RFC 4862 §5.4.2). */
function detection(mac: string, target: string): Uint8Array {
  const words = parseIpv6(target)!;
  const low = (words[3] & 0xffffff).toString(16).padStart(6, '0');
  const group = `ff02::1:ff${low.slice(0, 2)}:${low.slice(2)}`;
  const data = new Uint8Array(16);
  for (const [i, word] of words.entries()) set32(data, 4 * i, word);
  return icmp({
    from: { mac, ipv6: '::' },
    to: { mac: '33:33:ff:00:00:00', ipv6: group },
    family: 6,
    ttl: 255,
    type: 135,
    data,
  });
}

/** A multicast listener report of version 2. */
const report = (from: Station) =>
  icmp({ from, to: { mac: '33:33:00:00:00:16', ipv6: 'ff02::16' }, family: 6, ttl: 1, type: 143, data: 20 });

/** The frame behind `count` tags of a VLAN. */
function stacked(frame: Uint8Array, count: number, vlan: number): Uint8Array {
  return count === 0 ? frame : tagged(stacked(frame, count - 1, vlan), vlan);
}

/** The frame as IEEE 802.3 with an LLC/SNAP header of the organization in front of its EtherType (RFC 1042). */
function encapsulated(frame: Uint8Array, organization = [0, 0, 0], llc = [0xaa, 0xaa, 0x03]): Uint8Array {
  const length = 6 + frame.length - 12;
  return concat(
    [...frame.subarray(0, 12), length >> 8, length & 255, ...llc, ...organization],
    frame.subarray(12),
  );
}

describe('BR-13: from a secured port comes only what is its own', () => {
  test.each([
    ['a ping', icmpEcho({ from: C1, to: C2 })],
    ['a ping over IPv6', icmpEcho({ from: C1, to: C2, family: 6 })],
    ['TCP over IPv6', tcp({ from: C1, to: C2, family: 6, dstPort: 80 })],
    ['UDP', udp({ from: C1, to: C2, dstPort: 67, srcPort: 68 })],
    ['UDP over IPv6', udp({ from: C1, to: C2, family: 6, dstPort: 547, srcPort: 546 })],
    ['a question', arpRequest({ from: C1, ask: C2.ipv4 })],
    ['an announcement', arpRequest({ from: C1, ask: C1.ipv4 })],
    ['a probe', arpProbe({ from: C1, ask: C1.ipv4 })],
    ['an answer', arpReply({ from: C1, to: C2 })],
    ['a solicitation', neighborSolicitation({ from: C1, ask: C2.ipv6 })],
    [
      'one from its link-local address',
      neighborSolicitation({ from: as({ ipv6: OWN_LOCAL }), ask: C2.ipv6 }),
    ],
    ['an advertisement', neighborAdvertisement({ from: C1, to: C2 })],
    ['one of its link-local address', neighborAdvertisement({ from: as({ ipv6: OWN_LOCAL }), to: C2 })],
    ['the detection of its own address', detection(C1.mac, C1.ipv6)],
    ['a report of what it listens to', report(as({ ipv6: OWN_LOCAL }))],
    ['one from no address (RFC 3590)', report(as({ ipv6: '::' }))],
    ['a datagram behind an extension header', hiddenFrom(C1, icmpEcho({ from: C1, to: C2, family: 6 }))],
    ['what is no IP', ethernet({ from: C1.mac, to: C2.mac, type: 0x88b5, data: 'experiment' })],
    [
      'a protocol of LLC',
      ethernet({ from: C1.mac, to: C2.mac, type: 3, data: Uint8Array.of(0x42, 0x42, 3) }),
    ],
    ['one of a manufacturer', encapsulated(ethernet({ from: C1.mac, to: C2.mac, type: 0x2000 }), [0, 0, 12])],
    ['its own in a VLAN', tagged(icmpEcho({ from: C1, to: C2 }), 7)],
    ['a DHCP client', udp({ from: as({ ipv4: '0.0.0.0' }), to: DHCP, srcPort: 68, dstPort: 67, data: 300 })],
  ])('%s passes', (_, frame) => {
    const deck = gatewayBed(SECURE);
    deck.send('c1', frame);
    expect(deck.take('c2')).toEqual([Uint8Array.from(frame)]);
    expect(deck.drops()).toEqual({});
    expectNoLeak(deck);
  });

  const TRUNCATED = 'HDR_TRUNC';
  const lies: [string, string, Uint8Array][] = [
    ['MAC_SPOOF', 'a MAC of nobody', icmpEcho({ from: as({ mac: NOBODY.mac }), to: C2 })],
    ['MAC_FOREIGN', "a peer's MAC", icmpEcho({ from: as({ mac: C2.mac }), to: C2 })],
    ['MAC_OWN', "the gateway's MAC", icmpEcho({ from: as({ mac: GA.mac }), to: C2 })],
    ['MAC_SOURCE_INVALID', 'a group', icmpEcho({ from: as({ mac: '03:00:00:00:00:01' }), to: C2 })],
    ['IP_SPOOF', "a peer's address", udp({ from: as({ ipv4: C2.ipv4 }), to: C2, dstPort: 9 })],
    ['IP_SPOOF', "the gateway's", udp({ from: as({ ipv4: GA.ipv4 }), to: C2, dstPort: 9 })],
    ['IP_SPOOF', "nobody's", tcp({ from: as({ ipv4: NOBODY.ipv4 }), to: C2, dstPort: 9 })],
    ['IP_SPOOF', 'one of elsewhere', icmpEcho({ from: as({ ipv4: '192.0.2.1' }), to: C2 })],
    ['IP_SPOOF', 'none', icmpEcho({ from: as({ ipv4: '0.0.0.0' }), to: C2 })],
    ['IP_SPOOF', 'none, to a server, unasked', udp({ from: as({ ipv4: '0.0.0.0' }), to: C2, dstPort: 67 })],
    ['IP_SPOOF', "a peer's IPv6", udp({ from: as({ ipv6: C2.ipv6 }), to: C2, family: 6, dstPort: 9 })],
    ['IP_SPOOF', 'the same, TCP', tcp({ from: as({ ipv6: C2.ipv6 }), to: C2, family: 6, dstPort: 9 })],
    ['IP_SPOOF', 'IPv6 of elsewhere', icmpEcho({ from: as({ ipv6: '2001:db8::1' }), to: C2, family: 6 })],
    ['IP_SPOOF', 'no IPv6', icmpEcho({ from: as({ ipv6: '::' }), to: C2, family: 6 })],
    ['IP_SPOOF', "the gateway's link-local", icmpEcho({ from: as({ ipv6: GA_LOCAL }), to: C2, family: 6 })],
    [
      'IP_SPOOF',
      "a peer's link-local, that of its MAC",
      icmpEcho({ from: as({ ipv6: 'fe80::42:aff:fe00:3' }), to: C2, family: 6 }),
    ],
    [
      'IP_SPOOF',
      'a link-local prefix that is none',
      icmpEcho({ from: as({ ipv6: 'fe80:1::2' }), to: C2, family: 6 }),
    ],
    [
      'IP_SPOOF',
      'behind an extension header',
      hiddenFrom(as({ ipv6: C2.ipv6 }), icmpEcho({ from: C1, to: C2, family: 6 })),
    ],
    ['ARP_SPOOF', 'the gateway, gratuitous', arpRequest({ from: as({ ipv4: GA.ipv4 }), ask: GA.ipv4 })],
    ['ARP_SPOOF', 'the gateway, answered', arpReply({ from: as({ ipv4: GA.ipv4 }), to: C2 })],
    ['ARP_SPOOF', 'a peer', arpReply({ from: as({ ipv4: NOBODY.ipv4 }), to: C2 })],
    ['ARP_SPOOF', 'another MAC than the frame has', patched(arpReply({ from: C1, to: C2 }), 22, 2, 0x42, 9)],
    ['ARP_SPOOF', 'an answer from no address', arpReply({ from: as({ ipv4: '0.0.0.0' }), to: C2 })],
    [
      'ARP_INHDR',
      'ARP of another kind of hardware',
      patched(arpReply({ from: as({ ipv4: GA.ipv4 }), to: C2 }), 14, 0, 6),
    ],
    [TRUNCATED, 'half an ARP packet', arpReply({ from: as({ ipv4: GA.ipv4 }), to: C2 }).subarray(0, 41)],
    ['ND_SPOOF', 'the gateway, advertised', neighborAdvertisement({ from: as({ ipv6: GA.ipv6 }), to: C2 })],
    [
      'ND_SPOOF',
      'its link-local address',
      neighborAdvertisement({ from: as({ ipv6: GA_LOCAL }), to: ALL_NODES }),
    ],
    [
      'ND_SPOOF',
      'a peer, unasked',
      neighborAdvertisement({ from: as({ ipv6: NOBODY.ipv6 }), to: ALL_NODES }),
    ],
    [
      'ND_SPOOF',
      'the target alone',
      withIcmpv6Checksum(patched(neighborAdvertisement({ from: C1, to: C2 }), 62 + 15, 0x99)),
    ],
    [
      'ND_SPOOF',
      'another MAC in the option',
      withIcmpv6Checksum(patched(neighborAdvertisement({ from: C1, to: C2 }), 80, 2, 0x42, 9)),
    ],
    [
      'ND_SPOOF',
      'another MAC in a solicitation',
      withIcmpv6Checksum(patched(neighborSolicitation({ from: C1, ask: C2.ipv6 }), 80, 2, 0x42, 9)),
    ],
    [
      'ND_SPOOF',
      'a question of a peer',
      neighborSolicitation({ from: as({ ipv6: NOBODY.ipv6 }), ask: C2.ipv6 }),
    ],
    ['ND_SPOOF', "the detection of a peer's address", detection(C1.mac, C2.ipv6)],
    [
      'ND_INVALID',
      'a hop limit that has been elsewhere',
      patched(neighborAdvertisement({ from: C1, to: C2 }), 21, 64),
    ],
    ['ND_INVALID', 'an option without length', patched(neighborAdvertisement({ from: C1, to: C2 }), 79, 0)],
    ['RA_GUARD', 'a router', router(134, ALL_NODES, as({ ipv6: OWN_LOCAL }))],
    ['RA_GUARD', 'one that has no address either', router(134, ALL_NODES, as({ ipv6: GA_LOCAL }))],
    ['RA_GUARD', 'a redirect', router(137, C2, as({ ipv6: OWN_LOCAL }))],
    ['RA_GUARD', 'a router behind an extension header', hiddenFrom(C1, router(134, ALL_NODES, C1))],
    ['IPV6_INHDR', 'behind too many', hidden(router(134, ALL_NODES), 20, as({}))],
    ['DHCP_GUARD', 'a DHCP server', udp({ from: C1, to: DHCP, srcPort: 67, dstPort: 68, data: 300 })],
    ['DHCP_GUARD', 'one by another port', udp({ from: C1, to: C2, srcPort: 4011, dstPort: 68, data: 300 })],
    [
      'DHCP_GUARD',
      'its first fragment',
      fragments(udp({ from: C1, to: DHCP, dstPort: 68, data: 2000 }), 1500)[0]!,
    ],
    ['DHCP_GUARD', 'a DHCPv6 server', udp({ from: C1, to: C2, family: 6, srcPort: 547, dstPort: 546 })],
    [
      'DHCP_GUARD',
      'one behind an extension header',
      hiddenFrom(C1, udp({ from: C1, to: C2, family: 6, dstPort: 546 }), 17),
    ],
    [
      'SNAP_ENCAPSULATED',
      'a peer behind LLC/SNAP',
      encapsulated(arpReply({ from: as({ ipv4: NOBODY.ipv4 }), to: C2 })),
    ],
    ['SNAP_ENCAPSULATED', 'a router there', encapsulated(router(134, ALL_NODES, C1))],
    ['SNAP_ENCAPSULATED', 'of a bridge', encapsulated(router(134, ALL_NODES, C1), [0, 0, 0xf8])],
    [
      'SNAP_ENCAPSULATED',
      'as an answer',
      encapsulated(router(134, ALL_NODES, C1), [0, 0, 0], [0xab, 0xab, 0x13]),
    ],
    ['SNAP_ENCAPSULATED', 'in front of one', encapsulated(tagged(router(134, ALL_NODES, C1), 0))],
    [TRUNCATED, 'half an IPv4 header', icmpEcho({ from: as({ ipv4: C2.ipv4 }), to: C2 }).subarray(0, 33)],
    [
      TRUNCATED,
      'half an IPv6 header',
      icmpEcho({ from: as({ ipv6: C2.ipv6 }), to: C2, family: 6 }).subarray(0, 53),
    ],
  ];

  test.each(lies)('%s: %s', (reason, _, frame) => {
    const deck = gatewayBed(SECURE);
    expect(send(deck, 'c1', frame)).toBe(reason);
    expect([...deck.take('c2'), ...deck.take('d1')]).toEqual([]);
    expect(learned(deck)).toEqual([]);
    expect(deck.tables().fdb.filter((entry) => !entry.static)).toEqual([]);
    expectNoLeak(deck);
  });

  test.each(lies.filter(([reason]) => reason !== TRUNCATED))(
    '%s: %s, behind tags, and in any VLAN',
    (reason, _, frame) => {
      const deck = gatewayBed(SECURE);
      for (const vlan of [0, 5]) {
        for (const count of [1, 2]) expect(send(deck, 'c1', stacked(frame, count, vlan))).toBe(reason);
        const deep = send(deck, 'c1', stacked(frame, 3, vlan));
        expect(reason.startsWith('MAC') ? reason : 'VLAN_DEPTH').toBe(deep);
      }
      expect(deck.take('c2')).toEqual([]);
    },
  );

  test('fragments, all of them, have the own source', () => {
    const deck = gatewayBed(SECURE);
    for (const family of [4, 6] as const) {
      const lie = udp({ from: as({ ipv4: C2.ipv4, ipv6: C2.ipv6 }), to: C2, family, dstPort: 9, data: 3000 });
      for (const piece of fragments(lie, 1500)) expect(send(deck, 'c1', piece)).toBe('IP_SPOOF');
      const truth = fragments(udp({ from: C1, to: C2, family, dstPort: 9, data: 3000 }), 1500);
      for (const piece of truth) expect(send(deck, 'c1', piece)).toBe('FORWARD');
      expect(deck.take('c2')).toHaveLength(truth.length);
    }
  });

  test('ND in fragments does not pass (RFC 6980)', () => {
    const deck = gatewayBed(SECURE);
    const advertisement = neighborAdvertisement({ from: C1, to: C2 });
    // An atomic fragment: a fragment header in front of the whole message.
    const atomic = ip(
      { from: C1, to: C2, family: 6, ttl: 255 },
      44,
      concat([58, 0, 0, 0, 0, 0, 0, 1], advertisement.subarray(54)),
    );
    expect(send(deck, 'c1', atomic)).toBe('ND_INVALID');
    // Its header in the first piece, its options in the second.
    const first = ip(
      { from: C1, to: C2, family: 6, ttl: 255 },
      44,
      concat([58, 0, 0, 1, 0, 0, 0, 1], advertisement.subarray(54, 78)),
    );
    expect(send(deck, 'c1', first)).toBe('ND_INVALID');
    // And a first piece that does not show what it is.
    const chain = ip(
      { from: C1, to: C2, family: 6, ttl: 255 },
      44,
      concat([60, 0, 0, 1, 0, 0, 0, 1], [58, 1, 1, 4, 0, 0, 0, 0]),
    );
    expect(send(deck, 'c1', chain)).toBe('IPV6_INHDR');
    expect(deck.take('c2')).toEqual([]);
  });

  test('a lie to the gateway does not get anywhere either', () => {
    const deck = gatewayBed(SECURE);
    const far = udp({ from: as({ ipv4: C2.ipv4 }), to: D1, via: VIA_GA, dstPort: 9 });
    expect(send(deck, 'c1', far)).toBe('IP_SPOOF');
    expect(send(deck, 'c1', arpReply({ from: as({ ipv4: C2.ipv4 }), to: GA }))).toBe('ARP_SPOOF');
    expect(send(deck, 'c1', neighborAdvertisement({ from: as({ ipv6: C2.ipv6 }), to: GA }))).toBe('ND_SPOOF');
    expect(deck.take('d1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
  });

  test('an endpoint without IPv4 has none, and one without IPv6 only link-local addresses', () => {
    const deck = memoryDeck({
      networks: { a: { ipv4: '10.0.0.1/24', ipv6: 'fd00::1/64', mac: GA.mac } },
      ports: {
        c1: { station: { mac: C1.mac, ipv6: C1.ipv6 } },
        c2: { station: { mac: C2.mac, ipv4: C2.ipv4 } },
      },
    });
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2 }))).toBe('IP_SPOOF');
    expect(send(deck, 'c1', arpRequest({ from: C1, ask: C2.ipv4 }))).toBe('ARP_SPOOF');
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2, family: 6 }))).toBe('FORWARD');
    expect(send(deck, 'c2', icmpEcho({ from: C2, to: C1, family: 6 }))).toBe('IP_SPOOF');
    expect(send(deck, 'c2', icmpEcho({ from: LOCAL, to: C1, family: 6 }))).toBe('FORWARD');
  });
});

describe('link-local addresses are for who comes first (RFC 6620)', () => {
  const at = (station: Station, ipv6: string) => ({ ...station, ipv6 });
  const ping = (from: Station) => icmpEcho({ from, to: ALL_NODES, family: 6 });

  test('one that an endpoint has is no other’s, until its port is gone', () => {
    const deck = gatewayBed(SECURE);
    expect(send(deck, 'c1', detection(C1.mac, 'fe80::1:1'))).toBe('FLOOD');
    expect(send(deck, 'c2', ping(at(C2, 'fe80::1:1')))).toBe('IP_SPOOF');
    expect(send(deck, 'c2', detection(C2.mac, 'fe80::1:1'))).toBe('ND_SPOOF');
    expect(send(deck, 'c2', neighborAdvertisement({ from: at(C2, 'fe80::1:1'), to: C1 }))).toBe('ND_SPOOF');
    // In another network it is another address.
    expect(send(deck, 'd1', ping(at(D1, 'fe80::1:1')))).not.toBe('IP_SPOOF');
    deck.detach('c1');
    expect(send(deck, 'c2', ping(at(C2, 'fe80::1:1')))).not.toBe('IP_SPOOF');
  });

  test('a port has few of them', () => {
    const deck = gatewayBed(SECURE);
    // That of its MAC is the first.
    for (let i = 1; i < LINK_LOCALS; i++) expect(send(deck, 'c1', ping(at(C1, `fe80::${i}`)))).toBe('FLOOD');
    expect(send(deck, 'c1', ping(at(C1, 'fe80::99')))).toBe('IP_SPOOF');
    expect(send(deck, 'c1', ping(at(C1, 'fe80::1')))).toBe('FLOOD');
    expect(send(deck, 'c1', ping(at(C1, OWN_LOCAL)))).toBe('FLOOD');
  });

  test('that of a MAC belongs to who has the MAC, also when somebody was there before', () => {
    const deck = gatewayBed(SECURE);
    const local = 'fe80::42:aff:fe00:3';
    deck.detach('c2');
    for (const address of ['fe80::1', local, 'fe80::2']) {
      expect(send(deck, 'c1', ping(at(C1, address)))).not.toBe('IP_SPOOF');
    }
    deck.attach('c2');
    expect(send(deck, 'c1', ping(at(C1, local)))).toBe('IP_SPOOF');
    expect(send(deck, 'c2', ping(at(C2, local)))).toBe('FLOOD');
    // The others are still its own, and there is room for one again.
    for (const address of ['fe80::1', 'fe80::2', 'fe80::3']) {
      expect(send(deck, 'c1', ping(at(C1, address)))).toBe('FLOOD');
    }
  });
});

test('property: whatever a secured port sends, what comes out of it is from its own addresses', () => {
  const corpus = [
    arpRequest({ from: C1, ask: C2.ipv4 }),
    icmpEcho({ from: C1, to: C2 }),
    icmpEcho({ from: C1, to: C2, family: 6 }),
    neighborSolicitation({ from: C1, ask: C2.ipv6 }),
    neighborAdvertisement({ from: C1, to: C2 }),
    udp({ from: C1, to: C2, dstPort: 68 }),
    tagged(arpReply({ from: C1, to: C2 }), 0),
  ];
  const frame = fc
    .tuple(fc.constantFrom(...corpus), fc.array(fc.tuple(fc.nat(85), fc.nat(255)), { maxLength: 4 }))
    .map(([whole, changes]) => {
      const copy = whole.slice();
      for (const [at, value] of changes) if (at < copy.length) copy[at] = value;
      return copy;
    });
  const deck = gatewayBed(SECURE);
  fc.assert(
    fc.property(frame, (bytes) => {
      deck.send('c1', bytes);
      for (const out of deck.take('c2')) {
        const said = claims(out);
        expect([C1.mac, GA.mac]).toContain(said.mac);
        if (said.mac !== C1.mac) continue;
        for (const address of said.addresses) {
          expect([C1.ipv4, C1.ipv6, '0.0.0.0', '::'].includes(address) || address.startsWith('fe80::')).toBe(
            true,
          );
        }
      }
    }),
    { numRuns: 3000 },
  );
});

/** What a frame claims about its sender, read byte by byte and in another way than the guard does. */
function claims(frame: Uint8Array): { mac: string; addresses: string[] } {
  const text = (from: number, to: number) => Buffer.from(frame.subarray(from, to)).toString('hex');
  const mac = text(6, 12).replace(/..(?=.)/g, '$&:');
  let type = text(12, 14);
  let at = 14;
  while (type === '8100' || type === '88a8') {
    type = text(at + 2, at + 4);
    at += 4;
  }
  const ipv4 = (from: number) => Array.from(frame.subarray(from, from + 4)).join('.');
  const ipv6 = (from: number) => {
    const view = new DataView(frame.buffer, frame.byteOffset + from, 16);
    return formatIpv6(view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12));
  };
  if (type === '0806') return { mac, addresses: [ipv4(at + 14)] };
  if (type === '0800') return { mac, addresses: [ipv4(at + 12)] };
  if (type !== '86dd') return { mac, addresses: [] };
  const advertises = frame[at + 6] === 58 && frame[at + 40] === 136;
  return { mac, addresses: [ipv6(at + 8), ...(advertises ? [ipv6(at + 48)] : [])] };
}

describe('without security', () => {
  test('a port may be anybody but the gateway', () => {
    const deck = gatewayBed({ known: true, guard: false });
    expect(send(deck, 'c1', icmpEcho({ from: as({ ipv4: NOBODY.ipv4 }), to: C2 }))).toBe('FORWARD');
    expect(send(deck, 'c1', arpReply({ from: as({ ipv4: NOBODY.ipv4 }), to: C2 }))).toBe('FORWARD');
    expect(send(deck, 'c1', icmpEcho({ from: as({ mac: NOBODY.mac }), to: C2 }))).toBe('FORWARD');
    expect(send(deck, 'c1', arpReply({ from: as({ ipv4: GA.ipv4 }), to: C2 }))).toBe('ARP_SPOOF');
  });

  test('many priority tags are no way round either: hosts look behind all of them', () => {
    const deck = gatewayBed();
    const lie = arpReply({ from: LIAR, to: C1 });
    expect(send(deck, 'c2', stacked(lie, 2, 0))).toBe('ARP_SPOOF');
    expect(send(deck, 'c2', stacked(neighborAdvertisement({ from: LIAR, to: C1 }), 2, 0))).toBe('ND_SPOOF');
    expect(send(deck, 'c2', stacked(lie, 3, 0))).toBe('VLAN_DEPTH');
    expect(send(deck, 'c2', stacked(lie, 3, 5))).toBe('FLOOD');
  });
});
