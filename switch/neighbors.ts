import type { Carrier } from '../wire/carrier.ts';
import { setEthDst, setEthSrc } from '../wire/ethernet.ts';
import type { HashKey } from '../wire/hash.ts';
import { ICMP_UNREACH_HOST, ICMP_UNREACHABLE } from '../wire/icmp.ts';
import { ICMPV6_UNREACH_ADDRESS, ICMPV6_UNREACHABLE } from '../wire/icmpv6.ts';
import type { Random } from '../wire/random.ts';
import { sendArpPoll, sendArpRequest } from './arp.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame, PortId } from './frame.ts';
import type { Icmp } from './icmp.ts';
import type { Icmpv6 } from './icmpv6.ts';
import { sendNeighborPoll, sendNeighborSolicitation } from './nd.ts';
import { NeighborQueues } from './neighbor-queues.ts';
import {
  KEY,
  MAC_HI,
  MAC_LO,
  type NeighborEntry,
  NeighborState,
  NeighborTable,
  NONE,
  QUESTION,
  QUEUE,
  REQUESTS,
  STATE,
  STRIDE,
  W0,
} from './neighbor-table.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { Action, MAPPED, Stage } from './trace.ts';
import { drop, HOLD, type Verdict } from './verdict.ts';

export { type NeighborEntry, NeighborState } from './neighbor-table.ts';

/** What became of something heard about an address. */
export const Heard = {
  /** Nothing is known about the address, and nothing was entered. */
  UNKNOWN: 0,
  OK: 1,
  /** The address belongs to another station. */
  FOREIGN: 2,
} as const;
export type Heard = (typeof Heard)[keyof typeof Heard];

/** Milliseconds between two requests, and of grace before the first to a stale neighbor (RFC 4861 §10; Linux's too). */
const RETRANSMIT = 1000;
const DELAY_FIRST_PROBE = 5000;
const REACHABLE_BASE = 30_000;
const MAX_REQUESTS = 3;
/** Milliseconds between two rounds of `expire`: a scan's questions, all due at different times, share one round. */
const ROUND = 10;

export interface NeighborsOptions {
  /** Learned entries of all networks together. */
  capacity?: number;
  /** Learned entries of one network (Linux's `gc_thresh3`). */
  networkLimit?: number;
  /** Of the table's hash; drawn at random when absent. */
  key?: HashKey | undefined;
}

/**
 * Who has which MAC, for the networks' gateways: IPv4 by ARP, IPv6 by neighbor discovery.
 *
 * Bounded in every direction. Learned entries are limited per network and in all; when the limit is reached and none is
 * failed or long unused, a new one is refused (NEIGH_TABLE_FULL), so that a scan neither grows memory nor drives out
 * live entries. Neighbors being asked for are limited in all and per asking port; three frames wait for each, and more while there is common room
 * (NEIGH_QUEUEFULL). Permanent entries, a few per endpoint, count for nothing of that and make the table grow.
 *
 * A frame that waits is answered HOLD: the table keeps it by `Arena.park` and gives it to `Outbox.resume` later, with
 * the verdict of the bridge or with a drop reason. Read RFC 1122 §2.3.2 and RFC 4861 §7.3 before changing states.
 */
export class Neighbors {
  /** Milliseconds for which a confirmation holds: between half of 30 s and one and a half (RFC 4861 §6.3.2). */
  reachableTime: number;
  /** When `expire` is next worth calling, ms; Infinity while nobody is being asked. */
  deadline = Number.POSITIVE_INFINITY;
  /** Asked before the sender of a frame that has waited in vain is told: it makes the packet what its sender knows. */
  mayTell: (frame: Frame) => boolean = () => true;
  readonly #originator: Originator;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #table: NeighborTable;
  readonly #networks = new Map<number, Network>();
  readonly #queues = new NeighborQueues();
  // Neighbors that have to answer, or to be asked, by some time; densely packed.
  #questions = 0;
  readonly #questionRow: Int32Array;
  readonly #questionDue: Float64Array;
  #now = 0;

