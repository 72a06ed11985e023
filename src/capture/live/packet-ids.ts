/** Ids of packets, which wrap at 32 bits, as numbers that do not. */
export class PacketIds {
  #newest = 0;

  /** That of the numbers with these 32 bits which is nearest to the newest: stories of packets that waited come later. */
  extend(packet: number): number {
    const id = this.#newest + ((packet - this.#newest) | 0);
    if (id > this.#newest) this.#newest = id;
    return id;
  }
}
