import {
  ADDRESS_BITS,
  contains,
  type Family,
  familyOf,
  formatAddress,
  formatSubnet,
  overlap,
  parseAddress,
  parsePrefix,
  parseSubnet,
  type Subnet,
  subnetSize,
} from './address.ts';
import { conflict, invalid, unavailable } from './error.ts';
import { checkName, quote } from './name.ts';

/**
 * Milliseconds for which an address that was given back is kept from others: for so long somebody may still mean its last
 * owner, who has an answer of the name server or an open connection. Who asks for the address by itself gets it at once.
 */
export const ADDRESS_REST = 30_000;

export interface PoolOptions {
  /** The gateway's address; the first of the subnet that is free when left out. */
  gateway?: string | undefined;
  /** The part of the subnet out of which addresses are chosen: `10.0.0.128/25`. */
  range?: string | undefined;
  /** Addresses that nobody gets, by the names of those who have them. */
  auxAddresses?: Readonly<Record<string, string>>;
  /** Milliseconds; `ADDRESS_REST` when left out. */
  rest?: number;
}

/**
 * The addresses of one subnet: which are taken, and the lowest that is free. Everything is synchronous: an
 * address is taken before anything that can wait begins, so no two callers are ever given the same one.
 */
export class AddressPool {
  readonly subnet: Subnet;
  readonly gateway: bigint;
  readonly range: Subnet | null;
  /** By the names of those who have them. */
  readonly auxAddresses: ReadonlyMap<string, bigint>;
  /** The lowest and highest address that a station can have, and of those that are chosen for one. */
  readonly #lowestStation: bigint;
  readonly #highestStation: bigint;
  readonly #first: bigint;
  readonly #last: bigint;
  readonly #rest: number;
  /** And whose each is, in words. */
  readonly #taken = new Map<bigint, string>();
  /** When each was given back; the oldest first. */
  readonly #resting = new Map<bigint, number>();
  /** No free address lies below; so a pool that only fills up is searched once in all. */
  #lowest: bigint;

  /** Throws a `DeckError` when gateway, range or auxiliary addresses lie outside, or on one another. */
  constructor(subnet: Subnet, { gateway, range, auxAddresses = {}, rest = ADDRESS_REST }: PoolOptions = {}) {
    const { family, base } = subnet;
    this.subnet = subnet;
    this.#rest = rest;
    // The all-zeros address is the subnet itself in IPv4, and the routers' anycast address in IPv6 (RFC 4291
    // §2.6.1); the all-ones address is the broadcast address of IPv4.
    this.#lowestStation = base + 1n;
    this.#highestStation = base + subnetSize(subnet) - (family === 4 ? 2n : 1n);
    this.range = range === undefined ? null : checkRange(subnet, range);
    const chosen = this.range ?? subnet;
    this.#first = max(this.#lowestStation, chosen.base);
    this.#last = min(this.#highestStation, chosen.base + subnetSize(chosen) - 1n);
    const fixed = gateway === undefined ? undefined : this.#check(gateway, 'gateway');
    this.auxAddresses = this.#takeAux(auxAddresses, fixed);
    this.gateway = fixed ?? this.#firstStation();
    this.#taken.set(this.gateway, 'the gateway');
    this.#lowest = this.#first;
  }

  get family(): Family {
    return this.subnet.family;
  }

  /**
   * Takes `address`, or the lowest that is free and was not given back just now; the one that has rested longest when there is no
   * other. Throws a `DeckError`: outside the subnet, in use, none left.
   * @param owner whose it is, as others are to be told
   * @param now monotonic milliseconds
   */
  reserve(address: string | undefined, owner: string, now: number): bigint {
    const chosen = address === undefined ? this.#lowestFree(now) : this.#check(address);
    const other = this.#taken.get(chosen);
    if (other !== undefined) {
      const what = chosen === this.gateway ? 'is the gateway of' : `is in use by ${other} in`;
      throw conflict(
        `address ${address} ${what} ${formatSubnet(this.subnet)}; choose another or leave it out`,
      );
    }
    this.#resting.delete(chosen);
    this.#taken.set(chosen, owner);
    return chosen;
  }

