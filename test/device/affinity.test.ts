import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { Affinity } from '../../src/runtime/affinity.ts';

/** CPUs on which this process's first thread, which runs the tests, may run. */
function allowed(): string {
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(
    readFileSync(`/proc/${process.pid}/task/${process.pid}/status`, 'utf8'),
  )![1]!;
}

const before = allowed();
const affinity = new Affinity();
afterEach(() => affinity.idle(Number.POSITIVE_INFINITY));

test('a busy thread stays, roams for a moment each second, and is free again when it is idle', () => {
  // With one CPU there is nothing to choose, and nothing to see.
  const one = cpus().length === 1 ? before : expect.stringMatching(/^\d+$/);
  affinity.busy(0);
  expect(allowed()).toEqual(one);
  affinity.busy(999);
  expect(allowed()).toEqual(one);
  affinity.busy(1000);
  expect(allowed()).toBe(before);
  affinity.busy(1009);
  expect(allowed()).toBe(before);
  affinity.busy(1010);
  expect(allowed()).toEqual(one);
  affinity.idle(1020);
  expect(allowed()).toBe(before);
});
