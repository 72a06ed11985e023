import { BULK_PORT, type Connected, type Contender } from './contender.ts';
import { Deck } from './deck.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

const INSIDE = '172.17.0.2';
const OUTSIDE = '192.0.2.1';
const UPLINK = '192.0.2.2';
const PUBLISHED = 8080;

/**
 * tapdeck's NAT: a container on the default network, and an uplink of MTU 1500 whose host is the namespace outside. The
 * deck does what host and bridge do for the kernel, so that both have one router between container and outside.
 */
export class TapdeckNat implements Contender {
  readonly name = 'tapdeck';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const inside = await Namespace.create('tn', this.#scope);
    const outside = await Namespace.create('to', this.#scope);
    const deck = await Deck.start(this.#scope, [
      ...['--uplink', `tap:up0,addr=${UPLINK}/24,gw=${OUTSIDE},netns=${outside.path}`],
    ]);
    await deck.attach(inside, 'inside', INSIDE, this.mtu, ['-p', `${PUBLISHED}:${BULK_PORT}`]);
    return {
      ...{ nsA: inside, nsB: outside, addressB: OUTSIDE },
      inward: { nsA: outside, nsB: inside, addressB: UPLINK, bulkPort: PUBLISHED },
    };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
