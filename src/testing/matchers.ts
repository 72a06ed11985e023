import { existsSync, writeFileSync } from 'node:fs';
import { DROP_REASON_NAMES, type DropReason } from '../../switch/drop-reason.ts';
import { PcapWriter } from '../capture/pcap-writer.ts';
import { readCaptureSync } from '../capture/read-capture.ts';
import { firstDifference, frameDifference, frameLine, type Paint } from '../replay/frame-difference.ts';
import { nanoseconds } from '../replay/output-check.ts';
import type { Fate } from './fate.ts';
import type { TestFrame } from './frame-builder.ts';
import type { TakenFrame } from './memory-deck.ts';

/** The name of a drop reason, as `tapdeck drops` has it. */
export type DropReasonName = Exclude<keyof typeof DropReason, 'NONE'>;

/** What a matcher answers to any `expect` that can be extended. */
export interface MatchResult {
  pass: boolean;
  message: () => string;
}

/** What the matchers need of whoever calls them: vitest's and jest's colours, when there are some. */
interface Caller {
  utils?: { EXPECTED_COLOR?: (text: string) => string; RECEIVED_COLOR?: (text: string) => string };
}

/** A variable of the environment: write what came out as what is expected. */
const UPDATE = 'TAPDECK_UPDATE';

/**
 * Matchers for `expect.extend`. With vitest, `import 'tapdeck/testing/vitest'` extends its `expect`, and tells TypeScript.
 */
export const matchers = {
  /**
   * That the frame of a fate was forwarded, or flooded, to exactly these ports, and to each of them exactly as these frames.
   * @param frames compared when they are given; several when the deck makes fragments. Addresses that they do not say are those of
   *   the port by which the frame came.
   */
  toForwardTo(
    this: unknown,
    received: unknown,
    ports: string | readonly string[],
    frames?: AnyFrame | readonly AnyFrame[],
  ): MatchResult {
    const fate = fateOf(received, 'toForwardTo');
    const wanted = [ports].flat().sort();
    const isForwarded = /^(forwarded|flooded|sent back)/.test(fate.verdict);
    const actual = isForwarded ? Object.keys(fate.sent).sort() : [];
    const isThere = actual.length === wanted.length && actual.every((port, i) => port === wanted[i]);
    const difference =
      isThere && frames !== undefined ? framesOff(fate, wanted, frames, paintOf(this)) : undefined;
    const title = `to be forwarded to ${wanted.join(', ') || 'nobody'}`;
    if (difference !== undefined) {
      return { pass: false, message: () => `${story(fate, title)}\n\n${difference}` };
    }
    return {
      pass: isThere,
      message: () => story(fate, isThere ? `not ${title}` : title),
    };
  },

  /** That the frame of a fate was dropped for this reason, or all that was left of it on its way out. */
  toBeDroppedBecause(this: unknown, received: unknown, reason: DropReasonName): MatchResult {
    const fate = fateOf(received, 'toBeDroppedBecause');
    if (!DROP_REASON_NAMES.includes(reason)) throw new TypeError(unknownReason(reason));
    const pass = fate.verdict === `dropped: ${reason}` || fate.reasons.includes(reason);
    const title = `to be dropped because ${reason}`;
    return { pass, message: () => story(fate, pass ? `not ${title}` : title) };
  },

  /**
   * That frames are those of a capture file: bytes and order, and times when there are some (`takeTimed`). With TAPDECK_UPDATE=1
   * in the environment, a capture is written that is not there or has other frames.
   * @param path of a pcap or pcapng file, relative to the working directory
   */
  toMatchCapture(this: unknown, received: unknown, path: string): MatchResult {
    const actual = timedOf(received);
    const problem = existsSync(path)
      ? captureOff(path, actual, paintOf(this))
      : `there is no ${path}; run the test with ${UPDATE}=1 to write what came out, and read it before you commit it`;
    if (problem !== undefined && process.env[UPDATE] === '1') {
      writeCapture(path, actual);
      return { pass: true, message: () => `expected other frames than those written to ${path}` };
    }
    return {
      pass: problem === undefined,
      message: () => problem ?? `expected other frames than those of ${path}`,
    };
  },
};

type AnyFrame = Uint8Array | TestFrame;

interface Timed {
  /** Virtual nanoseconds; undefined when times are not compared. */
  time: number | undefined;
  bytes: Uint8Array;
}

