import { DEFAULT_FILTERING, type Filtering } from '../dataplane/commands.ts';
import {
  familyOf,
  formatSubnet,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
  type Subnet,
} from './address.ts';
import { invalid } from './error.ts';
import { quote } from './name.ts';
import type { UplinkAddresses } from './uplink-spec.ts';

/** By the sockets of the host: what a program of the user that runs tapdeck could reach. */
export interface SocketUplinkSpec {
  readonly kind: 'socket';
  readonly filtering: Filtering;
  /** Whether the host's own addresses can be reached, as those of any other host. Its loopback is another matter. */
  readonly hostAccess: boolean;
  /** What nobody reaches, as it was written: prefixes, and `metadata` for those in `METADATA`. */
  readonly deny: readonly string[];
  readonly ipv4: UplinkAddresses;
  readonly ipv6: UplinkAddresses;
}

/** What the one uplink of this kind is called. */
export const SOCKET = 'socket';

/**
 * Where clouds tell a machine about itself, its secrets included: link-local addresses (RFC 3927; AWS, Azure, Google,
 * Oracle, OpenStack, ...), and those that are not: AWS and Google over IPv6, Alibaba, Azure's wire server, Oracle's old one.
 */
export const METADATA: readonly string[] = [
  '169.254.0.0/16',
  'fd00:ec2::254/128',
  'fd20:ce::254/128',
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
];

/** Addresses that are no host's (RFC 7335), and of the deck's own ULA prefix. */
const IPV4 = addresses('192.0.0.2/29', '192.0.0.1');
const IPV6 = addresses('fd74:6170:6465:ffff::2/64', 'fd74:6170:6465:ffff::1');

function addresses(own: string, gateway: string): UplinkAddresses {
  const { subnet, address } = parseInterfaceAddress(own);
  return { subnet, addresses: [address], gateway: parseAddress(subnet.family, gateway) };
}

/** Of the values behind `socket`. Throws a `DeckError`. */
export function socketUplink(
  filtering: Filtering,
  hostAccess: readonly string[] = [],
  deny: readonly string[] = [],
): SocketUplinkSpec {
  const [access = 'yes'] = hostAccess;
  if (access !== 'yes' && access !== 'no') {
    throw invalid(`host-access=${access} is not understood; it is yes or no`);
  }
  return {
    kind: 'socket',
    filtering,
    hostAccess: access === 'yes',
    deny: Array.from(new Set(deny.map(checkDeny))),
    ipv4: IPV4,
    ipv6: IPV6,
  };
}

/** The one that a deck has when nothing else is said. */
export const DEFAULT_UPLINK = socketUplink(DEFAULT_FILTERING);

/** Throws a `DeckError` for what is neither `metadata` nor an address or prefix; answers the prefix as it is written. */
export function checkDeny(text: string): string {
  return text === 'metadata' ? text : formatSubnet(denied(text));
}

function denied(text: string): Subnet {
  const family = familyOf(text);
  try {
    return parsePrefix(family, text.includes('/') ? text : `${text}/${family === 4 ? 32 : 128}`);
  } catch (error) {
    throw invalid(
      `deny=${quote(text)}: ${(error as Error).message}; or give metadata for the addresses of clouds`,
    );
  }
}

/** The prefixes that nobody reaches. */
export function deniedPrefixes({ deny }: SocketUplinkSpec): Subnet[] {
  return deny.flatMap((text) => (text === 'metadata' ? METADATA : [text])).map(denied);
}

export function formatSocketUplink({ filtering, hostAccess, deny }: SocketUplinkSpec): string {
  const parts = [SOCKET, `filtering=${filtering}`];
  if (!hostAccess) parts.push('host-access=no');
  parts.push(...deny.map((text) => `deny=${text}`));
  return parts.join(',');
}
