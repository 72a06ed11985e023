// Addresses as a scenario writes them; whatever is none is refused where it stands.
import {
  type Ipv6,
  ipv4Mask,
  isGroup,
  isZeroMac,
  type Mac,
  parseIpv4,
  parseIpv6,
  parseMac,
  prefixWord,
} from '../../wire/address.ts';
import type { YamlValue } from './yaml-value.ts';

/** An IPv4 address as int32 with a prefix length. */
export interface Ipv4Prefix {
  address: number;
  prefix: number;
}

/** An IPv6 address as four int32 words with a prefix length. */
export interface Ipv6Prefix {
  address: Ipv6;
  prefix: number;
}

export function macOf(value: YamlValue): Mac {
  const mac = parseMac(value.text());
  if (!mac || isGroup(mac.hi) || isZeroMac(mac.hi, mac.lo)) {
    return value.fail(`must be the MAC of a station, such as 02:42:0a:00:00:02, not '${value.text()}'`);
  }
  return mac;
}

export function ipv4Of(value: YamlValue): number {
  return (
    parseIpv4(value.text()) ?? value.fail(`must be an IPv4 address such as 10.0.0.2, not '${value.text()}'`)
  );
}

export function ipv6Of(value: YamlValue): Ipv6 {
  return (
    parseIpv6(value.text()) ?? value.fail(`must be an IPv6 address such as fd00::2, not '${value.text()}'`)
  );
}

/** An address of either IP version. */
export function addressOf(value: YamlValue): number | Ipv6 {
  const text = value.text();
  return (
    parseIpv4(text) ?? parseIpv6(text) ?? value.fail(`must be an address such as 10.0.0.2, not '${text}'`)
  );
}

/** An address of either IP version with a prefix length. */
export function prefixOf(value: YamlValue): { v4: Ipv4Prefix } | { v6: Ipv6Prefix } {
  const text = value.text();
  const [address = '', length = ''] = text.split('/');
  const prefix = /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  const ipv4 = parseIpv4(address);
  const ipv6 = parseIpv6(address);
  if (ipv4 !== undefined && prefix <= 32) return { v4: { address: ipv4, prefix } };
  if (ipv6 !== undefined && prefix <= 128) return { v6: { address: ipv6, prefix } };
  return value.fail(`must be a subnet such as 10.0.0.0/24 or fd00::/64, not '${text}'`);
}

export function inIpv4Subnet(address: number, { address: base, prefix }: Ipv4Prefix): boolean {
  return ((address ^ base) & ipv4Mask(prefix)) === 0;
}

export function inIpv6Subnet(
  address: readonly number[],
  { address: base, prefix }: { address: readonly number[]; prefix: number },
): boolean {
  return [0, 1, 2, 3].every((word) => ((address[word]! ^ base[word]!) & prefixWord(prefix, word)) === 0);
}
