import type { Carrier } from '../wire/carrier.ts';
import { Packet } from '../wire/packet.ts';
import { VNET_LEN } from '../wire/virtio-net.ts';
import type { Trace } from './trace.ts';

/** Free bytes in front of every received frame: room for a virtio-net header, tags and encapsulation. */
export const HEADROOM = 256;
/** Bytes of a slot for frames of ordinary size, headroom included. */
export const SMALL_SLOT = 2048;
/** Bytes of a slot for a 64 KiB GSO frame with its Ethernet header and tags, headroom included. */
export const BIG_SLOT = 66 * 1024;

/** A port of the switch: a small integer, unique in the deck while the port lives. */
export type PortId = number;

/**
 * A frame is one slot of the arena and the description of what lies in it. Descriptors are made once, with
 * the arena, and reused for ever; whoever holds one holds a reference (`Arena.retain`, `Arena.release`).
 */
export class Frame extends Packet {
  /** Index of the slot; devices keep per-slot values (addresses) under it. */
  readonly slot: number;
  /** First byte of the slot. */
  readonly base: number;
  /** First byte behind the slot. */
  readonly limit: number;
  /** The port by which the frame came in; once the gateway has routed it, the gateway's own in the network where it goes on. */
  ingress: PortId = 0;
  /** The port by which its packet came into the deck, routed or not: whose it is. */
  origin: PortId = 0;
  /**
   * The packet's id: the next number for every frame that comes in, and for every one that the deck makes; copies keep it. It wraps
   * at 32 bits and is never 0, which is no packet.
   */
  packet = 0;
  /** Who hears what becomes of it; null while nobody looks. */
  trace: Trace | null = null;
  /** What is to become of it; set by whoever puts the frame into an outbox. */
  verdict = 0;
  /**
   * Bytes of the longest IP packet among the fragments that this datagram came in, at least 576 (IPv6: 1,280): it may be
   * cut again, into pieces that are not longer (also with DF, also IPv6). 0 when it came in whole.
   */
  largestFragment = 0;
  /** Identification of the IPv6 fragments that it came in; says nothing when `largestFragment` is 0. */
  fragmentIdentification = 0;
  /** The tracked connection that it belongs to, a ref (see nat/conntrack.ts), or -1. */
  flow = -1;
  /** The connection's serial when `flow` was set: another one means that the row is somebody else's by now. */
  flowSerial = 0;
  /** Holders; at 0 the slot is free. Owned by the arena. */
  references = 0;

  constructor(bytes: Uint8Array, slot: number, base: number, size: number) {
    super(bytes);
    this.slot = slot;
    this.base = base;
    this.limit = base + size;
  }

  /** The frame, but not who holds it. */
  carry(carrier: Carrier): void {
    this.at = carrier.number(this.at);
    this.length = carrier.number(this.length);
    this.carryHeaders(carrier);
    carrier.column(this.bytes.subarray(this.at - VNET_LEN, this.at + this.length));
  }

  /** What is known of it beside its bytes. Fields that nobody has set for this frame are those of an earlier one. */
  carryHeaders(carrier: Carrier): void {
    this.ingress = carrier.number(this.ingress);
    this.origin = carrier.detail(this.origin);
    this.packet = carrier.number(this.packet);
    this.flow = carrier.number(this.flow);
    this.largestFragment = carrier.number(this.largestFragment);
    this.flowSerial = carrier.detail(this.flowSerial);
    this.fragmentIdentification = carrier.detail(this.fragmentIdentification);
    this.verdict = carrier.detail(this.verdict);
    this.etherType = carrier.detail(this.etherType);
    this.vlan = carrier.detail(this.vlan);
    this.l3 = carrier.detail(this.l3);
    this.end = carrier.detail(this.end);
    this.protocol = carrier.detail(this.protocol);
    this.l4 = carrier.detail(this.l4);
    this.payload = carrier.detail(this.payload);
    this.fragmentOffset = carrier.detail(this.fragmentOffset);
    this.moreFragments = carrier.detail(this.moreFragments ? 1 : 0) !== 0;
    this.fragmentHeader = carrier.detail(this.fragmentHeader);
  }

  /** Takes over what is known of `from` beyond its bytes: where it came from, and whose it is. */
  inherit(from: Frame): void {
    this.ingress = from.ingress;
    this.origin = from.origin;
    this.packet = from.packet;
    this.trace = from.trace;
    this.largestFragment = from.largestFragment;
    this.fragmentIdentification = from.fragmentIdentification;
    this.flow = from.flow;
    this.flowSerial = from.flowSerial;
  }
}

/** How many slots of each size an arena has. */
export interface ArenaSize {
  small: number;
  big: number;
}

