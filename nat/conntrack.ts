/**
 * The table of connections. A flow is a row; a ref, `row << 1 | direction`, is one direction of it. Each direction has a
 * tuple of its own, so that packets are found as they come, before or after translation, and the difference of the two
 * tuples is the translation (as netfilter's `nf_conn`).
 *
 * Everything is in arrays of numbers, 248 bytes a flow (`flow-row.ts`); rows that were never used cost no memory, and
 * nothing is allocated per packet or per flow. What happens when there is no room is said at `open`.
 */

import type { PortId } from '../switch/frame.ts';
import type { Carrier } from '../wire/carrier.ts';
import { CopiedRows } from '../wire/copied-rows.ts';
import type { HashKey } from '../wire/hash.ts';
import { ICMP_ECHO_REQUEST, ICMP_TIMESTAMP, icmpType } from '../wire/icmp.ts';
import { ICMPV6_ECHO_REQUEST, icmpv6Type } from '../wire/icmpv6.ts';
import type { Packet } from '../wire/packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { FlowIndex, sameTuple } from './flow-index.ts';
import { FlowOwners } from './flow-owners.ts';
import {
  DIRECTION_DOUBLES,
  FLOW_BYTES,
  FLOW_EXPIRY,
  FLOW_PACKETS,
  ROW_DOUBLES,
  ROW_WORDS,
} from './flow-row.ts';
import { TcpState, TcpTracking, TcpVerdict } from './tcp-tracking.ts';
import type { Timeouts } from './timeouts.ts';
import { TimerWheel } from './timer-wheel.ts';
import { kindProtocol, TUPLE_KIND, TUPLE_LENGTH, TUPLE_WORDS } from './tuple.ts';

/** Directions: of the packet that opened the flow, and of those that answer it. */
export const ORIGINAL = 0;
export const REPLY = 1;

/** Why `open` opened no flow. */
export const REFUSED_FULL = -1;
/** The owner has as many flows as it may have, and none that can be spared. */
export const REFUSED_QUOTA = -2;
/** One of the tuples is another flow's, or both are the same. */
export const REFUSED_CLASH = -3;
/** The packet is none that begins something. */
export const REFUSED_INVALID = -4;

/** What `track` made of a packet. */
export const Track = {
  ACCEPT: 0,
  /** It does not belong to the flow (TCP and ICMP). */
  INVALID: 1,
  /** It begins another connection in place of this one, which is over (TCP only): close the row and open anew. */
  REOPEN: 2,
} as const;
export type Track = (typeof Track)[keyof typeof Track];

// Bits of `status`.
export const SEEN_REPLY = 1;
/** The flow is not given up for another: both sides have shown that they want it. */
export const ASSURED = 2;
/** What the caller translates; set by it. */
export const SNAT = 4;
export const DNAT = 8;
/** Whether packets of the direction prolong the flow. Both are set by `open`; TCP is prolonged by either regardless. */
export const REFRESH_ORIGINAL = 32;
export const REFRESH_REPLY = 64;
export const NPT = 128;
/** The row is in use (netfilter's IPS_CONFIRMED). */
export const CONFIRMED = 256;
/** Only a rule of the user lets the flow through; set by the caller. */
export const BY_RULE = 512;

const NONE = -1;
/** A gigabyte; the index has room in an entry for 64 times as many. */
const MAX_CAPACITY = 4_194_304;

export interface ConntrackConfig {
  /** Most flows at one time. */
  capacity: number;
  /** Most flows that one owner may have begun. */
  quota: number;
  timeouts: Timeouts;
  /** Whether TCP connections may be picked up in the middle. */
  loose: boolean;
  key: HashKey;
}

export class Conntrack {
  readonly capacity: number;
  /** By ref: the tuple, at `ref * TUPLE_WORDS`. What lies between tuples is the table's own (`flow-row.ts`). */
  readonly tuples: Int32Array;
  readonly status: Uint16Array;
  /** The port by which the first packet came in. In a free row, the next free one. */
  readonly owner: Int32Array;
  /** The caller's: which mapping and publish the flow goes by. -1 after `open`. */
  readonly mapping: Int32Array;
  readonly publish: Int32Array;
  /** Another number for every flow that has the row, and for every one that was refused in it. */
  readonly serial: Uint32Array;
  readonly tcp: TcpTracking;
  /** Flows that live. */
  size = 0;
  /** Rows from here on were never used. */
  high = 0;
  /** Told of each row that is about to be freed, while its columns are still there. It must not open or close flows. */
  onClosed: (row: number) => void = ignore;
  readonly #quota: number;
  readonly #timeouts: Timeouts;
  readonly #index: FlowIndex;
  readonly #wheel: TimerWheel;
  readonly #owners: FlowOwners;
  /** Whoever changes a row says so before, also where the columns are others' to write: they do so only when `open` has just made it. */
  readonly #rows: CopiedRows;
  /** The rows again, as doubles: counters, and when the flow ends if no packet comes, ms. */
  readonly #doubles: Float64Array;
  #free = NONE;

