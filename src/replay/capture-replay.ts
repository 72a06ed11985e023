import type { CaptureError } from '../capture/capture-error.ts';
import { CapturePlan, LEFT_THE_DECK } from './capture-plan.ts';
import { CaptureSource, type Unreplayed } from './capture-source.ts';
import { captureSize, surveyCapture } from './capture-survey.ts';
import { OutputFile } from './output-file.ts';
import type { Scenario } from './scenario.ts';
import type { Tables } from './tables.ts';
import { type VerdictName, verdictName, verdictWords } from './verdict-words.ts';
import type { ReplayException } from './virtual-deck.ts';

/** Records between two words about how much is done. */
export const STRIDE = 1024;

/** One frame of the capture, for whoever wants to see every decision. `bytes` is borrowed. */
export interface ReplayStep {
  /** Position in the file, from 1. */
  number: number;
  /** Virtual milliseconds. */
  now: number;
  port: string;
  bytes: Uint8Array;
  length: number;
  verdict: string;
}

export interface CaptureReplayOptions {
  /** The policy's, or 0, when left out. */
  seed?: number;
  /** The deck; without it, one network of a fresh deck. */
  policy?: Scenario;
  /** Path of a pcapng for everything that the deck sent: an interface per port, the capture's times. */
  output?: string;
  onStep?: (step: ReplayStep) => void;
  /** Hears of everything that is wrong with the file; without it, the first fault is thrown. */
  warn?: (problem: CaptureError) => void;
  /** Called now and then with how much is done, 0 to 1. */
  onProgress?: (done: number) => void;
}

/** What a replay of one capture found. */
export interface CaptureReplayResult {
  file: string;
  /** One port per source MAC, or per interface when the capture has several. */
  portsBy: CapturePlan['by'];
  /** The policy's file, or null. */
  policy: string | null;
  seed: number;
  /** Frames and bytes that the deck received. */
  frames: number;
  bytes: number;
  /** Frames of which the capture has only the beginning. */
  cut: number;
  /** Virtual milliseconds from the first frame to the last. */
  duration: number;
  /** What became of the frames as they came in; copies and answers are in `tables.ledger`. */
  verdicts: Record<VerdictName, number>;
  /** Records that were not replayed, by why. */
  unreplayed: Record<Unreplayed | 'left the deck', number>;
  tables: Tables;
  /** Of all frames sent and all tables. */
  sha256: string;
  exceptions: ReplayException[];
}

/**
 * Replays a capture through a deck, in virtual time: a policy's, or one network of a fresh deck. The file is read twice,
 * first to see who is in it, and in constant memory.
 * @throws CaptureError when the file cannot be read or is no capture, or the output cannot be written
 */
export function replayCapture(path: string, options: CaptureReplayOptions = {}): CaptureReplayResult {
  const { policy, output, onStep, warn, onProgress } = options;
  const seed = options.seed ?? policy?.seed ?? 0;
  const size = captureSize(path);
  const progress = onProgress ?? (() => {});

  const survey = surveyCapture(path, ({ number, offset }) => {
    if (number % STRIDE === 0) progress(offset / size / 2);
  });
  const plan = new CapturePlan(survey, policy);
  const source = new CaptureSource(path, { ...(warn && { warn }), tellCut: true, finishChecksums: true });
  const { view } = source;
  const file = output === undefined ? undefined : new OutputFile(output, source.more ? view.timestamp : 0n);
  try {
    const { deck, ports } = plan.build({
      seed,
      ...(file && {
        onOutput: (port, now, bytes, at, length) => file.write(port.index, now, bytes, at, length),
      }),
    });
    for (const { name, mac } of plan.ports) file?.addPort(name, plan.by === 'interface' ? undefined : mac);

    const { dataplane } = deck;
    const verdicts = { forwarded: 0, flooded: 0, consumed: 0, held: 0, dropped: 0 };
    let frames = 0;
    let bytes = 0;
    let left = 0;
    for (; source.more; source.next()) {
      if (view.number % STRIDE === 0) progress(0.5 + view.offset / size / 2);
      const number = plan.place(view);
      if (number === LEFT_THE_DECK) {
        left++;
        continue;
      }
      const port = ports[number]!;
      const { length } = source;
      deck.advance(source.due);
      deck.receive(port, view.bytes, view.at, length);
      verdicts[verdictName(dataplane.lastVerdict)]++;
      frames++;
      bytes += length;
      if (onStep) {
        onStep({
          number: view.number,
          now: deck.now,
          port: port.name,
          bytes: view.bytes.subarray(view.at, view.at + length),
          length,
          verdict: verdictWords(dataplane.lastVerdict, port.name, (id) => deck.nameOfPort(id)),
        });
      }
    }
    const tables = deck.tables();
    return {
      file: path,
      portsBy: plan.by,
      policy: policy?.file ?? null,
      seed,
      frames,
      bytes,
      cut: source.cut,
      duration: deck.now,
      verdicts,
      unreplayed: { ...source.unreplayed, 'left the deck': left },
      tables,
      sha256: deck.finish(tables),
      exceptions: deck.exceptions,
    };
  } finally {
    source.close();
    file?.close();
  }
}
