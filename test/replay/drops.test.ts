import { describe, expect, test } from 'vitest';
import type { VirtualDeck } from '../../src/replay/virtual-deck.ts';
import type { VirtualPort } from '../../src/replay/virtual-port.ts';
import { NUMBERS } from '../../src/trace/names.ts';
import type { Step } from '../../src/trace/steps.ts';
import { headline, inWords, readStory } from '../../src/trace/story.ts';
import { type CollectedStory, rowPlaces, StoryCollector } from '../../src/trace/story-collector.ts';
import { fork, saveDataplane } from '../../src/why/fork.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import { clearVnet, VNET_LEN } from '../../wire/virtio-net.ts';
import { DROP_SCENARIOS, stage } from './drop-scenarios.ts';

const REASONS = (Object.keys(DropReason) as (keyof typeof DropReason)[]).filter(
  (name): name is DropReasonName => name !== 'NONE',
);
/** Dropped by what is done to the deck, and not on the way of a packet that one could ask about. */
const BY_CONFIGURATION: readonly DropReasonName[] = ['NETWORK_GONE'];
/** Virtual milliseconds after which all that waits has been given up. */
const PATIENCE = 120_000;

const stepsOf = ({ rows }: CollectedStory): Step[] =>
  readStory(rows, rowPlaces(rows), rowPlaces(rows).length, NUMBERS);

/** Drops by reason, as stories tell of them: verdicts, and copies that one port has lost. */
function toldBy(stories: readonly Step[][]): Record<string, number> {
  const told: Record<string, number> = {};
  for (const { action, reason } of stories.flat()) {
    if ((action === 'VERDICT' || action === 'LOST') && reason) told[reason] = (told[reason] ?? 0) + 1;
  }
  return told;
}

/** The words about the packet that was dropped for the reason: what a capture has as its comment. */
function commentOn(reason: string, stories: readonly Step[][]): string[] {
  const story = stories.find((steps) => steps.some((step) => step.reason === reason));
  return story ? [headline(story), ...inWords(story)] : [];
}

/** Plays a scenario; `before` hears of each frame before it comes in. */
function play(
  reason: DropReasonName,
  before: (deck: VirtualDeck, port: VirtualPort, frame: Uint8Array, vnet: Uint8Array | undefined) => void,
) {
  const collector = new StoryCollector();
  let deck: VirtualDeck | undefined;
  DROP_SCENARIOS[reason](
    stage(({ virtual }) => {
      deck = virtual;
      virtual.dataplane.observer.subscribe(collector);
      const { receive } = virtual;
      virtual.receive = (port, bytes, at = 0, length = bytes.length, vnet) => {
        before(virtual, port, bytes.slice(at, at + length), vnet);
        return receive.call(virtual, port, bytes, at, length, vnet);
      };
    }),
  );
  return { drops: deck!.tables().drops, stories: collector.stories.map(stepsOf), deck: deck! };
}

/** What `why` has to say: the frame on a copy of the deck as it was before, and all that time brings after it. */
function tryOut(
  virtual: VirtualDeck,
  port: VirtualPort,
  frame: Uint8Array,
  vnet: Uint8Array | undefined,
): Step[][] {
  const { dataplane, now } = virtual;
  const copy = fork(saveDataplane(dataplane, now), (id) => dataplane.egress.device(id)!);
  const collector = new StoryCollector();
  copy.observer.subscribe(collector);
  copy.onQuery = () => {};
  const slot = copy.arena.allocate(frame.length)!;
  if (vnet) slot.bytes.set(vnet, slot.at - VNET_LEN);
  else clearVnet(slot.bytes, slot.at - VNET_LEN);
  slot.bytes.set(frame, slot.at);
  copy.receive(port.id, slot, now);
  for (let due = copy.deadline(); due <= now + PATIENCE; due = copy.deadline()) copy.expire(due);
  return collector.stories.map(stepsOf);
}

test('every drop reason has a scenario', () => {
  expect(Object.keys(DROP_SCENARIOS).sort()).toEqual([...REASONS].sort());
  expect(Object.keys(DROP_TEXT).sort()).toEqual([...REASONS].sort());
});

describe('what is dropped: counter, comment and the answer of why agree', () => {
  test.each(REASONS)('%s', (reason) => {
    // The frame that was dropped first for the reason, and the one before it if time did it.
    let frames = 0;
    let decisive = -1;
    const number = DropReason[reason];
    const count = (deck: VirtualDeck) => {
      if (decisive < 0 && deck.dataplane.ledger.drops[number]! > 0) decisive = frames - 1;
      frames++;
    };
    const { drops, stories, deck } = play(reason, count);
    count(deck);
    expect(drops[reason], `the drops are ${JSON.stringify(drops)}`).toBeGreaterThan(0);
    expect(toldBy(stories)).toEqual(drops);
    const comment = commentOn(reason, stories);
    expect(comment.join('\n')).toMatch(/ (drops|rejects)\b/);

    if (BY_CONFIGURATION.includes(reason)) return;
    let answer: Step[][] = [];
    let i = 0;
    play(reason, (...frame) => {
      if (i++ === decisive) answer = tryOut(...frame);
    });
    expect(toldBy(answer)[reason], `why says ${JSON.stringify(toldBy(answer))}`).toBeGreaterThan(0);
    // Packets are numbered alike, so that all words are the same.
    expect(commentOn(reason, answer)).toEqual(comment);
  });
});
