import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { closeSync } from 'node:fs';
import { basename } from 'node:path';
import type { PortId } from '../../switch/frame.ts';
import { formatMac } from '../../wire/address.ts';
import type { ConntrackOptions, PortSpec } from '../dataplane/commands.ts';
import { closeStaging } from '../device/attach.ts';
import { hostAddresses } from '../device/host-addresses.ts';
import { openPacket } from '../device/packet-socket.ts';
import { openTapFor } from '../device/rootless.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { DataPlaneThread } from '../runtime/thread.ts';
import { formatAddress, formatSubnet, parseStationMac, toInt32, toWords } from './address.ts';
import type { AttachOptions, Endpoint } from './endpoint.ts';
import { asDeckError, conflict, invalid, notFound, unavailable } from './error.ts';
import type { FlowQuery } from './flow-filter.ts';
import { type FlowEventView, type FlowPageView, Flows, type FlowView } from './flows.ts';
import { Ifnames } from './ifnames.ts';
import { AddressPool, DEFAULT_IPV4_SUBNET, DEFAULT_IPV6_SUBNET, Subnets } from './ipam.ts';
import { DEFAULT_NETWORK, isName, Names, quote } from './name.ts';
import { describeNamespace, identifyNamespace, type NamespaceTarget } from './namespace.ts';
import {
  type CreateNetworkOptions,
  checkMtu,
  DEFAULT_MTU,
  type NetworkInfo,
  NetworkRecord,
} from './network.ts';
import { type HostAddress, type PublishedPort, PublishedPorts, type PublishTarget } from './published.ts';
import { type ChainView, type RuleNetwork, viewRules } from './rules.ts';
import { DEFAULT_UPLINK } from './socket-uplink-spec.ts';
import { Undo } from './undo.ts';
import { type UplinkInfo, Uplinks } from './uplink.ts';
import type { UplinkSpec } from './uplink-spec.ts';
import {
  type CountersView,
  type DropView,
  type FdbView,
  type NeighborView,
  type PortName,
  viewDrops,
  viewFdb,
  viewLedger,
  viewNeighbors,
} from './views.ts';
import { chooseWayOut } from './way-out.ts';

export interface DeckOptions {
  /** For hashes and random choices of the data plane; drawn at random by default. */
  seed?: number;
  /** How connections are tracked. */
  conntrack?: ConntrackOptions;
  /**
   * Ways out, as `parseUplinkSpec` reads them; networks leave by the first unless they name another. One of kind `socket`
   * by default.
   */
  uplinks?: readonly (UplinkSpec | string)[];
  /** Whether endpoints of network `bridge` reach the loopback of the host; no by default. */
  hostLoopback?: boolean;
  /** Told what goes wrong without an answer to give it in; by default nobody is. */
  log?: (level: 'warn' | 'error', message: string) => void;
}

/** What a deck stands on; tests put other things there. */
export interface DeckParts {
  dataPlane: DataPlane;
  openTap: typeof openTapFor;
  openPacket: typeof openPacket;
  hostAddresses: typeof hostAddresses;
  identify: typeof identifyNamespace;
}

/**
 * What happened to endpoints. `gone`: its namespace vanished; `detach`: somebody asked for it, or the deck closed. And to the
 * deck: `end` when its data plane has failed, after all endpoints are gone; there is nothing left to do but close it.
 */
export interface DeckEvents {
  attach: [Endpoint];
  detach: [Endpoint];
  gone: [Endpoint];
  end: [Error];
}

/** What the deck knows of an endpoint beyond what it shows. */
interface EndpointRecord {
  endpoint: Endpoint;
  network: NetworkRecord;
  ipv4: bigint | null;
  ipv6: bigint | null;
  /** Identity of its namespace. */
  namespace: string;
  /** Gives back everything that was reserved for it. */
  release: () => void;
  /** Set from the moment on that it is being detached. */
  leaving: Promise<void> | null;
}

/**
 * A switch with its networks and endpoints: what the daemon drives, and what a program drives that wants one
 * of its own.
 *
 * ```ts
 * await using deck = await Deck.open();
 * const web = await deck.attach({ netns: '/run/netns/web', name: 'web' });
 * console.log(web.ipv4);
 * ```
 *
 * All methods throw a `DeckError` for what a user can do something about; what failed half-way is undone.
 */
