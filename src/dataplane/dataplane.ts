import { restore } from '../../nat/translate.ts';
import { Bridge } from '../../switch/bridge.ts';
import type { Device } from '../../switch/device.ts';
import { DhcpServer } from '../../switch/dhcp-server.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { Fdb } from '../../switch/fdb.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Arena, type ArenaSize, type Frame, type PortId } from '../../switch/frame.ts';
import { Gateway } from '../../switch/gateway.ts';
import { Icmp } from '../../switch/icmp.ts';
import { Icmpv6 } from '../../switch/icmpv6.ts';
import { type ForwardedQuery, NameServer } from '../../switch/name-server.ts';
import { Neighbors } from '../../switch/neighbors.ts';
import { Network } from '../../switch/network.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox, Provenance } from '../../switch/outbox.ts';
import { PortGuard } from '../../switch/port-guard.ts';
import {
  PORT_STRIDE,
  PortKind,
  Ports,
  RX_BYTES,
  RX_DROPPED,
  RX_FRAMES,
  TX_BYTES,
  TX_DROPPED,
  TX_FRAMES,
} from '../../switch/ports.ts';
import { RateLimit } from '../../switch/rate-limit.ts';
import { Reassembly } from '../../switch/reassembly.ts';
import { Resolver } from '../../switch/resolver.ts';
import { drop, PASS, type Verdict, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { Zone, type ZoneName } from '../../switch/zone.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import type { HashKey } from '../../wire/hash.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse, parseEthernet, parseNetwork } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';
import { checkVnet } from '../../wire/virtio-net.ts';
import type {
  ConntrackOptions,
  DeniedPrefix,
  FlowEntry,
  FlowEvent,
  FlowFilter,
  FlowPage,
  NetworkOptions,
  PortCounters,
  PortSpec,
  PublishOptions,
  Snapshot,
  SnapshotWants,
  UplinkOptions,
  UserRule,
} from './commands.ts';
import { Egress } from './egress.ts';
import { Filter } from './filter.ts';
import { flowMatch } from './flow-match.ts';
import { listFlows } from './flows.ts';
import { Forwarding } from './forwarding.ts';
import { Ledger } from './ledger.ts';
import { addressWords, Nat, prefixTranslation } from './nat.ts';
import { Reject } from './reject.ts';
import { Router } from './router.ts';
import { Routes } from './routes.ts';
import { Rule, Rules } from './rules.ts';
import { Uplink } from './uplink.ts';

/** What the smallest frame costs of a port's budget, in bytes: about as much time as copying so many in and out. */
const FRAME_COST = 2048;

/** Milliseconds for which timers rest after one of them threw: it would be due again at once, and for ever. */
const REST = 1000;

const PORT_ISOLATED = drop(DropReason.PORT_ISOLATED);

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
 * The switch as a pure machine: frames and time in, frames out. No clock, no thread, no descriptor; the same
 * object runs live behind TAPs and in virtual time behind captures.
 */
export class Dataplane {
  readonly arena: Arena;
  readonly ports: Ports;
  readonly fdb: Fdb;
  readonly ledger = new Ledger();
  readonly egress: Egress;
  readonly neighbors: Neighbors;
  /** Verdict on the frame received last; for replay, traces and tests. */
  lastVerdict: Verdict = PASS;
  readonly #bridges: (Bridge | undefined)[] = [];
  readonly #networks: (Network | undefined)[] = [];
  readonly #specs = new Map<PortId, PortSpec>();
  /** Networks whose ports are isolated from each other. */
  readonly #apart = new Set<number>();
  readonly #outbox = new Outbox();
  readonly #routes = new Routes();
  readonly #reassembly: Reassembly;
  readonly #gateway: Gateway;
  readonly #resolver = new Resolver();
  readonly #names: NameServer;
  readonly #dhcp: DhcpServer;
  readonly #zoneKey: number;
  readonly #uplinks: (Uplink | undefined)[] = [];
  readonly #nat: Nat;
  readonly #rules: Rules;
  readonly #guard: PortGuard;
  readonly #filter: Filter;
  readonly #forwarding: Forwarding;
  readonly #onException: (error: unknown, frame: Frame | null) => void;
  /** Until when timers rest. */
  #resting = Number.NEGATIVE_INFINITY;

