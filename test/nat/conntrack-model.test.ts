import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ASSURED, Conntrack, ORIGINAL, REFUSED_FULL, REFUSED_QUOTA, REPLY } from '../../nat/conntrack.ts';
import { DEFAULT_TIMEOUTS } from '../../nat/timeouts.ts';
import { TICK } from '../../nat/timer-wheel.ts';
import { TUPLE_DST_IPV4, TUPLE_SRC_IPV4, TUPLE_WORDS } from '../../nat/tuple.ts';
import type { Packet } from '../../wire/packet.ts';
import { conntrack, datagram, open, refOf, tuplesOf } from './conntrack-bed.ts';

const { udp: UDP } = DEFAULT_TIMEOUTS;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

describe('conntrack: against a model', () => {
  const port = fc.integer({ min: 1, max: 12 });
  const step = fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({
        verb: fc.constant('packet' as const),
        port,
        owner: fc.nat(2),
        // Answers are rarer than packets that may open something, so that the table is full most of the time.
        reply: fc.nat(3).map((n) => n === 0),
      }),
    },
    { weight: 1, arbitrary: fc.record({ verb: fc.constant('close' as const), port }) },
    {
      weight: 2,
      arbitrary: fc.record({
        verb: fc.constant('wait' as const),
        milliseconds: fc.oneof(fc.nat(200), fc.nat(200_000), fc.double({ min: 0, max: 5000, noNaN: true })),
      }),
    },
  );

  interface Flow {
    row: number;
    owner: number;
    expiry: number;
    answered: boolean;
    assured: boolean;
  }

  test('property: UDP flows, few rows, small quotas', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: 'max' }), fc.nat(1000), (steps, start) => {
        const table = conntrack({ capacity: 6, quota: 4 });
        /** In the order in which they were opened. */
        const model = new Map<number, Flow>();
        let now = start;
        let expected: number | null = null;
        table.onClosed = (row) => {
          const [key, flow] = [...model].find(([, each]) => each.row === row)!;
          // Who ends without having been told to has reached its time.
          if (expected === null) expect(flow.expiry).toBeLessThanOrEqual(now);
          else expect(row).toBe(expected);
          expected = null;
          model.delete(key);
        };
        const sparable = (owner: number) =>
          [...model.values()].filter((flow) => flow.owner === owner && !flow.assured);
        for (const each of steps) {
          if (each.verb === 'wait') {
            now += each.milliseconds;
            if (now >= table.deadline) table.expire(now);
            for (const flow of model.values()) expect(flow.expiry).toBeGreaterThan(now - TICK);
          } else if (each.verb === 'close') {
            expected = model.get(each.port)?.row ?? null;
            if (expected !== null) table.close(expected);
            expect(model.has(each.port)).toBe(false);
          } else {
            const packet = datagram(each.port, each.reply);
            const flow = model.get(each.port);
            if (flow) {
              table.track(refOf(flow.row, each.reply ? REPLY : ORIGINAL), packet, now);
              flow.expiry = now + UDP;
              if (!each.reply && flow.answered) flow.assured = true;
              if (each.reply) flow.answered = true;
            } else if (!each.reply) {
              const own = sparable(each.owner);
              const owned = [...model.values()].filter((it) => it.owner === each.owner).length;
              const richest = [0, 1, 2].map(sparable).reduce((a, b) => (b.length > a.length ? b : a));
              let victim: Flow | undefined;
              let answer = 0;
              if (owned >= 4) {
                victim = own[0];
                if (!victim) answer = REFUSED_QUOTA;
              } else if (model.size >= 6) {
                victim = own[0] ?? richest[0];
                if (!victim) answer = REFUSED_FULL;
              }
              expected = victim?.row ?? null;
              const row = open(table, packet, now, each.owner);
              expect(expected).toBe(null);
              if (answer !== 0) expect(row).toBe(answer);
              else {
                expect(row).toBeGreaterThanOrEqual(0);
                model.set(each.port, {
                  row,
                  owner: each.owner,
                  expiry: now + UDP,
                  answered: false,
                  assured: false,
                });
              }
            }
          }
          expect(table.size).toBe(model.size);
          for (let key = 1; key <= 12; key++) {
            const words = tuplesOf(datagram(key));
            const flow = model.get(key);
            expect(table.find(words, 0)).toBe(flow ? refOf(flow.row, ORIGINAL) : -1);
            expect(table.find(words, TUPLE_WORDS)).toBe(flow ? refOf(flow.row, REPLY) : -1);
            if (flow) {
              expect(table.status[flow.row]! & ASSURED).toBe(flow.assured ? ASSURED : 0);
              expect(table.remaining(flow.row, now)).toBe(Math.max(0, flow.expiry - now));
            }
          }
        }
      }),
    );
  });
});

describe('conntrack: size', () => {
  const CAPACITY = 262_144;

  function full(): Conntrack {
    return new Conntrack({
      capacity: CAPACITY,
      quota: CAPACITY,
      timeouts: DEFAULT_TIMEOUTS,
      loose: true,
      key: [0x1234_5678, 0x3abc_def1],
    });
  }

  test.each([0, -1, Number.NaN, 1e9])('a capacity of %d is refused', (capacity) => {
    expect(() => conntrack({ capacity })).toThrow(RangeError);
  });

  test('262,144 flows are 256 bytes each, everything included', () => {
    // What others have left would be counted when it goes.
    for (let i = 0; i < 2; i++) collectGarbage();
    const before = process.memoryUsage().arrayBuffers;
    const table = full();
    const bytes = process.memoryUsage().arrayBuffers - before;
    expect(bytes).toBeGreaterThan(CAPACITY * 80);
    expect(bytes / table.capacity).toBeLessThanOrEqual(256);
  });

  test('262,144 flows are all found, end all, and the table takes as many again', () => {
    const table = full();
    const packet: Packet = datagram(1);
    const words = tuplesOf(packet);
    const address = words[TUPLE_SRC_IPV4]!;
    const at = (i: number) => {
      words[TUPLE_SRC_IPV4] = address + i;
      words[TUPLE_WORDS + TUPLE_DST_IPV4] = address + i;
    };
    for (let round = 0; round < 2; round++) {
      const now = round * 1_000_000;
      for (let i = 0; i < CAPACITY; i++) {
        at(i);
        if (table.open(words, 0, packet, 0, false, now) < 0) throw new Error(`flow ${i} was refused`);
      }
      let wrong = 0;
      for (let i = 0; i < CAPACITY; i++) {
        at(i);
        const ref = table.find(words, 0);
        if (
          ref < 0 ||
          (ref & 1) !== ORIGINAL ||
          table.tuples[ref * TUPLE_WORDS + TUPLE_SRC_IPV4] !== address + i
        ) {
          wrong++;
        }
        if (table.find(words, TUPLE_WORDS) !== (ref | REPLY)) wrong++;
      }
      expect(wrong).toBe(0);
      expect(table.size).toBe(CAPACITY);
      table.expire(now + UDP + TICK);
      expect(table.size).toBe(0);
      at(77);
      expect(table.find(words, 0)).toBe(-1);
    }
    expect(table.high).toBeLessThanOrEqual(CAPACITY + 1);
  });
});
