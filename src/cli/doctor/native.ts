import { familyOf, formatSubnet, overlap, parsePrefix, type Subnet } from '../../control/address.ts';
import { DEFAULT_POOLS } from '../../control/ipam.ts';
import { Rtnetlink } from '../../device/rtnetlink.ts';
import { WriteBatch } from '../../device/write-batch.ts';
import { type Finding, ok } from './finding.ts';

/** What is asked by system calls, or of the kernel's tables: loaded only where koffi works. */

/** RFC 8200 §5. */
const LEAST_MTU = 1280;

export interface NamedSubnet {
  name: string;
  subnet: string;
}

export function checkWriteBatch(): Finding {
  const check = 'aio';
  if (WriteBatch.open(new Uint8Array(64)) !== null) return ok(check, 'io_setup(2) and io_submit(2)');
  return {
    check,
    level: 'note',
    found: 'io_setup(2) is refused',
    means: 'small frames are written one by one, at the price of a third more CPU time for small requests',
    todo: 'raise fs.aio-max-nr if fs.aio-nr is near it; in a container, permit io_setup and io_submit in its seccomp profile',
  };
}

/**
 * Compares what networks have, or would get, with the routes of the host.
 * @param networks of the running daemon; null without one
 */
export function checkRoutes(networks: readonly NamedSubnet[] | null): Finding[] {
  const rtnetlink = new Rtnetlink();
  try {
    const names = new Map(rtnetlink.links().map(({ index, name }) => [index, name]));
    const routes = rtnetlink
      .routes()
      .filter(({ destination }) => destination !== 'default')
      .map(({ destination, index }) => ({
        subnet: subnetOf(destination),
        by: names.get(index) ?? 'several',
      }));
    return [
      networks === null ? poolFinding(routes) : networkFinding(networks, routes),
      mtuFinding(rtnetlink),
    ];
  } finally {
    rtnetlink.close();
  }
}

interface HostRoute {
  subnet: Subnet;
  /** The interface. */
  by: string;
}

/** Without a daemon: what a network would get. */
function poolFinding(routes: readonly HostRoute[]): Finding {
  const check = 'subnets';
  const pools = DEFAULT_POOLS.filter(({ base }) => base.family === 4);
  const free = pools.filter(({ base }) => !routes.some(({ subnet }) => meets(subnet, base)));
  if (free.length > 0)
    return ok(check, `${formatSubnet(free[0]!.base)} is the first pool without a route of the host`);
  return {
    check,
    level: 'problem',
    found: `the host has routes to all of the pools from ${formatSubnet(pools[0]!.base)} to ${formatSubnet(pools.at(-1)!.base)}`,
    means: 'networks that ask for no subnet get none',
    todo: 'tapdeck daemon --default-address-pool base=10.210.0.0/16,size=24, or any other range that is free',
  };
}

/** With a daemon: what has come between since. */
function networkFinding(networks: readonly NamedSubnet[], routes: readonly HostRoute[]): Finding {
  const check = 'subnets';
  const conflicts = networks.flatMap(({ name, subnet }) => {
    const own = subnetOf(subnet);
    const route = routes.find((one) => one.subnet.family === own.family && meets(one.subnet, own));
    return route ? [{ name, subnet, route }] : [];
  });
  const [first] = conflicts;
  if (!first)
    return ok(check, `${networks.length} subnets of networks, to none of which the host has a route`);
  const { name, subnet, route } = first;
  return {
    check,
    level: 'warning',
    found: `network ${name} has ${subnet}, and the host a route to ${formatSubnet(route.subnet)} by ${route.by}`,
    means: `its containers do not reach what is behind ${route.by}`,
    todo: `make the network anew with a --subnet that is free${conflicts.length > 1 ? `; the same of ${conflicts.length - 1} more` : ''}`,
  };
}

/** Routes as short as a default route in pieces, as VPNs have them, take nothing from a pool. */
function meets(route: Subnet, other: Subnet): boolean {
  return route.family === other.family && route.prefix > 4 && overlap(route, other);
}

function subnetOf(text: string): Subnet {
  return parsePrefix(familyOf(text), text);
}

function mtuFinding(rtnetlink: Rtnetlink): Finding {
  const check = 'mtu';
  const ways = new Set(
    rtnetlink.routes().flatMap(({ destination, index }) => (destination === 'default' ? [index] : [])),
  );
  const links = rtnetlink.links().filter(({ index }) => ways.has(index));
  const small = links.find(({ mtu }) => mtu < LEAST_MTU);
  if (!small) {
    const sizes = links.map(({ name, mtu }) => `${name}, MTU ${mtu}`).join('; ');
    return ok(check, sizes === '' ? 'the host has no default route' : `way out by ${sizes}`);
  }
  return {
    check,
    level: 'warning',
    found: `${small.name}, by which the host's default route leads, has an MTU of ${small.mtu}`,
    means: `IPv6 does not fit (RFC 8200 §5: ${LEAST_MTU} at least), and large UDP datagrams are lost where ICMP errors are`,
    todo: `ip link set ${small.name} mtu 1500, or as large as its medium permits`,
  };
}
