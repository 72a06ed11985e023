import type {
  DeniedPrefix,
  FlowEntry,
  FlowEvent,
  FlowFilter,
  FlowPage,
  NeighborEntry,
  NetworkOptions,
  PortSpec,
  PublishOptions,
  RuleCounter,
  Snapshot,
  UplinkOptions,
  UserRule,
} from '../../src/dataplane/commands.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { makeObservationRing, ObservationReader } from '../../src/dataplane/observation.ts';
import type { PastFilter } from '../../src/dataplane/past.ts';
import type { OpenPacketSocket } from '../../src/device/packet-socket.ts';
import type { StartedRecording } from '../../src/recording/plane.ts';
import { sharedRing } from '../../src/recording/ring.ts';
import type { SavedTables } from '../../src/recording/state-carrier.ts';
import type { DataPlane, HostSockets, Observation, ObserveOptions } from '../../src/runtime/data-plane.ts';
import type { Segment } from '../../src/uplink/segment.ts';
import { type SavedDataplane, saveDataplane } from '../../src/why/fork.ts';
import { DROP_REASONS } from '../../switch/drop-reason.ts';
import type { FdbEntry } from '../../switch/fdb.ts';
import type { ForwardedQuery } from '../../switch/name-server.ts';
import type { ZoneName } from '../../switch/zone.ts';

const NO_TABLES: SavedTables = { items: new Uint8Array(), rows: new Uint8Array(), constants: [] };

/** What the fake device opens: numbers that are no descriptors, and the account of them. */
export interface FakeTap {
  fd: number;
  ifname: string;
  mac: string;
  mtu: number;
}

/**
 * A data plane that only remembers. Every method waits a turn, as messages to a thread do, and can be made to
 * fail.
 */
export class FakeDataPlane implements DataPlane {
  readonly networks = new Map<number, NetworkOptions>();
  readonly uplinks = new Map<number, UplinkOptions>();
  readonly publishes = new Map<number, PublishOptions>();
  /** Of the uplinks of sockets. */
  readonly segments: Segment[] = [];
  /** The publishes for which sockets of the host wait. */
  readonly listening = new Map<number, HostSockets>();
  /** Name of the errno with which the host refuses a port; null when it gives it. */
  hostRefuses: (options: PublishOptions, sockets: HostSockets) => string | null = () => null;
  readonly ports = new Map<number, { tap: FakeTap | OpenPacketSocket | null; spec: PortSpec }>();
  /** What `flows` answers, whatever the filter; `closeFlows` empties it. */
  flowTable: FlowEntry[] = [];
  flowsPerPage = 512;
  rules: RuleCounter[] = [];
  /** What `setUserRules` was given last. */
  userRules: readonly UserRule[] = [];
  /** The filters that `flows` and `closeFlows` were given, the last one last. */
  readonly filters: FlowFilter[] = [];
  watched = false;
  /** The names of each network, and what each port sees. */
  readonly names = new Map<number, readonly ZoneName[]>();
  readonly searches = new Map<number, { networks: readonly number[]; own: readonly ZoneName[] }>();
  /** Answers to questions, by their id. */
  readonly answers = new Map<number, Uint8Array>();
  fdb: FdbEntry[] = [];
  neighbors: NeighborEntry[] = [];
  closed = false;
  /** Methods that fail, with what they say. */
  readonly failing = new Map<string, string>();
  readonly #query: ((query: ForwardedQuery) => void)[] = [];
  readonly #gone: ((port: number) => void)[] = [];
  readonly #log: ((level: 'warn' | 'error', message: string) => void)[] = [];
  readonly #flow: ((event: FlowEvent) => void)[] = [];
  readonly #lost: ((count: number) => void)[] = [];
  readonly #end: ((error: Error) => void)[] = [];
  #next = 0;

  async addNetwork(options: NetworkOptions): Promise<number> {
    await this.#turn('addNetwork');
    const network = this.#next++;
    this.networks.set(network, options);
    return network;
  }

  async removeNetwork(network: number): Promise<void> {
    await this.#turn('removeNetwork');
    this.networks.delete(network);
    this.names.delete(network);
  }

  async addUplink(options: UplinkOptions): Promise<number> {
    await this.#turn('addUplink');
    const uplink = this.#next++;
    this.uplinks.set(uplink, options);
    return uplink;
  }

  async removeUplink(uplink: number): Promise<void> {
    await this.#turn('removeUplink');
    this.uplinks.delete(uplink);
  }

  async deny(uplink: number, denied: readonly DeniedPrefix[]): Promise<void> {
    await this.#turn('deny');
    this.uplinks.set(uplink, { ...this.uplinks.get(uplink)!, denied });
  }

  async addPacket(socket: OpenPacketSocket, spec: PortSpec): Promise<number> {
    await this.#turn('addPacket');
    const port = this.#next++;
    this.ports.set(port, { tap: socket, spec });
    return port;
  }

  async addSockets(network: number, segment: Segment, mtu: number): Promise<number> {
    await this.#turn('addSockets');
    const port = this.#next++;
    this.segments.push(segment);
    this.ports.set(port, { tap: null, spec: { network, mtu } });
    return port;
  }

  async publish(options: PublishOptions, sockets: HostSockets | null = null): Promise<number> {
    await this.#turn('publish');
    const code = sockets && this.hostRefuses(options, sockets);
    if (code) throw Object.assign(new Error(`the host refuses: ${code}`), { code });
    const publish = this.#next++;
    this.publishes.set(publish, options);
    if (sockets) this.listening.set(publish, sockets);
    return publish;
  }

