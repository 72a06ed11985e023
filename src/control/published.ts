import { randomInt } from 'node:crypto';
import type { DataPlane } from '../runtime/data-plane.ts';
import { type Family, formatAddress } from './address.ts';
import { asDeckError, conflict, invalid, unavailable } from './error.ts';
import { quote } from './name.ts';
import {
  formatPorts,
  overlapping,
  type PortRange,
  type PublishProtocol,
  type PublishSpec,
  parsePublishSpec,
  parseUnpublishSpec,
  size,
} from './publish-spec.ts';
import {
  codeOf,
  describe,
  type Entry,
  left,
  meantAddresses,
  meantEntries,
  meantSockets,
  named,
  publishOptions,
  retarget,
  sorted,
  waiting,
  withDefaultHost,
} from './published-entry.ts';

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
  /** The IPv4 address on which ports are published when none is given; null for all addresses. */
  readonly defaultHost: bigint | null;
}

/** The ports out of which one is chosen when none is given: Linux's `ip_local_port_range`, as Docker does it. */
const EPHEMERAL: PortRange = { first: 32768, last: 60999 };

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

  /**
   * Has the ports of a container lead to another of its endpoints: the connections that came in by them end. What cannot be
   * published there waits for an endpoint where it can, and keeps its host ports; answers how many do. Nothing of the container may
   * be being published meanwhile.
   * @param target null while there is none at all
   */
  async move(container: string, target: PublishTarget | null): Promise<number> {
    const moved = this.#of(container).map((entry) => {
      const { id } = entry;
      const next = target ? retarget(entry, target) : waiting(entry);
      this.#entries.delete(entry);
      this.#entries.add(next);
      return { next, id };
    });
    await Promise.all(moved.map(({ id }) => (id === null ? undefined : this.#plane.unpublish(id))));
    await Promise.all(
      moved.map(async ({ next }) => {
        if (next.waiting || next.withdrawn) return;
        try {
          await this.#tell(next);
        } catch (error) {
          if (next.withdrawn) return;
          this.#failed(error);
          this.#entries.delete(next);
          this.#entries.add(waiting(next));
        }
      }),
    );
    return this.#of(container).filter((entry) => entry.waiting).length;
  }

  /** What a container has published; in the order of its ports. */
  of(endpoint: string): PublishedPort[] {
    return sorted(this.#of(endpoint).filter((entry) => !entry.waiting)).map(describe);
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

  /** Who has published something is called otherwise from now on. */
  rename(before: string, endpoint: string): void {
    for (const entry of this.#of(before)) entry.endpoint = endpoint;
  }

  #of(endpoint: string): Entry[] {
    return Array.from(this.#entries).filter((entry) => entry.endpoint === endpoint);
  }

  /** Takes the ports of one spec. */
  #reserve(group: Group, groups: readonly Group[]): void {
    const { target, tried } = group;
    const { endpoint, network } = target;
    const spec = withDefaultHost(group.spec, target);
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
        implied: spec !== group.spec,
        id: null,
        waiting: false,
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
          `${port} is published by container ${owner.endpoint} already, on ${where}; choose another host port, or take it away first with "tapdeck unpublish ${owner.endpoint} ${named(owner)}"`,
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
