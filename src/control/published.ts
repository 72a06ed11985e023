import { randomInt } from 'node:crypto';
import type { PublishOptions } from '../dataplane/commands.ts';
import type { DataPlane, HostSockets } from '../runtime/data-plane.ts';
import { type Family, formatAddress, toInt32, toWords } from './address.ts';
import { asDeckError, conflict, type DeckError, invalid, notFound, unavailable } from './error.ts';
import { quote } from './name.ts';
import {
  formatPorts,
  overlapping,
  type PortRange,
  PUBLISH_PROTOCOLS,
  type PublishProtocol,
  type PublishSpec,
  parsePublishSpec,
  parseUnpublishSpec,
  size,
  type UnpublishSpec,
} from './publish-spec.ts';

/** One published port, or range of ports, of one IP version, as it is shown to people and programs. */
export interface PublishedPort {
  /** Name of the endpoint. */
  readonly endpoint: string;
  readonly protocol: PublishProtocol;
  /** The deck's or host's address; `0.0.0.0` or `::` for all of them, `0.0.0.0%eth1` for all and by one interface only. */
  readonly host: string;
  /** First and last port of the deck. */
  readonly hostPort: number;
  readonly hostPortEnd: number;
  /** First and last port of the endpoint. */
  readonly port: number;
  readonly portEnd: number;
  /**
   * Of all addresses of a deck whose network has no uplink, the one that stands for them: the network's gateway. Left out
   * otherwise.
   */
  readonly gateway?: string;
}

/** An address that ports can be published on, and whose it is: `uplink eth1`, `the gateway of bridge`. */
export interface HostAddress {
  readonly family: Family;
  readonly address: bigint;
  readonly owner: string;
}

/** Whose ports are to be published. */
export interface PublishTarget {
  /** Name of the endpoint. */
  readonly endpoint: string;
  /** The data plane's number for its network. */
  readonly network: number;
  readonly ipv4: bigint | null;
  readonly ipv6: bigint | null;
  /** The deck's addresses. */
  readonly hosts: readonly HostAddress[];
  /** The network's gateways, if nothing but gateways leads to its ports: it has no uplink. */
  readonly gateways: { readonly ipv4: bigint | null; readonly ipv6: bigint | null } | null;
  /** The data plane's number for the uplink by whose sockets the ports are on the host's addresses too; null if there is none. */
  readonly sockets: number | null;
}

/** The ports out of which one is chosen when none is given: Linux's `ip_local_port_range`, as Docker does it. */
const EPHEMERAL: PortRange = { first: 32768, last: 60999 };

/** One IP version's half of a `-p`. */
interface Entry {
  readonly endpoint: string;
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
  /** The data plane's number for it; null as long as it does not know of it. */
  id: number | null;
  withdrawn: boolean;
}

/** What one `-p` became. */
interface Group {
  readonly target: PublishTarget;
  readonly spec: PublishSpec;
  /** One for each IP version. */
  entries: Entry[];
  /** First host ports that the host has given to others. */
  readonly tried: Set<number>;
}

/** How many ports are tried that nobody asked for by number. */
const MOST_TRIED = 64;

/**
 * The published ports of a deck: which are whose. Everything is reserved before anything is told to the data plane, so no
 * two ever get the same port, and what is refused has changed nothing.
 */
export class PublishedPorts {
  readonly #plane: DataPlane;
  readonly #failed: (error: unknown) => void;
  readonly #entries = new Set<Entry>();

  /** @param failed told when the data plane cannot forget a port */
  constructor(plane: DataPlane, failed: (error: unknown) => void) {
    this.#plane = plane;
    this.#failed = failed;
  }

  /** Publishes all that the specs ask for, or nothing. Throws a `DeckError`. */
  async publish(target: PublishTarget, specs: readonly string[]): Promise<PublishedPort[]> {
    const groups: Group[] = [];
    try {
      for (const text of specs) {
        const group = { target, spec: parsePublishSpec(text), entries: [], tried: new Set<number>() };
        groups.push(group);
        this.#reserve(group, groups);
      }
      for (const group of groups) await this.#open(group, groups);
      return groups.flatMap(({ entries }) => entries.map(describe));
    } catch (error) {
      await this.#forgetAll(groups.flatMap(({ entries }) => entries));
      throw asDeckError(error);
    }
  }

