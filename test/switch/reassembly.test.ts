import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fragments, icmpEcho, type Station, udp } from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { set16 } from '../../wire/bytes.ts';
import { fillIpv4Checksum } from '../../wire/ipv4.ts';
import { C1, C2, D1, expectNoLeak, FEW, GA, GB, gatewayBed, only, read, send } from './gateway-bed.ts';

const L3 = 14;
const L4 = 34;
const FAMILIES = [4, 6] as const;

/** An echo request for the gateway in pieces. */
function pieces(
  family: 4 | 6,
  data: number,
  identification: number,
  from: Station = C1,
  mtu = 1500,
): Uint8Array[] {
  return fragments(icmpEcho({ from, to: GA, family, data, identification }), mtu, identification);
}

/** A piece of an IPv4 packet to the gateway, with any offset and length. */
function piece(packet: Uint8Array, offset: number, end: number, more: boolean): Uint8Array {
  const frame = new Uint8Array([...packet.slice(0, L4), ...packet.slice(L4 + offset, L4 + end)]);
  set16(frame, L3 + 2, frame.length - L3);
  set16(frame, L3 + 6, (more ? 0x2000 : 0) | (offset >> 3));
  fillIpv4Checksum(frame, L3);
  return frame;
}

/** A piece with an ECN codepoint. */
function marked(part: Uint8Array, family: 4 | 6, codepoint: number): Uint8Array {
  const frame = part.slice();
  frame[L3 + 1] |= family === 4 ? codepoint : codepoint << 4;
  if (family === 4) fillIpv4Checksum(frame, L3);
  return frame;
}

/** The payload of the answer that came in pieces, in any order. */
function answered(deck: MemoryDeck, family: 4 | 6): Uint8Array | undefined {
  const parts = deck.take('c1').map((frame) => {
    const ip = frame[12] === 8;
    const header = ip ? L4 : frame[20] === 44 ? 62 : 54;
    const field = ip ? (frame[20] << 8) | frame[21] : frame[20] === 44 ? (frame[56] << 8) | frame[57] : 0;
    return { at: ip ? (field & 0x1fff) << 3 : field & 0xfff8, bytes: frame.slice(header) };
  });
  if (parts.length === 0) return undefined;
  const whole = new Uint8Array(Math.max(...parts.map(({ at, bytes }) => at + bytes.length)));
  for (const { at, bytes } of parts) whole.set(bytes, at);
  expect(whole[0], 'echo reply').toBe(family === 4 ? 0 : 129);
  return whole.slice(8);
}

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 60_000;

