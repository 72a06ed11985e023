import { describe, expect, test } from 'vitest';
import { icmp, icmpEcho, ip, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { formatIpv4, parseIpv4, parseMac } from '../../wire/address.ts';
import { get32, set16 } from '../../wire/bytes.ts';
import { pseudoSumIpv4 } from '../../wire/checksum.ts';
import { VNET_GSO_TCPV4 } from '../../wire/virtio-net.ts';
import { expectNoLeak, only, read, send } from '../switch/gateway-bed.ts';
import {
  arrived,
  C1,
  C2,
  D1,
  EXT1,
  EXT2,
  ends,
  GA,
  GB,
  natBed,
  R,
  UP,
  VIA_GA,
  VIA_GB,
  VIA_UP,
} from './nat-bed.ts';

const FAMILIES = [4, 6] as const;
const address = (station: Required<Station>, family: 4 | 6) => (family === 4 ? station.ipv4 : station.ipv6);

describe.each(FAMILIES)('IPv%i through an uplink', (family) => {
  const of = (station: Required<Station>) => address(station, family);

  test('masquerade: out with an address of the uplink, and the answer comes back', () => {
    const deck = natBed();
    const ask = udp({ from: C1, to: EXT1, via: VIA_GA, family, srcPort: 5000, dstPort: 53, data: 'ask' });
    expect(send(deck, 'c1', ask)).toBe('FORWARD');
    const out = arrived(deck, 'ext');
    expect(out).toMatchObject({ src: of(UP), dst: of(EXT1), dstPort: 53 });
    expect(out.srcPort).toBeGreaterThanOrEqual(1024);
    expect(out.srcPort % 2).toBe(0);
    const { srcPort } = out;
    const answer = udp({
      from: EXT1,
      to: UP,
      via: VIA_UP,
      family,
      srcPort: 53,
      dstPort: srcPort,
      data: 'so',
    });
    expect(send(deck, 'ext', answer)).toBe('FORWARD');
    expect(arrived(deck, 'c1')).toEqual({ src: of(EXT1), srcPort: 53, dst: of(C1), dstPort: 5000 });
    expect(deck.flows()).toMatchObject([{ protocol: 17, snat: true, dnat: false, unreplied: false }]);
    expectNoLeak(deck);
  });

  test('a TCP connection is opened, used and reset; then nothing of it is left', () => {
    const deck = natBed();
    const mine = { from: C1, to: EXT1, via: VIA_GA, family, srcPort: 40000, dstPort: 80 };
    send(deck, 'c1', tcp({ ...mine, flags: 'S', sequence: 100, mss: 65000 }));
    const { srcPort } = arrived(deck, 'ext');
    const theirs = { from: EXT1, to: UP, via: VIA_UP, family, srcPort: 80, dstPort: srcPort };
    send(deck, 'ext', tcp({ ...theirs, flags: 'SA', sequence: 900, acknowledgment: 101, mss: 1460 }));
    expect(arrived(deck, 'c1')).toEqual({ src: of(EXT1), srcPort: 80, dst: of(C1), dstPort: 40000 });
    send(deck, 'c1', tcp({ ...mine, flags: 'A', sequence: 101, acknowledgment: 901 }));
    send(deck, 'c1', tcp({ ...mine, flags: 'PA', sequence: 101, acknowledgment: 901, data: 'GET /' }));
    expect(deck.take('ext').map((frame) => ends(frame).srcPort)).toEqual([srcPort, srcPort]);
    expect(deck.flows()).toMatchObject([{ state: 'ESTABLISHED', assured: true }]);
    // Somebody guesses, and misses the window.
    expect(send(deck, 'ext', tcp({ ...theirs, flags: 'R', sequence: 5_000_000 }))).toBe('CT_INVALID');
    expect(send(deck, 'ext', tcp({ ...theirs, flags: 'R', sequence: 901 }))).toBe('FORWARD');
    expect(deck.flows()).toMatchObject([{ state: 'CLOSE' }]);
    deck.advance(240_200);
    expect(deck.flows()).toEqual([]);
    expectNoLeak(deck);
  });

  test('the mapping does not depend on who is spoken to, and belongs to one endpoint alone', () => {
    const deck = natBed();
    const from = (station: Station, to: Station, dstPort: number) => {
      send(
        deck,
        station === C1 ? 'c1' : 'c2',
        udp({ from: station, to, via: VIA_GA, family, srcPort: 5001, dstPort }),
      );
      return arrived(deck, 'ext').srcPort;
    };
    const port = from(C1, EXT1, 1);
    expect([from(C1, EXT1, 2), from(C1, EXT2, 1)]).toEqual([port, port]);
    expect(from(C2, EXT1, 1)).not.toBe(port);
  });

  test.each([
    ['endpoint-independent', [true, true, true]],
    ['address-dependent', [true, true, false]],
    ['address-and-port-dependent', [true, false, false]],
  ] as const)('%s filtering', (filtering, [same, otherPort, otherHost]) => {
    const deck = natBed({ uplink: { filtering } });
    send(deck, 'c1', udp({ from: C1, to: EXT1, via: VIA_GA, family, srcPort: 5000, dstPort: 1 }));
    const { srcPort: dstPort } = arrived(deck, 'ext');
    const reaches = (from: Station, srcPort: number) =>
      send(deck, 'ext', udp({ from, to: UP, via: VIA_UP, family, srcPort, dstPort }));
    const verdict = (isLetIn: boolean) => (isLetIn ? 'FORWARD' : 'NAT_FILTERED');
    expect(reaches(EXT1, 1)).toBe(verdict(same));
    expect(reaches(EXT1, 2)).toBe(verdict(otherPort));
    expect(reaches(EXT2, 1)).toBe(verdict(otherHost));
    for (const frame of deck.take('c1')) expect(ends(frame)).toMatchObject({ dst: of(C1), dstPort: 5000 });
  });

  test('nobody outside gets in unasked: not to the deck, not with a route to a network', () => {
    const deck = natBed();
    expect(send(deck, 'ext', tcp({ from: EXT1, to: UP, via: VIA_UP, family, dstPort: 80 }))).toBe(
      'NOT_PUBLISHED',
    );
    expect(send(deck, 'ext', udp({ from: EXT1, to: C1, via: VIA_UP, family, dstPort: 80 }))).toBe(
      'NOT_PUBLISHED',
    );
    expect(send(deck, 'ext', icmpEcho({ from: EXT1, to: C1, via: VIA_UP, family }))).toBe('NOT_PUBLISHED');
    expect(deck.takeAll()).toEqual({});
    // A host that is there answers for a port that is closed.
    expect(send(deck, 'ext', udp({ from: EXT1, to: UP, via: VIA_UP, family, dstPort: 80 }))).toBe(
      'NO_SOCKET',
    );
    expect(only(deck, 'ext').icmp).toMatchObject(family === 4 ? { type: 3, code: 3 } : { type: 1, code: 4 });
    expect(send(deck, 'ext', icmpEcho({ from: EXT1, to: UP, via: VIA_UP, family }))).toBe('FORWARD');
    // Somebody outside who claims to be inside, or the deck.
    for (const from of [C1, D1, GA, UP]) {
      const claims = { ...from, mac: R.mac };
      expect(send(deck, 'ext', udp({ from: claims, to: C1, via: VIA_UP, family, dstPort: 80 }))).toBe(
        'IP_MARTIAN_SOURCE',
      );
    }
    expectNoLeak(deck);
  });

  test('a published port: from outside, with the address of who comes', () => {
    const deck = natBed();
    deck.publish({ station: C1, network: 'a', from: 8080, target: 80 });
    const theirs = { from: EXT1, to: UP, via: VIA_UP, family, srcPort: 7000, dstPort: 8080 };
    expect(send(deck, 'ext', tcp({ ...theirs, flags: 'S', sequence: 5 }))).toBe('FORWARD');
    expect(arrived(deck, 'c1')).toEqual({ src: of(EXT1), srcPort: 7000, dst: of(C1), dstPort: 80 });
    const mine = { from: C1, to: EXT1, via: VIA_GA, family, srcPort: 80, dstPort: 7000 };
    send(deck, 'c1', tcp({ ...mine, flags: 'SA', sequence: 9, acknowledgment: 6 }));
    expect(arrived(deck, 'ext')).toEqual({ src: of(UP), srcPort: 8080, dst: of(EXT1), dstPort: 7000 });
    const rules = deck.virtual.dataplane.snapshot(deck.now, { rules: true }).rules;
    const counted = rules
      .filter(({ packets }) => packets > 0)
      .map(({ kind, packets }) => `${kind} ${packets}`);
    expect(counted.sort()).toEqual(['DNAT 1', 'OUTBOUND 1', 'PUBLISHED 1']);
  });

  test("hairpin: an endpoint reaches its own and its neighbours' published ports, with its outside address", () => {
    const deck = natBed();
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    for (const [client, port, via] of [
      [C1, 'c1', VIA_GA],
      [C2, 'c2', VIA_GA],
      [D1, 'd1', VIA_GB],
    ] as const) {
      const ask = {
        from: client,
        to: UP,
        via,
        family,
        srcPort: 6000,
        dstPort: 8080,
        flags: 'S',
        sequence: 1,
      };
      expect(send(deck, port, tcp(ask))).toBe('FORWARD');
      const seen = arrived(deck, 'c2');
      expect(seen).toMatchObject({ src: of(UP), dst: of(C2), dstPort: 80 });
      const answer = { from: C2, to: UP, via: VIA_GA, family, srcPort: 80, dstPort: seen.srcPort };
      send(deck, 'c2', tcp({ ...answer, flags: 'SA', sequence: 9, acknowledgment: 2 }));
      expect(arrived(deck, port)).toEqual({ src: of(UP), srcPort: 8080, dst: of(client), dstPort: 6000 });
    }
  });

  test('unpublish ends the connections in one step: no stale UDP flow survives', () => {
    const deck = natBed();
    const [id] = deck.publish({
      station: { mac: C1.mac, [`ipv${family}`]: of(C1) },
      network: 'a',
      from: 53,
      protocol: 'udp',
    });
    const ask = udp({ from: EXT1, to: UP, via: VIA_UP, family, srcPort: 7000, dstPort: 53 });
    expect(send(deck, 'ext', ask)).toBe('FORWARD');
    expect(deck.flows()).toHaveLength(1);
    deck.unpublish(id!);
    expect(deck.flows()).toEqual([]);
    expect(send(deck, 'ext', ask)).toBe('NO_SOCKET');
    deck.publish({ station: C2, network: 'a', from: 53, protocol: 'udp' });
    deck.take('c1');
    expect(send(deck, 'ext', ask)).toBe('FORWARD');
    expect(arrived(deck, 'c2')).toMatchObject({ dst: of(C2), dstPort: 53 });
  });

  test('detach ends the connections of the endpoint', () => {
    const deck = natBed();
    deck.publish({ station: C1, network: 'a', from: 80 });
    send(deck, 'c1', udp({ from: C1, to: EXT1, via: VIA_GA, family, dstPort: 1 }));
    send(deck, 'ext', tcp({ from: EXT1, to: UP, via: VIA_UP, family, dstPort: 80 }));
    send(deck, 'c2', udp({ from: C2, to: EXT1, via: VIA_GA, family, dstPort: 1 }));
    expect(deck.flows()).toHaveLength(3);
    deck.detach('c1');
    expect(deck.flows()).toMatchObject([{ original: { src: of(C2) } }]);
  });

  test('an ICMP error about a translated packet reaches its sender as if about his own', () => {
    const deck = natBed();
    const ask = udp({
      from: C1,
      to: EXT1,
      via: VIA_GA,
      family,
      srcPort: 5000,
      dstPort: 53,
      data: 'question',
      dontFragment: true,
    });
    send(deck, 'c1', ask);
    const [out] = deck.take('ext');
    const quote = out!.subarray(14);
    const [type, code] = family === 4 ? [3, 1] : [1, 3];
    expect(send(deck, 'ext', icmp({ from: R, to: UP, via: VIA_UP, family, type, code, data: quote }))).toBe(
      'FORWARD',
    );
    const error = only(deck, 'c1');
    expect(error.ip).toMatchObject({ src: of(R), dst: of(C1) });
    expect(error.icmp).toMatchObject({ type, code });
    const quoted = error.payload!.slice();
    const sent = ask.slice(14);
    // One hop less to live.
    if (family === 4) quoted.set(sent.subarray(8, 12), 8);
    else quoted[7] = sent[7]!;
    expect(quoted).toEqual(sent);
    // About nothing that was sent.
    quoted[quoted.length - 9] ^= 1;
    const wrong = icmp({ from: R, to: UP, via: VIA_UP, family, type, code, data: sent });
    expect(send(deck, 'ext', wrong)).toBe('ICMP_ERROR_UNRELATED');
  });

  test('a next hop that does not answer: the error quotes what the endpoint sent', () => {
    const deck = natBed();
    const nobody = { mac: R.mac, ipv4: '198.51.100.99', ipv6: '2001:db8:0:1::99' };
    const ask = udp({
      from: C1,
      to: nobody,
      via: VIA_GA,
      family,
      srcPort: 5000,
      dstPort: 53,
      data: 'question',
      dontFragment: true,
    });
    expect(send(deck, 'c1', ask)).toBe('HOLD');
    deck.advance(5000);
    const error = only(deck, 'c1');
    expect(error.ip).toMatchObject({ src: of(GA as Required<Station>), dst: of(C1) });
    const quoted = error.payload!;
    const sent = ask.slice(14);
    if (family === 4) quoted.set(sent.subarray(8, 12), 8);
    else quoted[7] = sent[7]!;
    expect(quoted).toEqual(sent);
    deck.take('ext');
    expectNoLeak(deck);
  });

  test('ping out: identifiers of two endpoints do not meet', () => {
    const deck = natBed();
    send(deck, 'c1', icmpEcho({ from: C1, to: EXT1, via: VIA_GA, family, identifier: 7 }));
    send(deck, 'c2', icmpEcho({ from: C2, to: EXT1, via: VIA_GA, family, identifier: 7 }));
    const ids = deck.take('ext').map((frame) => read(frame).icmp!.rest >>> 16);
    expect(new Set(ids).size).toBe(2);
    for (const identifier of ids) {
      send(deck, 'ext', icmpEcho({ from: EXT1, to: UP, via: VIA_UP, family, identifier, reply: true }));
    }
    for (const port of ['c1', 'c2']) expect(only(deck, port).icmp!.rest >>> 16).toBe(7);
    expect(send(deck, 'ext', icmpEcho({ from: EXT2, to: UP, via: VIA_UP, family, reply: true }))).toBe(
      'ICMP_UNHANDLED',
    );
  });
});

describe.each(FAMILIES)('IPv%i through an uplink that ends in the sockets of the host', (family) => {
  const of = (station: Required<Station>) => address(station, family);
  const HOST = { mac: R.mac, ipv4: '192.168.7.7', ipv6: '2001:db8:7::7' };
  const LOOPBACK = { mac: R.mac, ipv4: '127.0.0.1', ipv6: '::1' };

  test('ports are published on addresses of the host, whichever they are', () => {
    const deck = natBed({ uplink: { isHost: true } });
    deck.publish({ station: C1, network: 'a', from: 80 });
    deck.publish({ station: C2, network: 'a', from: 81, target: 80, host: of(LOOPBACK) });
    const reach = (to: Station, dstPort: number) =>
      send(deck, 'ext', tcp({ from: EXT1, to: { ...to, mac: UP.mac }, family, srcPort: 7000, dstPort }));
    expect(reach(HOST, 80)).toBe('FORWARD');
    expect(arrived(deck, 'c1')).toEqual({ src: of(EXT1), srcPort: 7000, dst: of(C1), dstPort: 80 });
    const answer = { from: C1, to: EXT1, via: VIA_GA, family, srcPort: 80, dstPort: 7000 };
    send(deck, 'c1', tcp({ ...answer, flags: 'SA', sequence: 1, acknowledgment: 1 }));
    expect(arrived(deck, 'ext')).toEqual({ src: of(HOST), srcPort: 80, dst: of(EXT1), dstPort: 7000 });
    expect(reach(LOOPBACK, 81)).toBe('FORWARD');
    expect(arrived(deck, 'c2')).toMatchObject({ dst: of(C2), dstPort: 80 });
    // The host reaches what is published on it by its own address, as any host does.
    const self = { ...HOST, mac: UP.mac };
    const land = { from: { ...HOST, mac: R.mac }, to: self, family, srcPort: 7001, dstPort: 80 };
    expect(send(deck, 'ext', tcp(land))).toBe('FORWARD');
    expect(arrived(deck, 'c1')).toEqual({ src: of(HOST), srcPort: 7001, dst: of(C1), dstPort: 80 });
    expect(reach(HOST, 81)).toBe('NOT_PUBLISHED');
    expect(reach(HOST, 82)).toBe('NOT_PUBLISHED');
  });

  test("the host's loopback and what is denied are out of reach, unless a network may", () => {
    const denied = family === 4 ? '203.0.113.0/30' : '2001:db8:2::/126';
    const deck = natBed({ uplink: { isHost: true, denied: [denied] }, hostLoopback: true });
    const reach = (port: 'c1' | 'd1', from: Station, via: { mac: string }, to: Station) =>
      send(deck, port, udp({ from, to, via, family, dstPort: 53 }));
    expect(reach('c1', C1, VIA_GA, R)).toBe('FORWARD');
    expect(reach('d1', D1, VIA_GB, R)).toBe('DESTINATION_DENIED');
    expect(only(deck, 'd1').icmp).toMatchObject(family === 4 ? { type: 3, code: 13 } : { type: 1, code: 1 });
    expect(reach('c1', C1, VIA_GA, EXT1)).toBe('DESTINATION_DENIED');
    expect(reach('c1', C1, VIA_GA, { mac: R.mac, ipv4: '203.0.113.4', ipv6: '2001:db8:2::4' })).toBe(
      'FORWARD',
    );
    // By whatever spelling.
    for (const to of [
      LOOPBACK,
      { ...LOOPBACK, ipv4: '0.0.0.0', ipv6: '::' },
      { ...LOOPBACK, ipv6: '::ffff:127.0.0.1' },
    ]) {
      expect(reach('c1', C1, VIA_GA, to)).toBe('IP_MARTIAN_DESTINATION');
    }
  });

  test("the gateway's address stands for the host's loopback where a port has it so, but for its own services", () => {
    const deck = natBed({ uplink: { isHost: true }, hostAtGateway: true });
    const ask = (port: 'c1' | 'c2', from: Station, dstPort: number) =>
      send(deck, port, tcp({ from, to: { ...R, ...GA }, via: VIA_GA, family, srcPort: 6000, dstPort }));
    expect(ask('c1', C1, 8080)).toBe('FORWARD');
    const { srcPort, ...asked } = arrived(deck, 'ext');
    expect(asked).toEqual({ src: of(UP), dst: of(R), dstPort: 8080 });
    const answer = { from: R, to: { ...UP }, family, srcPort: 8080, dstPort: srcPort };
    send(deck, 'ext', tcp({ ...answer, flags: 'SA', sequence: 1, acknowledgment: 1 }));
    expect(arrived(deck, 'c1')).toEqual({
      src: of(GA as Required<Station>),
      srcPort: 8080,
      dst: of(C1),
      dstPort: 6000,
    });
    // The name server's.
    expect(ask('c1', C1, 53)).toBe('CONSUME');
    expect(deck.take('ext')).toEqual([]);
    expect(ask('c2', C2, 8080)).toBe('NO_SOCKET');
    expect(deck.take('ext')).toEqual([]);
  });
});

test('what is denied of IPv4 is denied by the spellings that IPv6 has for it', () => {
  const deck = natBed({ uplink: { isHost: true, denied: ['169.254.0.0/16', '203.0.113.1/32'] } });
  const reach = (ipv6: string) =>
    send(deck, 'c1', udp({ from: C1, to: { mac: R.mac, ipv6 }, via: VIA_GA, family: 6, dstPort: 53 }));
  for (const to of [
    '64:ff9b::169.254.169.254',
    '2002:a9fe:a9fe::1',
    '64:ff9b::203.0.113.1',
    '2002:cb00:7101::',
  ]) {
    expect(reach(to), to).toBe('DESTINATION_DENIED');
    deck.take('c1');
  }
  for (const to of [
    '64:ff9b::169.253.169.254',
    '2002:a9ff:a9fe::1',
    '64:ff9b::203.0.113.2',
    '2002:cb00:7102::',
  ]) {
    expect(reach(to), to).toBe('FORWARD');
  }
});

test.each([
  [true, [], 'FORWARD'],
  [true, ['169.254.0.0/16'], 'DESTINATION_DENIED'],
  [false, [], 'IP_MARTIAN_DESTINATION'],
] as const)(
  "link-local addresses are the host's to reach (sockets of the host: %s, denied: %j): %s",
  (isHost, denied, verdict) => {
    const deck = natBed({ uplink: { isHost, denied } });
    const to = { mac: R.mac, ipv4: '169.254.169.254' };
    expect(send(deck, 'c1', udp({ from: C1, to, via: VIA_GA, dstPort: 80 }))).toBe(verdict);
  },
);

test('who is kept apart from a neighbour does not reach him by his mapping either', () => {
  const deck = natBed({ uplink: { filtering: 'address-dependent' }, isolated: true });
  send(deck, 'c2', udp({ from: C2, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort: 1 }));
  const { srcPort: dstPort } = arrived(deck, 'ext');
  const direct = udp({ from: C1, to: C2, via: VIA_GA, srcPort: 9, dstPort: 5000 });
  expect(send(deck, 'c1', direct)).toBe('PORT_ISOLATED');
  expect(send(deck, 'c1', udp({ from: C1, to: UP, via: VIA_GA, srcPort: 9, dstPort }))).toBe('NAT_FILTERED');
  // Nor does somebody in another network: it is isolated from this one.
  expect(send(deck, 'd1', udp({ from: D1, to: UP, via: VIA_GB, srcPort: 9, dstPort }))).toBe('NAT_FILTERED');
  expectNoLeak(deck);
});

test("nobody outside uses a mapping on a gateway's address", () => {
  const deck = natBed();
  deck.publish({ station: C2, network: 'a', from: 80, protocol: 'udp' });
  const ask = udp({ from: C1, to: GA, srcPort: 5000, dstPort: 80 });
  expect(send(deck, 'c1', ask)).toBe('FORWARD');
  const { src, srcPort: dstPort } = arrived(deck, 'c2');
  expect(src).toBe(GA.ipv4);
  const intrusion = udp({ from: EXT1, to: GA, via: VIA_UP, srcPort: 9, dstPort });
  expect(send(deck, 'ext', intrusion)).toBe('NAT_FILTERED');
  expectNoLeak(deck);
});

test('a question is no answer, although its identifier looks like one', () => {
  const deck = natBed({ routed: true });
  const question = (type: number) => icmp({ from: D1, to: C1, via: VIA_GB, type, rest: (8 << 16) | 1 });
  // As tuples have it, the question of D1 with identifier 8 comes from where the answer to C1 would.
  for (const identifier of [8, 13]) {
    const ask = icmpEcho({ from: C1, to: D1, via: VIA_GA, identifier });
    expect(send(deck, 'c1', ask)).toBe('FORWARD');
    expect(send(deck, 'd1', question(identifier))).toBe('CT_INVALID');
    const answer = icmpEcho({ from: D1, to: C1, via: VIA_GB, identifier, reply: true });
    expect(send(deck, 'd1', answer)).toBe('FORWARD');
    // And an answer of who asked.
    const claim = icmp({ from: C1, to: D1, via: VIA_GA, type: 0, rest: 8 << 16 });
    expect(send(deck, 'c1', claim)).toBe('CT_INVALID');
  }
});

test('an error about a packet whose connection is gone tells nobody what has become of its row', () => {
  const deck = natBed({ conntrack: { capacity: 1, quota: 1 } });
  const nobody = { mac: R.mac, ipv4: '198.51.100.99' };
  const ask = udp({ from: C1, to: nobody, via: VIA_GA, srcPort: 5000, dstPort: 53, data: 'question' });
  expect(send(deck, 'c1', ask)).toBe('HOLD');
  deck.virtual.dataplane.closeFlows({}, deck.now);
  // Takes the row, and is refused.
  const stray = tcp({ from: C2, to: EXT1, via: VIA_GA, srcPort: 7777, dstPort: 99, flags: 'SA' });
  expect(send(deck, 'c2', stray)).toBe('CT_INVALID');
  deck.advance(5000);
  expect(deck.take('c1')).toEqual([]);
  expect(deck.take('c2')).toEqual([]);
  expectNoLeak(deck);
});

test('segments that were cut for the uplink and find no next hop: the errors quote what the endpoint sent', () => {
  const deck = natBed({ uplink: { mtu: 1000 } });
  const nobody = { mac: R.mac, ipv4: '198.51.100.99' };
  const mine = { from: C1, to: nobody, via: VIA_GA, srcPort: 5000, dstPort: 53, flags: 'A' };
  const frame = tcp({ ...mine, data: 4000 });
  // As a container's kernel leaves it: a segment of segments, with the sum of the pseudo-header for a checksum.
  set16(frame, 50, pseudoSumIpv4(frame, 14, 6, frame.length - 34));
  const vnet = Uint8Array.of(1, VNET_GSO_TCPV4, 54, 0, 1400 & 255, 1400 >> 8, 34, 0, 16, 0);
  deck.virtual.receive(deck.virtual.ports.get('c1')!, frame, 0, frame.length, vnet);
  deck.advance(5000);
  const errors = deck.take('c1').map(read);
  expect(errors.length).toBeGreaterThan(0);
  for (const { ip, payload } of errors) {
    expect(ip).toMatchObject({ src: GA.ipv4, dst: C1.ipv4 });
    expect(formatIpv4(get32(payload!, 12))).toBe(C1.ipv4);
  }
  deck.take('ext');
  expectNoLeak(deck);
});

test.each([
  ['GRE', 600_000, { protocol: 47 }],
  ['echo', 60_000, { protocol: 1 }],
])('who is outside does not keep the mapping of %s alive (RFC 4787 REQ-6)', (_, timeout, { protocol }) => {
  const deck = natBed();
  const ask = icmpEcho({ from: C1, to: EXT1, via: VIA_GA, identifier: 7 });
  send(deck, 'c1', protocol === 1 ? ask : ip({ from: C1, to: EXT1, via: VIA_GA }, protocol, 30));
  const [out] = deck.take('ext');
  const theirs = { from: EXT1, to: UP, via: VIA_UP };
  const identifier = read(out!).icmp?.rest ?? 0;
  const answer =
    protocol === 1
      ? icmpEcho({ ...theirs, identifier: identifier >>> 16, reply: true })
      : ip(theirs, protocol, 30);
  deck.advance(timeout - 1000);
  expect(send(deck, 'ext', answer)).toBe('FORWARD');
  deck.advance(1200);
  expect(deck.flows()).toEqual([]);
});

test('what is published on an uplink alone is not on the gateway of a network that comes later', () => {
  const deck = natBed();
  const { dataplane } = deck.virtual;
  const words = (address: string) => parseIpv4(address)!;
  dataplane.publish({
    network: deck.virtual.networkId('a'),
    address: words(C1.ipv4),
    protocol: 6,
    target: 80,
    from: 8080,
    to: 8080,
    host: null,
    uplinkOnly: true,
  });
  const { hi: macHi, lo: macLo } = parseMac('02:42:0a:02:00:01')!;
  deck.virtual.addNetwork('later', {
    macHi,
    macLo,
    ipv4: { address: words('10.2.0.1'), prefix: 24 },
    ipv6: null,
    mtu: 1500,
    uplink: deck.virtual.networkId('up'),
  });
  const L1 = { mac: '02:42:0a:02:00:02', ipv4: '10.2.0.2' };
  deck.attach('l1', { network: 'later', station: L1 });
  for (const [name, from, gateway] of [
    ['d1', D1, GB],
    ['l1', L1, { mac: '02:42:0a:02:00:01', ipv4: '10.2.0.1' }],
  ] as const) {
    const syn = tcp({ from, to: gateway, family: 4, srcPort: 5000, dstPort: 8080, flags: 'S' });
    expect(send(deck, name, syn)).toBe('NO_SOCKET');
  }
  expect(send(deck, 'ext', tcp({ from: EXT1, to: UP, via: VIA_UP, dstPort: 8080, flags: 'S' }))).toBe(
    'FORWARD',
  );
});

describe('what a removed network leaves behind', () => {
  test('no publish of it', () => {
    const deck = natBed();
    deck.publish({ station: D1, network: 'b', from: 80 });
    deck.detach('d1');
    deck.virtual.dataplane.removeNetwork(deck.virtual.networkId('b'), deck.now);
    expect(send(deck, 'ext', tcp({ from: EXT1, to: UP, via: VIA_UP, dstPort: 80 }))).toBe('NOT_PUBLISHED');
    const { rules } = deck.virtual.dataplane.snapshot(deck.now, { rules: true });
    expect(rules.filter(({ kind }) => kind === 'DNAT')).toEqual([]);
    // The port is free again.
    deck.publish({ station: C1, network: 'a', from: 80 });
    expectNoLeak(deck);
  });

  test('no connection by an address of it, also where both ends are elsewhere', () => {
    const deck = natBed();
    deck.publish({ station: C2, network: 'a', from: 80, protocol: 'udp' });
    const ask = udp({ from: C1, to: { ...GB, mac: GA.mac }, family: 4, srcPort: 5, dstPort: 80 });
    expect(send(deck, 'c1', ask)).toBe('FORWARD');
    deck.detach('d1');
    deck.virtual.dataplane.removeNetwork(deck.virtual.networkId('b'), deck.now);
    expect(deck.flows()).toEqual([]);
  });
});

test('a mapping is there for as long as its endpoint speaks, and not for as long as strangers do', () => {
  const deck = natBed({ uplink: { filtering: 'endpoint-independent' } });
  send(deck, 'c1', udp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort: 1 }));
  const { srcPort: dstPort } = arrived(deck, 'ext');
  const stranger = (srcPort: number) =>
    send(deck, 'ext', udp({ from: EXT2, to: UP, via: VIA_UP, srcPort, dstPort }));
  deck.advance(250_000);
  expect(stranger(1)).toBe('FORWARD');
  // The endpoint answers this one: it speaks.
  send(deck, 'c1', udp({ from: C1, to: EXT2, via: VIA_GA, srcPort: 5000, dstPort: 1 }));
  deck.advance(250_000);
  expect(stranger(2)).toBe('FORWARD');
  deck.advance(51_000);
  expect(stranger(3)).toBe('NO_SOCKET');
  deck.advance(400_000);
  expect(deck.flows()).toEqual([]);
  expectNoLeak(deck);
});