export class Deck {
  readonly events = new EventEmitter<DeckEvents>();
  readonly #plane: DataPlane;
  readonly #parts: DeckParts;
  readonly #log: NonNullable<DeckOptions['log']>;
  readonly #subnets = new Subnets();
  readonly #uplinks: Uplinks;
  readonly #networkNames = new Names('network');
  readonly #endpointNames = new Names('endpoint');
  readonly #networks = new Map<string, NetworkRecord>();
  readonly #endpoints = new Map<string, EndpointRecord>();
  readonly #byPort = new Map<PortId, EndpointRecord>();
  readonly #ifnames = new Ifnames();
  /** Operations under way, which `close` waits for. */
  readonly #busy = new Set<Promise<unknown>>();
  readonly #published: PublishedPorts;
  readonly #flows: Flows;
  #closing: Promise<void> | null = null;

  /** Starts a data plane with one network, `bridge`. */
  static async open(options: DeckOptions = {}): Promise<Deck> {
    const { seed, conntrack } = options;
    const dataPlane = await DataPlaneThread.start({
      ...(seed !== undefined && { seed }),
      ...(conntrack && { conntrack }),
    });
    const parts = { dataPlane, openTap: openTapFor, openPacket, hostAddresses, identify: identifyNamespace };
    return Deck.assemble(parts, { uplinks: [DEFAULT_UPLINK], ...options });
  }

