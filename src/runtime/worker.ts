import './engine.ts';
import { randomInt } from 'node:crypto';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { kindZone, TUPLE_KIND } from '../../nat/tuple.ts';
import type { Device } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import type { ZoneName } from '../../switch/zone.ts';
import { describe } from '../../wire/describe.ts';
import type { HashKey } from '../../wire/hash.ts';
import { compileFilter } from '../capture/filter/filter.ts';
import type {
  DeniedPrefix,
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
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import type { PastFilter } from '../dataplane/past.ts';
import { RingSubscriber } from '../dataplane/ring-subscriber.ts';
import { EventFd } from '../device/eventfd.ts';
import { FaultyDevice, parseFaults } from '../device/faulty.ts';
import { PacketDevice } from '../device/packet.ts';
import type { OpenPacketSocket } from '../device/packet-socket.ts';
import { SyscallError } from '../device/syscall-error.ts';
import { type OpenTap, TapDevice } from '../device/tap.ts';
import { DeviceArena } from '../recording/device-arena.ts';
import { RecordLog } from '../recording/log.ts';
import type { Plane, StartedRecording } from '../recording/plane.ts';
import { Recorder } from '../recording/recorder.ts';
import { RingWriter, sharedRing } from '../recording/ring.ts';
import type { SavedTables } from '../recording/state-carrier.ts';
import { TableCopy } from '../recording/table-copy.ts';
import type { Segment } from '../uplink/segment.ts';
import { SocketUplink } from '../uplink/socket-uplink.ts';
import { type SavedDataplane, savedDataplane } from '../why/fork.ts';
import type { HostSockets, ObserveOptions } from './data-plane.ts';
import { FlowNotices } from './flow-notices.ts';
import { Loop } from './loop.ts';
import type { Notice, Reply, Request, ThreadData } from './messages.ts';
import { Later, TableCopies } from './table-copies.ts';

/** Bytes of frames, as `Dataplane.poll` counts them, that sockets have to say at once when a publish ends: a thousand resets. */
const LAST_WORDS = 2 * 1024 * 1024;

/**
 * The data-plane thread: a loop around a data plane, and the commands that the main thread sends. Messages
 * are taken only when the eventfd rings, between two batches of frames.
 */
class DataPlaneWorker {
  readonly #port = parentPort!;
  readonly #requests = (workerData as ThreadData).requests;
  readonly #dataplane: Dataplane;
  readonly #options: DataplaneOptions;
  /** By which everything enters it: itself, or a recorder. */
  #plane: Plane;
  /** For devices that keep frames. */
  readonly #arena: DeviceArena;
  #recording: { recorder: Recorder; log: RecordLog } | null = null;
  readonly #loop: Loop;
  readonly #flows = new FlowNotices((events, lost) => this.#notify({ notice: 'flows', events, lost }));
  readonly #copies = new TableCopies(() => performance.now());
  readonly #logged = new Set<string>();
  /** Uplinks of sockets, by number. */
  readonly #sockets = new Map<number, { device: SocketUplink; port: PortId }>();

  readonly #observations = new Map<number, RingSubscriber>();
  #nextObservation = 0;

  constructor(data: ThreadData) {
    this.#options = {
      seed: data.seed,
      ...(data.key && { key: data.key }),
      ...(data.conntrack && { conntrack: data.conntrack }),
    };
    this.#dataplane = new Dataplane({
      ...this.#options,
      onException: (error, frame) => this.#exception(error, frame),
    });
    this.#plane = this.#dataplane;
    this.#arena = new DeviceArena(this.#dataplane.arena);
    this.#dataplane.onSevered = this.#severed;
    this.#dataplane.onQuery = (query) => this.#notify({ notice: 'query', query });
    this.#loop = new Loop(
      this.#dataplane,
      new EventFd(data.eventfd),
      { wake: () => this.#takeRequests(), gone: (port) => this.#gone(port) },
      () => performance.now(),
      [this.#flows, this.#copies],
    );
  }

  /**
   * What a socket of the host stands for is over with it. Otherwise it would stay open until the host's other end closes it,
   * and whoever gets the deck's port next would speak in its place.
   */
  readonly #severed = (tuples: Int32Array, at: number): void => {
    this.#sockets.get(kindZone(tuples[at + TUPLE_KIND]!))?.device.sever(tuples, at);
  };

  run(): void {
    // A copy that nobody wants: what is compiled now is not compiled while frames wait.
    new TableCopy(this.#dataplane).finish();
    this.#loop.run();
    this.#requests.close();
  }

  addNetwork(options: NetworkOptions): number {
    return this.#plane.addNetwork(options);
  }

  removeNetwork(network: number): void {
    this.#plane.removeNetwork(network, performance.now());
  }

  addUplink(options: UplinkOptions): number {
    return this.#plane.addUplink(options);
  }

  removeUplink(uplink: number): void {
    this.#plane.removeUplink(uplink, performance.now());
  }

  deny(uplink: number, prefixes: readonly DeniedPrefix[]): void {
    this.#plane.deny(uplink, prefixes);
  }

  addTap(tap: OpenTap, spec: PortSpec, faults?: string): PortId {
    const device = new TapDevice(tap, (fd) => this.#notify({ notice: 'close', fd }));
    return this.#addDevice(device, spec, faults !== undefined, faults);
  }

  addPacket(socket: OpenPacketSocket, spec: PortSpec): PortId {
    const device = new PacketDevice(socket, (fd) => this.#notify({ notice: 'close', fd }));
    return this.#addDevice(device, spec, true);
  }

  addSockets(network: number, segment: Segment, mtu: number): PortId {
    const arena = this.#arena;
    // Sockets are never replayed, so their secrets need no seed.
    const key: HashKey = [randomInt(2 ** 32) | 0, randomInt(2 ** 32) | 0];
    const log = (message: string) => this.#notify({ notice: 'log', level: 'warn', message });
    const device = new SocketUplink({ arena, segment, mtu, key, log });
    const { mac, ipv4, ipv6 } = segment.device;
    const port = this.#addDevice(device, { network, mtu, mac, ipv4, ipv6 }, true);
    this.#sockets.set(network, { device, port });
    return port;
  }

  #addDevice(inner: Device, spec: PortSpec, timed: boolean, faults?: string): PortId {
    let device = inner;
    try {
      if (faults !== undefined) device = new FaultyDevice(device, this.#arena, parseFaults(faults));
      const port = this.#plane.addPort(device, spec, performance.now());
      try {
        this.#loop.add(port, device, timed);
      } catch (error) {
        this.#plane.removePort(port, performance.now());
        throw error;
      }
      return port;
    } catch (error) {
      // The descriptor is ours also when no port comes of it.
      device.close();
      throw error;
    }
  }

  removePort(port: PortId): void {
    const device = this.#plane.removePort(port, performance.now());
    if (!device) return;
    this.#loop.remove(port, device);
    device.close();
    for (const subscriber of this.#observations.values()) subscriber.forget(port);
    for (const [uplink, sockets] of this.#sockets) if (sockets.port === port) this.#sockets.delete(uplink);
  }

  publish(options: PublishOptions, sockets: HostSockets | null): number {
    const publish = this.#plane.publish(options);
    if (sockets === null) return publish;
    try {
      const { address, protocol, host, from, to } = options;
      const family = typeof address === 'number' ? 4 : 6;
      const uplink = this.#sockets.get(sockets.uplink);
      if (!uplink) throw new RangeError(`uplink ${sockets.uplink} is none of sockets`);
      uplink.device.publish(publish, protocol, { family, host, ifname: sockets.ifname, from, to });
    } catch (error) {
      this.#plane.unpublish(publish, performance.now());
      throw error;
    }
    return publish;
  }

  unpublish(publish: number): void {
    const now = performance.now();
    for (const { device, port } of this.#sockets.values()) {
      // As long as their connections are known, endpoints can be told that they are reset: so many at a time.
      for (let isOver = false; !isOver; ) {
        const isLast = device.unpublish(publish);
        isOver = this.#plane.poll(port, LAST_WORDS, now) === 0 || isLast;
      }
    }
    this.#plane.unpublish(publish, now);
  }

  setUserRules(rules: readonly UserRule[]): void {
    this.#plane.setUserRules(rules);
  }

  setNames(network: number, names: readonly ZoneName[]): void {
    this.#plane.setNames(network, names);
  }

  setSearch(port: PortId, networks: readonly number[], own: readonly ZoneName[]): void {
    this.#plane.setSearch(port, networks, own);
  }

  answerQuery(id: number, message: Uint8Array): void {
    this.#plane.answerQuery(id, message, performance.now());
  }

  flows(filter: FlowFilter, from: number): FlowPage {
    return this.#dataplane.flowPage(filter, from, performance.now());
  }

  closeFlows(filter: FlowFilter): number {
    return this.#plane.closeFlows(filter, performance.now());
  }

  watchFlows(on: boolean): void {
    this.#dataplane.onFlow = on ? (event) => this.#flows.add(event, performance.now()) : null;
    if (!on) this.#flows.clear();
  }

  takenFlows(): void {
    this.#flows.taken(performance.now());
  }

  observe(
    { filter, ...wants }: Omit<ObserveOptions, 'ring'>,
    ring: SharedArrayBuffer,
  ): { observation: number; offset: number } {
    const observation = this.#nextObservation++;
    const compiled = filter === undefined ? {} : { filter: compileFilter(filter) };
    const { observer, ports } = this.#dataplane;
    observer.clock ??= () => performance.now();
    const subscriber = new RingSubscriber(ring, { ...wants, ...compiled }, ports);
    observer.subscribe(subscriber);
    this.#observations.set(observation, subscriber);
    return { observation, offset: performance.now() - Number(process.hrtime.bigint()) / 1e6 };
  }

  observePort(observation: number, port: PortId): void {
    this.#observations.get(observation)?.add(port);
  }

  stopObserving(observation: number): void {
    const subscriber = this.#observations.get(observation);
    if (subscriber) this.#dataplane.observer.unsubscribe(subscriber);
    this.#observations.delete(observation);
  }

  remember(everything: boolean): void {
    this.#dataplane.observer.remember(everything);
  }

  past(filter: PastFilter, most: number): Int32Array {
    return this.#dataplane.observer.past.list(filter, most);
  }

  snapshot(wants: SnapshotWants): Snapshot {
    for (const { device, port } of this.#sockets.values()) {
      this.#plane.discarded(port, DropReason.SOCKET_EXHAUSTED, device.takeRefused());
    }
    return this.#dataplane.snapshot(performance.now(), wants);
  }

  /** For questions that are tried on a copy. */
  save(): Later<SavedDataplane> {
    return this.#copies.add(() => {
      const now = performance.now();
      const { options } = this.#dataplane;
      return {
        copy: new TableCopy(this.#dataplane),
        answer: (tables) => savedDataplane(options, now, tables),
      };
    });
  }

  /** Begins to write down what enters the data plane, into a ring of so many bytes. */
  startRecording(bytes: number): Later<StartedRecording> {
    return this.#copies.add(() => {
      if (this.#recording !== null) throw new Error('a recording is running already');
      const ring = sharedRing(bytes);
      const began = performance.now();
      const log = new RecordLog(new RingWriter(ring), () => this.#notify({ notice: 'overrun' }));
      const recorder = new Recorder(this.#dataplane, this.#arena, log, () => performance.now());
      const { tables: copy, ports } = recorder.start(this.#severed);
      this.#recording = { recorder, log };
      this.#use(recorder);
      return { copy, answer: (tables) => ({ ring, tables, ports, began, options: this.#options }) };
    });
  }

  /** Ends the recording; answers the tables, null when records were lost before. */
  stopRecording(): Later<SavedTables | null> {
    return this.#copies.add(() => {
      if (this.#recording === null) throw new Error('no recording is running');
      const { recorder, log } = this.#recording;
      const copy = recorder.stop(this.#severed);
      this.#recording = null;
      this.#use(this.#dataplane);
      return { copy, answer: (tables) => (log.isOver ? null : tables) };
    });
  }

  #use(plane: Plane): void {
    this.#plane = plane;
    this.#loop.use(plane);
  }

  stop(): void {
    for (const { port } of this.#dataplane.snapshot(0, { ports: true }).ports) this.removePort(port);
    this.#loop.stop();
  }

  #takeRequests(): void {
    for (let message = receiveMessageOnPort(this.#requests); message; ) {
      const { id, method, args } = message.message as Request;
      try {
        // biome-ignore lint/complexity/noBannedTypes: the request's type ties the arguments to the method
        const value = (this[method] as Function).apply(this, args);
        if (value instanceof Later) value.onSettled = (answer, moved) => this.#settle(id, answer, moved);
        else this.#reply({ id, value });
      } catch (error) {
        this.#reply({ id, ...describeError(error) });
      }
      message = receiveMessageOnPort(this.#requests);
    }
  }

  #settle(id: number, answer: () => unknown, moved: readonly ArrayBuffer[]): void {
    try {
      this.#reply({ id, value: answer() }, moved);
    } catch (error) {
      this.#reply({ id, ...describeError(error) });
    }
  }

  #gone(port: PortId): void {
    this.removePort(port);
    this.#notify({ notice: 'gone', port });
  }

  /** Logged once per kind of error: a flood of bad frames must not become a flood of log lines. */
  #exception(error: unknown, frame: Frame | null): void {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (this.#logged.has(stack) || this.#logged.size >= 64) return;
    this.#logged.add(stack);
    if (frame === null) {
      this.#notify({
        notice: 'log',
        level: 'error',
        message: `a timer or a device failed and cost no known frame: ${stack}`,
      });
      return;
    }
    const hex = Buffer.from(frame.bytes.subarray(frame.at, frame.at + Math.min(frame.length, 256))).toString(
      'hex',
    );
    this.#notify({
      notice: 'log',
      level: 'error',
      message: `handling a frame failed and cost that frame: ${stack}\nframe (${frame.length} bytes): ${describe(frame)}\n${hex}`,
    });
  }

  #reply(reply: Reply, moved: readonly ArrayBuffer[] = []): void {
    this.#port.postMessage(reply, moved);
  }

  #notify(notice: Notice): void {
    this.#port.postMessage(notice);
  }
}

function describeError(error: unknown): { error: string; code?: string } {
  if (!(error instanceof Error)) return { error: String(error) };
  return { error: error.message, ...(error instanceof SyscallError && { code: error.code }) };
}

export type WorkerMethods = Pick<
  DataPlaneWorker,
  | 'addNetwork'
  | 'removeNetwork'
  | 'addUplink'
  | 'removeUplink'
  | 'deny'
  | 'addTap'
  | 'addPacket'
  | 'addSockets'
  | 'removePort'
  | 'publish'
  | 'unpublish'
  | 'setUserRules'
  | 'setNames'
  | 'setSearch'
  | 'answerQuery'
  | 'flows'
  | 'closeFlows'
  | 'watchFlows'
  | 'takenFlows'
  | 'observe'
  | 'observePort'
  | 'stopObserving'
  | 'remember'
  | 'past'
  | 'snapshot'
  | 'save'
  | 'startRecording'
  | 'stopRecording'
  | 'stop'
>;

new DataPlaneWorker(workerData as ThreadData).run();
