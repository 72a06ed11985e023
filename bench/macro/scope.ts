/** Things to undo at the end, last one first, whatever has happened until then. */
export class Scope {
  readonly #undo: (() => unknown)[] = [];

  defer(undo: () => unknown): void {
    this.#undo.push(undo);
  }

  /** Undoes everything; one failure does not keep the others from being undone. Harmless when called again. */
  async close(): Promise<void> {
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        process.stderr.write(`bench: cleaning up: ${(error as Error).message}\n`);
      }
    }
  }
}
