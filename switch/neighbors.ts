import { setEthDst, setEthSrc } from '../wire/ethernet.ts';
import { hash2, hash4 } from '../wire/hash.ts';
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
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { drop, HOLD, type Verdict } from './verdict.ts';

/** States of a neighbor: Linux's NUD states, which are RFC 4861's (§7.3.2) and serve ARP as well. */
export const NeighborState = {
  /** Asked for; frames wait. */
  INCOMPLETE: 0,
  /** Confirmed within the last `reachableTime`. */
  REACHABLE: 1,
  /** Not confirmed for longer, and not used since. */
  STALE: 2,
  /** Used while stale; given some time before it is asked. */
  DELAY: 3,
  /** Being asked whether it is still there. */
  PROBE: 4,
  /** Did not answer. */
  FAILED: 5,
  /** Entered by the control plane; never asked, never changed by what is heard. */
  PERMANENT: 6,
} as const;
export type NeighborState = (typeof NeighborState)[keyof typeof NeighborState];

const STATE_NAMES = Object.keys(NeighborState);

/** What became of something heard about an address. */
export const Heard = {
  /** Nothing is known about the address, and nothing was entered. */
  UNKNOWN: 0,
  OK: 1,
  /** The address belongs to another station. */
  FOREIGN: 2,
} as const;
export type Heard = (typeof Heard)[keyof typeof Heard];

/** One neighbor, as listed for people and programs. */
export interface NeighborEntry {
  network: number;
  family: 4 | 6;
  /** IPv4: one int32 word; IPv6: four. */
  address: readonly number[];
  /** A name of `NeighborState`. */
  state: string;
  /** null while unresolved. */
  mac: { hi: number; lo: number } | null;
  /** Milliseconds since the address was last confirmed; 0 for permanent entries and those never confirmed. */
  age: number;
}

/** Milliseconds between two requests, and of grace before the first to a stale neighbor (RFC 4861 §10; Linux's too). */
const RETRANSMIT = 1000;
const DELAY_FIRST_PROBE = 5000;
const REACHABLE_BASE = 30_000;
const MAX_REQUESTS = 3;
/** Milliseconds of disuse after which a stale entry may make room for another (Linux's `gc_stale_time`). */
const GC_STALE = 60_000;
/** Rows looked at in search of one that may make room. */
const GC_STEPS = 32;
/** Milliseconds between two rounds of `expire`: a scan's questions, all due at different times, share one round. */
const ROUND = 10;

// A row is twelve words.
const KEY = 0; // network << 1 | IPv6; FREE in a free row
const W0 = 1; // the address; IPv4 has one word, the others are 0
const MAC_HI = 5;
const MAC_LO = 6;
const STATE = 7;
const REQUESTS = 8; // sent since the question was put
const NEXT = 9; // next row of the same bucket, or NONE; next free row in a free one
const QUESTION = 10; // index among the questions in INCOMPLETE, DELAY and PROBE, else NONE
const QUEUE = 11; // queue of waiting frames in INCOMPLETE, else NONE
const STRIDE = 12;
const NONE = -1;
const FREE = -1;
const NEVER = Number.NEGATIVE_INFINITY;

export interface NeighborsOptions {
  /** Learned entries of all networks together. */
  capacity?: number;
  /** Learned entries of one network (Linux's `gc_thresh3`). */
  networkLimit?: number;
}

