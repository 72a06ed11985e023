import { Bridge } from '../../switch/bridge.ts';
import type { Device } from '../../switch/device.ts';
import { DhcpServer } from '../../switch/dhcp-server.ts';
import { Fdb } from '../../switch/fdb.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Arena, type ArenaSize, type Frame, type PortId } from '../../switch/frame.ts';
import { Gateway } from '../../switch/gateway.ts';
import { Icmp } from '../../switch/icmp.ts';
import { Icmpv6 } from '../../switch/icmpv6.ts';
import type { Identifications } from '../../switch/identifications.ts';
import { type ForwardedQuery, NameServer } from '../../switch/name-server.ts';
import { Neighbors } from '../../switch/neighbors.ts';
import { Network } from '../../switch/network.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox } from '../../switch/outbox.ts';
import { PortGuard } from '../../switch/port-guard.ts';
import { PortKind, Ports } from '../../switch/ports.ts';
import { RateLimit } from '../../switch/rate-limit.ts';
import { Reassembly } from '../../switch/reassembly.ts';
import { Resolver } from '../../switch/resolver.ts';
import { Zone, type ZoneName } from '../../switch/zone.ts';
import type { Carrier } from '../../wire/carrier.ts';
import type { HashKey } from '../../wire/hash.ts';
import { Random } from '../../wire/random.ts';
import type {
  ConntrackOptions,
  DeniedPrefix,
  FlowFilter,
  NetworkOptions,
  PortSpec,
  PublishOptions,
  UplinkOptions,
  UserRule,
} from './commands.ts';
import { Egress } from './egress.ts';
import { Filter } from './filter.ts';
import { FirstPackets } from './first-packets.ts';
import { flowMatch } from './flow-match.ts';
import { Forwarding } from './forwarding.ts';
import { Ledger } from './ledger.ts';
import { addressWords, Nat, prefixTranslation } from './nat.ts';
import { Observer } from './observer.ts';
import { Postrouting } from './postrouting.ts';
import { Reject } from './reject.ts';
import { Router } from './router.ts';
import { Routes } from './routes.ts';
import { Rules } from './rules.ts';
import { Uplink } from './uplink.ts';

export interface DataplaneOptions {
  /** Seeds every hash and every random choice; the same seed and input give the same output. */
  seed?: number;
  /**
   * Key of every hash, in place of one that follows from the seed. What a gateway says (identifications of fragments)
   * tells whoever tries all seeds which it was: a live data plane has a key that follows from nothing.
   */
  key?: HashKey;
  /** Slots for frames. */
  arena?: ArenaSize;
  /** Most ports at one time. */
  ports?: number;
  /** Milliseconds until a learned address is forgotten. */
  ageing?: number;
  /** How connections are tracked. */
  conntrack?: ConntrackOptions;
  /** Hears of everything that threw, a defect of ours: with the frame that it cost, null when it cost none. */
  onException?: (error: unknown, frame: Frame | null) => void;
}

/**
 * What a data plane is made of, and everything that is told to it between two frames: networks, uplinks, ports, rules, publishes,
 * names. The way of a frame is in `dataplane.ts`.
 */
export abstract class Configuration {
  readonly arena: Arena;
  readonly ports: Ports;
  readonly fdb: Fdb;
  readonly ledger = new Ledger();
  /** Who looks at packets. */
  readonly observer: Observer;
  readonly egress: Egress;
  readonly neighbors: Neighbors;
  protected readonly bridges: (Bridge | undefined)[] = [];
  protected readonly networks: (Network | undefined)[] = [];
  protected readonly specs = new Map<PortId, PortSpec>();
  /** Networks whose ports are isolated from each other. */
  protected readonly apart = new Set<number>();
  protected readonly outbox = new Outbox();
  protected readonly routes = new Routes();
  protected readonly reassembly: Reassembly;
  protected readonly gateway: Gateway;
  protected readonly resolver = new Resolver();
  protected readonly names: NameServer;
  protected readonly dhcp: DhcpServer;
  protected readonly zoneKey: number;
  protected readonly uplinks: (Uplink | undefined)[] = [];
  protected readonly nat: Nat;
  protected readonly rules: Rules;
  protected readonly guard: PortGuard;
  protected readonly filter: Filter;
  protected readonly forwarding: Forwarding;
  protected readonly onException: (error: unknown, frame: Frame | null) => void;
  /** What it was made with. */
  readonly options: DataplaneOptions;
  readonly #random: Random;
  readonly #limit: RateLimit;
  readonly #identifications: Identifications;

