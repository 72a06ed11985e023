import { closeSync } from 'node:fs';
import { basename } from 'node:path';
import type { PortId } from '../../switch/frame.ts';
import { formatMac, type Mac } from '../../wire/address.ts';
import type { PortSpec } from '../dataplane/commands.ts';
import type { openTapFor } from '../device/rootless.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { formatAddress, parseStationMac, toInt32, toWords } from './address.ts';
import { type Container, ContainerRecord, type EndpointRecord, firstWayOut } from './container.ts';
import type { DeckEvents } from './deck-events.ts';
import type { AttachOptions, ConnectOptions, Endpoint } from './endpoint.ts';
import { asDeckError, conflict, type DeckError, invalid, notFound, unavailable } from './error.ts';
import { findId, findNamed, newId } from './id.ts';
import { Ifnames } from './ifnames.ts';
import { checkName, DEFAULT_NETWORK, isName, Names, quote } from './name.ts';
import { describeNamespace, type identifyNamespace, type NamespaceTarget } from './namespace.ts';
import { checkMtu, type NetworkRecord } from './network.ts';
import type { Identity, Networks } from './networks.ts';
import { type PublishedPort, type PublishedPorts, type PublishTarget, specOf } from './published.ts';
import type { Undo } from './undo.ts';

export interface ContainersParts {
  plane: DataPlane;
  openTap: typeof openTapFor;
  identify: typeof identifyNamespace;
  networks: Networks;
  published: PublishedPorts;
  events: DeckEvents;
  log(level: 'warn' | 'error', message: string): void;
  undo(): Undo;
  /** Whether nothing new may begin any more. */
  closing(): boolean;
}

/** What a container and its endpoint were before a restart. */
export interface ContainerIdentity extends Identity {
  endpointId: string;
}

/** What makes a container again after a restart, as long as its namespace lives. */
export interface SavedContainer extends Identity {
  name: string;
  /** As the user named it: one of both. */
  netns?: string;
  pid?: number;
  /** Identity of its namespace. */
  namespace: string;
  hostname?: string;
  labels: Record<string, string>;
  /** In the order in which they came. */
  endpoints: SavedEndpoint[];
  /** Published ports, as `parsePublishSpec` reads them. */
  publish: string[];
}

export interface SavedEndpoint extends ConnectOptions {
  id: string;
  network: string;
}

/** An endpoint whose addresses and names are reserved, and nothing else. */
interface Draft {
  readonly container: ContainerRecord;
  readonly network: NetworkRecord;
  readonly endpoint: Omit<Endpoint, 'port' | 'ports'>;
  readonly options: ConnectOptions;
  readonly mac: Mac;
  readonly ipv4: bigint | null;
  readonly ipv6: bigint | null;
  readonly undo: Undo;
}

/** The containers of a deck and their endpoints. */
export class Containers {
  readonly #parts: ContainersParts;
  readonly #names = new Names('container');
  readonly #all = new Map<string, ContainerRecord>();
  /** The container's name by the identity of its namespace, from the moment on that it is being attached. */
  readonly #namespaces = new Map<string, string>();
  readonly #byPort = new Map<PortId, EndpointRecord>();
  readonly #ifnames = new Ifnames();

  constructor(parts: ContainersParts) {
    this.#parts = parts;
  }