  async unpublish(publish: number): Promise<void> {
    await this.#turn('unpublish');
    this.publishes.delete(publish);
    this.listening.delete(publish);
  }

  async setUserRules(rules: readonly UserRule[]): Promise<void> {
    await this.#turn('setUserRules');
    this.userRules = rules;
  }

  async setNames(network: number, names: readonly ZoneName[]): Promise<void> {
    await this.#turn('setNames');
    if (!this.networks.has(network)) throw new RangeError(`network ${network} has no names`);
    this.names.set(network, names);
  }

  async setSearch(port: number, networks: readonly number[], own: readonly ZoneName[]): Promise<void> {
    await this.#turn('setSearch');
    if (!this.ports.has(port)) throw new RangeError(`there is no port ${port}`);
    this.searches.set(port, { networks, own });
  }

  onQuery(listener: (query: ForwardedQuery) => void): void {
    this.#query.push(listener);
  }

  /** An endpoint asks about a name outside. */
  ask(query: ForwardedQuery): void {
    for (const listener of this.#query) listener(query);
  }

  async answerQuery(id: number, message: Uint8Array): Promise<void> {
    await this.#turn('answerQuery');
    this.answers.set(id, message);
  }

  async flows(filter: FlowFilter, from: number): Promise<FlowPage> {
    await this.#turn('flows');
    this.filters.push(filter);
    const end = from + this.flowsPerPage;
    return { flows: this.flowTable.slice(from, end), next: end < this.flowTable.length ? end : null };
  }

  async closeFlows(filter: FlowFilter): Promise<number> {
    await this.#turn('closeFlows');
    this.filters.push(filter);
    return this.flowTable.splice(0).length;
  }

  async watchFlows(on: boolean): Promise<void> {
    await this.#turn('watchFlows');
    this.watched = on;
  }

  onFlow(listener: (event: FlowEvent) => void): void {
    this.#flow.push(listener);
  }

  onFlowsLost(listener: (count: number) => void): void {
    this.#lost.push(listener);
  }

  async addTap(tap: FakeTap, spec: PortSpec): Promise<number> {
    await this.#turn('addTap');
    const port = this.#next++;
    this.ports.set(port, { tap, spec });
    return port;
  }

  async removePort(port: number): Promise<void> {
    await this.#turn('removePort');
    this.ports.delete(port);
    this.searches.delete(port);
  }

  /** Nothing is ever recorded. */
  async startRecording(bytes: number): Promise<StartedRecording> {
    await this.#turn('startRecording');
    return { ring: sharedRing(bytes), tables: NO_TABLES, ports: [], began: 0, options: {} };
  }

  async stopRecording(): Promise<SavedTables | null> {
    await this.#turn('stopRecording');
    return NO_TABLES;
  }

  /** Nothing is ever observed. */
  async observe({ ring: bytes }: ObserveOptions): Promise<Observation> {
    await this.#turn('observe');
    const ring = makeObservationRing(bytes);
    return {
      ring,
      offset: 0,
      reader: new ObservationReader(ring),
      add: () => this.#turn('observePort'),
      close: () => this.#turn('stopObserving'),
    };
  }

  async remember(_everything: boolean): Promise<void> {
    await this.#turn('remember');
  }

  async past(_filter: PastFilter, _most: number): Promise<Int32Array> {
    await this.#turn('past');
    return new Int32Array(0);
  }

  async save(): Promise<SavedDataplane> {
    await this.#turn('save');
    return saveDataplane(new Dataplane({ ports: 64 }), 0);
  }

  async snapshot(): Promise<Snapshot> {
    await this.#turn('snapshot');
    const drops = new Array<number>(DROP_REASONS).fill(0);
    const ports = Array.from(this.ports, ([port, { spec }]) => ({
      port,
      network: spec.network,
      rxFrames: 1,
      rxBytes: 60,
      rxDropped: 0,
      txFrames: 2,
      txBytes: 120,
      txDropped: 0,
    }));
    const ledger = { ports: 5, originated: 1, copies: 0, sent: 4, consumed: 1, held: 0, drops };
    drops[20] = 1;
    const conntrack = { entries: this.flowTable.length, capacity: 262_144 };
    const { fdb, neighbors, rules } = this;
    const names = { answered: 0, refused: 0, forwarded: 0, busy: 0 };
    return { now: 0, ledger, ports, gateways: [], fdb, neighbors, rules, conntrack, names };
  }

  onPortGone(listener: (port: number) => void): void {
    this.#gone.push(listener);
  }

  onEnd(listener: (error: Error) => void): void {
    this.#end.push(listener);
  }

  onLog(listener: (level: 'warn' | 'error', message: string) => void): void {
    this.#log.push(listener);
  }

  async close(): Promise<void> {
    await this.#turn('close');
    this.closed = true;
  }

  /** Something happens to a connection; nobody hears of it unless flows are watched. */
  happen(event: FlowEvent): void {
    if (this.watched) for (const listener of this.#flow) listener(event);
  }

  /** More happens than can be told. */
  lose(count: number): void {
    if (this.watched) for (const listener of this.#lost) listener(count);
  }

  /** The namespace of a port vanishes. */
  vanish(port: number): void {
    this.ports.delete(port);
    for (const listener of this.#gone) listener(port);
  }

  /** The data plane ends by itself. */
  fail(message: string): void {
    for (const method of ['addNetwork', 'addTap', 'removePort', 'snapshot'])
      this.failing.set(method, message);
    this.ports.clear();
    for (const listener of this.#end) listener(new Error(message));
  }

  async #turn(method: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    const message = this.failing.get(method);
    if (message !== undefined) throw new Error(message);
  }
}
