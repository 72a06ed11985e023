import { existsSync } from 'node:fs';
import { Npt } from '../../nat/npt.ts';
import { formatMac, MAC_DOCKER_HI, type Mac } from '../../wire/address.ts';
import type { NetworkOptions } from '../dataplane/commands.ts';
import {
  type Family,
  familyOf,
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
import { describeOptions } from './network-options.ts';
import type { Undo } from './undo.ts';

/** What a network is to be. What is left out is chosen. */
export interface CreateNetworkOptions {
  name: string;
  /** `bridge`, also by default: the two others that Docker knows, `host` and `none`, are there from the beginning. */
  driver?: string;
  /** IPv4 subnet, `172.18.0.0/16`; by default the next of Docker's address pools. */
  subnet?: string;
  /** By default the first address of the subnet. */
  gateway?: string;
  /** The part of the subnet out of which addresses are chosen; all of it by default. */
  ipRange?: string;
  /** Whether the network has IPv6; implied by `ipv6Subnet`. */
  ipv6?: boolean;
  /** By default the next /64 of the deck's ULA prefix. */
  ipv6Subnet?: string;
  ipv6Gateway?: string;
  ipv6Range?: string;
  /** Addresses of either family that no endpoint gets, by names. */
  auxAddresses?: Record<string, string>;
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
  labels?: Record<string, string>;
  /** Docker's options of driver `bridge`, and ours, by their long names: `network-options.ts` reads them. */
  options?: Record<string, string>;
}

/** The addresses of a network, of one family. */
export interface PoolInfo {
  readonly subnet: string;
  readonly gateway: string;
  readonly ipRange: string | null;
  readonly auxAddresses: Readonly<Record<string, string>>;
}

/** As Docker calls them; `null` is that of network `none`. */
export type NetworkDriver = 'bridge' | 'host' | 'null';

/** A network as it is shown to people and programs. */
export interface NetworkInfo {
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  /** With any but `bridge` its containers have no interface of ours. */
  readonly driver: NetworkDriver;
  /** 0 where there is no interface. */
  readonly mtu: number;
  /** The gateway's; empty where there is none. */
  readonly mac: string;
  readonly ipv4: PoolInfo | null;
  readonly ipv6: PoolInfo | null;
  /** Whether it has no way out by its maker's wish. */
  readonly internal: boolean;
  /** Name of the uplink by which packets leave the deck; null when there is none. */
  readonly uplink: string | null;
  /** The prefix under which its IPv6 addresses stand outside; null when the uplink's address does. */
  readonly npt: string | null;
  /** Whether endpoints reach the loopback of the host. */
  readonly hostLoopback: boolean;
  /** Whether its containers reach one another. */
  readonly icc: boolean;
  /** Whether packets leave by an uplink with the uplink's address. */
  readonly masquerade: boolean;
  /** The address on which ports are published when none is given; null for all. */
  readonly hostBinding: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** Those of `network create -o`, as they are in force. */
  readonly options: Readonly<Record<string, string>>;
  /** Names of the containers. */
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

/** What a network is beside its addresses and its way out. */
export interface NetworkTraits {
  readonly icc: boolean;
  readonly masquerade: boolean;
  readonly hostBinding: bigint | null;
  /** Whether the gateway answers DHCP. */
  readonly dhcp: boolean;
  /** Addresses that the gateway has besides, of either family. */
  readonly dns: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

interface NetworkFields {
  id: string;
  name: string;
  driver: NetworkDriver;
  mtu: number;
  createdAt: string;
  ipv4: AddressPool | null;
  ipv6: AddressPool | null;
  way: WayOut;
  traits: NetworkTraits;
  now: () => number;
}

/** One network of the deck: its addresses and who has which. */
export class NetworkRecord {
  readonly id: string;
  readonly name: string;
  readonly driver: NetworkDriver;
  readonly mtu: number;
  readonly createdAt: string;
  readonly ipv4: AddressPool | null;
  readonly ipv6: AddressPool | null;
  readonly way: WayOut;
  readonly traits: NetworkTraits;
  readonly mac: Mac;
  /** The data plane's number for it. */
  number = -1;
  /** Containers in it, and attaches under way: while there are any it cannot be removed. */
  readonly members = new Set<string>();
  readonly #macs = new Set<number>();
  readonly #now: () => number;

  constructor({ id, name, driver, mtu, createdAt, ipv4, ipv6, way, traits, now }: NetworkFields) {
    this.id = id;
    this.name = name;
    this.driver = driver;
    this.mtu = mtu;
    this.createdAt = createdAt;
    this.ipv4 = ipv4;
    this.ipv6 = ipv6;
    this.way = way;
    this.traits = traits;
    this.#now = now;
    this.mac = this.deriveMac(this.ipv4?.gateway ?? null, this.ipv6?.gateway ?? null);
  }

  /** Whether it is one of the data plane's: containers get an interface in it. */
  get isBridge(): boolean {
    return this.driver === 'bridge';
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
  reserveAddress(family: Family, wanted: string | undefined, owner: string, undo: Undo): bigint | null {
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
    const address = pool.reserve(wanted, owner, this.#now());
    undo.add(() => pool.cancel(address));
    return address;
  }

  /** Gives back the addresses that an endpoint had. */
  releaseAddresses(ipv4: bigint | null, ipv6: bigint | null): void {
    if (ipv4 !== null) this.ipv4?.release(ipv4, this.#now());
    if (ipv6 !== null) this.ipv6?.release(ipv6, this.#now());
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

  /** A container in it has got another name. */
  rename(
    before: string,
    name: string,
    { ipv4, ipv6 }: { readonly ipv4: bigint | null; readonly ipv6: bigint | null },
  ): void {
    this.members.delete(before);
    this.members.add(name);
    if (ipv4 !== null) this.ipv4?.rename(ipv4, name);
    if (ipv6 !== null) this.ipv6?.rename(ipv6, name);
  }

  releaseMac(mac: Mac): void {
    this.#macs.delete(key(mac));
  }

  /** As it is shown to people and programs. */
  describe(): NetworkInfo {
    const { id, name, driver, mtu, mac, ipv4, ipv6, way, traits, members, createdAt } = this;
    const { icc, masquerade, hostBinding, labels } = traits;
    return {
      id,
      name,
      driver,
      mtu,
      mac: this.isBridge ? formatMac(mac.hi, mac.lo) : '',
      ipv4: describePool(ipv4),
      ipv6: describePool(ipv6),
      internal: way.internal,
      uplink: way.uplink?.name ?? null,
      npt: way.npt && formatSubnet(way.npt),
      hostLoopback: way.hostLoopback,
      icc,
      masquerade,
      hostBinding: hostBinding === null ? null : formatAddress(4, hostBinding),
      labels,
      options: this.isBridge ? describeOptions(this) : {},
      endpoints: Array.from(members),
      createdAt,
    };
  }

  /** As the data plane takes it. */
  options(): NetworkOptions {
    const { mac, ipv4, ipv6, mtu } = this;
    const { internal, uplink, npt, hostLoopback } = this.way;
    const { icc, masquerade, dhcp, dns } = this.traits;
    const dns4 = dns.filter((address) => familyOf(address) === 4);
    const dns6 = dns.filter((address) => familyOf(address) === 6);
    return {
      macHi: mac.hi,
      macLo: mac.lo,
      ipv4: ipv4 && { address: toInt32(ipv4.gateway), prefix: ipv4.subnet.prefix },
      ipv6: ipv6 && { address: toWords(ipv6.gateway), prefix: ipv6.subnet.prefix },
      ...(dns4.length > 0 && { ipv4Pool: dns4.map((address) => toInt32(parseAddress(4, address))) }),
      ...(dns6.length > 0 && { ipv6Pool: dns6.map((address) => toWords(parseAddress(6, address))) }),
      mtu,
      ...(internal && { internal }),
      ...(!icc && { icc }),
      ...(!masquerade && { masquerade }),
      ...(dhcp && { dhcp }),
      ...(uplink && { uplink: uplink.number }),
      ...(hostLoopback && { hostLoopback }),
      ...(npt && { npt: { address: toWords(npt.base), prefix: npt.prefix } }),
    };
  }
}

function describePool(pool: AddressPool | null): PoolInfo | null {
  if (!pool) return null;
  const { family, subnet, gateway, range, auxAddresses } = pool;
  return {
    subnet: formatSubnet(subnet),
    gateway: formatAddress(family, gateway),
    ipRange: range && formatSubnet(range),
    auxAddresses: Object.fromEntries(
      Array.from(auxAddresses, ([name, address]) => [name, formatAddress(family, address)]),
    ),
  };
}

/** 48 bits fit into a double. */
function key({ hi, lo }: Mac): number {
  return hi * 2 ** 32 + (lo >>> 0);
}
