import { statSync } from 'node:fs';
import { DeckError, invalid } from '../control/error.ts';
import { Player } from '../recording/player.ts';
import { RecordingReader } from '../recording/reader.ts';
import { RecordingError } from '../recording/recording-error.ts';
import { milliseconds } from './duration.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, report, say, style } from './output.ts';
import { ProgressLine } from './progress-line.ts';
import { frameText, type RecordedTables, recordedTables, tablesText } from './recording-text.ts';
import { type Stop, stepThrough } from './replay-step.ts';

export interface RecordingFlags {
  format: Format;
  /** Stop there, a time since the beginning. */
  at?: string;
  /** Stop behind the packet of that id. */
  packet?: string;
  step?: boolean;
  /** Compare with what the recorder found. */
  verify?: boolean;
  verbose?: boolean;
}

/** What captures and scenarios are replayed with, and recordings are not. */
export interface OtherFlags {
  write?: string;
  update?: boolean;
  seed?: string;
  withPolicy?: string;
  andWith?: string;
  shrink?: string;
  into?: string;
}

const OTHER_OPTIONS: Readonly<Record<keyof OtherFlags, string>> = {
  write: '-w',
  update: '--update',
  seed: '--seed',
  withPolicy: '--with-policy',
  andWith: '--and-with',
  shrink: '--shrink',
  into: '--into',
};

/** What a replay of a recording came to. */
export interface RecordingResult {
  kind: 'recording';
  file: string;
  /** Who made it, and when. */
  tapdeck: string;
  date: string;
  /** Milliseconds since its beginning, at which the replay stopped. */
  now: number;
  /** Id of the packet that came in last. */
  packet: number | null;
  received: number;
  sent: number;
  frames: string;
  tables: string;
  /** Whether these are what the recorder found; null when it did not come to say, or the replay stopped before. */
  verified: boolean | null;
  /** Why the recording ended by itself; null when it did not. */
  problem: string | null;
  exceptions: number;
  state?: RecordedTables;
}

/** Whether a path is that of a recording; one that cannot be read is none. */
function isRecording(path: string): boolean {
  try {
    return statSync(path).isFile() && RecordingReader.isRecording(path);
  } catch {
    return false;
  }
}

/** Whether all that is to be replayed are recordings. Throws a `DeckError` when some are, or what is asked for is for them. */
export function areRecordings(
  paths: readonly string[],
  { at, packet, step, verify, ...flags }: RecordingFlags & OtherFlags,
): boolean {
  const recordings = paths.filter(isRecording);
  const other = Object.entries(OTHER_OPTIONS).find(([name]) => flags[name as keyof OtherFlags] !== undefined);
  if (recordings.length > 0 && other) {
    throw invalid(
      `${other[1]} is not for recordings, and ${recordings[0]} is one: it has its own deck; capture what is to be replayed with "tapdeck capture -w"`,
    );
  }
  if (recordings.length === paths.length) return true;
  if (recordings.length > 0) {
    throw invalid(
      `${recordings[0]} is a recording, and not all of the others are; replay them one after the other`,
    );
  }
  if (at !== undefined || packet !== undefined || step || verify) {
    throw invalid(`--at, --packet, --step and --verify are for recordings, and ${paths[0]} is none`);
  }
  return false;
}

/** `tapdeck replay RECORDING...`; answers the exit code. */
export async function replayRecordings(paths: readonly string[], flags: RecordingFlags): Promise<number> {
  const { at, packet, step } = flags;
  if (at !== undefined && packet !== undefined)
    throw invalid('--at and --packet are two places; give one of them');
  if (paths.length > 1 && (at !== undefined || packet !== undefined || step)) {
    throw invalid('--at, --packet and --step are for one recording');
  }
  if (step && flags.format === 'json') throw invalid('--step is for people; --format json is not');
  const results: RecordingResult[] = [];
  let code: number = EXIT_DONE;
  for (const path of paths) {
    const player = open(path);
    try {
      if (step) {
        await stepThrough(player, { ...stopOf(flags) });
        continue;
      }
      const result = replay(path, player, flags);
      results.push(result);
      if (flags.format === 'table') process.stdout.write(resultText(result));
      if (result.verified === false || result.exceptions > 0) code = EXIT_FAILED;
      if (flags.verify && result.verified === null) {
        say(`${path}: the recorder did not come to say what it found; nothing to compare with`);
        code = EXIT_FAILED;
      }
    } catch (error) {
      code = report(refusal(error));
    } finally {
      player.close();
    }
  }
  if (flags.format === 'json' && !step) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  return code;
}

