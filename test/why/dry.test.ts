import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packTables } from '../../src/recording/state-carrier.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { fork, saveDataplane } from '../../src/why/fork.ts';
import { ProbeDevice } from '../../src/why/probe-device.ts';
import type { Question } from '../../src/why/question.ts';
import { arbitraryDeck, makeDeck, NAMES, targetsOf } from './arbitrary-deck.ts';
import { why } from './bed.ts';
import { fingerprint } from './fingerprint.ts';

/** Two networks, a way out, a publish and a rule; and connections, neighbors and errors of the past. */
function usedDeck(): MemoryDeck {
  const deck = makeDeck({
    networks: [
      { icc: true, internal: false },
      { icc: false, internal: false },
      { icc: true, internal: true },
    ],
    rules: [{ in: 0, out: 1, protocol: 'tcp', dport: 80, action: 'ACCEPT' }],
    publishes: [{ network: 1, host: 0, from: 8080, target: 80, protocol: 'tcp' }],
  });
  for (const [from, to] of [
    ['a0', 'c0'],
    ['a0', 'b0'],
    ['c1', 'a0'],
  ] as const) {
    const { steps, names } = why(deck, from, deck.station(to).ipv4!);
    for (const step of steps) deck.send(names[step.from]!, step.frame);
    deck.advance(10);
  }
  return deck;
}

describe('a dry run', () => {
  test('changes nothing that can be reached of the data plane', () => {
    const deck = usedDeck();
    const { dataplane } = deck.virtual;
    const before = fingerprint(dataplane);
    expect(before.values.size).toBeGreaterThan(1000);
    expect([...before.values.keys()].some((path) => path.includes('#'))).toBe(true);
    for (const to of targetsOf(deck)) {
      why(deck, 'a0', to, 'tcp', 80);
      why(deck, 'b0', to, 'udp', 53);
      why(deck, 'up0', to, 'icmp');
    }
    const after = fingerprint(dataplane);
    const changed = [...after.values].filter(([path, value]) => before.values.get(path) !== value);
    expect(changed).toEqual([]);
    expect(after.values.size).toBe(before.values.size);
  });

  test('sees what a frame changes', () => {
    const deck = usedDeck();
    const { dataplane } = deck.virtual;
    const before = fingerprint(dataplane);
    deck.send('a0', new Uint8Array(14));
    const after = fingerprint(dataplane);
    const changed = [...after.values].filter(([path, value]) => before.values.get(path) !== value);
    expect(changed.map(([path]) => path)).toContain('/ledger/ports');
  });

  test('has tables of its own', () => {
    const deck = usedDeck();
    const { dataplane } = deck.virtual;
    const saved = saveDataplane(dataplane, deck.now);
    const twin = fork(saved, (port) => new ProbeDevice(port, []));
    const mine = fingerprint(dataplane).objects;
    const configured = fingerprint(dataplane.options).objects;
    const common = [...fingerprint(twin).objects].filter(
      (object) => mine.has(object) && !configured.has(object),
    );
    expect(common.map((object) => object.constructor.name)).toEqual([]);
  });

  test('leaves every deck as it was, and says what then happens', () => {
    fc.assert(
      fc.property(
        arbitraryDeck(),
        fc.array(
          fc.record({
            from: fc.constantFrom(...NAMES),
            to: fc.nat(),
            protocol: fc.constantFrom<Question['protocol']>('tcp', 'udp', 'icmp'),
            port: fc.constantFrom(53, 80, 8080),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        (shape, questions) => {
          const deck = makeDeck(shape);
          const { dataplane } = deck.virtual;
          for (const { from, to, protocol, port } of questions) {
            const targets = targetsOf(deck);
            const target = targets[to % targets.length]!;
            if (!deck.virtual.ports.has(from)) continue;
            const before = packTables(saveDataplane(dataplane, deck.now).tables);
            const said = why(deck, from, target, protocol, protocol === 'icmp' ? 0 : port);
            expect(Buffer.compare(packTables(saveDataplane(dataplane, deck.now).tables), before)).toBe(0);
            // The same frames, sent in earnest: the same verdicts, and the same bytes leave by the same ports.
            for (const step of said.steps) {
              deck.takeAll();
              deck.send(said.names[step.from]!, step.frame);
              expect(dataplane.lastVerdict).toBe(step.verdict);
              if (step.waited > 0) deck.advance(step.waited);
              const sent = Object.entries(deck.takeAll()).flatMap(([name, frames]) =>
                frames.map((frame) => `${name} ${Buffer.from(frame).toString('hex')}`),
              );
              const expected = step.sent.map(
                ({ port: by, frame }) =>
                  `${deck.virtual.nameOfPort(by)} ${Buffer.from(frame).toString('hex')}`,
              );
              expect(sent.sort()).toEqual(expected.sort());
              if (step.waited > 0) break;
            }
          }
        },
      ),
      { numRuns: 25 },
    );
  });
});
