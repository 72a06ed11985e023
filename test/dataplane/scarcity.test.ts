import { describe, expect, test } from 'vitest';
import { udp } from '../../src/testing/frames.ts';
import { expectNoLeak, send } from '../switch/gateway-bed.ts';
import { arrived, C1, C2, D1, EXT1, EXT2, ends, natBed, UP, VIA_GA, VIA_GB, VIA_UP } from './nat-bed.ts';

const ask = (from: typeof C1, srcPort: number) =>
  udp({ from, to: EXT1, via: from === D1 ? VIA_GB : VIA_GA, srcPort, dstPort: 53 });

describe('a full table of connections', () => {
  test('gives up what can be spared also when every connection has a mapping of its own', () => {
    const deck = natBed({ conntrack: { capacity: 8, quota: 4 } });
    for (let i = 0; i < 4; i++) {
      expect(send(deck, 'c1', ask(C1, 5000 + i))).toBe('FORWARD');
      expect(send(deck, 'c2', ask(C2, 5000 + i))).toBe('FORWARD');
    }
    expect(send(deck, 'd1', ask(D1, 5000))).toBe('FORWARD');
    expect(deck.flows()).toHaveLength(8);
    expectNoLeak(deck);
  });

  test('who comes in by a mapping may push out the one connection that held it', () => {
    const deck = natBed({
      conntrack: { capacity: 1, quota: 1 },
      uplink: { filtering: 'endpoint-independent' },
    });
    send(deck, 'c1', ask(C1, 5000));
    const { srcPort: dstPort } = arrived(deck, 'ext');
    const enter = (srcPort: number) =>
      send(deck, 'ext', udp({ from: EXT2, to: UP, via: VIA_UP, srcPort, dstPort }));
    // It takes the place of the endpoint's own, and with that the mapping lets nobody else in until the endpoint speaks.
    expect([1, 2, 3].map(enter)).toEqual(['FORWARD', 'NO_SOCKET', 'NO_SOCKET']);
    for (const frame of deck.take('c1')) expect(ends(frame)).toMatchObject({ dst: C1.ipv4, dstPort: 5000 });
    expect(deck.flows()).toMatchObject([{ dnat: true, original: { src: EXT2.ipv4, srcPort: 1 } }]);
    for (const port of [6000, 6001]) expect(send(deck, 'c2', ask(C2, port))).toBe('FORWARD');
    deck.advance(600_000);
    expect(deck.flows()).toEqual([]);
    // The mapping went with its last connection.
    expect(enter(4)).toBe('NO_SOCKET');
    expectNoLeak(deck);
  });
});
