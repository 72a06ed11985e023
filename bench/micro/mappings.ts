import { Mappings } from '../../nat/mappings.ts';
import { Publishes } from '../../nat/publishes.ts';
import { IPV4_MAPPED, portsWord, TUPLE_WORDS, tupleKind } from '../../nat/tuple.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';
import { heapGrowth } from './allocation.ts';
import type { Figure } from './figure.ts';

const NETWORK = 1;
const UPLINK = 2;
const EXTERNAL = [0, 0, IPV4_MAPPED, 0xc6336402 | 0];
const INSIDE = 0x0a000000;
const HOSTS = 64;
/** Ports taken of 64,512: the pool of a busy address. */
const TAKEN = 60_000;
const MOST_NS = 1000;
const WARM_UP = 200_000;
/** Operations of a round: short enough to come between two others' turns. */
const ROUND = 6400;
/** New connections that come before one of them ends. */
const BATCH = 64;
const PUBLISHES = 1000;

/** What a new connection costs: a mapping with a port of its own, and the search for a published port. */
export async function mappingFigures(quick: boolean): Promise<Figure[]> {
  const rounds = quick ? 50 : 500;
  const figures: Figure[] = [];
  for (const [name, protocol] of [
    ['TCP', PROTO_TCP],
    ['UDP', PROTO_UDP],
  ] as const) {
    for (const taken of [0, TAKEN]) {
      const endpoints = new Endpoints(protocol, taken);
      const cost = fastest((count) => endpoints.come(count), rounds);
      figures.push({
        name: `mapping made and freed, ${name}, ${taken.toLocaleString('en')} ports taken`,
        value: `${cost.toFixed(0)} ns`,
        target: `≤ ${MOST_NS} ns`,
        met: cost <= MOST_NS,
      });
      if (taken > 0)
        figures.push(
          await heapGrowth(`heap per mapping, ${name}`, rounds * ROUND, (count) => endpoints.come(count)),
        );
    }
  }
  const ports = new PublishedPorts();
  figures.push({
    name: `published port among ${PUBLISHES.toLocaleString('en')}`,
    value: `${fastest((count) => ports.search(count), rounds).toFixed(0)} ns`,
  });
  return figures;
}

/** Nanoseconds per operation: of the fastest round, because what else the machine does only slows it down. */
function fastest(run: (count: number) => void, rounds: number): number {
  run(WARM_UP);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.hrtime.bigint();
    run(ROUND);
    least = Math.min(least, Number(process.hrtime.bigint() - start) / ROUND);
  }
  return least;
}

/** Endpoints of many hosts, of which `taken` hold a mapping all the time. */
class Endpoints {
  readonly #mappings = new Mappings({ capacity: 131_072, key: [1, 2], random: new Random(1) });
  readonly #words = new Int32Array(TUPLE_WORDS);
  readonly #rows = new Int32Array(BATCH);
  #next = 0;

  constructor(protocol: number, taken: number) {
    this.#mappings.addAddress(UPLINK, EXTERNAL);
    this.#words.set([...EXTERNAL, ...EXTERNAL, 0, tupleKind(protocol, false, NETWORK)]);
    for (let i = 0; i < taken; i++) this.#map();
  }

  come(count: number): void {
    for (let done = 0; done < count; done += BATCH) {
      for (let i = 0; i < BATCH; i++) this.#rows[i] = this.#map();
      for (let i = 0; i < BATCH; i++) this.#mappings.release(this.#rows[i]!);
    }
  }

  /** The mapping of an endpoint that has none. */
  #map(): number {
    const i = this.#next++;
    this.#words[3] = INSIDE + (i % HOSTS);
    this.#words[8] = portsWord(1024 + (Math.floor(i / HOSTS) % 64_512), 443);
    const row = this.#mappings.map(this.#words, 0, UPLINK);
    if (row < 0) throw new Error(`no mapping: ${row}`);
    this.#mappings.retain(row);
    return row;
  }
}

/** Ranges of six ports with four between them, half of them of one of 128 addresses. */
class PublishedPorts {
  readonly #publishes = new Publishes();
  readonly #words = new Int32Array(TUPLE_WORDS);

  constructor() {
    for (let id = 0; id < PUBLISHES; id++)
      this.#publishes.add({
        id,
        network: NETWORK,
        address: EXTERNAL,
        target: 80,
        protocol: PROTO_TCP,
        family: 4,
        host: id % 2 ? [0, 0, IPV4_MAPPED, id >> 3] : null,
        uplinkOnly: false,
        from: 1000 + 10 * id,
        to: 1005 + 10 * id,
      });
    this.#words.set([...EXTERNAL, ...EXTERNAL, 0, tupleKind(PROTO_TCP, false, UPLINK)]);
  }

  search(count: number): void {
    let found = 0;
    for (let i = 0; i < count; i++) {
      this.#words[7] = i & 127;
      this.#words[8] = portsWord(50_000, 1000 + (i % (10 * PUBLISHES)));
      if (this.#publishes.find(this.#words, 0) >= 0) found++;
    }
    if (found === 0) throw new Error('nothing was found');
  }
}