describe('reassembly', () => {
  test.each(FAMILIES)('IP-10: IPv%i: an echo request in pieces is answered in pieces', (family) => {
    const deck = gatewayBed();
    const request = icmpEcho({ from: C1, to: GA, family, data: 20_000 });
    const parts = fragments(request, 1500);
    for (const part of parts) expect(send(deck, 'c1', part)).toBe('CONSUME');
    const frames = deck.take('c1');
    expect(frames).toHaveLength(parts.length);
    for (const frame of frames) expect(read(frame).total).toBeLessThanOrEqual(1500);
    expect(frames.map((frame) => read(frame).ip!.fragmentOffset)).toEqual(
      parts.map((part) => read(part).ip!.fragmentOffset),
    );
    expect(deck.tables().ledger).toMatchObject({
      received: 14,
      consumed: 14,
      originated: 1,
      copies: 13,
      sent: 14,
    });
    expectNoLeak(deck);
  });

  test(
    'IP-10: pieces in any order give the same datagram',
    () => {
      const order = fc.constantFrom(...FAMILIES).chain((family) =>
        fc.tuple(
          fc.constant(family),
          fc.integer({ min: 1, max: 9000 }).chain((data) =>
            fc.tuple(
              fc.constant(data),
              fc.shuffledSubarray([...pieces(family, data, 7).keys()], {
                minLength: pieces(family, data, 7).length,
              }),
            ),
          ),
        ),
      );
      fc.assert(
        fc.property(order, ([family, [data, indexes]]) => {
          const deck = gatewayBed({ arena: FEW });
          const parts = pieces(family, data, 7);
          for (const index of indexes) send(deck, 'c1', parts[index]);
          const expected = icmpEcho({ from: C1, to: GA, family, data }).slice(family === 4 ? 42 : 62);
          expect(answered(deck, family)).toEqual(expected);
          expectNoLeak(deck);
        }),
        { numRuns: 60 },
      );
    },
    PATIENCE,
  );

  test('IP-10: an exact duplicate is ignored', () => {
    const deck = gatewayBed();
    const [first, second, third] = pieces(4, 4000, 7);
    for (const part of [first, first, third, third, first]) expect(send(deck, 'c1', part)).toBe('CONSUME');
    expect(deck.take('c1')).toEqual([]);
    send(deck, 'c1', second);
    expect(answered(deck, 4)).toHaveLength(4000);
    expectNoLeak(deck);
  });

  const packet = icmpEcho({ from: C1, to: GA, data: 120 });
  test.each([
    ['by one unit', [piece(packet, 0, 64, true), piece(packet, 56, 128, false)]],
    ['from below', [piece(packet, 64, 128, false), piece(packet, 0, 72, true)]],
    ['inside', [piece(packet, 0, 96, true), piece(packet, 8, 16, true)]],
    ['around', [piece(packet, 8, 16, true), piece(packet, 0, 96, true)]],
    ['teardrop', [piece(packet, 0, 40, true), piece(packet, 24, 28, false)]],
    [
      'with two pieces',
      [piece(packet, 0, 16, true), piece(packet, 16, 32, true), piece(packet, 0, 32, true)],
    ],
    ['the last again, as if more came', [piece(packet, 32, 64, false), piece(packet, 32, 64, true)]],
    ['behind the end', [piece(packet, 32, 64, false), piece(packet, 64, 128, true)]],
    ['two ends', [piece(packet, 32, 64, false), piece(packet, 64, 128, false)]],
    ['an end before what is there', [piece(packet, 64, 128, true), piece(packet, 16, 32, false)]],
  ])('IP-10: pieces that overlap (%s) cost the datagram', (_, parts) => {
    const deck = gatewayBed();
    const verdicts = parts.map((part) => send(deck, 'c1', part));
    expect(verdicts.at(-1)).toBe('FRAG_OVERLAP');
    expect(verdicts.slice(0, -1).every((verdict) => verdict === 'CONSUME')).toBe(true);
    for (const [from, to, more] of [
      [0, 64, true],
      [64, 128, false],
    ] as const) {
      expect(send(deck, 'c1', piece(packet, from, to, more)), 'and its further pieces').toBe('FRAG_OVERLAP');
    }
    expect(deck.take('c1')).toEqual([]);
    deck.advance(30_000);
    expect(send(deck, 'c1', piece(packet, 0, 64, true)), 'for 30 s').toBe('CONSUME');
    expectNoLeak(deck);
  });

  test.each(FAMILIES)(
    'IP-10: IPv%i: what is not complete after 30 s is given up, and the sender told',
    (family) => {
      const deck = gatewayBed();
      const [first, second] = pieces(family, 4000, 7);
      send(deck, 'c1', second);
      deck.advance(29_000);
      send(deck, 'c1', first);
      deck.advance(999);
      expect(deck.take('c1')).toEqual([]);
      deck.advance(1);
      const said = only(deck, 'c1');
      expect(said.icmp).toEqual({ type: family === 4 ? 11 : 3, code: 1, rest: 0 });
      if (family === 4) expect(said.payload!.slice(0, 60)).toEqual(first.slice(L3, L3 + 60));
      expect(deck.drops()).toEqual({ FRAG_TIMEOUT: 1 });
      expectNoLeak(deck);
    },
  );

  test('IP-10: without the first piece nobody can be told', () => {
    const deck = gatewayBed();
    send(deck, 'c1', pieces(4, 4000, 7)[1]);
    deck.advance(30_000);
    expect(deck.take('c1')).toEqual([]);
    expect(deck.drops()).toEqual({ FRAG_TIMEOUT: 1 });
    expectNoLeak(deck);
  });

  test('IP-10: "ping of death": nothing ends behind 65,535 bytes', () => {
    const deck = gatewayBed();
    const long = icmpEcho({ from: C1, to: GA, data: 65_600 });
    expect(send(deck, 'c1', piece(long, 0, 1480, true))).toBe('CONSUME');
    expect(send(deck, 'c1', piece(long, 65_528, 65_600, false))).toBe('FRAG_INVALID');
    // The pieces fit by themselves, but not with the first one's longer header.
    const options = new Uint8Array([
      ...piece(long, 0, 1480, true).slice(0, L4),
      ...new Array(40).fill(1),
      ...long.slice(L4, L4 + 1472),
    ]);
    options[L3] = 0x4f;
    set16(options, L3 + 2, options.length - L3);
    set16(options, L3 + 4, 99);
    fillIpv4Checksum(options, L3);
    expect(send(deck, 'c1', options)).toBe('CONSUME');
    long[L3 + 5] = 99;
    for (let at = 1472; at < 64_000; at += 1472)
      send(deck, 'c1', piece(long, at, Math.min(at + 1472, 64_000), true));
    expect(send(deck, 'c1', piece(long, 64_000, 65_512, false))).toBe('FRAG_INVALID');
    expect(deck.take('c1')).toEqual([]);
    expectNoLeak(deck);
  });

  test('IP-10: 8,191 pieces of 8 bytes are one datagram', () => {
    const deck = gatewayBed({ mtuA: 65_520 });
    const request = icmpEcho({ from: C1, to: GA, data: 65_480 });
    const length = request.length - L4;
    for (let at = length - 8; at > 0; at -= 8) send(deck, 'c1', piece(request, at, at + 8, at + 8 < length));
    expect(deck.take('c1')).toEqual([]);
    send(deck, 'c1', piece(request, 0, 8, true));
    expect(only(deck, 'c1').payload).toEqual(request.slice(L4 + 8));
    expectNoLeak(deck);
  });

  test(
    'IP-10: memory is bounded: 48 datagrams, 24 of one port, 8 of one sender',
    () => {
      const deck = gatewayBed();
      const { arena } = deck.virtual.dataplane;
      const free = arena.free;
      const begin = (port: string, host: number, id = 1) => {
        const from = { ...(port === 'c1' ? C1 : C2), ipv4: `10.0.${port === 'c1' ? 9 : 8}.${host}` };
        send(deck, port, pieces(4, 4000, id, from)[0]);
      };
      for (let id = 1; id <= 1000; id++) {
        begin('c1', 1, id);
        expect(arena.free).toBeGreaterThanOrEqual(free - 8);
      }
      for (let host = 2; host < 200; host++) begin('c1', host);
      expect(arena.free).toBe(free - 24);
      for (let host = 2; host < 200; host++) begin('c2', host);
      expect(arena.free).toBe(free - 48);
      // The newest are there: what they lack completes them.
      for (const part of pieces(4, 4000, 1, { ...C1, ipv4: '10.0.9.199' }).slice(1)) send(deck, 'c1', part);
      expect(deck.take('c1')).toHaveLength(3);
      expect(arena.free).toBe(free - 47);
      expectNoLeak(deck);
    },
    PATIENCE,
  );

  test('IP-10: when memory is scarce, who has most gives, and nobody else waits for it', () => {
    // A quarter of the big slots is for frames on their way.
    const deck = gatewayBed({ arena: { small: 64, big: 16 } });
    for (let host = 2; host < 30; host++) {
      send(deck, 'c1', pieces(4, 4000, 1, { ...C1, ipv4: `10.0.9.${host}` })[0]);
    }
    const { arena } = deck.virtual.dataplane;
    expect(arena.scarce).toBe(true);
    expect(arena.free).toBe(64 + 4);
    for (let id = 1; id <= 10; id++) {
      for (const part of pieces(4, 4000, id, C2)) expect(send(deck, 'c2', part)).toBe('CONSUME');
      expect(deck.take('c2')).toHaveLength(3);
    }
    expectNoLeak(deck);
  });

  test('4787-14a: when all places are taken, the port that has most gives its oldest', () => {
    const deck = gatewayBed();
    const of = (port: string, host: number) =>
      port === 'c1'
        ? pieces(4, 2000, 1, { ...C1, ipv4: `10.0.9.${host}` })
        : fragments(icmpEcho({ from: { ...D1, ipv4: `10.1.0.${host}` }, to: GB, data: 2000 }), 1500);
    const each = (port: string, index: number, hosts = 24) => {
      for (let host = 2; host < hosts + 2; host++) send(deck, port, of(port, host)[index]);
    };
    const [first, ...others] = pieces(4, 4000, 1, C2);
    // c2's is the oldest, and in the last place.
    each('c1', 0);
    each('d1', 0, 23);
    send(deck, 'c2', first);
    each('c1', 1);
    each('d1', 1, 23);
    deck.advance(1);
    each('c1', 0);
    each('d1', 0);
    for (const part of others) expect(send(deck, 'c2', part)).toBe('CONSUME');
    expect(deck.take('c2')).toHaveLength(3);
    // c1 has lost its oldest, and d1 nothing.
    const { arena } = deck.virtual.dataplane;
    expect(arena.free).toBe(arena.frames.length - 23 - 24);
    expectNoLeak(deck);
  });

  test('IP-10: what is spoilt holds no memory, and its place is given up first when all are taken', () => {
    const deck = gatewayBed();
    const { arena } = deck.virtual.dataplane;
    const free = arena.free;
    for (const port of ['c1', 'c2']) {
      for (let host = 2; host < 40; host++) {
        const from = { ...(port === 'c1' ? C1 : C2), ipv4: `10.0.9.${host}` };
        const frame = icmpEcho({ from, to: GA, data: 120 });
        send(deck, port, piece(frame, 0, 64, true));
        send(deck, port, piece(frame, 56, 128, false));
      }
    }
    expect(arena.free).toBe(free);
    const from = { ...C2, ipv4: '10.0.7.7' };
    for (const part of pieces(4, 4000, 1, from)) expect(send(deck, 'c2', part)).toBe('CONSUME');
    expect(deck.take('c2')).toHaveLength(3);
    expectNoLeak(deck);
  });

  test("IP-10: a source's pieces of other datagrams make an identification old: 64 (RFC 4963)", () => {
    const deck = gatewayBed();
    for (const others of [64, 65]) {
      const [first, second] = pieces(4, 2000, 7);
      send(deck, 'c1', first);
      for (let i = 0; i < others / 2; i++) {
        const [one, two] = pieces(4, 2000, 100 + i);
        send(deck, 'c1', one);
        if (i * 2 + 1 < others) send(deck, 'c1', two);
      }
      deck.take('c1');
      send(deck, 'c1', second);
      expect(deck.take('c1')).toHaveLength(others === 64 ? 2 : 0);
      expectNoLeak(deck);
    }
    deck.take('c1');
    // 40 between each two of three pieces are not 80.
    const answers = pieces(4, 4000, 7).map((part) => {
      send(deck, 'c1', part);
      const { length } = deck.take('c1');
      for (let id = 200; id < 220; id++) for (const other of pieces(4, 2000, id)) send(deck, 'c1', other);
      deck.take('c1');
      return length;
    });
    expect(answers).toEqual([0, 0, 3]);
    expectNoLeak(deck);
  });

  test('RFC 3168 §5.3: congestion that one piece met is what the datagram met', () => {
    const deck = gatewayBed();
    for (const family of FAMILIES) {
      for (const [marks, expected] of [
        [[2, 2], 2],
        [[2, 3], 3],
        [[1, 3], 3],
        [[0, 0], 0],
        [[3, 3], 3],
      ] as const) {
        const parts = pieces(family, 100, 7, C1, 120).map((part, i) => marked(part, family, marks[i % 2]));
        for (const part of parts) expect(send(deck, 'c1', part)).toBe('CONSUME');
        const [answer] = deck.take('c1');
        expect(read(answer).icmp, 'the header checksum is right').toMatchObject({
          type: family === 4 ? 0 : 129,
        });
        expect(family === 4 ? answer[L3 + 1] & 3 : (answer[L3 + 1] >> 4) & 3).toBe(expected);
      }
      for (const [id, marks] of [
        [8, [0, 3]],
        [9, [2, 0]],
      ] as const) {
        const parts = pieces(family, 100, id, C1, 120).map((part, i) => marked(part, family, marks[i % 2]));
        expect(parts.map((part) => send(deck, 'c1', part)).at(-1)).toBe('FRAG_INVALID');
      }
    }
    expect(deck.take('c1')).toEqual([]);
    expectNoLeak(deck);
  });

  test('4787-14a: one port cannot spoil what another sends, though it speaks in its name', () => {
    const deck = gatewayBed();
    const parts = pieces(4, 4000, 7);
    const forged = piece(icmpEcho({ from: C1, to: GA, data: 2000, identification: 7 }), 8, 1600, true);
    for (const part of parts) {
      send(deck, 'c2', forged);
      send(deck, 'c2', piece(forged, 0, 800, true));
      expect(send(deck, 'c1', part)).toBe('CONSUME');
    }
    expect(deck.take('c1').length + deck.take('c2').length).toBe(3);
    expectNoLeak(deck);
  });

  test('the number of a port that is gone may be another one’s: its pieces go, too', () => {
    const deck = gatewayBed();
    const [first, ...others] = pieces(4, 4000, 7);
    send(deck, 'c1', first);
    deck.detach('c1');
    const { arena } = deck.virtual.dataplane;
    expect(arena.free).toBe(arena.frames.length);
    deck.attach('c1');
    for (const part of others) send(deck, 'c1', part);
    expect(deck.take('c1')).toEqual([]);
    send(deck, 'c1', first);
    expect(deck.take('c1')).toHaveLength(3);
    expectNoLeak(deck);
  });

  test('IP-10: pieces of different datagrams do not mix', () => {
    const deck = gatewayBed();
    const [first] = pieces(4, 2000, 7);
    const [, second] = pieces(4, 2000, 8);
    const [, other] = pieces(4, 2000, 7, { ...C1, ipv4: '10.0.0.9' });
    const [, datagram] = fragments(
      udp({ from: C1, to: GA, dstPort: 9, identification: 7, data: 2000 }),
      1500,
    );
    for (const part of [first, second, other, datagram]) expect(send(deck, 'c1', part)).toBe('CONSUME');
    expect(deck.take('c1')).toEqual([]);
    expectNoLeak(deck);
  });

  test(
    'IP-10: arbitrary pieces never throw, never leak, and never give what was not sent',
    () => {
      const cut = fc.record({
        id: fc.integer({ min: 1, max: 3 }),
        from: fc.integer({ min: 0, max: 24 }),
        length: fc.integer({ min: 1, max: 24 }),
        more: fc.boolean(),
      });
      const request = icmpEcho({ from: C1, to: GA, data: 184 });
      fc.assert(
        fc.property(fc.array(cut, { maxLength: 40 }), (cuts) => {
          const deck = gatewayBed({ arena: FEW });
          for (const { id, from, length, more } of cuts) {
            const end = Math.min(request.length - L4, (from + length) * 8);
            const part = piece(request, from * 8, end, more);
            if (end <= from * 8) continue;
            part[L3 + 5] = id;
            fillIpv4Checksum(part, L3);
            send(deck, 'c1', part);
            const answer = answered(deck, 4);
            // A shorter whole has a wrong checksum: only the true one is answered.
            if (answer) expect(answer).toEqual(request.slice(L4 + 8));
          }
          expectNoLeak(deck);
        }),
        { numRuns: 300 },
      );
    },
    PATIENCE,
  );
});