  /** As `open`, on parts of the caller's choice, which the deck owns from now on; without uplinks if none are given. */
  static async assemble(parts: DeckParts, options: DeckOptions = {}): Promise<Deck> {
    const deck = new Deck(parts, options);
    try {
      await deck.#operation(() => deck.#uplinks.open(options.uplinks ?? []));
      await deck.createNetwork({
        name: DEFAULT_NETWORK,
        // An uplink is where the world has it; the default network goes elsewhere.
        ...(deck.#subnets.isFree(4, DEFAULT_IPV4_SUBNET) && { subnet: DEFAULT_IPV4_SUBNET }),
        ipv6: true,
        ...(deck.#subnets.isFree(6, DEFAULT_IPV6_SUBNET) && { ipv6Subnet: DEFAULT_IPV6_SUBNET }),
        ...(options.hostLoopback && { hostLoopback: true }),
      });
      return deck;
    } catch (error) {
      await deck.close();
      throw error;
    }
  }

  private constructor(parts: DeckParts, { log = () => {} }: DeckOptions) {
    this.#parts = parts;
    this.#plane = parts.dataPlane;
    this.#uplinks = new Uplinks(parts, this.#subnets);
    this.#log = log;
    this.#plane.onLog(log);
    this.#plane.onPortGone((port) => this.#gone(port));
    this.#plane.onEnd((error) => this.#ended(error));
    this.#published = new PublishedPorts(this.#plane, (error) =>
      log('error', `cannot take back a published port: ${(error as Error).message}`),
    );
    this.#flows = new Flows(this.#plane, {
      networkName: (network) => this.#networkName(network),
      networkNumber: (nameOrId) => this.#segmentNumber(nameOrId),
      publisher: (publish) => this.#published.publisher(publish),
    });
  }

  createNetwork(options: CreateNetworkOptions): Promise<NetworkInfo> {
    return this.#operation(() => this.#createNetwork(options));
  }

  /** Removes a network without endpoints, given by name or id. */
  removeNetwork(nameOrId: string): Promise<NetworkInfo> {
    return this.#operation(() => this.#removeNetwork(nameOrId));
  }

  /** Connects a network namespace to a network. */
  attach(options: AttachOptions): Promise<Endpoint> {
    return this.#operation(() => this.#attach(options));
  }

  /** Disconnects an endpoint, given by name or id: its interface disappears from the namespace. */
  detach(nameOrId: string): Promise<Endpoint> {
    return this.#operation(async () => {
      const record = this.#present(nameOrId);
      await this.#leave(record, 'detach');
      return record.endpoint;
    });
  }

  /** All networks, the oldest first. */
  networks(): NetworkInfo[] {
    return Array.from(this.#networks.values(), (network) => network.describe());
  }

  network(nameOrId: string): NetworkInfo {
    return this.#network(nameOrId).describe();
  }

  /** The ways out, the default first. */
  uplinks(): UplinkInfo[] {
    return this.#uplinks.list();
  }

  /** All endpoints, the oldest first. */
  endpoints(): Endpoint[] {
    return Array.from(this.#endpoints.values(), ({ endpoint }) => endpoint);
  }

  endpoint(nameOrId: string): Endpoint {
    const record = find(this.#endpoints, nameOrId, ({ endpoint }) => endpoint.id);
    if (!record) throw notFound(`there is no endpoint ${quote(nameOrId)}; see "tapdeck ps"`);
    return record.endpoint;
  }

  /**
   * Publishes ports of an endpoint, in Docker's grammar: all of them or, when one cannot be had, none.
   *
   * ```ts
   * await deck.publish('web', ['8080:80', '192.0.2.2:53:53/udp']);
   * ```
   */
  publish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    return this.#operation(async () => {
      const record = this.#present(nameOrId);
      try {
        return await this.#published.publish(this.#publishTarget(record), specs);
      } finally {
        // Also when it failed: somebody may have looked while some of it was there.
        this.#showPorts(record);
      }
    });
  }

  /**
   * Withdraws published ports, with all connections that came in by them.
   * @param specs as they were published, `8080:80`; the host ports alone, `8080`, `53/udp`; or the places, `0.0.0.0:8080`. All
   *   of them go, or none.
   */
  unpublish(nameOrId: string, specs: string | readonly string[]): Promise<PublishedPort[]> {
    return this.#operation(async () => {
      const record = this.#present(nameOrId);
      const withdrawn = await this.#published.unpublish(record.endpoint.name, [specs].flat());
      this.#showPorts(record);
      return withdrawn;
    });
  }

  /** The connections that are tracked, a part of the table at a time: what begins and ends meanwhile may be missing. */
  flows(query: FlowQuery = {}): Promise<FlowView[]> {
    return this.#operation(() => this.#flows.list(query));
  }

  /** One such part, for tables that are too long to be had in one piece: 0 is the first, `next` where the next begins. */
  flowPage(query: FlowQuery = {}, from = 0): Promise<FlowPageView> {
    return this.#operation(() => this.#flows.page(query, from));
  }

  /** Forgets connections; answers how many. */
  closeFlows(query: FlowQuery = {}): Promise<number> {
    return this.#operation(() => this.#flows.close(query));
  }

  /** Tells `listener` what happens to connections, until the answered function is called. */
  watchFlows(listener: (event: FlowEventView) => void, query: FlowQuery = {}): Promise<() => Promise<void>> {
    return this.#operation(() => this.#flows.watch(query, listener));
  }

  /** How many connections are tracked, and how many can be. */
  async countFlows(): Promise<{ entries: number; capacity: number }> {
    return (await this.#operation(() => this.#plane.snapshot({}))).conntrack;
  }

  /** What is done to packets, as the chains of rules that Docker would have made for it. */
  async rules(): Promise<ChainView[]> {
    const { rules } = await this.#operation(() => this.#plane.snapshot({ rules: true }));
    const networks = Array.from(this.#networks.values(), (network) => this.#ruleNetwork(network));
    const uplinks = this.#uplinks.all();
    return viewRules({ networks, uplinks, published: this.#published.all(), counters: rules });
  }

  /** The filtering database: which address is behind which port. */
  async fdb(): Promise<FdbView[]> {
    const { fdb } = await this.#operation(() => this.#plane.snapshot({ fdb: true }));
    return viewFdb(fdb, (port, network) => this.#portName(port, network));
  }

  /** The neighbors of all gateways. */
  async neighbors(): Promise<NeighborView[]> {
    const { neighbors } = await this.#operation(() => this.#plane.snapshot({ neighbors: true }));
    return viewNeighbors(neighbors, (network) => this.#networkName(network));
  }

  /** All drop reasons with their counts, those that never occurred too. */
  async drops(): Promise<DropView[]> {
    const { ledger } = await this.#operation(() => this.#plane.snapshot({}));
    return viewDrops(ledger.drops);
  }

  /** The account of all frames, and the counters of all ports. */
  async counters(): Promise<CountersView> {
    const { ledger, ports } = await this.#operation(() => this.#plane.snapshot({ ports: true }));
    return {
      ledger: viewLedger(ledger),
      ports: ports.map(({ network, ...counters }) => ({
        ...this.#portName(counters.port, network),
        ...counters,
      })),
    };
  }

  /** Detaches everything and ends the data plane. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#busy);
    await Promise.allSettled(Array.from(this.#endpoints.values(), (record) => this.#leave(record, 'detach')));
    this.#uplinks.close();
    await this.#plane.close();
    closeStaging();
    this.#networks.clear();
  }

  async #createNetwork(options: CreateNetworkOptions): Promise<NetworkInfo> {
    const undo = this.#undo();
    try {
      const name = this.#networkNames.reserve(options.name);
      undo.add(() => this.#networkNames.release(name));
      // Both are named by `conntrack --network`, and are the interfaces of `rules`.
      if (this.#uplinks.all().some((uplink) => uplink.name === name)) {
        throw conflict(`there is an uplink ${name} already; choose another name for the network`);
      }
      const ipv6 = options.ipv6 || options.ipv6Subnet !== undefined;
      if (!ipv6 && options.ipv6Gateway !== undefined) {
        throw invalid(
          `gateway ${options.ipv6Gateway}: network ${name} has no IPv6; add --ipv6 or an IPv6 subnet`,
        );
      }
      const mtu = checkMtu(options.mtu ?? DEFAULT_MTU, ipv6);
      const pool = (family: 4 | 6, text?: string, gateway?: string) => {
        const subnet = this.#subnets.reserve(family, text, `network ${name}`);
        undo.add(() => this.#subnets.release(subnet));
        return new AddressPool(subnet, gateway);
      };
      const pool4 = pool(4, options.subnet, options.gateway);
      const pool6 = ipv6 ? pool(6, options.ipv6Subnet, options.ipv6Gateway) : null;
      const network = new NetworkRecord({
        id: newId(),
        name,
        mtu,
        createdAt: new Date().toISOString(),
        ipv4: pool4,
        ipv6: pool6,
        way: chooseWayOut(options, pool6?.subnet ?? null, this.#uplinks, this.#subnets, undo),
      });
      network.number = await this.#plane.addNetwork(network.options());
      this.#networks.set(name, network);
      return network.describe();
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  async #removeNetwork(nameOrId: string): Promise<NetworkInfo> {
    const network = this.#network(nameOrId);
    const { name } = network;
    if (name === DEFAULT_NETWORK) throw invalid(`network ${name} is there by default and cannot be removed`);
    if (network.members.size > 0) {
      const some = Array.from(network.members).slice(0, 3).join(', ');
      throw conflict(`network ${name} has endpoints (${some}); detach them first`);
    }
    // From here on nobody can attach to it; its name and subnets are free when it is gone.
    this.#networks.delete(name);
    try {
      await this.#plane.removeNetwork(network.number);
    } catch (error) {
      this.#networks.set(name, network);
      throw asDeckError(error);
    }
    this.#networkNames.release(name);
    if (network.ipv4) this.#subnets.release(network.ipv4.subnet);
    if (network.ipv6) this.#subnets.release(network.ipv6.subnet);
    if (network.way.npt) this.#subnets.release(network.way.npt);
    return network.describe();
  }

  async #attach(options: AttachOptions): Promise<Endpoint> {
    const undo = this.#undo();
    try {
      // Everything that two attaches could both want is reserved before the first `await`.
      const target = targetOf(options);
      const network = this.#network(options.network ?? DEFAULT_NETWORK);
      const namespace = this.#parts.identify(target);
      const id = newId();
      const name = this.#reserveName(options.name, target, id, undo);
      network.members.add(name);
      undo.add(() => void network.members.delete(name));
      const ipv4 = network.reserveAddress(4, options.ip, undo);
      const ipv6 = network.reserveAddress(6, options.ip6, undo);
      const mac = options.mac
        ? network.reserveMac(parseStationMac(options.mac), options.mac)
        : network.deriveMac(ipv4, ipv6);
      undo.add(() => network.releaseMac(mac));
      const mtu = checkMtu(options.mtu ?? network.mtu, ipv6 !== null, network.mtu);
      const first = !this.#ifnames.areIn(namespace);
      const ifname = this.#ifnames.reserve(namespace, options.ifname, describeNamespace(target), undo);
      // Before anything is made: a port that cannot be had costs nothing then.
      undo.add(() => void this.#published.withdraw(name));
      const place = this.#publishPlace(network);
      await this.#published.publish({ endpoint: name, ipv4, ipv6, ...place }, options.publish ?? []);

      const tap = await this.#parts.openTap({
        netns: 'path' in target ? target.path : target.pid,
        ifname,
        mac: formatMac(mac.hi, mac.lo),
        mtu,
        addresses: [
          ...(ipv4 === null ? [] : [`${formatAddress(4, ipv4)}/${network.ipv4!.subnet.prefix}`]),
          ...(ipv6 === null ? [] : [`${formatAddress(6, ipv6)}/${network.ipv6!.subnet.prefix}`]),
        ],
        // A namespace has one default route: its first endpoint's.
        ...(first && ipv4 !== null && { gateway4: formatAddress(4, network.ipv4!.gateway) }),
        ...(first && ipv6 !== null && { gateway6: formatAddress(6, network.ipv6!.gateway) }),
      });
      if (this.#closing) {
        closeSync(tap.fd);
        throw closed();
      }
      const spec: PortSpec = { network: network.number, mac, mtu };
      if (ipv4 !== null) spec.ipv4 = toInt32(ipv4);
      if (ipv6 !== null) spec.ipv6 = toWords(ipv6);
      const port = await this.#plane.addTap(tap, spec, options.faults);

      const endpoint: Endpoint = Object.freeze({
        id,
        name,
        network: network.name,
        ifname,
        mac: formatMac(mac.hi, mac.lo),
        mtu,
        ipv4: ipv4 === null ? null : formatAddress(4, ipv4),
        ipv6: ipv6 === null ? null : formatAddress(6, ipv6),
        ipv6Outside: network.outside(ipv6),
        port,
        netns: 'path' in target ? target.path : null,
        pid: 'pid' in target ? target.pid : null,
        ports: this.#published.of(name),
        createdAt: new Date().toISOString(),
      });
      const record: EndpointRecord = {
        endpoint,
        network,
        namespace,
        ipv4,
        ipv6,
        release: () => undo.run(),
        leaving: null,
      };
      this.#endpoints.set(name, record);
      this.#byPort.set(port, record);
      this.events.emit('attach', endpoint);
      return endpoint;
    } catch (error) {
      undo.run();
      throw asDeckError(error);
    }
  }

  #reserveName(wanted: string | undefined, target: NamespaceTarget, id: string, undo: Undo): string {
    const name = wanted ?? this.#proposeName(target) ?? `endpoint-${id.slice(0, 8)}`;
    const reserved = this.#endpointNames.reserve(name);
    undo.add(() => this.#endpointNames.release(reserved));
    return reserved;
  }

  /** The namespace's file name: `blue` of /run/netns/blue. */
  #proposeName(target: NamespaceTarget): string | undefined {
    if (!('path' in target) || target.path.startsWith('/proc/')) return undefined;
    const name = basename(target.path);
    return isName(name) && !this.#endpointNames.has(name) ? name : undefined;
  }

  /** Removes an endpoint's port, then gives back what was reserved for it; once, whoever asks. */
  #leave(record: EndpointRecord, why: 'detach' | 'gone'): Promise<void> {
    record.leaving ??= (async () => {
      const { endpoint } = record;
      this.#byPort.delete(endpoint.port);
      await this.#published.withdraw(endpoint.name);
      try {
        if (why === 'detach') await this.#plane.removePort(endpoint.port);
      } catch (error) {
        this.#log(
          'error',
          `cannot remove the port of endpoint ${endpoint.name}: ${(error as Error).message}`,
        );
      }
      this.#endpoints.delete(endpoint.name);
      record.release();
      this.events.emit(why, endpoint);
    })();
    return record.leaving;
  }

  #gone(port: PortId): void {
    const record = this.#byPort.get(port);
    if (record) void this.#leave(record, 'gone');
    const uplink = this.#uplinks.vanished(port);
    if (uplink) {
      this.#log(
        'error',
        `uplink ${uplink.name} has lost its interface: what leaves by it is lost until the deck is started again`,
      );
    }
  }

  #ended(error: Error): void {
    this.#log('error', `the data plane has failed: ${error.stack ?? error.message}`);
    for (const record of this.#endpoints.values()) void this.#leave(record, 'gone');
    this.events.emit('end', error);
  }

  /** An endpoint that is not being detached. */
  #present(nameOrId: string): EndpointRecord {
    const record = find(this.#endpoints, nameOrId, ({ endpoint }) => endpoint.id);
    if (!record || record.leaving)
      throw notFound(`there is no endpoint ${quote(nameOrId)}; see "tapdeck ps"`);
    return record;
  }

  #publishTarget({ endpoint, network, ipv4, ipv6 }: EndpointRecord): PublishTarget {
    return { endpoint: endpoint.name, ipv4, ipv6, ...this.#publishPlace(network) };
  }

  /** Where ports of an endpoint of this network are published. */
  #publishPlace(network: NetworkRecord): Pick<PublishTarget, 'network' | 'hosts' | 'gateways' | 'sockets'> {
    const { number, way, ipv4, ipv6 } = network;
    return {
      network: number,
      hosts: this.#hostAddresses(network),
      gateways: way.uplink ? null : { ipv4: ipv4?.gateway ?? null, ipv6: ipv6?.gateway ?? null },
      sockets: way.uplink?.sockets ?? null,
    };
  }

  /** The addresses that ports of an endpoint of this network can be published on. */
  #hostAddresses({ way }: NetworkRecord): HostAddress[] {
    const gateways = Array.from(this.#networks.values(), ({ name, ipv4, ipv6 }) =>
      [ipv4, ipv6].flatMap((pool) =>
        pool ? { family: pool.family, address: pool.gateway, owner: `gateway of ${name}` } : [],
      ),
    );
    return [...(way.uplink ? this.#uplinks.get(way.uplink.name).hostAddresses() : []), ...gateways.flat()];
  }

  #showPorts(record: EndpointRecord): void {
    const { endpoint } = record;
    record.endpoint = Object.freeze({ ...endpoint, ports: this.#published.of(endpoint.name) });
  }

  #network(nameOrId: string): NetworkRecord {
    const network = find(this.#networks, nameOrId, ({ id }) => id);
    if (!network) {
      throw notFound(
        `there is no network ${quote(nameOrId)}; see "tapdeck network ls", or make it with "tapdeck network create"`,
      );
    }
    return network;
  }

  #ruleNetwork({ number, name, ipv4, ipv6, way }: NetworkRecord): RuleNetwork {
    const subnets = [ipv4, ipv6].flatMap((pool) => (pool ? formatSubnet(pool.subnet) : []));
    const npt = way.npt && formatSubnet(way.npt);
    if (!way.uplink) return { number, name, subnets, uplink: null, npt };
    const { spec } = this.#uplinks.get(way.uplink.name);
    const uplink = { name: way.uplink.name, ipv4: spec.ipv4 !== null, ipv6: spec.ipv6 !== null };
    return { number, name, subnets, uplink, npt };
  }

  /** The data plane's number of a network, by name or id, or of an uplink. */
  #segmentNumber(nameOrId: string): number {
    const uplink = this.#uplinks.all().find(({ name }) => name === nameOrId);
    return uplink && !this.#networks.has(nameOrId) ? uplink.number : this.#network(nameOrId).number;
  }

  #networkName(number: number): string {
    for (const network of this.#networks.values()) if (network.number === number) return network.name;
    return this.#uplinks.numbered(number)?.name ?? `#${number}`;
  }

  #portName(port: PortId, network: number): PortName {
    const record = this.#byPort.get(port);
    if (record)
      return { network: record.network.name, endpoint: record.endpoint.name, ifname: record.endpoint.ifname };
    const uplink = this.#uplinks.numbered(network);
    if (uplink?.port === port) return { network: uplink.name, endpoint: 'uplink', ifname: uplink.ifname };
    return { network: this.#networkName(network), endpoint: 'gateway', ifname: null };
  }

  /** Runs an operation unless the deck is closing; `close` waits for those that have begun. */
  async #operation<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw closed();
    const running = work();
    this.#busy.add(running);
    try {
      return await running;
    } catch (error) {
      throw asDeckError(error);
    } finally {
      this.#busy.delete(running);
    }
  }

  #undo(): Undo {
    return new Undo((error) => this.#log('error', `cannot take back a step: ${(error as Error).message}`));
  }
}

function closed() {
  return unavailable('the deck is closing; start it again');
}

function newId(): string {
  return randomBytes(32).toString('hex');
}

/** By name, else by id or the unique beginning of one, as Docker does it. */
function find<T>(all: ReadonlyMap<string, T>, nameOrId: string, idOf: (one: T) => string): T | undefined {
  const named = all.get(nameOrId);
  if (named || !/^[0-9a-f]{4,64}$/.test(nameOrId)) return named;
  const matches = Array.from(all.values()).filter((one) => idOf(one).startsWith(nameOrId));
  return matches.length === 1 ? matches[0] : undefined;
}

function targetOf({ netns, pid }: AttachOptions): NamespaceTarget {
  if (netns !== undefined && pid === undefined) return { path: netns };
  if (pid !== undefined && netns === undefined) return { pid };
  throw invalid('give either the path of a network namespace or a process in it, and not both');
}
