import { clearLine, cursorTo } from 'node:readline';

/** Nothing is shown before: what is quick needs no progress. */
const PATIENCE = 1000;
const EVERY = 100;

/** A line on the terminal (stderr) that says how far something is; nothing when stderr is no terminal. */
export class ProgressLine {
  readonly #what: string;
  readonly #started = performance.now();
  #next = PATIENCE;
  #shown = false;

  constructor(what: string) {
    this.#what = what;
  }

  /** @param done 0 to 1 */
  show(done: number): void {
    this.say(`${Math.floor(done * 100)} %`);
  }

  /** How far it is, where there is no telling when it will be done. */
  say(words: string): void {
    const elapsed = performance.now() - this.#started;
    if (!process.stderr.isTTY || elapsed < this.#next) return;
    this.#next = elapsed + EVERY;
    this.#shown = true;
    cursorTo(process.stderr, 0);
    process.stderr.write(`${this.#what}: ${words}`);
    clearLine(process.stderr, 1);
  }

  /** Makes room for something else to be printed. */
  clear(): void {
    if (!this.#shown) return;
    this.#shown = false;
    cursorTo(process.stderr, 0);
    clearLine(process.stderr, 0);
  }
}
