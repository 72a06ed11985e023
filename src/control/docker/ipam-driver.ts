import { type Family, familyOf, formatAddress, parseAddress, parseSubnet } from '../address.ts';
import type { Deck } from '../deck.ts';
import { conflict, invalid, notFound } from '../error.ts';
import { AddressPool } from '../ipam.ts';
import { quote } from '../name.ts';
import type { NetworkInfo } from '../network.ts';
import { GATEWAY, inner, type Message, optional, required, withoutPrefix } from './messages.ts';

/** Docker's pools are told apart by it; that of networks of one machine, and that of a swarm's. */
const LOCAL_SPACE = 'tapdeck-local';
const GLOBAL_SPACE = 'tapdeck-global';

/** A subnet that Docker has asked for. */
interface Pool {
  readonly family: Family;
  readonly subnet: string;
  /** The part out of which addresses are chosen. */
  readonly range: string | undefined;
  addresses: AddressPool;
  /** Gives the subnet back to the deck; null where a network of the deck has it. */
  release: (() => void) | null;
}

/**
 * Docker's IPAM driver (`--ipam-driver tapdeck`): subnets and addresses are those that the deck has free, so that what Docker
 * runs and what is attached otherwise never meet.
 *
 * It keeps what lies between a request and the network or endpoint that comes of it. All else is in the deck, also after a
 * restart of the daemon.
 */
export class IpamDriver {
  readonly #deck: Deck;
  readonly #now: () => number;
  readonly #pools = new Map<string, Pool>();

  /** @param now monotonic milliseconds */
  constructor(deck: Deck, now: () => number) {
    this.#deck = deck;
    this.#now = now;
  }

  capabilities() {
    return { RequiresMACAddress: false, RequiresRequestReplay: false };
  }

  addressSpaces() {
    return { LocalDefaultAddressSpace: LOCAL_SPACE, GlobalDefaultAddressSpace: GLOBAL_SPACE };
  }

  requestPool(message: Message) {
    const wanted = optional(message, 'Pool');
    const range = optional(message, 'SubPool');
    if (range !== undefined && wanted === undefined) {
      throw invalid(`range ${range} of no subnet; give one with --subnet`);
    }
    const family = wanted === undefined ? (message['V6'] === true ? 6 : 4) : familyOf(wanted);
    const { subnet, release } = this.#deck.reserveSubnet(family, wanted, 'Docker');
    try {
      const id = `${optional(message, 'AddressSpace') ?? LOCAL_SPACE}/${subnet}`;
      const addresses = poolOf(family, subnet, range, undefined);
      this.#pools.set(id, { family, subnet, range, addresses, release });
      return { PoolID: id, Pool: subnet, Data: {} };
    } catch (error) {
      release();
      throw error;
    }
  }

  releasePool(message: Message) {
    const id = required(message, 'PoolID');
    this.#pools.get(id)?.release?.();
    this.#pools.delete(id);
    return {};
  }

  requestAddress(message: Message) {
    const pool = this.#pool(required(message, 'PoolID'));
    const asked = optional(message, 'Address');
    const wanted = asked === undefined ? undefined : withoutPrefix(asked);
    if (inner(message, 'Options')['RequestAddressType'] === GATEWAY) return this.#gateway(pool, wanted);
    const address = this.#reserve(pool, wanted);
    return { Address: `${address}/${prefixOf(pool)}`, Data: {} };
  }

  releaseAddress(message: Message) {
    const pool = this.#pools.get(required(message, 'PoolID'));
    const address = optional(message, 'Address');
    if (!pool || address === undefined) return {};
    pool.addresses.release(parseAddress(pool.family, withoutPrefix(address)), this.#now());
    return {};
  }

  /**
   * Gives a subnet that was asked for to the deck, for a network to take it in this turn of the event loop. The answered
   * function takes it again, for when there comes no network of it.
   */
  yield(subnet: string): () => void {
    const pool = Array.from(this.#pools.values()).find((one) => one.subnet === subnet);
    if (!pool?.release) return () => {};
    pool.release();
    pool.release = null;
    return () => {
      pool.release = this.#deck.reserveSubnet(pool.family, subnet, 'Docker').release;
    };
  }

  #gateway(pool: Pool, wanted: string | undefined) {
    // Before anything else of the pool is asked for.
    if (wanted !== undefined) pool.addresses = poolOf(pool.family, pool.subnet, pool.range, wanted);
    const gateway = formatAddress(pool.family, pool.addresses.gateway);
    return { Address: `${gateway}/${prefixOf(pool)}`, Data: {} };
  }

  #reserve(pool: Pool, wanted: string | undefined): string {
    const taken = this.#takenInDeck(pool);
    const owner = wanted === undefined ? undefined : taken.get(wanted);
    if (owner !== undefined) {
      throw conflict(`address ${wanted} is in use by ${owner} in ${pool.subnet}; choose another`);
    }
    const passed: bigint[] = [];
    try {
      for (;;) {
        const address = pool.addresses.reserve(wanted, 'Docker', this.#now());
        const text = formatAddress(pool.family, address);
        if (!taken.has(text)) return text;
        passed.push(address);
      }
    } finally {
      for (const address of passed) pool.addresses.cancel(address);
    }
  }

  /** One that is not known is that of a network of before a restart. */
  #pool(id: string): Pool {
    const known = this.#pools.get(id);
    if (known) return known;
    for (const network of this.#deck.networks()) {
      for (const info of [network.ipv4, network.ipv6]) {
        if (!info || !id.endsWith(`/${info.subnet}`)) continue;
        const { subnet, gateway } = info;
        const family = familyOf(subnet);
        const range = info.ipRange ?? undefined;
        const pool = {
          family,
          subnet,
          range,
          addresses: poolOf(family, subnet, range, gateway),
          release: null,
        };
        this.#pools.set(id, pool);
        return pool;
      }
    }
    throw notFound(
      `there is no address pool ${quote(id)} on this deck: it was asked for before tapdeck was started again; remove the network and make it anew`,
    );
  }

  /** Who has which address in the deck's network of this subnet. */
  #takenInDeck({ family, subnet }: Pool): Map<string, string> {
    const taken = new Map<string, string>();
    const field = family === 4 ? 'ipv4' : 'ipv6';
    const network = this.#deck.networks().find((one: NetworkInfo) => one[field]?.subnet === subnet);
    if (!network) return taken;
    for (const [name, address] of Object.entries(network[field]!.auxAddresses)) taken.set(address, name);
    for (const endpoint of this.#deck.endpoints()) {
      const address = endpoint[field];
      if (endpoint.network === network.name && address !== null) taken.set(address, endpoint.name);
    }
    return taken;
  }
}

function poolOf(family: Family, subnet: string, range: string | undefined, gateway: string | undefined) {
  const more = { ...(range !== undefined && { range }), ...(gateway !== undefined && { gateway }) };
  return new AddressPool(parseSubnet(family, subnet), more);
}

function prefixOf({ subnet }: Pool): string {
  return subnet.slice(subnet.indexOf('/') + 1);
}
