import type { Connected, Contender } from './contender.ts';
import { Deck } from './deck.ts';
import type { Sample } from './entry.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';
import { quantile } from './statistics.ts';
import { ADDRESSES } from './tapdeck.ts';

/** Three of them in network bridge, and ten in each of the others. */
const CONTAINERS = 500;
const NETWORKS = 50;
/** How many are detached and attached again for a sample. */
const AGAIN = 50;
/** How often the API is asked for a sample. */
const QUESTIONS = 100;

/** A daemon with 500 containers on 50 networks, of which three are as `Tapdeck` has them. */
export class TapdeckMany implements Contender {
  readonly name: string;
  readonly mtu: number;
  readonly #scope = new Scope();
  readonly #served: boolean;
  #deck!: Deck;
  #others: Namespace[] = [];
  /** Milliseconds that each attach has taken at first. */
  readonly #first: number[] = [];
  #memoryBefore = 0;

  /** @param served whether a service manager keeps its TAPs while no daemon runs */
  constructor(mtu: number, served = false) {
    this.mtu = mtu;
    this.#served = served;
    this.name = `tapdeck, ${CONTAINERS} containers${served ? ', TAPs kept' : ''}`;
  }

  async up(): Promise<Connected> {
    const few = await Promise.all(ADDRESSES.map((_, index) => Namespace.create(`m${index}`, this.#scope)));
    this.#others = await Namespace.createMany('m', CONTAINERS - few.length, this.#scope);
    const deck = await Deck.start(this.#scope, [], this.#served);
    this.#deck = deck;
    this.#memoryBefore = await deck.memory();
    for (const [index, namespace] of few.entries()) {
      await deck.attach(namespace, 'abc'[index]!, ADDRESSES[index]!, this.mtu);
    }
    for (let network = 1; network < NETWORKS; network++) {
      const subnet = `10.200.${network}.0/24`;
      await deck.client.post('/v1/networks', { name: networkName(network), subnet, mtu: this.mtu });
    }
    for (let index = 0; index < this.#others.length; index++) this.#first.push(await this.#attach(index));
    const [nsA, nsB, third] = few;
    return { nsA: nsA!, nsB: nsB!, third: third!, addressB: ADDRESSES[1] };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }

  /** Detaches some and attaches them again, one after the other: p95 in milliseconds. */
  async attachLatency(): Promise<Sample> {
    const step = Math.floor(this.#others.length / AGAIN);
    const some = Array.from({ length: AGAIN }, (_, index) => index * step);
    for (const index of some) await this.#deck.client.delete(`/v1/endpoints/${containerName(index)}`);
    const taken: number[] = [];
    for (const index of some) taken.push(await this.#attach(index));
    return {
      value: quantile(taken, 0.95),
      detail: `${words(taken)}; all at first: ${words(this.#first)}`,
    };
  }

  /** Asks for a network and for all containers, p95 in milliseconds: of both the slower one. */
  async apiLatency(): Promise<Sample> {
    const { client } = this.#deck;
    const inspect: number[] = [];
    const list: number[] = [];
    for (let i = 0; i < QUESTIONS; i++) {
      inspect.push(await timed(() => client.get(`/v1/networks/${networkName(1 + (i % (NETWORKS - 1)))}`)));
      list.push(await timed(() => client.get('/v1/containers')));
    }
    return {
      value: Math.max(quantile(inspect, 0.95), quantile(list, 0.95)),
      detail: `network inspect ${words(inspect)}; ps ${words(list)}`,
    };
  }

  /** What the daemon has in memory, in MB. */
  async memory(): Promise<Sample> {
    const now = await this.#deck.memory();
    const each = (now - this.#memoryBefore) / CONTAINERS;
    const detail = `${(this.#memoryBefore / 1e6).toFixed(1)} MB before the first, ${(each / 1e3).toFixed(1)} kB for each`;
    return { value: now / 1e6, detail };
  }

  /** From the end of a daemon that was killed until the next has attached all again, in seconds. */
  async restart(): Promise<Sample> {
    const milliseconds = await timed(() => this.#deck.restart());
    const { length } = await this.#deck.client.get<unknown[]>('/v1/endpoints');
    if (length !== CONTAINERS) throw new Error(`${length} of ${CONTAINERS} containers are attached again`);
    return { value: milliseconds / 1000, detail: `${(milliseconds / CONTAINERS).toFixed(1)} ms for each` };
  }

  #attach(index: number): Promise<number> {
    const body = {
      netns: this.#others[index]!.path,
      name: containerName(index),
      network: networkName(1 + (index % (NETWORKS - 1))),
    };
    return timed(() => this.#deck.client.post('/v1/endpoints', body));
  }
}

function networkName(number: number): string {
  return `net-${number}`;
}

function containerName(index: number): string {
  return `many-${index}`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

function words(milliseconds: readonly number[]): string {
  const shown = [0.5, 0.95, 0.99].map((share) => quantile(milliseconds, share).toFixed(1));
  return `p50 ${shown[0]}, p95 ${shown[1]}, p99 ${shown[2]} ms`;
}
