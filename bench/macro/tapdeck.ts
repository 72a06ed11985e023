import type { Connected, Contender } from './contender.ts';
import { Deck } from './deck.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

const ADDRESS_A = '172.17.0.2';
const ADDRESS_B = '172.17.0.3';
const ADDRESS_C = '172.17.0.4';

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
    await deck.attach(nsA, 'a', ADDRESS_A, this.mtu);
    await deck.attach(nsB, 'b', ADDRESS_B, this.mtu);
    await deck.attach(third, 'c', ADDRESS_C, this.mtu);
    return { nsA, nsB, third, addressB: ADDRESS_B };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
