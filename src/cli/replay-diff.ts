import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import { FileSink } from '../capture/file-sink.ts';
import { type CaptureDiffResult, diffCapture, type FateChange } from '../replay/capture-diff.ts';
import type { PacketFate } from '../replay/packet-fate.ts';
import type { Scenario } from '../replay/scenario.ts';
import { type Format, say, style } from './output.ts';
import { ProgressLine } from './progress-line.ts';
import { countGrouped, stepTime } from './replay-text.ts';
import { formatTable } from './table.ts';

/** As diff(1) has it: nothing changes, something does, it could not be found out. */
export const EXIT_SAME = 0;
export const EXIT_DIFFERENT = 1;
export const EXIT_TROUBLE = 2;

/** Rows of the summary. */
const MOST_ROWS = 20;

/**
 * `tapdeck replay CAPTURE --with-policy A --and-with B`: every packet whose fate changes, as it is found, and a summary.
 * Answers the exit code.
 * @throws CaptureError when the capture cannot be read
 */
export function replayDiff(
  path: string,
  before: Scenario,
  after: Scenario,
  options: { format: Format; seed?: number },
): number {
  const { format, seed } = options;
  const stdout = new FileSink(1);
  const encoder = new TextEncoder();
  const print = (text: string): void => stdout.write(encoder.encode(text));
  const progress = new ProgressLine(path);
  let changes = 0;
  if (format === 'json') print('{\n  "changes": [');
  const onChange = (change: FateChange): void => {
    progress.clear();
    if (format === 'json') print(`${changes++ === 0 ? '' : ','}\n    ${JSON.stringify(change)}`);
    else print(changeText(change));
  };
  try {
    const result = diffCapture(path, before, after, {
      ...(seed !== undefined && { seed }),
      onChange,
      onProgress: (done) => progress.show(done),
      warn: (problem) => {
        progress.clear();
        stdout.flush();
        say(`${style('yellow', 'warning', process.stderr)}: ${problem.message}`);
      },
    });
    progress.clear();
    const { exceptions, ...rest } = result;
    if (format === 'json') {
      const summary = { ...rest, exceptions: exceptions.length };
      print(
        `${changes === 0 ? '' : '\n  '}],\n  "summary": ${JSON.stringify(summary, null, 2).replace(/\n/g, '\n  ')}\n}\n`,
      );
    } else print(summaryText(result));
    if (exceptions.length > 0) return EXIT_TROUBLE;
    return result.changed === 0 ? EXIT_SAME : EXIT_DIFFERENT;
  } finally {
    progress.clear();
    stdout.close();
  }
}

function changeText({ number, time, port, frame, before, after }: FateChange): string {
  const head = `${String(number).padStart(7)} ${stepTime(time)}  ${style('bold', port)}  ${frame}`;
  const indent = ' '.repeat(23);
  return `${head}\n${indent}${fateText(before)}\n${indent}→ ${fateText(after)}\n`;
}

function fateText({ reason, words }: PacketFate): string {
  if (reason === null) return style('green', words);
  return `${style('red', words)} (${DROP_TEXT[reason as DropReasonName]})`;
}

function summaryText(result: CaptureDiffResult): string {
  const { file, policies, portsBy, packets, changed, newlyDropped, newlyPassed, groups } = result;
  const head = `${file}: ${countGrouped(packets, 'packet')}, one port for each ${portsBy}; ${policies.before} → ${policies.after}`;
  if (changed === 0) return `${head}\nno packet's fate changes\n`;
  const rows = groups
    .slice(0, MOST_ROWS)
    .map(({ packets: own, first, before, after }) => [own, first, before, after]);
  const more = groups.length > MOST_ROWS ? `and ${groups.length - MOST_ROWS} other changes\n` : '';
  return `\n${head}
the fate of ${countGrouped(changed, 'packet')} changes: ${newlyDropped} that passed would be dropped, ${newlyPassed} that were dropped would pass

${formatTable(['PACKETS', 'FIRST', 'BEFORE', 'AFTER'], rows)}${more}`;
}
