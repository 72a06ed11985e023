import { type Device, Transmit } from '../../switch/device.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { FrameRing } from '../../switch/frame-ring.ts';
import { gsoType, needsChecksum, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';

export interface MemoryDeviceOptions {
  /** Whether it takes GSO frames and partial checksums; true by default. */
  offload?: boolean;
  /** Frames that may wait to be received, and to be taken; 256 by default. */
  capacity?: number;
  /** Count transmitted frames and keep none: for benchmarks. It never blocks then. */
  discard?: boolean;
  /** Longest frame that it takes, from the Ethernet header on; any by default. */
  maxLength?: number;
}

/**
 * A device whose other end is the program: frames are injected on its receive side and taken from its transmit
 * side. It works with the slots of one arena, copies no frame and allocates nothing per frame. Transmitted
 * frames stay until they are taken; when no more fit in, it blocks, as a TAP does whose reader is slow.
 */
export class MemoryDevice implements Device {
  readonly fd = -1;
  readonly offload: boolean;
  /** Frames that the data plane has received. */
  received = 0;
  /** Frames and bytes that the data plane has transmitted. */
  sent = 0;
  sentBytes = 0;
  /** How often `transmit` answered BLOCKED. */
  blocked = 0;
  /** How often `transmit` answered REFUSED. */
  refused = 0;

  readonly #arena: Arena;
  readonly #incoming: FrameRing;
  readonly #outgoing: FrameRing;
  readonly #discard: boolean;
  readonly #maxLength: number;
  #gone = false;

  constructor(arena: Arena, options: MemoryDeviceOptions = {}) {
    const { offload = true, capacity = 256, discard = false, maxLength = Number.POSITIVE_INFINITY } = options;
    this.#arena = arena;
    this.offload = offload;
    this.#incoming = new FrameRing(capacity);
    this.#outgoing = new FrameRing(discard ? 0 : capacity);
    this.#discard = discard;
    this.#maxLength = maxLength;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Frames that wait to be received. */
  get waiting(): number {
    return this.#incoming.size;
  }

  /** Transmitted frames that wait to be taken. */
  get untaken(): number {
    return this.#outgoing.size;
  }

  // ---- the program's side ----

  /**
   * Lets the data plane receive `frame`, a slot of the arena with its virtio-net header in place. The caller's
   * reference passes to the device. False, and nothing passed, when there is no room.
   */
  inject(frame: Frame): boolean {
    if (this.#gone || this.#incoming.full) return false;
    this.#incoming.push(frame);
    return true;
  }

  /**
   * Copies bytes into a slot and injects that.
   * @param header virtio-net header, 12 bytes; without it, a frame with nothing offloaded
   * @returns false when there is no room, in the device or in the arena
   */
  injectBytes(bytes: Uint8Array, header?: Uint8Array): boolean {
    if (this.#gone || this.#incoming.full) return false;
    const frame = this.#arena.allocate(bytes.length);
    if (frame === undefined) return false;
    frame.bytes.set(bytes, frame.at);
    if (header === undefined) frame.bytes.fill(0, frame.at - VNET_LEN, frame.at);
    else frame.bytes.set(header, frame.at - VNET_LEN);
    this.#incoming.push(frame);
    return true;
  }

  /** The transmitted frame that waits longest, with its reference: the caller releases it. Null when none waits. */
  take(): Frame | null {
    return this.#outgoing.shift();
  }

  /** Takes a frame as a copy of its bytes, and releases it: for tests. */
  takeBytes(): Uint8Array | null {
    const frame = this.#outgoing.shift();
    if (frame === null) return null;
    const bytes = frame.bytes.slice(frame.at, frame.at + frame.length);
    this.#arena.release(frame);
    return bytes;
  }

  /** Behaves from now on as a device whose namespace has ended. */
  vanish(): void {
    this.#gone = true;
    this.#releaseAll();
  }

  // ---- the data plane's side ----

  receive(_arena: Arena, _now: number): Frame | null {
    const frame = this.#incoming.shift();
    if (frame !== null) this.received++;
    return frame;
  }

  transmit(frame: Frame, _now: number): Transmit {
    if (this.#gone) return Transmit.GONE;
    if (frame.length > this.#maxLength || (!this.offload && isUnfinished(frame))) {
      this.refused++;
      return Transmit.REFUSED;
    }
    if (!this.#discard) {
      if (this.#outgoing.full) {
        this.blocked++;
        return Transmit.BLOCKED;
      }
      this.#arena.retain(frame);
      this.#outgoing.push(frame);
    }
    this.sent++;
    this.sentBytes += frame.length;
    return Transmit.SENT;
  }

  /** At once while frames wait, else never. */
  deadline(): number {
    return this.#incoming.size > 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.vanish();
  }

  #releaseAll(): void {
    for (let frame = this.#incoming.shift(); frame !== null; frame = this.#incoming.shift()) {
      this.#arena.release(frame);
    }
    for (let frame = this.#outgoing.shift(); frame !== null; frame = this.#outgoing.shift()) {
      this.#arena.release(frame);
    }
  }
}

/** Whether something is left to do that a device without offload cannot: the data plane has to do it before. */
function isUnfinished(frame: Frame): boolean {
  const vnet = frame.at - VNET_LEN;
  return gsoType(frame.bytes, vnet) !== VNET_GSO_NONE || needsChecksum(frame.bytes, vnet);
}
