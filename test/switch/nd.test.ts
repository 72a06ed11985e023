import { describe, expect, test } from 'vitest';
import {
  icmp,
  icmpEcho,
  neighborAdvertisement,
  neighborSolicitation,
  type Station,
} from '../../src/testing/frames.ts';
import { parseIpv6, parseMac } from '../../wire/address.ts';
import { set16, set32 } from '../../wire/bytes.ts';
import { fillIcmpv6Checksum } from '../../wire/icmpv6.ts';
import {
  C1,
  C2,
  D1,
  expectNoLeak,
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
} from './gateway-bed.ts';

const L3 = 14;
const L4 = 54;
const TARGET = L4 + 8;
const OPTION = L4 + 24;
const ALL_NODES = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };

/** The frame with its ICMPv6 checksum made right again. */
function summed(frame: Uint8Array): Uint8Array {
  fillIcmpv6Checksum(frame, L3, L4, frame.length - L4);
  return frame;
}

function withIpv6(frame: Uint8Array, offset: number, text: string): Uint8Array {
  const copy = frame.slice();
  for (const [i, word] of parseIpv6(text)!.entries()) set32(copy, offset + 4 * i, word);
  return copy;
}

/** Duplicate address detection: from nobody, without an option. */
function dad(target: string): Uint8Array {
  const asked = neighborSolicitation({ from: C1, ask: target }).slice(0, OPTION);
  set16(asked, L3 + 4, asked.length - L4);
  return summed(withIpv6(asked, L3 + 8, '::'));
}

/** An unsolicited advertisement to all nodes, with the override flag. */
function announce(from: Station, override = true): Uint8Array {
  const frame = neighborAdvertisement({ from, to: ALL_NODES });
  frame[L4 + 4] = override ? 0x20 : 0;
  return summed(frame);
}

