import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { icmpEcho, udp } from '../../src/testing/frames.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Arena, type Frame } from '../../switch/frame.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox } from '../../switch/outbox.ts';
import { drop, PASS } from '../../switch/verdict.ts';
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
});
