import type { Arena, Frame } from '../../switch/frame.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse, parseEthernet } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';
import { completeChecksum, segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import { clearVnet, gsoType, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';
import type { Faults } from './faults.ts';

/** What has happened in one direction. Always: frames + duplicated = passed + lost + overflowed + still waiting. */
export interface ImpairmentCounters {
  /** Frames that came, segments of a frame that was cut counted one by one. */
  frames: number;
  /** Frames that went on. */
  passed: number;
  lost: number;
  corrupted: number;
  duplicated: number;
  reordered: number;
  /** Lost because too many were waiting, or too little memory was left for frames to wait in. */
  overflowed: number;
  /** Duplicates and segments that were not made, corruptions that were not done, because no slot was free. */
  starved: number;
}

/**
 * The faults of one direction. Frames enter, each with a reference that passes to it, and come out when they are due.
 * What happens to a frame is decided when it enters, by the same number of draws for each, so that one probability
 * does not change what the others do; when it is looked at does not matter.
 */
export class Impairment {
  readonly counters: ImpairmentCounters = {
    frames: 0,
    passed: 0,
    lost: 0,
    corrupted: 0,
    duplicated: 0,
    reordered: 0,
    overflowed: 0,
    starved: 0,
  };
  readonly #faults: Readonly<Faults>;
  readonly #arena: Arena;
  readonly #readOnly: boolean;
  readonly #random: Random;
  readonly #bits: Random;
  readonly #cut: boolean;
  readonly #waiting: DueQueue;
  readonly #late: LateQueue;
  #overtaken = 0;

  /** @param readOnly whether whoever gets the frames leaves their bytes alone: then both of a duplicate are one slot */
  constructor(faults: Readonly<Faults>, seed: number, arena: Arena, readOnly: boolean) {
    this.#faults = faults;
    this.#arena = arena;
    this.#readOnly = readOnly;
    this.#random = new Random(seed);
    this.#bits = new Random(~seed);
    // The receiver of a partial checksum finishes it over whatever the bytes are then, or believes it unseen: a
    // flipped bit in a GSO frame would become valid data. So frames are finished first, and a GSO frame can only
    // be finished by cutting it.
    this.#cut = faults.perSegment || faults.corrupt > 0;
    this.#waiting = new DueQueue(faults.limit);
    this.#late = new LateQueue(faults.reorder > 0 ? faults.limit : 0);
  }

  /** Frames that wait. */
  get held(): number {
    return this.#waiting.size + this.#late.size;
  }

  enter(frame: Frame, now: number): void {
    if (gsoType(frame.bytes, frame.at - VNET_LEN) === VNET_GSO_NONE) {
      if (this.#faults.perSegment) finish(frame);
      this.#enterOne(frame, now);
    } else if (this.#cut) this.#enterSegments(frame, now);
    else this.#enterOne(frame, now);
  }

  /** The next frame that is due at `now`, with its reference; null when there is none. */
  next(now: number): Frame | null {
    while (this.#late.size > 0 && this.#late.until <= now) this.#release(this.#late.until);
    if (this.#waiting.size === 0 || this.#waiting.due > now) return null;
    this.counters.passed++;
    return this.#waiting.shift();
  }

  /** When `next` will have something; Infinity if nothing waits. */
  deadline(): number {
    return Math.min(this.#waiting.due, this.#late.until);
  }

  /** Gives back all frames that wait. */
  clear(): void {
    while (this.#late.size > 0) this.#arena.release(this.#late.shift());
    while (this.#waiting.size > 0) this.#arena.release(this.#waiting.shift());
  }

  #enterSegments(frame: Frame, now: number): void {
    // A device gives frames that nobody has parsed yet.
    const count = parse(frame) === Malformed.NONE ? segmentCount(frame) : 0;
    if (count === 0) {
      // Cannot be cut; the data plane will refuse it with a reason of its own.
      this.#enterOne(frame, now);
      return;
    }
    for (let index = 0; index < count; index++) {
      const segment = this.#arena.allocate(segmentLength(frame));
      if (segment === undefined) {
        this.counters.starved += count - index;
        break;
      }
      segment.ingress = frame.ingress;
      segment.origin = frame.origin;
      writeSegment(frame, index, segment);
      this.#enterOne(segment, now);
    }
    this.#arena.release(frame);
  }

  #enterOne(arrived: Frame, now: number): void {
    const faults = this.#faults;
    const counters = this.counters;
    const random = this.#random;
    const lost = random.chance(faults.loss);
    const corrupt = random.chance(faults.corrupt);
    const duplicate = random.chance(faults.duplicate);
    const reorder = random.chance(faults.reorder);
    const share = random.next() / 0x8000_0000 - 1;
    const lag = Math.max(0, faults.delay + share * faults.jitter);

    counters.frames++;
    if (lost) {
      counters.lost++;
      this.#arena.release(arrived);
      return;
    }
    const frame = corrupt ? this.#corrupted(arrived) : arrived;
    const twin = duplicate ? this.#twin(frame) : undefined;
    if (reorder) {
      counters.reordered++;
      this.#holdBack(frame, lag, now);
    } else {
      this.#wait(frame, now + lag, now);
      this.#overtaken++;
    }
    if (twin !== undefined) this.#wait(twin, now + lag, now);
    while (this.#late.size > 0 && this.#late.after <= this.#overtaken) this.#release(now);
  }

  /** The frame with its checksum finished and one bit flipped: itself, or a copy when others hold it. */
  #corrupted(frame: Frame): Frame {
    if (frame.length === 0) return frame;
    let target = frame;
    if (frame.references > 1) {
      const copy = this.#copy(frame);
      if (copy === undefined) return frame;
      this.#arena.release(frame);
      target = copy;
    }
    finish(target);
    const { bytes, at } = target;
    const bit = this.#bits.below(target.length * 8);
    bytes[at + (bit >>> 3)]! ^= 1 << (bit & 7);
    this.counters.corrupted++;
    return target;
  }

  #twin(frame: Frame): Frame | undefined {
    let twin: Frame | undefined = frame;
    // Whoever receives a frame rewrites it in place, so the second needs bytes of its own.
    if (this.#readOnly) this.#arena.retain(frame);
    else twin = this.#copy(frame);
    if (twin !== undefined) this.counters.duplicated++;
    return twin;
  }

  #copy(frame: Frame): Frame | undefined {
    const copy = this.#arena.allocate(frame.length);
    if (copy === undefined) {
      this.counters.starved++;
      return undefined;
    }
    copy.bytes.copyWithin(copy.at - VNET_LEN, frame.at - VNET_LEN, frame.at + frame.length);
    copy.moveHeaders(frame);
    copy.ingress = frame.ingress;
    copy.origin = frame.origin;
    return copy;
  }

  /** Lets a frame wait until `due`. */
  #wait(frame: Frame, due: number, now: number): void {
    const kept = due <= now ? frame : this.#kept(frame);
    if (kept === undefined) return;
    if (this.held < this.#faults.limit) this.#waiting.push(kept, due);
    else this.#overflow(kept);
  }

  #holdBack(frame: Frame, lag: number, now: number): void {
    const kept = this.#kept(frame);
    if (kept === undefined) return;
    const { distance, hold, limit } = this.#faults;
    if (this.held < limit) this.#late.push(kept, this.#overtaken + distance, now + hold, lag);
    else this.#overflow(kept);
  }

  /** The late frame that waits longest goes on at `now`. */
  #release(now: number): void {
    const { lag } = this.#late;
    this.#waiting.push(this.#late.shift(), now + lag);
  }

  /** The frame in a slot where it may stay, or nothing, and the frame given up, when there is no such slot. */
  #kept(frame: Frame): Frame | undefined {
    const kept = this.#arena.park(frame);
    if (kept === undefined) this.#overflow(frame);
    else this.#arena.release(frame);
    return kept;
  }

  #overflow(frame: Frame): void {
    this.counters.overflowed++;
    this.#arena.release(frame);
  }
}

/** Makes of a frame that is not GSO what a line carries: its checksum is right in its bytes, and nobody vouches for it. */
function finish(frame: Frame): void {
  if (parseEthernet(frame) === Malformed.NONE) completeChecksum(frame);
  clearVnet(frame.bytes, frame.at - VNET_LEN);
}

/** Frames by the time when they are due, equal times in the order they came: a binary heap. */
class DueQueue {
  readonly #frames: (Frame | null)[];
  readonly #due: Float64Array;
  readonly #order: Float64Array;
  #orders = 0;
  size = 0;

  constructor(capacity: number) {
    this.#frames = new Array<Frame | null>(capacity).fill(null);
    this.#due = new Float64Array(capacity);
    this.#order = new Float64Array(capacity);
  }

  /** When the first is due. */
  get due(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#due[0]!;
  }

  push(frame: Frame, due: number): void {
    const order = this.#orders++;
    let hole = this.size++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (this.#due[parent]! <= due) break;
      this.#move(parent, hole);
      hole = parent;
    }
    this.#put(hole, frame, due, order);
  }

  shift(): Frame {
    const first = this.#frames[0]!;
    const last = --this.size;
    const frame = this.#frames[last]!;
    this.#frames[last] = null;
    if (last === 0) return first;
    const due = this.#due[last]!;
    const order = this.#order[last]!;
    let hole = 0;
    for (let child = 1; child < last; child = 2 * hole + 1) {
      if (child + 1 < last && this.#isBefore(child + 1, this.#due[child]!, this.#order[child]!)) child++;
      if (!this.#isBefore(child, due, order)) break;
      this.#move(child, hole);
      hole = child;
    }
    this.#put(hole, frame, due, order);
    return first;
  }

  #isBefore(index: number, due: number, order: number): boolean {
    const other = this.#due[index]!;
    return other < due || (other === due && this.#order[index]! < order);
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#frames[from]!, this.#due[from]!, this.#order[from]!);
  }

  #put(index: number, frame: Frame, due: number, order: number): void {
    this.#frames[index] = frame;
    this.#due[index] = due;
    this.#order[index] = order;
  }
}

/** Frames that are held back, in the order they came, with the two conditions for each to go on. */
class LateQueue {
  readonly #frames: (Frame | null)[];
  readonly #after: Float64Array;
  readonly #until: Float64Array;
  readonly #lag: Float64Array;
  #head = 0;
  size = 0;

  constructor(capacity: number) {
    this.#frames = new Array<Frame | null>(capacity).fill(null);
    this.#after = new Float64Array(capacity);
    this.#until = new Float64Array(capacity);
    this.#lag = new Float64Array(capacity);
  }

  /** How many frames must have gone on before the first one may. */
  get after(): number {
    return this.#after[this.#head]!;
  }

  /** When the first one goes on in any case. */
  get until(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#until[this.#head]!;
  }

  /** How long the first one takes on the line after that. */
  get lag(): number {
    return this.#lag[this.#head]!;
  }

  push(frame: Frame, after: number, until: number, lag: number): void {
    const index = (this.#head + this.size++) % this.#frames.length;
    this.#frames[index] = frame;
    this.#after[index] = after;
    this.#until[index] = until;
    this.#lag[index] = lag;
  }

  shift(): Frame {
    const frame = this.#frames[this.#head]!;
    this.#frames[this.#head] = null;
    this.#head = (this.#head + 1) % this.#frames.length;
    this.size--;
    return frame;
  }
}
