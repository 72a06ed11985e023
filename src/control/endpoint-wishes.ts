import { ADDRESS_BITS, contains, familyOf, parseAddress } from './address.ts';
import type { ContainerRecord } from './container.ts';
import type { AttachOptions, ConnectOptions } from './endpoint.ts';
import { conflict, type DeckError, invalid } from './error.ts';
import { checkName, isName, quote } from './name.ts';
import type { NamespaceTarget } from './namespace.ts';
import type { NetworkRecord } from './network.ts';
import type { Networks } from './networks.ts';

/** What can be said about wishes for containers and endpoints before anything is made of them. */

export function noWayOut({ name }: ContainerRecord, network?: NetworkRecord): DeckError {
  if (!network) {
    return invalid(
      `ports of ${name} cannot be published: it is in no network that leads out; connect it to one that is not internal first`,
    );
  }
  const why =
    network.driver === 'host' ? 'shares the ports of the host' : 'has no interface to have ports at';
  return invalid(
    `ports of ${name} cannot be published: network ${network.name} ${network.isBridge ? 'is internal' : why}; leave -p out, or use another network`,
  );
}

/** The networks of a container besides its first, which it gets at once. */
export function checkFurther(
  wishes: AttachOptions['networks'] = [],
  first: NetworkRecord,
  networks: Networks,
): [NetworkRecord, ConnectOptions][] {
  const company = [first];
  return wishes.map(({ network: wanted, ...options }) => {
    const network = networks.get(wanted);
    if (company.includes(network)) throw invalid(`network ${network.name} is given twice; give it once`);
    company.push(network);
    checkCompany('a container', company);
    return [network, options];
  });
}

/** As Docker has it: `host` and `none` are for containers that are in no other network. Throws a `DeckError`. */
export function checkCompany(who: string, networks: readonly NetworkRecord[]): void {
  const alone = networks.find(({ isBridge }) => !isBridge);
  const other = networks.find((network) => network !== alone);
  if (!alone || !other) return;
  throw conflict(
    `${who} cannot be in network ${alone.name} and in ${other.name}: network ${alone.name} is for containers that are in no other`,
  );
}

/** What an endpoint without an interface cannot have. */
export function checkNoWishes({ name }: NetworkRecord, options: ConnectOptions): void {
  const wish = (
    ['ip', 'ip6', 'mac', 'ifname', 'localAddresses', 'hostAtGateway', 'takeOver', 'faults'] as const
  ).find((one) => options[one]);
  if (wish) {
    throw invalid(
      `${wish} ${options[wish]}: network ${name} has no interface; leave it out or use another network`,
    );
  }
}

/** The interface's further addresses, with the length of the prefix. Throws a `DeckError` for what somebody else may have. */
export function localAddresses(
  { name, ipv4, ipv6 }: NetworkRecord,
  wanted: readonly string[] = [],
): string[] {
  return wanted.map((text) => {
    const family = familyOf(text);
    const address = parseAddress(family, text);
    const pool = family === 4 ? ipv4 : ipv6;
    if (!pool || !contains(pool.subnet, address)) return `${text}/${ADDRESS_BITS[family]}`;
    if (Array.from(pool.auxAddresses.values()).includes(address)) return `${text}/${pool.subnet.prefix}`;
    throw invalid(
      `local address ${text}: another endpoint of network ${name} may have it; make it an auxiliary address of the network`,
    );
  });
}

/** Whether the way out leads to the host's sockets, as it must for the host's loopback. Throws a `DeckError`. */
export function checkHostAtGateway({ name, way }: NetworkRecord): void {
  if (way.uplink?.sockets != null) return;
  throw invalid(
    `the gateway of network ${name} cannot stand for the host's loopback, to which only uplink socket leads; leave it out`,
  );
}

export function netnsOf(target: NamespaceTarget): string | number {
  return 'path' in target ? target.path : target.pid;
}

export function targetOf({ netns, pid }: AttachOptions): NamespaceTarget {
  if (netns !== undefined && pid === undefined) return { path: netns };
  if (pid !== undefined && netns === undefined) return { pid };
  throw invalid('give either the path of a network namespace or a process in it, and not both');
}

export function checkAliases(aliases: readonly string[] = []): string[] {
  return Array.from(new Set(aliases.map((alias) => checkName('alias', alias))));
}

/** As `name:alias`, both of them names. */
export function checkLinks(links: readonly string[] = []): string[] {
  return links.map((link) => {
    const [name = '', alias = name, ...more] = link.split(':');
    if (more.length > 0 || !isName(name) || !isName(alias)) {
      throw invalid(`link ${quote(link)} is not a container and a name for it; write it as in db:database`);
    }
    return `${name}:${alias}`;
  });
}

export function checkPriority(priority: number): number {
  if (Number.isInteger(priority) && Math.abs(priority) <= 2 ** 31 - 1) return priority;
  throw invalid(`gateway priority ${priority} is not a whole number; the highest one is the way out`);
}
