import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { masked, rewritten, type Step, stepsOf, Terminals } from './tour.ts';
import { TourHost } from './tour-host.ts';

// What docs/tour.md tells, typed as an ordinary user on a host of its own: every command must print what stands there.
// With `TAPDECK_TOUR=write` the document gets what was printed instead.

const FILE = new URL('../../docs/tour.md', import.meta.url);
const WRITE = process.env['TAPDECK_TOUR'] === 'write';
const document = readFileSync(FILE, 'utf8');

let host: TourHost;
let terminals: Terminals;
const printed = new Map<Step, string>();

beforeAll(() => {
  host = new TourHost();
  terminals = new Terminals(host.account);
  terminals.open('far', host.neighbor.spawn(['bash']));
});
afterAll(async () => {
  if (WRITE) writeFileSync(FILE, rewritten(document, printed));
  await host?.close();
});

describe('docs/tour.md', () => {
  for (const [section, steps] of stepsOf(document)) {
    it(section, async () => {
      for (const step of steps) {
        const output = await terminals.type(step);
        printed.set(step, output);
        const where = `docs/tour.md:${step.line}: ${step.command}`;
        if (!WRITE) expect(masked(output), where).toBe(masked(step.output));
      }
    });
  }

  it('leaves nothing', async () => {
    await terminals.close();
    expect(await host.account.untilNothingIsLeft()).toEqual([]);
  });
});