  constructor(config: ConntrackConfig) {
    if (!(config.capacity >= 1 && config.capacity <= MAX_CAPACITY)) {
      throw new RangeError(
        `a table of ${config.capacity} connections: from 1 to ${MAX_CAPACITY} are possible`,
      );
    }
    this.capacity = config.capacity;
    // One row more than flows: it is free even when the table is full, for TCP tracking to try a first packet on before
    // another flow is given up for it.
    const rows = config.capacity + 1;
    this.tuples = new Int32Array(rows * ROW_WORDS);
    this.#doubles = new Float64Array(this.tuples.buffer);
    this.status = new Uint16Array(rows);
    this.owner = new Int32Array(rows);
    this.mapping = new Int32Array(rows);
    this.publish = new Int32Array(rows);
    this.serial = new Uint32Array(rows);
    this.tcp = new TcpTracking(rows, { loose: config.loose }, this.tuples);
    this.#quota = config.quota;
    this.#timeouts = config.timeouts;
    this.#index = new FlowIndex(config.key, this.tuples, 2 * config.capacity);
    this.#wheel = new TimerWheel(rows);
    this.#owners = new FlowOwners(rows);
    this.#rows = new CopiedRows(
      { column: this.tuples, stride: ROW_WORDS },
      { column: this.status, stride: 1 },
      { column: this.owner, stride: 1 },
      { column: this.mapping, stride: 1 },
      { column: this.publish, stride: 1 },
      { column: this.serial, stride: 1 },
      { column: this.tcp.state, stride: 1 },
    );
  }

  carry(carrier: Carrier): void {
    this.size = carrier.number(this.size);
    this.high = carrier.number(this.high);
    this.#free = carrier.number(this.#free);
    // TCP tracking tries first packets in one row that is free.
    const rows = Math.min(this.high + 1, this.capacity + 1);
    carrier.rows(this.#rows, rows);
    this.#index.carry(carrier, this.size);
    this.#wheel.carry(carrier, rows);
    this.#owners.carry(carrier, rows);
  }

  /** When `expire` has something to do, ms; Infinity when there is no flow. */
  get deadline(): number {
    return this.#wheel.deadline;
  }

  /**
   * The ref of the flow and direction with the tuple at `words[at]`, or -1. The time is not looked at: call `expire` when
   * the deadline has come, and no flow is found 128 ms after its end.
   */
  find(words: Int32Array, at: number): number {
    return this.#index.find(this.#index.hash(words, at), words, at);
  }

  /** Takes note of a packet of a known flow: state, counters, timer. ICMP errors are no packets of the flow they are about. */
  track(ref: number, packet: Packet, now: number): Track {
    const row = ref >> 1;
    this.#rows.keep(row);
    const direction = (ref & 1) as 0 | 1;
    const before = this.status[row];
    let status = before;
    if (packet.protocol === PROTO_TCP) {
      const from = this.tcp.state[row];
      const verdict = this.tcp.track(row, direction, packet);
      if (verdict === TcpVerdict.INVALID) return Track.INVALID;
      if (verdict === TcpVerdict.REOPEN) return Track.REOPEN;
      if (verdict === TcpVerdict.ACCEPT) {
        const state = this.tcp.state[row];
        if (this.tcp.isAssured(row)) status |= ASSURED;
        this.#refresh(row, now + this.tcp.timeout(row, this.#timeouts), now);
        if (state !== from || status !== before) this.#judge(row, status, state);
      }
    } else {
      if (!isInTurn(direction, packet)) return Track.INVALID;
      if ((before & (REFRESH_ORIGINAL << direction)) !== 0) {
        this.#refresh(row, now + this.#timeoutOf(packet.protocol), now);
      }
      // Asked, answered and asked again: a conversation (what the kernel calls a stream).
      if (direction === ORIGINAL && (before & (SEEN_REPLY | ASSURED)) === SEEN_REPLY) {
        if (packet.protocol === PROTO_UDP) {
          status |= ASSURED;
          this.#judge(row, status, TcpState.NONE);
        }
      }
    }
    if (direction === REPLY) status |= SEEN_REPLY;
    if (status !== before) this.status[row] = status;
    this.#doubles[ref * DIRECTION_DOUBLES + FLOW_PACKETS]++;
    this.#doubles[ref * DIRECTION_DOUBLES + FLOW_BYTES] += packet.end - packet.l3;
    return Track.ACCEPT;
  }

  /**
   * Opens a flow for its first packet, which it counts: `words[at]` is the tuple of the original direction, the one behind
   * it that of the reply. The row, or a number below 0 that says why there is none.
   *
   * Room is made by giving up flows that can be spared, the oldest first: those that are not assured, and TCP connections
   * that are over. An owner with its quota of flows gives up one of its own. When the table is full, an owner gives up one
   * of its own, or if it has none, whoever has most of them gives up one: a flood hurts the one by whom it comes.
   *
   * @param owner the port by which the packet came in
   * @param exempt whether the owner has no quota: an uplink, behind which everybody is
   */
  open(words: Int32Array, at: number, packet: Packet, owner: PortId, exempt: boolean, now: number): number {
    const protocol = kindProtocol(words[at + TUPLE_KIND]);
    if (!mayOpen(protocol, packet)) return REFUSED_INVALID;
    const reply = at + TUPLE_WORDS;
    const index = this.#index;
    const originalHash = index.hash(words, at);
    const replyHash = index.hash(words, reply);
    if (
      index.find(originalHash, words, at) !== NONE ||
      index.find(replyHash, words, reply) !== NONE ||
      sameTuple(words, at, words, reply)
    ) {
      return REFUSED_CLASH;
    }
    const row = this.#take();
    this.#rows.keep(row);
    // Before the tuples of the flow that had it last are gone: a packet of that one may still ask whether they are there.
    this.serial[row]++;
    const tuple = row * ROW_WORDS;
    for (let i = 0; i < TUPLE_LENGTH; i++) {
      this.tuples[tuple + i] = words[at + i];
      this.tuples[tuple + TUPLE_WORDS + i] = words[reply + i];
    }
    let refused = 0;
    if (protocol === PROTO_TCP && !this.tcp.open(row, packet)) refused = REFUSED_INVALID;
    else refused = this.#makeRoom(owner, exempt);
    if (refused === 0 && !this.#enter(row, originalHash, replyHash)) refused = REFUSED_FULL;
    if (refused !== 0) {
      this.#give(row);
      return refused;
    }
    this.status[row] = CONFIRMED | REFRESH_ORIGINAL | REFRESH_REPLY;
    this.owner[row] = owner;
    this.mapping[row] = NONE;
    this.publish[row] = NONE;
    const doubles = this.#doubles;
    const original = row * ROW_DOUBLES;
    doubles[original + FLOW_PACKETS] = 1;
    doubles[original + FLOW_BYTES] = packet.end - packet.l3;
    doubles[original + DIRECTION_DOUBLES + FLOW_PACKETS] = 0;
    doubles[original + DIRECTION_DOUBLES + FLOW_BYTES] = 0;
    const timeout =
      protocol === PROTO_TCP ? this.tcp.timeout(row, this.#timeouts) : this.#timeoutOf(protocol);
    doubles[original + FLOW_EXPIRY] = now + timeout;
    this.#wheel.schedule(row, now + timeout, now);
    this.#owners.add(row, owner);
    this.size++;
    return row;
  }

  /** Ends a flow and frees its row. Does nothing for a free row. */
  close(row: number): void {
    if (!this.isLive(row)) return;
    this.#wheel.cancel(row);
    this.#end(row);
  }

  /** Whether the row is that of a flow. */
  isLive(row: number): boolean {
    return (this.status[row] & CONFIRMED) !== 0;
  }

  /** Packets of the ref's direction. */
  packets(ref: number): number {
    return this.#doubles[ref * DIRECTION_DOUBLES + FLOW_PACKETS];
  }

  /** Bytes of the ref's direction: the lengths of its IP packets. */
  bytes(ref: number): number {
    return this.#doubles[ref * DIRECTION_DOUBLES + FLOW_BYTES];
  }

  /** Milliseconds until the flow ends if no packet comes. */
  remaining(row: number, now: number): number {
    return Math.max(0, this.#doubles[row * ROW_DOUBLES + FLOW_EXPIRY] - now);
  }

  /** How many flows the owner has begun that live. */
  flowsOf(owner: PortId): number {
    return this.#owners.flows(owner);
  }

  /** Ends the flows whose time has come. To be called when the deadline has. */
  expire(now: number): void {
    const wheel = this.#wheel;
    for (let row = wheel.pop(now); row !== NONE; row = wheel.pop(now)) {
      const at = this.#doubles[row * ROW_DOUBLES + FLOW_EXPIRY];
      // Prolonged since it was scheduled, or its time is beyond the horizon of the wheel.
      if (at > now) wheel.schedule(row, at, now);
      else this.#end(row);
    }
  }

  /** A free row, no longer free. There always is one. */
  #take(): number {
    const row = this.#free;
    if (row === NONE) return this.high++;
    this.#free = this.owner[row];
    return row;
  }

  #give(row: number): void {
    this.owner[row] = this.#free;
    this.#free = row;
  }

  /** Enters both tuples of the row into the index, or neither. */
  #enter(row: number, originalHash: number, replyHash: number): boolean {
    const index = this.#index;
    if (!index.insert(originalHash, row << 1)) return false;
    if (index.insert(replyHash, (row << 1) | REPLY)) return true;
    index.remove(row << 1);
    return false;
  }

  /** Frees the row of a flow that is no longer in the wheel. */
  #end(row: number): void {
    this.#rows.keep(row);
    this.onClosed(row);
    this.#index.remove(row << 1);
    this.#index.remove((row << 1) | REPLY);
    this.#owners.remove(row, this.owner[row]);
    this.status[row] = 0;
    this.size--;
    this.#give(row);
  }

  /** 0 when there is room for one flow more of the owner, or why there is none. */
  #makeRoom(owner: PortId, exempt: boolean): number {
    const owners = this.#owners;
    const atQuota = !exempt && owners.flows(owner) >= this.#quota;
    if (!atQuota && this.size < this.capacity) return 0;
    let victim = owners.oldest(owner);
    if (victim === NONE && atQuota) return REFUSED_QUOTA;
    if (victim === NONE) victim = owners.oldestOfMost();
    if (victim === NONE) return REFUSED_FULL;
    this.close(victim);
    return 0;
  }

  #refresh(row: number, at: number, now: number): void {
    const shortened = at < this.#doubles[row * ROW_DOUBLES + FLOW_EXPIRY];
    this.#doubles[row * ROW_DOUBLES + FLOW_EXPIRY] = at;
    if (!shortened) return;
    // Only changes of state bring a shorter timeout. A later time needs nothing: `expire` will see.
    this.#wheel.cancel(row);
    this.#wheel.schedule(row, at, now);
  }

  /** Lets the flow be given up for another, or not: as it is assured, and not over. */
  #judge(row: number, status: number, state: number): void {
    // TIME_WAIT and CLOSE are kept for stragglers (RFC 7857 §2.1, §2.2), which are worth less than a new connection;
    // the kernel gives up closing connections too when the table fills.
    const isOver = state === TcpState.TIME_WAIT || state === TcpState.CLOSE;
    if ((status & ASSURED) !== 0 && !isOver) this.#owners.keep(row, this.owner[row]);
    else this.#owners.spare(row, this.owner[row]);
  }

  #timeoutOf(protocol: number): number {
    switch (protocol) {
      case PROTO_UDP:
        return this.#timeouts.udp;
      case PROTO_ICMP:
      case PROTO_ICMPV6:
        return this.#timeouts.icmp;
      default:
        return this.#timeouts.generic;
    }
  }
}

/** Whether a packet of the protocol can begin something; TCP tracking has its own say. */
function mayOpen(protocol: number, packet: Packet): boolean {
  const { bytes, l4 } = packet;
  switch (protocol) {
    // Only who asks opens; an answer without a question is INVALID (as the kernel).
    case PROTO_ICMP:
      return icmpType(bytes, l4) === ICMP_ECHO_REQUEST || icmpType(bytes, l4) === ICMP_TIMESTAMP;
    case PROTO_ICMPV6:
      return icmpv6Type(bytes, l4) === ICMPV6_ECHO_REQUEST;
    default:
      return true;
  }
}

/**
 * Whether the packet is a question of who asked or an answer of who was asked. Tuples cannot tell where an identifier is the
 * number of a type (`TUPLE_PORTS`): a question with identifier 8 looks like the answer to such a one from the other side.
 */
function isInTurn(direction: number, packet: Packet): boolean {
  const { protocol } = packet;
  if (protocol !== PROTO_ICMP && protocol !== PROTO_ICMPV6) return true;
  return mayOpen(protocol, packet) === (direction === ORIGINAL);
}

function ignore(): void {}