  /** The oldest first. */
  list(): Container[] {
    return Array.from(this.#all.values(), (record) => this.#describe(record));
  }

  get(nameOrId: string): Container {
    return this.#describe(this.#find(nameOrId));
  }

  /** All endpoints, those of the oldest container first. */
  endpoints(): Endpoint[] {
    return Array.from(this.#all.values(), ({ endpoints }) =>
      Array.from(endpoints.values(), ({ endpoint }) => endpoint),
    ).flat();
  }

  /** An endpoint by its id, or that by which the container of a name leaves. */
  endpoint(nameOrId: string): Endpoint {
    const named = this.#all.get(nameOrId);
    const found = named ? undefined : findId(this.endpoints(), nameOrId, ({ id }) => id);
    if (found) return found;
    const { wayOut, endpoints, name } = this.#find(nameOrId);
    const record = wayOut ?? endpoints.values().next().value;
    if (!record) throw notFound(`container ${name} is in no network; see "tapdeck network connect --help"`);
    return record.endpoint;
  }

  /** Whose port it is. */
  atPort(port: PortId): EndpointRecord | undefined {
    return this.#byPort.get(port);
  }

  /** All of them, the oldest first, as a later deck can make them again. */
  save(): SavedContainer[] {
    return Array.from(this.#all.values()).flatMap((record) => (record.leaving ? [] : this.#save(record)));
  }

  #save({
    id,
    name,
    createdAt,
    netns,
    pid,
    namespace,
    hostname,
    labels,
    endpoints,
  }: ContainerRecord): SavedContainer {
    return {
      id,
      name,
      createdAt,
      ...(netns !== null && { netns }),
      ...(pid !== null && { pid }),
      namespace,
      ...(hostname !== null && { hostname }),
      labels: { ...labels },
      endpoints: Array.from(endpoints.values()).flatMap(({ endpoint, leaving, faults }) =>
        leaving
          ? []
          : {
              id: endpoint.id,
              network: endpoint.network,
              ...(endpoint.ipv4 !== null && { ip: endpoint.ipv4 }),
              ...(endpoint.ipv6 !== null && { ip6: endpoint.ipv6 }),
              mac: endpoint.mac,
              ifname: endpoint.ifname,
              mtu: endpoint.mtu,
              aliases: [...endpoint.aliases],
              links: [...endpoint.links],
              gatewayPriority: endpoint.gatewayPriority,
              allowSpoof: endpoint.allowSpoof,
              ...(faults !== undefined && { faults }),
            },
      ),
      publish: this.#parts.published.of(name).map(specOf),
    };
  }

