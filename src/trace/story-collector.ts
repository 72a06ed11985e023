import type { Frame, PortId } from '../../switch/frame.ts';
import { ROW_WORDS } from '../../switch/trace.ts';
import type { Subscriber } from '../dataplane/observer.ts';

/** What was observed of one packet in one go. */
export interface CollectedStory {
  readonly packet: number;
  /** The port by which it came in. */
  readonly port: PortId;
  readonly now: number;
  /** `ROW_WORDS` words each, verdicts among them. */
  readonly rows: Int32Array;
}

/** Keeps the rows of every story, for whoever looks in the thread of the data plane itself: replays and tests. */
export class StoryCollector implements Subscriber {
  readonly stories: CollectedStory[] = [];
  readonly isDone = false;
  #packet = 0;
  #port: PortId = 0;
  #now = 0;
  #rows: number[] = [];

  begin(frame: Frame, port: PortId, now: number): void {
    this.#packet = frame.packet;
    this.#port = port;
    this.#now = now;
    this.#rows = [];
  }

  frameIn(): void {}

  frameOut(): void {}

  lost(): void {}

  row(row: Int32Array): void {
    for (let i = 0; i < ROW_WORDS; i++) this.#rows.push(row[i]!);
  }

  end(row: Int32Array): void {
    this.row(row);
  }

  commit(): void {
    this.stories.push({
      packet: this.#packet,
      port: this.#port,
      now: this.#now,
      rows: Int32Array.from(this.#rows),
    });
  }
}

/** Where each of the rows of a story begins that are all there is in an array. */
export function rowPlaces(rows: Int32Array): number[] {
  return Array.from({ length: rows.length / ROW_WORDS }, (_, i) => i * ROW_WORDS);
}
