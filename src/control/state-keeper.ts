import type { Deck } from './deck.ts';
import type { Leases } from './leases.ts';
import { DEFAULT_NETWORK } from './name.ts';
import { bootId, findProcess } from './process.ts';
import { newState, type RecordedContainer, type SavedDeck, type SavedState } from './saved-state.ts';
import type { StateFile } from './state-file.ts';

/** Networks that every deck has. */
const BY_DEFAULT = new Set([DEFAULT_NETWORK, 'host', 'none']);

export interface KeeperParts {
  deck: Deck;
  leases: Leases;
  file: StateFile;
  /** What could not be made again at the start, for want of an uplink for example: a later start may be able to. */
  unrestored: SavedDeck;
  /** Told when the state cannot be written; once, until it can be again. */
  onFailure(error: Error): void;
}

/**
 * Writes the deck's state to disk whenever it changes: changes that come while a write is under way share the next one.
 */
export class StateKeeper {
  readonly #parts: KeeperParts;
  readonly #boot = bootId();
  /** Start times of the processes that containers were named by, by the container's id. */
  readonly #startTimes = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();
  /** The write that has not begun, which will contain all that happens before it does. */
  #next: Promise<void> | null = null;
  #ended = false;
  #failed = false;
  /** Whether there is anything that a deck does not begin with. */
  #isWorthKeeping = true;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    const { events } = parts.deck;
    const touch = () => this.touch();
    for (const event of ['network', 'container', 'publish', 'attach', 'detach', 'gone', 'rules'] as const) {
      events.on(event, touch);
    }
    parts.leases.onChanged = touch;
  }

  /** Something has changed. */
  touch(): void {
    if (this.#ended) return;
    this.#next ??= this.#write(this.#writing);
  }

  /** Settles when all that has happened until now is on the disk, or cannot be brought there. */
  saved(): Promise<void> {
    return this.#next ?? this.#writing;
  }

  /** Gives up what could not be made again. */
  forget(): void {
    const { networks, containers } = this.#parts.unrestored;
    networks.length = 0;
    containers.length = 0;
    this.touch();
  }

  /** The deck has failed: what was there before is what is wanted. */
  abandon(): void {
    this.#ended = true;
  }

  /** From here on the deck is being taken apart, which is no change of what is wanted. */
  async end(): Promise<void> {
    if (this.#ended) return this.saved();
    this.touch();
    const last = this.saved();
    this.#ended = true;
    await last;
    if (!this.#isWorthKeeping) this.#parts.file.remove();
  }

  async #write(before: Promise<void>): Promise<void> {
    await before;
    // What happens in the same turn of the event loop is one change.
    await new Promise((resolve) => setImmediate(resolve));
    this.#writing = this.#next!;
    this.#next = null;
    try {
      await this.#parts.file.write(this.#state());
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#parts.onFailure(error as Error);
      this.#failed = true;
    }
  }

  #state(): SavedState {
    const { deck, leases, unrestored } = this.#parts;
    const { networks, containers, rules } = deck.save();
    const recorded = containers.map((container): RecordedContainer => {
      const { id, pid } = container;
      const startTime = pid === undefined ? undefined : this.#startTime(id, pid);
      return { ...container, ...(startTime !== undefined && { startTime }) };
    });
    for (const id of this.#startTimes.keys()) {
      if (!containers.some((container) => container.id === id)) this.#startTimes.delete(id);
    }
    const names = new Set(networks.map(({ options }) => options.name));
    const containerNames = new Set(containers.map(({ name }) => name));
    const kept = {
      networks: [...networks, ...unrestored.networks.filter(({ options }) => !names.has(options.name))],
      containers: [...recorded, ...unrestored.containers.filter(({ name }) => !containerNames.has(name))],
      rules,
      sandboxes: leases.save(),
    };
    const made = kept.networks.filter(({ options }) => !BY_DEFAULT.has(options.name));
    this.#isWorthKeeping = made.length > 0 || kept.containers.length > 0 || rules.length > 0;
    return newState(this.#boot, kept);
  }

  /** Looked up once, while the process is the one that was meant. */
  #startTime(id: string, pid: number): number | undefined {
    const known = this.#startTimes.get(id) ?? findProcess(pid)?.startTime;
    if (known !== undefined) this.#startTimes.set(id, known);
    return known;
  }
}
