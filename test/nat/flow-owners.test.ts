import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlowOwners } from '../../nat/flow-owners.ts';

describe('owners of flows', () => {
  test('nobody has anything at first, and nobody can spare anything', () => {
    const owners = new FlowOwners(4);
    expect(owners.flows(7)).toBe(0);
    expect(owners.oldest(7)).toBe(-1);
    expect(owners.oldestOfMost()).toBe(-1);
  });

  test('property: queues as arrays would have them, for owners near and far', () => {
    const ROWS = 12;
    const owner = fc.constantFrom(0, 1, 2, 3000);
    const step = fc.record({
      row: fc.nat(ROWS - 1),
      owner,
      verb: fc.constantFrom('add', 'remove', 'keep', 'spare'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const owners = new FlowOwners(ROWS);
        const ownerOf = new Map<number, number>();
        const queues = new Map<number, number[]>([0, 1, 2, 3000].map((each) => [each, []]));
        const drop = (row: number) => {
          const queue = queues.get(ownerOf.get(row)!)!;
          if (queue.includes(row)) queue.splice(queue.indexOf(row), 1);
        };
        for (const { row, owner, verb } of steps) {
          const own = ownerOf.get(row);
          if (own === undefined) {
            owners.add(row, owner);
            ownerOf.set(row, owner);
            queues.get(owner)!.push(row);
          } else if (verb === 'remove') {
            owners.remove(row, own);
            drop(row);
            ownerOf.delete(row);
          } else if (verb === 'keep') {
            owners.keep(row, own);
            drop(row);
          } else {
            owners.spare(row, own);
            if (!queues.get(own)!.includes(row)) queues.get(own)!.push(row);
          }
          for (const [each, queue] of queues) {
            expect(owners.flows(each)).toBe([...ownerOf.values()].filter((it) => it === each).length);
            expect(owners.oldest(each)).toBe(queue[0] ?? -1);
          }
          const most = [...queues.values()].reduce((a, b) => (b.length > a.length ? b : a));
          expect(owners.oldestOfMost()).toBe(most[0] ?? -1);
        }
      }),
    );
  });
});
