import { existsSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { CaptureError } from '../capture/capture-error.ts';
import { FileSink } from '../capture/file-sink.ts';
import { asDeckError, DeckError, invalid } from '../control/error.ts';
import { type CaptureReplayResult, replayCapture } from '../replay/capture-replay.ts';
import { findScenarios } from '../replay/find-scenarios.ts';
import { frameLine } from '../replay/frame-difference.ts';
import { loadPolicy, SCENARIO_FILE, type Scenario } from '../replay/scenario.ts';
import { runScenario } from '../replay/scenario-run.ts';
import { imbalance } from '../replay/tables.ts';
import { YamlError } from '../replay/yaml-value.ts';
import { EXIT_DONE, EXIT_FAILED, type Format, report, say, style } from './output.ts';
import { ProgressLine } from './progress-line.ts';
import { EXIT_TROUBLE, replayDiff } from './replay-diff.ts';
import { replayShrink } from './replay-shrink.ts';
import { captureText, stepTime } from './replay-text.ts';

export interface ReplayFlags {
  format: Format;
  /** Path of a pcapng for everything that the deck sends. */
  write?: string;
  /** Write what comes out as what is expected. */
  update?: boolean;
  /** One line per frame. */
  verbose?: boolean;
  /** Of all random choices; captures only. */
  seed?: string;
  /** Path of the policy through whose deck a capture goes; and of another, to be compared with it. */
  withPolicy?: string;
  andWith?: string;
  /** Reduce a capture to what still shows this; and the folder for it. */
  shrink?: string;
  into?: string;
}

const STDOUT = 1;

/**
 * `tapdeck replay SCENARIO|FILE...`: scenarios are compared with what they expect, captures are shown. Answers
 * the exit code; what is wrong with one of several does not keep the others from being replayed.
 */
export function replay(paths: readonly string[], flags: ReplayFlags): number {
  if (flags.write !== undefined && paths.length > 1) {
    throw invalid('-w takes what one replay sends; give one scenario or capture');
  }
  if (flags.andWith !== undefined) return compare(paths, flags);
  if (flags.shrink !== undefined) return shrink(paths, flags.shrink, flags);
  if (flags.into !== undefined) throw invalid('--into is where --shrink writes; give both');
  const session = new ReplaySession(flags);
  try {
    let code: number = EXIT_DONE;
    for (const path of paths)
      code = Math.max(
        code,
        session.attempt(() => session.path(path)),
      );
    session.finish();
    return code;
  } catch (error) {
    // `tapdeck replay --verbose big.pcap | head`: who reads no further wants no more.
    if (error instanceof CaptureError && causeCode(error) === 'EPIPE') return EXIT_DONE;
    throw error;
  }
}

/** Two policies: exit codes are those of diff(1), so trouble is told from a change. */
function compare(paths: readonly string[], { withPolicy, andWith, seed, ...flags }: ReplayFlags): number {
  const [path] = paths;
  if (withPolicy === undefined)
    throw invalid('--and-with compares with the policy of --with-policy; give both');
  if (paths.length !== 1 || path === undefined)
    throw invalid('two policies are compared over one capture; give one');
  if (flags.write !== undefined || flags.update || flags.verbose) {
    throw invalid('-w, --update and --verbose are not for two policies at once; give one, or leave them out');
  }
  try {
    return replayDiff(capturePath(path), policyOf(withPolicy), policyOf(andWith!), {
      format: flags.format,
      ...(seed !== undefined && { seed: seedOf(seed) }),
    });
  } catch (error) {
    if (error instanceof CaptureError && causeCode(error) === 'EPIPE') return EXIT_TROUBLE;
    report(refusal(error));
    return EXIT_TROUBLE;
  }
}

function shrink(paths: readonly string[], condition: string, flags: ReplayFlags): number {
  const { format, into, seed, withPolicy, write, update, verbose } = flags;
  const [path] = paths;
  if (paths.length !== 1 || path === undefined) throw invalid('--shrink takes one capture');
  if (write !== undefined || update || verbose) {
    throw invalid('-w, --update and --verbose are not for --shrink: replay the scenario that it writes');
  }
  try {
    return replayShrink(capturePath(path), {
      format,
      condition,
      into,
      ...(seed !== undefined && { seed: seedOf(seed) }),
      ...(withPolicy !== undefined && { policy: policyOf(withPolicy) }),
    });
  } catch (error) {
    throw refusal(error);
  }
}

/** A path that is a file, and no scenario: policies are tried on captures. */
function capturePath(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw invalid(`${path}: there is no such file; give a capture`);
  if (found.isDirectory() || basename(path) === SCENARIO_FILE) {
    throw invalid(`${path} is a scenario, which has a policy of its own; give a capture`);
  }
  return path;
}

function policyOf(path: string): Scenario {
  if (!existsSync(path)) {
    throw invalid(`${path}: there is no such policy; give a scenario.yaml, or a folder with one`);
  }
  return loadPolicy(path);
}

/** The replays of one command. A replay never leaves the call, so what it prints is written at once. */
class ReplaySession {
  readonly #flags: ReplayFlags;
  readonly #results: unknown[] = [];
  readonly #stdout = new FileSink(STDOUT);
  readonly #encoder = new TextEncoder();

  constructor(flags: ReplayFlags) {
    this.#flags = flags;
  }

  /** Does something, or reports why it cannot be done; answers the exit code. */
  attempt(what: () => number): number {
    try {
      return what();
    } catch (error) {
      if (causeCode(error) === 'EPIPE') throw error;
      this.#stdout.flush();
      return report(refusal(error));
    }
  }

  path(path: string): number {
    const { seed, write, format, withPolicy } = this.#flags;
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found) throw invalid(`${path}: there is no such file or folder; give a capture or a scenario`);
    if (!found.isDirectory() && basename(path) !== SCENARIO_FILE) return this.#capture(path);
    if (withPolicy !== undefined) throw invalid(`--with-policy is for captures, and ${path} is a scenario`);
    const folders = found.isDirectory() ? findScenarios(path) : [dirname(path)];
    if (folders.length === 0) {
      throw invalid(`${path}: no ${SCENARIO_FILE} in it or below; a scenario is a folder with one`);
    }
    if (seed !== undefined)
      throw invalid("--seed is for captures; a scenario's seed is in its scenario.yaml");
    if (write !== undefined && folders.length > 1) {
      throw invalid(
        `-w takes what one replay sends, and ${path} has ${folders.length} scenarios; give one of them`,
      );
    }
    const codes = folders.map((folder) => this.attempt(() => this.#scenario(folder)));
    const passed = codes.filter((code) => code === EXIT_DONE).length;
    if (folders.length > 1 && format === 'table') {
      this.#print(`${passed} of ${folders.length} scenarios as expected\n`);
    }
    return passed === folders.length ? EXIT_DONE : EXIT_FAILED;
  }

  finish(): void {
    if (this.#flags.format === 'json') this.#print(`${JSON.stringify(this.#results, null, 2)}\n`);
    this.#stdout.close();
  }

  #capture(path: string): number {
    const { format, write, verbose, seed, update, withPolicy } = this.#flags;
    if (update) throw invalid(`--update is for scenarios, and ${path} is a capture`);
    const progress = new ProgressLine(path);
    let result: CaptureReplayResult;
    try {
      result = replayCapture(path, {
        ...(seed !== undefined && { seed: seedOf(seed) }),
        ...(withPolicy !== undefined && { policy: policyOf(withPolicy) }),
        ...(write !== undefined && { output: write }),
        warn: (problem) => {
          progress.clear();
          this.#stdout.flush();
          say(`${style('yellow', 'warning', process.stderr)}: ${problem.message}`);
        },
        onProgress: (done) => progress.show(done),
        ...(verbose &&
          format === 'table' && {
            onStep: ({ now, port, bytes, length, verdict }) => {
              progress.clear();
              this.#print(`${stepTime(now)}  ${port}  ${frameLine(bytes, 0, length)}  → ${verdict}\n`);
            },
          }),
      });
    } finally {
      progress.clear();
    }
    const { exceptions } = result;
    this.#results.push({ kind: 'capture', ...result, exceptions: exceptions.length });
    if (format === 'table') this.#print(captureText(result));
    this.#stdout.flush();
    for (const { error, frame, port } of exceptions) {
      const words = error instanceof Error ? error.stack : String(error);
      say(`defect in tapdeck: handling a frame of port ${port} failed: ${words}\nframe ${frame}`);
    }
    return exceptions.length > 0 || imbalance(result.tables.ledger) !== 0 ? EXIT_FAILED : EXIT_DONE;
  }

  #scenario(folder: string): number {
    const { format, write, update = false, verbose } = this.#flags;
    const { difference, updated, duration, tables, sha256 } = runScenario(folder, {
      update,
      ...(write !== undefined && { output: write }),
      ...(verbose &&
        format === 'table' && {
          onStep: ({ direction, now, port, frame, verdict }) => {
            const arrow = direction === 'in' ? '>' : '<';
            this.#print(`${stepTime(now)}  ${arrow} ${port}  ${frame}${verdict && `  → ${verdict}`}\n`);
          },
        }),
    });
    const ok = difference === undefined;
    this.#results.push({
      kind: 'scenario',
      folder,
      ok,
      difference: difference ?? null,
      updated,
      duration,
      tables,
      sha256,
    });
    if (format === 'table') {
      this.#print(`${ok ? style('green', 'ok    ') : style('red', 'FAILED')}  ${folder}\n`);
      if (difference !== undefined) this.#print(`${difference.replace(/^/gm, '  ')}\n`);
      for (const file of updated) this.#print(`  wrote ${file}\n`);
    }
    return ok ? EXIT_DONE : EXIT_FAILED;
  }

  #print(text: string): void {
    this.#stdout.write(this.#encoder.encode(text));
  }
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed > 0xffff_ffff) {
    throw invalid(`--seed must be a whole number from 0 to ${0xffff_ffff}, not '${text}'`);
  }
  return seed;
}

/** What the user's files are refused for, as what the command line knows how to report. */
function refusal(error: unknown): unknown {
  if (error instanceof YamlError || error instanceof CaptureError) {
    return new DeckError('unavailable', error.message, { cause: error });
  }
  const { code, path, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const refused = asDeckError(error);
  if (path === undefined) return refused;
  // Node's own: `EACCES: permission denied, scandir '/x'`.
  const reason = /^\w+: (.+), \w+ '/s.exec(message)?.[1] ?? message;
  return new DeckError(
    refused.code,
    `${path}: cannot be read: ${reason}; check the path and its permissions`,
  );
}

function causeCode(error: unknown): string | undefined {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
}
