import type { PortId } from '../../switch/frame.ts';
import type { ResolverCounters } from '../../switch/resolver.ts';
import type { ConntrackOptions, RuleCounter } from '../dataplane/commands.ts';
import { closeStaging } from '../device/attach.ts';
import { nameOfInterface, openHandover } from '../device/handover.ts';
import { hostAddresses } from '../device/host-addresses.ts';
import { hostRoutes } from '../device/host-routes.ts';
import { openPacket } from '../device/packet-socket.ts';
import { openTapFor, setRoutesFor } from '../device/rootless.ts';
import type { DataPlane } from '../runtime/data-plane.ts';
import { DataPlaneThread } from '../runtime/thread.ts';
import { type Family, formatSubnet } from './address.ts';
import { Captures, type FeedThread } from './captures.ts';
import type { Container } from './container.ts';
import { type ContainerIdentity, Containers, type EndpointIdentity } from './containers.ts';
import { DeckEvents } from './deck-events.ts';
import type { ForwarderOptions } from './dns-forwarder.ts';
import type { AttachOptions, ConnectOptions, Endpoint } from './endpoint.ts';
import { asDeckError, unavailable } from './error.ts';
import type { FlowQuery } from './flow-filter.ts';
import { type FlowEventView, type FlowPageView, Flows, type FlowView } from './flows.ts';
import { type SubnetPool, Subnets } from './ipam.ts';
import { DEFAULT_NETWORK } from './name.ts';
import { NameService, type ResolverWishes } from './name-service.ts';
import { identifyNamespace } from './namespace.ts';
import type { CreateNetworkOptions, NetworkInfo } from './network.ts';
import { type Identity, Networks, type SavedNetwork } from './networks.ts';
import { PlaneNames } from './plane-names.ts';
import { type PublishedPort, PublishedPorts } from './published.ts';
import { Recordings } from './recordings.ts';
import type { ChainView } from './rule-view.ts';
import { viewRules } from './rules.ts';
import type { SavedContainer } from './saved-container.ts';
import { DEFAULT_UPLINK } from './socket-uplink-spec.ts';
import type { TapStore } from './tap-store.ts';
import { Undo } from './undo.ts';
import { type UplinkInfo, Uplinks } from './uplink.ts';
import type { UplinkSpec } from './uplink-spec.ts';
import { type AddRuleOptions, type SavedRule, type UserRuleInfo, UserRules } from './user-rules.ts';
import {
  type CountersView,
  type DropView,
  type FdbView,
  type NeighborView,
  viewDrops,
  viewFdb,
  viewLedger,
  viewNeighbors,
} from './views.ts';
import type { WhyView } from './why/explain.ts';
import type { WhyFrameView } from './why/frame.ts';
import type { WhyPastView } from './why/past.ts';
import { Questions } from './why/questions.ts';

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
  /** Where networks that ask for no subnet get theirs; Docker's default pools for each IP version that has none here. */
  addressPools?: readonly SubnetPool[];
  /** What network `bridge` was before a restart. */
  bridge?: SavedNetwork;
  /** Where the TAPs of endpoints are kept for the next daemon. */
  store?: TapStore;
  /** How the host's name servers are asked about names outside. */
  dns?: ForwarderOptions;
  /** Told what goes wrong without an answer to give it in; by default nobody is. */
  log?: (level: 'warn' | 'error', message: string) => void;
}

/** What a deck stands on; tests put other things there. */
export interface DeckParts {
  dataPlane: DataPlane;
  openTap: typeof openTapFor;
  openHandover: typeof openHandover;
  nameOfInterface: typeof nameOfInterface;
  setRoutes: typeof setRoutesFor;
  openPacket: typeof openPacket;
  hostAddresses: typeof hostAddresses;
  hostRoutes: typeof hostRoutes;
  identify: typeof identifyNamespace;
  /** What makes files of what is captured; a thread of its own by default. */
  feeds?: FeedThread;
  /** Monotonic milliseconds. */
  now: () => number;
}

