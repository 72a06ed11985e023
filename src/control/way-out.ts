import { formatSubnet, parseSubnet, type Subnet } from './address.ts';
import { invalid } from './error.ts';
import type { Subnets } from './ipam.ts';
import type { CreateNetworkOptions, WayOut } from './network.ts';
import type { Undo } from './undo.ts';
import type { UplinkRecord, Uplinks } from './uplink.ts';

/** RFC 6296 leaves 16 bits behind the prefix, in which the checksum is made good again. */
const LONGEST_NPT = 112;

/**
 * Chooses by what way the packets of a network leave the deck. Throws a `DeckError` for wishes that contradict one
 * another, and for a prefix that overlaps with what the deck has already.
 */
export function chooseWayOut(
  { name, internal = false, uplink: wanted, npt: prefix, hostLoopback = false }: CreateNetworkOptions,
  ipv6: Subnet | null,
  uplinks: Uplinks,
  subnets: Subnets,
  undo: Undo,
): WayOut {
  if (internal) {
    if (wanted !== undefined) throw invalid(contradiction(name, `uplink ${wanted}`));
    if (prefix !== undefined) throw invalid(contradiction(name, `prefix ${prefix} outside`));
    if (hostLoopback) throw invalid(contradiction(name, "the host's loopback"));
    return { internal, uplink: null, npt: null, hostLoopback };
  }
  const uplink = wanted === undefined ? uplinks.default : uplinks.get(wanted);
  if (hostLoopback && uplink?.spec.kind !== 'socket') {
    throw invalid(
      `network ${name} cannot have the host's loopback, to which only uplink socket leads; leave one of both out`,
    );
  }
  if (prefix === undefined) return { internal, uplink, npt: null, hostLoopback };
  const npt = subnets.take(outside(name, prefix, ipv6, uplink), `network ${name} as it stands outside`);
  undo.add(() => subnets.release(npt));
  return { internal, uplink, npt, hostLoopback };
}

/** The prefix that stands for the network's own, of the same length. */
function outside(name: string, text: string, ipv6: Subnet | null, uplink: UplinkRecord | null): Subnet {
  const given = parseSubnet(6, text);
  const what = `prefix ${text} for network ${name}`;
  if (!ipv6) throw invalid(`${what}: the network has no IPv6; add --ipv6 or an IPv6 subnet`);
  if (!uplink) throw invalid(`${what}: the deck has no uplink; start it with --uplink`);
  if (uplink.spec.kind === 'socket') {
    throw invalid(
      `${what}: uplink ${uplink.name} has the addresses of the host; a prefix takes another kind of uplink`,
    );
  }
  if (!uplink.spec.ipv6) {
    throw invalid(`${what}: uplink ${uplink.name} has no IPv6; give it an IPv6 address with addr=`);
  }
  if (ipv6.prefix > LONGEST_NPT) {
    throw invalid(
      `${what}: its subnet ${formatSubnet(ipv6)} is too small for it; the longest prefix is /${LONGEST_NPT}`,
    );
  }
  if (given.prefix > ipv6.prefix) {
    throw invalid(`${what} is smaller than its subnet ${formatSubnet(ipv6)}; give one of /${ipv6.prefix}`);
  }
  // The longer of two prefixes counts (RFC 6296 §3.1): of a shorter one only the beginning would be used.
  if (given.prefix < ipv6.prefix) {
    const used = formatSubnet({ ...given, prefix: ipv6.prefix });
    throw invalid(
      `${what} is larger than its subnet ${formatSubnet(ipv6)}, which stand for each other host by host; give one of /${ipv6.prefix}, as ${used}`,
    );
  }
  return given;
}

function contradiction(name: string, what: string): string {
  return `network ${name} is internal and cannot have ${what}; leave one of both out`;
}
