import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import type { CaptureError } from '../capture/capture-error.ts';
import { CapturePlan, LEFT_THE_DECK } from './capture-plan.ts';
import { STRIDE } from './capture-replay.ts';
import { CaptureSource } from './capture-source.ts';
import { captureSize, surveyCapture } from './capture-survey.ts';
import type { Condition, Outcome, PacketEvent } from './condition.ts';
import { ddmin } from './ddmin.ts';
import type { Scenario } from './scenario.ts';
import { shorterFrames } from './shorter-frame.ts';
import { verdictName } from './verdict-words.ts';
import type { VirtualDeck } from './virtual-deck.ts';
import type { VirtualPort } from './virtual-port.ts';

/** One frame of a capture that is being made smaller. */
export interface ShrunkFrame {
  /** Position in the capture, from 1. */
  number: number;
  /** Number of the plan's port. */
  port: number;
  /** Virtual milliseconds. */
  due: number;
  bytes: Uint8Array;
}

export interface ShrinkOptions {
  seed?: number;
  policy?: Scenario;
  warn?: (problem: CaptureError) => void;
  /** Called now and then: how many packets are left, and how many replays have been tried. */
  onProgress?: (packets: number, tries: number) => void;
}

/** The smallest part of a capture that still shows something. */
export interface ShrinkResult {
  file: string;
  plan: CapturePlan;
  seed: number;
  frames: readonly ShrunkFrame[];
  /** Ports that have to be there, by their numbers. */
  ports: readonly number[];
  /** Virtual milliseconds at which it is shown, when that is after the last frame. */
  duration: number | undefined;
  /** Packets and bytes of the capture up to where it is first shown. */
  packetsBefore: number;
  bytesBefore: number;
  tries: number;
}

/** Timers run so long behind the last frame, virtual milliseconds: reassembly, neighbors and connections have given up. */
export const SETTLE = 300_000;
/** Most bytes of frames that are kept in memory. */
const MOST_BYTES = 512 * 1024 * 1024;
/** Frames whose bytes are looked at one by one. */
const MOST_FRAMES = 1000;
/** A deck for each try: as large as is needed to show what one of ordinary size shows. */
const ARENA = { small: 512, big: 32 };

/**
 * Reduces a capture to the smallest one that still shows a condition: packets first (ddmin), then ports, times, and the
 * payload of what is left. The same capture, policy and seed give the same result.
 * @throws CaptureError when the file cannot be read; RangeError when it does not show the condition, or not in memory
 */
export function shrinkCapture(path: string, condition: Condition, options: ShrinkOptions = {}): ShrinkResult {
  const { policy } = options;
  const seed = options.seed ?? policy?.seed ?? 0;
  captureSize(path);
  const survey = surveyCapture(path);
  const plan = new CapturePlan(survey, policy);
  const shrinker = new Shrinker(plan, seed, condition, options.onProgress);
  const { frames, duration } = shrinker.firstShown(path, options.warn);
  const bytesBefore = frames.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const smallest = shrinker.smallest(frames);
  return {
    file: path,
    plan,
    seed,
    ...smallest,
    duration: duration && shrinker.shownAt(smallest.frames, smallest.ports),
    packetsBefore: frames.length,
    bytesBefore,
    tries: shrinker.tries,
  };
}

/** Watches a deck for a condition. */
export class ShownWatch {
  readonly #deck: VirtualDeck;
  readonly #condition: Condition;
  readonly #called: (port: string) => string;
  readonly #events = new Map<string, PacketEvent>();
  readonly #ports = new Set<string>();
  /** Numbers of events and of drops when it was looked last. */
  #seen = -1;

  /** @param called what the condition calls a port */
  constructor(deck: VirtualDeck, condition: Condition, called = (port: string) => port) {
    this.#deck = deck;
    this.#condition = condition;
    this.#called = called;
  }

