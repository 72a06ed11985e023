import ipaddr from 'ipaddr.js';
import {
  formatIpv4,
  formatIpv6,
  formatMac,
  isGroup,
  isZeroMac,
  type Mac,
  parseIpv4,
  parseIpv6,
  parseMac,
} from '../../wire/address.ts';
import { invalid } from './error.ts';
import { quote } from './name.ts';

export type Family = 4 | 6;

/** Bits of an address. */
export const ADDRESS_BITS = { 4: 32, 6: 128 } as const;

/**
 * A range of addresses under one prefix. The control plane computes with addresses of both families as
 * bigints; the data plane takes them as int32 words.
 */
export interface Subnet {
  readonly family: Family;
  /** The lowest address: all host bits are zero. */
  readonly base: bigint;
  readonly prefix: number;
}

/** Throws a `DeckError` when `text` is not exactly an address of the family. */
export function parseAddress(family: Family, text: string): bigint {
  if (family === 4) {
    const address = parseIpv4(text);
    if (address === undefined)
      throw invalid(`${quote(text)} is not an IPv4 address; write it as in 172.17.0.2`);
    return BigInt(address >>> 0);
  }
  const words = parseIpv6(text);
  if (words === undefined) throw invalid(`${quote(text)} is not an IPv6 address; write it as in fd00::2`);
  return fromWords(words);
}

export function formatAddress(family: Family, address: bigint): string {
  if (family === 4) return formatIpv4(toInt32(address));
  return formatIpv6(...toWords(address));
}

/** Which family a text with an address or subnet is of, going by its looks alone. */
export function familyOf(text: string): Family {
  return text.includes(':') ? 6 : 4;
}

/** `172.18.0.0/16`. Throws a `DeckError` for anything else, and for host bits that are set. */
export function parsePrefix(family: Family, text: string): Subnet {
  const bits = ADDRESS_BITS[family];
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const example = family === 4 ? '172.18.0.0/16' : 'fd00:1::/64';
  if (!match) throw invalid(`${quote(text)} is not an IPv${family} subnet; write it as in ${example}`);
  const prefix = Number(match[2]);
  if (prefix > bits) throw invalid(`subnet ${quote(text)}: the prefix is longer than ${bits} bits`);
  const address = parseAddress(family, match[1]!);
  const subnet = { family, base: (address >> BigInt(bits - prefix)) << BigInt(bits - prefix), prefix };
  if (subnet.base !== address) {
    throw invalid(`subnet ${quote(text)} has host bits set; did you mean ${formatSubnet(subnet)}?`);
  }
  return subnet;
}

/** As `parsePrefix`; throws also for ranges that no network may have. */
export function parseSubnet(family: Family, text: string): Subnet {
  const subnet = parsePrefix(family, text);
  const { base: address, prefix } = subnet;
  // One address for the gateway and one for an endpoint; IPv4 has its network and broadcast address besides.
  const longest = family === 4 ? 30 : 126;
  if (prefix > longest)
    throw invalid(`subnet ${quote(text)} is too small: the longest prefix is /${longest}`);
  if (prefix < 8) throw invalid(`subnet ${quote(text)} is too large: the shortest prefix is /8`);
  const range = ipaddr.parse(formatAddress(family, address)).range();
  if (FORBIDDEN_RANGES.has(range)) {
    throw invalid(
      `subnet ${quote(text)} cannot be a network's: it lies in the ${FORBIDDEN_RANGES.get(range)} range`,
    );
  }
  return subnet;
}

/** An address with the subnet it lies in. */
export interface InterfaceAddress {
  readonly address: bigint;
  readonly subnet: Subnet;
}

/** `192.0.2.7/24`, `2001:db8::7/64`. Throws a `DeckError` for anything else, and for what no host of the subnet may have. */
export function parseInterfaceAddress(text: string): InterfaceAddress {
  const family = familyOf(text);
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  if (!match) {
    const example = family === 4 ? '192.0.2.7/24' : '2001:db8::7/64';
    throw invalid(`${quote(text)} is not an address with its prefix length; write it as in ${example}`);
  }
  const bits = ADDRESS_BITS[family];
  const prefix = Number(match[2]);
  if (prefix > bits) throw invalid(`address ${quote(text)}: the prefix is longer than ${bits} bits`);
  const address = parseAddress(family, match[1]!);
  const base = (address >> BigInt(bits - prefix)) << BigInt(bits - prefix);
  const subnet = parseSubnet(family, `${formatAddress(family, base)}/${prefix}`);
  checkHost(subnet, address);
  return { address, subnet };
}

/** Throws a `DeckError` when `address` is none that a host of the subnet may have. */
export function checkHost(subnet: Subnet, address: bigint): void {
  const text = formatAddress(subnet.family, address);
  if (!contains(subnet, address)) throw invalid(`address ${text} lies outside ${formatSubnet(subnet)}`);
  // The all-zeros address is the subnet itself in IPv4, and the routers' anycast address in IPv6 (RFC 4291 §2.6.1).
  if (address === subnet.base) {
    throw invalid(`address ${text} is the subnet itself of ${formatSubnet(subnet)}; choose one behind it`);
  }
  if (subnet.family === 4 && address === subnet.base + subnetSize(subnet) - 1n) {
    throw invalid(
      `address ${text} is the broadcast address of ${formatSubnet(subnet)}; choose one before it`,
    );
  }
}

/** Ranges that no network may lie in, as `ipaddr.js` names them, and as people do. */
const FORBIDDEN_RANGES = new Map<string, string>([
  ['unspecified', 'unspecified'],
  ['broadcast', 'broadcast'],
  ['loopback', 'loopback'],
  ['linkLocal', 'link-local'],
  ['multicast', 'multicast'],
  ['ipv4Mapped', 'IPv4-mapped'],
]);

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet.family, subnet.base)}/${subnet.prefix}`;
}

/** How many addresses the subnet has. */
export function subnetSize(subnet: Subnet): bigint {
  return 1n << BigInt(ADDRESS_BITS[subnet.family] - subnet.prefix);
}

export function contains(subnet: Subnet, address: bigint): boolean {
  return address >= subnet.base && address < subnet.base + subnetSize(subnet);
}

export function overlap(one: Subnet, other: Subnet): boolean {
  return one.family === other.family && (contains(one, other.base) || contains(other, one.base));
}

/** An IPv4 address as the data plane has it. */
export function toInt32(address: bigint): number {
  return Number(BigInt.asIntN(32, address));
}

/** An IPv6 address as the data plane has it. */
export function toWords(address: bigint): [number, number, number, number] {
  return [toInt32(address >> 96n), toInt32(address >> 64n), toInt32(address >> 32n), toInt32(address)];
}

export function fromWords(words: readonly number[]): bigint {
  return words.reduce((address, word) => (address << 32n) | BigInt(word >>> 0), 0n);
}

/** A station's MAC. Throws a `DeckError` for group addresses and 00:00:00:00:00:00, which no station can have. */
export function parseStationMac(text: string): Mac {
  const mac = parseMac(text);
  if (mac === undefined)
    throw invalid(`${quote(text)} is not a MAC address; write it as in 02:42:ac:11:00:02`);
  if (isGroup(mac.hi)) {
    throw invalid(
      `MAC ${formatMac(mac.hi, mac.lo)} is a group address; the first byte of a station's is even`,
    );
  }
  if (isZeroMac(mac.hi, mac.lo))
    throw invalid("MAC 00:00:00:00:00:00 cannot be a station's; leave it out to get one");
  return mac;
}
