import type { DataPlane } from '../runtime/data-plane.ts';
import { formatAddress, formatSubnet } from './address.ts';
import type { DeckEvents } from './deck-events.ts';
import { asDeckError, conflict, invalid, notFound } from './error.ts';
import { findNamed, newId } from './id.ts';
import { AddressPool, type Subnets } from './ipam.ts';
import { DEFAULT_NETWORK, Names, quote } from './name.ts';
import {
  type CreateNetworkOptions,
  checkMtu,
  DEFAULT_MTU,
  type NetworkInfo,
  NetworkRecord,
} from './network.ts';
import type { HostAddress, PublishTarget } from './published.ts';
import type { RuleNetwork } from './rules.ts';
import type { Undo } from './undo.ts';
import type { Uplinks } from './uplink.ts';
import { chooseWayOut } from './way-out.ts';

/** What something was that is made again after a restart: it keeps its identity. */
export interface Identity {
  id: string;
  createdAt: string;
}

/** What makes a network again after a restart. */
export interface SavedNetwork extends Identity {
  /** As it was asked for, with the addresses that were chosen. */
  options: CreateNetworkOptions;
}

export interface NetworksParts {
  plane: DataPlane;
  uplinks: Uplinks;
  subnets: Subnets;
  events: DeckEvents;
  undo(): Undo;
}

/** The networks of a deck. */
export class Networks {
  readonly #parts: NetworksParts;
  readonly #names = new Names('network');
  readonly #all = new Map<string, NetworkRecord>();
  /** What each was asked to be. */
  readonly #wishes = new Map<string, CreateNetworkOptions>();

  constructor(parts: NetworksParts) {
    this.#parts = parts;
  }

