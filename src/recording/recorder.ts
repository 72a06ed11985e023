import { type Device, Transmit } from '../../switch/device.ts';
import type { DropReason } from '../../switch/drop-reason.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import type { PortSpec } from '../dataplane/commands.ts';
import type { Dataplane } from '../dataplane/dataplane.ts';
import type { DeviceArena } from './device-arena.ts';
import { FRAME_HELD, Kind, SlotOp, THROWN } from './format.ts';
import type { RecordLog } from './log.ts';
import type { COMMANDS, Command, DevicePort, Plane } from './plane.ts';
import { RecordedDevice } from './recorded-device.ts';
import { TableCopy } from './table-copy.ts';

type Severed = ((tuples: Int32Array, at: number) => void) | null;

/** Of a device's call: those in `receive` have no number of their own, and those between two calls have none at all. */
const IN_RECEIVE = -1;
const BETWEEN = 0;

/**
 * Stands in front of a data plane while it is recorded and writes down everything that enters it, in order. The data plane
 * itself knows nothing of that; without a recorder nobody asks whether there is one.
 *
 * Everything that devices are asked has a number, counted in the same way when the recording is played: what a device
 * answered is written only when it was not SENT.
 */
export class Recorder implements Plane {
  readonly egress: Plane['egress'];
  readonly #dataplane: Dataplane;
  readonly #arena: DeviceArena;
  readonly #log: RecordLog;
  readonly #clock: () => number;
  readonly #devices = new Map<PortId, RecordedDevice>();
  /** What devices did with slots and nobody has written down yet. */
  readonly #ops: SlotOp[] = [];
  readonly #slots: Frame[] = [];
  #calls = 0;
  /** A record that is written only when something comes of it: a poll, or a flush; 0 for none. */
  #pending = 0;
  #pendingPort = 0;
  #now = 0;

  /** @param clock monotonic milliseconds, for commands that have no time */
  constructor(dataplane: Dataplane, arena: DeviceArena, log: RecordLog, clock: () => number) {
    this.#dataplane = dataplane;
    this.#arena = arena;
    this.#log = log;
    this.#clock = clock;
    const { egress } = dataplane;
    this.egress = {
      blocked: egress.blocked,
      device: (port) => egress.device(port),
      flush: (port, now) => this.#flush(port, now),
      sendBatches: (now) => this.#sendBatches(now),
    };
  }

  get ports(): Plane['ports'] {
    return this.#dataplane.ports;
  }

