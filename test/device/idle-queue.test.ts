import fc from 'fast-check';
import { expect, it } from 'vitest';
import { IdleQueue } from '../../src/uplink/idle-queue.ts';

const IDLE = 10_000;

it('ends rows by the time of their last use, never early and at most two seconds late', () => {
  const step = fc.record({
    kind: fc.constantFrom('touch', 'touch', 'touch', 'remove', 'expire'),
    row: fc.nat(4),
    pass: fc.oneof(fc.nat(900), fc.nat(12_000)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new IdleQueue(5, IDLE);
      const used = new Map<number, number>();
      let now = 0;
      for (const { kind, row, pass } of steps) {
        now += pass;
        if (kind === 'touch') {
          queue.touch(row, now);
          used.set(row, now);
        } else if (kind === 'remove') {
          queue.remove(row);
          used.delete(row);
        } else {
          while (queue.deadline <= now) {
            const { oldest } = queue;
            expect(now - used.get(oldest)!).toBeGreaterThanOrEqual(IDLE);
            queue.remove(oldest);
            used.delete(oldest);
          }
          for (const time of used.values()) expect(now - time).toBeLessThan(IDLE + 2000);
        }
        for (let i = 0; i < 5; i++) expect(queue.has(i)).toBe(used.has(i));
        expect(queue.oldest >= 0).toBe(used.size > 0);
        expect(queue.deadline).toBe(used.size > 0 ? queue.lastUse(queue.oldest) + IDLE + 1000 : Infinity);
      }
    }),
  );
});