  /** Puts containers that came all at once into the order in which they are the oldest first; others come after them. */
  arrange(ids: readonly string[]): void {
    const records = Array.from(this.#all.values());
    const place = ({ id }: ContainerRecord) => (ids.includes(id) ? ids.indexOf(id) : ids.length);
    records.sort((one, other) => place(one) - place(other));
    this.#all.clear();
    for (const record of records) this.#all.set(record.name, record);
  }

  /** Makes a container again that was in no network. */
  restoreAlone(options: AttachOptions, was: Identity): void {
    const undo = this.#parts.undo();
    const container = this.#reserve(targetOf(options), options, undo, was);
    this.#all.set(container.name, container);
    this.#parts.events.emit('container', { action: 'create', container: this.#describe(container) });
  }

  /** Makes a container of a network namespace and connects it to its first network. */
  async attach(options: AttachOptions, was?: ContainerIdentity): Promise<Endpoint> {
    const { networks, published, events } = this.#parts;
    const undo = this.#parts.undo();
    try {
      // Everything that two attaches could both want is reserved before the first `await`.
      const target = targetOf(options);
      const network = networks.get(options.network ?? DEFAULT_NETWORK);
      const container = this.#reserve(target, options, undo, was);
      const { name } = container;
      const draft = this.#draft(container, network, options, undo, was?.endpointId);
      // Before anything is made: a port that cannot be had costs nothing then.
      undo.add(() => void published.withdraw(name));
      await this.#publishAt(draft, options.publish ?? []);
      const record = await this.#open(draft);

      this.#all.set(name, container);
      events.emit('container', { action: 'create', container: this.#describe(container) });
      this.#enter(record);
      if (record.endpoint.ports.length > 0) this.#tellPorts(container);
      return record.endpoint;
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  /** Connects a container to a further network. */
  connect(
    networkName: string,
    nameOrId: string,
    options: ConnectOptions = {},
    was?: { endpointId: string },
  ): Promise<Endpoint> {
    const container = this.#present(nameOrId);
    return container.inTurn(async () => {
      const undo = this.#parts.undo();
      try {
        const { name, endpoints, target, namespace } = this.#present(container.id);
        const network = this.#parts.networks.get(networkName);
        if (endpoints.has(network.name)) {
          throw conflict(
            `container ${name} is in network ${network.name} already; disconnect it first to connect it otherwise`,
          );
        }
        if (this.#parts.identify(target) !== namespace) {
          throw conflict(
            `the namespace of container ${name} is not that of ${describeNamespace(target)} any more; detach it and attach it again`,
          );
        }
        const draft = this.#draft(container, network, options, undo, was?.endpointId);
        const record = await this.#open(draft);
        this.#enter(record);
        return record.endpoint;
      } catch (error) {
        undo.run();
        throw asDeckError(error);
      }
    });
  }

  /** Takes a container out of a network: that interface disappears. The container stays, also without any. */
  disconnect(networkName: string, nameOrId: string): Promise<Endpoint> {
    const container = this.#present(nameOrId);
    return container.inTurn(async () => {
      const network = this.#parts.networks.get(networkName);
      const record = container.endpoints.get(network.name);
      if (!record || record.leaving) {
        const others = Array.from(container.endpoints.keys()).join(', ');
        throw notFound(
          `container ${container.name} is not in network ${network.name}; it is in ${others || 'none'}`,
        );
      }
      await this.#leave(record, 'detach');
      return record.endpoint;
    });
  }

  /** Removes a container with all its endpoints, given by its name or id, or by the id of an endpoint. */
  async detach(nameOrId: string): Promise<Container> {
    const record = this.#present(nameOrId);
    const container = this.#describe(record);
    await this.#remove(record, 'detach');
    return container;
  }

  /** Publishes ports of a container. */
  async publish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    const container = this.#present(nameOrId);
    const record = container.wayOut;
    if (!record) throw noWayOut(container);
    try {
      return await this.#parts.published.publish(this.#publishTarget(record), specs);
    } finally {
      // Also when it failed: somebody may have looked while some of it was there.
      this.#showPorts(container);
    }
  }

  async unpublish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    const container = this.#present(nameOrId);
    const withdrawn = await this.#parts.published.unpublish(container.name, specs);
    this.#showPorts(container);
    return withdrawn;
  }

  /** The device of a port has vanished. Without its last interface a container is gone. */
  gone(port: PortId): void {
    const record = this.#byPort.get(port);
    if (!record) return;
    const { container } = record;
    const isLast = Array.from(container.endpoints.values()).every(
      (other) => other === record || other.leaving,
    );
    void (isLast ? this.#remove(container, 'gone') : this.#leave(record, 'gone'));
  }

  /** Removes all containers. */
  async removeAll(why: 'detach' | 'gone'): Promise<void> {
    await Promise.allSettled(Array.from(this.#all.values(), (record) => this.#remove(record, why)));
  }

  /** Takes name and namespace of a container to be. */
  #reserve(
    target: NamespaceTarget,
    { name: wanted, hostname, labels = {} }: AttachOptions,
    undo: Undo,
    was?: Identity,
  ): ContainerRecord {
    const namespace = this.#parts.identify(target);
    const owner = this.#namespaces.get(namespace);
    if (owner !== undefined) {
      throw conflict(
        `${describeNamespace(target)} is container ${owner} already; connect it to further networks with "tapdeck network connect NETWORK ${owner}"`,
      );
    }
    const id = was?.id ?? newId();
    const name = this.#names.reserve(wanted ?? this.#proposeName(target) ?? `container-${id.slice(0, 8)}`);
    undo.add(() => this.#names.release(name));
    this.#namespaces.set(namespace, name);
    undo.add(() => void this.#namespaces.delete(namespace));
    return new ContainerRecord({
      id,
      name,
      target,
      namespace,
      labels: Object.freeze({ ...labels }),
      hostname: hostname === undefined ? null : checkName('host', hostname),
      createdAt: was?.createdAt ?? new Date().toISOString(),
    });
  }

  /** The namespace's file name: `blue` of /run/netns/blue. */
  #proposeName(target: NamespaceTarget): string | undefined {
    if (!('path' in target) || target.path.startsWith('/proc/')) return undefined;
    const name = basename(target.path);
    return isName(name) && !this.#names.has(name) ? name : undefined;
  }

  /** Takes everything that an endpoint needs for itself alone; synchronous, so that two never get the same. */
  #draft(
    container: ContainerRecord,
    network: NetworkRecord,
    options: ConnectOptions,
    undo: Undo,
    id = newId(),
  ): Draft {
    const { name } = container;
    network.members.add(name);
    undo.add(() => void network.members.delete(name));
    const ipv4 = network.reserveAddress(4, options.ip, undo);
    const ipv6 = network.reserveAddress(6, options.ip6, undo);
    const mac = options.mac
      ? network.reserveMac(parseStationMac(options.mac), options.mac)
      : network.deriveMac(ipv4, ipv6);
    undo.add(() => network.releaseMac(mac));
    const mtu = checkMtu(options.mtu ?? network.mtu, ipv6 !== null, network.mtu);
    const place = describeNamespace(container.target);
    const ifname = this.#ifnames.reserve(container.namespace, options.ifname, place, undo);
    const endpoint = {
      id,
      name,
      container: name,
      containerId: container.id,
      network: network.name,
      ifname,
      mac: formatMac(mac.hi, mac.lo),
      mtu,
      ipv4: ipv4 === null ? null : formatAddress(4, ipv4),
      ipv6: ipv6 === null ? null : formatAddress(6, ipv6),
      ipv6Outside: network.outside(ipv6),
      netns: container.netns,
      pid: container.pid,
      aliases: Object.freeze(checkAliases(options.aliases)),
      links: Object.freeze(checkLinks(options.links)),
      gatewayPriority: checkPriority(options.gatewayPriority ?? 0),
      allowSpoof: options.allowSpoof ?? false,
      createdAt: new Date().toISOString(),
    };
    return { container, network, endpoint, options, mac, ipv4, ipv6, undo };
  }

  /** Makes the interface and the port of an endpoint. */
  async #open({
    container,
    network,
    endpoint,
    options,
    mac,
    ipv4,
    ipv6,
    undo,
  }: Draft): Promise<EndpointRecord> {
    const { openTap, plane } = this.#parts;
    const { ifname, mtu } = endpoint;
    const leads = firstWayOut([...container.endpoints.values(), { network, endpoint }]);
    const isFirst = container.wayOut === null && leads !== null;
    const tap = await openTap({
      netns: 'path' in container.target ? container.target.path : container.target.pid,
      ifname,
      mac: endpoint.mac,
      mtu,
      addresses: [
        ...(ipv4 === null ? [] : [`${endpoint.ipv4}/${network.ipv4!.subnet.prefix}`]),
        ...(ipv6 === null ? [] : [`${endpoint.ipv6}/${network.ipv6!.subnet.prefix}`]),
      ],
      // A namespace has one default route.
      ...(isFirst && ipv4 !== null && { gateway4: formatAddress(4, network.ipv4!.gateway) }),
      ...(isFirst && ipv6 !== null && { gateway6: formatAddress(6, network.ipv6!.gateway) }),
    });
    if (this.#parts.closing()) {
      closeSync(tap.fd);
      throw unavailable('the deck is closing; start it again');
    }
    const spec: PortSpec = { network: network.number, mac, mtu };
    if (ipv4 !== null) spec.ipv4 = toInt32(ipv4);
    if (ipv6 !== null) spec.ipv6 = toWords(ipv6);
    const port = await plane.addTap(tap, spec, options.faults);
    const ports = this.#parts.published.of(container.name);
    return {
      endpoint: Object.freeze({ ...endpoint, port, ports: container.wayOut ? [] : ports }),
      container,
      network,
      ipv4,
      ipv6,
      faults: options.faults,
      release: () => undo.run(),
      leaving: null,
    };
  }

  /** From here on the endpoint is there for all to see. */
  #enter(record: EndpointRecord): void {
    record.container.endpoints.set(record.network.name, record);
    this.#byPort.set(record.endpoint.port, record);
    this.#parts.events.emit('attach', record.endpoint);
  }

  /** Removes a container; once, whoever asks. */
  #remove(record: ContainerRecord, why: 'detach' | 'gone'): Promise<void> {
    record.leaving ??= (async () => {
      const { name, endpoints } = record;
      await this.#parts.published.withdraw(name);
      const container = this.#describe(record);
      await Promise.all(Array.from(endpoints.values(), (endpoint) => this.#leave(endpoint, why)));
      this.#all.delete(name);
      this.#names.release(name);
      this.#namespaces.delete(record.namespace);
      this.#parts.events.emit('container', { action: 'remove', container });
    })();
    return record.leaving;
  }

  /** Removes an endpoint's port, then gives back what was reserved for it; once, whoever asks. */
  #leave(record: EndpointRecord, why: 'detach' | 'gone'): Promise<void> {
    record.leaving ??= (async () => {
      const { endpoint, container, network } = record;
      this.#byPort.delete(endpoint.port);
      try {
        if (why === 'detach') await this.#parts.plane.removePort(endpoint.port);
      } catch (error) {
        this.#parts.log(
          'error',
          `cannot remove the port of container ${endpoint.name} in network ${network.name}: ${(error as Error).message}`,
        );
      }
      container.endpoints.delete(network.name);
      record.release();
      this.#parts.events.emit(why, endpoint);
    })();
    return record.leaving;
  }

  #find(nameOrId: string): ContainerRecord {
    const endpoint = () => findId(this.endpoints(), nameOrId, ({ id }) => id)?.container ?? '';
    const record = findNamed(this.#all, nameOrId) ?? this.#all.get(endpoint());
    if (!record) throw notFound(`there is no container ${quote(nameOrId)}; see "tapdeck ps"`);
    return record;
  }

  /** A container that is not being detached. */
  #present(nameOrId: string): ContainerRecord {
    const record = this.#find(nameOrId);
    if (record.leaving) throw notFound(`there is no container ${quote(nameOrId)}; see "tapdeck ps"`);
    return record;
  }