  constructor(options: DataplaneOptions = {}) {
    const random = new Random(options.seed ?? 0);
    this.options = options;
    this.#random = random;
    this.arena = new Arena(options.arena);
    this.ports = new Ports(options.ports);
    this.guard = new PortGuard(this.ports);
    const { key } = options;
    const drawn: HashKey = [random.next() | 0, random.next() | 0];
    this.zoneKey = (key ?? drawn)[0];
    this.fdb = new Fdb(this.ports, key ?? drawn);
    if (options.ageing !== undefined) this.fdb.ageing = options.ageing;
    this.onException = options.onException ?? (() => {});
    this.observer = new Observer(this.arena);
    this.egress = new Egress(
      this.arena,
      this.ports,
      this.ledger,
      this.bridges,
      this.observer,
      this.onException,
    );
    const originator = new Originator(this.arena, this.outbox);
    const fragmenter = new Fragmenter(originator, random);
    const limit = new RateLimit(random, key);
    this.#limit = limit;
    this.#identifications = fragmenter.identifications;
    const icmp = new Icmp(originator, fragmenter, limit);
    const icmpv6 = new Icmpv6(originator, fragmenter, limit);
    this.neighbors = new Neighbors(originator, icmp, icmpv6, random, { key });
    this.reassembly = new Reassembly(originator, icmp, icmpv6);
    this.names = new NameServer(originator, this.resolver, this.networks, key ?? drawn);
    this.dhcp = new DhcpServer(originator);
    this.gateway = new Gateway(originator, this.neighbors, icmp, icmpv6, this.names, this.dhcp);
    const router = new Router(this.arena, fragmenter, icmp, icmpv6, this.neighbors, this.uplinks);
    this.rules = new Rules(this.ports.capacity);
    this.nat = new Nat(key ?? drawn, random, options.conntrack);
    const reject = new Reject(originator, icmp, icmpv6);
    this.filter = new Filter(this.nat, this.uplinks, this.rules, reject);
    const postrouting = new Postrouting(this.nat.conntrack, fragmenter.identifications, router);
    const firstPackets = new FirstPackets(
      this.ports,
      this.networks,
      this.uplinks,
      this.routes,
      this.gateway,
      router,
      this.nat,
      this.rules,
      this.filter,
      postrouting,
      icmp,
      icmpv6,
    );
    this.forwarding = new Forwarding(
      this.ports.capacity,
      this.networks,
      this.uplinks,
      this.routes,
      router,
      this.nat,
      this.rules,
      this.filter,
      firstPackets,
      postrouting,
    );
  }

  /** Sends what the deck says by itself because of what it was told. */
  protected abstract sendOutbox(now: number): void;

  /**
   * Everything that is known, between two frames and with no batch unsent. It goes back into a data plane that was made with
   * the same options and has not been used.
   * @param device of a port on the way back
   */
  carry(carrier: Carrier, device: (port: PortId) => Device): void {
    this.#random.carry(carrier);
    this.#limit.carry(carrier);
    this.#identifications.carry(carrier);
    this.arena.carry(carrier);
    this.ports.carry(carrier);
    this.#carryNetworks(carrier);
    const specs = carrier.constant([...this.specs]);
    this.specs.clear();
    for (const [port, spec] of specs) this.specs.set(port, spec);
    const apart = carrier.plain([...this.apart]);
    for (const network of apart) this.apart.add(network);
    this.fdb.carry(carrier);
    this.ledger.carry(carrier);
    this.outbox.carry(carrier);
    this.egress.carry(carrier, this.specs.keys(), device);
    this.neighbors.carry(carrier, this.networks);
    this.reassembly.carry(carrier, this.networks);
    this.resolver.carry(carrier, this.networks, this.zoneKey);
    this.names.carry(carrier);
    this.dhcp.carry(carrier);
    this.rules.carry(carrier);
    this.nat.carry(carrier, this.networks);
    this.guard.carry(carrier);
    this.filter.carry(carrier);
  }

