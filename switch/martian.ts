import { prefixWord } from '../wire/address.ts';
import { get32 } from '../wire/bytes.ts';
import { IPV6_DST, IPV6_SRC } from '../wire/ipv6.ts';
import type { Network } from './network.ts';

/**
 * Whether the address can be one host's: not this network (0/8), loopback (127/8), multicast or reserved (224/3),
 * RFC 1812 §5.3.7 and RFC 1122 §3.2.1.3.
 */
export function isIpv4Host(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/** Whether the address is the broadcast of the network's subnet; prefixes of 31 and 32 bits have none (RFC 3021). */
export function isSubnetBroadcast(network: Network, address: number): boolean {
  return network.ipv4Prefix < 31 && network.containsIpv4(address) && (address | network.ipv4Mask) === -1;
}

/** Whether an IPv4 source in a network can be that of another host there, or behind a host there. */
export function isIpv4Source(network: Network, address: number): boolean {
  return isIpv4Host(address) && !network.isOwnIpv4(address) && !isSubnetBroadcast(network, address);
}

/**
 * Whether the address can be one host's: not multicast, unspecified, loopback, IPv4-compatible or IPv4-mapped
 * (RFC 4291 §2.5, §2.7). The last word does not matter.
 */
export function isIpv6Host(w0: number, w1: number, w2: number): boolean {
  if (w0 >>> 24 === 0xff) return false;
  return (w0 | w1) !== 0 || (w2 !== 0 && w2 !== 0xffff);
}

/** Whether an IPv6 packet claims to come from where it goes ("land"). */
export function isIpv6Land(bytes: Uint8Array, l3: number): boolean {
  // Where addresses differ, they mostly do at the end.
  for (let at = l3 + 12; at >= l3; at -= 4) {
    if (get32(bytes, at + IPV6_SRC) !== get32(bytes, at + IPV6_DST)) return false;
  }
  return true;
}

/** Whether the IPv6 address lies in the network's prefix. */
export function containsIpv6(network: Network, w0: number, w1: number, w2: number, w3: number): boolean {
  if (!network.hasIpv6) return false;
  const { ipv6, ipv6Prefix } = network;
  return (
    ((w0 ^ ipv6[0]) & prefixWord(ipv6Prefix, 0)) === 0 &&
    ((w1 ^ ipv6[1]) & prefixWord(ipv6Prefix, 1)) === 0 &&
    ((w2 ^ ipv6[2]) & prefixWord(ipv6Prefix, 2)) === 0 &&
    ((w3 ^ ipv6[3]) & prefixWord(ipv6Prefix, 3)) === 0
  );
}
