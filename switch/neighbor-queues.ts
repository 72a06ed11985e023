import { type Carrier, carryMap } from '../wire/carrier.ts';
import type { Frame, PortId } from './frame.ts';
import type { Network } from './network.ts';

/** Frames that may always wait for a neighbor; RFC 1122 §2.3.2.2 asks for at least one. */
export const NEIGHBOR_QUEUE = 3;
/**
 * Frames that may wait for one neighbor while the common room lasts: a burst to the next hop of an uplink, which is
 * everybody's. How many all may have beyond what is theirs.
 */
export const NEIGHBOR_QUEUE_MOST = 32;
export const NEIGHBOR_ROOM = 512;
/** Queues in all, and on behalf of one port: they bound the requests a second and the memory that waits. */
export const NEIGHBOR_QUEUES = 256;
export const NEIGHBOR_QUEUES_PER_PORT = 64;

/** The frames that wait for next hops to answer: a fixed number of short queues, each named by a small integer. */
export class NeighborQueues {
  /** The network in which the frame that `shift` gave last had come in; null when there is nobody to tell. */
  from: Network | null = null;
  readonly #frames: (Frame | null)[] = new Array(NEIGHBOR_QUEUES * NEIGHBOR_QUEUE_MOST).fill(null);
  readonly #froms: (Network | null)[] = new Array(NEIGHBOR_QUEUES * NEIGHBOR_QUEUE_MOST).fill(null);
  readonly #sizes = new Uint8Array(NEIGHBOR_QUEUES);
  readonly #ports = new Int32Array(NEIGHBOR_QUEUES);
  readonly #free = Int32Array.from({ length: NEIGHBOR_QUEUES }, (_, queue) => queue);
  #freeCount = NEIGHBOR_QUEUES;
  /** Frames that wait beyond the first `NEIGHBOR_QUEUE` of their neighbors. */
  #extra = 0;
  /** How many queues each port has opened; ports without any are not in it. */
  readonly #opened = new Map<PortId, number>();

  /**
   * @param frames those of the arena, by slot
   * @param networks by id
   */
  carry(carrier: Carrier, frames: readonly Frame[], networks: readonly (Network | undefined)[]): void {
    const waiting: { i: number; slot: number; from: number }[] = [];
    for (let i = 0; i < this.#frames.length; i++) {
      const frame = this.#frames[i];
      if (frame !== null) waiting.push({ i, slot: frame.slot, from: this.#froms[i]?.id ?? -1 });
    }
    for (const { i, slot, from } of carrier.plain(waiting)) {
      frames[slot]!.carry(carrier);
      this.#frames[i] = frames[slot]!;
      this.#froms[i] = networks[from] ?? null;
    }
    carrier.column(this.#sizes);
    carrier.column(this.#ports);
    carrier.column(this.#free);
    this.#freeCount = carrier.number(this.#freeCount);
    this.#extra = carrier.number(this.#extra);
    carryMap(carrier, this.#opened);
  }

  /** A queue on behalf of a port, or -1 when all are taken or the port has too many. */
  open(port: PortId): number {
    const opened = this.#opened.get(port) ?? 0;
    if (this.#freeCount === 0 || opened >= NEIGHBOR_QUEUES_PER_PORT) return -1;
    const queue = this.#free[--this.#freeCount];
    this.#opened.set(port, opened + 1);
    this.#ports[queue] = port;
    this.#sizes[queue] = 0;
    return queue;
  }

  isFull(queue: number): boolean {
    const size = this.#sizes[queue];
    return size >= NEIGHBOR_QUEUE && (size === NEIGHBOR_QUEUE_MOST || this.#extra === NEIGHBOR_ROOM);
  }

  /** Puts a frame at the end, with its reference; the caller has made sure that there is room. */
  push(queue: number, frame: Frame, from: Network | null): void {
    if (this.#sizes[queue] >= NEIGHBOR_QUEUE) this.#extra++;
    const index = queue * NEIGHBOR_QUEUE_MOST + this.#sizes[queue]++;
    this.#frames[index] = frame;
    this.#froms[index] = from;
  }

  /** Takes the oldest frame, with its reference, or null. */
  shift(queue: number): Frame | null {
    const size = this.#sizes[queue];
    if (size === 0) return null;
    const first = queue * NEIGHBOR_QUEUE_MOST;
    const frame = this.#frames[first];
    this.from = this.#froms[first];
    this.#frames.copyWithin(first, first + 1, first + size);
    this.#froms.copyWithin(first, first + 1, first + size);
    this.#frames[first + size - 1] = null;
    this.#froms[first + size - 1] = null;
    this.#sizes[queue] = size - 1;
    if (size > NEIGHBOR_QUEUE) this.#extra--;
    return frame;
  }

  /** Gives back an empty queue. */
  close(queue: number): void {
    const port = this.#ports[queue];
    const opened = this.#opened.get(port)!;
    if (opened === 1) this.#opened.delete(port);
    else this.#opened.set(port, opened - 1);
    this.#free[this.#freeCount++] = queue;
  }

  /** Forgets that frames came in by a network that is no more. */
  forget(network: number): void {
    for (let i = 0; i < this.#froms.length; i++) if (this.#froms[i]?.id === network) this.#froms[i] = null;
  }
}
