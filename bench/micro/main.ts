/**
 * Cost per frame: `npm run bench:micro`. Everything runs in memory, on one core, without privileges.
 *
 * The operations are timed by benchmark.js; the two claims of the packet path, that it allocates nothing and
 * copies no payload, are proven by counting: bytes of heap over ten million frames, and every access to a
 * byte behind the headers.
 */
import '../../src/runtime/engine.ts';
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { allocationPerFrame } from './allocation.ts';
import { payloadAccesses } from './copies.ts';
import { type Figure, printFigures } from './figure.ts';
import { flowFigures } from './flows.ts';
import { mappingFigures } from './mappings.ts';
import { natFigures } from './nat.ts';
import { natScaling } from './nat-scaling.ts';
import { operations } from './operations.ts';
import { pauses } from './pauses.ts';
import { replayFigures } from './replay.ts';
import { portScaling } from './scaling.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    format: { type: 'string', default: 'table' },
    only: { type: 'string' },
  },
});
const { quick } = values;

/** In this order. NAT is first, while the engine has seen no other data plane than one: as in a daemon. */
const SUITES: Readonly<Record<string, () => Figure[] | Promise<Figure[]>>> = {
  nat: () => natFigures(quick),
  'nat-scaling': () => natScaling(quick),
  operations: () => operations(quick),
  scaling: () => [portScaling(quick)],
  flows: () => flowFigures(quick),
  mappings: () => mappingFigures(quick),
  pauses: () => pauses(quick),
  allocation: () => allocationPerFrame(quick ? 1e6 : 1e7),
  copies: () => payloadAccesses(),
  // By itself, as in `tapdeck replay`: the engine is to see no other devices than those of a replay.
  replay: () => (values.only === 'replay' ? replayFigures(quick) : inAnotherProcess('replay')),
};

function inAnotherProcess(only: string): Figure[] {
  const args = [import.meta.filename, '--only', only, '--format', 'json', ...(quick ? ['--quick'] : [])];
  const { stdout } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(stdout);
}

if (values.only !== undefined && !(values.only in SUITES)) {
  throw new RangeError(`--only takes one of ${Object.keys(SUITES).join(', ')}, not ${values.only}`);
}

const figures: Figure[] = [];
for (const [name, run] of Object.entries(SUITES)) {
  if (values.only === undefined || values.only === name) figures.push(...(await run()));
}

if (values.format === 'json') console.log(JSON.stringify(figures, null, 2));
else {
  console.log(
    `Cost per frame on ${cpus()[0]?.model.trim()}, Node ${process.version}, one core: npm run bench:micro\n`,
  );
  printFigures(figures);
}
if (figures.some((figure) => figure.met === false)) process.exitCode = 1;