  constructor(options: DataplaneOptions = {}) {
    const random = new Random(options.seed ?? 0);
    this.arena = new Arena(options.arena);
    this.ports = new Ports(options.ports);
    this.#guard = new PortGuard(this.ports);
    const { key } = options;
    const drawn: HashKey = [random.next() | 0, random.next() | 0];
    this.#zoneKey = (key ?? drawn)[0];
    this.fdb = new Fdb(this.ports, key ?? drawn);
    if (options.ageing !== undefined) this.fdb.ageing = options.ageing;
    this.#onException = options.onException ?? (() => {});
    this.egress = new Egress(this.arena, this.ports, this.ledger, this.#bridges, this.#onException);
    const originator = new Originator(this.arena, this.#outbox);
    const fragmenter = new Fragmenter(originator, random);
    const limit = new RateLimit(random, key);
    const icmp = new Icmp(originator, fragmenter, limit);
    const icmpv6 = new Icmpv6(originator, fragmenter, limit);
    this.neighbors = new Neighbors(originator, icmp, icmpv6, random, { key });
    this.#reassembly = new Reassembly(originator, icmp, icmpv6);
    this.#names = new NameServer(originator, this.#resolver, this.#networks, key ?? drawn);
    this.#dhcp = new DhcpServer(originator);
    this.#gateway = new Gateway(originator, this.neighbors, icmp, icmpv6, this.#names, this.#dhcp);
    this.neighbors.mayTell = (frame) => this.#undo(frame);
    const router = new Router(this.arena, fragmenter, icmp, icmpv6, this.neighbors, this.#uplinks);
    this.#rules = new Rules(this.ports.capacity);
    this.#nat = new Nat(key ?? drawn, random, options.conntrack);
    const reject = new Reject(originator, icmp, icmpv6);
    this.#filter = new Filter(this.#nat, this.#uplinks, this.#rules, reject);
    this.#forwarding = new Forwarding(
      this.ports,
      this.#networks,
      this.#uplinks,
      this.#routes,
      this.#gateway,
      router,
      this.#nat,
      this.#rules,
      this.#filter,
      fragmenter.identifications,
      icmp,
      icmpv6,
    );
  }

  // ---- the way of a frame ----

  /**
   * Takes frames from the port's device until it has no more or the budget is spent; answers how many there were.
   * @param budget bytes; a frame costs at least `FRAME_COST`, and as much for every copy that is made of it: who floods
   *   spends his own turn, not that of the others
   */
  poll(port: PortId, budget: number, now: number): number {
    const device = this.egress.device(port);
    if (!device) return 0;
    const ledger = this.ledger;
    let count = 0;
    for (let left = budget; left > 0; count++) {
      const frame = this.#take(device, now);
      if (!frame) break;
      left -= Math.max(frame.length, FRAME_COST);
      const copies = ledger.copies;
      this.receive(port, frame, now);
      left -= (ledger.copies - copies) * FRAME_COST;
    }
    this.egress.sendBatches(now);
    return count;
  }

  #take(device: Device, now: number): Frame | null {
    try {
      return device.receive(this.arena, now);
    } catch (error) {
      this.#onException(error, null);
      return null;
    }
  }

  /** One frame that came in by `port`; its reference passes to the data plane. */
  receive(port: PortId, frame: Frame, now: number): void {
    const counters = this.ports.counters;
    const row = port * PORT_STRIDE;
    counters[row + RX_FRAMES]!++;
    counters[row + RX_BYTES]! += frame.length;
    this.ledger.ports++;
    frame.ingress = port;
    let verdict: Verdict;
    try {
      verdict = this.ingress(frame, now);
    } catch (error) {
      // Whatever is wrong with our code must cost this frame and nothing else.
      verdict = drop(DropReason.EXCEPTION);
      this.#onException(error, frame);
    }
    if (verdictKind(verdict) === VerdictKind.DROP) counters[row + RX_DROPPED]!++;
    this.lastVerdict = verdict;
    this.egress.settle(frame, verdict, now);
    this.#sendOutbox(now);
  }

  /** What is to become of a frame: every stage of the switch, in order. */
  ingress(frame: Frame, now: number): Verdict {
    const fault = parseEthernet(frame);
    if (fault !== Malformed.NONE) return drop(fault);

    const network = this.#networks[this.ports.network[frame.ingress]!]!;
    const verdict = network.bridge.ingress(frame, now);
    switch (verdictKind(verdict)) {
      case VerdictKind.FORWARD: {
        const toGateway = verdictArgument(verdict) === network.port;
        const guarded = this.#guard.check(frame, network, toGateway);
        if (guarded !== PASS) return guarded;
        return toGateway ? this.#toGateway(frame, network, now) : verdict;
      }
      case VerdictKind.FLOOD: {
        const guarded = this.#guard.check(frame, network, false);
        return guarded === PASS ? this.#overhear(frame, network, verdict, now) : guarded;
      }
      default:
        if (verdict === PORT_ISOLATED) this.#rules.count(Rule.ICC, network.id, frame.end - frame.l3);
        return verdict;
    }
  }

  /** A frame for the gateway's MAC: INPUT when the gateway is its destination, FORWARD when it is to route it. */
  #toGateway(frame: Frame, network: Network, now: number): Verdict {
    const fault = parseNetwork(frame) || checkVnet(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    if (frame.moreFragments || frame.fragmentOffset !== 0) return this.#reassemble(frame, network, now);
    return this.#route(frame, network, now);
  }

  #route(frame: Frame, network: Network, now: number): Verdict {
    const isIp = frame.etherType === ETHERTYPE_IPV4 || frame.etherType === ETHERTYPE_IPV6;
    return isIp ? this.#forwarding.input(frame, network, now) : this.#gateway.input(frame, network, now);
  }

