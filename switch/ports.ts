import type { Carrier } from '../wire/carrier.ts';
import type { PortId } from './frame.ts';
import { TokenBuckets } from './token-buckets.ts';

/** Fields of a port's row of counters: `counters[port * PORT_STRIDE + RX_FRAMES]`. One row is one cache line. */
export const RX_FRAMES = 0;
export const RX_BYTES = 1;
export const RX_DROPPED = 2;
export const TX_FRAMES = 3;
export const TX_BYTES = 4;
export const TX_DROPPED = 5;
export const PORT_STRIDE = 8;

/** What is at the other end of a port. */
export const PortKind = {
  FREE: 0,
  /** A device: a container's TAP, a capture, a test. */
  DEVICE: 1,
  /** The gateway of a network: the deck itself. */
  GATEWAY: 2,
} as const;
export type PortKind = (typeof PortKind)[keyof typeof PortKind];

/** How a port is to behave; what is left out takes the default. */
export interface PortOptions {
  /** Largest IP packet, bytes. */
  mtu?: number;
  /** Isolated ports reach the gateway and ports that are not isolated, never each other (BR-12, `icc=false`). */
  isolated?: boolean;
  /** How many addresses may be learned from the port. */
  learnLimit?: number;
  /** Flooded frames a second that the port may cause (BR-14). */
  stormLimit?: number;
  /** Port security: nothing is learned, and frames come only from the addresses that `PortGuard` knows. */
  guard?: boolean;
  /** The gateway's address stands for the host's loopback, as it does for slirp4netns's guests. */
  hostAtGateway?: boolean;
}

export const DEFAULT_MTU = 65520;
export const DEFAULT_LEARN_LIMIT = 1024;
export const DEFAULT_STORM_LIMIT = 10_000;

/**
 * The ports of the deck: parallel arrays, a row per port, rows reused. Counters are doubles, exact to 2^53.
 */
export class Ports {
  readonly capacity: number;
  readonly kind: Uint8Array;
  /** The network (= bridge) that the port belongs to. */
  readonly network: Int32Array;
  readonly mtu: Int32Array;
  readonly isolated: Uint8Array;
  /** Ports with port security. */
  readonly guarded: Uint8Array;
  /** Ports for which the gateway's address stands for the host's loopback. */
  readonly hostAtGateway: Uint8Array;
  readonly learnLimit: Int32Array;
  /** Addresses learned from the port now; kept by the fdb. */
  readonly learned: Int32Array;
  readonly counters: Float64Array;
  readonly #stormLimit: Float64Array;
  readonly #stormTokens: TokenBuckets;
  /** Ports that are not in use, a ring: the one that was given back first is taken first. */
  readonly #free: Int32Array;
  #head = 0;
  /** Ports from here on were never used. */
  high = 0;
  #freeCount: number;

  constructor(capacity = 8192) {
    this.capacity = capacity;
    this.kind = new Uint8Array(capacity);
    this.network = new Int32Array(capacity).fill(-1);
    this.mtu = new Int32Array(capacity);
    this.isolated = new Uint8Array(capacity);
    this.guarded = new Uint8Array(capacity);
    this.hostAtGateway = new Uint8Array(capacity);
    this.learnLimit = new Int32Array(capacity);
    this.learned = new Int32Array(capacity);
    this.counters = new Float64Array(capacity * PORT_STRIDE);
    this.#stormLimit = new Float64Array(capacity);
    this.#stormTokens = new TokenBuckets(capacity);
    this.#free = Int32Array.from({ length: capacity }, (_, port) => port);
    this.#freeCount = capacity;
  }

  carry(carrier: Carrier): void {
    this.high = carrier.number(this.high);
    carrier.column(this.kind, this.high);
    carrier.column(this.network, this.high);
    carrier.column(this.mtu, this.high);
    carrier.column(this.isolated, this.high);
    carrier.column(this.guarded, this.high);
    carrier.column(this.hostAtGateway, this.high);
    carrier.column(this.learnLimit, this.high);
    carrier.column(this.learned, this.high);
    carrier.column(this.counters, this.high * PORT_STRIDE);
    carrier.column(this.#stormLimit, this.high);
    this.#stormTokens.carry(carrier, this.high);
    carrier.column(this.#free);
    this.#head = carrier.number(this.#head);
    this.#freeCount = carrier.number(this.#freeCount);
  }

  /** The port that `add` answers next, or -1 when all are taken. */
  get next(): PortId {
    return this.#freeCount === 0 ? -1 : this.#free[this.#head]!;
  }

  /**
   * A new port of `network`, or -1 when all are taken. Numbers come again as late as possible: who names a port that has
   * gone meanwhile must not hit the next one.
   */
  add(network: number, kind: PortKind, options: PortOptions = {}): PortId {
    if (this.#freeCount === 0) return -1;
    const port = this.#free[this.#head]!;
    this.#head = (this.#head + 1) % this.capacity;
    this.#freeCount--;
    this.high = Math.max(this.high, port + 1);
    this.kind[port] = kind;
    this.network[port] = network;
    this.mtu[port] = options.mtu ?? DEFAULT_MTU;
    this.isolated[port] = options.isolated ? 1 : 0;
    this.guarded[port] = options.guard ? 1 : 0;
    this.hostAtGateway[port] = options.hostAtGateway ? 1 : 0;
    this.learnLimit[port] = options.guard ? 0 : (options.learnLimit ?? DEFAULT_LEARN_LIMIT);
    this.learned[port] = 0;
    this.counters.fill(0, port * PORT_STRIDE, (port + 1) * PORT_STRIDE);
    this.#stormLimit[port] = options.stormLimit ?? DEFAULT_STORM_LIMIT;
    this.#stormTokens.set(port, this.#stormLimit[port]!);
    return port;
  }

  remove(port: PortId): void {
    this.kind[port] = PortKind.FREE;
    this.network[port] = -1;
    this.#free[(this.#head + this.#freeCount++) % this.capacity] = port;
  }

  /** Whether `port` may flood one more frame at `now`: one second's worth may be saved up. */
  mayFlood(port: PortId, now: number): boolean {
    const limit = this.#stormLimit[port]!;
    return this.#stormTokens.take(port, now, limit, limit);
  }
}
