/**
 * What has to be taken back when a later step fails, in reverse order. A step that cannot be taken back is
 * reported and does not keep the others from it.
 */
export class Undo {
  readonly #steps: (() => void)[] = [];
  readonly #failed: (error: unknown) => void;

  constructor(failed: (error: unknown) => void = () => {}) {
    this.#failed = failed;
  }

  add(step: () => void): void {
    this.#steps.push(step);
  }

  run(): void {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        step();
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}
