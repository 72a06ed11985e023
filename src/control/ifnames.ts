import { conflict } from './error.ts';
import { checkIfname } from './name.ts';
import type { Undo } from './undo.ts';

/** The names of the deck's interfaces in use per namespace, by the namespace's identity. */
export class Ifnames {
  readonly #taken = new Map<string, Set<string>>();

  /** Whether the deck has an interface in the namespace already. */
  areIn(namespace: string): boolean {
    return this.#taken.has(namespace);
  }

  /**
   * Takes `wanted`, or the lowest `ethN` that is free. Throws a `DeckError` when it is in use or cannot be a name.
   * @param place the namespace as people call it
   */
  reserve(namespace: string, wanted: string | undefined, place: string, undo: Undo): string {
    const taken = this.#taken.get(namespace) ?? new Set();
    const ifname = checkIfname(wanted ?? lowestFree(taken));
    if (taken.has(ifname)) {
      throw conflict(
        `${place} has an interface ${ifname} on this deck already; choose another with --ifname`,
      );
    }
    taken.add(ifname);
    this.#taken.set(namespace, taken);
    undo.add(() => {
      taken.delete(ifname);
      if (taken.size === 0) this.#taken.delete(namespace);
    });
    return ifname;
  }
}

function lowestFree(taken: ReadonlySet<string>): string {
  let number = 0;
  while (taken.has(`eth${number}`)) number++;
  return `eth${number}`;
}
