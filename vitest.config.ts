import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const CPUS = availableParallelism();

/**
 * Those that need the machine to themselves: they flood, or lose what they look for when nobody gets to run for a while.
 * All others may run beside each other; see docs/testing.md.
 */
const ALONE = [
  // Thousands of connections a second, and none may fail.
  'test/whole/churn.test.ts',
  'test/whole/socket-churn.test.ts',
  // Floods, beside which no ping of others may be lost.
  'test/whole/endings.test.ts',
  'test/whole/fairness.test.ts',
  // tcpdump on both sides must see every frame.
  'test/whole/line.test.ts',
  'test/whole/wire.test.ts',
];

/** Generous: a machine that is busy with something else as well fails no test by that. */
const TIMEOUT = {
  testTimeout: 180_000,
  hookTimeout: 180_000,
  expect: { poll: { timeout: 30_000 } },
} as const;
const driven = { ...TIMEOUT, pool: 'forks' } as const;

// Projects, one after the other: `pure` needs no privileges and imports the TypeScript sources; `whole` and `alone` drive the
// built program over real namespaces and TAPs. `integrations` drive it with other programs' daemons, and are not in `npm test`.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...TIMEOUT,
          name: 'pure',
          include: ['test/**/*.test.ts'],
          exclude: ['test/{device,whole,integrations}/**'],
          // What they share has no state: files after each other in one process load it once.
          isolate: false,
          maxWorkers: CPUS,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...driven,
          name: 'whole',
          include: ['test/{device,whole}/**/*.test.ts'],
          exclude: ALONE,
          // They wait more than they work.
          maxWorkers: CPUS + 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...driven,
          name: 'alone',
          include: ALONE,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...driven,
          name: 'integrations',
          include: ['test/integrations/**/*.test.ts'],
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
