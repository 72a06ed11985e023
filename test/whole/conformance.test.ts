import { describe, expect, test } from 'vitest';
import { KERNEL } from '../conformance/kernel.ts';
import { ROWS } from '../conformance/rows.ts';
import { tryRow } from '../conformance/run.ts';

/** What Linux is known to do: if the bed told lies, it would be here that they are seen. */
const LINUX = {
  '4787-1': 'pass',
  '4787-3': 'fail',
  '4787-8/apdf': 'pass',
  '4787-14': 'pass',
  '7857-2': 'pass',
  '5382-2': 'pass',
  '5382-8': 'pass',
  '5508-4b': 'pass',
  '5508-8': '–',
  'IP-7': 'pass',
  'IP-12': 'pass',
  'CK-3': 'pass',
} as const;

describe('the kernel as it answers rows of the conformance scoreboard', () => {
  test.each(Object.entries(LINUX))('%s: %s', async (id, expected) => {
    const { verdict, why } = await tryRow(ROWS.find((row) => row.id === id)!, KERNEL);
    expect(verdict, why).toBe(expected);
  });
});
