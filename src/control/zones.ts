import type { PortId } from '../../switch/frame.ts';
import type { ZoneName } from '../../switch/zone.ts';
import {
  isIpv4LinkLocal,
  isIpv4Loopback,
  isIpv6LinkLocal,
  parseIpv4,
  parseIpv6,
} from '../../wire/address.ts';
import { encodeDnsName } from '../../wire/dns.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { toInt32, toWords } from './address.ts';
import type { Container } from './container.ts';
import type { DeckEvents } from './deck-events.ts';
import type { Endpoint } from './endpoint.ts';
import type { NetworkRecord } from './network.ts';
import type { UplinkSpec } from './uplink-spec.ts';

/** What names of the deck itself lead to, beside Docker's for the same. */
const GATEWAY_NAMES = ['gateway.tapdeck.internal', 'gateway.docker.internal'];
const HOST_NAMES = ['host.tapdeck.internal', 'host.docker.internal'];
/** RFC 6761 §6.3: nobody outside is asked where it is. */
const LOCALHOST: ZoneName = { name: 'localhost', ipv4: [0x7f000001], ipv6: [[0, 0, 0, 1]] };
/** Characters of a container's id that Docker uses as its host name. */
const SHORT_ID = 12;

type Addresses = Pick<ZoneName, 'ipv4' | 'ipv6'>;

/** What the names of a network are made of. */
export interface ZoneNetwork {
  readonly name: string;
  readonly gateway: Addresses;
  /** Where the host is for its endpoints; nowhere when there are none. */
  readonly host: Addresses;
}

/**
 * The names of a network: of each container its name, host name, short id and aliases, alone and with the network's name behind
 * (Docker's `web.front`); of the gateway and the host. An address leads back to the first: `web.front`. Names that are none in the
 * domain name system are left out.
 */
export function namesOf(
  { name: network, gateway, host }: ZoneNetwork,
  containers: readonly Container[],
): ZoneName[] {
  const names: ZoneName[] = [];
  for (const container of containers) {
    const endpoint = container.endpoints.find((one) => one.network === network);
    if (!endpoint) continue;
    const addresses = addressesOf(endpoint);
    const own = [container.name, container.hostname, ...endpoint.aliases, container.id.slice(0, SHORT_ID)];
    for (const name of new Set(own)) {
      if (name !== null) names.push(...scoped(name, network, addresses));
    }
  }
  const taken = new Set(names.map(({ name }) => name.toLowerCase()));
  // A container may stand for the host: somebody has called it so on purpose.
  const more = [
    ...GATEWAY_NAMES.map((name) => ({ name, ...gateway })),
    ...(hasAny(host) ? HOST_NAMES.map((name) => ({ name, ...host })) : []),
    LOCALHOST,
  ];
  return [...names, ...more.filter(({ name }) => !taken.has(name))];
}

/** The names by which only this container finds others: its links. */
export function linksOf(container: Container, containers: readonly Container[]): ZoneName[] {
  return container.endpoints.flatMap(({ network, links }) =>
    links.flatMap((link) => {
      const [target = '', alias = target] = link.split(':');
      const other = containers.find(({ name, id }) => name === target || id === target);
      const endpoint = other?.endpoints.find((one) => one.network === network);
      return endpoint ? scoped(alias, network, addressesOf(endpoint)) : [];
    }),
  );
}

function scoped(name: string, network: string, addresses: Addresses): ZoneName[] {
  return [`${name}.${network}`, name]
    .filter((text) => encodeDnsName(text) !== undefined)
    .map((text) => ({ name: text, ...addresses }));
}

function addressesOf({ ipv4, ipv6 }: Pick<Endpoint, 'ipv4' | 'ipv6'>): Addresses {
  return {
    ipv4: ipv4 === null ? [] : [parseIpv4(ipv4)!],
    ipv6: ipv6 === null ? [] : [parseIpv6(ipv6)!],
  };
}

function hasAny({ ipv4, ipv6 }: Addresses): boolean {
  return ipv4.length + ipv6.length > 0;
}

/**
 * Where endpoints of a network that leaves by an uplink find the host: at the next hop when that is the host (a `tap`, and the host's
 * loopback by `socket`), else at the first address of its own that they may reach. By `packet` it is not to be reached.
 * @param own lists the host's addresses
 */
export function hostOf(spec: UplinkSpec | null, hostLoopback: boolean, own: () => string[]): Addresses {
  if (spec === null || spec.kind === 'packet') return { ipv4: [], ipv6: [] };
  if (spec.kind !== 'socket' || hostLoopback) {
    return {
      ipv4: spec.ipv4 ? [toInt32(spec.ipv4.gateway)] : [],
      ipv6: spec.ipv6 ? [toWords(spec.ipv6.gateway)] : [],
    };
  }
  if (!spec.hostAccess) return { ipv4: [], ipv6: [] };
  const texts = own();
  const ipv4 = texts
    .map(parseIpv4)
    .find((one) => one !== undefined && !isIpv4Loopback(one) && !isIpv4LinkLocal(one));
  const ipv6 = texts
    .map(parseIpv6)
    .find((one) => one !== undefined && !isIpv6LinkLocal(one[0]) && (one[0] | one[1] | one[2]) !== 0);
  return { ipv4: ipv4 === undefined ? [] : [ipv4], ipv6: ipv6 === undefined ? [] : [ipv6] };
}

