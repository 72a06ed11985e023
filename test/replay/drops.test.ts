import { describe, expect, test } from 'vitest';
import type { MemoryDeck } from '../../src/testing/index.ts';
import { NUMBERS } from '../../src/trace/names.ts';
import { headline, inWords, readStory } from '../../src/trace/story.ts';
import { rowPlaces, StoryCollector } from '../../src/trace/story-collector.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
import { DROP_SCENARIOS, stage } from './drop-scenarios.ts';

const REASONS = (Object.keys(DropReason) as (keyof typeof DropReason)[]).filter(
  (name): name is DropReasonName => name !== 'NONE',
);

test('every drop reason has a scenario', () => {
  expect(Object.keys(DROP_SCENARIOS).sort()).toEqual([...REASONS].sort());
  expect(Object.keys(DROP_TEXT).sort()).toEqual([...REASONS].sort());
});

describe('what is dropped, as the counter and the story have it', () => {
  test.each(REASONS)('%s', (reason) => {
    const collector = new StoryCollector();
    let deck: MemoryDeck | undefined;
    DROP_SCENARIOS[reason](
      stage((made) => {
        deck = made;
        made.virtual.dataplane.observer.subscribe(collector);
      }),
    );
    const counted = deck!.drops();
    expect(counted[reason], `the drops are ${JSON.stringify(counted)}`).toBeGreaterThan(0);

    const stories = collector.stories.map(({ rows }) =>
      readStory(rows, rowPlaces(rows), rowPlaces(rows).length, NUMBERS),
    );
    const told: Record<string, number> = {};
    for (const steps of stories) {
      for (const step of steps)
        if ((step.action === 'VERDICT' || step.action === 'LOST') && step.reason)
          told[step.reason] = (told[step.reason] ?? 0) + 1;
    }
    expect(told).toEqual(counted);
    // The comment of a capture is made of these words.
    const story = stories.find((steps) => steps.some((step) => step.reason === reason))!;
    expect(inWords(story).join('\n')).toMatch(/ (drops|rejects)\b/);
    expect(headline(story)).toContain(' → ');
  });
});
