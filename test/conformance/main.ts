/**
 * What the standards ask of a NAT, tried with packets: `npm run conformance`, or
 * `node dist/test/conformance/main.js [--only ROW]... [--no-kernel] [--format json]`.
 *
 * Two subjects get the same packets: tapdeck's data plane in virtual time, and Linux (a bridge with nftables in namespaces
 * of their own), which takes root, iproute2 and nftables. Exit code 1 when tapdeck does not meet a MUST, or fewer than
 * 95 % of the SHOULDs; 2 for a wrong argument.
 */
import { parseArgs } from 'node:util';
import { KERNEL, removeNamespaces } from './kernel.ts';
import type { Row } from './row.ts';
import { CHAPTERS, ROWS } from './rows.ts';
import { type Result, tryRow } from './run.ts';
import { HEADER, isMet, json, line, type Score, summary } from './scoreboard.ts';
import { TAPDECK } from './tapdeck.ts';

const USAGE = 'usage: conformance [--only ROW]... [--no-kernel] [--format table|json]\n';

interface Options {
  rows: ReadonlySet<Row>;
  kernel: boolean;
  format: string;
}

function options(): Options {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      'no-kernel': { type: 'boolean', default: false },
      format: { type: 'string', default: 'table' },
    },
  });
  const { only, format } = values;
  if (format !== 'table' && format !== 'json') throw new Error(`there is no format '${format}'`);
  const rows = only.flatMap((name) => {
    // A row, or all rows that begin so: `4787`, `5508-3`.
    const named = ROWS.filter(({ id }) => id === name);
    const found = named.length > 0 ? named : ROWS.filter(({ id }) => id.startsWith(name));
    if (found.length === 0) throw new Error(`there is no row '${name}'`);
    return found;
  });
  return { rows: new Set(only.length === 0 ? ROWS : rows), kernel: !values['no-kernel'], format };
}

async function main(): Promise<number> {
  let chosen: Options;
  try {
    chosen = options();
  } catch (error) {
    process.stderr.write(`conformance: ${(error as Error).message}\n${USAGE}`);
    return 2;
  }
  const { rows, kernel, format } = chosen;
  if (kernel && process.getuid?.() !== 0) {
    process.stderr.write(
      'conformance: the kernel is tried in namespaces, which takes root; use sudo, or --no-kernel\n',
    );
    return 1;
  }
  const print = (text: string) => format === 'table' && process.stdout.write(`${text}\n`);
  const scores: Score[] = [];
  print(HEADER);
  for (const chapter of CHAPTERS) {
    const present = chapter.rows.filter((row) => rows.has(row));
    if (present.length > 0) print(`\n${chapter.title}`);
    for (const row of present) {
      const tapdeck: Result = await tryRow(row, TAPDECK);
      const score = { row, tapdeck, kernel: kernel ? await tryRow(row, KERNEL) : null };
      scores.push(score);
      print(line(score).join('\n'));
    }
  }
  print(`\n${summary(scores)}`);
  if (format === 'json') process.stdout.write(`${json(scores)}\n`);
  return isMet(scores) ? 0 : 1;
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    removeNamespaces();
    process.exit(code);
  });
}
process.exitCode = await main();