  /** The frame comes in; answers whether the condition holds now. */
  receive(port: VirtualPort, bytes: Uint8Array, at = 0, length = bytes.length): boolean {
    const { dataplane } = this.#deck;
    this.#deck.receive(port, bytes, at, length);
    this.#ports.add(port.name);
    const verdict = dataplane.lastVerdict;
    const key = `${verdict} ${port.name}`;
    if (!this.#events.has(key)) {
      const isDrop = verdictKind(verdict) === VerdictKind.DROP;
      const reason = isDrop ? (DROP_REASON_NAMES[verdictArgument(verdict)] ?? '') : '';
      this.#events.set(key, { verdict: verdictName(verdict), reason, port: this.#called(port.name) });
    }
    return this.holds();
  }

  /** Whether the condition holds now. */
  holds(): boolean {
    const { ledger } = this.#deck.dataplane;
    let drops = 0;
    for (const count of ledger.drops) drops += count;
    const seen = this.#events.size + drops;
    if (!this.#condition.counts && seen === this.#seen) return false;
    this.#seen = seen;
    // Copies, and what timers give up: of no port.
    for (const [reason, count] of ledger.drops.entries()) {
      const name = DROP_REASON_NAMES[reason];
      if (count > 0 && name && !this.#events.has(name)) {
        this.#events.set(name, { verdict: 'dropped', reason: name, port: '' });
      }
    }
    const outcome: Outcome = {
      events: this.#events.values(),
      packets: ledger.ports,
      sent: ledger.sent,
      drops,
      interfaces: this.#ports.size,
      exceptions: this.#deck.exceptions.length,
    };
    return this.#condition.holds(outcome);
  }

  /** Lets timers run until the condition holds; answers whether it does. */
  settle(until: number): boolean {
    const deck = this.#deck;
    for (;;) {
      if (this.holds()) return true;
      const due = deck.deadline;
      if (due > until) return false;
      deck.advance(due);
    }
  }
}

class Shrinker {
  tries = 0;
  readonly #plan: CapturePlan;
  readonly #seed: number;
  readonly #condition: Condition;
  readonly #onProgress: NonNullable<ShrinkOptions['onProgress']>;

  constructor(
    plan: CapturePlan,
    seed: number,
    condition: Condition,
    onProgress: ShrinkOptions['onProgress'],
  ) {
    this.#plan = plan;
    this.#seed = seed;
    this.#condition = condition;
    this.#onProgress = onProgress ?? (() => {});
  }

