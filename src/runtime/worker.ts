import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { Device } from '../../switch/device.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import { describe } from '../../wire/describe.ts';
import type { NetworkOptions, PortSpec, Snapshot, SnapshotWants } from '../dataplane/commands.ts';
import { Dataplane } from '../dataplane/dataplane.ts';
import { EventFd } from '../device/eventfd.ts';
import { FaultyDevice, parseFaults } from '../device/faulty.ts';
import { type OpenTap, TapDevice } from '../device/tap.ts';
import { Loop } from './loop.ts';
import type { Notice, Reply, Request, ThreadData } from './messages.ts';

/**
 * The data-plane thread: a loop around a data plane, and the commands that the main thread sends. Messages
 * are taken only when the eventfd rings, between two batches of frames.
 */
class DataPlaneWorker {
  readonly #port = parentPort!;
  readonly #requests = (workerData as ThreadData).requests;
  readonly #dataplane: Dataplane;
  readonly #loop: Loop;
  readonly #logged = new Set<string>();

  constructor(data: ThreadData) {
    this.#dataplane = new Dataplane({
      seed: data.seed,
      ...(data.key && { key: data.key }),
      onException: (error, frame) => this.#exception(error, frame),
    });
    this.#loop = new Loop(
      this.#dataplane,
      new EventFd(data.eventfd),
      { wake: () => this.#takeRequests(), gone: (port) => this.#gone(port) },
      () => performance.now(),
    );
  }

  run(): void {
    this.#loop.run();
    this.#requests.close();
  }

  addNetwork(options: NetworkOptions): number {
    return this.#dataplane.addNetwork(options);
  }

  removeNetwork(network: number): void {
    this.#dataplane.removeNetwork(network, performance.now());
  }

  addTap(tap: OpenTap, spec: PortSpec, faults?: string): PortId {
    let device: Device = new TapDevice(tap, (fd) => this.#notify({ notice: 'close', fd }));
    try {
      if (faults !== undefined) device = new FaultyDevice(device, this.#dataplane.arena, parseFaults(faults));
      const port = this.#dataplane.addPort(device, spec, performance.now());
      try {
        this.#loop.add(port, device, faults !== undefined);
      } catch (error) {
        this.#dataplane.removePort(port, performance.now());
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
    const device = this.#dataplane.removePort(port, performance.now());
    if (!device) return;
    this.#loop.remove(port, device);
    device.close();
  }

  snapshot(wants: SnapshotWants): Snapshot {
    return this.#dataplane.snapshot(performance.now(), wants);
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
        this.#reply({ id, value: (this[method] as Function).apply(this, args) });
      } catch (error) {
        this.#reply({ id, error: error instanceof Error ? error.message : String(error) });
      }
      message = receiveMessageOnPort(this.#requests);
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

  #reply(reply: Reply): void {
    this.#port.postMessage(reply);
  }

  #notify(notice: Notice): void {
    this.#port.postMessage(notice);
  }
}

export type WorkerMethods = Pick<
  DataPlaneWorker,
  'addNetwork' | 'removeNetwork' | 'addTap' | 'removePort' | 'snapshot' | 'stop'
>;

new DataPlaneWorker(workerData as ThreadData).run();