  /**
   * Begins between two frames; answers a copy of all tables as they are now, which is to be completed, and the ports that there are.
   * @param severed who hears of connections that are ended, in place of the data plane's own listener
   */
  start(severed: Severed): { tables: TableCopy; ports: DevicePort[] } {
    const { egress } = this.#dataplane;
    egress.sendBatches(this.#clock());
    const tables = new TableCopy(this.#dataplane);
    const ports: DevicePort[] = [];
    for (const { port } of this.#dataplane.snapshot(this.#clock(), { ports: true }).ports) {
      const device = egress.device(port)!;
      ports.push(describeDevice(port, device));
      egress.add(port, this.#wrap(port, device));
    }
    this.#arena.onSlot = (op, frame) => this.#slot(op, frame);
    this.#dataplane.onSevered = (tuples, at) => this.#sever(severed, tuples, at);
    return { tables, ports };
  }

  /** Ends between two frames; answers a copy of all tables as they are now, which is to be completed, for a digest. */
  stop(severed: Severed): TableCopy {
    this.#sendBatches(this.#clock());
    this.#writeOps(BETWEEN);
    this.#arena.onSlot = null;
    this.#dataplane.onSevered = severed;
    for (const [port, device] of this.#devices) {
      if (this.#dataplane.egress.device(port) === device) this.#dataplane.egress.add(port, device.inner);
    }
    return new TableCopy(this.#dataplane, { forDigest: true });
  }

  // ---- the way of a frame ----

  poll(port: PortId, budget: number, now: number): number {
    this.#begin(Kind.POLL, port, now);
    const count = this.#dataplane.poll(port, budget, now);
    this.#end();
    return count;
  }

  receive(port: PortId, frame: Frame, now: number): void {
    this.#begin(Kind.POLL, port, now);
    this.received(port, frame, now);
    this.#dataplane.receive(port, frame, now);
    this.#end();
  }

  deadline(): number {
    return this.#dataplane.deadline();
  }

  expire(now: number): number {
    this.#begin(0, 0, now);
    this.#log.event(Kind.EXPIRE, 0, now);
    return this.#dataplane.expire(now);
  }

  #flush(port: PortId, now: number): boolean {
    this.#begin(Kind.FLUSH, port, now);
    const isEmpty = this.#dataplane.egress.flush(port, now);
    this.#end();
    return isEmpty;
  }

  #sendBatches(now: number): void {
    this.#begin(Kind.BATCHES, 0, now);
    this.#dataplane.egress.sendBatches(now);
    this.#end();
  }

  // ---- what is told to it ----

  addPort(device: Device, spec: PortSpec, now: number): PortId {
    this.#begin(0, 0, now);
    const { offload, batches } = describeDevice(0, device);
    this.#log.value(Kind.COMMAND, now, { method: 'addPort', args: [{ offload, batches }, spec, now] });
    // The number is known afterwards, and frames for the port may be sent before.
    const wrapped = this.#wrap(this.#dataplane.ports.next, device);
    return this.#dataplane.addPort(wrapped, spec, now);
  }

  removePort(port: PortId, now: number): Device | undefined {
    const device = this.#command('removePort', port, now);
    const recorded = this.#devices.get(port);
    this.#devices.delete(port);
    return recorded?.inner ?? device;
  }

  addNetwork: Plane['addNetwork'] = (...args) => this.#command('addNetwork', ...args);
  removeNetwork: Plane['removeNetwork'] = (...args) => this.#command('removeNetwork', ...args);
  addUplink: Plane['addUplink'] = (...args) => this.#command('addUplink', ...args);
  removeUplink: Plane['removeUplink'] = (...args) => this.#command('removeUplink', ...args);
  deny: Plane['deny'] = (...args) => this.#command('deny', ...args);
  publish: Plane['publish'] = (...args) => this.#command('publish', ...args);
  unpublish: Plane['unpublish'] = (...args) => this.#command('unpublish', ...args);
  setUserRules: Plane['setUserRules'] = (...args) => this.#command('setUserRules', ...args);
  setNames: Plane['setNames'] = (...args) => this.#command('setNames', ...args);
  setSearch: Plane['setSearch'] = (...args) => this.#command('setSearch', ...args);
  answerQuery: Plane['answerQuery'] = (...args) => this.#command('answerQuery', ...args);
  closeFlows: Plane['closeFlows'] = (...args) => this.#command('closeFlows', ...args);

  discarded(port: PortId, reason: DropReason, count: number): void {
    if (count > 0) this.#command('discarded', port, reason, count);
  }

  #command<C extends Command>(method: C, ...args: Parameters<Dataplane[C]>): ReturnType<Dataplane[C]> {
    const now = this.#clock();
    this.#begin(0, 0, now);
    this.#log.value(Kind.COMMAND, now, { method, args } satisfies {
      method: (typeof COMMANDS)[number];
      args: unknown[];
    });
    // biome-ignore lint/complexity/noBannedTypes: the method's type ties the arguments to it
    return (this.#dataplane[method] as Function).apply(this.#dataplane, args);
  }

  // ---- what devices say ----

  received(port: PortId, frame: Frame | null, now: number): void {
    const ops = this.#ops;
    const isFresh =
      frame !== null &&
      ops.length === 1 &&
      this.#slots[0] === frame &&
      (ops[0] === SlotOp.TAKE || ops[0] === SlotOp.TAKE_BIG);
    // Nearly always: the device took a slot and gives it now.
    if (isFresh) ops.length = 0;
    else if (ops.length > 0) this.#writeOps(IN_RECEIVE);
    if (frame === null) return;
    this.#write();
    this.#log.frame(Kind.FRAME, port, now, frame, isFresh ? frame.slot : frame.slot | FRAME_HELD);
  }

  transmitted(port: PortId, frame: Frame, status: Transmit | undefined, now: number): void {
    // Who waits for room is offered again and again; a flush that comes to nothing did not happen.
    if (status === Transmit.BLOCKED && this.#pending === Kind.FLUSH && this.#ops.length === 0) return;
    this.#write();
    const call = ++this.#calls;
    if (this.#ops.length > 0) this.#writeOps(call);
    if (status === Transmit.SENT) this.#log.frame(Kind.SENT, port, now, frame, frame.slot);
    else this.#log.pair(Kind.OUTCOME, port, now, call, status ?? THROWN);
  }

  #sever(listener: Severed, tuples: Int32Array, at: number): void {
    const call = ++this.#calls;
    listener?.(tuples, at);
    this.#writeOps(call);
  }

  #slot(op: SlotOp, frame: Frame): void {
    const ops = this.#ops;
    const last = ops.length - 1;
    // Looked whether there is something, and there was nothing.
    if (
      op === SlotOp.RELEASE &&
      last >= 0 &&
      this.#slots[last] === frame &&
      (ops[last] === SlotOp.TAKE || ops[last] === SlotOp.TAKE_BIG)
    ) {
      ops.length = last;
      return;
    }
    this.#slots[ops.length] = frame;
    ops.push(op);
  }

  // ---- records ----

  /** Something enters the data plane; with a kind, it is written down when something comes of it. */
  #begin(pending: number, port: PortId, now: number): void {
    this.#writeOps(BETWEEN);
    this.#pending = pending;
    this.#pendingPort = port;
    this.#now = now;
  }

  #end(): void {
    this.#pending = 0;
  }

  #write(): void {
    if (this.#pending === 0) return;
    this.#log.event(this.#pending, this.#pendingPort, this.#now);
    this.#pending = 0;
  }

  #writeOps(call: number): void {
    const ops = this.#ops;
    if (ops.length === 0) return;
    this.#write();
    for (const [i, op] of ops.entries()) {
      this.#log.pair(Kind.SLOT, 0, this.#now, call, (this.#slots[i]!.slot << 2) | op);
    }
    ops.length = 0;
  }

  #wrap(port: PortId, device: Device): RecordedDevice {
    const recorded = new RecordedDevice(device, port, this.#arena, this);
    this.#devices.set(port, recorded);
    return recorded;
  }
}

function describeDevice(port: PortId, { offload, transmitBatch }: Device): DevicePort {
  return { port, offload, batches: transmitBatch !== undefined };
}
