import type { Names } from '../../trace/names.ts';
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
  /** Of rules by which networks are kept apart: kind, network, place in the chain. */
  readonly rules: readonly (readonly [kind: string, network: number, place: number])[];
  /** Of rules of the user's, by their ids. */
  readonly userRules: readonly (readonly [id: number, place: number])[];
}

/** The names of a deck, for whoever writes about its packets. */
export class DeckNames implements Names {
  readonly ports = new PortNames();
  addresses: DeckNameTable['addresses'] = [];
  #networks: ReadonlyMap<number, string> = new Map();
  #publishes: ReadonlyMap<number, string> = new Map();
  #rules: ReadonlyMap<string, number> = new Map();
  #userRules: ReadonlyMap<number, number> = new Map();

  /** @param now milliseconds of the data plane's clock */
  replace(table: DeckNameTable, now: number): void {
    const { ports, addresses, networks, publishes, rules, userRules } = table;
    this.ports.replace(ports, now);
    this.#rules = new Map(rules.map(([kind, network, place]) => [`${kind} ${network}`, place]));
    this.#userRules = new Map(userRules);
    this.addresses = addresses;
    this.#networks = new Map(networks);
    this.#publishes = new Map(publishes);
  }

  port(port: number): string {
    return this.ports.newest(port)?.name ?? `port ${port}`;
  }

  rule(kind: string, from: number, to: number): string | undefined {
    const place = this.#rules.get(`${kind} ${kind === 'INTERNAL_OUT' ? from : to}`);
    return place === undefined ? undefined : `rule ${place}`;
  }

  userRule(id: number): string | undefined {
    const place = this.#userRules.get(id);
    return place === undefined ? undefined : `rule ${place}`;
  }

  network(number: number): string {
    return this.#networks.get(number) ?? `#${number}`;
  }

  /** Undefined when it has been withdrawn. */
  publish(id: number): string | undefined {
    return this.#publishes.get(id);
  }
}