  /**
   * Makes a translated packet again what its sender knows, so that an error can quote it; false when nobody remembers.
   */
  #undo(frame: Frame): boolean {
    if (frame.flow < 0) return true;
    const { conntrack } = this.#nat;
    if (conntrack.serial[frame.flow >> 1] !== frame.flowSerial) return false;
    restore(frame, conntrack.tuples, frame.flow);
    return true;
  }

  /** A fragment for the gateway's MAC. The datagram that it completes goes on as a frame of its own. */
  #reassemble(frame: Frame, network: Network, now: number): Verdict {
    const isLocal = this.#routes.isLocal(frame, network);
    const verdict = this.#reassembly.input(frame, network, isLocal, now);
    const whole = this.#reassembly.take();
    if (whole === null) return verdict;
    // In front of what it causes: its verdict is written where the outbox reads it later. Until then it is what becomes of
    // the datagram if its handling throws.
    if (!this.#outbox.originate(whole, drop(DropReason.EXCEPTION))) {
      this.arena.release(whole);
      return verdict;
    }
    const fault = parse(whole);
    whole.verdict = fault === Malformed.NONE ? this.#route(whole, network, now) : drop(fault);
    return verdict;
  }

  /** A frame that the bridge floods: the gateway is one of those who hear it. */
  #overhear(frame: Frame, network: Network, verdict: Verdict, now: number): Verdict {
    const heard = this.#gateway.hear(frame, network, now);
    const others = network.bridge.memberCount - 1;
    if (others === 0) return heard === PASS ? drop(DropReason.NO_EGRESS) : heard;
    if (heard !== PASS) {
      this.ledger.copies++;
      if (verdictKind(heard) === VerdictKind.DROP) this.ledger.drop(verdictArgument(heard) as DropReason);
      else this.ledger.consumed++;
    }
    return verdict;
  }

  #sendOutbox(now: number): void {
    const outbox = this.#outbox;
    for (let frame = outbox.shift(); frame; frame = outbox.shift()) {
      if (outbox.provenance === Provenance.ORIGINATED) this.ledger.originated++;
      else if (outbox.provenance === Provenance.RESUMED) this.ledger.held--;
      else this.ledger.copies++;
      this.egress.settle(frame, frame.verdict, now);
    }
  }

  // ---- time ----

  /** When `expire` has something to do next, monotonic milliseconds; Infinity if nothing is pending. */
  deadline(): number {
    const due = Math.min(
      this.fdb.deadline,
      this.neighbors.deadline,
      this.#reassembly.deadline,
      this.#nat.conntrack.deadline,
      this.#names.deadline,
    );
    return Math.max(due, this.#resting);
  }

  /** Does all work that is due at `now`; answers the next deadline. */
  expire(now: number): number {
    if (now < this.#resting) return this.deadline();
    try {
      if (now >= this.fdb.deadline) this.fdb.expire(now);
      if (now >= this.neighbors.deadline) this.neighbors.expire(now);
      if (now >= this.#reassembly.deadline) this.#reassembly.expire(now);
      if (now >= this.#nat.conntrack.deadline) this.#nat.expire(now);
      if (now >= this.#names.deadline) this.#names.expire(now);
    } catch (error) {
      this.#resting = now + REST;
      this.#onException(error, null);
    }
    this.#sendOutbox(now);
    this.egress.sendBatches(now);
    return this.deadline();
  }

  // ---- configuration, between frames ----

  /** Makes a network with its bridge and gateway; answers its id. Throws RangeError when no port is left for the gateway. */
  addNetwork(options: NetworkOptions): number {
    const { uplink } = options;
    if (uplink !== undefined && uplink !== null && this.#uplinks[uplink] === undefined) {
      throw new RangeError(`there is no uplink ${uplink}`);
    }
    const npt = prefixTranslation(options);
    const network = this.#addSegment(options);
    this.#routes.add(network);
    this.#nat.addNetwork(network, false, npt);
    this.#resolver.serve(network);
    this.#dhcp.serve(network.id, network.hasIpv4 && options.dhcp === true);
    const { isInternal } = network;
    const { icc = true } = options;
    const masquerades = network.uplink >= 0 && (network.masquerades || this.#uplinks[network.uplink]!.isHost);
    this.#rules.addNetwork(network.id, { isUplink: false, masquerades, npt: npt !== null, isInternal, icc });
    if (!icc) this.#apart.add(network.id);
    return network.id;
  }

  /**
   * Makes an uplink; answers its id, by which networks name it and a device is added to it. Throws RangeError when no port
   * is left.
   */
  addUplink(options: UplinkOptions): number {
    const network = this.#addSegment(options);
    this.#uplinks[network.id] = new Uplink(network, options);
    this.#routes.add(network, false);
    this.#nat.addNetwork(network, true, null);
    const none = { masquerades: false, npt: false, isInternal: false, icc: true };
    this.#rules.addNetwork(network.id, { isUplink: true, ...none });
    return network.id;
  }

  /** Removes an uplink that no network uses. */
  removeUplink(id: number, now: number): void {
    if (this.#networks.some((network) => network?.uplink === id)) {
      throw new Error(`networks still use uplink ${id}`);
    }
    this.removeNetwork(id, now);
  }

  #addSegment(options: NetworkOptions): Network {
    let id = this.#networks.indexOf(undefined);
    if (id < 0) id = this.#networks.length;
    const port = this.ports.add(id, PortKind.GATEWAY, { mtu: options.mtu });
    if (port < 0) throw new RangeError(`all ${this.ports.capacity} ports are in use`);
    const bridge = new Bridge(id, this.ports, this.fdb);
    bridge.gateway = port;
    const network = new Network(id, bridge, port, options);
    this.fdb.addStatic(id, options.macHi, options.macLo, port);
    this.#bridges[id] = bridge;
    this.#networks[id] = network;
    return network;
  }

  /** Removes a network that has no ports left but its gateway's, and what is published of it. What waits in it is dropped. */
  removeNetwork(id: number, now: number): void {
    const network = this.#networks[id];
    if (!network) return;
    if (network.bridge.memberCount > 0) throw new Error(`network ${id} still has ports`);
    for (const publish of this.#nat.publishes.list()) {
      if (publish.network === id) this.unpublish(publish.id, now);
    }
    this.#nat.removeNetwork(id, now);
    this.neighbors.removeNetwork(id);
    this.#reassembly.removeNetwork(id);
    this.#sendOutbox(now);
    this.#routes.remove(network);
    this.#resolver.withdraw(id);
    this.#dhcp.serve(id, false);
    this.fdb.flushPort(network.port);
    this.ports.remove(network.port);
    this.#bridges[id] = undefined;
    this.#networks[id] = undefined;
    this.#uplinks[id] = undefined;
    this.#rules.removeNetwork(id);
    this.#filter.forget(id);
    this.#apart.delete(id);
  }

  /**
   * Replaces chain DOCKER-USER; rules whose id was there before go on counting. Throws RangeError, and changes nothing,
   * when one of them is impossible or names a network that is not there.
   */
  setUserRules(rules: readonly UserRule[]): void {
    this.#filter.setRules(rules, (network) => this.#networks[network] !== undefined);
  }

  /** Keeps endpoints from these prefixes of those behind an uplink, and from no others. */
  deny(uplink: number, prefixes: readonly DeniedPrefix[]): void {
    const known = this.#uplinks[uplink];
    if (!known) throw new RangeError(`there is no uplink ${uplink}`);
    known.deny(prefixes);
  }

  /**
   * Attaches a device to a network; answers the port. What waits for its addresses is sent. Throws RangeError when all
   * ports are in use.
   */
  addPort(device: Device, spec: PortSpec, now: number): PortId {
    const network = this.#networks[spec.network];
    if (!network) throw new RangeError(`there is no network ${spec.network}`);
    const { mac } = spec;
    const { guard = mac !== undefined && this.#uplinks[spec.network] === undefined } = spec;
    if (guard && !mac) throw new RangeError('a port is guarded for the endpoint of a MAC');
    const { mtu = network.mtu, isolated = this.#apart.has(spec.network) } = spec;
    const port = this.ports.add(spec.network, PortKind.DEVICE, { ...spec, mtu, isolated, guard });
    if (port < 0) throw new RangeError(`all ${this.ports.capacity} ports are in use`);
    this.egress.add(port, device);
    network.bridge.add(port);
    this.#specs.set(port, spec);
    if (guard) this.#guard.add(port, network, mac!, spec.ipv4, spec.ipv6);
    if (mac) {
      this.fdb.addStatic(spec.network, mac.hi, mac.lo, port);
      if (spec.ipv4 !== undefined) {
        this.neighbors.addPermanent(network, [spec.ipv4], mac.hi, mac.lo, now);
        this.#dhcp.addPort(port, mac, spec.ipv4);
      }
      if (spec.ipv6 !== undefined) this.neighbors.addPermanent(network, spec.ipv6, mac.hi, mac.lo, now);
      this.#sendOutbox(now);
    }
    return port;
  }

  /** Takes a port away with all that was known of it, what waits included; answers its device, for the caller to close. */
  removePort(port: PortId, now: number): Device | undefined {
    const spec = this.#specs.get(port);
    if (!spec) return undefined;
    const network = this.#networks[spec.network]!;
    const device = this.egress.device(port);
    const addresses: (readonly number[])[] = [];
    if (spec.ipv4 !== undefined) addresses.push(addressWords(spec.ipv4));
    if (spec.ipv6 !== undefined) addresses.push(spec.ipv6);
    this.#nat.removeEndpoint(spec.network, port, addresses, now);
    this.#names.removePort(port);
    this.#dhcp.removePort(port);
    network.bridge.remove(port);
    this.#guard.remove(port);
    this.egress.remove(port);
    this.#reassembly.removePort(port);
    if (spec.ipv4 !== undefined) this.neighbors.remove(network, [spec.ipv4]);
    if (spec.ipv6 !== undefined) this.neighbors.remove(network, spec.ipv6);
    this.#sendOutbox(now);
    this.#specs.delete(port);
    this.ports.remove(port);
    return device;
  }

  /**
   * Publishes ports of an endpoint; answers the publish's id. Throws RangeError, and changes nothing, when another publish
   * has one of them or the host address is none of the deck's.
   */
  publish(options: PublishOptions): number {
    const network = this.#networks[options.network];
    if (!network) throw new RangeError(`there is no network ${options.network}`);
    const id = this.#nat.publish(options, this.#segmentsOf(network, options));
    this.#rules.addPublish(id, this.#nat.publishes.row(id), network.id);
    return id;
  }

  /** The segments on whose addresses ports are published: that of the host address, or the network's uplink and all gateways. */
  #segmentsOf(network: Network, { host, uplinkOnly = false }: PublishOptions): number[] {
    if (host !== null) {
      const route =
        typeof host === 'number'
          ? this.#routes.lookupIpv4(host)
          : this.#routes.lookupIpv6(...(host as [number, number, number, number]));
      if (route?.isLocal) return [route.network.id];
      // An address of the host, which the data plane does not know; who opens a socket on it does.
      if (this.#uplinks[network.uplink]?.isHost) return [network.uplink];
      throw new RangeError('the host address is none of the deck');
    }
    if (uplinkOnly) return [network.uplink];
    return this.#networks
      .filter((other) => other !== undefined)
      .filter(({ id }) => id === network.uplink || this.#uplinks[id] === undefined)
      .map(({ id }) => id);
  }

  /** Takes a publish back and ends the connections that came in by it, in one step. */
  unpublish(id: number, now: number): void {
    this.#nat.unpublish(id, now);
    this.#rules.removePublish(id);
  }

  // ---- names ----

  /** The names of a network, all of them. Throws RangeError, and changes nothing, when one of them cannot be a name. */
  setNames(network: number, names: readonly ZoneName[]): void {
    this.#resolver.setZone(network, new Zone(names, this.#zoneKey));
  }

  /**
   * The networks whose names a port sees, the first first, and names that only it sees, before all others. Without this a port sees
   * those of its own network.
   */
  setSearch(port: PortId, networks: readonly number[], own: readonly ZoneName[] = []): void {
    if (!this.#specs.has(port)) throw new RangeError(`there is no port ${port}`);
    this.#resolver.setSearch(port, networks, own.length === 0 ? null : new Zone(own, this.#zoneKey));
  }

  /** Hears of questions about names outside; while nobody listens they fail. */
  set onQuery(listener: ((query: ForwardedQuery) => void) | null) {
    this.#names.onQuery = listener;
  }

  /** Sends the answer to a question that `onQuery` has heard of; an empty one says nothing. */
  answerQuery(id: number, message: Uint8Array, now: number): void {
    this.#names.answer(id, message, now);
    this.#sendOutbox(now);
  }

  /** Ends the connections that match; answers how many. */
  closeFlows(filter: FlowFilter, now: number): number {
    return this.#nat.closeWhere(flowMatch(this.#nat, filter), now);
  }

  // ---- what can be seen from outside ----

  /** The connections that match, all of them. */
  flows(filter: FlowFilter, now: number): FlowEntry[] {
    const flows: FlowEntry[] = [];
    for (let next: number | null = 0; next !== null; ) {
      const page = this.flowPage(filter, next, now);
      flows.push(...page.flows);
      next = page.next;
    }
    return flows;
  }

  /** A part of the connections that match, few enough to be told between two batches of frames; 0 is the first part. */
  flowPage(filter: FlowFilter, from: number, now: number): FlowPage {
    return listFlows(this.#nat, filter, from, now);
  }

  /** Hears of connections that begin, change and end; null while nobody listens. */
  set onFlow(listener: ((event: FlowEvent) => void) | null) {
    this.#nat.onFlow = listener;
  }

  /** Hears of connections that are ended though neither end has (see `Nat.onSevered`); null while nobody listens. */
  set onSevered(listener: ((tuples: Int32Array, at: number) => void) | null) {
    this.#nat.onSevered = listener;
  }

  /** Accounts for what a port's device has got and discarded by itself, before there was a frame. */
  discarded(port: PortId, reason: DropReason, count: number): void {
    const { counters } = this.ports;
    const row = port * PORT_STRIDE;
    this.ledger.ports += count;
    this.ledger.drops[reason]! += count;
    counters[row + RX_FRAMES]! += count;
    counters[row + RX_DROPPED]! += count;
  }

  snapshot(now: number, wants: SnapshotWants = {}): Snapshot {
    return {
      now,
      ledger: this.ledger.snapshot(),
      ports: wants.ports ? this.#portCounters() : [],
      fdb: wants.fdb ? this.fdb.list(now) : [],
      neighbors: wants.neighbors ? this.neighbors.list(now) : [],
      rules: wants.rules ? [...this.#rules.list(), ...this.#filter.list()] : [],
      conntrack: { entries: this.#nat.conntrack.size, capacity: this.#nat.conntrack.capacity },
      names: { ...this.#resolver.counters },
    };
  }

  #portCounters(): PortCounters[] {
    const { counters, network } = this.ports;
    return Array.from(this.#specs.keys(), (port) => {
      const row = port * PORT_STRIDE;
      return {
        port,
        network: network[port]!,
        rxFrames: counters[row + RX_FRAMES]!,
        rxBytes: counters[row + RX_BYTES]!,
        rxDropped: counters[row + RX_DROPPED]!,
        txFrames: counters[row + TX_FRAMES]!,
        txBytes: counters[row + TX_BYTES]!,
        txDropped: counters[row + TX_DROPPED]!,
      };
    });
  }
}
