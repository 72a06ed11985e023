import type { CaptureError } from '../capture/capture-error.ts';
import { CapturePlan, LEFT_THE_DECK } from './capture-plan.ts';
import { STRIDE } from './capture-replay.ts';
import { CaptureSource, type Unreplayed } from './capture-source.ts';
import { captureSize, surveyCapture } from './capture-survey.ts';
import { frameLine } from './frame-difference.ts';
import { FateRecorder, type PacketFate } from './packet-fate.ts';
import type { Scenario } from './scenario.ts';
import type { ReplayException, VirtualDeck } from './virtual-deck.ts';
import type { VirtualPort } from './virtual-port.ts';

/** A packet that one policy treats in another way than the other. */
export interface FateChange {
  /** Position in the file, from 1. */
  number: number;
  /** Milliseconds since the first frame. */
  time: number;
  /** By which it came in: under either policy, where they differ. */
  port: string;
  /** The frame in one line. */
  frame: string;
  before: PacketFate;
  after: PacketFate;
}

/** Packets whose fates are changed in the same way. */
export interface FateChangeGroup {
  before: string;
  after: string;
  packets: number;
  /** The first of them, by its position in the file. */
  first: number;
}

export interface CaptureDiffOptions {
  /** The policies' own, or 0, when left out. */
  seed?: number;
  onChange?: (change: FateChange) => void;
  /** As for `replayCapture`. */
  warn?: (problem: CaptureError) => void;
  onProgress?: (done: number) => void;
}

export interface CaptureDiffResult {
  file: string;
  policies: { before: string; after: string };
  portsBy: CapturePlan['by'];
  /** Packets that were compared, and those whose fate changes. */
  packets: number;
  changed: number;
  /** Of these, those that are dropped by one policy alone. */
  newlyDropped: number;
  newlyPassed: number;
  /** The most frequent first; at most `MOST_GROUPS`. */
  groups: FateChangeGroup[];
  unreplayed: Record<Unreplayed | 'left the deck', number>;
  exceptions: ReplayException[];
}

/** Ways of changing that are told apart: a capture can have millions of packets, and each its own. */
const MOST_GROUPS = 1000;

/**
 * Replays a capture through the decks of two policies, side by side, and finds every packet whose fate they disagree on.
 * In constant memory; each packet is seen by both decks at the same time, whatever one of them has dropped before.
 * @throws CaptureError when the file cannot be read or is no capture
 */
export function diffCapture(
  path: string,
  before: Scenario,
  after: Scenario,
  options: CaptureDiffOptions = {},
): CaptureDiffResult {
  const { seed, onChange, warn, onProgress: progress = () => {} } = options;
  const size = captureSize(path);
  const survey = surveyCapture(path, ({ number, offset }) => {
    if (number % STRIDE === 0) progress(offset / size / 2);
  });
  const ids = new PortIds();
  const one = new Side(new CapturePlan(survey, before), seed ?? before.seed, ids);
  const other = new Side(new CapturePlan(survey, after), seed ?? after.seed, ids);
  const source = new CaptureSource(path, { ...(warn && { warn }), tellCut: true, finishChecksums: true });
  const { view } = source;
  const groups = new Map<string, FateChangeGroup>();
  let packets = 0;
  let changed = 0;
  let newlyDropped = 0;
  let newlyPassed = 0;
  let left = 0;
  try {
    for (; source.more; source.next()) {
      if (view.number % STRIDE === 0) progress(0.5 + view.offset / size / 2);
      const [first, second] = [one.plan.place(view), other.plan.place(view)];
      if (first === LEFT_THE_DECK || second === LEFT_THE_DECK) {
        left++;
        continue;
      }
      packets++;
      const marks = one.take(first, source) === other.take(second, source);
      if (marks) continue;
      changed++;
      const change = {
        number: view.number,
        time: source.due,
        port: [...new Set([one.ports[first]!.name, other.ports[second]!.name])].join(' / '),
        frame: frameLine(view.bytes, view.at, source.length),
        before: one.fate(first, source),
        after: other.fate(second, source),
      };
      if (change.before.reason === null && change.after.reason !== null) newlyDropped++;
      if (change.before.reason !== null && change.after.reason === null) newlyPassed++;
      count(groups, change);
      onChange?.(change);
    }
    return {
      file: path,
      policies: { before: before.file, after: after.file },
      portsBy: one.plan.by,
      packets,
      changed,
      newlyDropped,
      newlyPassed,
      groups: [...groups.values()].sort((a, b) => b.packets - a.packets || a.first - b.first),
      unreplayed: { ...source.unreplayed, 'left the deck': left },
      exceptions: [...one.deck.exceptions, ...other.deck.exceptions],
    };
  } finally {
    source.close();
  }
}

function count(groups: Map<string, FateChangeGroup>, { number, before, after }: FateChange): void {
  const key = `${before.words}\n${after.words}`;
  const known = groups.get(key);
  if (known) known.packets++;
  else if (groups.size < MOST_GROUPS) {
    groups.set(key, { before: before.words, after: after.words, packets: 1, first: number });
  }
}

/** One policy's deck. */
class Side {
  readonly plan: CapturePlan;
  readonly deck: VirtualDeck;
  readonly ports: readonly VirtualPort[];
  readonly #recorder = new FateRecorder();

  constructor(plan: CapturePlan, seed: number, ids: PortIds) {
    this.plan = plan;
    const own: number[] = [];
    const { deck, ports } = plan.build({
      seed,
      onOutput: ({ name, index }, _now, bytes, at, length) =>
        this.#recorder.sent(name, own[index]!, bytes, at, length),
    });
    this.deck = deck;
    this.ports = ports;
    for (const { name, index } of ports) own[index] = ids.of(name);
  }

  /** Lets the packet come in; answers the mark of its fate. */
  take(port: number, { view, length, due }: CaptureSource): number {
    this.deck.advance(due);
    this.#recorder.begin();
    this.deck.receive(this.ports[port]!, view.bytes, view.at, length);
    return this.#recorder.mark(this.deck.dataplane.lastVerdict);
  }

  /** The fate of the packet that was taken last. */
  fate(port: number, { view, length }: CaptureSource): PacketFate {
    const { lastVerdict } = this.deck.dataplane;
    return this.#recorder.fate(lastVerdict, this.ports[port]!.name, view.bytes, view.at, length);
  }
}

/** One number for each name of a port, in whichever deck. */
class PortIds {
  readonly #ids = new Map<string, number>();

  of(name: string): number {
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.#ids.size;
      this.#ids.set(name, id);
    }
    return id;
  }
}