export interface ZonesParts {
  plane: Pick<DataPlane, 'setNames' | 'setSearch'>;
  events: DeckEvents;
  /** All networks, and all containers, as they are now. */
  networks(): readonly NetworkRecord[];
  containers(): readonly Container[];
  /** The uplink of a name. */
  uplink(name: string): UplinkSpec;
  hostAddresses(): string[];
  log(level: 'warn' | 'error', message: string): void;
}

/**
 * Keeps the names that the data plane knows as they are in the deck. What has changed is sent at once, so that it is known before the
 * command that changed it has ended; but one message per network at a time, so that a hundred attaches are not a hundred zones.
 */
export class Zones {
  readonly #parts: ZonesParts;
  /** By the network's number: true when the names have changed since they were sent. */
  readonly #sending = new Map<number, boolean>();
  /** What was sent of each port, as text. */
  readonly #searches = new Map<PortId, string>();

  constructor(parts: ZonesParts) {
    const { events } = parts;
    this.#parts = parts;
    const changed = ({ network }: Endpoint) => this.#changed(network);
    events.on('attach', changed);
    for (const event of ['detach', 'gone'] as const) {
      events.on(event, (endpoint: Endpoint) => {
        this.#searches.delete(endpoint.port);
        changed(endpoint);
      });
    }
    events.on('container', ({ action, container: { endpoints } }) => {
      if (action === 'rename') for (const endpoint of endpoints) changed(endpoint);
    });
    events.on('network', ({ action, network }) => {
      if (action === 'create') this.#changed(network.name);
    });
  }

  #changed(name: string): void {
    const network = this.#parts.networks().find((one) => one.name === name);
    if (network && network.number >= 0) this.#send(network);
    this.#search();
  }

  #send(network: NetworkRecord): void {
    const { number } = network;
    if (this.#sending.has(number)) {
      this.#sending.set(number, true);
      return;
    }
    this.#sending.set(number, false);
    const { plane } = this.#parts;
    void plane
      .setNames(number, namesOf(this.#describe(network), this.#parts.containers()))
      .catch((error: Error) => this.#failed(network, error))
      .then(() => {
        const again = this.#sending.get(number);
        this.#sending.delete(number);
        if (again && this.#isThere(network)) this.#send(network);
      });
  }

  #describe({ name, ipv4, ipv6, way }: NetworkRecord): ZoneNetwork {
    const spec = way.uplink ? this.#parts.uplink(way.uplink.name) : null;
    const host = hostOf(spec, way.hostLoopback, () => this.#parts.hostAddresses());
    return {
      name,
      gateway: { ipv4: ipv4 ? [toInt32(ipv4.gateway)] : [], ipv6: ipv6 ? [toWords(ipv6.gateway)] : [] },
      // Who has no IPv6 of his own would be led astray by an IPv6 address.
      host: { ipv4: ipv4 ? host.ipv4 : [], ipv6: ipv6 ? host.ipv6 : [] },
    };
  }

  /** Tells each port of what it sees, where that is more than its own network or has changed. */
  #search(): void {
    const containers = this.#parts.containers();
    const numbers = new Map(this.#parts.networks().map(({ name, number }) => [name, number]));
    for (const container of containers) {
      const { endpoints } = container;
      const own = linksOf(container, containers);
      const networks = inOrder(endpoints).flatMap(({ network }) => numbers.get(network) ?? []);
      for (const { port } of endpoints) {
        const isDefault = own.length === 0 && networks.length === 1;
        const text = isDefault ? '' : JSON.stringify([networks, own]);
        if ((this.#searches.get(port) ?? '') === text) continue;
        this.#searches.set(port, text);
        // A port that has gone meanwhile needs no names.
        this.#parts.plane.setSearch(port, networks, own).catch(() => {});
      }
    }
  }

  #isThere(network: NetworkRecord): boolean {
    return this.#parts.networks().includes(network);
  }

  #failed(network: NetworkRecord, error: Error): void {
    if (!this.#isThere(network)) return;
    this.#parts.log('error', `cannot make the names of network ${network.name} known: ${error.message}`);
  }
}

/** The endpoints of a container as their names are looked for: by gateway priority, then by network, as Docker does it. */
export function inOrder<T extends Pick<Endpoint, 'gatewayPriority' | 'network'>>(
  endpoints: readonly T[],
): T[] {
  return Array.from(endpoints).sort(
    (one, other) => other.gatewayPriority - one.gatewayPriority || (one.network < other.network ? -1 : 1),
  );
}