  #carryNetworks(carrier: Carrier): void {
    const segments = carrier.plain(
      Array.from(this.networks, (network) =>
        network === undefined
          ? null
          : {
              port: network.port,
              options: network.options,
              isUplink: this.uplinks[network.id] !== undefined,
            },
      ),
    );
    const isNew = this.networks.length === 0;
    for (const [id, segment] of segments.entries()) {
      if (segment === null) {
        this.bridges[id] = undefined;
        this.networks[id] = undefined;
        continue;
      }
      if (isNew) {
        this.#putSegment(id, segment.port, segment.options);
        if (segment.isUplink) this.uplinks[id] = new Uplink(this.networks[id]!, segment.options);
      }
      this.bridges[id]!.carry(carrier);
      this.uplinks[id]?.carry(carrier);
    }
    // Their order decides between routes to the same prefix.
    for (const id of carrier.plain(this.routes.networks.map((network) => network.id))) {
      if (isNew) this.routes.add(this.networks[id]!, this.uplinks[id] === undefined);
    }
  }

  // ---- networks, ports, publishes ----

  /** Makes a network with its bridge and gateway; answers its id. Throws RangeError when no port is left for the gateway. */
  addNetwork(options: NetworkOptions): number {
    const { uplink } = options;
    if (uplink !== undefined && uplink !== null && this.uplinks[uplink] === undefined) {
      throw new RangeError(`there is no uplink ${uplink}`);
    }
    const npt = prefixTranslation(options);
    const network = this.#addSegment(options);
    this.routes.add(network);
    this.nat.addNetwork(network, false, npt);
    this.resolver.serve(network);
    this.dhcp.serve(network.id, network.hasIpv4 && options.dhcp === true);
    const { isInternal } = network;
    const { icc = true } = options;
    const masquerades = network.uplink >= 0 && (network.masquerades || this.uplinks[network.uplink]!.isHost);
    this.rules.addNetwork(network.id, { isUplink: false, masquerades, npt: npt !== null, isInternal, icc });
    if (!icc) this.apart.add(network.id);
    return network.id;
  }

  /**
   * Makes an uplink; answers its id, by which networks name it and a device is added to it. Throws RangeError when no port
   * is left.
   */
  addUplink(options: UplinkOptions): number {
    const network = this.#addSegment(options);
    this.uplinks[network.id] = new Uplink(network, options);
    this.routes.add(network, false);
    this.nat.addNetwork(network, true, null);
    const none = { masquerades: false, npt: false, isInternal: false, icc: true };
    this.rules.addNetwork(network.id, { isUplink: true, ...none });
    return network.id;
  }

  /** Removes an uplink that no network uses. */
  removeUplink(id: number, now: number): void {
    if (this.networks.some((network) => network?.uplink === id)) {
      throw new Error(`networks still use uplink ${id}`);
    }
    this.removeNetwork(id, now);
  }

  #addSegment(options: NetworkOptions): Network {
    let id = this.networks.indexOf(undefined);
    if (id < 0) id = this.networks.length;
    const port = this.ports.add(id, PortKind.GATEWAY, { mtu: options.mtu });
    if (port < 0) throw new RangeError(`all ${this.ports.capacity} ports are in use`);
    this.fdb.addStatic(id, options.macHi, options.macLo, port);
    return this.#putSegment(id, port, options);
  }

  #putSegment(id: number, port: PortId, options: NetworkOptions): Network {
    const bridge = new Bridge(id, this.ports, this.fdb);
    bridge.gateway = port;
    const network = new Network(id, bridge, port, options);
    this.bridges[id] = bridge;
    this.networks[id] = network;
    return network;
  }

  /** Removes a network that has no ports left but its gateway's, and what is published of it. What waits in it is dropped. */
  removeNetwork(id: number, now: number): void {
    const network = this.networks[id];
    if (!network) return;
    if (network.bridge.memberCount > 0) throw new Error(`network ${id} still has ports`);
    for (const publish of this.nat.publishes.list()) {
      if (publish.network === id) this.unpublish(publish.id, now);
    }
    this.nat.removeNetwork(id, now);
    this.neighbors.removeNetwork(id);
    this.reassembly.removeNetwork(id);
    this.sendOutbox(now);
    this.routes.remove(network);
    this.resolver.withdraw(id);
    this.dhcp.serve(id, false);
    this.fdb.flushPort(network.port);
    this.ports.remove(network.port);
    this.bridges[id] = undefined;
    this.networks[id] = undefined;
    this.uplinks[id] = undefined;
    this.rules.removeNetwork(id);
    this.filter.forget(id);
    this.apart.delete(id);
  }

  /**
   * Replaces chain DOCKER-USER; rules whose id was there before go on counting. Throws RangeError, and changes nothing,
   * when one of them is impossible or names a network that is not there.
   */
  setUserRules(rules: readonly UserRule[]): void {
    this.filter.setRules(rules, (network) => this.networks[network] !== undefined);
  }

  /** Keeps endpoints from these prefixes of those behind an uplink, and from no others. */
  deny(uplink: number, prefixes: readonly DeniedPrefix[]): void {
    const known = this.uplinks[uplink];
    if (!known) throw new RangeError(`there is no uplink ${uplink}`);
    known.deny(prefixes);
  }

  /**
   * Attaches a device to a network; answers the port. What waits for its addresses is sent. Throws RangeError when all
   * ports are in use.
   */
  addPort(device: Device, spec: PortSpec, now: number): PortId {
    const network = this.networks[spec.network];
    if (!network) throw new RangeError(`there is no network ${spec.network}`);
    const { mac } = spec;
    const { guard = mac !== undefined && this.uplinks[spec.network] === undefined } = spec;
    if (guard && !mac) throw new RangeError('a port is guarded for the endpoint of a MAC');
    const { mtu = network.mtu, isolated = this.apart.has(spec.network) } = spec;
    const port = this.ports.add(spec.network, PortKind.DEVICE, { ...spec, mtu, isolated, guard });
    if (port < 0) throw new RangeError(`all ${this.ports.capacity} ports are in use`);
    this.egress.add(port, device);
    network.bridge.add(port);
    this.specs.set(port, spec);
    if (guard) this.guard.add(port, network, mac!, spec.ipv4, spec.ipv6);
    if (mac) {
      this.fdb.addStatic(spec.network, mac.hi, mac.lo, port);
      if (spec.ipv4 !== undefined) {
        this.neighbors.addPermanent(network, [spec.ipv4], mac.hi, mac.lo, now);
        this.dhcp.addPort(port, mac, spec.ipv4);
      }
      if (spec.ipv6 !== undefined) this.neighbors.addPermanent(network, spec.ipv6, mac.hi, mac.lo, now);
      this.sendOutbox(now);
    }
    return port;
  }

  /** Takes a port away with all that was known of it, what waits included; answers its device, for the caller to close. */
  removePort(port: PortId, now: number): Device | undefined {
    const spec = this.specs.get(port);
    if (!spec) return undefined;
    const network = this.networks[spec.network]!;
    const device = this.egress.device(port);
    const addresses: (readonly number[])[] = [];
    if (spec.ipv4 !== undefined) addresses.push(addressWords(spec.ipv4));
    if (spec.ipv6 !== undefined) addresses.push(spec.ipv6);
    this.nat.removeEndpoint(spec.network, port, addresses, now);
    this.names.removePort(port);
    this.dhcp.removePort(port);
    network.bridge.remove(port);
    this.guard.remove(port);
    this.egress.remove(port, now);
    this.reassembly.removePort(port);
    if (spec.ipv4 !== undefined) this.neighbors.remove(network, [spec.ipv4]);
    if (spec.ipv6 !== undefined) this.neighbors.remove(network, spec.ipv6);
    this.sendOutbox(now);
    this.specs.delete(port);
    this.ports.remove(port);
    return device;
  }

  /**
   * Publishes ports of an endpoint; answers the publish's id. Throws RangeError, and changes nothing, when another publish
   * has one of them or the host address is none of the deck's.
   */
  publish(options: PublishOptions): number {
    const network = this.networks[options.network];
    if (!network) throw new RangeError(`there is no network ${options.network}`);
    const id = this.nat.publish(options, this.#segmentsOf(network, options));
    this.rules.addPublish(id, this.nat.publishes.row(id), network.id);
    return id;
  }

  /** The segments on whose addresses ports are published: that of the host address, or the network's uplink and all gateways. */
  #segmentsOf(network: Network, { host, uplinkOnly = false }: PublishOptions): number[] {
    if (host !== null) {
      const route =
        typeof host === 'number'
          ? this.routes.lookupIpv4(host)
          : this.routes.lookupIpv6(...(host as [number, number, number, number]));
      if (route?.isLocal) return [route.network.id];
      // An address of the host, which the data plane does not know; who opens a socket on it does.
      if (this.uplinks[network.uplink]?.isHost) return [network.uplink];
      throw new RangeError('the host address is none of the deck');
    }
    if (uplinkOnly) return [network.uplink];
    return this.networks
      .filter((other) => other !== undefined)
      .filter(({ id }) => id === network.uplink || this.uplinks[id] === undefined)
      .map(({ id }) => id);
  }

  /** Takes a publish back and ends the connections that came in by it, in one step. */
  unpublish(id: number, now: number): void {
    this.nat.unpublish(id, now);
    this.rules.removePublish(id);
  }

  // ---- names ----

  /** The names of a network, all of them. Throws RangeError, and changes nothing, when one of them cannot be a name. */
  setNames(network: number, names: readonly ZoneName[]): void {
    this.resolver.setZone(network, new Zone(names, this.zoneKey));
  }

  /**
   * The networks whose names a port sees, the first first, and names that only it sees, before all others. Without this a port sees
   * those of its own network.
   */
  setSearch(port: PortId, networks: readonly number[], own: readonly ZoneName[] = []): void {
    if (!this.specs.has(port)) throw new RangeError(`there is no port ${port}`);
    this.resolver.setSearch(port, networks, own.length === 0 ? null : new Zone(own, this.zoneKey));
  }

  /** Hears of questions about names outside; while nobody listens they fail. */
  set onQuery(listener: ((query: ForwardedQuery) => void) | null) {
    this.names.onQuery = listener;
  }

  /** Sends the answer to a question that `onQuery` has heard of; an empty one says nothing. */
  answerQuery(id: number, message: Uint8Array, now: number): void {
    this.names.answer(id, message, now);
    this.sendOutbox(now);
  }

  /** Ends the connections that match; answers how many. */
  closeFlows(filter: FlowFilter, now: number): number {
    return this.nat.closeWhere(flowMatch(this.nat, filter), now);
  }
}
