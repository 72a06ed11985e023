import { LARGE_BUFFERS, ROW } from './tcp-connections.ts';

/** Connections that may have large buffers in any case, and one of so many when there are more. */
const LEAST = 64;
const SHARE_SHIFT = 5;

/**
 * Which connections' sockets may have large buffers: those that move much, as long as there are few of them. What is in a
 * buffer cannot be taken back from an end that has stopped reading, so thousands of fast flows that stop all at once would
 * fill the host's memory if each of them had as much as it can use.
 */
export class LargeBuffers {
  readonly #words: Int32Array;
  /** Rows that have them. */
  readonly #rows: Int32Array;
  readonly #giveUp: (row: number) => boolean;
  #count = 0;
  /** Whose turn it is to be asked for his. */
  #next = 0;

  /**
   * @param words of the connections
   * @param giveUp makes a row's buffers small again; false when there is more in them than fits
   */
  constructor(words: Int32Array, giveUp: (row: number) => boolean) {
    this.#words = words;
    this.#rows = new Int32Array(Math.max(LEAST, (words.length / ROW) >> SHARE_SHIFT));
    this.#giveUp = giveUp;
  }

  /**
   * Gives a row large buffers, if it has none; when as many have them as may, from a row that does not need them now.
   * @param sockets that are open
   */
  grant(row: number, sockets: number): boolean {
    const at = row * ROW + LARGE_BUFFERS;
    if (this.#words[at] !== 0) return true;
    if (this.#count >= Math.max(LEAST, sockets >> SHARE_SHIFT)) {
      if (++this.#next >= this.#count) this.#next = 0;
      const other = this.#rows[this.#next]!;
      if (!this.#giveUp(other)) return false;
      this.release(other);
    }
    this.#rows[this.#count++] = row;
    this.#words[at] = this.#count;
    return true;
  }

  /** The row has small buffers, or no socket any more. */
  release(row: number): void {
    const words = this.#words;
    const place = words[row * ROW + LARGE_BUFFERS]! - 1;
    if (place < 0) return;
    words[row * ROW + LARGE_BUFFERS] = 0;
    const last = this.#rows[--this.#count]!;
    if (last === row) return;
    this.#rows[place] = last;
    words[last * ROW + LARGE_BUFFERS] = place + 1;
  }
}