  constructor(
    originator: Originator,
    icmp: Icmp,
    icmpv6: Icmpv6,
    random: Random,
    {
      capacity = 4096,
      networkLimit = 1024,
      key = [random.next() | 0, random.next() | 0],
    }: NeighborsOptions = {},
  ) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
    this.#table = new NeighborTable(key, capacity, networkLimit);
    this.reachableTime = REACHABLE_BASE / 2 + random.below(REACHABLE_BASE);
    this.#questionRow = new Int32Array(capacity);
    this.#questionDue = new Float64Array(capacity);
  }

  /** @param networks by id; those of the state are there already */
  carry(carrier: Carrier, networks: readonly (Network | undefined)[]): void {
    this.reachableTime = carrier.number(this.reachableTime);
    this.deadline = carrier.number(this.deadline);
    this.#table.carry(carrier);
    this.#queues.carry(carrier, this.#originator.arena.frames, networks);
    const ids = carrier.plain([...this.#networks.keys()]);
    this.#networks.clear();
    for (const id of ids) this.#networks.set(id, networks[id]!);
    this.#questions = carrier.number(this.#questions);
    carrier.column(this.#questionRow, this.#questions);
    carrier.column(this.#questionDue, this.#questions);
    this.#now = carrier.number(this.#now);
  }

  /** Entries of all kinds. */
  get size(): number {
    return this.#table.size;
  }

  // ---- sending ----

  /**
   * Sends a frame with an IPv4 packet to its next hop: writes the Ethernet addresses and lets the bridge decide, or
   * keeps the frame (HOLD) and asks.
   * @param network where the next hop is
   * @param from where the packet came in; its sender is told when the next hop does not answer. null for nobody
   */
  outputIpv4(frame: Frame, network: Network, from: Network | null, address: number, now: number): Verdict {
    const row = this.#table.findIpv4(network.id, address);
    if (row !== NONE) return this.#output(row, frame, network, from, now);
    return this.#ask(network.id << 1, address, 0, 0, 0, frame, network, from, now);
  }

  /** As `outputIpv4`, for an IPv6 next hop of four words. */
  outputIpv6(
    frame: Frame,
    network: Network,
    from: Network | null,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    now: number,
  ): Verdict {
    const row = this.#table.findIpv6(network.id, w0, w1, w2, w3);
    if (row !== NONE) return this.#output(row, frame, network, from, now);
    return this.#ask((network.id << 1) | 1, w0, w1, w2, w3, frame, network, from, now);
  }

  #output(row: number, frame: Frame, network: Network, from: Network | null, now: number): Verdict {
    const at = row * STRIDE;
    switch (this.#table.rows[at + STATE]) {
      case NeighborState.PERMANENT:
        break;
      case NeighborState.REACHABLE:
        this.#table.used[row] = now;
        if (now - this.#table.confirmed[row] < this.reachableTime) break;
        this.#delay(row, now);
        break;
      case NeighborState.STALE:
        this.#table.used[row] = now;
        this.#delay(row, now);
        break;
      case NeighborState.DELAY:
      case NeighborState.PROBE:
        this.#table.used[row] = now;
        break;
      case NeighborState.FAILED:
        return this.#question(row, frame, network, from, now);
      default:
        if (frame.trace !== null) this.#point(row, frame, Action.WAITS);
        return this.#wait(row, frame, from);
    }
    return this.#send(row, frame, network, now);
  }

  #send(row: number, frame: Frame, network: Network, now: number): Verdict {
    const at = row * STRIDE;
    setEthDst(frame.bytes, frame.at, this.#table.rows[at + MAC_HI], this.#table.rows[at + MAC_LO]);
    setEthSrc(frame.bytes, frame.at, network.macHi, network.macLo);
    frame.ingress = network.port;
    if (frame.trace !== null) this.#point(row, frame, Action.RESOLVED);
    return network.bridge.egress(frame, now);
  }

  #point(row: number, frame: Frame, action: Action): void {
    const { rows } = this.#table;
    const at = row * STRIDE;
    const isIpv6 = (rows[at + KEY] & 1) !== 0;
    const w0 = isIpv6 ? rows[at + W0] : 0;
    const w1 = isIpv6 ? rows[at + W0 + 1] : 0;
    const w2 = isIpv6 ? rows[at + W0 + 2] : MAPPED;
    const w3 = isIpv6 ? rows[at + W0 + 3] : rows[at + W0];
    const isKnown = action === Action.RESOLVED;
    const hi = isKnown ? rows[at + MAC_HI] : 0;
    const lo = isKnown ? rows[at + MAC_LO] : 0;
    frame.trace!.point(frame, Stage.NEIGHBOR, action, w0, w1, w2, w3, rows[at + KEY] >> 1, hi, lo);
  }

  // ---- asking ----

  #ask(
    key: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    frame: Frame,
    network: Network,
    from: Network | null,
    now: number,
  ): Verdict {
    const row = this.#learn(network, key, w0, w1, w2, w3, now);
    if (row === NONE) return drop(DropReason.NEIGH_TABLE_FULL);
    const verdict = this.#question(row, frame, network, from, now);
    if (this.#table.rows[row * STRIDE + STATE] === NeighborState.FAILED) this.#remove(row);
    return verdict;
  }

  /** FAILED to INCOMPLETE: asks all stations, and keeps the frame until one answers. */
  #question(row: number, frame: Frame, network: Network, from: Network | null, now: number): Verdict {
    const queue = this.#queues.open(frame.ingress);
    if (queue < 0) return drop(DropReason.NEIGH_TABLE_FULL);
    const at = row * STRIDE;
    this.#table.rows[at + STATE] = NeighborState.INCOMPLETE;
    this.#table.rows[at + QUEUE] = queue;
    this.#table.rows[at + REQUESTS] = 1;
    this.#table.used[row] = now;
    this.#schedule(row, now + RETRANSMIT);
    this.#request(row, network, now);
    if (frame.trace !== null) this.#point(row, frame, Action.ASKED);
    return this.#wait(row, frame, from);
  }

  #wait(row: number, frame: Frame, from: Network | null): Verdict {
    const queue = this.#table.rows[row * STRIDE + QUEUE];
    if (this.#queues.isFull(queue)) return drop(DropReason.NEIGH_QUEUEFULL);
    const kept = this.#originator.arena.park(frame);
    if (kept === undefined) return drop(DropReason.NOMEM);
    this.#queues.push(queue, kept, from);
    return HOLD;
  }

  /** Asks all stations while INCOMPLETE, and otherwise the one that had the address. */
  #request(row: number, network: Network, now: number): void {
    const rows = this.#table.rows;
    const at = row * STRIDE;
    const w0 = rows[at + W0];
    const originator = this.#originator;
    if (rows[at + STATE] === NeighborState.INCOMPLETE) {
      if ((rows[at + KEY] & 1) === 0) sendArpRequest(originator, network, w0, now);
      else {
        sendNeighborSolicitation(
          originator,
          network,
          w0,
          rows[at + W0 + 1],
          rows[at + W0 + 2],
          rows[at + W0 + 3],
          now,
        );
      }
      return;
    }
    const hi = rows[at + MAC_HI];
    const lo = rows[at + MAC_LO];
    if ((rows[at + KEY] & 1) === 0) sendArpPoll(originator, network, w0, hi, lo, now);
    else {
      const w1 = rows[at + W0 + 1];
      sendNeighborPoll(originator, network, w0, w1, rows[at + W0 + 2], rows[at + W0 + 3], hi, lo, now);
    }
  }

  #delay(row: number, now: number): void {
    this.#table.rows[row * STRIDE + STATE] = NeighborState.DELAY;
    this.#schedule(row, now + DELAY_FIRST_PROBE);
  }

  #probe(row: number, network: Network, now: number): void {
    const at = row * STRIDE;
    this.#table.rows[at + STATE] = NeighborState.PROBE;
    this.#table.rows[at + REQUESTS] = 1;
    this.#schedule(row, now + RETRANSMIT);
    this.#request(row, network, now);
  }

  // ---- hearing ----

  /** An ARP reply to the gateway: somebody says, asked or not, that he has the address. */
  answerIpv4(network: Network, address: number, hi: number, lo: number, port: PortId, now: number): Heard {
    return this.#answer(this.#table.findIpv4(network.id, address), network, hi, lo, port, true, now);
  }

  /** A solicited neighbor advertisement. @param override its O flag: whether it may replace another MAC */
  answerIpv6(
    network: Network,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    hi: number,
    lo: number,
    port: PortId,
    override: boolean,
    now: number,
  ): Heard {
    return this.#answer(
      this.#table.findIpv6(network.id, w0, w1, w2, w3),
      network,
      hi,
      lo,
      port,
      override,
      now,
    );
  }

  /**
   * Somebody used the address as his own without having been asked: in a request, or in an announcement.
   * @param create whether an entry is made if there is none (he speaks to the gateway), or only merged
   */
  hearIpv4(
    network: Network,
    address: number,
    hi: number,
    lo: number,
    port: PortId,
    create: boolean,
    now: number,
  ): Heard {
    const row = this.#table.findIpv4(network.id, address);
    if (row !== NONE) return this.#hear(row, network, hi, lo, port, create, true, now);
    return create ? this.#enter(network, network.id << 1, address, 0, 0, 0, hi, lo, now) : Heard.UNKNOWN;
  }

  /** As `hearIpv4`. @param override whether it may replace another MAC */
  hearIpv6(
    network: Network,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    hi: number,
    lo: number,
    port: PortId,
    create: boolean,
    override: boolean,
    now: number,
  ): Heard {
    const row = this.#table.findIpv6(network.id, w0, w1, w2, w3);
    if (row !== NONE) return this.#hear(row, network, hi, lo, port, create, override, now);
    return create ? this.#enter(network, (network.id << 1) | 1, w0, w1, w2, w3, hi, lo, now) : Heard.UNKNOWN;
  }

  #answer(
    row: number,
    network: Network,
    hi: number,
    lo: number,
    port: PortId,
    override: boolean,
    now: number,
  ): Heard {
    if (row === NONE) return Heard.UNKNOWN;
    const at = row * STRIDE;
    const rows = this.#table.rows;
    const state = rows[at + STATE];
    // ARP-2: an answer to no question makes no entry.
    if (state === NeighborState.FAILED) return Heard.UNKNOWN;
    if (state !== NeighborState.INCOMPLETE && (rows[at + MAC_HI] !== hi || rows[at + MAC_LO] !== lo)) {
      return this.#contend(row, network, hi, lo, port, override, now);
    }
    if (state === NeighborState.PERMANENT) return Heard.OK;
    rows[at + MAC_HI] = hi;
    rows[at + MAC_LO] = lo;
    rows[at + STATE] = NeighborState.REACHABLE;
    this.#table.confirmed[row] = now;
    this.#unschedule(row);
    this.#resume(row, network, now);
    return Heard.OK;
  }

  #hear(
    row: number,
    network: Network,
    hi: number,
    lo: number,
    port: PortId,
    create: boolean,
    override: boolean,
    now: number,
  ): Heard {
    const at = row * STRIDE;
    const rows = this.#table.rows;
    switch (rows[at + STATE]) {
      case NeighborState.FAILED:
        if (!create) return Heard.UNKNOWN;
        rows[at + MAC_HI] = hi;
        rows[at + MAC_LO] = lo;
        rows[at + STATE] = NeighborState.STALE;
        return Heard.OK;
      case NeighborState.INCOMPLETE:
        // Good enough for what waits (RFC 826, RFC 4861 §7.2.3); being used at once, it is asked again soon.
        rows[at + MAC_HI] = hi;
        rows[at + MAC_LO] = lo;
        this.#delay(row, now);
        this.#resume(row, network, now);
        return Heard.OK;
      default:
        if (rows[at + MAC_HI] === hi && rows[at + MAC_LO] === lo) return Heard.OK;
        return this.#contend(row, network, hi, lo, port, override, now);
    }
  }

  /**
   * A second MAC claims a known address. It gets it when the bridge knows the first one behind the same port: then nothing
   * is taken from anybody (ARP-4). Otherwise the first one is asked, once a second at most, whether it is still there;
   * if not, the entry fails and the next frame asks all. A station that is merely silent keeps its address so.
   */
  #contend(
    row: number,
    network: Network,
    hi: number,
    lo: number,
    port: PortId,
    override: boolean,
    now: number,
  ): Heard {
    const at = row * STRIDE;
    const rows = this.#table.rows;
    const state = rows[at + STATE];
    if (state === NeighborState.PERMANENT) return Heard.FOREIGN;
    const owner = network.bridge.locate(rows[at + MAC_HI], rows[at + MAC_LO], now);
    if (override && owner === port) {
      rows[at + MAC_HI] = hi;
      rows[at + MAC_LO] = lo;
      rows[at + STATE] = NeighborState.STALE;
      this.#unschedule(row);
      return Heard.OK;
    }
    if (state !== NeighborState.PROBE && now - this.#table.confirmed[row] >= RETRANSMIT) {
      this.#probe(row, network, now);
    }
    return Heard.FOREIGN;
  }

  #enter(
    network: Network,
    key: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    hi: number,
    lo: number,
    now: number,
  ): Heard {
    const row = this.#learn(network, key, w0, w1, w2, w3, now);
    if (row === NONE) return Heard.UNKNOWN;
    const at = row * STRIDE;
    this.#table.rows[at + MAC_HI] = hi;
    this.#table.rows[at + MAC_LO] = lo;
    this.#table.rows[at + STATE] = NeighborState.STALE;
    return Heard.OK;
  }

  /** Sends what has waited, oldest first. */
  #resume(row: number, network: Network, now: number): void {
    const at = row * STRIDE;
    const queue = this.#table.rows[at + QUEUE];
    if (queue === NONE) return;
    for (let frame = this.#queues.shift(queue); frame !== null; frame = this.#queues.shift(queue)) {
      this.#originator.outbox.resume(frame, this.#send(row, frame, network, now));
    }
    this.#queues.close(queue);
    this.#table.rows[at + QUEUE] = NONE;
  }

  /** Drops what has waited; the senders are told when `tell`. */
  #giveUp(row: number, reason: DropReason, tell: boolean, now: number): void {
    const at = row * STRIDE;
    const queue = this.#table.rows[at + QUEUE];
    if (queue === NONE) return;
    const isIpv6 = (this.#table.rows[at + KEY] & 1) === 1;
    for (let frame = this.#queues.shift(queue); frame !== null; frame = this.#queues.shift(queue)) {
      const { from } = this.#queues;
      const { outbox } = this.#originator;
      const { cause } = outbox;
      outbox.cause = frame.packet;
      // RFC 1812 §3.3.2, RFC 4861 §7.2.2: the sender of each waiting packet is told.
      if (tell && from !== null && this.mayTell(frame)) {
        if (isIpv6) this.#icmpv6.error(frame, from, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_ADDRESS, 0, now);
        else this.#icmp.error(frame, from, ICMP_UNREACHABLE, ICMP_UNREACH_HOST, 0, now);
      }
      outbox.cause = cause;
      outbox.resume(frame, drop(reason));
    }
    this.#queues.close(queue);
    this.#table.rows[at + QUEUE] = NONE;
  }

  // ---- time ----

  /** Does what is due at `now`: asks again, or gives up. Sets the next deadline. */
  expire(now: number): void {
    this.#now = now;
    // Downwards: a question that is answered or given up is replaced by the last one, which has had its turn.
    for (let i = this.#questions - 1; i >= 0; i--) {
      if (this.#questionDue[i] <= now) this.#turn(this.#questionRow[i], now);
    }
    let next = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#questions; i++) next = Math.min(next, this.#questionDue[i]);
    this.deadline = Math.max(next, now + ROUND);
  }

  #turn(row: number, now: number): void {
    const rows = this.#table.rows;
    const at = row * STRIDE;
    const network = this.#networks.get(rows[at + KEY] >> 1)!;
    if (rows[at + STATE] === NeighborState.DELAY) {
      this.#probe(row, network, now);
    } else if (rows[at + REQUESTS] < MAX_REQUESTS) {
      rows[at + REQUESTS]++;
      this.#schedule(row, now + RETRANSMIT);
      this.#request(row, network, now);
    } else {
      rows[at + STATE] = NeighborState.FAILED;
      this.#unschedule(row);
      this.#giveUp(row, DropReason.NEIGH_FAILED, true, now);
    }
  }

  #schedule(row: number, due: number): void {
    const at = row * STRIDE;
    let question = this.#table.rows[at + QUESTION];
    if (question === NONE) {
      question = this.#questions++;
      this.#table.rows[at + QUESTION] = question;
      this.#questionRow[question] = row;
    }
    this.#questionDue[question] = due;
    if (due < this.deadline) this.deadline = due;
  }

  #unschedule(row: number): void {
    const rows = this.#table.rows;
    const question = rows[row * STRIDE + QUESTION];
    if (question === NONE) return;
    rows[row * STRIDE + QUESTION] = NONE;
    const last = --this.#questions;
    if (question === last) return;
    const moved = this.#questionRow[last];
    this.#questionRow[question] = moved;
    this.#questionDue[question] = this.#questionDue[last];
    rows[moved * STRIDE + QUESTION] = question;
  }

  // ---- control ----

  /** Enters an address that is known to belong to a station, for good. What waits for it is sent. */
  addPermanent(network: Network, address: readonly number[], hi: number, lo: number, now: number): void {
    const row = this.#table.permanent(network.id, address);
    this.#networks.set(network.id, network);
    const at = row * STRIDE;
    this.#table.rows[at + MAC_HI] = hi;
    this.#table.rows[at + MAC_LO] = lo;
    this.#unschedule(row);
    this.#resume(row, network, now);
  }

  /** Forgets an address, however it was learned, if it is known. What waits for it is dropped. */
  remove(network: Network, address: readonly number[]): void {
    const row = this.#table.find(network.id, address);
    if (row === NONE) return;
    this.#giveUp(row, DropReason.NEIGH_FAILED, false, this.#now);
    this.#remove(row);
  }

  /** Forgets all addresses of a network. What waits for them is dropped. */
  removeNetwork(id: number): void {
    for (let row = 0; row < this.#table.high; row++) {
      if (!this.#table.isOf(row, id)) continue;
      this.#giveUp(row, DropReason.NETWORK_GONE, false, this.#now);
      this.#remove(row);
    }
    this.#queues.forget(id);
    this.#networks.delete(id);
  }

  /** All entries, in no order that means anything. */
  list(now: number): NeighborEntry[] {
    return this.#table.list(this.reachableTime, now);
  }

  /** A row for an entry that is learned, if there is room; NONE if not. */
  #learn(network: Network, key: number, w0: number, w1: number, w2: number, w3: number, now: number): number {
    this.#now = now;
    this.#networks.set(network.id, network);
    return this.#table.learn(key, w0, w1, w2, w3, this.reachableTime, now);
  }

  /** Forgets an entry whose queue is empty. */
  #remove(row: number): void {
    this.#unschedule(row);
    this.#table.remove(row);
  }
}
