import type { CreateNetworkOptions } from '../../control/network.ts';
import { DEFAULT_CIDR, type Habits } from './options.ts';

/** The network of those who ask for no other; all of them are in it, and reach one another. */
export const GUEST_NETWORK = 'slirp4netns';

/** slirp4netns's prefix of IPv6, and its name server there. */
const IPV6 = { ipv6Subnet: 'fd00::/64', ipv6Gateway: 'fd00::2' } as const;
const IPV6_NAME_SERVER = 'fd00::3';

/**
 * The network of a CIDR, with gateway and name server where callers of slirp4netns expect them. The address that they believe to be
 * the container's own is nobody's: each has one of its own, and that one besides, for itself alone.
 */
export function guestNetwork({ subnet, gateway, nameServer, guest }: Habits): CreateNetworkOptions {
  const isDefault = subnet === DEFAULT_CIDR;
  return {
    name: isDefault ? GUEST_NETWORK : `${GUEST_NETWORK}-${subnet.replace('/', '-')}`,
    subnet,
    gateway,
    auxAddresses: { guest },
    // There is one fd00::/64; other networks have the next of the deck's prefixes.
    ...(isDefault ? IPV6 : { ipv6: true }),
    options: { 'tapdeck.dns': isDefault ? `${nameServer},${IPV6_NAME_SERVER}` : nameServer },
  };
}
