import { describe, expect, test } from 'vitest';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';
import { parsed } from '../../src/why/packets.ts';
import type { Step } from '../../src/why/question.ts';
import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { HOLD } from '../../switch/verdict.ts';
import { why } from './bed.ts';

function makeDeck(options: Partial<Parameters<typeof memoryDeck>[0]> = {}): MemoryDeck {
  return memoryDeck({
    conntrack: { capacity: 64 },
    uplinks: {
      up: { ipv4: '192.0.2.2/24', ipv6: '2001:db8::2/64', gateway4: '192.0.2.1', gateway6: '2001:db8::1' },
    },
    networks: {
      a: { ipv4: '10.1.0.1/24', ipv6: 'fd01::1/64', uplink: 'up' },
      b: { ipv4: '10.2.0.1/24', ipv6: 'fd02::1/64', uplink: 'up' },
    },
    ports: {
      a1: { network: 'a', station: { mac: '02:42:0a:01:00:02', ipv4: '10.1.0.2', ipv6: 'fd01::2' } },
      a2: { network: 'a', station: { mac: '02:42:0a:01:00:03', ipv4: '10.1.0.3', ipv6: 'fd01::3' } },
      // One host with two interfaces.
      'm:a': { network: 'a', station: { mac: '02:42:0a:01:00:04', ipv4: '10.1.0.4', ipv6: 'fd01::4' } },
      'm:b': { network: 'b', station: { mac: '02:42:0a:02:00:04', ipv4: '10.2.0.4', ipv6: 'fd02::4' } },
      out: { network: 'up', station: { mac: '02:42:c0:00:02:01', ipv4: '192.0.2.1', ipv6: '2001:db8::1' } },
    },
    ...options,
  });
}

const kinds = (steps: readonly Step[]) => steps.map(({ kind }) => kind);
const drops = (steps: readonly Step[]) =>
  steps.flatMap((step) => step.drops.map((one) => DROP_REASON_NAMES[one]));

describe('a conversation', () => {
  test.each(['10.1.0.3', 'fd01::3'])('of TCP with %s takes both directions, to the first bytes', (to) => {
    const { steps, failure, assumed } = why(makeDeck(), 'a1', to, 'tcp');
    expect({ failure, assumed }).toEqual({ failure: null, assumed: false });
    expect(kinds(steps.filter(({ kind }) => !kind.startsWith('neighbor')))).toEqual([
      'request',
      'answer',
      'acknowledgment',
      'data',
    ]);
  });

  test.each(['192.0.2.1', '198.51.100.9', '2001:db8:5::9'])(
    'with %s is answered from outside, as is assumed',
    (to) => {
      const deck = makeDeck();
      // The MAC of a router that nobody has told of has to be asked for.
      deck.detach('out');
      deck.attach('router', { network: 'up' });
      const { steps, failure, assumed } = why(deck, 'a1', to, 'udp', 443);
      expect({ failure, assumed }).toEqual({ failure: null, assumed: true });
      const request = steps.find(({ kind }) => kind === 'request')!;
      // The next hop was asked for first, and the packet waited.
      expect(request.verdict).toBe(HOLD);
      expect(request.stories.length).toBeGreaterThan(1);
    },
  );

  test('waits for a next hop that never answers, and hears of it', () => {
    const deck = makeDeck();
    deck.setUserRules([{ id: 1, action: 'ACCEPT' }]);
    const { steps, failure } = why(deck, 'a1', '10.2.0.99');
    expect(failure).toBe('refused');
    const request = steps.at(-1)!;
    expect(request.reply).toEqual({ kind: 'icmp-error', type: 3, code: 1 });
    expect(drops([request])).toEqual(['NEIGH_FAILED']);
    expect(request.waited).toBeGreaterThan(1000);
    expect(deck.now).toBe(0);
  });

  test('with the gateway ends with the gateway', () => {
    const deck = makeDeck();
    expect(why(deck, 'a1', '10.1.0.1').failure).toBeNull();
    expect(why(deck, 'a1', 'fd01::1', 'tcp', 53).failure).toBeNull();
    expect(why(deck, 'a1', '10.1.0.1', 'udp', 53).failure).toBeNull();
    const { failure, steps } = why(deck, 'a1', '10.1.0.1', 'udp', 99);
    expect(failure).toBe('refused');
    expect(steps.at(-1)!.reply).toEqual({ kind: 'icmp-error', type: 3, code: 3 });
  });

  test('of a host with two interfaces leaves by the one that leads there', () => {
    const { steps, names, failure } = why(makeDeck(), 'm:b', '10.1.0.3');
    // Its address of the other network is none of that port's.
    expect(failure).toBe('dropped');
    expect(names[steps.at(-1)!.from]).toBe('m:a');
    expect(drops(steps)).toContain('ARP_SPOOF');
  });

  test('goes by a connection that stands already, and takes no port of another', () => {
    const deck = makeDeck();
    const first = why(deck, 'a1', '198.51.100.9', 'udp', 443);
    for (const { from, frame } of first.steps) deck.send(first.names[from]!, frame);
    const again = why(deck, 'a1', '198.51.100.9', 'udp', 443);
    const port = ({ steps }: typeof first) => {
      const { frame } = steps.find(({ kind }) => kind === 'request')!;
      const { bytes, l4 } = parsed(frame)!;
      return (bytes[l4]! << 8) | bytes[l4 + 1]!;
    };
    expect(again.failure).toBeNull();
    expect(port(again)).not.toBe(port(first));
  });

  test('finds a table that is full as it is', () => {
    const deck = makeDeck({ conntrack: { capacity: 1, quota: 1 } });
    const first = why(deck, 'a1', '198.51.100.9', 'tcp', 443);
    for (const { from, frame } of first.steps) deck.send(first.names[from]!, frame);
    const { failure, steps } = why(deck, 'a2', '198.51.100.9', 'tcp', 443);
    expect(failure).toBe('refused');
    expect(drops(steps)).toEqual(['CT_TABLE_FULL']);
  });

  test('is not held up by what waits for a device without room', () => {
    const deck = makeDeck();
    deck.virtual.block('a2');
    const { steps } = why(deck, 'a1', '10.1.0.3');
    const request = steps.find(({ kind }) => kind === 'request')!;
    for (let i = 0; i < 70; i++) deck.send('a1', request.frame);
    expect(deck.drops()).toEqual({ FULL_RING: 6 });
    expect(why(deck, 'a1', '10.1.0.3').failure).toBeNull();
  });
});
