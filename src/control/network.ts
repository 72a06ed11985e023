import { existsSync } from 'node:fs';
import { Npt } from '../../nat/npt.ts';
import { formatMac, MAC_DOCKER_HI, type Mac } from '../../wire/address.ts';
import type { NetworkOptions } from '../dataplane/commands.ts';
import {
  type Family,
  formatAddress,
  formatSubnet,
  fromWords,
  parseAddress,
  type Subnet,
  toInt32,
  toWords,
} from './address.ts';
import { conflict, invalid } from './error.ts';
import type { AddressPool } from './ipam.ts';
import type { Undo } from './undo.ts';

/** What a network is to be. What is left out is chosen. */
export interface CreateNetworkOptions {
  name: string;
  /** IPv4 subnet, `172.18.0.0/16`; by default the next of Docker's address pools. */
  subnet?: string;
  /** By default the first address of the subnet. */
  gateway?: string;
  /** Whether the network has IPv6; implied by `ipv6Subnet`. */
  ipv6?: boolean;
  /** By default the next /64 of the deck's ULA prefix. */
  ipv6Subnet?: string;
  ipv6Gateway?: string;
  /** Largest IP packet, bytes; 65520 by default. */
  mtu?: number;
  /** No way out of the deck. */
  internal?: boolean;
  /** Name of the uplink by which its packets leave the deck; the deck's first by default. */
  uplink?: string;
  /**
   * IPv6 prefix under which the network's addresses stand outside, host by host (RFC 6296), in place of the uplink's
   * one address, and as long as its own: `2001:db8:1::/64`. Whoever is beyond the uplink routes it to the deck.
   */
  npt?: string;
  /** Whether endpoints reach the loopback of the host, at the next hop of uplink `socket`; no by default. */
  hostLoopback?: boolean;
}

/** A network as it is shown to people and programs. */
export interface NetworkInfo {
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  readonly driver: 'tapdeck';
  readonly mtu: number;
  /** The gateway's. */
  readonly mac: string;
  readonly ipv4: { readonly subnet: string; readonly gateway: string } | null;
  readonly ipv6: { readonly subnet: string; readonly gateway: string } | null;
  /** Whether it has no way out by its maker's wish. */
  readonly internal: boolean;
  /** Name of the uplink by which packets leave the deck; null when there is none. */
  readonly uplink: string | null;
  /** The prefix under which its IPv6 addresses stand outside; null when the uplink's address does. */
  readonly npt: string | null;
  /** Whether endpoints reach the loopback of the host. */
  readonly hostLoopback: boolean;
  /** Names of the endpoints. */
  readonly endpoints: readonly string[];
  /** RFC 3339. */
  readonly createdAt: string;
}

/** How packets of a network leave the deck, if they do. */
export interface WayOut {
  readonly internal: boolean;
  readonly uplink: {
    readonly name: string;
    readonly number: number;
    /** `number` if it is one of sockets. */
    readonly sockets: number | null;
  } | null;
  readonly npt: Subnet | null;
  readonly hostLoopback: boolean;
}

const KERNEL_HAS_IPV6 = existsSync('/proc/sys/net/ipv6');

export const DEFAULT_MTU = 65520;

/** Checks a network's MTU. Throws a `DeckError`. */
export function checkMtu(mtu: number, ipv6: boolean, limit = DEFAULT_MTU): number {
  // RFC 791 §3.2 and RFC 8200 §5: what every link must carry.
  const least = ipv6 ? 1280 : 68;
  if (!Number.isInteger(mtu) || mtu < least || mtu > limit) {
    throw invalid(
      `MTU ${mtu} is out of range: from ${least}${ipv6 ? ' (IPv6 needs that much)' : ''} to ${limit}`,
    );
  }
  return mtu;
}

/**
 * The first two bytes of a derived MAC: Docker's, and for the rare address whose MAC somebody else has taken
 * by hand, the next ones that are locally administered and no group address.
 */
const DERIVED_HI = [MAC_DOCKER_HI, 0x0642, 0x0a42, 0x0e42];

/** One network of the deck: its addresses and who has which. */
export class NetworkRecord {
  readonly id: string;
  readonly name: string;
  readonly mtu: number;
  readonly createdAt: string;
  readonly ipv4: AddressPool | null;
  readonly ipv6: AddressPool | null;
  readonly way: WayOut;
  readonly mac: Mac;
  /** The data plane's number for it. */
  number = -1;
  /** Endpoints of it, and attaches under way: while there are any it cannot be removed. */
  readonly members = new Set<string>();
  readonly #macs = new Set<number>();

