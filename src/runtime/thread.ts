import { randomInt } from 'node:crypto';
import { close } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { PortId } from '../../switch/frame.ts';
import type { ForwardedQuery } from '../../switch/name-server.ts';
import type { ZoneName } from '../../switch/zone.ts';
import type {
  ConntrackOptions,
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
import { makeObservationRing, ObservationReader } from '../dataplane/observation.ts';
import type { PastFilter } from '../dataplane/past.ts';
import { EventFd } from '../device/eventfd.ts';
import type { OpenPacketSocket } from '../device/packet-socket.ts';
import type { OpenTap } from '../device/tap.ts';
import type { StartedRecording } from '../recording/plane.ts';
import type { SavedTables } from '../recording/state-carrier.ts';
import type { Segment } from '../uplink/segment.ts';
import type { SavedDataplane } from '../why/fork.ts';
import type { DataPlane, HostSockets, Observation, ObserveOptions } from './data-plane.ts';
import type { Method, Notice, Reply, ThreadData } from './messages.ts';
import type { Later } from './table-copies.ts';
import type { WorkerMethods } from './worker.ts';

type LogListener = (level: 'warn' | 'error', message: string) => void;
/** What a method answers, now or later. */
type Answer<M extends Method> =
  ReturnType<WorkerMethods[M]> extends Later<infer T> ? T : ReturnType<WorkerMethods[M]>;
type Pending = { resolve: (value: never) => void; reject: (error: Error) => void };

export interface ThreadOptions {
  /** For hashes and random choices; when absent both are drawn at random, the one not to be told from the other. */
  seed?: number;
  conntrack?: ConntrackOptions;
}

/** The live data plane, seen from the main thread: every method is a message to the thread that runs it. */
export class DataPlaneThread implements DataPlane {
  readonly #worker: Worker;
  readonly #bell = new EventFd();
  readonly #requests = new MessageChannel();
  readonly #pending = new Map<number, Pending>();
  readonly #goneListeners: ((port: PortId) => void)[] = [];
  readonly #endListeners: ((error: Error) => void)[] = [];
  readonly #logListeners: LogListener[] = [];
  readonly #queryListeners: ((query: ForwardedQuery) => void)[] = [];
  readonly #flowListeners: ((event: FlowEvent) => void)[] = [];
  readonly #lossListeners: ((count: number) => void)[] = [];
  readonly #exited: Promise<void>;
  /** Descriptors that the thread has, or is to have. */
  readonly #descriptors = new Set<number>();
  /** Descriptors that are being closed, on Node's thread pool. */
  readonly #closing = new Set<Promise<void>>();
  /** Told when the recording that is running had no room. */
  #onOverrun: () => void = () => {};
  #nextId = 0;
  #stopping = false;
  #dead: Error | undefined;

  static async start({ seed, conntrack }: ThreadOptions = {}): Promise<DataPlaneThread> {
    const word = () => randomInt(2 ** 32) | 0;
    const thread = new DataPlaneThread({
      ...(seed === undefined ? { seed: word(), key: [word(), word()] } : { seed }),
      ...(conntrack && { conntrack }),
    });
    try {
      await thread.snapshot({});
      return thread;
    } catch (error) {
      await thread.close();
      throw error;
    }
  }

  private constructor(options: Pick<ThreadData, 'seed' | 'key' | 'conntrack'>) {
    const data: ThreadData = { ...options, eventfd: this.#bell.fd, requests: this.#requests.port2 };
    this.#worker = new Worker(new URL('../runtime/worker.js', import.meta.url), {
      name: 'data-plane',
      workerData: data,
      transferList: [this.#requests.port2],
    });
    // A thread that sleeps in the kernel cannot be terminated, only woken: without this a program that ends
    // without `close`, by an exception for example, would never end.
    process.once('exit', this.#stopNow);
    this.#worker.on('message', (message: Reply | Notice) => this.#receive(message));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        this.#fail(new Error('the data plane has stopped'));
        for (const fd of this.#descriptors) this.#closeDescriptor(fd);
        resolve();
      });
    });
  }

  addNetwork(options: NetworkOptions): Promise<number> {
    return this.#call('addNetwork', options);
  }

  removeNetwork(network: number): Promise<void> {
    return this.#call('removeNetwork', network);
  }

  addUplink(options: UplinkOptions): Promise<number> {
    return this.#call('addUplink', options);
  }

  removeUplink(uplink: number): Promise<void> {
    return this.#call('removeUplink', uplink);
  }

  deny(uplink: number, prefixes: readonly DeniedPrefix[]): Promise<void> {
    return this.#call('deny', uplink, prefixes);
  }

  addTap(tap: OpenTap, spec: PortSpec, faults?: string): Promise<PortId> {
    this.#own(tap.fd);
    return this.#call('addTap', tap, spec, faults);
  }

  addPacket(socket: OpenPacketSocket, spec: PortSpec): Promise<PortId> {
    this.#own(socket.fd);
    return this.#call('addPacket', socket, spec);
  }

  addSockets(uplink: number, segment: Segment, mtu: number): Promise<PortId> {
    return this.#call('addSockets', uplink, segment, mtu);
  }

  async removePort(port: PortId): Promise<void> {
    await this.#call('removePort', port);
    await this.#allClosed();
  }

  publish(options: PublishOptions, sockets: HostSockets | null = null): Promise<number> {
    return this.#call('publish', options, sockets);
  }

  unpublish(publish: number): Promise<void> {
    return this.#call('unpublish', publish);
  }

  setUserRules(rules: readonly UserRule[]): Promise<void> {
    return this.#call('setUserRules', rules);
  }

  setNames(network: number, names: readonly ZoneName[]): Promise<void> {
    return this.#call('setNames', network, names);
  }

  setSearch(port: PortId, networks: readonly number[], own: readonly ZoneName[]): Promise<void> {
    return this.#call('setSearch', port, networks, own);
  }

  onQuery(listener: (query: ForwardedQuery) => void): void {
    this.#queryListeners.push(listener);
  }

  answerQuery(id: number, message: Uint8Array): Promise<void> {
    return this.#call('answerQuery', id, message);
  }

  flows(filter: FlowFilter, from: number): Promise<FlowPage> {
    return this.#call('flows', filter, from);
  }

  closeFlows(filter: FlowFilter): Promise<number> {
    return this.#call('closeFlows', filter);
  }

  watchFlows(on: boolean): Promise<void> {
    return this.#call('watchFlows', on);
  }

  onFlow(listener: (event: FlowEvent) => void): void {
    this.#flowListeners.push(listener);
  }

  onFlowsLost(listener: (count: number) => void): void {
    this.#lossListeners.push(listener);
  }

  async observe({ ring: bytes, ...wants }: ObserveOptions): Promise<Observation> {
    const ring = makeObservationRing(bytes);
    const { observation: id, offset } = await this.#call('observe', wants, ring);
    return {
      ring,
      offset,
      add: (port) => this.#call('observePort', id, port),
      reader: new ObservationReader(ring),
      close: async () => {
        // With the thread everything ends that it observed.
        if (!this.#dead) await this.#call('stopObserving', id);
      },
    };
  }

  remember(everything: boolean): Promise<void> {
    return this.#call('remember', everything);
  }

  past(filter: PastFilter, most: number): Promise<Int32Array> {
    return this.#call('past', filter, most);
  }

  snapshot(wants: SnapshotWants): Promise<Snapshot> {
    return this.#call('snapshot', wants);
  }

  save(): Promise<SavedDataplane> {
    return this.#call('save');
  }

  startRecording(bytes: number, onOverrun: () => void): Promise<StartedRecording> {
    return this.#call('startRecording', bytes).then((started) => {
      this.#onOverrun = onOverrun;
      return started;
    });
  }

  stopRecording(): Promise<SavedTables | null> {
    return this.#call('stopRecording');
  }

  onPortGone(listener: (port: PortId) => void): void {
    this.#goneListeners.push(listener);
  }

  onEnd(listener: (error: Error) => void): void {
    this.#endListeners.push(listener);
  }

  onLog(listener: LogListener): void {
    this.#logListeners.push(listener);
  }

  /** Closes all ports and ends the thread. */
  async close(): Promise<void> {
    if (this.#stopping) return this.#exited;
    this.#stopping = true;
    // The thread may have died by itself; then there is nothing to stop.
    await this.#call('stop').catch(() => {});
    await this.#exited;
    await this.#allClosed();
    process.off('exit', this.#stopNow);
    this.#requests.port1.close();
    this.#bell.close();
  }

  readonly #stopNow = (): void => {
    this.#requests.port1.postMessage({ id: this.#nextId++, method: 'stop', args: [] });
    this.#bell.signal();
  };

  #call<M extends Method>(method: M, ...args: Parameters<WorkerMethods[M]>): Promise<Answer<M>> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#requests.port1.postMessage({ id, method, args });
      this.#bell.signal();
    });
  }

  #receive(message: Reply | Notice): void {
    if ('notice' in message) {
      switch (message.notice) {
        case 'gone':
          for (const listener of this.#goneListeners) listener(message.port);
          return;
        case 'flows':
          this.#tellFlows(message.events, message.lost);
          return;
        case 'query':
          for (const listener of this.#queryListeners) listener(message.query);
          return;
        case 'overrun':
          this.#onOverrun();
          return;
        case 'close':
          this.#closeDescriptor(message.fd);
          return;
        case 'log':
          for (const listener of this.#logListeners) listener(message.level, message.message);
          return;
      }
    }
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if ('error' in message) pending?.reject(Object.assign(new Error(message.error), { code: message.code }));
    else pending?.resolve(message.value as never);
  }

  /** The descriptor is the thread's from now on, or nobody's if there is no thread. */
  #own(fd: number): void {
    if (this.#dead) this.#closeDescriptor(fd);
    else this.#descriptors.add(fd);
  }

  #tellFlows(events: readonly FlowEvent[], lost: number): void {
    if (lost > 0) for (const listener of this.#lossListeners) listener(lost);
    for (const event of events) for (const listener of this.#flowListeners) listener(event);
    // Only now the next: who listens slowly is told less, not later and later.
    this.#call('takenFlows').catch(() => {});
  }

  #closeDescriptor(fd: number): void {
    this.#descriptors.delete(fd);
    const done = new Promise<void>((resolve) => {
      close(fd, () => {
        this.#closing.delete(done);
        resolve();
      });
    });
    this.#closing.add(done);
  }

  async #allClosed(): Promise<void> {
    await Promise.all(this.#closing);
  }

  #fail(error: Error): void {
    if (this.#dead) return;
    this.#dead = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    if (!this.#stopping) for (const listener of this.#endListeners) listener(error);
  }
}