  /** The frames up to the one by which the condition is first shown, and when, if that is later. */
  firstShown(
    path: string,
    warn: ShrinkOptions['warn'],
  ): { frames: ShrunkFrame[]; duration: number | undefined } {
    const source = new CaptureSource(path, { ...(warn && { warn }), tellCut: true, finishChecksums: true });
    const { view } = source;
    try {
      const { deck, ports } = this.#plan.build({ seed: this.#seed, arena: ARENA });
      const watch = new ShownWatch(deck, this.#condition);
      const frames: ShrunkFrame[] = [];
      let bytes = 0;
      for (; source.more; source.next()) {
        const port = this.#plan.place(view);
        if (port === LEFT_THE_DECK) continue;
        const { due, length } = source;
        if (view.number % STRIDE === 0) this.#onProgress(frames.length, 0);
        bytes += length;
        if (bytes > MOST_BYTES) {
          throw new RangeError(
            `${path}: what comes before the condition holds has more than ${MOST_BYTES >> 20} MiB; cut the capture (editcap -r) and shrink that`,
          );
        }
        deck.advance(due);
        frames.push({ number: view.number, port, due, bytes: view.bytes.slice(view.at, view.at + length) });
        if (watch.receive(ports[port]!, view.bytes, view.at, length)) return { frames, duration: undefined };
      }
      if (frames.length > 0 && watch.settle(deck.now + SETTLE)) return { frames, duration: deck.now };
    } finally {
      source.close();
    }
    throw new RangeError(`${path}: nothing in it shows '${this.#condition.text}'`);
  }

  smallest(all: readonly ShrunkFrame[]): { frames: readonly ShrunkFrame[]; ports: readonly number[] } {
    const everyPort = this.#plan.ports.map((_, i) => i);
    const holds = (frames: readonly ShrunkFrame[], ports: readonly number[] = everyPort) =>
      this.#holds(frames, ports);
    let frames = ddmin(this.#conversation(all, holds), holds);
    // Ports that the policy does not name, and nobody speaks from, may be heard only in flooding.
    const own = this.#plan.policy?.ports.length ?? 0;
    const spoken = new Set(frames.map(({ port }) => port));
    const extra = everyPort.filter((port) => port >= own && !spoken.has(port));
    let ports: readonly number[] = everyPort;
    if (extra.length > 0) {
      const without = everyPort.filter((port) => !extra.includes(port));
      if (without.length > 0 && holds(frames, without)) ports = without;
    }
    const first = frames[0]!.due;
    const moved = [
      (due: number) => 0 * due,
      (due: number) => Math.round(due - first),
      (due: number) => due - first,
    ];
    for (const time of moved) {
      const candidate = frames.map((frame) => ({ ...frame, due: time(frame.due) }));
      if (!holds(candidate, ports)) continue;
      frames = candidate;
      break;
    }
    if (frames.length <= MOST_FRAMES) frames = this.#shorter(frames, ports);
    return { frames, ports };
  }

  /** When the condition is shown by timers, behind the last frame. */
  shownAt(frames: readonly ShrunkFrame[], ports: readonly number[]): number | undefined {
    const { deck, shown } = this.#run(frames, ports);
    return shown && deck.now > frames.at(-1)!.due ? deck.now : undefined;
  }

  /** What speaks the same two MACs as the last frame, if that is enough: of a long capture, nearly always. */
  #conversation(
    frames: readonly ShrunkFrame[],
    holds: (frames: readonly ShrunkFrame[]) => boolean,
  ): readonly ShrunkFrame[] {
    const last = frames.at(-1)!;
    const pair = pairOf(last.bytes);
    for (const part of [[last], frames.filter(({ bytes }) => pairOf(bytes) === pair)]) {
      if (part.length < frames.length && holds(part)) return part;
    }
    return frames;
  }

  #shorter(frames: readonly ShrunkFrame[], ports: readonly number[]): readonly ShrunkFrame[] {
    let left = [...frames];
    for (let i = 0; i < left.length; i++) {
      for (let better = true; better; ) {
        better = false;
        for (const bytes of shorterFrames(left[i]!.bytes)) {
          const candidate = left.map((frame, j) => (j === i ? { ...frame, bytes } : frame));
          if (!this.#holds(candidate, ports)) continue;
          better = bytes.length < left[i]!.bytes.length;
          left = candidate;
          break;
        }
      }
    }
    return left;
  }

  #holds(frames: readonly ShrunkFrame[], ports: readonly number[]): boolean {
    this.tries++;
    this.#onProgress(frames.length, this.tries);
    return this.#run(frames, ports).shown;
  }

  #run(frames: readonly ShrunkFrame[], only: readonly number[]): { deck: VirtualDeck; shown: boolean } {
    const { deck, ports } = this.#plan.build({ seed: this.#seed, arena: ARENA }, only);
    const watch = new ShownWatch(deck, this.#condition);
    for (const { port, due, bytes } of frames) {
      deck.advance(due);
      if (watch.receive(ports[port]!, bytes)) return { deck, shown: true };
    }
    return { deck, shown: watch.settle(deck.now + SETTLE) };
  }
}

/** Both MACs of a frame, in one order. */
function pairOf(frame: Uint8Array): string {
  const macs = [
    Buffer.from(frame.subarray(0, 6)).toString('hex'),
    Buffer.from(frame.subarray(6, 12)).toString('hex'),
  ];
  return macs.sort().join(' ');
}
