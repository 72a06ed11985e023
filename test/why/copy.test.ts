import fc from 'fast-check';
import { expect, test } from 'vitest';
import { packTables, StateWriter } from '../../src/recording/state-carrier.ts';
import { TableCopy } from '../../src/recording/table-copy.ts';
import type { Question } from '../../src/why/question.ts';
import { arbitraryDeck, makeDeck, NAMES, targetsOf } from './arbitrary-deck.ts';
import { why } from './bed.ts';

/** Most are of one station to one address outside: their mappings, and who is known by them, are shared. */
const question = fc.record({
  from: fc.oneof(fc.constant('a0'), fc.constantFrom(...NAMES)),
  to: fc.oneof(
    { weight: 2, arbitrary: fc.constant('192.0.2.1') },
    { weight: 1, arbitrary: fc.constant('198.51.100.9') },
    { weight: 2, arbitrary: fc.nat(99) },
  ),
  protocol: fc.constantFrom<Question['protocol']>('udp', 'udp', 'tcp', 'icmp'),
  port: fc.constantFrom(53, 80, 8080),
});

/** What may happen while a copy is made; most often one of the conversations goes on, or begins. */
const event = fc.record({
  what: fc.oneof(
    { weight: 12, arbitrary: fc.constant('conversation' as const) },
    {
      weight: 5,
      arbitrary: fc.constantFrom(
        'wait' as const,
        'close' as const,
        'unpublish' as const,
        'detach' as const,
        'copy' as const,
      ),
    },
  ),
  number: fc.nat(99),
});

test('a copy is of the instant at which it began, whatever conversations do until it is complete', () => {
  fc.assert(
    fc.property(
      arbitraryDeck(),
      fc.constantFrom(5, 256),
      fc.array(question, { minLength: 4, maxLength: 10 }),
      fc.array(event, { minLength: 1, maxLength: 12 }),
      (shape, connections, questions, events) => {
        const deck = makeDeck(shape, connections);
        const { dataplane, ports } = deck.virtual;
        // Both sides of a conversation, as they would be.
        const ask = ({ from, to, protocol, port }: (typeof questions)[number]) => {
          const targets = targetsOf(deck);
          const target = typeof to === 'string' ? to : targets[to % targets.length]!;
          const { names, steps } = why(deck, from, target, protocol, protocol === 'icmp' ? 0 : port);
          return steps.map((step) => ({ name: names[step.from]!, bytes: step.frame }));
        };
        // Of these it is only asked, and before the others: they have the same source port, and so the same mapping.
        const conversations = questions.filter((_, i) => i % 2 === 1).map(ask);
        for (const each of questions.filter((_, i) => i % 2 === 0)) {
          const frames = ask(each);
          for (const { name, bytes } of frames) deck.send(name, bytes);
          conversations.push(frames);
        }
        const writer = new StateWriter();
        dataplane.carry(writer, none);
        // Rows are copied one by one, so that none is right only because it lies beside another.
        const copy = new TableCopy(dataplane, { block: 1 });
        const gone = new Set<string>();
        for (const { what, number } of events) {
          switch (what) {
            case 'conversation':
              for (const { name, bytes } of conversations[number % conversations.length]!) {
                if (!gone.has(name)) deck.send(name, bytes);
              }
              break;
            case 'wait':
              deck.advance([10, 2000, 40_000, 500_000][number % 4]!);
              break;
            case 'close':
              dataplane.closeFlows(number & 1 ? {} : { protocol: 17 }, deck.now);
              break;
            case 'unpublish':
              dataplane.unpublish(1 + (number % 3), deck.now);
              break;
            case 'detach':
              gone.add(NAMES[number % NAMES.length]!);
              dataplane.removePort(ports.get(NAMES[number % NAMES.length]!)!.id, deck.now);
              break;
            case 'copy':
              for (let i = 0; i < number; i++) copy.advance(() => false);
          }
        }
        expect(Buffer.compare(packTables(copy.finish()), writer.finish())).toBe(0);
      },
    ),
    { numRuns: 40 },
  );
});

function none(): never {
  throw new Error('its devices are not asked for');
}
