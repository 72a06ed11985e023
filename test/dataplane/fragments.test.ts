import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fragments, icmpEcho, type Station, tagged, udp } from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { get16, get32, set16 } from '../../wire/bytes.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import {
  C1,
  C2,
  D1,
  expectNoLeak,
  FEW,
  GA,
  GB,
  gatewayBed,
  only,
  read,
  send,
  VIA_GA,
} from '../switch/gateway-bed.ts';

const L3 = 14;
const L4 = 34;
const FAMILIES = [4, 6] as const;
const known = { known: true };
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 120_000;

/** A UDP datagram of c1's to d1 in pieces. */
function pieces(family: 4 | 6, data: number, identification: number, mtu = 1400, from: Station = C1) {
  const datagram = udp({ from, to: D1, via: VIA_GA, family, identification, dstPort: 9, data });
  return fragments(datagram, mtu, identification);
}

/** The fragmentable part of the datagram whose pieces these frames are, in any order. */
function joined(frames: Uint8Array[]): Uint8Array {
  const parts = frames.map((frame) => {
    const isIpv4 = frame[12] === 8;
    const isPiece = isIpv4 || frame[20] === 44;
    const offset = isIpv4 ? (get16(frame, 20) & 0x1fff) << 3 : isPiece ? get16(frame, 56) & 0xfff8 : 0;
    return { offset, data: frame.slice(isIpv4 ? L3 + (frame[L3] & 15) * 4 : isPiece ? 62 : 54) };
  });
  const whole = new Uint8Array(Math.max(0, ...parts.map(({ offset, data }) => offset + data.length)));
  for (const { offset, data } of parts) whole.set(data, offset);
  return whole;
}

/** The IPv4 piece with other flags; bit 14 is DF. */
function withFlags(piece: Uint8Array, flags: number): Uint8Array {
  const frame = piece.slice();
  set16(frame, 20, get16(frame, 20) | flags);
  fillIpv4Checksum(frame, L3);
  return frame;
}