/**
 * All frame memory of one data plane, in one buffer that is allocated at the start. Taking and giving back a
 * slot is a pop and a push; the slot given back last is taken first, because it is still in the cache.
 */
export class Arena {
  readonly bytes: Uint8Array;
  readonly frames: readonly Frame[];
  readonly #small: Int32Array;
  readonly #big: Int32Array;
  #smallFree = 0;
  #bigFree = 0;

  /** @param shared another arena whose slots this one stands for; it then has none of its own */
  constructor(size: ArenaSize = { small: 2048, big: 256 }, shared?: Arena) {
    const { small, big } = size;
    const bytes = new Uint8Array(small * SMALL_SLOT + big * BIG_SLOT);
    const frames: Frame[] = [];
    this.bytes = shared?.bytes ?? bytes;
    this.#small = new Int32Array(small);
    this.#big = new Int32Array(big);
    for (let i = 0; i < big; i++) frames.push(new Frame(bytes, frames.length, i * BIG_SLOT, BIG_SLOT));
    for (let i = 0; i < small; i++) {
      frames.push(new Frame(bytes, frames.length, big * BIG_SLOT + i * SMALL_SLOT, SMALL_SLOT));
    }
    this.frames = shared?.frames ?? frames;
    // Filled from the end, so that slot 0 is the first to be taken.
    for (let slot = frames.length - 1; slot >= 0; slot--) this.#give(frames[slot]!);
  }

  /** Which slots are held how often; what lies in them is whoever's who holds them. */
  carry(carrier: Carrier): void {
    this.#smallFree = carrier.number(this.#smallFree);
    this.#bigFree = carrier.number(this.#bigFree);
    carrier.column(this.#small, this.#smallFree);
    carrier.column(this.#big, this.#bigFree);
    const references = new Int32Array(this.frames.length);
    for (let slot = 0; slot < references.length; slot++) references[slot] = this.frames[slot]!.references;
    carrier.column(references);
    for (let slot = 0; slot < references.length; slot++) this.frames[slot]!.references = references[slot]!;
  }

  /** Slots that nobody holds. */
  get free(): number {
    return this.#smallFree + this.#bigFree;
  }

  /**
   * A frame with room for `length` bytes behind the headroom, held once by the caller; undefined when all
   * slots are taken. A small frame takes a big slot only when the small ones are gone.
   */
  allocate(length: number): Frame | undefined {
    if (length <= SMALL_SLOT - HEADROOM && this.#smallFree > 0) {
      return this.#take(this.#small[--this.#smallFree]!, length);
    }
    if (length <= BIG_SLOT - HEADROOM && this.#bigFree > 0) {
      return this.#take(this.#big[--this.#bigFree]!, length);
    }
    return undefined;
  }

  /** Whether so few big slots are left that nobody should keep frames: the rest is for those on their way. */
  get scarce(): boolean {
    return this.#bigFree <= this.#big.length >> 2;
  }

  /**
   * A frame to keep for longer, held for the caller: the same one, or, when a small frame occupies a big
   * slot (devices read into big slots, not knowing what comes), a copy of it in a small slot. undefined when
   * memory is scarce. Waiting is off the fast path, and the copy is of less than 2 KiB.
   */
  park(frame: Frame): Frame | undefined {
    const small = frame.limit - frame.base === BIG_SLOT && frame.length <= SMALL_SLOT - HEADROOM;
    if (small && this.#smallFree > 0) {
      const copy = this.#take(this.#small[--this.#smallFree]!, frame.length);
      this.bytes.copyWithin(copy.at - VNET_LEN, frame.at - VNET_LEN, frame.at + frame.length);
      copy.moveHeaders(frame);
      copy.inherit(frame);
      // What becomes of it once it goes on is another story.
      copy.trace = null;
      return copy;
    }
    if (frame.limit - frame.base === BIG_SLOT && this.scarce) return undefined;
    frame.references++;
    return frame;
  }

  retain(frame: Frame): void {
    frame.references++;
  }

  release(frame: Frame): void {
    if (--frame.references === 0) this.#give(frame);
  }

  #take(slot: number, length: number): Frame {
    const frame = this.frames[slot]!;
    frame.references = 1;
    frame.at = frame.base + HEADROOM;
    frame.length = length;
    frame.largestFragment = 0;
    frame.flow = -1;
    frame.trace = null;
    return frame;
  }

  #give(frame: Frame): void {
    if (frame.limit - frame.base === BIG_SLOT) this.#big[this.#bigFree++] = frame.slot;
    else this.#small[this.#smallFree++] = frame.slot;
  }
}
