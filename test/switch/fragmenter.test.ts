import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { icmpEcho, udp } from '../../src/testing/frames.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox } from '../../switch/outbox.ts';
import { drop, PASS } from '../../switch/verdict.ts';
import { get32, set16 } from '../../wire/bytes.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import { C1, D1, GA } from './gateway-bed.ts';

function bed(size = { small: 128, big: 8 }) {
  const arena = new Arena(size);
  const fragmenter = new Fragmenter(new Originator(arena, new Outbox()), new Random(1));
  const load = (bytes: Uint8Array): Frame => {
    const frame = arena.allocate(bytes.length)!;
    frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
    frame.bytes.set(bytes, frame.at);
    expect(parse(frame)).toBe(Malformed.NONE);
    return frame;
  };
  return { arena, fragmenter, load };
}

/** What is known of a frame, without where it lies. */
function described({
  at,
  length,
  l3,
  end,
  protocol,
  l4,
  payload,
  fragmentOffset,
  moreFragments,
  fragmentHeader,
}: Frame) {
  const offset = (value: number) => (value === 0 ? 0 : value - at);
  return {
    length,
    l3: offset(l3),
    end: offset(end),
    protocol,
    l4: offset(l4),
    payload: offset(payload),
    fragmentOffset,
    moreFragments,
    fragmentHeader: offset(fragmentHeader),
  };
}

