import type { PortId } from '../../switch/frame.ts';
import type { ForwardedQuery } from '../../switch/name-server.ts';
import type { ZoneName } from '../../switch/zone.ts';
import type {
  DeniedPrefix,
  FlowEvent,
  FlowFilter,
  FlowPage,
  NetworkOptions,
  PortSpec,
  PublishOptions,
  Snapshot,
  SnapshotWants,
  UplinkOptions,
  UserRule,
} from '../dataplane/commands.ts';
import type { ObservationReader } from '../dataplane/observation.ts';
import type { PastFilter } from '../dataplane/past.ts';
import type { ObservationWants } from '../dataplane/ring-subscriber.ts';
import type { OpenPacketSocket } from '../device/packet-socket.ts';
import type { OpenTap } from '../device/tap.ts';
import type { StartedRecording } from '../recording/plane.ts';
import type { SavedTables } from '../recording/state-carrier.ts';
import type { Segment } from '../uplink/segment.ts';
import type { SavedDataplane } from '../why/fork.ts';

/** Where sockets of the host wait for what is published. */
export interface HostSockets {
  /** The uplink whose sockets they are. */
  uplink: number;
  /** The only interface of the host by which they are reached; null for all. */
  ifname: string | null;
}

/** What somebody wants to see of packets. */
export interface ObserveOptions extends Omit<ObservationWants, 'filter'> {
  /** A filter in tcpdump's language (`src/capture/filter`): packets of which a copy at one of the ports matches. */
  filter?: string;
  /** Bytes that wait for the reader, at least. */
  ring: number;
}

/** Packets that are being observed. */
export interface Observation {
  /** What `reader` reads, for whoever would rather read it in another thread, and then alone. */
  readonly ring: SharedArrayBuffer;
  /** Reads what was observed; whoever has read all says so by `wait`. */
  readonly reader: ObservationReader;
  /** Milliseconds of the clock of stories when the machine's monotonic clock (`process.hrtime`) was at 0. */
  readonly offset: number;
  /** Packets at this port are wanted, too, until it is removed. */
  add(port: PortId): Promise<void>;
  /** Ends it; what is in the ring can still be read. */
  close(): Promise<void>;
}

/**
 * The data plane as the control plane sees it. Commands are applied between two batches of frames, in the
 * order in which they were given. A rejected promise means that nothing was changed.
 */
export interface DataPlane {
  /** Makes a network and its gateway; answers the network's number. */
  addNetwork(options: NetworkOptions): Promise<number>;
  /** Removes a network that has no ports any more. */
  removeNetwork(network: number): Promise<void>;
  /** Makes an uplink, a segment in which the deck is a host; answers its number, which ports are added to as to a network's. */
  addUplink(options: UplinkOptions): Promise<number>;
  /** Removes an uplink that has no ports any more and that no network leaves by. */
  removeUplink(uplink: number): Promise<void>;
  /** Keeps endpoints from these prefixes of those behind an uplink, and from no others. */
  deny(uplink: number, prefixes: readonly DeniedPrefix[]): Promise<void>;
  /**
   * Connects an open TAP. The descriptor belongs to the data plane from the call on: it is closed with the
   * port, and also when the port cannot be made.
   * @param faults what is to go wrong on purpose, as `src/device/faults.ts` reads it
   */
  addTap(tap: OpenTap, spec: PortSpec, faults?: string): Promise<PortId>;
  /** Connects a packet socket, as `addTap` a TAP. */
  addPacket(socket: OpenPacketSocket, spec: PortSpec): Promise<PortId>;
  /** Connects an uplink that `isHost` to the sockets of the host, by a link of `segment` and `mtu`. */
  addSockets(uplink: number, segment: Segment, mtu: number): Promise<PortId>;
  /** Removes a port and closes its device; a port that has vanished already is no error. */
  removePort(port: PortId): Promise<void>;
  /**
   * Publishes ports; answers the publish's number. Rejected in one line when somebody has one of the ports, with the name
   * of the errno as `code` when the host does not give them.
   */
  publish(options: PublishOptions, sockets?: HostSockets | null): Promise<number>;
  /** Takes a publish back with the sockets that wait for it, and ends the connections that came in by it. */
  unpublish(publish: number): Promise<void>;
  /**
   * Replaces chain DOCKER-USER as a whole; rules whose id was there before go on counting. Rejected, with nothing changed, when
   * a rule is impossible or names a network that is not there.
   */
  setUserRules(rules: readonly UserRule[]): Promise<void>;
  /** The names of a network, all of them; rejected, and nothing changed, when one of them cannot be a name. */
  setNames(network: number, names: readonly ZoneName[]): Promise<void>;
  /** The networks whose names a port sees, the first first, and names that only it sees, before all others. */
  setSearch(port: PortId, networks: readonly number[], own: readonly ZoneName[]): Promise<void>;
  /** `listener` is told of questions about names outside; each is to be answered with `answerQuery`. */
  onQuery(listener: (query: ForwardedQuery) => void): void;
  /** Sends the answer to such a question; an empty one says nothing. */
  answerQuery(id: number, message: Uint8Array): Promise<void>;
  /** A part of the connections that `filter` means: 0 is the first, `next` of each answer is where the next begins. */
  flows(filter: FlowFilter, from: number): Promise<FlowPage>;
  /** Forgets the connections that `filter` means; answers how many there were. */
  closeFlows(filter: FlowFilter): Promise<number>;
  /** Begins and ends telling `onFlow` what happens to connections. */
  watchFlows(on: boolean): Promise<void>;
  /** `listener` is told, while flows are watched, what happens to connections: late by some 10 ms, in order. */
  onFlow(listener: (event: FlowEvent) => void): void;
  /** `listener` is told how many events were lost, because they were more than can be told, at the place where they are missing. */
  onFlowsLost(listener: (count: number) => void): void;
  /**
   * Begins to observe packets; others may do so at the same time. Rejected when the filter has a mistake.
   */
  observe(options: ObserveOptions): Promise<Observation>;
  /** Remembers the whole way of every packet from now on, or only the end of those that are dropped; what was remembered is forgotten. */
  remember(everything: boolean): Promise<void>;
  /** The rows (`switch/trace.ts`) of the latest `most` packets that match and are remembered, oldest first. */
  past(filter: PastFilter, most: number): Promise<Int32Array>;
  snapshot(wants: SnapshotWants): Promise<Snapshot>;
  /**
   * All that it is and knows at one instant, which is after the call, to make another of that (`src/why/fork.ts`). Large tables are
   * copied while frames go on.
   */
  save(): Promise<SavedDataplane>;
  /**
   * Begins to write down everything that enters the data plane, into a ring of so many bytes, a power of two. There is one
   * recording at a time.
   * @param onOverrun told, once, when there was no room for a record: then nothing more is written
   */
  startRecording(bytes: number, onOverrun: () => void): Promise<StartedRecording>;
  /** Ends the recording; answers all tables as they were behind its last record, null when records were lost. */
  stopRecording(): Promise<SavedTables | null>;
  /** `listener` is told about ports whose device has vanished; they are removed already. */
  onPortGone(listener: (port: PortId) => void): void;
  /**
   * `listener` is told, once, when the data plane has ended without `close`: a defect. Its ports are closed then, and every
   * further call is rejected.
   */
  onEnd(listener: (error: Error) => void): void;
  onLog(listener: (level: 'warn' | 'error', message: string) => void): void;
  /** Removes all ports and ends. */
  close(): Promise<void>;
}
