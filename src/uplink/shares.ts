/**
 * Whoever has so many times as many sockets as are left gets no more. One who wants all has four fifths of them then, two have
 * eight ninths, and there are always some for whoever has none yet.
 */
const MOST = 4;

/** Whose a socket is: an endpoint's, by the port by which its packets come into the deck (`Frame.origin`), or a publish's. */
export type Owner = number;

/** Clients of a published port share what it may have, and leave its endpoint's own sockets alone. */
export function ownerOfPublish(publish: number): Owner {
  return -1 - publish;
}

/** Who has how many sockets of a protocol, so that nobody has them all. */
export class Shares {
  readonly #counts = new Map<Owner, number>();

  /**
   * Whether somebody may have one more.
   * @param left how many more there may be
   */
  may(owner: Owner, left: number): boolean {
    return (this.#counts.get(owner) ?? 0) < MOST * left;
  }

  take(owner: Owner): void {
    this.#counts.set(owner, (this.#counts.get(owner) ?? 0) + 1);
  }

  give(owner: Owner): void {
    const count = this.#counts.get(owner)! - 1;
    if (count > 0) this.#counts.set(owner, count);
    else this.#counts.delete(owner);
  }
}
