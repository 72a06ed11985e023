import type { Bridge } from '../../switch/bridge.ts';
import { BATCH, type Device, discardReason, Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame, PortId } from '../../switch/frame.ts';
import { FrameRing } from '../../switch/frame-ring.ts';
import { PORT_STRIDE, type Ports, TX_BYTES, TX_DROPPED, TX_FRAMES } from '../../switch/ports.ts';
import { type Verdict, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { type Carrier, carryFlag } from '../../wire/carrier.ts';
import { ETH_LEN } from '../../wire/ethernet.ts';
import { completeChecksum, segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import { gsoType, needsChecksum, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';
import { VLAN_LEN } from '../../wire/vlan.ts';
import type { Ledger } from './ledger.ts';
import type { Observer } from './observer.ts';

/** Frames that may wait for one device that has no room. */
const QUEUE = 64;
/**
 * Bytes of a frame that waits for others to be sent with it. Copying a longer one takes long enough for its receiver to be at
 * work on the one before it, which is still in the cache.
 */
const BATCHED = 2048;

/** Frames that go to a device together. */
class Batch {
  readonly frames: Frame[] = [];
  readonly outcomes: Transmit[] = new Array(BATCH).fill(Transmit.SENT);
  /** 1 where a story says already that the frame is sent. */
  readonly told = new Uint8Array(BATCH);
  size = 0;
}

/**
 * The edge: the only place that acts on verdicts. Gives frames to devices, finishes in software what a device
 * cannot (segmentation, checksums), queues for devices that are full, and keeps the account.
 */
export class Egress {
  /** Ports whose device answered BLOCKED since the runtime looked last; it then waits for them to be writable. */
  readonly blocked: PortId[] = [];
  readonly #arena: Arena;
  readonly #ports: Ports;
  readonly #ledger: Ledger;
  readonly #bridges: readonly (Bridge | undefined)[];
  readonly #observer: Observer;
  readonly #onException: (error: unknown, frame: Frame) => void;
  readonly #devices: (Device | undefined)[];
  readonly #queues: (FrameRing | undefined)[];
  readonly #batches: (Batch | undefined)[];
  /** Ports with a batch that is not sent yet. */
  readonly #unsent: PortId[] = [];

  /** @param onException hears of every frame whose sending threw; the frame is lost to that port alone */
  constructor(
    arena: Arena,
    ports: Ports,
    ledger: Ledger,
    bridges: readonly (Bridge | undefined)[],
    observer: Observer,
    onException: (error: unknown, frame: Frame) => void,
  ) {
    this.#arena = arena;
    this.#ports = ports;
    this.#ledger = ledger;
    this.#bridges = bridges;
    this.#observer = observer;
    this.#onException = onException;
    this.#devices = new Array(ports.capacity).fill(undefined);
    this.#queues = new Array(ports.capacity).fill(undefined);
    this.#batches = new Array(ports.capacity).fill(undefined);
  }

  /**
   * The frames that wait. None are gathered: call `sendBatches` before.
   * @param ports those that there are
   * @param device of a port on the way back
   */
  carry(carrier: Carrier, ports: Iterable<PortId>, device: (port: PortId) => Device): void {
    for (const port of ports) {
      this.#devices[port] ??= device(port);
      const size = this.#queues[port]?.size ?? 0;
      if (!carryFlag(carrier, size > 0)) continue;
      this.#queues[port] ??= new FrameRing(QUEUE);
      this.#queues[port].carry(carrier, this.#arena.frames);
    }
  }

  device(port: PortId): Device | undefined {
    return this.#devices[port];
  }

  add(port: PortId, device: Device): void {
    this.#devices[port] = device;
  }

  /** Forgets the port's device; what waited for it is dropped. The caller closes the device. */
  remove(port: PortId, now: number): void {
    const queue = this.#queues[port];
    for (let frame = queue?.shift(); frame; frame = queue?.shift()) {
      this.#ledger.held--;
      this.#drop(port, frame, DropReason.PORT_GONE, now);
      this.#arena.release(frame);
    }
    const batch = this.#batches[port];
    if (batch !== undefined) this.#cancel(port, batch, DropReason.PORT_GONE, now);
    this.#queues[port] = undefined;
    this.#batches[port] = undefined;
    this.#devices[port] = undefined;
  }

  /** Does what the verdict on a frame says, and gives the caller's reference back. */
  settle(frame: Frame, verdict: Verdict, now: number): void {
    const argument = verdictArgument(verdict);
    switch (verdictKind(verdict)) {
      case VerdictKind.FORWARD:
        this.#send(argument, frame, now);
        break;
      case VerdictKind.FLOOD:
        this.#flood(argument, frame, now);
        break;
      case VerdictKind.CONSUME:
        this.#ledger.consumed++;
        break;
      case VerdictKind.HOLD:
        this.#ledger.held++;
        break;
      default:
        this.#ledger.drop(argument as DropReason);
        if (frame.trace === null) this.#observer.dropped(frame, verdict, now);
    }
    if (frame.trace !== null) this.#observer.settled(frame, verdict);
    this.#arena.release(frame);
  }

  /** Sends what waits for a port whose device is writable again; true when nothing waits any more. */
  flush(port: PortId, now: number): boolean {
    const queue = this.#queues[port];
    const device = this.#devices[port];
    if (!queue || !device) return true;
    for (let frame = queue.first(); frame; frame = queue.first()) {
      let status: Transmit | undefined;
      try {
        status = device.transmit(frame, now);
      } catch (error) {
        this.#onException(error, frame);
      }
      if (status === Transmit.BLOCKED) return false;
      const told = queue.mark;
      queue.shift();
      this.#ledger.held--;
      if (this.#observer.isOn) this.#observer.resumed(frame, now);
      if (status === undefined) this.#drop(port, frame, DropReason.EXCEPTION, now);
      else if (status === Transmit.SENT && frame.trace !== null && told !== 0) {
        this.#count(port, frame);
        this.#observer.sentAfterAll(frame, port);
      } else this.#account(port, frame, status, now);
      if (frame.trace !== null) this.#observer.concluded(frame);
      this.#arena.release(frame);
    }
    return true;
  }

  /** Sends what was gathered: after the frames of one port, and before anybody sleeps. */
  sendBatches(now: number): void {
    const unsent = this.#unsent;
    for (let port = unsent.pop(); port !== undefined; port = unsent.pop()) {
      const batch = this.#batches[port];
      if (batch !== undefined && batch.size > 0) this.#sendBatch(port, now);
    }
  }

  #flood(network: number, frame: Frame, now: number): void {
    const { members, memberCount } = this.#bridges[network]!;
    const isolated = this.#ports.isolated;
    const ingress = frame.ingress;
    let copies = 0;
    for (let i = 0; i < memberCount; i++) {
      const port = members[i]!;
      if (port === ingress || (isolated[port] && isolated[ingress])) continue;
      if (copies++ > 0) this.#ledger.copies++;
      this.#send(port, frame, now);
    }
    if (copies > 0) return;
    this.#ledger.drop(DropReason.NO_EGRESS);
    this.#observer.lost(frame, ingress, DropReason.NO_EGRESS, 0, now);
  }

  #send(port: PortId, frame: Frame, now: number): void {
    try {
      this.#deliver(port, frame, now);
    } catch (error) {
      // Thrown before the frame (or the segment of it that was on its way) was accounted for: nothing comes after that.
      this.#drop(port, frame, DropReason.EXCEPTION, now);
      this.#onException(error, frame);
    }
  }

  #deliver(port: PortId, frame: Frame, now: number): void {
    const device = this.#devices[port];
    if (!device) {
      this.#ledger.drop(DropReason.PORT_GONE);
      this.#observer.lost(frame, port, DropReason.PORT_GONE, 0, now);
      return;
    }
    const vnet = frame.at - VNET_LEN;
    const bytes = frame.bytes;
    const gso = gsoType(bytes, vnet) !== VNET_GSO_NONE;
    const tags = frame.vlan >= 0 ? VLAN_LEN : 0;
    const longest = this.#ports.mtu[port]! + ETH_LEN + tags;
    if (frame.length > longest && (!gso || segmentLength(frame) > longest)) {
      this.#drop(port, frame, DropReason.PKT_TOO_BIG, now);
      return;
    }
    if (!device.offload) {
      if (gso) {
        this.#sendSegments(port, device, frame, now);
        return;
      }
      if (needsChecksum(bytes, vnet) && !completeChecksum(frame)) {
        this.#drop(port, frame, DropReason.VNET_INHDR, now);
        return;
      }
    }
    this.#transmit(port, device, frame, now);
  }

  /** One frame in many pieces, for a device without segmentation offload. */
  #sendSegments(port: PortId, device: Device, frame: Frame, now: number): void {
    const count = segmentCount(frame);
    if (count === 0) this.#drop(port, frame, DropReason.VNET_INHDR, now);
    for (let index = 0; index < count; index++) {
      if (index > 0) this.#ledger.copies++;
      const segment = this.#arena.allocate(segmentLength(frame));
      if (!segment) {
        this.#drop(port, frame, DropReason.NOMEM, now);
        continue;
      }
      try {
        segment.ingress = frame.ingress;
        segment.origin = frame.origin;
        segment.packet = frame.packet;
        segment.trace = frame.trace;
        writeSegment(frame, index, segment);
        this.#transmit(port, device, segment, now);
      } finally {
        segment.trace = null;
        this.#arena.release(segment);
      }
    }
  }

  #transmit(port: PortId, device: Device, frame: Frame, now: number): void {
    const queue = this.#queues[port];
    // Frames that wait go first: order is kept per port.
    if (queue !== undefined && queue.size > 0) {
      this.#enqueue(port, frame, now, 0);
      return;
    }
    if (device.transmitBatch !== undefined && frame.length <= BATCHED) {
      this.#gather(port, frame, now);
      return;
    }
    const batch = this.#batches[port];
    if (batch !== undefined && batch.size > 0) {
      this.#sendBatch(port, now);
      this.#transmit(port, device, frame, now);
      return;
    }
    this.#conclude(port, frame, device.transmit(frame, now), now, 0);
  }

  #conclude(port: PortId, frame: Frame, status: Transmit, now: number, told: number): void {
    if (status === Transmit.BLOCKED) this.#enqueue(port, frame, now, told);
    else if (told === 0) this.#account(port, frame, status, now);
    else if (status === Transmit.SENT) this.#count(port, frame);
    else this.#drop(port, frame, reasonOf(status), now, told);
  }

  /** Keeps a small frame until `sendBatches`, or until there are enough of them. */
  #gather(port: PortId, frame: Frame, now: number): void {
    let batch = this.#batches[port];
    if (batch === undefined) {
      batch = new Batch();
      this.#batches[port] = batch;
    }
    if (batch.size === 0) this.#unsent.push(port);
    this.#arena.retain(frame);
    this.#ledger.held++;
    const told = frame.trace === null ? 0 : 1;
    batch.told[batch.size] = told;
    batch.frames[batch.size++] = frame;
    // What a story says of it is said now, while the story is told.
    if (told !== 0) this.#observer.sent(frame, port, now);
    if (batch.size === BATCH) this.#sendBatch(port, now);
  }

  #sendBatch(port: PortId, now: number): void {
    const batch = this.#batches[port]!;
    const { frames, outcomes, told, size } = batch;
    const device = this.#devices[port]!;
    try {
      device.transmitBatch!(frames, size, outcomes, now);
    } catch (error) {
      this.#onException(error, frames[0]!);
      this.#cancel(port, batch, DropReason.EXCEPTION, now);
      return;
    }
    batch.size = 0;
    for (let i = 0; i < size; i++) {
      const frame = frames[i]!;
      this.#ledger.held--;
      this.#conclude(port, frame, outcomes[i]!, now, told[i]!);
      this.#arena.release(frame);
    }
  }

  #cancel(port: PortId, batch: Batch, reason: DropReason, now: number): void {
    for (let i = 0; i < batch.size; i++) {
      this.#ledger.held--;
      this.#drop(port, batch.frames[i]!, reason, now, batch.told[i]!);
      this.#arena.release(batch.frames[i]!);
    }
    batch.size = 0;
  }

  #enqueue(port: PortId, frame: Frame, now: number, told: number): void {
    let queue = this.#queues[port];
    if (!queue) {
      queue = new FrameRing(QUEUE);
      this.#queues[port] = queue;
    }
    const kept = queue.full ? undefined : this.#arena.park(frame);
    if (!kept) {
      this.#drop(port, frame, DropReason.FULL_RING, now, told);
      return;
    }
    if (queue.size === 0) this.blocked.push(port);
    queue.push(kept, told);
    this.#ledger.held++;
    if (frame.trace !== null || told !== 0) this.#observer.queued(frame, port, told, now);
  }

  #account(port: PortId, frame: Frame, status: Transmit, now: number): void {
    if (status === Transmit.SENT) {
      this.#count(port, frame);
      if (frame.trace !== null) this.#observer.sent(frame, port, now);
    } else this.#drop(port, frame, reasonOf(status), now);
  }

  #count(port: PortId, frame: Frame): void {
    this.#ledger.sent++;
    const row = port * PORT_STRIDE;
    this.#ports.counters[row + TX_FRAMES]!++;
    this.#ports.counters[row + TX_BYTES]! += frame.length;
  }

  /** @param told whether a story says that it was sent */
  #drop(port: PortId, frame: Frame, reason: DropReason, now: number, told = 0): void {
    this.#ledger.drop(reason);
    this.#observer.lost(frame, port, reason, told, now);
    this.#ports.counters[port * PORT_STRIDE + TX_DROPPED]!++;
  }
}

/** Why a frame was dropped that a device did not take. */
function reasonOf(status: Transmit): DropReason {
  if (status === Transmit.GONE) return DropReason.PORT_GONE;
  if (status === Transmit.INVALID) return DropReason.VNET_INHDR;
  return discardReason(status) || DropReason.LINK_DOWN;
}
