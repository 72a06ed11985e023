import { ROW, SERIAL, STATE, TcpState } from './tcp-connections.ts';

/** Connections in TIME-WAIT, in the order in which they came there: when room is needed, the oldest goes first. */
export class TimeWait {
  readonly #words: Int32Array;
  /** Rows and their serials. */
  readonly #waiting: Int32Array;
  #first = 0;
  #count = 0;

  constructor(words: Int32Array, capacity: number) {
    this.#words = words;
    this.#waiting = new Int32Array(2 * capacity);
  }

  add(row: number): void {
    const waiting = this.#waiting;
    if (this.#count * 2 === waiting.length) this.#unqueue();
    let index = this.#first + 2 * this.#count++;
    if (index >= waiting.length) index -= waiting.length;
    waiting[index] = row;
    waiting[index + 1] = this.#words[row * ROW + SERIAL]!;
  }

  /** Takes out the connection that has been here longest; -1 when there is none. */
  shift(): number {
    const words = this.#words;
    while (this.#count > 0) {
      const row = this.#waiting[this.#first]!;
      const serial = this.#waiting[this.#first + 1]!;
      this.#unqueue();
      // Its time may be over, and the row another's.
      if (words[row * ROW + STATE] === TcpState.TIME_WAIT && words[row * ROW + SERIAL] === serial) return row;
    }
    return -1;
  }

  #unqueue(): void {
    this.#first += 2;
    if (this.#first === this.#waiting.length) this.#first = 0;
    this.#count--;
  }
}
