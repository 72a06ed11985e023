import { type ObservationReader, RecordKind } from '../../dataplane/observation.ts';
import { inWords, readStory } from '../../trace/story.ts';
import { CHUNK_LENGTH, type Chunks } from './chunks.ts';
import type { DeckNames } from './deck-names.ts';
import type { Feed } from './feed.ts';
import { PacketIds } from './packet-ids.ts';
import { StoryCache } from './story-cache.ts';
import type { WallClock } from './wall-clock.ts';

export interface LiveTraceParts {
  reader: ObservationReader;
  chunks: Chunks;
  clock: WallClock;
  names: DeckNames;
}

/** What is told of a story that does not fit into a buffer: a flood to thousands of ports. */
const MOST_LINE = CHUNK_LENGTH - 256;

/**
 * Writes stories of the ring as lines of JSON: packet, time, and what was decided, in fields and in words. What the trace had no
 * room for is a line of its own, `{"missed":3}`, where it has caught up.
 */
export class LiveTrace implements Feed {
  readonly chunks: Chunks;
  written = 0;
  readonly #parts: LiveTraceParts;
  readonly #stories: StoryCache<string>;
  readonly #ids = new PacketIds();
  readonly #encoder = new TextEncoder();
  #rows = new Int32Array(64);
  #missed = 0;
  #line: Uint8Array | null = null;

  constructor(parts: LiveTraceParts) {
    this.chunks = parts.chunks;
    this.#parts = parts;
    this.#stories = new StoryCache((words, rows, count) => this.#tell(words, rows, count));
  }

  renamed(): void {
    this.#stories.clear();
  }

  get isBehind(): boolean {
    return this.#line !== null || this.#parts.reader.isBehind;
  }

  take(most: number): number {
    const { reader } = this.#parts;
    let stories = 0;
    while (stories < most) {
      if (this.#line === null) {
        if (!reader.nextStory()) {
          this.#writeMissed();
          break;
        }
        this.#line = this.#read();
        reader.release();
      }
      if (!this.chunks.has(this.#line.length)) break;
      this.chunks.write(this.#line);
      this.#line = null;
      this.written++;
      stories++;
    }
    return stories;
  }

  finish(): void {
    this.#writeMissed();
  }

  /** The next story's line. */
  #read(): Uint8Array {
    const { reader, clock } = this.#parts;
    let count = 0;
    while (reader.nextRecord()) {
      if (reader.kind !== RecordKind.ROW && reader.kind !== RecordKind.END) continue;
      if (count === this.#rows.length) {
        const larger = new Int32Array(2 * count);
        larger.set(this.#rows);
        this.#rows = larger;
      }
      this.#rows[count++] = reader.row;
    }
    clock.set(reader.now);
    const day = new Date(clock.seconds * 1000).toISOString().slice(0, 19);
    const time = `${day}.${String(clock.nanoseconds).padStart(9, '0')}Z`;
    const told = this.#stories.get(reader.words, this.#rows, count);
    const line = `{"packet":${this.#ids.extend(reader.packet)},"time":"${time}",${told}}\n`;
    return this.#encoder.encode(line);
  }

  #tell(words: Int32Array, rows: Int32Array, count: number): string {
    // The id is said in front, extended, and is not the same for all packets of a story's kind.
    const steps = readStory(words, rows, count, this.#parts.names);
    const story = inWords(steps);
    const fields = {
      interface: steps[0]?.ingress ?? '',
      story,
      steps: steps.map(({ packet: _, ...step }) => step),
    };
    const text = JSON.stringify(fields).slice(1, -1);
    if (text.length * 3 <= MOST_LINE) return text;
    return JSON.stringify({ ...fields, story: [...story.slice(0, 16), 'and more'], steps: [] }).slice(1, -1);
  }

  /** All that the ring had room for has been told: what it had none for came later. */
  #writeMissed(): void {
    const { missed } = this.#parts.reader;
    const more = missed - this.#missed;
    if (more === 0) return;
    this.#missed = missed;
    this.chunks.write(this.#encoder.encode(`{"missed":${more}}\n`));
  }
}
