import type { Connected, Contender } from './contender.ts';
import { Deck } from './deck.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

/** Of the containers a, b and c. */
export const ADDRESSES = ['172.17.0.2', '172.17.0.3', '172.17.0.4'] as const;

/** tapdeck as a user runs it: a daemon, and three namespaces attached to its default network by the command line. */
export class Tapdeck implements Contender {
  readonly name = 'tapdeck';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const nsA = await Namespace.create('ta', this.#scope);
    const nsB = await Namespace.create('tb', this.#scope);
    const third = await Namespace.create('tc', this.#scope);
    const deck = await Deck.start(this.#scope);
    await deck.attach(nsA, 'a', ADDRESSES[0], this.mtu);
    await deck.attach(nsB, 'b', ADDRESSES[1], this.mtu);
    await deck.attach(third, 'c', ADDRESSES[2], this.mtu);
    return { nsA, nsB, third, addressB: ADDRESSES[1] };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
