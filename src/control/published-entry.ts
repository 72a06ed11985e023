import type { PublishOptions } from '../dataplane/commands.ts';
import type { HostSockets } from '../runtime/data-plane.ts';
import { type Family, formatAddress, toInt32, toWords } from './address.ts';
import { conflict, type DeckError, invalid, notFound } from './error.ts';
import { quote } from './name.ts';
import {
  formatPorts,
  overlapping,
  type PortRange,
  PUBLISH_PROTOCOLS,
  type PublishProtocol,
  type PublishSpec,
  size,
  type UnpublishSpec,
} from './publish-spec.ts';
import type { HostAddress, PublishedPort, PublishTarget } from './published.ts';

/** One IP version's half of a `-p`. */
export interface Entry {
  endpoint: string;
  readonly network: number;
  readonly family: Family;
  readonly address: bigint;
  readonly host: bigint | null;
  /** Of no uplink, and no one address: what is shown in place of all. */
  readonly gateway: bigint | null;
  /** Where sockets of the host wait for it; null if the deck's own addresses are meant. */
  readonly sockets: HostSockets | null;
  readonly protocol: PublishProtocol;
  readonly hostPorts: PortRange;
  readonly ports: PortRange;
  /** The host ports were left open. */
  readonly open: boolean;
  /** The address was left open, and is the one that the network has for that. */
  readonly implied: boolean;
  /** The data plane's number for it; null as long as it does not know of it. */
  id: number | null;
  /** There is no endpoint that it could lead to. */
  readonly waiting: boolean;
  withdrawn: boolean;
}

/** An address that was left open is the network's own choice: that one, and none of IPv6, as in Docker. */
export function withDefaultHost(spec: PublishSpec, { defaultHost, ipv4 }: PublishTarget): PublishSpec {
  const isOpen = spec.host === null && spec.ifname === null && spec.family === null;
  return isOpen && defaultHost !== null && ipv4 !== null ? { ...spec, host: defaultHost, family: 4 } : spec;
}

export function waiting(entry: Entry): Entry {
  return { ...entry, id: null, waiting: true };
}

/** The same ports, at another endpoint; waiting if that cannot have them. */
export function retarget(entry: Entry, target: PublishTarget): Entry {
  const { family, host } = entry;
  const address = family === 4 ? target.ipv4 : target.ipv6;
  const ifname = entry.sockets?.ifname ?? null;
  const isOwn = host !== null && isAmong(target.hosts, family, host);
  const isPossible = target.sockets !== null || (ifname === null && (host === null || isOwn));
  if (address === null || !isPossible) return waiting(entry);
  const gateway = (family === 4 ? target.gateways?.ipv4 : target.gateways?.ipv6) ?? null;
  return {
    ...entry,
    network: target.network,
    address,
    gateway: host === null ? gateway : null,
    sockets: target.sockets === null || isOwn ? null : { uplink: target.sockets, ifname },
    id: null,
    waiting: false,
  };
}

export function left({ endpoint }: Entry): DeckError {
  return notFound(`there is no container ${quote(endpoint)} any more`);
}

/** Name of the errno, of an error of the data plane's. */
export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** The addresses of the endpoint that a spec is about. Throws a `DeckError` when there is none, or the host's is not the deck's. */
export function meantAddresses(
  { endpoint, ipv4, ipv6, hosts, sockets }: PublishTarget,
  { text, family, host, ifname }: PublishSpec,
): { family: Family; address: bigint }[] {
  const addresses: { family: Family; address: bigint }[] = [];
  if (ipv4 !== null && family !== 6) addresses.push({ family: 4, address: ipv4 });
  if (ipv6 !== null && family !== 4) addresses.push({ family: 6, address: ipv6 });
  if (addresses.length === 0) {
    throw invalid(`publish ${quote(text)}: container ${endpoint} has no IPv${family} address`);
  }
  if (sockets !== null) return addresses;
  if (ifname !== null) {
    throw invalid(
      `publish ${quote(text)}: ports of container ${endpoint} cannot be on an interface of the host; that takes uplink socket`,
    );
  }
  if (host !== null && !isAmong(hosts, family, host)) {
    const own = hosts
      .filter((known) => known.family === family)
      .map((known) => `${formatAddress(known.family, known.address)} (${known.owner})`);
    throw invalid(
      `publish ${quote(text)}: ports of container ${endpoint} cannot be on ${formatAddress(family!, host)}; use ${own.join(', ') || `IPv${family === 4 ? 6 : 4}`}, or leave it out for all`,
    );
  }
  return addresses;
}

/** On what sockets of the host a spec is to be: none for an address that is the deck's. */
export function meantSockets(
  { hosts, sockets }: PublishTarget,
  { family, host, ifname }: PublishSpec,
): HostSockets | null {
  if (sockets === null || (host !== null && isAmong(hosts, family, host))) return null;
  return { uplink: sockets, ifname };
}