  constructor(fields: Pick<NetworkRecord, 'id' | 'name' | 'mtu' | 'createdAt' | 'ipv4' | 'ipv6' | 'way'>) {
    this.id = fields.id;
    this.name = fields.name;
    this.mtu = fields.mtu;
    this.createdAt = fields.createdAt;
    this.ipv4 = fields.ipv4;
    this.ipv6 = fields.ipv6;
    this.way = fields.way;
    this.mac = this.deriveMac(this.ipv4?.gateway ?? null, this.ipv6?.gateway ?? null);
  }

  /** Takes `mac` for a station of this network. Throws a `DeckError` when another station has it. */
  reserveMac(mac: Mac, text: string): Mac {
    if (this.#macs.has(key(mac))) {
      const owner = key(mac) === key(this.mac) ? "is the gateway's" : 'is in use';
      throw conflict(`MAC ${text} ${owner} in network ${this.name}; choose another or leave it out`);
    }
    this.#macs.add(key(mac));
    return mac;
  }

  /** Takes the MAC that belongs to an address: 02:42 and the IPv4 address, or the end of the IPv6 address. */
  deriveMac(ipv4: bigint | null, ipv6: bigint | null): Mac {
    const lo = toInt32(ipv4 ?? ipv6 ?? 0n);
    for (const hi of DERIVED_HI) {
      const mac = { hi, lo };
      if (this.#macs.has(key(mac))) continue;
      this.#macs.add(key(mac));
      return mac;
    }
    throw conflict(`all MACs that address makes are in use in network ${this.name}; give one with --mac`);
  }

  /** Takes an address, by default the lowest free one; null where the network or the kernel has none of the family. */
  reserveAddress(family: Family, wanted: string | undefined, undo: Undo): bigint | null {
    const pool = family === 4 ? this.ipv4 : this.ipv6;
    // A kernel without IPv6 takes no such address; that is no reason to refuse the rest.
    if (family === 6 && wanted === undefined && !KERNEL_HAS_IPV6) return null;
    if (!pool) {
      if (wanted === undefined) return null;
      parseAddress(family, wanted);
      throw invalid(
        `address ${wanted}: network ${this.name} has no IPv${family}; leave it out or use another network`,
      );
    }
    const address = pool.reserve(wanted);
    undo.add(() => pool.release(address));
    return address;
  }

  /** What an IPv6 address of the network is outside, if there is a prefix for that. */
  outside(ipv6: bigint | null): string | null {
    const { npt } = this.way;
    if (!npt || ipv6 === null || !this.ipv6) return null;
    const { base, prefix } = this.ipv6.subnet;
    const words = Int32Array.from(toWords(ipv6));
    if (!new Npt(toWords(base), prefix, toWords(npt.base), npt.prefix).outward(words, 0)) return null;
    return formatAddress(6, fromWords(Array.from(words)));
  }

  releaseMac(mac: Mac): void {
    this.#macs.delete(key(mac));
  }

  /** As it is shown to people and programs. */
  describe(): NetworkInfo {
    const { id, name, mtu, mac, ipv4, ipv6, way, members, createdAt } = this;
    return {
      id,
      name,
      driver: 'tapdeck',
      mtu,
      mac: formatMac(mac.hi, mac.lo),
      ipv4: describePool(ipv4),
      ipv6: describePool(ipv6),
      internal: way.internal,
      uplink: way.uplink?.name ?? null,
      npt: way.npt && formatSubnet(way.npt),
      hostLoopback: way.hostLoopback,
      endpoints: Array.from(members),
      createdAt,
    };
  }

  /** As the data plane takes it. */
  options(): NetworkOptions {
    const { mac, ipv4, ipv6, mtu } = this;
    const { uplink, npt, hostLoopback } = this.way;
    return {
      macHi: mac.hi,
      macLo: mac.lo,
      ipv4: ipv4 && { address: toInt32(ipv4.gateway), prefix: ipv4.subnet.prefix },
      ipv6: ipv6 && { address: toWords(ipv6.gateway), prefix: ipv6.subnet.prefix },
      mtu,
      ...(uplink && { uplink: uplink.number }),
      ...(hostLoopback && { hostLoopback }),
      ...(npt && { npt: { address: toWords(npt.base), prefix: npt.prefix } }),
    };
  }
}

function describePool(pool: AddressPool | null): NetworkInfo['ipv4'] {
  return pool && { subnet: formatSubnet(pool.subnet), gateway: formatAddress(pool.family, pool.gateway) };
}

/** 48 bits fit into a double. */
function key({ hi, lo }: Mac): number {
  return hi * 2 ** 32 + (lo >>> 0);
}
