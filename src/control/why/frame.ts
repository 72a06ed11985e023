import type { PortId } from '../../../switch/frame.ts';
import { VerdictKind, verdictKind } from '../../../switch/verdict.ts';
import type { Names } from '../../trace/names.ts';
import { inWords, readStory } from '../../trace/story.ts';
import { rowPlaces } from '../../trace/story-collector.ts';
import type { SavedDataplane } from '../../why/fork.ts';
import { Trial } from '../../why/trial.ts';

/** What would become of a frame that comes in by a port now. */
export interface WhyFrameView {
  answer: 'yes' | 'no';
  /** The port by which it comes in, and those by which it leaves. */
  from: string;
  to: string[];
  /** Its way, a line for each stage. */
  way: string[];
}

/** Tries a frame, as it was captured, on a data plane as it was saved. */
export function explainFrame(
  saved: SavedDataplane,
  port: PortId,
  frame: Uint8Array,
  names: Names,
): WhyFrameView {
  const { verdict, sent, stories } = new Trial(saved).receive(port, frame, saved.now);
  return {
    answer: verdictKind(verdict) === VerdictKind.DROP ? 'no' : 'yes',
    from: names.port(port),
    to: [...new Set(sent.map((one) => names.port(one.port)))],
    way: stories.flatMap(({ rows }) => {
      const places = rowPlaces(rows);
      return inWords(readStory(rows, places, places.length, names));
    }),
  };
}