function open(path: string): Player {
  try {
    return new Player(path);
  } catch (error) {
    throw refusal(error);
  }
}

function stopOf({ at, packet }: RecordingFlags): Stop {
  if (packet !== undefined && !/^[1-9]\d{0,9}$/.test(packet)) {
    throw invalid(`--packet must be the id of a packet, as traces show it, not '${packet}'`);
  }
  return {
    ...(at !== undefined && { at: milliseconds('--at', at) }),
    ...(packet !== undefined && { packet: Number(packet) }),
  };
}

function replay(path: string, player: Player, flags: RecordingFlags): RecordingResult {
  const stop = stopOf(flags);
  const progress = new ProgressLine(path);
  let code: unknown;
  const verbose = flags.verbose === true && flags.format === 'table';
  if (verbose) player.keepsFrames = true;
  let last: number | null = null;
  let first: number | null = null;
  let stopped = false;
  try {
    for (let steps = 0; ; steps++) {
      if (stop.at !== undefined && player.next > stop.at) {
        stopped = player.next !== Number.POSITIVE_INFINITY;
        // Between two records nothing happens, but time passes: entries age.
        if (stopped) player.now = stop.at;
        break;
      }
      if (!player.step()) break;
      const { played } = player;
      if (played.kind === 'frame') {
        first ??= played.packet;
        last = played.packet;
        if (verbose) {
          progress.clear();
          process.stdout.write(frameText(player));
        }
        if (stop.packet !== undefined && played.packet === stop.packet) {
          stopped = true;
          break;
        }
      }
      if ((steps & 1023) === 0) progress.show(player.progress);
    }
  } catch (error) {
    // A recording that was cut: all before it was played, and is shown.
    if (!(error instanceof RecordingError)) throw error;
    code = error;
  } finally {
    progress.clear();
  }
  if (stop.packet !== undefined && !stopped) {
    const range = first === null ? 'none' : `${first} to ${last}`;
    throw invalid(`there is no packet ${stop.packet} that came in; the recording has ${range}`);
  }
  if (code !== undefined) say(`${style('yellow', 'warning', process.stderr)}: ${(code as Error).message}`);
  const { header, end } = player;
  const tables = player.tablesDigest();
  const frames = player.framesDigest();
  const isWhole = end !== null && end.tables !== null && !stopped;
  return {
    kind: 'recording',
    file: path,
    tapdeck: header.tapdeck,
    date: header.date,
    now: player.now,
    packet: last,
    received: player.frames,
    sent: player.sent,
    frames,
    tables,
    verified: isWhole ? end.frames === frames && end.tables === tables : null,
    problem: end?.problem ?? null,
    exceptions: player.exceptions,
    ...(stopped && { state: recordedTables(player) }),
  };
}

function resultText(result: RecordingResult): string {
  const { file, tapdeck, date, now, received, sent, frames, tables, verified, problem, state, packet } =
    result;
  const where = state && packet !== null ? `, behind packet ${packet}` : '';
  const verdict =
    verified === null
      ? ''
      : verified
        ? `  ${style('green', 'the same as recorded')}\n`
        : `  ${style('red', 'NOT the same as recorded')}: it was made by tapdeck ${tapdeck}\n`;
  return `${file}: recorded ${date} by tapdeck ${tapdeck}
  ${(now / 1000).toFixed(3)} s, ${received} frames in and ${sent} out${where}
  frames  sha256 ${frames}
  tables  sha256 ${tables}
${verdict}${problem === null ? '' : `  it ended by itself: ${problem}\n`}${state ? tablesText(state) : ''}`;
}

function refusal(error: unknown): unknown {
  return error instanceof RecordingError ? new DeckError('invalid', error.message, { cause: error }) : error;
}
