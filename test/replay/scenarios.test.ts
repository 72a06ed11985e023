import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findScenarios } from '../../src/replay/find-scenarios.ts';
import { runScenario } from '../../src/replay/scenario-run.ts';
import { scenario } from '../../src/testing/index.ts';

const folders = findScenarios('fixtures/scenarios');

test('there are scenarios', () => {
  expect(folders.length).toBeGreaterThanOrEqual(12);
});

describe.each(folders.map((folder) => [basename(folder), folder]))('%s', (_, folder) => {
  test('comes out as expected', () => void scenario(folder));

  test('says why it exists, and comes out the same twice', () => {
    expect(existsSync(join(folder, 'NOTE.md'))).toBe(true);
    expect(readFileSync(join(folder, 'NOTE.md'), 'utf8').length).toBeGreaterThan(40);
    expect(runScenario(folder).sha256).toBe(runScenario(folder).sha256);
  });
});
