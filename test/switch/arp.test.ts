import { describe, expect, test } from 'vitest';
import { arpProbe, arpReply, arpRequest, icmpEcho } from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import {
  C1,
  C2,
  D1,
  expectNoLeak,
  GA,
  GB,
  gatewayBed,
  learned,
  only,
  patched,
  read,
  send,
  VIA_GA,
} from './gateway-bed.ts';

const ETH = 14;

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 60_000;

describe('ARP of a gateway', () => {
  test('ARP-1: a request for the gateway is answered by unicast, fields swapped', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    const frames = deck.take('c1');
    expect(frames).toHaveLength(1);
    expect(frames[0]).toHaveLength(42);
    expect(read(frames[0])).toEqual({
      dst: C1.mac,
      src: GA.mac,
      arp: { oper: 2, sha: GA.mac, spa: GA.ipv4, tha: C1.mac, tpa: C1.ipv4 },
    });
    expect(deck.take('c2'), 'the others got the question only').toHaveLength(1);
  });

  test('ARP-1: nothing else is answered: another station, another network, an answer', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: C2.ipv4 }));
    deck.send('c1', arpRequest({ from: C1, ask: GB.ipv4 }));
    deck.send('c1', arpReply({ from: C1, to: GA }));
    expect(deck.take('c1')).toEqual([]);
  });

  test('ARP-2: a request to the gateway teaches; one to others and an answer to no question do not', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: C2.ipv4 }));
    expect(send(deck, 'c1', arpReply({ from: C1, to: GA }))).toBe('ARP_NOT_FOR_US');
    expect(learned(deck)).toEqual([]);
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    expect(learned(deck)).toEqual([`${C1.ipv4} STALE ${C1.mac}`]);
  });

  test('ARP-2: an answer to the question is taken', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    expect(only(deck, 'd1').arp).toEqual({
      oper: 1,
      sha: GB.mac,
      spa: GB.ipv4,
      tha: '00:00:00:00:00:00',
      tpa: D1.ipv4,
    });
    deck.send('d1', arpReply({ from: D1, to: GB }));
    expect(learned(deck)).toEqual([`${D1.ipv4} REACHABLE ${D1.mac}`]);
    expect(only(deck, 'd1')).toMatchObject({ dst: D1.mac, src: GB.mac, ip: { ttl: 63 } });
  });

  test('ARP-3: a probe for the gateway is answered, and teaches nothing', () => {
    const deck = gatewayBed();
    deck.send('c1', arpProbe({ from: C1, ask: GA.ipv4 }));
    expect(only(deck, 'c1').arp).toMatchObject({ oper: 2, spa: GA.ipv4, tha: C1.mac, tpa: '0.0.0.0' });
    deck.send('c1', arpProbe({ from: C1, ask: C2.ipv4 }));
    expect(deck.take('c1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
  });

  test('ARP-4: gratuitous ARP moves an address between the MACs of one port', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    const moved = { ...C1, mac: '02:42:0a:00:00:99' };
    deck.send('c1', arpRequest({ from: moved, ask: moved.ipv4 }));
    expect(learned(deck)).toEqual([`${C1.ipv4} STALE ${moved.mac}`]);
    expect(deck.drops()).toEqual({});
  });

  test('ARP-4: it moves an address whose port is gone, once its last owner has not answered', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    deck.detach('c1');
    const heir = { ...C2, ipv4: C1.ipv4 };
    deck.send('c2', arpRequest({ from: heir, ask: heir.ipv4 }));
    expect(learned(deck)).toEqual([`${C1.ipv4} PROBE ${C1.mac}`]);
    deck.advance(3000);
    deck.send('c2', arpRequest({ from: heir, ask: GA.ipv4 }));
    expect(learned(deck)).toEqual([`${C1.ipv4} STALE ${C2.mac}`]);
  });

  test('ARP-4: a station that was silent for so long that the bridge forgot it keeps its address', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    deck.advance(400_000);
    deck.takeAll();
    const thief = { ...C2, ipv4: C1.ipv4 };
    deck.send('c2', arpRequest({ from: thief, ask: thief.ipv4 }));
    expect(deck.drops()).toEqual({ ARP_SPOOF: 1 });
    expect(deck.take('c1').map(read).at(-1), 'it is asked').toMatchObject({ arp: { tpa: C1.ipv4 } });
    deck.send('c1', arpReply({ from: C1, to: GA }));
    expect(learned(deck)).toEqual([`${C1.ipv4} REACHABLE ${C1.mac}`]);
  });

  test.each([
    ['announced', (thief: typeof C1) => arpRequest({ from: thief, ask: thief.ipv4 })],
    ['in a request', (thief: typeof C1) => arpRequest({ from: thief, ask: GA.ipv4 })],
    ['in an answer', (thief: typeof C1) => arpReply({ from: thief, to: GA })],
  ])('ARP-4: the address of a station behind another port stays there, %s', (_, steal) => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    deck.takeAll();
    deck.send('c2', steal({ ...C2, ipv4: C1.ipv4 }));
    expect(deck.drops()).toEqual({ ARP_SPOOF: 1 });
    expect(deck.take('c2'), 'no answer to the thief').toEqual([]);
    expect(learned(deck)).toEqual([`${C1.ipv4} PROBE ${C1.mac}`]);
    const questions = deck.take('c1').map(read);
    expect(questions.at(-1), 'the owner is asked by unicast').toMatchObject({
      dst: C1.mac,
      arp: { oper: 1, tpa: C1.ipv4 },
    });
    deck.send('c1', arpReply({ from: C1, to: GA }));
    expect(learned(deck)).toEqual([`${C1.ipv4} REACHABLE ${C1.mac}`]);
  });

  test('ARP-4: an owner that does not answer three times is given up', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    const thief = { ...C2, ipv4: C1.ipv4 };
    for (let i = 0; i < 50; i++) deck.send('c2', arpRequest({ from: thief, ask: thief.ipv4 }));
    deck.advance(2999);
    expect(learned(deck)).toEqual([`${C1.ipv4} PROBE ${C1.mac}`]);
    expect(deck.take('c1').filter((frame) => read(frame).dst === C1.mac)).toHaveLength(1 + 3);
    deck.advance(1);
    expect(learned(deck)).toEqual([`${C1.ipv4} FAILED`]);
    deck.send('c2', arpRequest({ from: thief, ask: GA.ipv4 }));
    expect(learned(deck)).toEqual([`${C1.ipv4} STALE ${C2.mac}`]);
  });

  test('ARP-4: the owner is not asked more than once a second, however often he is contested', () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: C1, ask: GA.ipv4 }));
    deck.advance(5000);
    const thief = { ...C2, ipv4: C1.ipv4 };
    let questions = 0;
    for (let i = 0; i < 300; i++) {
      deck.send('c2', arpRequest({ from: thief, ask: GA.ipv4 }));
      for (const frame of deck.take('c1').map(read)) {
        if (frame.dst !== C1.mac || frame.arp?.oper !== 1) continue;
        questions++;
        deck.send('c1', arpReply({ from: C1, to: GA }));
      }
      deck.advance(10);
    }
    expect(questions).toBe(3);
    expect(learned(deck)[0]).toContain(C1.mac);
  });

  test('ARP-4: the address of an endpoint that the deck knows is never moved', () => {
    const deck = gatewayBed({ known: true });
    const thief = { ...C2, ipv4: C1.ipv4 };
    deck.send('c2', arpRequest({ from: thief, ask: thief.ipv4 }));
    deck.send('c2', arpRequest({ from: thief, ask: GA.ipv4 }));
    expect(send(deck, 'c2', arpReply({ from: thief, to: GA }))).toBe('ARP_SPOOF');
    expect(deck.drops()).toEqual({ ARP_SPOOF: 3 });
    expect(learned(deck)).toEqual([]);
    expect(deck.tables().neighbors).toContainEqual(
      expect.objectContaining({ address: C1.ipv4, mac: C1.mac, state: 'PERMANENT' }),
    );
  });

  test.each([
    ['the gateway', GA.ipv4],
    ['an address outside of the network', '192.0.2.1'],
    ['the broadcast of the network', '10.0.255.255'],
    ['loopback', '127.0.0.1'],
  ])('ARP-4: nobody is %s', (_, ipv4) => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: { ...C1, ipv4 }, ask: GA.ipv4 }));
    deck.send('c1', arpReply({ from: { ...C1, ipv4 }, to: GA }));
    expect(deck.drops()).toEqual({ ARP_SPOOF: 2 });
    expect(deck.take('c1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
  });

  test("ARP-4: what another subnet on the same wire says among itself is not the gateway's business", () => {
    const deck = gatewayBed();
    deck.send('c1', arpRequest({ from: { ...C1, ipv4: '192.0.2.1' }, ask: '192.0.2.2' }));
    expect(deck.drops()).toEqual({});
    deck.send('c1', arpRequest({ from: { ...C1, ipv4: GA.ipv4 }, ask: '192.0.2.2' }));
    expect(deck.drops()).toEqual({ ARP_SPOOF: 1 });
    expect(learned(deck)).toEqual([]);
  });

  const request = arpRequest({ from: C1, ask: GA.ipv4 });
  const toGateway = arpRequest({ from: C1, ask: GA.ipv4, to: GA.mac });
  test.each([
    ['hardware type', 'ARP_INHDR', (frame: Uint8Array) => patched(frame, ETH, 0, 6)],
    ['protocol type', 'ARP_INHDR', (frame: Uint8Array) => patched(frame, ETH + 2, 0x86, 0xdd)],
    ['hardware address length', 'ARP_INHDR', (frame: Uint8Array) => patched(frame, ETH + 4, 8)],
    ['protocol address length', 'ARP_INHDR', (frame: Uint8Array) => patched(frame, ETH + 5, 16)],
    ["sender that is not the frame's", 'ARP_SPOOF', (frame: Uint8Array) => patched(frame, ETH + 8 + 5, 77)],
    [
      'sender that is a group',
      'ARP_SPOOF',
      (frame: Uint8Array) => patched(frame, ETH + 8, 1, 0, 0x5e, 0, 0, 1),
    ],
    ['length', 'HDR_TRUNC', (frame: Uint8Array) => frame.slice(0, ETH + 27)],
  ])('ARP-5: a wrong %s is dropped and counted as %s', (_, reason, spoil) => {
    const deck = gatewayBed();
    deck.send('c1', spoil(request));
    expect(send(deck, 'c1', spoil(toGateway))).toBe(reason);
    expect(deck.drops()).toEqual({ [reason]: 2 });
    expect(deck.take('c1')).toEqual([]);
    expect(learned(deck)).toEqual([]);
  });

  test('ARP-5: a frame of any length below an ARP packet is never answered', () => {
    const deck = gatewayBed();
    for (let length = 0; length < request.length; length++) {
      deck.send('c1', request.slice(0, length));
      deck.send('c1', toGateway.slice(0, length));
    }
    expect(deck.take('c1')).toEqual([]);
  });

  test('ARP-6: 32 frames wait, the next is dropped; they go out in order when the answer comes', () => {
    const deck = gatewayBed();
    const ping = (sequence: number) => icmpEcho({ from: C1, to: D1, via: VIA_GA, sequence });
    const first = Array.from({ length: 32 }, (_, i) => i + 1);
    for (const sequence of first) expect(send(deck, 'c1', ping(sequence))).toBe('HOLD');
    expect(send(deck, 'c1', ping(33))).toBe('NEIGH_QUEUEFULL');
    expect(deck.tables().ledger.held).toBe(32);
    expect(only(deck, 'd1').arp, 'one question for all').toMatchObject({ oper: 1, tpa: D1.ipv4 });
    deck.send('d1', arpReply({ from: D1, to: GB }));
    const sequences = deck.take('d1').map((frame) => read(frame).icmp!.rest & 0xffff);
    expect(sequences).toEqual(first);
    expect(send(deck, 'c1', ping(34))).toBe('FORWARD');
    expectNoLeak(deck);
  });

  test('ARP-6: three questions a second apart, then 3/1 for every frame that waited', () => {
    const deck = gatewayBed();
    for (const sequence of [1, 2, 3]) deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA, sequence }));
    deck.advance(2999);
    expect(deck.takeTimed('d1').map(({ now }) => now)).toEqual([0, 1000, 2000]);
    expect(deck.take('c1')).toEqual([]);
    deck.advance(1);
    const errors = deck.take('c1').map(read);
    expect(errors.map(({ icmp }) => icmp)).toEqual(Array(3).fill({ type: 3, code: 1, rest: 0 }));
    expect(errors[0]).toMatchObject({ dst: C1.mac, src: GA.mac, ip: { src: GA.ipv4, dst: C1.ipv4 } });
    expect(deck.drops()).toEqual({ NEIGH_FAILED: 3 });
    expect(learned(deck)).toEqual([`${D1.ipv4} FAILED`]);
    // The connection of the ping is remembered a little longer than what waited for its neighbor.
    deck.advance(61_000);
    expect(deck.virtual.deadline, 'an idle deck sleeps').toBe(300_000);
    expectNoLeak(deck);
  });

  test('ARP-6: a failed neighbor is asked again by the next frame', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.advance(4000);
    deck.takeAll();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    expect(only(deck, 'd1').arp).toMatchObject({ oper: 1, tpa: D1.ipv4 });
  });

  test('ARP-6: an answer that comes too late is an answer to no question', () => {
    const deck = gatewayBed();
    deck.send('c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    deck.advance(4000);
    expect(send(deck, 'd1', arpReply({ from: D1, to: GB }))).toBe('ARP_NOT_FOR_US');
    expect(learned(deck)).toEqual([`${D1.ipv4} FAILED`]);
  });

  test(
    'ARP-7: a scan of 65,536 addresses is bounded, and the live neighbors stay',
    () => {
      const deck = gatewayBed();
      deck.send('c2', arpRequest({ from: C2, ask: GA.ipv4 }));
      // d1 talks to c2 all the while, so that c2's entry is live.
      const talk = () => deck.send('d1', icmpEcho({ from: D1, to: C2, via: { mac: GB.mac } }));
      talk();
      let most = 0;
      for (let host = 256; host < 65_535; host++) {
        // Into its own network, which is a /16: through the gateway, as a scanner with a /32 would.
        const address = `10.0.${host >> 8}.${host & 255}`;
        deck.send('c1', icmpEcho({ from: C1, to: { mac: GA.mac, ipv4: address } }));
        if (host % 64 === 0) {
          deck.advance(20);
          if (host % 4096 === 0) talk();
          answer(deck);
          most = Math.max(most, deck.virtual.dataplane.neighbors.size);
          deck.take('c1');
          deck.take('d1');
        }
      }
      expect(most).toBeLessThanOrEqual(1024 + 2);
      expect(learned(deck).filter((line) => line.startsWith(`${C2.ipv4} `))).toHaveLength(1);
      expect(learned(deck).find((line) => line.startsWith(`${C2.ipv4} `))).toContain(C2.mac);
      talk();
      expect(
        deck
          .take('c2')
          .map(read)
          .filter(({ ip }) => ip?.src === D1.ipv4),
      ).not.toEqual([]);
      expectNoLeak(deck);
    },
    PATIENCE,
  );

  test('ARP-7: a port has at most 64 questions open, so that others can ask', () => {
    const deck = gatewayBed();
    for (let host = 2; host < 250; host++) {
      deck.send('c1', icmpEcho({ from: C1, to: { mac: GA.mac, ipv4: `10.1.0.${host}` } }));
    }
    expect(deck.take('d1')).toHaveLength(64);
    expect(deck.drops()).toEqual({ NEIGH_TABLE_FULL: 248 - 64 });
    deck.send('c2', icmpEcho({ from: C2, to: { mac: GA.mac, ipv4: '10.1.0.251' } }));
    expect(deck.take('d1')).toHaveLength(1);
    expectNoLeak(deck);
  });
});

/** c2 answers what it is asked. */
function answer(deck: MemoryDeck): void {
  for (const frame of deck.take('c2')) {
    const { arp } = read(frame);
    if (arp?.oper === 1 && arp.tpa === C2.ipv4) deck.send('c2', arpReply({ from: C2, to: GA }));
  }
}
