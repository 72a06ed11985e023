import {
  ADDRESS_BITS,
  contains,
  type Family,
  formatSubnet,
  overlap,
  parseAddress,
  parseSubnet,
  type Subnet,
  subnetSize,
} from './address.ts';
import { conflict, invalid, unavailable } from './error.ts';

/**
 * The addresses of one subnet: which are taken, and the lowest that is free. Everything is synchronous: an
 * address is taken before anything that can wait begins, so no two callers are ever given the same one.
 */
export class AddressPool {
  readonly subnet: Subnet;
  readonly gateway: bigint;
  readonly #first: bigint;
  readonly #last: bigint;
  readonly #taken = new Set<bigint>();
  /** No free address lies below; so a pool that only fills up is searched once in all. */
  #lowest: bigint;

  /** @param gateway the gateway's address; the first of the subnet when left out */
  constructor(subnet: Subnet, gateway?: string) {
    const { family, base } = subnet;
    this.subnet = subnet;
    // The all-zeros address is the subnet itself in IPv4, and the routers' anycast address in IPv6 (RFC 4291
    // §2.6.1); the all-ones address is the broadcast address of IPv4.
    this.#first = base + 1n;
    this.#last = base + subnetSize(subnet) - (family === 4 ? 2n : 1n);
    this.#lowest = this.#first;
    this.gateway = gateway === undefined ? this.#first : this.#check(gateway);
    this.#taken.add(this.gateway);
  }

  get family(): Family {
    return this.subnet.family;
  }

  /** Takes `address`, or the lowest free one. Throws a `DeckError`: outside the subnet, in use, none left. */
  reserve(address?: string): bigint {
    const chosen = address === undefined ? this.#lowestFree() : this.#check(address);
    if (this.#taken.has(chosen)) {
      const owner = chosen === this.gateway ? 'is the gateway of' : 'is in use in';
      throw conflict(
        `address ${address} ${owner} ${formatSubnet(this.subnet)}; choose another or leave it out`,
      );
    }
    this.#taken.add(chosen);
    return chosen;
  }

  release(address: bigint): void {
    if (address === this.gateway || !this.#taken.delete(address)) return;
    if (address < this.#lowest) this.#lowest = address;
  }

  has(address: bigint): boolean {
    return this.#taken.has(address);
  }

  #lowestFree(): bigint {
    let address = this.#lowest;
    while (this.#taken.has(address)) address++;
    this.#lowest = address;
    if (address > this.#last) {
      throw unavailable(
        `no address is left in ${formatSubnet(this.subnet)}; detach endpoints or make a network with a larger subnet`,
      );
    }
    return address;
  }

  #check(text: string): bigint {
    const address = parseAddress(this.family, text);
    if (!contains(this.subnet, address)) {
      throw invalid(`address ${text} lies outside the network's subnet ${formatSubnet(this.subnet)}`);
    }
    if (address < this.#first || address > this.#last) {
      const what = address < this.#first ? 'the subnet itself' : 'the broadcast address';
      throw invalid(`address ${text} is ${what} of ${formatSubnet(this.subnet)}; choose one between`);
    }
    return address;
  }
}

/**
 * Prefix of the IPv6 subnets that nobody chose: fd, and "tapde" as the 40 bits that RFC 4193 §3.2.2 wants
 * random. Random ones make sites joinable; these addresses never leave a deck, so nothing is gained by it, and
 * an address that is the same everywhere can be written into documents, scripts and expected captures.
 */
const ULA = parseSubnet(6, 'fd74:6170:6465::/48');

/** The network that every deck begins with: Docker's own subnet for it, and the first of our ULA subnets. */
export const DEFAULT_IPV4_SUBNET = '172.17.0.0/16';
export const DEFAULT_IPV6_SUBNET = 'fd74:6170:6465::/64';

/** Docker's default address pools: what networks get that ask for no subnet. */
const IPV4_POOLS = [
  { from: parseSubnet(4, '172.16.0.0/12'), prefix: 16, skip: 1n },
  { from: parseSubnet(4, '192.168.0.0/16'), prefix: 20, skip: 0n },
];

/** The subnets of a deck's networks and uplinks, no two of which overlap. */
export class Subnets {
  /** And whose each is, in words. */
  readonly #taken = new Map<Subnet, string>();

  /** Takes the subnet in `text`, or one of the default pools. Throws a `DeckError`. */
  reserve(family: Family, text?: string, owner?: string): Subnet {
    return this.take(text === undefined ? this.#free(family) : parseSubnet(family, text), owner);
  }

  /**
   * Takes a subnet. Throws a `DeckError` when it overlaps with one that is taken.
   * @param owner whose it is, as others are to be told
   */
  take(subnet: Subnet, owner = 'another network'): Subnet {
    const other = this.#overlapping(subnet);
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
    return this.#overlapping(parseSubnet(family, text)) === undefined;
  }

  /** @param subnet the object that `reserve` gave */
  release(subnet: Subnet): void {
    this.#taken.delete(subnet);
  }

  #overlapping(subnet: Subnet): Subnet | undefined {
    for (const other of this.#taken.keys()) if (overlap(subnet, other)) return other;
    return undefined;
  }

  #free(family: Family): Subnet {
    const pools = family === 4 ? IPV4_POOLS : [{ from: ULA, prefix: 64, skip: 0n }];
    for (const { from, prefix, skip } of pools) {
      const step = 1n << BigInt(ADDRESS_BITS[family] - prefix);
      const end = from.base + subnetSize(from);
      for (let base = from.base + skip * step; base < end; base += step) {
        const subnet: Subnet = { family, base, prefix };
        if (!this.#overlapping(subnet)) return subnet;
      }
    }
    throw unavailable(`no IPv${family} subnet is left in the default pools; give one with --subnet`);
  }
}
