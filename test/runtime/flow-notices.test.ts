import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FlowEvent } from '../../src/dataplane/commands.ts';
import { FlowNotices, MOST_EVENTS } from '../../src/runtime/flow-notices.ts';

/** An event with a number; what else it has is nobody's business here. */
function event(number: number): FlowEvent {
  return { event: 'NEW', flow: { id: number } } as FlowEvent;
}

function bed() {
  const sent: { ids: number[]; lost: number }[] = [];
  const notices = new FlowNotices((events, lost) =>
    sent.push({ ids: events.map(({ flow }) => flow.id), lost }),
  );
  return { sent, notices };
}

describe('flow notices', () => {
  it('gather for 10 ms and go as one message', () => {
    const { sent, notices } = bed();
    expect(notices.deadline).toBe(Number.POSITIVE_INFINITY);
    notices.add(event(1), 0);
    notices.add(event(2), 9);
    expect(notices.deadline).toBe(10);
    notices.expire(9.9);
    expect(sent).toEqual([]);
    notices.expire(10);
    expect(sent).toEqual([{ ids: [1, 2], lost: 0 }]);
    expect(notices.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  it('are two messages ahead of whoever takes them, no more', () => {
    const { sent, notices } = bed();
    for (const [i, now] of [0, 20, 40, 60].entries()) {
      notices.add(event(i), now);
      if (notices.deadline <= now + 10) notices.expire(now + 10);
    }
    expect(sent.map(({ ids }) => ids)).toEqual([[0], [1]]);
    expect(notices.deadline).toBe(Number.POSITIVE_INFINITY);
    notices.taken(100);
    expect(notices.deadline).toBe(110);
    notices.expire(110);
    expect(sent.at(-1)).toEqual({ ids: [2, 3], lost: 0 });
  });

  it('that do not fit are counted where they are missing', () => {
    const { sent, notices } = bed();
    for (let i = 0; i < MOST_EVENTS + 7; i++) notices.add(event(i), 0);
    notices.expire(10);
    expect(sent).toHaveLength(1);
    expect(sent[0]!.ids).toHaveLength(MOST_EVENTS);
    expect(sent[0]!.lost).toBe(0);
    // The loss is told also when nothing else happens.
    expect(notices.deadline).toBe(20);
    notices.expire(20);
    expect(sent[1]).toEqual({ ids: [], lost: 7 });
  });

  it('are forgotten when nobody listens any more', () => {
    const { sent, notices } = bed();
    for (let i = 0; i < MOST_EVENTS + 7; i++) notices.add(event(i), 0);
    notices.clear();
    expect(notices.deadline).toBe(Number.POSITIVE_INFINITY);
    notices.add(event(-1), 50);
    notices.expire(60);
    expect(sent).toEqual([{ ids: [-1], lost: 0 }]);
  });

  it('account for every event, in order, whatever happens when', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ add: fc.nat(700) }) },
      { weight: 2, arbitrary: fc.constant('tick' as const) },
      fc.constant('taken' as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { sent, notices } = bed();
        let now = 0;
        let next = 0;
        let taken = 0;
        const tick = () => {
          now += 5;
          if (now >= notices.deadline) notices.expire(now);
        };
        for (const one of steps) {
          if (one === 'tick') tick();
          else if (one === 'taken') {
            if (taken < sent.length) {
              taken++;
              notices.taken(now);
            }
          } else for (let i = 0; i < one.add; i++) notices.add(event(next++), now);
          expect(sent.length - taken).toBeLessThanOrEqual(2);
        }
        for (let i = 0; i < 40; i++) {
          if (taken < sent.length) {
            taken++;
            notices.taken(now);
          }
          tick();
        }
        let expected = 0;
        for (const { ids, lost } of sent) {
          expected += lost;
          for (const id of ids) expect(id).toBe(expected++);
        }
        expect(expected).toBe(next);
        expect(notices.deadline).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });
});
