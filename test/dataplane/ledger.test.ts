import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bed, NETWORKS, step } from './ledger-bed.ts';

test('the ledger balances after every step, and no frame is kept that is not held', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
      const bed = new Bed();
      const { dataplane } = bed;
      for (const each of steps) {
        bed.take(each);
        expect(dataplane.ledger.imbalance(), JSON.stringify(each)).toBe(0);
        expect(dataplane.ledger.held).toBeGreaterThanOrEqual(0);
      }
      bed.take({ what: 'wait', milliseconds: 60_000 });
      for (let network = 0; network < NETWORKS; network++) {
        if (bed.networks[network] !== undefined) bed.removeNetwork(network);
      }
      expect(dataplane.ledger.held).toBe(0);
      expect(dataplane.ledger.imbalance()).toBe(0);
      expect(dataplane.arena.free).toBe(dataplane.arena.frames.length);
      expect(dataplane.fdb.size).toBe(0);
      expect(dataplane.neighbors.size).toBe(0);
    }),
    { numRuns: 300 },
  );
});
