import { DropReason } from '../../switch/drop-reason.ts';
import type { PortId } from '../../switch/frame.ts';
import { drop } from '../../switch/verdict.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import type { RuleCounter } from '../dataplane/commands.ts';
import type { Dataplane } from '../dataplane/dataplane.ts';
import { type CollectedStory, StoryCollector } from '../trace/story-collector.ts';
import { fork, type SavedDataplane } from './fork.ts';
import { ProbeDevice, type SentFrame } from './probe-device.ts';

/** What became of something that was tried. */
export interface Result {
  /** As `switch/verdict.ts` writes it: what was decided about the frame itself. */
  readonly verdict: number;
  /** Numbers of the drop reasons of the frame, and of frames that came of it. */
  readonly drops: readonly number[];
  /** The rules that counted something. */
  readonly rules: readonly RuleCounter[];
  /** What was observed of it on its way, and of what the deck made because of it. */
  readonly stories: readonly CollectedStory[];
  /** What left the deck because of it. */
  readonly sent: readonly SentFrame[];
}

/** A data plane of its own, made of a saved one, to try frames on. */
export class Trial {
  readonly deck: Dataplane;
  readonly #sent: SentFrame[] = [];
  readonly #collector = new StoryCollector();

  constructor(saved: SavedDataplane) {
    const sent = this.#sent;
    const ports: PortId[] = [];
    this.deck = fork(saved, (port) => {
      ports.push(port);
      return new ProbeDevice(port, sent);
    });
    // What waits for a device that has no room is not what is asked for: here all have.
    for (const port of ports) this.deck.egress.flush(port, saved.now);
    sent.length = 0;
    this.deck.observer.subscribe(this.#collector);
  }

  /** A frame comes in by a port. */
  receive(port: PortId, bytes: Uint8Array, now: number): Result {
    const { deck } = this;
    let isTaken = true;
    const result = this.#watch(now, () => {
      const frame = deck.arena.allocate(bytes.length);
      isTaken = frame !== undefined;
      if (frame === undefined) return;
      frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
      frame.bytes.set(bytes, frame.at);
      deck.receive(port, frame, now);
      deck.egress.sendBatches(now);
    });
    return isTaken ? result : { ...result, verdict: drop(DropReason.NOMEM), drops: [DropReason.NOMEM] };
  }

  /** Everything that is due is done. */
  expire(now: number): Result {
    return this.#watch(now, () => this.deck.expire(now));
  }

  #watch(now: number, work: () => void): Result {
    const { deck } = this;
    const rules = () => deck.snapshot(now, { rules: true }).rules;
    const dropsBefore = deck.ledger.drops.slice();
    const rulesBefore = rules();
    work();
    return {
      verdict: deck.lastVerdict,
      drops: differences(deck.ledger.drops, dropsBefore),
      rules: counted(rules(), rulesBefore),
      stories: this.#collector.stories.splice(0),
      sent: this.#sent.splice(0),
    };
  }
}

/** The numbers of the drop reasons that were counted since. */
function differences(after: Float64Array, before: Float64Array): number[] {
  return Array.from(after.keys()).filter((reason) => after[reason]! > before[reason]!);
}

/** The rules that counted something since, with how much. */
function counted(after: readonly RuleCounter[], before: readonly RuleCounter[]): RuleCounter[] {
  return after.flatMap((rule, i) => {
    const packets = rule.packets - before[i]!.packets;
    return packets > 0 ? [{ ...rule, packets, bytes: rule.bytes - before[i]!.bytes }] : [];
  });
}
