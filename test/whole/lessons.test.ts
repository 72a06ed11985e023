import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { masked, rewritten, type Step, stepsOf, Terminals } from './tour.ts';
import { TourHost } from './tour-host.ts';

// The lessons, typed as an ordinary user on a host of its own, beside which there is another machine: every command must
// print what stands there. With `TAPDECK_TOUR=write` the documents get what was printed instead.

const FOLDER = new URL('../../docs/lessons/', import.meta.url);
const WRITE = process.env['TAPDECK_TOUR'] === 'write';
const lessons = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort();

let host: TourHost;
beforeAll(() => {
  host = new TourHost();
});
afterAll(() => host?.close());

it('are six, and the list has each of them', () => {
  const list = readFileSync(new URL('README.md', FOLDER), 'utf8');
  expect(Array.from(list.matchAll(/\]\(([^)]+)\/README\.md\)/g), ([, name]) => name)).toEqual(lessons);
  expect(lessons).toHaveLength(6);
});

it.each(lessons)('%s', async (lesson) => {
  const { account, neighbor } = host;
  const file = new URL(`${lesson}/README.md`, FOLDER);
  const document = readFileSync(file, 'utf8');
  const terminals = new Terminals(account, 'docs/lessons');
  terminals.open('far', neighbor.spawn(['bash']));
  const printed = new Map<Step, string>();
  try {
    for (const step of Array.from(stepsOf(document).values()).flat()) {
      const output = await terminals.type(step);
      printed.set(step, output);
      const where = `docs/lessons/${lesson}/README.md:${step.line}: ${step.command}`;
      // No lesson shows one, and none gets into a document unseen.
      expect(output, where).not.toMatch(/^tapdeck: error: /m);
      if (!WRITE) expect(masked(output), where).toBe(masked(step.output));
    }
  } finally {
    if (WRITE) writeFileSync(file, rewritten(document, printed));
    // What a terminal has left in the background has its output.
    await neighbor.end();
    await terminals.close();
  }
  expect(await account.untilNothingIsLeft()).toEqual([]);
});