  #describe(record: ContainerRecord): Container {
    return record.describe(this.#parts.published.of(record.name));
  }

  #publishTarget({
    container,
    network,
    ipv4,
    ipv6,
  }: Pick<Draft, 'container' | 'network' | 'ipv4' | 'ipv6'>): PublishTarget {
    return { endpoint: container.name, ipv4, ipv6, ...this.#parts.networks.publishPlace(network) };
  }

  /** Publishes what a container is to have from the start on. */
  async #publishAt(draft: Draft, specs: readonly string[]): Promise<void> {
    if (specs.length === 0) return;
    if (draft.network.way.internal) throw noWayOut(draft.container, draft.network);
    await this.#parts.published.publish(this.#publishTarget(draft), specs);
  }

  #showPorts(container: ContainerRecord): void {
    const ports = this.#parts.published.of(container.name);
    const { wayOut } = container;
    for (const record of container.endpoints.values()) {
      record.endpoint = Object.freeze({ ...record.endpoint, ports: record === wayOut ? ports : [] });
    }
    this.#tellPorts(container);
  }

  #tellPorts({ name }: ContainerRecord): void {
    const ports = this.#parts.published.of(name);
    this.#parts.events.emit('publish', { action: 'change', container: name, ports });
  }
}

function noWayOut({ name }: ContainerRecord, network?: NetworkRecord): DeckError {
  return invalid(
    network
      ? `ports of ${name} cannot be published: network ${network.name} is internal; leave -p out, or use a network that is not`
      : `ports of ${name} cannot be published: it is in no network that leads out; connect it to one that is not internal first`,
  );
}

function targetOf({ netns, pid }: AttachOptions): NamespaceTarget {
  if (netns !== undefined && pid === undefined) return { path: netns };
  if (pid !== undefined && netns === undefined) return { pid };
  throw invalid('give either the path of a network namespace or a process in it, and not both');
}

function checkAliases(aliases: readonly string[] = []): string[] {
  return Array.from(new Set(aliases.map((alias) => checkName('alias', alias))));
}

/** As `name:alias`, both of them names. */
function checkLinks(links: readonly string[] = []): string[] {
  return links.map((link) => {
    const [name = '', alias = name, ...more] = link.split(':');
    if (more.length > 0 || !isName(name) || !isName(alias)) {
      throw invalid(`link ${quote(link)} is not a container and a name for it; write it as in db:database`);
    }
    return `${name}:${alias}`;
  });
}

function checkPriority(priority: number): number {
  if (Number.isInteger(priority) && Math.abs(priority) <= 2 ** 31 - 1) return priority;
  throw invalid(`gateway priority ${priority} is not a whole number; the highest one is the way out`);
}