  /** Gives back an address that somebody had. */
  release(address: bigint, now: number): void {
    if (address === this.gateway || !this.#taken.delete(address)) return;
    this.#resting.set(address, now);
  }

  /** Gives back an address that nobody came to have; one that was given back is none. */
  cancel(address: bigint): void {
    if (address === this.gateway || !this.#taken.delete(address)) return;
    this.#lower(address);
  }

  /** Who has an address is called otherwise from now on. */
  rename(address: bigint, owner: string): void {
    if (this.#taken.has(address)) this.#taken.set(address, owner);
  }

  has(address: bigint): boolean {
    return this.#taken.has(address);
  }

  #lowestFree(now: number): bigint {
    for (const [address, since] of this.#resting) {
      if (now - since < this.#rest) break;
      this.#resting.delete(address);
      this.#lower(address);
    }
    let address = this.#lowest;
    while (this.#taken.has(address) || this.#resting.has(address)) address++;
    this.#lowest = address;
    if (address <= this.#last) return address;
    for (const resting of this.#resting.keys()) {
      if (resting >= this.#first && resting <= this.#last) return resting;
    }
    const { subnet, range } = this;
    throw unavailable(
      range
        ? `no address is left in the range ${formatSubnet(range)} of ${formatSubnet(subnet)}; detach containers, or choose an address outside of it`
        : `no address is left in ${formatSubnet(subnet)}; detach containers or make a network with a larger subnet`,
    );
  }

  #lower(address: bigint): void {
    if (address < this.#lowest && address >= this.#first) this.#lowest = address;
  }

  #takeAux(addresses: Readonly<Record<string, string>>, gateway: bigint | undefined): Map<string, bigint> {
    const taken = new Map<string, bigint>();
    for (const [name, text] of Object.entries(addresses)) {
      checkName('auxiliary address', name);
      const what = `auxiliary address ${name}=${text}`;
      const address = this.#check(text, what);
      if (address === gateway) throw conflict(`${what} is the gateway's; choose another for one of both`);
      const other = this.#taken.get(address);
      if (other !== undefined) throw conflict(`${what} is that of ${other} too; choose another`);
      this.#taken.set(address, `auxiliary address ${name}`);
      taken.set(name, address);
    }
    return taken;
  }

  /** For the gateway, when nobody chose one. */
  #firstStation(): bigint {
    let address = this.#lowestStation;
    while (this.#taken.has(address)) address++;
    if (address <= this.#highestStation) return address;
    throw invalid(
      `subnet ${formatSubnet(this.subnet)} has no address left for the gateway; give fewer auxiliary addresses`,
    );
  }

  #check(text: string, what = `address ${text}`): bigint {
    const address = parseAddress(this.family, text);
    const named = what.includes(text) ? what : `${what} ${text}`;
    if (!contains(this.subnet, address)) {
      throw invalid(`${named} lies outside the network's subnet ${formatSubnet(this.subnet)}`);
    }
    if (address < this.#lowestStation || address > this.#highestStation) {
      const edge = address < this.#lowestStation ? 'the subnet itself' : 'the broadcast address';
      throw invalid(`${named} is ${edge} of ${formatSubnet(this.subnet)}; choose one between`);
    }
    return address;
  }
}

function checkRange(subnet: Subnet, text: string): Subnet {
  const range = parsePrefix(subnet.family, text);
  if (range.prefix < subnet.prefix || !contains(subnet, range.base)) {
    throw invalid(`range ${text} lies outside the network's subnet ${formatSubnet(subnet)}`);
  }
  return range;
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

function min(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}

/**
 * Prefix of the IPv6 subnets that nobody chose: fd, and "tapde" as the 40 bits that RFC 4193 §3.2.2 wants
 * random. Random ones make sites joinable; these addresses never leave a deck, so nothing is gained by it, and
 * an address that is the same everywhere can be written into documents, scripts and expected captures.
 */
const ULA = parseSubnet(6, 'fd74:6170:6465::/48');

/** Subnets of one size out of one range, of which networks get the next that is free when they ask for none. */
export interface SubnetPool {
  readonly base: Subnet;
  /** Of each subnet. */
  readonly prefix: number;
}

/** Docker's default address pools, and ours for IPv6. The first of each is network `bridge`'s. */
export const DEFAULT_POOLS: readonly SubnetPool[] = [
  // 172.16.0.0/16 is not among them (`ipamutils`).
  ...Array.from({ length: 15 }, (_, i) => ({ base: parseSubnet(4, `172.${17 + i}.0.0/16`), prefix: 16 })),
  { base: parseSubnet(4, '192.168.0.0/16'), prefix: 20 },
  { base: ULA, prefix: 64 },
];

/** `base=10.10.0.0/16,size=24`, as Docker's `--default-address-pool`. Throws a `DeckError`. */
export function parseSubnetPool(text: string): SubnetPool {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const [key = '', value = ''] = part.split(/=(.*)/s);
    if (!['base', 'size'].includes(key) || fields.has(key)) throw malformed(text);
    fields.set(key, value);
  }
  const [base, size] = [fields.get('base'), fields.get('size')];
  if (base === undefined || size === undefined || !/^\d{1,3}$/.test(size)) throw malformed(text);
  const family = familyOf(base);
  const subnet = parseSubnet(family, base);
  const prefix = Number(size);
  if (prefix < subnet.prefix) {
    throw invalid(
      `address pool ${quote(text)}: subnets of /${prefix} are larger than its base ${base}; choose a size of at least ${subnet.prefix}`,
    );
  }
  // For the reason for which a network's subnet cannot be longer.
  parseSubnet(family, `${formatAddress(family, subnet.base)}/${prefix}`);
  return { base: subnet, prefix };
}

function malformed(text: string) {
  return invalid(`address pool ${quote(text)} makes no sense; write it as in base=10.10.0.0/16,size=24`);
}

/** Shorter ones are default routes in pieces, as VPNs make them. */
const SHORTEST_ROUTE = 4;

export interface SubnetsOptions {
  /** Where a family is not among them, its default pools stay. */
  pools?: readonly SubnetPool[];
  /** The prefixes to which the host has routes, and of which no pool may take a part: somebody else is there. */
  hostRoutes?: () => readonly string[];
}

/** The subnets of a deck's networks and uplinks, no two of which overlap. */
export class Subnets {
  readonly #pools: readonly SubnetPool[];
  readonly #hostRoutes: () => readonly string[];
  /** And whose each is, in words. */
  readonly #taken = new Map<Subnet, string>();

  constructor({ pools = [], hostRoutes = () => [] }: SubnetsOptions = {}) {
    const isGiven = (family: Family) => pools.some(({ base }) => base.family === family);
    this.#pools = [...pools, ...DEFAULT_POOLS.filter(({ base }) => !isGiven(base.family))];
    this.#hostRoutes = hostRoutes;
  }

  /** Takes the subnet in `text`, or one of the default pools. Throws a `DeckError`. */
  reserve(family: Family, text?: string, owner?: string): Subnet {
    return this.take(text === undefined ? this.#free(family) : parseSubnet(family, text), owner);
  }

  /**
   * Takes a subnet. Throws a `DeckError` when it overlaps with one that is taken.
   * @param owner whose it is, as others are to be told
   */
  take(subnet: Subnet, owner = 'another network'): Subnet {
    const other = overlapping(subnet, this.#taken.keys());
    if (other) {
      throw conflict(
        `subnet ${formatSubnet(subnet)} overlaps with ${formatSubnet(other)} of ${this.#taken.get(other)}; choose another`,
      );
    }
    this.#taken.set(subnet, owner);
    return subnet;
  }

  /** Whether nothing that is taken overlaps with the subnet in `text`. */
  isFree(family: Family, text: string): boolean {
    return overlapping(parseSubnet(family, text), this.#taken.keys()) === undefined;
  }

  /** @param subnet the object that `reserve` gave */
  release(subnet: Subnet): void {
    this.#taken.delete(subnet);
  }

  #free(family: Family): Subnet {
    const pools = this.#pools.filter(({ base }) => base.family === family);
    const routes = this.#routes(family);
    let avoided: Subnet | undefined;
    for (const { base: from, prefix } of pools) {
      const step = 1n << BigInt(ADDRESS_BITS[family] - prefix);
      const end = from.base + subnetSize(from);
      for (let base = from.base; base < end; ) {
        const subnet: Subnet = { family, base, prefix };
        const route = overlapping(subnet, routes);
        const other = overlapping(subnet, this.#taken.keys()) ?? route;
        if (!other) return subnet;
        if (route) avoided ??= route;
        // On behind what is in the way, at the next place of a subnet.
        const behind = other.base + subnetSize(other);
        base = max(base + step, from.base + ((behind - from.base + step - 1n) / step) * step);
      }
    }
    const because = avoided
      ? `the others are of networks, or the host has routes to them as to ${formatSubnet(avoided)}`
      : 'all are in use';
    throw unavailable(
      `no IPv${family} subnet is left in the default pools, ${because}; remove networks, give one with --subnet, or more with "tapdeck daemon --default-address-pool"`,
    );
  }

  #routes(family: Family): Subnet[] {
    return this.#hostRoutes()
      .filter((route) => familyOf(route) === family)
      .map((route) => parsePrefix(family, route))
      .filter(({ prefix }) => prefix >= SHORTEST_ROUTE);
  }
}

function overlapping(subnet: Subnet, others: Iterable<Subnet>): Subnet | undefined {
  for (const other of others) if (overlap(subnet, other)) return other;
  return undefined;
}