function isAmong(hosts: readonly HostAddress[], family: Family | null, address: bigint): boolean {
  return hosts.some((known) => known.family === family && known.address === address);
}

/** What one endpoint has published under a name. Throws a `DeckError` when that is nothing, or not one thing. */
export function meantEntries(endpoint: string, own: readonly Entry[], { by, spec }: UnpublishSpec): Entry[] {
  const { text, protocol } = spec;
  if (by !== 'spec') {
    const hostPorts = spec.hostPorts ?? spec.ports;
    const places = own.filter(
      (entry) => entry.protocol === protocol && (by === 'port' || isPlace(entry, spec)),
    );
    const entries = places.filter((entry) => sameRange(entry.hostPorts, hostPorts));
    if (entries.length > 0) return entries;
    const whole = places.find(
      (entry) => overlapping(entry.hostPorts, hostPorts) && size(entry.hostPorts) > 1,
    );
    if (whole) {
      throw conflict(
        `container ${endpoint} does not publish ${quote(text)} alone; ${named(whole)} goes as a whole, with "tapdeck unpublish ${endpoint} ${named(whole)}"`,
      );
    }
  }
  // What left the host port open is named by the endpoint's port, if that is enough.
  const entries = by === 'place' ? [] : own.filter((entry) => isMeant(entry, spec));
  const names = Array.from(new Set(entries.map(named))).sort();
  if (names.length === 1) return entries;
  if (names.length > 1) {
    throw conflict(
      `container ${endpoint} publishes ${quote(text)} more than once; say which by the host port: ${few(names)}`,
    );
  }
  const some = Array.from(new Set(own.map(named)));
  throw notFound(
    `container ${endpoint} does not publish ${quote(text)}, ${some.length > 0 ? `only ${few(some)}` : 'no port'}; see "tapdeck port ${endpoint}"`,
  );
}

/** Whether an entry is shown at this address. */
function isPlace(entry: Entry, { family, host, ifname }: PublishSpec): boolean {
  return (
    (family === null || entry.family === family) &&
    (entry.host === host || (host !== null && entry.gateway === host)) &&
    (entry.sockets?.ifname ?? null) === ifname
  );
}

/** By its host ports: `8080/tcp`. */
export function named({ hostPorts, protocol }: Entry): string {
  return `${formatPorts(hostPorts)}/${protocol}`;
}

function few(names: readonly string[]): string {
  return `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`;
}

function isMeant(entry: Entry, { family, host, ifname, hostPorts, ports, protocol }: PublishSpec): boolean {
  return (
    entry.protocol === protocol &&
    (family === null || entry.family === family) &&
    (entry.host === host || (entry.implied && host === null)) &&
    (entry.sockets?.ifname ?? null) === ifname &&
    sameRange(entry.ports, ports) &&
    (hostPorts === null
      ? entry.open
      : entry.hostPorts.first >= hostPorts.first && entry.hostPorts.last <= hostPorts.last)
  );
}

function sameRange(one: PortRange, other: PortRange): boolean {
  return one.first === other.first && one.last === other.last;
}

export function publishOptions(entry: Entry): PublishOptions {
  const words = (address: bigint) => (entry.family === 4 ? toInt32(address) : toWords(address));
  return {
    network: entry.network,
    address: words(entry.address),
    protocol: PUBLISH_PROTOCOLS[entry.protocol],
    target: entry.ports.first,
    from: entry.hostPorts.first,
    to: entry.hostPorts.last,
    host: entry.host === null ? null : words(entry.host),
    ...(entry.sockets !== null && entry.sockets.ifname !== null && { uplinkOnly: true }),
  };
}

export function describe({
  endpoint,
  family,
  protocol,
  host,
  gateway,
  sockets,
  hostPorts,
  ports,
}: Entry): PublishedPort {
  const ifname = sockets?.ifname ?? null;
  return {
    endpoint,
    protocol,
    host: formatAddress(family, host ?? 0n) + (ifname === null ? '' : `%${ifname}`),
    hostPort: hostPorts.first,
    hostPortEnd: hostPorts.last,
    port: ports.first,
    portEnd: ports.last,
    ...(gateway !== null && { gateway: formatAddress(family, gateway) }),
  };
}

/** What publishes the same again: `0.0.0.0:8080:80/tcp`. */
export function specOf({ protocol, host, hostPort, hostPortEnd, port, portEnd }: PublishedPort): string {
  const where = host.includes(':') ? `[${host}]` : host;
  const hostPorts = formatPorts({ first: hostPort, last: hostPortEnd });
  return `${where}:${hostPorts}:${formatPorts({ first: port, last: portEnd })}/${protocol}`;
}

export function sorted(entries: Entry[]): Entry[] {
  return entries.sort(
    (one, other) =>
      one.ports.first - other.ports.first ||
      one.protocol.localeCompare(other.protocol) ||
      one.family - other.family ||
      one.hostPorts.first - other.hostPorts.first,
  );
}
