import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FlowEntry, FlowFilter } from '../../src/dataplane/commands.ts';
import { matchesFlow } from '../../src/dataplane/flows.ts';
import { icmpEcho, tcp, udp } from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { C1, C2, D1, EXT1, EXT2, natBed, R, UP, VIA_GA, VIA_UP } from './nat-bed.ts';

/** Connections of every kind, in and out, in both IP versions. */
function busyDeck(): MemoryDeck {
  const deck = natBed({ routed: true });
  deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
  for (const family of [4, 6] as const) {
    const mine = { from: C1, via: VIA_GA, family, srcPort: 5000 };
    deck.send('c1', udp({ ...mine, to: EXT1, dstPort: 53, data: 'x' }));
    deck.send('c1', udp({ ...mine, to: D1, dstPort: 8000, data: 'x' }));
    deck.send('c1', tcp({ ...mine, to: EXT2, dstPort: 443, flags: 'S', sequence: 1 }));
    deck.send('c1', icmpEcho({ from: C1, to: EXT1, via: VIA_GA, family, identifier: 77 }));
  }
  const theirs = { from: R, to: UP, via: VIA_UP, srcPort: 6000, dstPort: 8080 };
  deck.send('ext', tcp({ ...theirs, flags: 'S', sequence: 1 }));
  return deck;
}

/** A filter of values that occur, and of some that do not. */
function filters(flows: readonly FlowEntry[]): fc.Arbitrary<FlowFilter> {
  const of = <T>(values: readonly T[], ...others: T[]) => fc.constantFrom(...new Set([...values, ...others]));
  const sides = flows.flatMap(({ original, reply }) => [original, reply]);
  const address = of(
    sides.flatMap(({ src, dst }) => [src, dst]),
    '192.0.2.99',
    '2001:db8::99',
    'nonsense',
  );
  const port = of(
    sides.flatMap(({ srcPort, dstPort }) => [srcPort, dstPort]),
    0,
    9999,
  );
  return fc.record(
    {
      protocol: of([1, 6, 17, 58], 47),
      family: of([4, 6] as (4 | 6)[]),
      src: address,
      dst: address,
      replySrc: address,
      replyDst: address,
      srcPort: port,
      dstPort: port,
      replySrcPort: port,
      replyDstPort: port,
      state: of(['SYN_SENT', 'ESTABLISHED', 'NONE'], 'nonsense'),
      network: of(
        sides.map(({ network }) => network),
        99,
      ),
      publish: of(
        flows.map(({ publish }) => publish),
        99,
      ),
    },
    { requiredKeys: [] },
  );
}

describe('a filter', () => {
  const deck = busyDeck();
  const { dataplane } = deck.virtual;
  const all = deck.flows();

  test('has something of everything to choose from', () => {
    expect(new Set(all.map(({ protocol }) => protocol))).toEqual(new Set([1, 6, 17, 58]));
    expect(all.some(({ publish }) => publish >= 0)).toBe(true);
    expect(all).toHaveLength(9);
  });

  test('means the same to rows as to their descriptions', () => {
    fc.assert(
      fc.property(filters(all), (filter) => {
        const expected = all.filter((flow) => matchesFlow(flow, filter));
        expect(dataplane.flows(filter, deck.now)).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });

  test('of one value each finds what has it', () => {
    for (const flow of all) {
      const { original, reply, protocol, family, publish } = flow;
      const filter: FlowFilter = { protocol, family, publish, src: original.src, replyDst: reply.dst };
      if (flow.state !== null) filter.state = flow.state;
      Object.assign(filter, {
        srcPort: original.srcPort,
        dstPort: original.dstPort,
        replySrcPort: reply.srcPort,
      });
      expect(dataplane.flows(filter, deck.now)).toContainEqual(flow);
    }
  });

  test('ends what it means, and nothing else', () => {
    const deck = busyDeck();
    const { dataplane } = deck.virtual;
    const before = deck.flows();
    expect(dataplane.closeFlows({ protocol: 17, src: C1.ipv4 }, deck.now)).toBe(2);
    const left = before.filter(({ protocol, original }) => protocol !== 17 || original.src !== C1.ipv4);
    expect(deck.flows()).toEqual(left);
    expect(dataplane.closeFlows({ src: 'nonsense' }, deck.now)).toBe(0);
    expect(dataplane.closeFlows({}, deck.now)).toBe(left.length);
  });
});

test('a long table is told in parts that are short', () => {
  const deck = natBed();
  const ports = Array.from({ length: 1200 }, (_, i) => 2000 + i);
  for (const dstPort of ports) {
    deck.send('c1', udp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort, data: 'x' }));
  }
  const { dataplane } = deck.virtual;
  const found: number[] = [];
  let parts = 0;
  for (let next: number | null = 0; next !== null; parts++) {
    const page = dataplane.flowPage({}, next, deck.now);
    expect(page.flows.length).toBeLessThanOrEqual(512);
    found.push(...page.flows.map(({ original }) => original.dstPort));
    next = page.next;
  }
  expect(parts).toBe(3);
  expect(found.toSorted((one, other) => one - other)).toEqual(ports);
  expect(dataplane.flows({ dstPort: 2500 }, deck.now)).toHaveLength(1);
});
