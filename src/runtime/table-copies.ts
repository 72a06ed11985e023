import type { SavedTables } from '../recording/state-carrier.ts';
import type { TableCopy } from '../recording/table-copy.ts';

/**
 * Milliseconds that a turn of the loop spends on a copy beside its frames: as long as the receivers of a few segments take, and
 * twenty times as much as asking for the time.
 */
const SLICE = 0.5;

/** An answer that is given in a later turn. */
export class Later<T> {
  /** Told once: `answer` answers or throws, and `moved` may go to the other thread instead of copies. */
  onSettled: (answer: () => T, moved: readonly ArrayBuffer[]) => void = () => {};
}

interface Begun<T> {
  copy: TableCopy;
  answer: (tables: SavedTables) => T;
}

interface Job<T> {
  begin: () => Begun<T>;
  later: Later<T>;
}

/** Copies of a data plane's tables, one after the other and a part of them in each turn of the loop. */
export class TableCopies {
  /** Monotonic milliseconds; Infinity while there is nothing to copy. */
  deadline = Number.POSITIVE_INFINITY;
  readonly #clock: () => number;
  readonly #waiting: Job<unknown>[] = [];
  #current: (Begun<unknown> & { later: Later<unknown> }) | null = null;

  /** @param clock monotonic milliseconds */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /**
   * Begins a copy, as soon as no other is being made.
   * @param begin called then, between two frames; says what is to be answered when the copy is complete
   */
  add<T>(begin: () => Begun<T>): Later<T> {
    const later = new Later<T>();
    this.#waiting.push({ begin, later } as Job<unknown>);
    this.deadline = 0;
    return later;
  }

  /** Copies for a while. */
  expire(): void {
    if (this.#current === null) {
      this.#current = this.#begin();
      return;
    }
    const end = this.#clock() + SLICE;
    const { copy, answer, later } = this.#current;
    if (!copy.advance(() => this.#clock() < end)) return;
    this.#current = null;
    if (this.#waiting.length === 0) this.deadline = Number.POSITIVE_INFINITY;
    const tables = copy.finish();
    later.onSettled(() => answer(tables), [tables.items.buffer, tables.rows.buffer]);
  }

  #begin(): (Begun<unknown> & { later: Later<unknown> }) | null {
    const job = this.#waiting.shift();
    if (job === undefined) return null;
    const { begin, later } = job;
    try {
      return { ...begin(), later };
    } catch (error) {
      if (this.#waiting.length === 0) this.deadline = Number.POSITIVE_INFINITY;
      later.onSettled(() => {
        throw error;
      }, []);
      return null;
    }
  }
}