function paintOf(caller: unknown): Paint {
  const { utils } = (caller ?? {}) as Caller;
  const plain = (text: string): string => text;
  return { expected: utils?.EXPECTED_COLOR ?? plain, actual: utils?.RECEIVED_COLOR ?? plain };
}

/** What was expected, and what happened instead. */
function story(fate: Fate, expectation: string): string {
  const { port, frame, verdict, sent, reasons } = fate;
  const lines = [
    `expected the frame from ${port} ${expectation}`,
    `  ${frameLine(frame)}`,
    `but it was: ${verdict}`,
  ];
  const others = reasons.filter((reason) => verdict !== `dropped: ${reason}`);
  if (others.length > 0) lines.push(`dropped on the way out: ${others.join(', ')}`);
  const frames = Object.entries(sent).flatMap(([name, each]) =>
    each.map((bytes) => `  ${name}: ${frameLine(bytes)}`),
  );
  lines.push(frames.length === 0 ? 'the deck sent nothing' : `the deck sent\n${frames.join('\n')}`);
  return lines.join('\n');
}

function framesOff(
  fate: Fate,
  ports: readonly string[],
  frames: AnyFrame | readonly AnyFrame[],
  paint: Paint,
): string | undefined {
  const list = isMany(frames) ? frames : [frames];
  const expected = list.map((frame) => ({
    time: undefined,
    bytes: frame instanceof Uint8Array ? frame : frame.bytes(fate.route),
  }));
  for (const port of ports) {
    const actual = (fate.sent[port] ?? []).map((bytes) => ({ time: undefined, bytes }));
    const found = sequenceOff(`port ${port}`, expected, actual, paint);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isMany(frames: AnyFrame | readonly AnyFrame[]): frames is readonly AnyFrame[] {
  return Array.isArray(frames);
}

/** The first difference between two sequences of frames, in words. */
function sequenceOff(
  where: string,
  expected: readonly Timed[],
  actual: readonly Timed[],
  paint: Paint,
): string | undefined {
  for (const [i, want] of expected.entries()) {
    const got = actual[i];
    const place = `${where}, frame ${i + 1} of ${expected.length}`;
    if (!got) return `${place} did not come out:\n  ${frameLine(want.bytes)}`;
    if (firstDifference(want.bytes, got.bytes) >= 0)
      return `${place} is another one:\n${frameDifference(want.bytes, got.bytes, paint)}`;
    if (got.time !== undefined && want.time !== got.time)
      return `${place} came at ${ms(got.time)}, and not at ${ms(want.time!)}:\n  ${frameLine(got.bytes)}`;
  }
  const more = actual[expected.length];
  return more && `${where} has ${expected.length} frames, and one more came out:\n  ${frameLine(more.bytes)}`;
}

function captureOff(path: string, actual: readonly Timed[], paint: Paint): string | undefined {
  const expected = [...readCaptureSync(path)].map(({ timestamp, data }) => ({
    time: Number(timestamp),
    bytes: data.slice(),
  }));
  return sequenceOff(path, expected, actual, paint);
}

function writeCapture(path: string, frames: readonly Timed[]): void {
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()), { nanoseconds: true });
  for (const { time = 0, bytes } of frames) writer.write(BigInt(time), bytes, 0, bytes.length);
  writeFileSync(path, Buffer.concat(chunks));
}

function timedOf(received: unknown): Timed[] {
  if (!Array.isArray(received))
    throw new TypeError(
      'toMatchCapture compares frames: expect(deck.take(port)), or takeTimed to compare times as well',
    );
  return received.map((each: TakenFrame | AnyFrame) => {
    if (each instanceof Uint8Array) return { time: undefined, bytes: each };
    if ('now' in each) return { time: nanoseconds(each.now), bytes: each.bytes };
    return { time: undefined, bytes: each.bytes() };
  });
}

function fateOf(received: unknown, matcher: string): Fate {
  if (typeof received === 'object' && received !== null && 'verdict' in received) return received as Fate;
  throw new TypeError(
    `${matcher} is about what becomes of a frame: expect(deck.fateOf(port, frame)).${matcher}(...)`,
  );
}

function unknownReason(reason: string): string {
  const near = DROP_REASON_NAMES.filter((name) => name?.includes(reason.split('_')[0]!)).join(', ');
  return `there is no drop reason '${reason}'${near && `; there are ${near}`}`;
}

function ms(time: number): string {
  return `${time / 1e6} ms`;
}