describe('fragments', () => {
  test.each(FAMILIES)('4787-14: IPv%i: three pieces in any order arrive, both ways', (family) => {
    const deck = gatewayBed({ ...known, mtuB: 1500 });
    const ways = [
      { from: C1, to: D1, via: { mac: GA.mac }, by: 'c1', out: 'd1' },
      { from: D1, to: C1, via: { mac: GB.mac }, by: 'd1', out: 'c1' },
    ];
    let identification = 1;
    for (const { from, to, via, by, out } of ways) {
      for (const order of ORDERS) {
        identification++;
        const datagram = udp({ from, to, via, family, identification, dstPort: 9, data: 4000 });
        const parts = fragments(datagram, 1500, identification);
        expect(parts).toHaveLength(3);
        for (const index of order) expect(send(deck, by, parts[index])).toBe('CONSUME');
        const frames = deck.take(out);
        expect(joined(frames)).toEqual(datagram.slice(family === 4 ? L4 : 54));
        expect(frames.map((frame) => read(frame).ip!.fragmentOffset)).toEqual(
          parts.map((part) => read(part).ip!.fragmentOffset),
        );
        for (const frame of frames) {
          expect(read(frame)).toMatchObject({ dst: to.mac, ip: { ttl: 63 } });
          expect(family === 4 ? get16(frame, 18) : get32(frame, 58)).toBe(identification);
        }
      }
    }
    expect(deck.drops()).toEqual({});
    expectNoLeak(deck);
  });

  test(
    '4787-14: whatever the sizes, what goes on fits and is what came',
    () => {
      const sizes = fc.record({
        family: fc.constantFrom(...FAMILIES),
        data: fc.integer({ min: 1300, max: 9000 }),
        mtuA: fc.integer({ min: 1280, max: 1600 }),
        mtuB: fc.integer({ min: 1280, max: 1600 }),
        seed: fc.nat(),
      });
      fc.assert(
        fc.property(sizes, ({ family, data, mtuA, mtuB, seed }) => {
          const deck = gatewayBed({ ...known, mtuA: 1600, mtuB, arena: FEW });
          const parts = pieces(family, data, 7, mtuA);
          const largest = Math.max(...parts.map((part) => part.length - L3));
          const shuffled = parts.map((part, i) => ({ part, key: Math.imul(seed + i, 0x9e3779b1) >>> 0 }));
          for (const { part } of shuffled.sort((a, b) => a.key - b.key)) send(deck, 'c1', part);
          const frames = deck.take('d1');
          if (family === 6 && largest > mtuB) {
            // Its sender has to cut it smaller, and hears so.
            expect(frames).toEqual([]);
            expect(only(deck, 'c1').icmp).toEqual({ type: 2, code: 0, rest: mtuB });
          } else {
            const limit = parts.length === 1 ? mtuB : Math.min(mtuB, Math.max(largest, 1280));
            for (const frame of frames) expect(read(frame).total).toBeLessThanOrEqual(limit);
            const datagram = udp({ from: C1, to: D1, family, dstPort: 9, data });
            expect(joined(frames)).toEqual(datagram.slice(family === 4 ? L4 : 54));
          }
          expectNoLeak(deck);
        }),
        { numRuns: 150 },
      );
    },
    PATIENCE,
  );

  test(
    '4787-14a: 100,000 pieces without a first one by one port do not stop the datagrams of another',
    () => {
      const deck = gatewayBed({ ...known, mtuB: 1500 });
      const { arena } = deck.virtual.dataplane;
      const free = arena.free;
      const [, flood] = pieces(4, 2000, 1);
      let sent = 0;
      /** Another source and identification each time; every third in the name of c2. */
      const pour = (count: number) => {
        for (let i = 0; i < count; i++, sent++) {
          set16(flood, 18, sent * 7);
          if (sent % 3 === 0) flood.set([10, 0, 0, 3], 26);
          else flood.set([10, 0, (sent >> 8) & 0x7f, 4 + (sent % 250)], 26);
          fillIpv4Checksum(flood, L3);
          deck.send('c1', flood);
          if (sent % 100 === 0) deck.advance(1);
        }
        // 48 slots of 66 KiB are 3.1 MiB.
        expect(free - arena.free).toBeLessThanOrEqual(48);
      };
      for (const family of FAMILIES) {
        for (const [round, order] of ORDERS.entries()) {
          const parts = pieces(family, 4000, 1000 + round, 1500, C2);
          for (const index of order) {
            pour(2778);
            expect(send(deck, 'c2', parts[index])).toBe('CONSUME');
          }
          expect(joined(deck.take('d1'))).toEqual(
            udp({ from: C2, to: D1, family, dstPort: 9, data: 4000 }).slice(family === 4 ? L4 : 54),
          );
        }
      }
      expect(sent).toBeGreaterThan(100_000);
      expect(deck.drops()).toEqual({});
      expect(deck.takeAll()).toEqual({});
      expectNoLeak(deck);
    },
    PATIENCE,
  );

  test('7857-10: the same identification of two hosts does not merge', () => {
    const deck = gatewayBed({ ...known, mtuB: 1500 });
    const of = [C1, C2].map((from) => pieces(4, 2000 + 8 * from.mac.charCodeAt(16), 7, 1500, from));
    send(deck, 'c1', of[0][0]);
    send(deck, 'c2', of[1][1]);
    expect(deck.take('d1')).toEqual([]);
    send(deck, 'c2', of[1][0]);
    expect(joined(deck.take('d1'))).toHaveLength(2008 + 8 * C2.mac.charCodeAt(16));
    send(deck, 'c1', of[0][1]);
    expect(joined(deck.take('d1'))).toHaveLength(2008 + 8 * C1.mac.charCodeAt(16));
    expectNoLeak(deck);
  });

  test('what is refused anyway takes no memory', () => {
    const deck = gatewayBed(known);
    const { arena } = deck.virtual.dataplane;
    const [, piece] = pieces(4, 2000, 7);
    const [first6] = pieces(6, 2000, 7);
    const patched = (frame: Uint8Array, at: number, ...bytes: number[]) => {
      const copy = frame.slice();
      copy.set(bytes, at);
      if (copy[12] === 8) fillIpv4Checksum(copy, L3);
      return copy;
    };
    const routed = new Uint8Array([...piece.slice(0, L4), 131, 7, 4, 10, 0, 0, 3, 0, ...piece.slice(L4)]);
    routed[L3] = 0x47;
    set16(routed, L3 + 2, routed.length - L3);
    fillIpv4Checksum(routed, L3);
    const routed6 = new Uint8Array([
      ...first6.slice(0, 54),
      44,
      2,
      0,
      1,
      ...new Array(20).fill(0),
      ...first6.slice(54),
    ]);
    routed6[20] = 43;
    set16(routed6, 18, routed6.length - 54);
    for (const [frame, reason] of [
      [tagged(piece, 7), 'VLAN_NOT_OURS'],
      [patched(piece, 26, 127, 0, 0, 1), 'IP_MARTIAN_SOURCE'],
      [patched(piece, 26, ...piece.slice(30, 34)), 'IP_MARTIAN_SOURCE'],
      [patched(piece, 26, 10, 0, 0, 1), 'IP_MARTIAN_SOURCE'],
      [patched(piece, 30, 224, 0, 0, 5), 'IP_GROUP'],
      [patched(piece, 30, 255, 255, 255, 255), 'IP_GROUP'],
      [routed, 'IP_SOURCE_ROUTED'],
      [patched(first6, 22, ...new Array(16).fill(0)), 'IP_MARTIAN_SOURCE'],
      [patched(first6, 22, ...first6.slice(38, 54)), 'IP_MARTIAN_SOURCE'],
      [patched(first6, 38, 0xff, 5), 'IP_GROUP'],
      [routed6, 'IP_SOURCE_ROUTED'],
    ] as const) {
      expect(send(deck, 'c1', frame)).toBe(reason);
      expect(arena.free).toBe(arena.frames.length);
    }
    expect(deck.takeAll()).toEqual({});
  });

  test.each(FAMILIES)('IP-10: IPv%i: of pieces that overlap nothing goes on (RFC 5722)', (family) => {
    const deck = gatewayBed({ ...known, mtuB: 1500 });
    const parts = pieces(family, 4000, 7, 1500);
    const [, other] = pieces(family, 4000, 7, 1400);
    expect([parts[0], other, parts[1], parts[2]].map((part) => send(deck, 'c1', part))).toEqual([
      'CONSUME',
      'FRAG_OVERLAP',
      'FRAG_OVERLAP',
      'FRAG_OVERLAP',
    ]);
    expect(deck.takeAll()).toEqual({});
    expectNoLeak(deck);
  });

  test('ND-5: an atomic fragment goes on as it is, and is no piece of another (RFC 6946)', () => {
    const deck = gatewayBed({ ...known, mtuB: 1500 });
    const parts = pieces(6, 4000, 7, 1500);
    const whole = udp({ from: C1, to: D1, via: VIA_GA, family: 6, dstPort: 9, data: 100 });
    const atomic = new Uint8Array([...whole.slice(0, 54), 17, 0, 0, 0, 0, 0, 0, 7, ...whole.slice(54)]);
    atomic[20] = 44;
    set16(atomic, 18, atomic.length - 54);
    send(deck, 'c1', parts[0]);
    expect(send(deck, 'c1', atomic)).toBe('FORWARD');
    const [out] = deck.take('d1');
    expect(out.slice(54)).toEqual(atomic.slice(54));
    send(deck, 'c1', parts[1]);
    send(deck, 'c1', parts[2]);
    expect(joined(deck.take('d1'))).toHaveLength(4008);
    expectNoLeak(deck);
  });

  test.each(FAMILIES)('IP-10: IPv%i: only who is the destination says that pieces are missing', (family) => {
    const deck = gatewayBed(known);
    send(deck, 'c1', pieces(family, 4000, 7)[0]);
    deck.advance(30_000);
    expect(deck.drops()).toEqual({ FRAG_TIMEOUT: 1 });
    expect(deck.takeAll()).toEqual({});
    send(deck, 'c1', fragments(icmpEcho({ from: C1, to: GA, family, data: 4000 }), 1400)[0]);
    // Of another network, but of the deck, too.
    send(deck, 'c1', fragments(icmpEcho({ from: C1, to: GB, via: VIA_GA, family, data: 4000 }), 1400)[0]);
    deck.advance(30_000);
    const type = family === 4 ? 11 : 3;
    expect(deck.take('c1').map((frame) => read(frame).icmp)).toEqual([
      { type, code: 1, rest: 0 },
      { type, code: 1, rest: 0 },
    ]);
    expectNoLeak(deck);
  });

  test('IP-12: pieces with DF stay as small as they came, or their sender hears the MTU', () => {
    const deck = gatewayBed({ ...known, mtuB: 1400 });
    for (const [mtu, fits] of [
      [1400, true],
      [1000, true],
      [1500, false],
    ] as const) {
      const parts = pieces(4, 4000, mtu, mtu).map((part) => withFlags(part, 0x4000));
      for (const part of parts) expect(send(deck, 'c1', part)).toBe('CONSUME');
      const frames = deck.take('d1');
      if (fits) {
        expect(frames).toHaveLength(parts.length);
        for (const frame of frames) {
          expect(read(frame).df).toBe(true);
          expect(read(frame).total).toBeLessThanOrEqual(mtu);
        }
        expect(joined(frames)).toHaveLength(4008);
        expect(deck.take('c1')).toEqual([]);
      } else {
        expect(frames).toEqual([]);
        expect(only(deck, 'c1').icmp).toEqual({ type: 3, code: 4, rest: 1400 });
      }
    }
    expectNoLeak(deck);
  });

  test('tiny pieces go on as large as every host takes them', () => {
    const deck = gatewayBed({ ...known, mtuB: 1500 });
    for (const part of pieces(4, 1000, 7, 68)) send(deck, 'c1', part);
    const frames = deck.take('d1');
    expect(frames).toHaveLength(2);
    for (const frame of frames) expect(read(frame).total).toBeLessThanOrEqual(576);
    expect(joined(frames)).toHaveLength(1008);
    expectNoLeak(deck);
  });

  test('a datagram that waits for its next hop goes out in pieces', () => {
    const deck = gatewayBed({ mtuB: 1500 });
    for (const part of pieces(6, 3000, 7, 1500)) send(deck, 'c1', part);
    expect(deck.tables().ledger).toMatchObject({
      received: 3,
      consumed: 3,
      originated: 2,
      copies: 2,
      held: 3,
    });
    expectNoLeak(deck);
  });

  test.each([1, 2, 3])('a defect on the way of piece %i costs no memory', (bad) => {
    const deck = gatewayBed({ ...known, mtuA: 9000 });
    const { neighbors, arena, ledger } = deck.virtual.dataplane;
    const whole = udp({ from: C1, to: D1, via: VIA_GA, dstPort: 9, data: 4000 });
    let count = 0;
    const { outputIpv4 } = neighbors;
    neighbors.outputIpv4 = (...packet) => {
      if (++count === bad) throw new Error('a defect');
      return outputIpv4.apply(neighbors, packet);
    };
    // What nobody took of the first is given back when the next is cut.
    for (let datagram = 0; datagram < 2; datagram++) {
      expect(() => deck.send('c1', whole)).toThrow('a defect');
    }
    expect(count).toBe(bad + 3);
    expect(arena.free).toBe(arena.frames.length);
    expect(ledger.imbalance()).toBe(0);
  });

  test('7857-10: pieces that the bridge carries are not touched', () => {
    const deck = gatewayBed(known);
    const parts = fragments(udp({ from: C1, to: C2, dstPort: 9, data: 4000 }), 1500);
    for (const index of [2, 0, 1]) expect(send(deck, 'c1', parts[index])).toBe('FORWARD');
    expect(deck.take('c2')).toEqual([parts[2], parts[0], parts[1]]);
  });

  test(
    'any pieces: nothing throws, nothing leaks, and only what was sent arrives',
    () => {
      const cut = fc.record({
        family: fc.constantFrom(...FAMILIES),
        id: fc.integer({ min: 1, max: 2 }),
        index: fc.integer({ min: 0, max: 8 }),
        mtu: fc.constantFrom(1280, 1400),
        by: fc.constantFrom('c1', 'c2'),
      });
      const whole = new Map(
        FAMILIES.map((family) => [
          family,
          udp({ from: C1, to: D1, family, dstPort: 9, data: 5000 }).slice(family === 4 ? L4 : 54),
        ]),
      );
      fc.assert(
        fc.property(fc.array(cut, { maxLength: 60 }), (cuts) => {
          const deck: MemoryDeck = gatewayBed({ arena: FEW, ...known, mtuB: 1500 });
          for (const { family, id, index, mtu, by } of cuts) {
            const parts = pieces(family, 5000, id, mtu, by === 'c1' ? C1 : { ...C1, mac: C2.mac });
            send(deck, by, parts[index % parts.length]);
            const frames = deck.take('d1');
            if (frames.length > 0) expect(joined(frames)).toEqual(whole.get(family));
          }
          expectNoLeak(deck);
        }),
        { numRuns: 100 },
      );
    },
    PATIENCE,
  );
});