describe('neighbor discovery of a gateway', () => {
  const solicitation = neighborSolicitation({ from: C1, ask: GA.ipv6 });

  test.each([
    ['hop limit', patched(solicitation, L3 + 7, 254)],
    ['checksum', patched(solicitation, L4 + 2, 0, 0)],
    ['code', summed(patched(solicitation, L4 + 1, 1))],
    ['option of length 0', summed(patched(solicitation, OPTION + 1, 0))],
    ['option longer than the message', summed(patched(solicitation, OPTION + 1, 2))],
  ])('ND-1: a wrong %s is dropped and counted', (_, frame) => {
    const deck = gatewayBed();
    deck.send('c1', frame);
    expect(deck.drops()).toEqual({ ND_INVALID: 1 });
    expect(deck.take('c1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
  });

  test('ND-1: a message of any length below its own is never answered', () => {
    const deck = gatewayBed();
    for (let length = 0; length < OPTION; length++) {
      const cut = solicitation.slice(0, length);
      if (length >= L4) set16(cut, L3 + 4, length - L4);
      if (length >= L4 + 4) summed(cut);
      deck.send('c1', cut);
      deck.send('c1', solicitation.slice(0, length));
    }
    expect(deck.take('c1')).toEqual([]);
  });

  test('ND-1: a solicited advertisement to a group and a multicast target are dropped', () => {
    const deck = gatewayBed();
    deck.send('c1', neighborAdvertisement({ from: C1, to: ALL_NODES }));
    deck.send('c1', summed(withIpv6(solicitation, TARGET, 'ff02::1')));
    expect(deck.drops()).toEqual({ ND_INVALID: 2 });
  });

  test.each([
    ['router advertisement', 134, 16],
    ['redirect', 137, 40],
  ])('ND-2: a %s from a container does not reach the gateway', (_, type, length) => {
    const deck = gatewayBed();
    const from = { ...C1, ipv6: 'fe80::2' };
    deck.send('c1', icmp({ from, to: ALL_NODES, ttl: 255, type, data: length - 8 }));
    expect(
      send(
        deck,
        'c1',
        icmp({ from, to: { ...GA, ipv6: GA_LOCAL }, family: 6, ttl: 255, type, data: length - 8 }),
      ),
    ).toBe('RA_GUARD');
    expect(deck.drops()).toEqual({ RA_GUARD: 2 });
    expect(learned(deck)).toEqual([]);
  });

  test.each([GA.ipv6, GA_LOCAL])(
    'ND-3: duplicate address detection of %s is answered to all nodes',
    (address) => {
      const deck = gatewayBed();
      deck.send('c1', dad(address));
      const answer = deck.take('c1');
      expect(answer).toHaveLength(1);
      expect(read(answer[0])).toMatchObject({
        dst: ALL_NODES.mac,
        src: GA.mac,
        ip: { src: address, dst: 'ff02::1', ttl: 255 },
        // Router and override, not solicited.
        icmp: { type: 136, code: 0, rest: 0xa0000000 | 0 },
      });
      expect(deck.take('c2'), 'the question, and the answer').toHaveLength(2);
      expect(learned(deck)).toEqual([]);
    },
  );

  test("ND-3: detection of an address that is not the gateway's is not answered", () => {
    const deck = gatewayBed();
    deck.send('c1', dad('fd00::77'));
    expect(deck.take('c1')).toEqual([]);
  });

  test.each([
    ['by group', GA.ipv6, undefined],
    ['by group', GA_LOCAL, undefined],
    ['by unicast', GA.ipv6, GA],
    ['by unicast', GA_LOCAL, { ...GA, ipv6: GA_LOCAL }],
  ])('ND-4: a solicitation %s for %s is answered and teaches', (_, ask, to) => {
    const deck = gatewayBed();
    deck.send('c1', neighborSolicitation({ from: C1, ask, ...(to && { to }) }));
    const [frame] = deck.take('c1');
    expect(read(frame)).toMatchObject({
      dst: C1.mac,
      src: GA.mac,
      ip: { src: ask, dst: C1.ipv6, ttl: 255 },
      icmp: { type: 136, code: 0, rest: 0xe0000000 | 0 },
    });
    const { hi, lo } = parseMac(GA.mac)!;
    const option = new Uint8Array(8);
    option.set([2, 1]);
    set16(option, 2, hi);
    set32(option, 4, lo);
    expect(frame.slice(OPTION), 'the target link-layer address').toEqual(option);
    expect(learned(deck)).toEqual([`${C1.ipv6} STALE ${C1.mac}`]);
  });

  test('ND-4: an unresolved next hop is asked by its solicited-node group; the answer lets the packet go', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, family: 6 }));
    expect(only(deck, 'd1')).toMatchObject({
      dst: '33:33:ff:00:00:02',
      src: GB.mac,
      ip: { src: 'fe80::42:aff:fe01:1', dst: 'ff02::1:ff00:2', ttl: 255 },
      icmp: { type: 135, code: 0, rest: 0 },
    });
    deck.send('d1', neighborAdvertisement({ from: D1, to: { ...GB, ipv6: 'fe80::42:aff:fe01:1' } }));
    expect(only(deck, 'd1')).toMatchObject({ dst: D1.mac, ip: { dst: D1.ipv6, ttl: 63 } });
    expect(learned(deck)).toEqual([`${D1.ipv6} REACHABLE ${D1.mac}`]);
    expectNoLeak(deck);
  });

  test('ND-4: reachable, stale, delay, probe, and reachable again or failed', () => {
    const deck = gatewayBed();
    const { neighbors } = deck.virtual.dataplane;
    const state = () => learned(deck)[0].split(' ')[1];
    const ping = () => send(deck, 'c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, family: 6 }));
    const answer = () =>
      deck.send('d1', neighborAdvertisement({ from: D1, to: { ...GB, ipv6: 'fe80::42:aff:fe01:1' } }));
    ping();
    expect(state()).toBe('INCOMPLETE');
    answer();
    expect(neighbors.reachableTime).toBeGreaterThanOrEqual(15_000);
    expect(neighbors.reachableTime).toBeLessThan(45_000);
    deck.advance(neighbors.reachableTime - 1);
    expect(state()).toBe('REACHABLE');
    deck.advance(1);
    expect(state()).toBe('STALE');
    deck.takeAll();
    expect(ping(), 'a stale neighbor is used').toBe('FORWARD');
    expect(state()).toBe('DELAY');
    deck.advance(4999);
    expect(deck.take('d1')).toHaveLength(1);
    deck.advance(1);
    expect(state()).toBe('PROBE');
    expect(only(deck, 'd1'), 'asked by unicast').toMatchObject({ dst: D1.mac, icmp: { type: 135 } });
    answer();
    expect(state()).toBe('REACHABLE');
    deck.advance(neighbors.reachableTime);
    ping();
    deck.advance(5000 + 2999);
    expect(state()).toBe('PROBE');
    deck.advance(1);
    expect(state()).toBe('FAILED');
    expect(
      deck
        .take('d1')
        .map(read)
        .filter(({ icmp }) => icmp!.type === 135),
    ).toHaveLength(3);
    expectNoLeak(deck);
  });

  test('ND-4: who does not answer three times costs the sender 1/3', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, family: 6 }));
    deck.advance(3000);
    expect(only(deck, 'c1')).toMatchObject({
      ip: { src: GA.ipv6, dst: C1.ipv6, ttl: 64 },
      icmp: { type: 1, code: 3, rest: 0 },
    });
    expect(deck.drops()).toEqual({ NEIGH_FAILED: 1 });
  });

  test.each([
    ['of a station behind another port', C1.ipv6],
    ['of the gateway', GA.ipv6],
    ['of the gateway', GA_LOCAL],
    ['outside of the network', '2001:db8::1'],
  ])('an advertisement for the address %s is dropped: %s', (_, ipv6) => {
    const deck = gatewayBed();
    deck.send('c1', neighborSolicitation({ from: C1, ask: GA.ipv6 }));
    deck.send('c2', announce({ ...C2, ipv6 }));
    deck.send('c2', neighborAdvertisement({ from: { ...C2, ipv6 }, to: GA }));
    expect(deck.drops()).toEqual({ ND_SPOOF: 2 });
    expect(learned(deck)[0]).toContain(C1.mac);
  });

  test('an advertisement moves an address between the MACs of one port, if it may override', () => {
    const deck = gatewayBed();
    deck.send('c1', neighborSolicitation({ from: C1, ask: GA.ipv6 }));
    const moved = { ...C1, mac: '02:42:0a:00:00:99' };
    deck.send('c1', announce(moved, false));
    expect(learned(deck)[0]).toContain(C1.mac);
    deck.send('c1', announce(moved));
    expect(learned(deck)).toEqual([`${C1.ipv6} STALE ${moved.mac}`]);
  });

  test("a link-layer address that is not the frame's is dropped", () => {
    const deck = gatewayBed();
    deck.send('c1', summed(patched(solicitation, OPTION + 7, 77)));
    const advertisement = neighborAdvertisement({ from: C1, to: GA });
    expect(send(deck, 'c1', summed(patched(advertisement, OPTION + 7, 77)))).toBe('ND_SPOOF');
    expect(deck.drops()).toEqual({ ND_SPOOF: 2 });
    expect(deck.take('c1')).toEqual([]);
  });

  test.each(['2001:db8::1', '::1', 'ff02::1', GA.ipv6, GA_LOCAL])(
    'a solicitation from %s is dropped and not answered',
    (ipv6) => {
      const deck = gatewayBed();
      deck.send('c1', neighborSolicitation({ from: { ...C1, ipv6 }, ask: GA.ipv6 }));
      expect(deck.drops()).toEqual({ ND_SPOOF: 1 });
      expect(deck.take('c1')).toEqual([]);
      expect(learned(deck)).toEqual([]);
    },
  );

  test('an answer to no question is dropped and teaches nothing', () => {
    const deck = gatewayBed();
    expect(send(deck, 'c1', neighborAdvertisement({ from: C1, to: GA }))).toBe('ND_NOT_FOR_US');
    deck.send('c1', announce(C1));
    expect(learned(deck)).toEqual([]);
  });

  test('a router solicitation is read and not answered: addresses are configured', () => {
    const deck = gatewayBed();
    deck.send(
      'c1',
      icmp({ from: C1, to: { mac: '33:33:00:00:00:02', ipv6: 'ff02::2' }, family: 6, ttl: 255, type: 133 }),
    );
    expect(deck.take('c1')).toEqual([]);
    expect(deck.tables().ledger).toMatchObject({ consumed: 1 });
  });

  const inFragment = (frame: Uint8Array, offset: number, more: boolean): Uint8Array => {
    const copy = new Uint8Array(frame.length + 8);
    copy.set(frame.subarray(0, L4));
    copy[L3 + 6] = 44;
    set16(copy, L3 + 4, frame.length - L4 + 8);
    copy[L4] = 58;
    set16(copy, L4 + 2, offset | (more ? 1 : 0));
    set32(copy, L4 + 4, 0x1234);
    copy.set(frame.subarray(L4), L4 + 8);
    return copy;
  };

  test('ND-5: an atomic fragment is a packet like any other (RFC 6946), and its answer is none', () => {
    const deck = gatewayBed();
    const ping = icmpEcho({ from: C1, to: GA, family: 6, data: 100 });
    expect(send(deck, 'c1', inFragment(ping, 0, false))).toBe('FORWARD');
    const [answer] = deck.take('c1');
    expect(answer).toHaveLength(ping.length);
    expect(answer[L3 + 6], 'next header').toBe(58);
    expect(read(answer)).toMatchObject({ icmp: { type: 129 }, payload: ping.slice(L4 + 8) });
    expectNoLeak(deck);
  });

  test('ND-5: ND in a fragment, even in an atomic one, is dropped (RFC 6980)', () => {
    const deck = gatewayBed();
    deck.send('c1', inFragment(solicitation, 0, false));
    expect(deck.drops()).toEqual({ ND_INVALID: 1 });
    const unicast = neighborSolicitation({ from: C1, ask: GA.ipv6, to: GA });
    expect(send(deck, 'c1', inFragment(unicast, 0, false))).toBe('ND_INVALID');
    const first = unicast.slice(0, L4 + 8);
    set16(first, L3 + 4, 8);
    // The second piece first: only the whole shows what it is.
    const second = new Uint8Array([...unicast.slice(0, L4), ...unicast.slice(L4 + 8)]);
    set16(second, L3 + 4, second.length - L4);
    deck.send('c1', inFragment(second, 8, false));
    deck.send('c1', inFragment(first, 0, true));
    expect(deck.drops().ND_INVALID).toBe(3);
    expect(deck.take('c1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
    expectNoLeak(deck);
  });

  test('ND-5: overlapping fragments are dropped with their datagram (RFC 5722)', () => {
    const deck = gatewayBed();
    const ping = icmpEcho({ from: C1, to: GA, family: 6, data: 56 });
    const piece = (from: number, to: number, more: boolean) => {
      const part = new Uint8Array([...ping.slice(0, L4), ...ping.slice(L4 + from, L4 + to)]);
      set16(part, L3 + 4, part.length - L4);
      return inFragment(part, from, more);
    };
    deck.send('c1', piece(0, 32, true));
    expect(send(deck, 'c1', piece(24, 64, false))).toBe('FRAG_OVERLAP');
    expect(send(deck, 'c1', piece(32, 64, false)), 'the pieces that follow, too').toBe('FRAG_OVERLAP');
    expect(deck.take('c1')).toEqual([]);
    expectNoLeak(deck);
  });
});
