import { cpus, loadavg, release } from 'node:os';
import { type Row, wantedOf } from './entry.ts';

/** What the figures depend on besides the program. */
export interface Machine {
  kernel: string;
  cpu: string;
  cpus: number;
  node: string;
  /** Processes that wanted to run when the bench began, averaged over a minute: above 0.3, others disturb it. */
  load: number;
}

export function machine(): Machine {
  const all = cpus();
  return {
    kernel: release(),
    cpu: all[0]?.model.trim() ?? 'unknown',
    cpus: all.length,
    node: process.version,
    load: loadavg()[0]!,
  };
}

/** The table as text; `command` is how to make it again. */
export function table(rows: readonly Row[], about: Machine, pairs: number, command: string): string {
  const cells: string[][] = [['', 'MTU', 'MEDIAN', 'MIN – MAX', 'RATIO', 'TARGET', '', '']];
  for (const row of rows) {
    const { contender, mtu, ratio, target, met, detail = '' } = row;
    cells.push([
      `  ${contender}`,
      String(mtu),
      figure(row, row.median),
      `${figure(row, row.min)} – ${figure(row, row.max)}`,
      ratio === undefined ? '' : ratio.toFixed(2),
      target === undefined ? '' : `${target.is === 'least' ? '≥' : '≤'} ${wantedOf(target).toFixed(2)}`,
      met === undefined ? '' : met ? 'met' : 'MISSED',
      detail,
    ]);
  }
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  const print = (line: string[]) =>
    line
      .map((cell, column) =>
        column === 0 || column > 4 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  const lines = [
    `Linux ${about.kernel}, ${about.cpus} × ${about.cpu}, Node ${about.node}, load ${about.load.toFixed(2)}`,
    `${pairs} interleaved rounds; RATIO is the median of the ratios to the kernel at MTU 1500 in the same round`,
    `(sockets of the host: of tapdeck to the peer on the line)`,
    `made by: ${command}`,
    '',
    print(cells[0]!),
  ];
  rows.forEach((row, index) => {
    if (row.title !== rows[index - 1]?.title) lines.push(row.title);
    lines.push(print(cells[index + 1]!));
  });
  return `${lines.join('\n')}\n`;
}

function figure(row: Row, value: number): string {
  if (row.unit.endsWith('/s') && row.unit !== 'Gbit/s') return Math.round(value).toLocaleString('en-US');
  return value.toFixed(row.unit === 'Gbit/s' ? 2 : 1);
}