test('prefix translation: out with the other prefix, back again, and between endpoints inside', () => {
  const deck = natBed({ npt: '2001:db8:99::/64' });
  const out = udp({ from: C1, to: EXT1, via: VIA_GA, family: 6, srcPort: 5000, dstPort: 53 });
  expect(send(deck, 'c1', out)).toBe('FORWARD');
  const seen = arrived(deck, 'ext');
  expect(seen.src).toMatch(/^2001:db8:99:/);
  expect(seen.srcPort).toBe(5000);
  const outside = { mac: UP.mac, ipv6: seen.src };
  const back = udp({ from: EXT1, to: outside, family: 6, srcPort: 53, dstPort: 5000 });
  expect(send(deck, 'ext', back)).toBe('FORWARD');
  expect(arrived(deck, 'c1')).toEqual({ src: EXT1.ipv6, srcPort: 53, dst: C1.ipv6, dstPort: 5000 });
  expect(send(deck, 'ext', udp({ from: EXT2, to: outside, family: 6, dstPort: 5000 }))).toBe('NOT_PUBLISHED');
  // A neighbour, by the address under which the outside knows c1.
  const ask = udp({ from: C2, to: { ...outside, mac: GA.mac }, family: 6, srcPort: 6000, dstPort: 5000 });
  expect(send(deck, 'c2', ask)).toBe('FORWARD');
  const neighbour = arrived(deck, 'c1');
  expect(neighbour).toMatchObject({ srcPort: 6000, dst: C1.ipv6, dstPort: 5000 });
  expect(neighbour.src).toMatch(/^2001:db8:99:/);
  const answer = {
    from: C1,
    to: { mac: GA.mac, ipv6: neighbour.src },
    family: 6,
    srcPort: 5000,
    dstPort: 6000,
  } as const;
  expect(send(deck, 'c1', udp(answer))).toBe('FORWARD');
  expect(arrived(deck, 'c2')).toEqual({ src: seen.src, srcPort: 5000, dst: C2.ipv6, dstPort: 6000 });
  expectNoLeak(deck);
});

test.each(FAMILIES)('IPv%i: an uplink whose interface has gone is no black hole', (family) => {
  const deck = natBed();
  const ask = udp({ from: C1, to: EXT1, via: VIA_GA, family, srcPort: 5000, dstPort: 53 });
  send(deck, 'c1', ask);
  deck.detach('ext');
  expect(send(deck, 'c1', ask)).toBe('UPLINK_GONE');
  expect(only(deck, 'c1').icmp).toMatchObject(family === 4 ? { type: 3, code: 0 } : { type: 1, code: 0 });
  expectNoLeak(deck);
});
