import type { DataPlane } from '../runtime/data-plane.ts';
import { contains, familyOf, formatAddress, formatSubnet, parseAddress } from './address.ts';
import type { DeckEvents } from './deck-events.ts';
import { asDeckError, conflict, invalid, notFound } from './error.ts';
import { findNamed, fixedId, newId } from './id.ts';
import { AddressPool, type PoolOptions, type Subnets } from './ipam.ts';
import { checkLabels } from './labels.ts';
import { DEFAULT_NETWORK, HOST_NETWORK, Names, NO_NETWORK, quote } from './name.ts';
import {
  type CreateNetworkOptions,
  checkMtu,
  DEFAULT_MTU,
  type NetworkDriver,
  type NetworkInfo,
  NetworkRecord,
} from './network.ts';
import { networkFilter, PRUNE_FILTERS } from './network-filter.ts';
import { type DriverOptions, withDriverOptions } from './network-options.ts';
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
  /** Monotonic milliseconds. */
  now(): number;
}

/** The networks that every deck has beside `bridge`, and their drivers. */
const BUILT_IN: readonly (readonly [name: string, driver: NetworkDriver])[] = [
  [HOST_NETWORK, 'host'],
  [NO_NETWORK, 'null'],
];

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

  /** Those of the data plane, the oldest first. */
  bridges(): NetworkRecord[] {
    return this.all().filter((network) => network.isBridge);
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
    return this.bridges().find((network) => network.number === number);
  }

  /** The data plane's number of a network, by name or id, or of an uplink. */
  segmentNumber(nameOrId: string): number {
    const uplink = this.#parts.uplinks.all().find(({ name }) => name === nameOrId);
    if (uplink && !this.#all.has(nameOrId)) return uplink.number;
    const { number, name, isBridge } = this.get(nameOrId);
    if (isBridge) return number;
    throw invalid(`nothing of network ${name} passes by here; name another network, or an uplink`);
  }

  /** What the data plane's number of a network or uplink is called. */
  segmentName(number: number): string {
    return this.numbered(number)?.name ?? this.#parts.uplinks.numbered(number)?.name ?? `#${number}`;
  }

  async create(wishes: CreateNetworkOptions, was?: Identity): Promise<NetworkInfo> {
    const { plane, uplinks, subnets } = this.#parts;
    const undo = this.#parts.undo();
    try {
      const name = this.#names.reserve(wishes.name);
      undo.add(() => this.#names.release(name));
      checkDriver(wishes.driver);
      const options = withDriverOptions(wishes);
      // Both are named by `conntrack --network`, and are the interfaces of `rules`.
      if (uplinks.all().some((uplink) => uplink.name === name)) {
        throw conflict(`there is an uplink ${name} already; choose another name for the network`);
      }
      const ipv6 = options.ipv6 || options.ipv6Subnet !== undefined;
      const aux = byFamily(options.auxAddresses ?? {});
      if (!ipv6) checkNoIpv6(name, options, aux[6]);
      const mtu = checkMtu(options.mtu ?? DEFAULT_MTU, ipv6);
      const { subnet, gateway, ipRange, ipv6Subnet, ipv6Gateway, ipv6Range, dns = [] } = options;
      const pool = (family: 4 | 6, text: string | undefined, more: PoolOptions) => {
        const subnet = subnets.reserve(family, text, `network ${name}`);
        undo.add(() => subnets.release(subnet));
        const addresses = new AddressPool(subnet, { ...more, auxAddresses: aux[family] });
        for (const address of dns) {
          // Where its endpoints send what is for elsewhere, it need not lie in the subnet.
          if (familyOf(address) !== family || !contains(subnet, parseAddress(family, address))) continue;
          addresses.reserve(address, 'the name server', 0);
        }
        return addresses;
      };
      const pool4 = pool(4, subnet, { gateway, range: ipRange });
      const pool6 = ipv6 ? pool(6, ipv6Subnet, { gateway: ipv6Gateway, range: ipv6Range }) : null;
      const { icc = true, masquerade = true, hostBinding = null, dhcp = false, labels = {} } = options;
      const network = new NetworkRecord({
        id: was?.id ?? newId(),
        name,
        driver: 'bridge',
        mtu,
        createdAt: was?.createdAt ?? new Date().toISOString(),
        ipv4: pool4,
        ipv6: pool6,
        way: chooseWayOut(options, pool6?.subnet ?? null, uplinks, subnets, undo),
        traits: { icc, masquerade, hostBinding, dhcp, dns, labels: Object.freeze(checkLabels(labels)) },
        now: this.#parts.now,
      });
      network.number = await plane.addNetwork(network.options());
      return this.#enter(network, wishes);
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  /** Makes the two networks that have no interfaces: those of the host's own, and of none at all. */
  createBuiltIn(): void {
    for (const [name, driver] of BUILT_IN) {
      const network = new NetworkRecord({
        id: fixedId(`network ${name}`),
        name: this.#names.reserve(name),
        driver,
        mtu: 0,
        createdAt: new Date().toISOString(),
        ipv4: null,
        ipv6: null,
        way: { internal: true, uplink: null, npt: null, hostLoopback: false },
        traits: { icc: true, masquerade: true, hostBinding: null, dhcp: false, dns: [], labels: {} },
        now: this.#parts.now,
      });
      this.#enter(network, { name });
    }
  }

  #enter(network: NetworkRecord, wishes: CreateNetworkOptions): NetworkInfo {
    this.#all.set(network.name, network);
    this.#wishes.set(network.name, wishes);
    const info = network.describe();
    this.#parts.events.emit('network', { action: 'create', network: info });
    return info;
  }

  async remove(nameOrId: string): Promise<NetworkInfo> {
    const { plane, subnets, events } = this.#parts;
    const network = this.get(nameOrId);
    const { name } = network;
    if (isBuiltIn(network)) throw invalid(`network ${name} is there by default and cannot be removed`);
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

  /**
   * Removes all networks that somebody made and no container is in.
   * @param filters as `networkFilter` reads them
   */
  async prune(filters: readonly string[]): Promise<NetworkInfo[]> {
    const matches = networkFilter(filters, PRUNE_FILTERS, Date.now());
    const unused = this.all().filter(
      (network) => !isBuiltIn(network) && network.members.size === 0 && matches(network.describe()),
    );
    return Promise.all(unused.map(({ id }) => this.remove(id)));
  }

  /** All of them, the oldest first, as a later deck can make them again. */
  save(): SavedNetwork[] {
    return this.bridges().map(({ id, name, createdAt, ipv4, ipv6 }) => ({
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
    traits,
  }: NetworkRecord): Omit<PublishTarget, 'endpoint' | 'ipv4' | 'ipv6'> {
    return {
      network: number,
      hosts: this.#hostAddresses(way.uplink?.name),
      gateways: way.uplink ? null : { ipv4: ipv4?.gateway ?? null, ipv6: ipv6?.gateway ?? null },
      sockets: way.uplink?.sockets ?? null,
      defaultHost: traits.hostBinding,
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
    return this.bridges().map(({ number, name, ipv4, ipv6, way, traits }) => {
      const subnets = [ipv4, ipv6].flatMap((pool) => (pool ? formatSubnet(pool.subnet) : []));
      const npt = way.npt && formatSubnet(way.npt);
      const { internal } = way;
      const { icc, masquerade } = traits;
      const common = { number, name, subnets, npt, internal, icc };
      if (!way.uplink) return { ...common, uplink: null, masquerade };
      const { spec } = this.#parts.uplinks.get(way.uplink.name);
      const uplink = { name: way.uplink.name, ipv4: spec.ipv4 !== null, ipv6: spec.ipv6 !== null };
      // What leaves by sockets has the host's address in any case.
      return { ...common, uplink, masquerade: masquerade || way.uplink.sockets !== null };
    });
  }
}

/** Whether every deck has it. */
function isBuiltIn({ name, isBridge }: NetworkRecord): boolean {
  return name === DEFAULT_NETWORK || !isBridge;
}

function checkDriver(driver = 'bridge'): void {
  if (driver === 'bridge') return;
  const [only] = BUILT_IN.find(([name, also]) => driver === name || driver === also) ?? [];
  if (only) {
    throw conflict(
      `there is only one network with driver ${driver}, and it is there: use it with --network ${only}`,
    );
  }
  throw invalid(`there is no network driver ${quote(driver)}; use bridge, or leave it out`);
}

function checkNoIpv6(
  name: string,
  options: CreateNetworkOptions & DriverOptions,
  aux: Record<string, string>,
): void {
  const wishes = [
    ['gateway', options.ipv6Gateway],
    ['range', options.ipv6Range],
    ['auxiliary address', Object.values(aux)[0]],
    ['name server', options.dns?.find((address) => familyOf(address) === 6)],
  ];
  for (const [what, text] of wishes) {
    if (text === undefined) continue;
    throw invalid(`${what} ${text}: network ${name} has no IPv6; add --ipv6 or an IPv6 subnet`);
  }
}

function byFamily(addresses: Readonly<Record<string, string>>): Record<4 | 6, Record<string, string>> {
  const of = (family: 4 | 6) =>
    Object.fromEntries(Object.entries(addresses).filter(([, text]) => familyOf(text) === family));
  return { 4: of(4), 6: of(6) };
}

function inUse({ name, members }: NetworkRecord) {
  const some = Array.from(members).slice(0, 3).join(', ');
  const more = members.size > 3 ? ` and ${members.size - 3} more` : '';
  return conflict(
    `network ${name} is in use by ${some}${more}; take ${members.size > 1 ? 'them' : 'it'} away first with "tapdeck network disconnect" or "tapdeck detach"`,
  );
}
