import { invalid } from '../control/error.ts';
import { shrinkCapture } from '../replay/capture-shrink.ts';
import { Condition, ConditionError } from '../replay/condition.ts';
import type { Scenario } from '../replay/scenario.ts';
import { writeScenario } from '../replay/shrunk-scenario.ts';
import { EXIT_DONE, type Format, say, style } from './output.ts';
import { ProgressLine } from './progress-line.ts';
import { countGrouped } from './replay-text.ts';

export interface ShrinkFlags {
  format: Format;
  /** What is to be shown. */
  condition: string;
  /** Folder for the scenario; named after the condition when left out. */
  into: string | undefined;
  seed?: number;
  policy?: Scenario;
}

/**
 * `tapdeck replay CAPTURE --shrink CONDITION`: the smallest part of a capture that still shows it, as a scenario with its
 * test. Answers the exit code.
 * @throws DeckError when the condition has a mistake, nothing shows it, or the folder is not empty; CaptureError
 */
export function replayShrink(path: string, flags: ShrinkFlags): number {
  const { format, into, seed, policy } = flags;
  const progress = new ProgressLine(path);
  try {
    const condition = new Condition(flags.condition);
    const folder = into ?? folderName(condition.text);
    const result = shrinkCapture(path, condition, {
      ...(seed !== undefined && { seed }),
      ...(policy && { policy }),
      warn: (problem) => {
        progress.clear();
        say(`${style('yellow', 'warning', process.stderr)}: ${problem.message}`);
      },
      onProgress: (packets, tries) =>
        progress.say(
          `${countGrouped(packets, 'packet')}, ${countGrouped(tries, 'try').replace('trys', 'tries')}`,
        ),
    });
    progress.clear();
    const files = writeScenario(folder, result, condition);
    const { frames, packetsBefore, bytesBefore, tries } = result;
    const bytes = frames.reduce((sum, frame) => sum + frame.bytes.length, 0);
    const packets = frames.map(({ number, port }) => ({ number, port: result.plan.ports[port]!.name }));
    const found = {
      condition: condition.text,
      folder,
      files,
      packetsBefore,
      bytesBefore,
      packets,
      bytes,
      tries,
    };
    if (format === 'json') process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
    else {
      process.stdout.write(
        `${path}: ${countGrouped(packetsBefore, 'packet')} and ${countGrouped(bytesBefore, 'byte')} up to '${condition.text}'
${folder}: ${countGrouped(frames.length, 'packet')} and ${countGrouped(bytes, 'byte')}, after ${tries.toLocaleString('en-US')} replays
${files.map((file) => `  ${file}\n`).join('')}`,
      );
    }
    return EXIT_DONE;
  } catch (error) {
    if (error instanceof ConditionError || error instanceof RangeError) throw invalid(error.message);
    throw error;
  } finally {
    progress.clear();
  }
}

/** `drop reason = CT_INVALID` → `drop-reason-ct-invalid`. */
function folderName(condition: string): string {
  return condition
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}
