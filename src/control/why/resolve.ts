import { parseMac } from '../../../wire/address.ts';
import type { Address, Question, Station } from '../../why/question.ts';
import {
  contains,
  type Family,
  familyOf,
  formatAddress,
  parseAddress,
  toInt32,
  toWords,
} from '../address.ts';
import { type Container, firstWayOut } from '../container.ts';
import type { Endpoint } from '../endpoint.ts';
import { type DeckError, invalid, notFound } from '../error.ts';
import { quote } from '../name.ts';
import type { NetworkRecord } from '../network.ts';
import type { UplinkRecord } from '../uplink.ts';
import type { Place, Wanted } from './grammar.ts';

/** What of the deck a question is resolved with. */
export interface WhyParts {
  readonly containers: readonly Container[];
  /** Those of the data plane. */
  readonly networks: readonly NetworkRecord[];
  readonly uplinks: readonly UplinkRecord[];
}

/** One end, found. */
export interface End {
  /** As it is called in a sentence. */
  readonly name: string;
  readonly address: bigint;
  /** Name of its container; null for anybody else. */
  readonly container: string | null;
  /** Name of the network or uplink in which it is; null for an address that is in none of ours. */
  readonly network: string | null;
}

export interface Resolved {
  readonly family: Family;
  readonly from: End;
  readonly to: End;
  readonly question: Question;
  /** What the stations of the question are called. */
  readonly names: readonly string[];
  /** Whether both ends are one host: nothing of it comes to the deck. */
  readonly isLocal: boolean;
}

/** Somebody behind all routers (RFC 5737, RFC 3849). */
const SOMEBODY = { 4: '198.51.100.1', 6: '2001:db8:ffff::1' } as const;

/** A station that the deck is told of, and whose. */
interface Known {
  readonly station: Station;
  readonly name: string;
  readonly container: string | null;
  readonly segment: string;
}

/**
 * Finds the ends of a question in the deck. Throws a `DeckError` when there is no such container, network or address.
 * @param wish the IP version that is asked for; else it is that of an address, or IPv4 where both ends have it
 */
export function resolve(parts: WhyParts, wanted: Wanted, wish: Family | undefined): Resolved {
  const named = [wanted.from, wanted.to].flatMap((place) => (place.kind === 'address' ? [place.family] : []));
  const [given] = named;
  if (given !== undefined && named.some((family) => family !== (wish ?? given))) {
    throw invalid(
      wish === undefined
        ? 'one end is an IPv4 and the other an IPv6 address; no packet goes from one to the other'
        : `one end is an IPv${given} address; leave -${wish} out`,
    );
  }
  const family = wish ?? given ?? (hasFamily(parts, wanted, 4) ? 4 : 6);
  return new Resolver(parts, family).resolve(wanted);
}

/** Whether containers that are named have an address of the IP version. */
function hasFamily(parts: WhyParts, { from, to }: Wanted, family: Family): boolean {
  return [from, to].every((place) => {
    if (place.kind !== 'container') return true;
    const endpoints = endpointsOf(containerOf(parts, place.name), place.network);
    return endpoints.some((endpoint) => textOf(endpoint, family) !== null);
  });
}

class Resolver {
  readonly #parts: WhyParts;
  readonly #family: Family;
  readonly #known: readonly Known[];

  constructor(parts: WhyParts, family: Family) {
    this.#parts = parts;
    this.#family = family;
    this.#known = [...parts.containers.flatMap((one) => this.#stationsOf(one)), ...this.#outsides()];
  }

