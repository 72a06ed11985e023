import { type DeckPort, PortNames } from './port-names.ts';

/** What the deck's numbers are called at a time. */
export interface DeckNameTable {
  readonly ports: readonly DeckPort[];
  /** Names of addresses. */
  readonly addresses: readonly (readonly [address: string, names: readonly string[]])[];
  /** Of networks and uplinks. */
  readonly networks: readonly (readonly [number: number, name: string])[];
  /** Endpoint and place of a publish, `web 0.0.0.0:8080->80/tcp`. */
  readonly publishes: readonly (readonly [number: number, text: string])[];
}

/** The names of a deck, for whoever writes about its packets. */
export class DeckNames {
  readonly ports = new PortNames();
  addresses: DeckNameTable['addresses'] = [];
  #networks: ReadonlyMap<number, string> = new Map();
  #publishes: ReadonlyMap<number, string> = new Map();

  /** @param now milliseconds of the data plane's clock */
  replace({ ports, addresses, networks, publishes }: DeckNameTable, now: number): void {
    this.ports.replace(ports, now);
    this.addresses = addresses;
    this.#networks = new Map(networks);
    this.#publishes = new Map(publishes);
  }

  network(number: number): string {
    return this.#networks.get(number) ?? `#${number}`;
  }

  /** Undefined when it has been withdrawn. */
  publish(id: number): string | undefined {
    return this.#publishes.get(id);
  }
}
