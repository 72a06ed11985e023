import type { Deck } from '../deck.ts';
import { asDeckError } from '../error.ts';
import { isMissing } from './messages.ts';

/** Milliseconds before the first look, and at most between two. */
const FIRST_LOOK = 25;
const LONGEST_WAIT = 1000;
/** Looks after which a container is left as it is: a minute and a half. */
const MOST_LOOKS = 100;
/** Questions for a name, after the interface has been found: half a minute. */
const NAME_LOOKS = 30;

export interface FollowerParts {
  deck: Deck;
  /** The container's name, of one of its endpoints; undefined while there is none. Throws when nobody can be asked. */
  nameOf(endpointId: string): Promise<string | undefined>;
  log(level: 'warn' | 'error', message: string): void;
}

/**
 * Learns what Docker does not tell a driver: which interface a container's namespace has got, so that it can be made again
 * after a restart, and what the container is called. Docker moves the interface some time after `Join`, when it has made the
 * namespace, and knows the name of a container by its endpoint when that runs.
 */
export class Follower {
  readonly #parts: FollowerParts;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(parts: FollowerParts) {
    this.#parts = parts;
  }

  follow(container: string, endpointId: string): void {
    this.#later(endpointId, FIRST_LOOK, () => this.#settle(container, endpointId, 1));
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #later(endpointId: string, wait: number, work: () => Promise<void>): void {
    clearTimeout(this.#timers.get(endpointId));
    const timer = setTimeout(() => {
      this.#timers.delete(endpointId);
      work().catch((error: unknown) => {
        // It has gone meanwhile.
        if (isMissing(error)) return;
        this.#parts.log('warn', `cannot follow a container of Docker: ${asDeckError(error).message}`);
      });
    }, wait);
    this.#timers.set(endpointId, timer.unref());
  }

  async #settle(container: string, endpointId: string, look: number): Promise<void> {
    if (this.#parts.deck.settle(container)) return this.#name(container, endpointId, 1);
    if (look === MOST_LOOKS) return;
    const wait = Math.min(LONGEST_WAIT, FIRST_LOOK * look);
    this.#later(endpointId, wait, () => this.#settle(container, endpointId, look + 1));
  }

  async #name(container: string, endpointId: string, look: number): Promise<void> {
    let name: string | undefined;
    try {
      name = await this.#parts.nameOf(endpointId);
    } catch (error) {
      // Docker may be asked by those only whom it permits; the name that there is does as well. It may also be away for a while.
      if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
    }
    if (name !== undefined) {
      await this.#parts.deck.rename(container, name);
      return;
    }
    if (look === NAME_LOOKS) return;
    const wait = Math.min(LONGEST_WAIT, 4 * FIRST_LOOK * look);
    this.#later(endpointId, wait, () => this.#name(container, endpointId, look + 1));
  }
}