/**
 * A switch with its networks and containers: what the daemon drives, and what a program drives that wants one
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
  readonly events = new DeckEvents();
  /** Who looks at packets. */
  readonly captures: Captures;
  /** What is written down of all that happens. */
  readonly recordings: Recordings;
  readonly #plane: DataPlane;
  readonly #log: NonNullable<DeckOptions['log']>;
  readonly #subnets: Subnets;
  readonly #uplinks: Uplinks;
  readonly #networks: Networks;
  readonly #containers: Containers;
  readonly #published: PublishedPorts;
  readonly #flows: Flows;
  readonly #userRules: UserRules;
  readonly #names: NameService;
  readonly #planeNames: PlaneNames;
  readonly #questions: Questions;
  /** Operations under way, which `close` waits for. */
  readonly #busy = new Set<Promise<unknown>>();
  #closing: Promise<void> | null = null;
  /** The data plane has ended by itself. */
  #failed = false;

  /** Starts a data plane with network `bridge`, and the two of Docker's that need none: `host` and `none`. */
  static async open(options: DeckOptions = {}): Promise<Deck> {
    const { seed, conntrack } = options;
    const dataPlane = await DataPlaneThread.start({
      ...(seed !== undefined && { seed }),
      ...(conntrack && { conntrack }),
    });
    const parts: DeckParts = {
      dataPlane,
      openTap: openTapFor,
      openHandover,
      nameOfInterface,
      setRoutes: setRoutesFor,
      openPacket,
      hostAddresses,
      hostRoutes,
      identify: identifyNamespace,
      now: () => performance.now(),
    };
    return Deck.assemble(parts, { uplinks: [DEFAULT_UPLINK], ...options });
  }

  /** As `open`, on parts of the caller's choice, which the deck owns from now on; without uplinks if none are given. */
  static async assemble(parts: DeckParts, options: DeckOptions = {}): Promise<Deck> {
    const deck = new Deck(parts, options);
    try {
      await deck.#operation(() => deck.#uplinks.open(options.uplinks ?? []));
      // An uplink is where the world has it; the default network goes elsewhere.
      const { subnet, ipv6Subnet } = options.bridge?.options ?? {};
      await deck.createNetwork(
        {
          name: DEFAULT_NETWORK,
          ...(subnet !== undefined && deck.#subnets.isFree(4, subnet) && { subnet }),
          ipv6: true,
          ...(ipv6Subnet !== undefined && deck.#subnets.isFree(6, ipv6Subnet) && { ipv6Subnet }),
          ...(options.hostLoopback && { hostLoopback: true }),
        },
        options.bridge,
      );
      deck.#networks.createBuiltIn();
      return deck;
    } catch (error) {
      await deck.close();
      throw error;
    }
  }

  private constructor(parts: DeckParts, { log = () => {}, addressPools = [], dns = {}, store }: DeckOptions) {
    const { dataPlane: plane, identify, hostRoutes, now } = parts;
    this.#plane = plane;
    this.#log = log;
    this.#subnets = new Subnets({ pools: addressPools, hostRoutes });
    this.#uplinks = new Uplinks(parts, this.#subnets);
    const { events } = this;
    const undo = () =>
      new Undo((error) => log('error', `cannot take back a step: ${(error as Error).message}`));
    const networks = new Networks({
      plane,
      uplinks: this.#uplinks,
      subnets: this.#subnets,
      events,
      undo,
      now,
    });
    const published = new PublishedPorts(plane, (error) =>
      log('error', `cannot take back a published port: ${(error as Error).message}`),
    );
    this.#networks = networks;
    this.#published = published;
    const closing = () => this.#closing !== null;
    this.#containers = new Containers({
      plane,
      openTap: parts.openTap,
      openHandover: parts.openHandover,
      store,
      nameOfInterface: parts.nameOfInterface,
      setRoutes: parts.setRoutes,
      identify,
      networks,
      published,
      events,
      log,
      undo,
      closing,
    });
    this.#flows = new Flows(plane, {
      networkName: (network) => networks.segmentName(network),
      networkNumber: (nameOrId) => networks.segmentNumber(nameOrId),
      publisher: (publish) => published.publisher(publish),
    });
    const uplinks = this.#uplinks;
    // That a data plane has failed is said once; that it takes no names and rules then is no news.
    const logLive: typeof log = (level, message) => {
      if (!this.#failed) log(level, message);
    };
    this.#userRules = new UserRules({
      plane,
      events,
      log: logLive,
      find: (name) =>
        networks.bridges().find((network) => network.name === name)?.number ??
        uplinks.all().find((uplink) => uplink.name === name)?.number,
      names: () => [...networks.bridges(), ...uplinks.all()].map(({ name }) => name),
    });
    this.#names = new NameService(
      {
        plane,
        events,
        networks: () => networks.all(),
        containers: () => this.#containers.list(),
        uplink: (name) => uplinks.get(name).spec,
        hostAddresses: parts.hostAddresses,
        log: logLive,
      },
      dns,
    );
    const named = { plane, networks, uplinks, containers: this.#containers, userRules: this.#userRules };
    this.#planeNames = new PlaneNames({ ...named, published });
    this.#questions = new Questions({
      ...named,
      names: this.#planeNames,
      chains: (counters) => this.#chains(counters),
    });
    const table = () => this.#planeNames.table();
    this.captures = new Captures({
      plane,
      thread: parts.feeds,
      events,
      names: {
        networks: () => networks.bridges(),
        uplinks: () => uplinks.all(),
        containers: () => this.#containers.list(),
      },
      table,
    });
    this.recordings = new Recordings({ plane, events, table });
    plane.onLog(log);
    plane.onPortGone((port) => this.#gone(port));
    plane.onEnd((error) => this.#ended(error));
  }

  /** @param was what it was before a restart */
  createNetwork(options: CreateNetworkOptions, was?: Identity): Promise<NetworkInfo> {
    return this.#operation(() => this.#networks.create(options, was));
  }

  /** Removes a network without containers, given by name or id. */
  removeNetwork(nameOrId: string): Promise<NetworkInfo> {
    return this.#operation(() => this.#networks.remove(nameOrId));
  }

  /**
   * Removes all networks that somebody made and no container is in.
   * @param filters as in Docker: `until=24h`, `label=key`, `label=key=value`, `label!=key`
   */
  pruneNetworks(filters: readonly string[] = []): Promise<NetworkInfo[]> {
    return this.#operation(() => this.#networks.prune(filters));
  }

  /** All networks, the oldest first. */
  networks(): NetworkInfo[] {
    return this.#networks.all().map((network) => network.describe());
  }

  network(nameOrId: string): NetworkInfo {
    return this.#networks.get(nameOrId).describe();
  }

  /**
   * Makes a container of a network namespace and connects it to its first network.
   * @param was what it was before a restart, or is to others that have it handed over
   */
  attach(options: AttachOptions, was?: ContainerIdentity): Promise<Endpoint> {
    return this.#operation(() => this.#containers.attach(options, was));
  }

  /**
   * Connects a container to a further network.
   * @param was what the endpoint was before a restart, or is to others that have it handed over
   */
  connect(
    network: string,
    container: string,
    options: ConnectOptions = {},
    was?: EndpointIdentity,
  ): Promise<Endpoint> {
    return this.#operation(() => this.#containers.connect(network, container, options, was));
  }

  /**
   * Takes a container out of a network: that interface disappears. The container stays until it is detached.
   * @param routes whether its default routes are made again; not where they are somebody else's
   */
  disconnect(network: string, container: string, routes = true): Promise<Endpoint> {
    return this.#operation(() => this.#containers.disconnect(network, container, routes));
  }

  /** Looks what has become of interfaces that were handed over for a container; answers whether it is known of all. */
  settle(container: string): boolean {
    return this.#containers.settle(container);
  }

  /** Gives a container another name. */
  rename(container: string, name: string): Promise<Container> {
    return this.#operation(() => this.#containers.rename(container, name));
  }

  /** Changes the gateway priority of an endpoint, and where published ports lead with it; the routes in the container stay. */
  prioritize(network: string, container: string, priority: number): Promise<Endpoint> {
    return this.#operation(() => this.#containers.prioritize(network, container, priority));
  }

  /**
   * Takes a subnet for somebody who will make a network of it: `text`, or the next that is free. The answered function gives
   * it back, for `createNetwork` to take it. Throws a `DeckError` when it overlaps with another.
   */
  reserveSubnet(
    family: Family,
    text: string | undefined,
    owner: string,
  ): { subnet: string; release(): void } {
    const subnet = this.#subnets.reserve(family, text, owner);
    return { subnet: formatSubnet(subnet), release: () => this.#subnets.release(subnet) };
  }

  /** Removes a container, given by name or id: its interfaces disappear from the namespace. */
  detach(nameOrId: string): Promise<Container> {
    return this.#operation(() => this.#containers.detach(nameOrId));
  }

  /** All containers, the oldest first. */
  containers(): Container[] {
    return this.#containers.list();
  }

  container(nameOrId: string): Container {
    return this.#containers.get(nameOrId);
  }

  /** All endpoints, those of the oldest container first. */
  endpoints(): Endpoint[] {
    return this.#containers.endpoints();
  }

  /** An endpoint by its id, or that by which a container leaves, by the container's name or id. */
  endpoint(nameOrId: string): Endpoint {
    return this.#containers.endpoint(nameOrId);
  }

  /** The text of an /etc/resolv.conf with which a container, given by name or id, asks the deck for names. */
  resolvConf(nameOrId: string, wishes: ResolverWishes = {}): string {
    return this.#names.resolvConf(this.#containers.get(nameOrId), wishes);
  }

  /** The ways out, the default first. */
  uplinks(): UplinkInfo[] {
    return this.#uplinks.list();
  }

  /**
   * Publishes ports of a container, in Docker's grammar: all of them or, when one cannot be had, none.
   *
   * ```ts
   * await deck.publish('web', ['8080:80', '192.0.2.2:53:53/udp']);
   * ```
   */
  publish(nameOrId: string, specs: readonly string[]): Promise<PublishedPort[]> {
    return this.#operation(() => this.#containers.publish(nameOrId, specs));
  }

  /**
   * Withdraws published ports, with all connections that came in by them.
   * @param specs as they were published, `8080:80`; the host ports alone, `8080`, `53/udp`; or the places, `0.0.0.0:8080`. All
   *   of them go, or none.
   */
  unpublish(nameOrId: string, specs: string | readonly string[]): Promise<PublishedPort[]> {
    return this.#operation(() => this.#containers.unpublish(nameOrId, [specs].flat()));
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

  /** What the gateways' name servers have done with questions since the start. */
  async nameCounters(): Promise<ResolverCounters> {
    return (await this.#operation(() => this.#plane.snapshot({}))).names;
  }

  /** What is done to packets, as the chains of rules that Docker would have made for it. */
  async rules(): Promise<ChainView[]> {
    const { rules } = await this.#operation(() => this.#plane.snapshot({ rules: true }));
    return this.#chains(rules);
  }

  /**
   * Adds a rule to chain DOCKER-USER, in front of all that the deck decides itself.
   *
   * ```ts
   * await deck.addRule({ in: 'front', out: 'back', protocol: 'tcp', dport: '5432', action: 'ACCEPT' });
   * ```
   */
  addRule(options: AddRuleOptions): Promise<UserRuleInfo> {
    return this.#operation(async () => {
      const { id } = await this.#userRules.add(options);
      return this.#userRules.list([]).find((rule) => rule.id === id)!;
    });
  }

  /** Removes rules by their ids: all of them, or none. */
  removeRule(...ids: number[]): Promise<SavedRule[]> {
    return this.#operation(() => this.#userRules.remove(ids));
  }

  /** The rules of chain DOCKER-USER in their order, with what they have counted. */
  async listRules(): Promise<UserRuleInfo[]> {
    const { rules } = await this.#operation(() => this.#plane.snapshot({ rules: true }));
    return this.#userRules.list(rules);
  }

  /** Puts rules of an earlier deck in force, as `save` gave them. */
  restoreRules(rules: readonly SavedRule[]): Promise<void> {
    return this.#operation(() => this.#userRules.restore(rules));
  }

  /**
   * What would become of a packet, and of the answer to it: tried on a copy of the data plane, so that nothing is sent and nothing
   * changes.
   * @param from a container, `NETWORK/CONTAINER`, an address, `host` or `outside`
   * @param to the same or `gateway`, with a port and a protocol: `web:80/tcp`; a ping when it has none
   */
  why(from: string, to: string, family?: Family): Promise<WhyView> {
    return this.#operation(() => this.#questions.why(from, to, family));
  }

  /** What happened to the last packets like those of such a question. Of packets that were not dropped only what `remember` has kept. */
  whyPast(from: string, to: string, family?: Family): Promise<WhyPastView> {
    return this.#operation(() => this.#questions.past(from, to, family));
  }

  /** From now on the whole way of every packet is remembered for a while, or only why packets were dropped. */
  remember(everything: boolean): Promise<void> {
    return this.#operation(() => this.#plane.remember(everything));
  }

  /**
   * What would become of a frame that comes in by a port now.
   * @param port as captures call it: `web eth0`
   */
  whyFrame(port: string, frame: Uint8Array): Promise<WhyFrameView> {
    return this.#operation(() => this.#questions.frame(port, frame));
  }

  #chains(counters: readonly RuleCounter[]): ChainView[] {
    const networks = this.#networks.ruleNetworks();
    const uplinks = this.#uplinks.all();
    const userRules = this.#userRules.list(counters);
    return viewRules({ networks, uplinks, published: this.#published.all(), userRules, counters });
  }

  /** The filtering database: which address is behind which port. */
  async fdb(): Promise<FdbView[]> {
    const { fdb } = await this.#operation(() => this.#plane.snapshot({ fdb: true }));
    return viewFdb(fdb, (port, network) => this.#planeNames.port(port, network));
  }

  /** The neighbors of all gateways. */
  async neighbors(): Promise<NeighborView[]> {
    const { neighbors } = await this.#operation(() => this.#plane.snapshot({ neighbors: true }));
    return viewNeighbors(neighbors, (network) => this.#networks.segmentName(network));
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
        ...this.#planeNames.port(counters.port, network),
        ...counters,
      })),
    };
  }

  /** Networks and containers as a later deck can make them again; see `restoreDeck`. */
  save(): { networks: SavedNetwork[]; containers: SavedContainer[]; rules: SavedRule[] } {
    return {
      networks: this.#networks.save(),
      containers: this.#containers.save(),
      rules: this.#userRules.save(),
    };
  }

  /** Puts containers that were made again at once into their former order, by their ids. */
  arrange(ids: readonly string[]): void {
    this.#containers.arrange(ids);
  }

  /** Makes a container again that was in no network. */
  restoreAlone(options: AttachOptions, was: Identity): void {
    this.#containers.restoreAlone(options, was);
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
    await this.recordings.close();
    await this.captures.close();
    await Promise.allSettled(this.#busy);
    await this.#containers.removeAll('detach');
    this.#uplinks.close();
    // Before the data plane ends: names that are still on their way to it are those of networks that are no more.
    this.#networks.clear();
    await this.#plane.close();
    closeStaging();
  }

  #gone(port: PortId): void {
    this.#containers.gone(port);
    const uplink = this.#uplinks.vanished(port);
    if (uplink) {
      this.#log(
        'error',
        `uplink ${uplink.name} has lost its interface: what leaves by it is lost until the deck is started again`,
      );
    }
  }

  #ended(error: Error): void {
    this.#failed = true;
    this.#log('error', `the data plane has failed: ${error.stack ?? error.message}`);
    void this.#containers.removeAll('gone');
    this.events.emit('end', error);
  }

  /** Runs an operation unless the deck is closing; `close` waits for those that have begun. */
  async #operation<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw unavailable('the deck is closing; start it again');
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
}
