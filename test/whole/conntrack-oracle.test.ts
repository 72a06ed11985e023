import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { allCases, type Case, type Recording, walks } from '../../fixtures/conntrack/cases.ts';
import { differences } from '../../fixtures/conntrack/model.ts';
import { askKernel } from '../../fixtures/conntrack/record.ts';
import { openDescriptors } from '../device/sandbox.ts';

// `npm run fixtures:conntrack` in short, against the kernel of this machine: the script works, and what it recorded
// once is what it would record today.

const recording: Recording = JSON.parse(
  readFileSync(new URL('../../fixtures/conntrack/tcp.json', import.meta.url), 'utf8'),
);

/** The cells of one state of each phase of a connection, and one scenario. */
function short(): Record<string, readonly Case[]> {
  const { cells = [], scenarios = [] } = allCases();
  return {
    cells: cells.filter(({ name }) => / in (ESTABLISHED|TIME_WAIT)$/.test(name)),
    scenarios: scenarios.filter(({ name }) => name.startsWith('synack_reuse')),
  };
}

test('the kernel of this machine answers as recorded', () => {
  const before = openDescriptors();
  for (const [group, cases] of Object.entries(short())) {
    const names = new Set(cases.map(({ name }) => name));
    const recorded = recording.groups[group]!.filter(({ name }) => names.has(name));
    expect(recorded.length).toBeGreaterThan(0);
    expect(askKernel(cases)).toEqual(recorded);
  }
  expect(openDescriptors()).toBe(before);
});

test('connections that nobody has recorded: the kernel and we agree', () => {
  const seed = 20;
  const differing = askKernel(walks(40, seed))
    .map((walk) => [walk.name, differences(walk)])
    .filter(([, differing]) => differing!.length > 0);
  expect(differing, `walks of seed ${seed}`).toEqual([]);
});