  /** The oldest first. */
  all(): NetworkRecord[] {
    return Array.from(this.#all.values());
  }

  /** By name, id or the beginning of one. Throws a `DeckError` when there is none. */
  get(nameOrId: string): NetworkRecord {
    const network = findNamed(this.#all, nameOrId);
    if (!network) {
      throw notFound(
        `there is no network ${quote(nameOrId)}; see "tapdeck network ls", or make it with "tapdeck network create"`,
      );
    }
    return network;
  }

  /** The one with the data plane's number. */
  numbered(number: number): NetworkRecord | undefined {
    for (const network of this.#all.values()) if (network.number === number) return network;
    return undefined;
  }

  /** The data plane's number of a network, by name or id, or of an uplink. */
  segmentNumber(nameOrId: string): number {
    const uplink = this.#parts.uplinks.all().find(({ name }) => name === nameOrId);
    return uplink && !this.#all.has(nameOrId) ? uplink.number : this.get(nameOrId).number;
  }

  /** What the data plane's number of a network or uplink is called. */
  segmentName(number: number): string {
    return this.numbered(number)?.name ?? this.#parts.uplinks.numbered(number)?.name ?? `#${number}`;
  }

  async create(options: CreateNetworkOptions, was?: Identity): Promise<NetworkInfo> {
    const { plane, uplinks, subnets, events } = this.#parts;
    const undo = this.#parts.undo();
    try {
      const name = this.#names.reserve(options.name);
      undo.add(() => this.#names.release(name));
      // Both are named by `conntrack --network`, and are the interfaces of `rules`.
      if (uplinks.all().some((uplink) => uplink.name === name)) {
        throw conflict(`there is an uplink ${name} already; choose another name for the network`);
      }
      const ipv6 = options.ipv6 || options.ipv6Subnet !== undefined;
      if (!ipv6 && options.ipv6Gateway !== undefined) {
        throw invalid(
          `gateway ${options.ipv6Gateway}: network ${name} has no IPv6; add --ipv6 or an IPv6 subnet`,
        );
      }
      const mtu = checkMtu(options.mtu ?? DEFAULT_MTU, ipv6);
      const pool = (family: 4 | 6, text?: string, gateway?: string) => {
        const subnet = subnets.reserve(family, text, `network ${name}`);
        undo.add(() => subnets.release(subnet));
        return new AddressPool(subnet, gateway);
      };
      const pool4 = pool(4, options.subnet, options.gateway);
      const pool6 = ipv6 ? pool(6, options.ipv6Subnet, options.ipv6Gateway) : null;
      const network = new NetworkRecord({
        id: was?.id ?? newId(),
        name,
        mtu,
        createdAt: was?.createdAt ?? new Date().toISOString(),
        ipv4: pool4,
        ipv6: pool6,
        way: chooseWayOut(options, pool6?.subnet ?? null, uplinks, subnets, undo),
      });
      network.number = await plane.addNetwork(network.options());
      this.#all.set(name, network);
      this.#wishes.set(name, options);
      const info = network.describe();
      events.emit('network', { action: 'create', network: info });
      return info;
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  async remove(nameOrId: string): Promise<NetworkInfo> {
    const { plane, subnets, events } = this.#parts;
    const network = this.get(nameOrId);
    const { name } = network;
    if (name === DEFAULT_NETWORK) throw invalid(`network ${name} is there by default and cannot be removed`);
    if (network.members.size > 0) throw inUse(network);
    // From here on nobody can attach to it; its name and subnets are free when it is gone.
    this.#all.delete(name);
    try {
      await plane.removeNetwork(network.number);
    } catch (error) {
      this.#all.set(name, network);
      throw asDeckError(error);
    }
    this.#wishes.delete(name);
    this.#names.release(name);
    if (network.ipv4) subnets.release(network.ipv4.subnet);
    if (network.ipv6) subnets.release(network.ipv6.subnet);
    if (network.way.npt) subnets.release(network.way.npt);
    const info = network.describe();
    events.emit('network', { action: 'remove', network: info });
    return info;
  }

  /** All of them, the oldest first, as a later deck can make them again. */
  save(): SavedNetwork[] {
    return this.all().map(({ id, name, createdAt, ipv4, ipv6 }) => ({
      id,
      createdAt,
      options: {
        ...this.#wishes.get(name)!,
        ...(ipv4 && { subnet: formatSubnet(ipv4.subnet), gateway: formatAddress(4, ipv4.gateway) }),
        ...(ipv6 && {
          ipv6: true,
          ipv6Subnet: formatSubnet(ipv6.subnet),
          ipv6Gateway: formatAddress(6, ipv6.gateway),
        }),
      },
    }));
  }

  clear(): void {
    this.#all.clear();
  }

  /** Where ports of an endpoint of this network are published. */
  publishPlace({
    number,
    way,
    ipv4,
    ipv6,
  }: NetworkRecord): Pick<PublishTarget, 'network' | 'hosts' | 'gateways' | 'sockets'> {
    return {
      network: number,
      hosts: this.#hostAddresses(way.uplink?.name),
      gateways: way.uplink ? null : { ipv4: ipv4?.gateway ?? null, ipv6: ipv6?.gateway ?? null },
      sockets: way.uplink?.sockets ?? null,
    };
  }

  /** The addresses that ports of an endpoint can be published on whose network leaves by an uplink. */
  #hostAddresses(uplink: string | undefined): HostAddress[] {
    const gateways = this.all().flatMap(({ name, ipv4, ipv6 }) =>
      [ipv4, ipv6].flatMap((pool) =>
        pool ? { family: pool.family, address: pool.gateway, owner: `gateway of ${name}` } : [],
      ),
    );
    return [...(uplink === undefined ? [] : this.#parts.uplinks.get(uplink).hostAddresses()), ...gateways];
  }

  /** The networks as the rules are written for them. */
  ruleNetworks(): RuleNetwork[] {
    return this.all().map(({ number, name, ipv4, ipv6, way }) => {
      const subnets = [ipv4, ipv6].flatMap((pool) => (pool ? formatSubnet(pool.subnet) : []));
      const npt = way.npt && formatSubnet(way.npt);
      if (!way.uplink) return { number, name, subnets, uplink: null, npt };
      const { spec } = this.#parts.uplinks.get(way.uplink.name);
      const uplink = { name: way.uplink.name, ipv4: spec.ipv4 !== null, ipv6: spec.ipv6 !== null };
      return { number, name, subnets, uplink, npt };
    });
  }
}

function inUse({ name, members }: NetworkRecord) {
  const some = Array.from(members).slice(0, 3).join(', ');
  const more = members.size > 3 ? ` and ${members.size - 3} more` : '';
  return conflict(
    `network ${name} is in use by ${some}${more}; take ${members.size > 1 ? 'them' : 'it'} away first with "tapdeck network disconnect" or "tapdeck detach"`,
  );
}