  resolve(wanted: Wanted): Resolved {
    const { from, to, protocol, port } = wanted;
    const asker = this.#asker(from, to);
    const target = this.#target(wanted, asker);
    const { container } = asker.known;
    const name = from.kind === 'host' ? 'the host' : asker.known.name;
    return {
      family: this.#family,
      from: {
        name,
        address: asker.address,
        container,
        network: asker.known.segment,
      },
      to: target,
      question: {
        protocol,
        from: this.#known.indexOf(asker.known),
        source: this.#words(asker.address),
        bound: from.kind === 'container' && from.network !== null,
        destination: this.#words(target.address),
        port,
        stations: this.#known.map(({ station }) => station),
      },
      names: this.#known.map((known) => (known === asker.known ? name : known.name)),
      isLocal:
        target.address === asker.address ||
        (container !== null &&
          (isLoopback(this.#family, target.address) ||
            this.#ownerOf(target.address)?.container === container)),
    };
  }

  // ---- who asks ----

  #asker(from: Place, to: Place): { known: Known; address: bigint } {
    switch (from.kind) {
      case 'container': {
        const mine = this.#of(from.name, from.network);
        // As a kernel chooses its source: of the interface that leads there.
        const there = this.#aim(to);
        const known =
          mine.find(({ station }) => there !== null && this.#isOnLink(station, there)) ??
          mine.find(({ station }) => station.ip!.gateway !== null) ??
          mine[0]!;
        return { known, address: fromWords(known.station.ip!.address) };
      }
      case 'address': {
        // Programs of the host that use its loopback: see `host`.
        if (isLoopback(this.#family, from.address)) return this.#asker({ kind: 'host' }, to);
        const known = this.#ownerOf(from.address) ?? this.#behind(from.address);
        return { known, address: from.address };
      }
      case 'gateway':
        throw silentGateway();
      default: {
        const known = this.#uplinkFor(to);
        const { ip } = known.station;
        const address =
          from.kind === 'host' ? fromWords(ip!.address) : parseAddress(this.#family, SOMEBODY[this.#family]);
        return { known, address };
      }
    }
  }

  /** The uplink of the network whose ports are asked for, or the deck's first. */
  #uplinkFor(to: Place): Known {
    const outsides = this.#known.filter(({ station }) => station.outside !== null);
    const endpoint = to.kind === 'container' ? this.#of(to.name, to.network)[0] : undefined;
    const network = this.#parts.networks.find(({ name }) => name === endpoint?.segment);
    const address = to.kind === 'address' ? this.#words(to.address) : null;
    const known =
      outsides.find(
        ({ station }) => address !== null && station.outside!.deck.some((one) => isSame(one, address)),
      ) ??
      outsides.find(({ segment }) => segment === network?.way.uplink?.name) ??
      outsides[0];
    if (known) return known;
    throw invalid(
      `nobody is outside: the deck has no uplink with IPv${this.#family}; start it with tapdeck daemon --uplink`,
    );
  }

  /** Who sends from an address that none of ours has: who is behind the uplink, or a container with another's address. */
  #behind(address: bigint): Known {
    const home = this.#parts.networks.find((network) => this.#has(network, address));
    if (home !== undefined) {
      if (gatewayOf(home, this.#family) === address) throw silentGateway();
      throw notFound(
        `nobody in network ${home.name} has ${formatAddress(this.#family, address)}; see "tapdeck ps"`,
      );
    }
    return this.#uplinkFor({ kind: 'outside' });
  }

  // ---- who is asked ----

  /** The address at which a question is aimed, if that can be said without knowing who asks. */
  #aim(to: Place): readonly bigint[] | null {
    if (to.kind === 'address') return [to.address];
    if (to.kind === 'container')
      return this.#of(to.name, to.network).map(({ station }) => fromWords(station.ip!.address));
    if (to.kind === 'gateway' && to.network !== null) return [this.#gatewayOf(to.network)];
    return null;
  }

  #target({ to, from, protocol, port }: Wanted, asker: { known: Known; address: bigint }): End {
    switch (to.kind) {
      case 'container': {
        const theirs = this.#of(to.name, to.network);
        // Of several addresses that in the asker's network; else that by which the container is reached from elsewhere.
        const known =
          theirs.find(({ segment }) => segment === asker.known.segment) ??
          theirs.find(({ station }) => station.ip!.gateway !== null) ??
          theirs[0]!;
        return endOf(known, fromWords(known.station.ip!.address));
      }
      case 'address': {
        const known = this.#ownerOf(to.address);
        if (known) return endOf(known, to.address);
        return this.#elsewhere(to.address);
      }
      case 'gateway': {
        if (to.network === null && asker.known.station.outside !== null) {
          throw invalid('from outside there is no gateway; name it as NETWORK/gateway, or the deck as host');
        }
        const network = to.network ?? asker.known.segment;
        return {
          name: `the gateway of ${network}`,
          address: this.#gatewayOf(network),
          container: null,
          network,
        };
      }
      case 'outside': {
        if (asker.known.station.outside !== null) {
          throw invalid('from outside to outside no packet comes to the deck; name a container, or host');
        }
        return {
          name: 'outside',
          address: parseAddress(this.#family, SOMEBODY[this.#family]),
          container: null,
          network: null,
        };
      }
      case 'host': {
        const known =
          asker.known.station.outside !== null ? asker.known : this.#uplinkFor({ kind: 'outside' });
        const uplink = this.#parts.uplinks.find(({ name }) => name === known.segment)!;
        if (uplink.spec.kind === 'socket' && from.kind !== 'host' && from.kind !== 'outside') {
          throw invalid('the host has several addresses; name the one that is meant in place of host');
        }
        const own = fromWords(known.station.outside!.deck[0]!);
        const published = this.#publishedAt(protocol, port, from.kind === 'host');
        return { ...this.#elsewhere(published ?? own), name: 'the host', network: known.segment };
      }
    }
  }

  /** The one address of the host on which a port is published; null when it is on all of them, or on none. */
  #publishedAt(protocol: string, port: number, isOnHost: boolean): bigint | null {
    const family = this.#family;
    for (const container of this.#parts.containers) {
      for (const { host, hostPort, hostPortEnd, protocol: of } of container.ports) {
        const [text = ''] = host.split('%');
        if (of !== protocol || port < hostPort || port > hostPortEnd || familyOf(text) !== family) continue;
        const address = parseAddress(family, text);
        if (address !== 0n && (isOnHost || !isLoopback(family, address))) return address;
      }
    }
    return null;
  }

  /** An address that is none of a container's. */
  #elsewhere(address: bigint): End {
    const text = formatAddress(this.#family, address);
    for (const network of this.#parts.networks) {
      const pool = this.#family === 4 ? network.ipv4 : network.ipv6;
      if (pool?.gateway === address) {
        return { name: `the gateway of ${network.name}`, address, container: null, network: network.name };
      }
      if (this.#has(network, address)) return { name: text, address, container: null, network: network.name };
    }
    const words = this.#words(address);
    const own = this.#known.find(({ station }) => station.outside?.deck.some((one) => isSame(one, words)));
    if (own) return { name: `the deck's address ${text}`, address, container: null, network: own.segment };
    return { name: text, address, container: null, network: null };
  }

  #gatewayOf(name: string): bigint {
    const network = this.#parts.networks.find((one) => one.name === name || one.id === name);
    if (!network)
      throw notFound(`there is no network ${quote(name)} with a gateway; see "tapdeck network ls"`);
    const pool = this.#family === 4 ? network.ipv4 : network.ipv6;
    if (!pool)
      throw invalid(
        `network ${name} has no IPv${this.#family}; ask by IPv${this.#family === 4 ? 6 : 4} with -${this.#family === 4 ? 6 : 4}`,
      );
    return pool.gateway;
  }

  // ---- stations ----

  /** The stations of a container, with an address of the IP version. */
  #of(name: string, network: string | null): Known[] {
    const container = containerOf(this.#parts, name);
    const endpoints = endpointsOf(container, network);
    const known = this.#known.filter(
      (one) =>
        one.container === container.name &&
        one.station.ip !== null &&
        endpoints.some((endpoint) => endpoint.network === one.segment),
    );
    if (known.length > 0) return known;
    throw invalid(
      endpoints.length === 0
        ? `container ${container.name} is in no network of the deck; connect it with "tapdeck network connect"`
        : `container ${container.name} has no IPv${this.#family} address in ${endpoints.map((one) => one.network).join(', ')}; ask by IPv${this.#family === 4 ? 6 : 4} with -${this.#family === 4 ? 6 : 4}`,
    );
  }

  #stationsOf(container: Container): Known[] {
    const endpoints = container.endpoints.flatMap((endpoint) => {
      const network = this.#parts.networks.find(({ name }) => name === endpoint.network);
      return endpoint.port >= 0 && network ? [{ endpoint, network }] : [];
    });
    const out = firstWayOut(endpoints.filter(({ endpoint }) => textOf(endpoint, this.#family) !== null));
    return endpoints.map(({ endpoint, network }) => {
      const text = textOf(endpoint, this.#family);
      const pool = this.#family === 4 ? network.ipv4 : network.ipv6;
      return {
        name: container.name,
        container: container.name,
        segment: network.name,
        station: {
          host: container.id,
          port: endpoint.port,
          mac: parseMac(endpoint.mac)!,
          ip:
            text !== null && pool !== null
              ? {
                  address: this.#words(parseAddress(this.#family, text)),
                  prefix: pool.subnet.prefix,
                  gateway: out?.endpoint === endpoint ? this.#words(pool.gateway) : null,
                }
              : null,
          outside: null,
        },
      };
    });
  }

  #outsides(): Known[] {
    return this.#parts.uplinks.flatMap(({ name, port, gone, mac, peer, spec }) => {
      const pool = this.#family === 4 ? spec.ipv4 : spec.ipv6;
      if (gone || !pool) return [];
      return [
        {
          name: this.#parts.uplinks.length > 1 ? `outside, by ${name}` : 'outside',
          container: null,
          segment: name,
          station: {
            host: `uplink ${name}`,
            port,
            // A router that is not known: 02:77:68:79 and the end of the deck's own MAC there.
            mac: peer ?? { hi: 0x0277, lo: 0x68790000 | (mac.lo & 0xffff) },
            ip: { address: this.#words(pool.gateway), prefix: pool.subnet.prefix, gateway: null },
            outside: { deck: pool.addresses.map((address) => this.#words(address)) },
          },
        },
      ];
    });
  }

  #ownerOf(address: bigint): Known | undefined {
    const words = this.#words(address);
    return this.#known.find(
      ({ station: { ip, outside } }) => outside === null && ip !== null && isSame(ip.address, words),
    );
  }

  #isOnLink({ ip }: Station, addresses: readonly bigint[]): boolean {
    const network = this.#parts.networks.find((one) => ip !== null && this.#has(one, fromWords(ip.address)));
    return network !== undefined && addresses.some((address) => this.#has(network, address));
  }

  #has(network: NetworkRecord, address: bigint): boolean {
    const pool = this.#family === 4 ? network.ipv4 : network.ipv6;
    return pool !== null && contains(pool.subnet, address);
  }

  #words(address: bigint): Address {
    return this.#family === 4 ? [toInt32(address)] : toWords(address);
  }
}

function silentGateway(): DeckError {
  return invalid('a gateway begins nothing by itself; ask what reaches it: tapdeck why CONTAINER gateway');
}

function gatewayOf(network: NetworkRecord, family: Family): bigint | null {
  return (family === 4 ? network.ipv4 : network.ipv6)?.gateway ?? null;
}

function isLoopback(family: Family, address: bigint): boolean {
  return family === 4 ? address >> 24n === 127n : address === 1n;
}

function endOf({ name, container, segment }: Known, address: bigint): End {
  return { name, address, container, network: segment };
}

function containerOf({ containers }: WhyParts, name: string): Container {
  const found =
    containers.find((one) => one.name === name) ?? containers.find((one) => one.id.startsWith(name));
  if (found) return found;
  throw notFound(`there is no container ${quote(name)}; see "tapdeck ps"`);
}

function endpointsOf(container: Container, network: string | null): readonly Endpoint[] {
  if (network === null) return container.endpoints;
  const found = container.endpoints.filter((endpoint) => endpoint.network === network);
  if (found.length > 0) return found;
  throw notFound(
    `container ${container.name} is not in network ${quote(network)}; it is in ${container.endpoints.map((one) => one.network).join(', ') || 'none'}`,
  );
}

function textOf(endpoint: Endpoint, family: Family): string | null {
  return family === 4 ? endpoint.ipv4 : endpoint.ipv6;
}

function isSame(one: Address, other: Address): boolean {
  return one.length === other.length && one.every((word, i) => word === other[i]);
}

function fromWords(words: Address): bigint {
  return words.reduce((address, word) => (address << 32n) | BigInt(word >>> 0), 0n);
}