  /**
   * Withdraws what one endpoint has published, with all connections that came in by it: all that the texts name, in the
   * words of `parseUnpublishSpec`, or nothing. Throws a `DeckError` when one of them names nothing, or several things.
   */
  async unpublish(endpoint: string, texts: readonly string[]): Promise<PublishedPort[]> {
    const own = this.#of(endpoint);
    const entries = new Set(texts.flatMap((text) => meantEntries(endpoint, own, parseUnpublishSpec(text))));
    await Promise.all(Array.from(entries, (entry) => this.#forget(entry)));
    return Array.from(entries, describe);
  }

  /** Withdraws all that an endpoint has published, also what is being published. Never throws. */
  async withdraw(endpoint: string): Promise<void> {
    await this.#forgetAll(this.#of(endpoint));
  }

  /** What an endpoint has published; in the order of its ports. */
  of(endpoint: string): PublishedPort[] {
    return sorted(this.#of(endpoint)).map(describe);
  }

  /** Everything, with the data plane's numbers. */
  all(): { id: number; network: number; address: string; family: Family; published: PublishedPort }[] {
    return sorted(Array.from(this.#entries)).flatMap((entry) =>
      entry.id === null
        ? []
        : {
            id: entry.id,
            network: entry.network,
            address: formatAddress(entry.family, entry.address),
            family: entry.family,
            published: describe(entry),
          },
    );
  }

  /** The endpoint of one of the data plane's publishes. */
  publisher(id: number): string | null {
    for (const entry of this.#entries) if (entry.id === id) return entry.endpoint;
    return null;
  }

  #of(endpoint: string): Entry[] {
    return Array.from(this.#entries).filter((entry) => entry.endpoint === endpoint);
  }

  /** Takes the ports of one spec. */
  #reserve(group: Group, groups: readonly Group[]): void {
    const { target, spec, tried } = group;
    const { endpoint, network } = target;
    const draft = meantAddresses(target, spec).map(
      ({ family, address }): Omit<Entry, 'hostPorts'> => ({
        endpoint,
        network,
        family,
        address,
        host: spec.host,
        gateway:
          spec.host === null
            ? ((family === 4 ? target.gateways?.ipv4 : target.gateways?.ipv6) ?? null)
            : null,
        sockets: meantSockets(target, spec),
        protocol: spec.protocol,
        ports: spec.ports,
        open: spec.hostPorts === null,
        id: null,
        withdrawn: false,
      }),
    );
    const hostPorts = this.#choose(draft, spec, groups, tried);
    group.entries = draft.map((half) => ({ ...half, hostPorts }));
    for (const entry of group.entries) this.#entries.add(entry);
  }

  /** Tells the data plane of the ports of one spec. One that was chosen, and that the host has given away, is exchanged. */
  async #open(group: Group, groups: readonly Group[]): Promise<void> {
    const { spec, tried } = group;
    for (;;) {
      try {
        for (const entry of group.entries) await this.#openEntry(group, entry);
        return;
      } catch (error) {
        const fixed = spec.hostPorts !== null && size(spec.hostPorts) === size(spec.ports);
        if (fixed || codeOf(error) !== 'EADDRINUSE' || tried.size === MOST_TRIED) throw error;
        tried.add(group.entries[0]!.hostPorts.first);
        const { entries } = group;
        if (entries.some(({ withdrawn }) => withdrawn)) throw left(entries[0]!);
        group.entries = [];
        await Promise.all(entries.map((entry) => this.#forget(entry)));
        this.#reserve(group, groups);
      }
    }
  }

  /** Nobody asked for IPv6 on a host without it, so it is no error there. */
  async #openEntry(group: Group, entry: Entry): Promise<void> {
    try {
      await this.#tell(entry);
    } catch (error) {
      const superfluous = group.spec.family === null && entry.family === 6 && group.entries.length > 1;
      if (!superfluous || codeOf(error) !== 'EAFNOSUPPORT') throw error;
      group.entries = group.entries.filter((other) => other !== entry);
      await this.#forget(entry);
    }
  }

  /** The host ports of a spec, free for every IP version. */
  #choose(
    drafts: readonly Omit<Entry, 'hostPorts'>[],
    spec: PublishSpec,
    groups: readonly Group[],
    tried: ReadonlySet<number>,
  ): PortRange {
    const count = size(spec.ports);
    const free = (hostPorts: PortRange) => !drafts.some((draft) => this.#owner(draft, hostPorts));
    const { hostPorts } = spec;
    if (hostPorts && size(hostPorts) === count) {
      for (const draft of drafts) {
        const owner = this.#owner(draft, hostPorts);
        if (!owner) continue;
        const port = `port ${named(owner)}`;
        const where = owner.host === null ? 'all addresses' : formatAddress(owner.family, owner.host);
        if (groups.some(({ entries }) => entries.includes(owner)))
          throw invalid(`publish ${quote(spec.text)}: ${port} is asked for twice`);
        throw conflict(
          `${port} is published by endpoint ${owner.endpoint} already, on ${where}; choose another host port, or take it away first with "tapdeck unpublish ${owner.endpoint} ${named(owner)}"`,
        );
      }
      return hostPorts;
    }
    const range = hostPorts ?? EPHEMERAL;
    const places = size(range) - count + 1;
    // In a range that somebody chose the lowest is taken, as Docker does it; else one that nobody expects.
    const begin = hostPorts || places < 1 ? 0 : randomInt(places);
    for (let i = 0; i < places; i++) {
      const first = range.first + ((begin + i) % places);
      const chosen = { first, last: first + count - 1 };
      if (!tried.has(first) && free(chosen)) return chosen;
    }
    const needed = count === 1 ? 'port' : `${count} ports in a row`;
    throw unavailable(
      `publish ${quote(spec.text)}: no ${needed} free in ${formatPorts(range)}/${spec.protocol}; take others away or give a host port`,
    );
  }

  /** The entry that has one of these ports already. */
  #owner(draft: Omit<Entry, 'hostPorts'>, hostPorts: PortRange): Entry | undefined {
    for (const entry of this.#entries) {
      if (
        entry.family === draft.family &&
        entry.protocol === draft.protocol &&
        (entry.host === null || draft.host === null || entry.host === draft.host) &&
        overlapping(entry.hostPorts, hostPorts)
      ) {
        return entry;
      }
    }
    return undefined;
  }

  async #tell(entry: Entry): Promise<void> {
    if (entry.withdrawn) throw left(entry);
    const id = await this.#plane.publish(publishOptions(entry), entry.sockets);
    entry.id = id;
    if (!entry.withdrawn) return;
    // Its endpoint left while the data plane was being told.
    await this.#plane.unpublish(id);
    throw left(entry);
  }

  /** Never throws. */
  async #forgetAll(entries: readonly Entry[]): Promise<void> {
    await Promise.all(entries.map((entry) => this.#forget(entry).catch((error) => this.#failed(error))));
  }

  /** Commands are applied in order, so the ports are free for the next from this call on. */
  async #forget(entry: Entry): Promise<void> {
    if (entry.withdrawn) return;
    entry.withdrawn = true;
    this.#entries.delete(entry);
    if (entry.id !== null) await this.#plane.unpublish(entry.id);
  }
}

function left({ endpoint }: Entry): DeckError {
  return notFound(`there is no container ${quote(endpoint)} any more`);
}

/** Name of the errno, of an error of the data plane's. */
function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** The addresses of the endpoint that a spec is about. Throws a `DeckError` when there is none, or the host's is not the deck's. */
function meantAddresses(
  { endpoint, ipv4, ipv6, hosts, sockets }: PublishTarget,
  { text, family, host, ifname }: PublishSpec,
): { family: Family; address: bigint }[] {
  const addresses: { family: Family; address: bigint }[] = [];
  if (ipv4 !== null && family !== 6) addresses.push({ family: 4, address: ipv4 });
  if (ipv6 !== null && family !== 4) addresses.push({ family: 6, address: ipv6 });
  if (addresses.length === 0) {
    throw invalid(`publish ${quote(text)}: endpoint ${endpoint} has no IPv${family} address`);
  }
  if (sockets !== null) return addresses;
  if (ifname !== null) {
    throw invalid(
      `publish ${quote(text)}: ports of endpoint ${endpoint} cannot be on an interface of the host; that takes uplink socket`,
    );
  }
  if (host !== null && !isAmong(hosts, family, host)) {
    const own = hosts
      .filter((known) => known.family === family)
      .map((known) => `${formatAddress(known.family, known.address)} (${known.owner})`);
    throw invalid(
      `publish ${quote(text)}: ports of endpoint ${endpoint} cannot be on ${formatAddress(family!, host)}; use ${own.join(', ') || `IPv${family === 4 ? 6 : 4}`}, or leave it out for all`,
    );
  }
  return addresses;
}

/** On what sockets of the host a spec is to be: none for an address that is the deck's. */
function meantSockets(
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
function meantEntries(endpoint: string, own: readonly Entry[], { by, spec }: UnpublishSpec): Entry[] {
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
        `endpoint ${endpoint} does not publish ${quote(text)} alone; ${named(whole)} goes as a whole, with "tapdeck unpublish ${endpoint} ${named(whole)}"`,
      );
    }
  }
  // What left the host port open is named by the endpoint's port, if that is enough.
  const entries = by === 'place' ? [] : own.filter((entry) => isMeant(entry, spec));
  const names = Array.from(new Set(entries.map(named))).sort();
  if (names.length === 1) return entries;
  if (names.length > 1) {
    throw conflict(
      `endpoint ${endpoint} publishes ${quote(text)} more than once; say which by the host port: ${few(names)}`,
    );
  }
  const some = Array.from(new Set(own.map(named)));
  throw notFound(
    `endpoint ${endpoint} does not publish ${quote(text)}, ${some.length > 0 ? `only ${few(some)}` : 'no port'}; see "tapdeck port ${endpoint}"`,
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
function named({ hostPorts, protocol }: Entry): string {
  return `${formatPorts(hostPorts)}/${protocol}`;
}

function few(names: readonly string[]): string {
  return `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`;
}

function isMeant(entry: Entry, { family, host, ifname, hostPorts, ports, protocol }: PublishSpec): boolean {
  return (
    entry.protocol === protocol &&
    (family === null || entry.family === family) &&
    entry.host === host &&
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

function publishOptions(entry: Entry): PublishOptions {
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

function describe({
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

function sorted(entries: Entry[]): Entry[] {
  return entries.sort(
    (one, other) =>
      one.ports.first - other.ports.first ||
      one.protocol.localeCompare(other.protocol) ||
      one.family - other.family ||
      one.hostPorts.first - other.hostPorts.first,
  );
}
