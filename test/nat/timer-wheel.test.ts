import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TICK, TimerWheel } from '../../nat/timer-wheel.ts';

const HORIZON = 65_536 * TICK;

function popAll(wheel: TimerWheel, now: number): number[] {
  const rows: number[] = [];
  for (let row = wheel.pop(now); row !== -1; row = wheel.pop(now)) rows.push(row);
  return rows.sort((a, b) => a - b);
}

describe('timer wheel', () => {
  test('without rows the deadline is Infinity and nothing fires', () => {
    const wheel = new TimerWheel(4);
    expect(wheel.deadline).toBe(Number.POSITIVE_INFINITY);
    expect(wheel.pop(1e9)).toBe(-1);
  });

  test('a row fires at the end of its slot, and the deadline says when', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(3, 1000, 0);
    expect(wheel.deadline).toBe(1024);
    expect(wheel.pop(1023.9)).toBe(-1);
    expect(wheel.pop(1024)).toBe(3);
    expect(wheel.pop(1024)).toBe(-1);
    expect(wheel.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  test('time 0 is a time', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 0, 0);
    expect(wheel.deadline).toBe(0);
    expect(wheel.pop(0)).toBe(0);
  });

  test('what is due already fires at once', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 500_000, 400_000);
    wheel.schedule(1, 10, 400_000);
    expect(wheel.deadline).toBeLessThanOrEqual(400_000);
    expect(popAll(wheel, 400_000)).toEqual([1]);
  });

  test('rows of one slot fire together, in the middle of a list or not; cancelled ones do not', () => {
    const wheel = new TimerWheel(8);
    for (let row = 0; row < 6; row++) wheel.schedule(row, 1000, 0);
    for (const row of [0, 3, 5]) wheel.cancel(row);
    expect(popAll(wheel, 1024)).toEqual([1, 2, 4]);
  });

  test('an idle wheel starts anew at any time', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 100, 0);
    expect(popAll(wheel, 5000)).toEqual([0]);
    const late = 40 * HORIZON + 17;
    wheel.schedule(1, late + 1000, late);
    expect(wheel.deadline - late).toBeGreaterThanOrEqual(1000);
    expect(wheel.deadline - late).toBeLessThan(1000 + TICK);
    expect(popAll(wheel, wheel.deadline)).toEqual([1]);
  });

  test('a wheel with one far row takes near ones later on, across the end of the slots', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 7_440_000, 0);
    const now = 7_439_000;
    wheel.schedule(1, now + 7_440_000, now);
    wheel.schedule(2, now + 500, now);
    expect(wheel.deadline).toBeLessThan(now + 500 + TICK);
    expect(popAll(wheel, wheel.deadline)).toEqual([2]);
    expect(popAll(wheel, 7_440_000)).toEqual([0]);
    expect(popAll(wheel, now + 7_440_000 - 1)).toEqual([]);
    expect(popAll(wheel, now + 7_440_000 + TICK)).toEqual([1]);
  });

  test('a row beyond the horizon does not fire with one that is due now', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 3 * HORIZON, 0);
    wheel.schedule(1, 0, 0);
    expect(popAll(wheel, 0)).toEqual([1]);
    expect(wheel.deadline).toBeGreaterThan(HORIZON - 2 * TICK);
  });

  test('nor does a far one with one that is overdue', () => {
    const wheel = new TimerWheel(4);
    wheel.schedule(0, 100, 0);
    wheel.schedule(1, 1e6 + HORIZON - 1000, 1e6);
    expect(popAll(wheel, 1e6)).toEqual([0]);
  });

  const at = fc.oneof(fc.nat(1000), fc.nat(600_000), fc.nat(7_440_000), fc.nat(3 * HORIZON));
  const step = fc.oneof(
    fc.record({ kind: fc.constant('schedule' as const), row: fc.nat(15), after: at }),
    fc.record({ kind: fc.constant('cancel' as const), row: fc.nat(15) }),
    fc.record({
      kind: fc.constant('wait' as const),
      milliseconds: fc.oneof(
        fc.double({ min: 0, max: 300, noNaN: true }),
        fc.nat(100_000),
        fc.nat(9_000_000),
      ),
    }),
  );

  test('property: never early, less than a tick late, beyond the horizon too', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(10_000_000), (steps, start) => {
        const wheel = new TimerWheel(16);
        const model = new Map<number, number>();
        let now = start;
        /** As the connection table does: whoever fires before its time goes in again. */
        const expire = () => {
          for (let row = wheel.pop(now); row !== -1; row = wheel.pop(now)) {
            const due = model.get(row);
            expect(due, `row ${row} fired, which was not scheduled`).toBeDefined();
            if (due! > now) wheel.schedule(row, due!, now);
            else model.delete(row);
          }
          if (model.size === 0) return;
          const first = Math.min(...model.values());
          expect(wheel.deadline, 'the deadline').toBeLessThan(first + TICK);
          expect(first, 'a row that has not fired').toBeGreaterThan(now - TICK);
        };
        for (const each of steps) {
          if (each.kind === 'wait') {
            // The owner comes at each deadline, as the loop does.
            const until = now + each.milliseconds;
            while (wheel.deadline <= until) {
              now = Math.max(now, wheel.deadline);
              for (const due of model.values()) expect(due).toBeGreaterThan(now - TICK - 1e-6);
              expire();
            }
            now = until;
          } else if (model.has(each.row)) {
            wheel.cancel(each.row);
            model.delete(each.row);
          } else if (each.kind === 'schedule') {
            wheel.schedule(each.row, now + each.after, now);
            model.set(each.row, now + each.after);
          }
          expire();
          if (model.size === 0) expect(wheel.deadline).toBe(Number.POSITIVE_INFINITY);
        }
      }),
    );
  });
});