/**
 * Who has which MAC: (network, IP address) → MAC, for the networks' gateways; IPv4 by ARP, IPv6 by neighbor discovery.
 * Chained hash over typed arrays with a keyed hash, as the fdb.
 *
 * Bounded in every direction. Learned entries are limited per network and in all; when the limit is reached and none is
 * failed or long unused, a new one is refused (NEIGH_TABLE_FULL), so that a scan neither grows memory nor drives out
 * live entries. Neighbors being asked for are limited in all and per asking port; three frames wait for each
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
  readonly #originator: Originator;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #key0: number;
  readonly #key1: number;
  readonly #capacity: number;
  readonly #networkLimit: number;
  #rows: Int32Array;
  #buckets: Int32Array;
  /** When the address was last confirmed, and last used by us. */
  #confirmed: Float64Array;
  #used: Float64Array;
  /** Rows from here on were never used. */
  #high = 0;
  #freeRow = NONE;
  #permanent = 0;
  #learned = 0;
  readonly #networkLearned = new Map<number, number>();
  readonly #networks = new Map<number, Network>();
  readonly #queues = new NeighborQueues();
  // Neighbors that have to answer, or to be asked, by some time; densely packed.
  #questions = 0;
  readonly #questionRow: Int32Array;
  readonly #questionDue: Float64Array;
  /** Where the search for an entry that may make room goes on. */
  #hand = 0;
  #now = 0;

  constructor(
    originator: Originator,
    icmp: Icmp,
    icmpv6: Icmpv6,
    random: Random,
    { capacity = 4096, networkLimit = 1024 }: NeighborsOptions = {},
  ) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
    this.#key0 = random.next() | 0;
    this.#key1 = random.next() | 0;
    this.reachableTime = REACHABLE_BASE / 2 + random.below(REACHABLE_BASE);
    this.#capacity = capacity;
    this.#networkLimit = networkLimit;
    const rows = 2 ** Math.ceil(Math.log2(capacity));
    this.#rows = new Int32Array(rows * STRIDE);
    this.#confirmed = new Float64Array(rows);
    this.#used = new Float64Array(rows);
    this.#buckets = new Int32Array(rows * 2).fill(NONE);
    this.#questionRow = new Int32Array(capacity);
    this.#questionDue = new Float64Array(capacity);
  }

  /** Entries of all kinds. */
  get size(): number {
    return this.#learned + this.#permanent;
  }

  // ---- sending ----

  /**
   * Sends a frame with an IPv4 packet to its next hop: writes the Ethernet addresses and lets the bridge decide, or
   * keeps the frame (HOLD) and asks.
   * @param network where the next hop is
   * @param from where the packet came in; its sender is told when the next hop does not answer. null for nobody
   */
  outputIpv4(frame: Frame, network: Network, from: Network | null, address: number, now: number): Verdict {
    const row = this.#findIpv4(network.id, address);
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
    const row = this.#findIpv6(network.id, w0, w1, w2, w3);
    if (row !== NONE) return this.#output(row, frame, network, from, now);
    return this.#ask((network.id << 1) | 1, w0, w1, w2, w3, frame, network, from, now);
  }

  #output(row: number, frame: Frame, network: Network, from: Network | null, now: number): Verdict {
    const at = row * STRIDE;
    switch (this.#rows[at + STATE]) {
      case NeighborState.PERMANENT:
        break;
      case NeighborState.REACHABLE:
        this.#used[row] = now;
        if (now - this.#confirmed[row] < this.reachableTime) break;
        this.#delay(row, now);
        break;
      case NeighborState.STALE:
        this.#used[row] = now;
        this.#delay(row, now);
        break;
      case NeighborState.DELAY:
      case NeighborState.PROBE:
        this.#used[row] = now;
        break;
      case NeighborState.FAILED:
        return this.#question(row, frame, network, from, now);
      default:
        return this.#wait(row, frame, from);
    }
    return this.#send(row, frame, network, now);
  }

  #send(row: number, frame: Frame, network: Network, now: number): Verdict {
    const at = row * STRIDE;
    setEthDst(frame.bytes, frame.at, this.#rows[at + MAC_HI], this.#rows[at + MAC_LO]);
    setEthSrc(frame.bytes, frame.at, network.macHi, network.macLo);
    frame.ingress = network.port;
    return network.bridge.egress(frame, now);
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
    this.#rows[row * STRIDE + STATE] = NeighborState.FAILED;
    const verdict = this.#question(row, frame, network, from, now);
    if (this.#rows[row * STRIDE + STATE] === NeighborState.FAILED) this.#remove(row);
    return verdict;
  }

  /** FAILED to INCOMPLETE: asks all stations, and keeps the frame until one answers. */
  #question(row: number, frame: Frame, network: Network, from: Network | null, now: number): Verdict {
    const queue = this.#queues.open(frame.ingress);
    if (queue < 0) return drop(DropReason.NEIGH_TABLE_FULL);
    const at = row * STRIDE;
    this.#rows[at + STATE] = NeighborState.INCOMPLETE;
    this.#rows[at + QUEUE] = queue;
    this.#rows[at + REQUESTS] = 1;
    this.#used[row] = now;
    this.#schedule(row, now + RETRANSMIT);
    this.#request(row, network, now);
    return this.#wait(row, frame, from);
  }

  #wait(row: number, frame: Frame, from: Network | null): Verdict {
    const queue = this.#rows[row * STRIDE + QUEUE];
    if (this.#queues.isFull(queue)) return drop(DropReason.NEIGH_QUEUEFULL);
    const kept = this.#originator.arena.park(frame);
    if (kept === undefined) return drop(DropReason.NOMEM);
    this.#queues.push(queue, kept, from);
    return HOLD;
  }

  /** Asks all stations while INCOMPLETE, and otherwise the one that had the address. */
  #request(row: number, network: Network, now: number): void {
    const rows = this.#rows;
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
    this.#rows[row * STRIDE + STATE] = NeighborState.DELAY;
    this.#schedule(row, now + DELAY_FIRST_PROBE);
  }

  #probe(row: number, network: Network, now: number): void {
    const at = row * STRIDE;
    this.#rows[at + STATE] = NeighborState.PROBE;
    this.#rows[at + REQUESTS] = 1;
    this.#schedule(row, now + RETRANSMIT);
    this.#request(row, network, now);
  }

  // ---- hearing ----

  /** An ARP reply to the gateway: somebody says, asked or not, that he has the address. */
  answerIpv4(network: Network, address: number, hi: number, lo: number, port: PortId, now: number): Heard {
    return this.#answer(this.#findIpv4(network.id, address), network, hi, lo, port, true, now);
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
    return this.#answer(this.#findIpv6(network.id, w0, w1, w2, w3), network, hi, lo, port, override, now);
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
    const row = this.#findIpv4(network.id, address);
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
    const row = this.#findIpv6(network.id, w0, w1, w2, w3);
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
    const rows = this.#rows;
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
    this.#confirmed[row] = now;
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
    const rows = this.#rows;
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
    const rows = this.#rows;
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
    if (state !== NeighborState.PROBE && now - this.#confirmed[row] >= RETRANSMIT) {
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
    this.#rows[at + MAC_HI] = hi;
    this.#rows[at + MAC_LO] = lo;
    this.#rows[at + STATE] = NeighborState.STALE;
    return Heard.OK;
  }

  /** Sends what has waited, oldest first. */
  #resume(row: number, network: Network, now: number): void {
    const at = row * STRIDE;
    const queue = this.#rows[at + QUEUE];
    if (queue === NONE) return;
    for (let frame = this.#queues.shift(queue); frame !== null; frame = this.#queues.shift(queue)) {
      this.#originator.outbox.resume(frame, this.#send(row, frame, network, now));
    }
    this.#queues.close(queue);
    this.#rows[at + QUEUE] = NONE;
  }

  /** Drops what has waited; the senders are told when `tell`. */
  #giveUp(row: number, reason: DropReason, tell: boolean, now: number): void {
    const at = row * STRIDE;
    const queue = this.#rows[at + QUEUE];
    if (queue === NONE) return;
    const isIpv6 = (this.#rows[at + KEY] & 1) === 1;
    for (let frame = this.#queues.shift(queue); frame !== null; frame = this.#queues.shift(queue)) {
      const { from } = this.#queues;
      // RFC 1812 §3.3.2, RFC 4861 §7.2.2: the sender of each waiting packet is told.
      if (tell && from !== null) {
        if (isIpv6) this.#icmpv6.error(frame, from, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_ADDRESS, 0, now);
        else this.#icmp.error(frame, from, ICMP_UNREACHABLE, ICMP_UNREACH_HOST, 0, now);
      }
      this.#originator.outbox.resume(frame, drop(reason));
    }
    this.#queues.close(queue);
    this.#rows[at + QUEUE] = NONE;
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
    const rows = this.#rows;
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
    let question = this.#rows[at + QUESTION];
    if (question === NONE) {
      question = this.#questions++;
      this.#rows[at + QUESTION] = question;
      this.#questionRow[question] = row;
    }
    this.#questionDue[question] = due;
    if (due < this.deadline) this.deadline = due;
  }

  #unschedule(row: number): void {
    const rows = this.#rows;
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
  addPermanent(network: Network, address: readonly number[], hi: number, lo: number): void {
    const key = (network.id << 1) | (address.length === 4 ? 1 : 0);
    let row = this.#find(network.id, address);
    if (row !== NONE && this.#rows[row * STRIDE + STATE] !== NeighborState.PERMANENT) {
      this.#learned--;
      this.#count(network.id, -1);
      this.#permanent++;
    } else if (row === NONE) {
      this.#permanent++;
      // Learned entries are made on the packet path, where nothing may grow: their room is never taken from them.
      if (this.#capacity + this.#permanent > this.#confirmed.length) this.#grow();
      const [w0, w1 = 0, w2 = 0, w3 = 0] = address as [number, number?, number?, number?];
      row = this.#insert(key, w0, w1, w2, w3);
    }
    this.#networks.set(network.id, network);
    const at = row * STRIDE;
    this.#rows[at + MAC_HI] = hi;
    this.#rows[at + MAC_LO] = lo;
    this.#rows[at + STATE] = NeighborState.PERMANENT;
    this.#unschedule(row);
    this.#resume(row, network, this.#now);
  }

  /** Forgets an address, however it was learned, if it is known. What waits for it is dropped. */
  remove(network: Network, address: readonly number[]): void {
    const row = this.#find(network.id, address);
    if (row === NONE) return;
    this.#giveUp(row, DropReason.NEIGH_FAILED, false, this.#now);
    this.#remove(row);
  }

  /** Forgets all addresses of a network. What waits for them is dropped. */
  removeNetwork(id: number): void {
    for (let row = 0; row < this.#high; row++) {
      const key = this.#rows[row * STRIDE + KEY];
      if (key === FREE || key >> 1 !== id) continue;
      this.#giveUp(row, DropReason.NETWORK_GONE, false, this.#now);
      this.#remove(row);
    }
    this.#queues.forget(id);
    this.#networks.delete(id);
    this.#networkLearned.delete(id);
  }

  /** All entries, in no order that means anything. */
  list(now: number): NeighborEntry[] {
    const entries: NeighborEntry[] = [];
    for (let row = 0; row < this.#high; row++) {
      const at = row * STRIDE;
      const rows = this.#rows;
      const key = rows[at + KEY];
      if (key === FREE) continue;
      const since = now - this.#confirmed[row];
      const aged = rows[at + STATE] === NeighborState.REACHABLE && since >= this.reachableTime;
      const state = aged ? NeighborState.STALE : rows[at + STATE];
      const unresolved = state === NeighborState.INCOMPLETE || state === NeighborState.FAILED;
      entries.push({
        network: key >> 1,
        family: key & 1 ? 6 : 4,
        address: Array.from(rows.subarray(at + W0, at + W0 + (key & 1 ? 4 : 1))),
        state: STATE_NAMES[state],
        mac: unresolved ? null : { hi: rows[at + MAC_HI], lo: rows[at + MAC_LO] },
        age: Number.isFinite(since) ? since : 0,
      });
    }
    return entries;
  }

  // ---- the table ----

  #find(network: number, address: readonly number[]): number {
    if (address.length === 1) return this.#findIpv4(network, address[0]);
    return this.#findIpv6(network, address[0], address[1], address[2], address[3]);
  }

  #findIpv4(network: number, address: number): number {
    const rows = this.#rows;
    const key = network << 1;
    for (let row = this.#buckets[this.#bucket(key, address, 0, 0, 0)]; row !== NONE; ) {
      const at = row * STRIDE;
      if (rows[at + W0] === address && rows[at + KEY] === key) return row;
      row = rows[at + NEXT];
    }
    return NONE;
  }

  #findIpv6(network: number, w0: number, w1: number, w2: number, w3: number): number {
    const rows = this.#rows;
    const key = (network << 1) | 1;
    for (let row = this.#buckets[this.#bucket(key, w0, w1, w2, w3)]; row !== NONE; ) {
      const at = row * STRIDE;
      if (
        rows[at + W0 + 3] === w3 &&
        rows[at + W0 + 2] === w2 &&
        rows[at + W0 + 1] === w1 &&
        rows[at + W0] === w0 &&
        rows[at + KEY] === key
      ) {
        return row;
      }
      row = rows[at + NEXT];
    }
    return NONE;
  }

  #bucket(key: number, w0: number, w1: number, w2: number, w3: number): number {
    const address = key & 1 ? hash4(this.#key1, this.#key0, w0, w1, w2, w3) : w0;
    return hash2(this.#key0, this.#key1, key, address) & (this.#buckets.length - 1);
  }

  /** A row for an entry that is learned, if the network may have one more; NONE if not. */
  #learn(network: Network, key: number, w0: number, w1: number, w2: number, w3: number, now: number): number {
    this.#now = now;
    const id = network.id;
    const crowded = (this.#networkLearned.get(id) ?? 0) >= this.#networkLimit;
    if ((crowded || this.#learned >= this.#capacity) && !this.#makeRoom(crowded ? id : NONE, now))
      return NONE;
    this.#learned++;
    this.#count(id, 1);
    this.#networks.set(id, network);
    return this.#insert(key, w0, w1, w2, w3);
  }

  /**
   * Removes one entry (of one network, or of any) that failed or was not used for a minute. Looks at a few rows only:
   * whoever fills the table must not make every frame walk through it.
   */
  #makeRoom(network: number, now: number): boolean {
    const rows = this.#rows;
    for (let step = 0; step < GC_STEPS; step++) {
      this.#hand = this.#hand + 1 < this.#high ? this.#hand + 1 : 0;
      const row = this.#hand;
      const at = row * STRIDE;
      const key = rows[at + KEY];
      if (key === FREE || (network !== NONE && key >> 1 !== network)) continue;
      const state = rows[at + STATE];
      const stale =
        state === NeighborState.STALE ||
        (state === NeighborState.REACHABLE && now - this.#confirmed[row] >= this.reachableTime);
      if (state === NeighborState.FAILED || (stale && now - this.#used[row] >= GC_STALE)) {
        this.#remove(row);
        return true;
      }
    }
    return false;
  }

  #insert(key: number, w0: number, w1: number, w2: number, w3: number): number {
    const rows = this.#rows;
    let row = this.#freeRow;
    if (row === NONE) row = this.#high++;
    else this.#freeRow = rows[row * STRIDE + NEXT];
    const at = row * STRIDE;
    const bucket = this.#bucket(key, w0, w1, w2, w3);
    rows[at + KEY] = key;
    rows[at + W0] = w0;
    rows[at + W0 + 1] = w1;
    rows[at + W0 + 2] = w2;
    rows[at + W0 + 3] = w3;
    rows[at + REQUESTS] = 0;
    rows[at + QUESTION] = NONE;
    rows[at + QUEUE] = NONE;
    rows[at + NEXT] = this.#buckets[bucket];
    this.#buckets[bucket] = row;
    this.#confirmed[row] = NEVER;
    this.#used[row] = NEVER;
    return row;
  }

  /** The queue of the row has been emptied. */
  #remove(row: number): void {
    const rows = this.#rows;
    const at = row * STRIDE;
    this.#unschedule(row);
    const bucket = this.#bucket(
      rows[at + KEY],
      rows[at + W0],
      rows[at + W0 + 1],
      rows[at + W0 + 2],
      rows[at + W0 + 3],
    );
    if (this.#buckets[bucket] === row) this.#buckets[bucket] = rows[at + NEXT];
    else {
      let before = this.#buckets[bucket];
      while (rows[before * STRIDE + NEXT] !== row) before = rows[before * STRIDE + NEXT];
      rows[before * STRIDE + NEXT] = rows[at + NEXT];
    }
    if (rows[at + STATE] === NeighborState.PERMANENT) this.#permanent--;
    else {
      this.#learned--;
      this.#count(rows[at + KEY] >> 1, -1);
    }
    rows[at + KEY] = FREE;
    rows[at + NEXT] = this.#freeRow;
    this.#freeRow = row;
  }

  #count(network: number, change: number): void {
    this.#networkLearned.set(network, (this.#networkLearned.get(network) ?? 0) + change);
  }

  #grow(): void {
    const rows = new Int32Array(this.#rows.length * 2);
    rows.set(this.#rows);
    const confirmed = new Float64Array(this.#confirmed.length * 2);
    confirmed.set(this.#confirmed);
    const used = new Float64Array(this.#used.length * 2);
    used.set(this.#used);
    this.#rows = rows;
    this.#confirmed = confirmed;
    this.#used = used;
    this.#buckets = new Int32Array(this.#buckets.length * 2).fill(NONE);
    for (let row = 0; row < this.#high; row++) {
      const at = row * STRIDE;
      if (rows[at + KEY] === FREE) continue;
      const bucket = this.#bucket(
        rows[at + KEY],
        rows[at + W0],
        rows[at + W0 + 1],
        rows[at + W0 + 2],
        rows[at + W0 + 3],
      );
      rows[at + NEXT] = this.#buckets[bucket];
      this.#buckets[bucket] = row;
    }
  }
}
