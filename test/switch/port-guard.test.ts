import { describe, expect, test } from 'vitest';
import {
  arpProbe,
  arpReply,
  arpRequest,
  icmp,
  icmpEcho,
  ip,
  neighborAdvertisement,
  neighborSolicitation,
  tagged,
  udp,
} from '../../src/testing/frames.ts';
import { C1, C2, D1, expectNoLeak, GA, GA_LOCAL, GB, gatewayBed, send } from './gateway-bed.ts';

/** c2, which says that it has the gateway's addresses. */
const LIAR = { mac: C2.mac, ipv4: GA.ipv4, ipv6: GA.ipv6 };
const LOCAL = { ...C2, ipv6: 'fe80::42:aff:fe00:3' };
const ALL_NODES = { mac: '33:33:00:00:00:01', ipv6: 'ff02::1' };
const ICMPV6 = 58;

/** A router advertisement (134) or redirect (137). */
function router(type: number, to: { mac: string; ipv6: string }): Uint8Array {
  return icmp({ from: LOCAL, to, family: 6, ttl: 255, type, rest: 0x40000708, data: new Uint8Array(32) });
}

/** An ND message behind an empty destination options header. */
function hidden(message: Uint8Array, headers = 1): Uint8Array {
  const options = Array.from({ length: headers }, (_, i) => [
    i + 1 < headers ? 60 : ICMPV6,
    0,
    1,
    4,
    0,
    0,
    0,
    0,
  ]);
  const data = Uint8Array.from([...options.flat(), ...message.slice(54)]);
  return ip({ from: LIAR, to: C1, family: 6, ttl: 255 }, 60, data);
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
