import { ROW_ARGUMENTS, ROW_POINT, ROW_WORDS } from '../../../switch/trace.ts';

/** Entries; one of another story in the same place takes it over. */
const SIZE = 4096;
/** Rows of a story beyond which it is not kept: a flood to hundreds of ports is rare, and long. */
const MOST_ROWS = 64;

/** Words of a row that are the same for all packets of a connection: all but packet and time. */
const FIRST = ROW_ARGUMENTS - 1;

interface Entry<T> {
  readonly words: Int32Array;
  readonly value: T;
}

/**
 * What was made of the rows of a story, for the next packet with equal rows: of a connection, all but the first few are told in
 * the same words. A fixed number of entries; looking one up allocates nothing.
 */
export class StoryCache<T> {
  readonly #make: (words: Int32Array, rows: Int32Array, count: number) => T;
  #entries: (Entry<T> | undefined)[] = new Array(SIZE);

  /** @param make of the rows that begin at `rows[0]` to `rows[count - 1]` of `words` */
  constructor(make: (words: Int32Array, rows: Int32Array, count: number) => T) {
    this.#make = make;
  }

  get(words: Int32Array, rows: Int32Array, count: number): T {
    if (count > MOST_ROWS) return this.#make(words, rows, count);
    let hash = count;
    for (let i = 0; i < count; i++) hash = Math.imul(hash ^ words[rows[i]! + ROW_POINT]!, 0x9e37_79b1);
    // The first row says where the packet comes from, where it goes, and how long it is; of the others follows little that is new.
    if (count > 0) {
      const at = rows[0]!;
      for (let j = FIRST; j < ROW_WORDS; j++)
        hash = Math.imul((hash ^ words[at + j]!) + (hash >>> 15), 0x85eb_ca6b);
    }
    const place = (hash ^ (hash >>> 16)) & (SIZE - 1);
    const known = this.#entries[place];
    if (known && matches(known.words, words, rows, count)) return known.value;
    const value = this.#make(words, rows, count);
    const copy = new Int32Array(count * ROW_WORDS);
    for (let i = 0; i < count; i++) copy.set(words.subarray(rows[i]!, rows[i]! + ROW_WORDS), i * ROW_WORDS);
    this.#entries[place] = { words: copy, value };
    return value;
  }

  /** Names have changed. */
  clear(): void {
    this.#entries = new Array(SIZE);
  }
}

function matches(known: Int32Array, words: Int32Array, rows: Int32Array, count: number): boolean {
  if (known.length !== count * ROW_WORDS) return false;
  for (let i = 0; i < count; i++) {
    const at = rows[i]!;
    const there = i * ROW_WORDS;
    if (known[there + ROW_POINT] !== words[at + ROW_POINT]) return false;
    for (let j = FIRST; j < ROW_WORDS; j++) if (known[there + j] !== words[at + j]) return false;
  }
  return true;
}