describe('fragmenter', () => {
  test('what it says about the pieces is what they are', () => {
    const family = fc.constantFrom<4 | 6>(4, 6);
    fc.assert(
      fc.property(
        family,
        fc.integer({ min: 0, max: 9000 }),
        fc.integer({ min: 128, max: 2000 }),
        (family, data, mtu) => {
          const { arena, fragmenter, load } = bed();
          const frame = load(icmpEcho({ from: C1, to: GA, family, data }));
          const cut = family === 4 ? fragmenter.cutIpv4(frame, mtu) : fragmenter.cutIpv6(frame, mtu);
          expect(cut).toBe(PASS);
          let end = 0;
          for (let piece: Frame | undefined = frame; piece; piece = fragmenter.take()) {
            const said = described(piece);
            expect(said.end - said.l3).toBeLessThanOrEqual(family === 4 ? mtu : Math.max(mtu, 1280));
            expect(said.fragmentOffset, 'in order').toBe(end);
            expect(parse(piece)).toBe(Malformed.NONE);
            expect(said).toEqual(described(piece));
            const header = family === 4 ? 34 : said.fragmentHeader === 0 ? 54 : 62;
            end += said.end - header;
            if (!said.moreFragments) expect(end).toBe(8 + data);
            arena.release(piece);
          }
          expect(arena.free).toBe(arena.frames.length);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('what must not be cut is not, and without memory nothing is kept', () => {
    const { arena, fragmenter, load } = bed({ small: 2, big: 1 });
    const whole = load(udp({ from: C1, to: D1, dstPort: 9, dontFragment: true, data: 3000 }));
    expect(fragmenter.cutIpv4(whole, 1500)).toBe(drop(DropReason.PKT_TOO_BIG));
    arena.release(whole);
    const long = load(udp({ from: C1, to: D1, dstPort: 9, data: 9000 }));
    expect(fragmenter.cutIpv4(long, 1500)).toBe(drop(DropReason.NOMEM));
    arena.release(long);
    const long6 = load(icmpEcho({ from: C1, to: GA, family: 6, data: 9000 }));
    expect(fragmenter.cutIpv6(long6, 1500)).toBe(drop(DropReason.NOMEM));
    arena.release(long6);
    expect(fragmenter.take()).toBeUndefined();
    expect(arena.free).toBe(3);
  });

  test('what came in fragments with DF is cut again, in pieces with DF', () => {
    const { arena, fragmenter, load } = bed();
    const frame = load(udp({ from: C1, to: D1, dstPort: 9, dontFragment: true, data: 3000 }));
    frame.largestFragment = 1500;
    expect(fragmenter.cutIpv4(frame, 1500)).toBe(PASS);
    let pieces = 0;
    for (let piece: Frame | undefined = frame; piece; piece = fragmenter.take()) {
      expect(parse(piece)).toBe(Malformed.NONE);
      expect(piece.bytes[piece.l3 + 6] & 0x40, 'DF').toBe(0x40);
      expect(piece.end - piece.l3).toBeLessThanOrEqual(1500);
      arena.release(piece);
      pieces++;
    }
    expect(pieces).toBe(3);
  });

  test('RFC 8200 §4.5: an IPv6 datagram is cut again behind what routers read, with its identification', () => {
    // Each a header that is in every piece, or (destination options) one that is cut like the payload.
    const headers = fc.record({
      hopByHop: fc.boolean(),
      routing: fc.boolean(),
      destination: fc.integer({ min: 0, max: 60 }),
    });
    fc.assert(
      fc.property(
        headers,
        fc.integer({ min: 1300, max: 9000 }),
        fc.integer({ min: 1280, max: 2000 }),
        fc.integer(),
        ({ hopByHop, routing, destination }, data, mtu, identification) => {
          const { arena, fragmenter, load } = bed();
          const chain: [number, number[]][] = [];
          if (hopByHop) chain.push([0, [1, 4, 0, 0, 0, 0]]);
          if (routing) chain.push([43, [4, 0, 0, 0, 0, 0]]);
          const kept = 8 * chain.length;
          if (destination > 0) chain.push([60, options(destination)]);
          const whole = withHeaders(udp({ from: C1, to: D1, dstPort: 9, family: 6, data }), chain);
          const frame = load(whole);
          frame.largestFragment = mtu;
          frame.fragmentIdentification = identification;
          frame.ingress = 3;
          frame.flow = 5;
          frame.flowSerial = 6;
          expect(fragmenter.cutIpv6Forwarded(frame, mtu)).toBe(PASS);
          const fragmentable = whole.slice(54 + kept);
          if (whole.length - 14 <= mtu) {
            expect(fragmenter.take()).toBeUndefined();
            expect(frame.bytes.slice(frame.at, frame.at + frame.length)).toEqual(whole);
            return;
          }
          const got = new Uint8Array(fragmentable.length);
          let end = 0;
          for (let piece: Frame | undefined = frame; piece; piece = fragmenter.take()) {
            const said = described(piece);
            expect(parse(piece)).toBe(Malformed.NONE);
            expect(said).toEqual(described(piece));
            expect(piece).toMatchObject({ ingress: 3, flow: 5, flowSerial: 6 });
            const bytes = piece.bytes.slice(piece.at, piece.at + piece.length);
            expect(bytes.length - 14).toBeLessThanOrEqual(mtu);
            expect(said.fragmentHeader).toBe(54 + kept);
            expect(get32(bytes, said.fragmentHeader + 4)).toBe(identification);
            // The headers in front are those of the whole, but for the next header and the length.
            const before = bytes.slice(0, 54 + kept);
            before[kept === 0 ? 20 : 46 + kept] = whole[kept === 0 ? 20 : 46 + kept];
            before.set(whole.slice(18, 20), 18);
            expect(before).toEqual(whole.slice(0, 54 + kept));
            expect(said.fragmentOffset, 'in order').toBe(end);
            got.set(bytes.slice(said.fragmentHeader + 8), end);
            end += bytes.length - said.fragmentHeader - 8;
            expect(said.moreFragments).toBe(end < fragmentable.length);
            arena.release(piece);
          }
          expect(got).toEqual(fragmentable);
          expect(arena.free).toBe(arena.frames.length);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('RFC 8200 §4.5: an IPv6 packet that came in whole is not cut', () => {
    const { fragmenter, load } = bed();
    const frame = load(udp({ from: C1, to: D1, dstPort: 9, family: 6, data: 3000 }));
    expect(fragmenter.cutIpv6Forwarded(frame, 1500)).toBe(drop(DropReason.PKT_TOO_BIG));
    expect(fragmenter.take()).toBeUndefined();
  });

  test('RFC 7112: headers that do not fit into the first piece are not cut', () => {
    const { fragmenter, load } = bed();
    const chain: [number, number[]][] = [[60, options(200)]];
    const frame = load(withHeaders(udp({ from: C1, to: D1, dstPort: 9, family: 6, data: 3000 }), chain));
    frame.largestFragment = 1280;
    expect(fragmenter.cutIpv6Forwarded(frame, 1280)).toBe(drop(DropReason.PKT_TOO_BIG));
    expect(fragmenter.take()).toBeUndefined();
  });

  test('pieces that nobody took are given back at the next cut, and do not go out with it', () => {
    const { arena, fragmenter, load } = bed();
    const lost = load(udp({ from: C1, to: D1, dstPort: 9, data: 9000 }));
    expect(fragmenter.cutIpv4(lost, 1500)).toBe(PASS);
    arena.release(lost);
    for (const family of [4, 6] as const) {
      const next = load(icmpEcho({ from: C1, to: GA, family, data: 2000 }));
      expect(family === 4 ? fragmenter.cutIpv4(next, 1500) : fragmenter.cutIpv6(next, 1500)).toBe(PASS);
      expect(arena.free).toBe(arena.frames.length - 2);
      arena.release(next);
    }
    arena.release(fragmenter.take()!);
    expect(fragmenter.take()).toBeUndefined();
    expect(arena.free).toBe(arena.frames.length);
  });
});

/** The body of an options header of so many units of 8 bytes: padding. */
function options(units: number): number[] {
  const body: number[] = [];
  for (let left = units * 8 - 2; left > 0; ) {
    const data = Math.min(left - 2, 255);
    if (data < 0) body.push(0);
    else body.push(1, data, ...new Array(data).fill(0));
    left = units * 8 - 2 - body.length;
  }
  return body;
}

/** An IPv6 frame with extension headers behind its IPv6 header. */
function withHeaders(frame: Uint8Array, chain: [number, number[]][]): Uint8Array {
  const types = [...chain.map(([type]) => type), frame[20]];
  const headers = chain.flatMap(([, body], i) => [types[i + 1], (body.length + 2) / 8 - 1, ...body]);
  const whole = new Uint8Array([...frame.slice(0, 54), ...headers, ...frame.slice(54)]);
  whole[20] = types[0];
  set16(whole, 18, whole.length - 54);
  return whole;
}
