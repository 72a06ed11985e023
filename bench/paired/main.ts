/**
 * Two builds against each other: `npm run bench:paired -- BEFORE [AFTER]`, each a checkout that was built (`npm run build`); AFTER is
 * this one when left out. Runs them by turns, in processes of their own, and prints the cost of a frame in each and how far the
 * pairs differ. With --observed the second one has somebody who looks at every packet and never reads.
 */
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { pairs: { type: 'string', default: '10' }, observed: { type: 'boolean', default: false } },
});
const [before, after = '.'] = positionals;
const pairs = Number(values.pairs);
if (before === undefined || !(pairs >= 1)) {
  console.error('usage: npm run bench:paired -- BEFORE [AFTER] [--pairs 10] [--observed]');
  process.exit(2);
}

function measure(checkout: string, looks: string): Record<string, number> {
  const child = resolve(import.meta.dirname, 'child.js');
  return JSON.parse(
    execFileSync(process.execPath, [child, resolve(checkout, 'dist'), looks], { encoding: 'utf8' }),
  );
}

const differences = new Map<string, { before: number; after: number }[]>();
for (let pair = 0; pair < pairs; pair++) {
  // First one and then the other: what slows the machine down for longer than a pair slows both.
  const first = () => measure(before, 'alone');
  const second = () => measure(after, values.observed ? 'observed' : 'alone');
  const [a, b] =
    pair % 2 === 0
      ? [first(), second()]
      : ([second(), first()].reverse() as [Record<string, number>, Record<string, number>]);
  for (const [kind, value] of Object.entries(a)) {
    const list = differences.get(kind) ?? [];
    list.push({ before: value, after: b[kind]! });
    differences.set(kind, list);
  }
}
const median = (list: number[]) => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const best = (list: number[]) => Math.min(...list);
const ns = (value: number) => value.toFixed(1);
for (const [kind, list] of differences) {
  const [a, b] = [list.map((each) => each.before), list.map((each) => each.after)];
  const percent = list.map((each) => (each.after / each.before - 1) * 100);
  const range = `${Math.min(...percent).toFixed(1)} to ${Math.max(...percent).toFixed(1)} %`;
  console.log(
    `${kind.padEnd(12)} before ${ns(median(a))} (best ${ns(best(a))}) ns, after ${ns(median(b))} (best ${ns(best(b))}) ns; ` +
      `${list.length} pairs: median ${median(percent).toFixed(1)} %, ${range}`,
  );
}
