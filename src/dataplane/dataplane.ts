import { restore } from '../../nat/translate.ts';
import type { Device } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame, PortId } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { Provenance } from '../../switch/outbox.ts';
import {
  PORT_STRIDE,
  RX_BYTES,
  RX_DROPPED,
  RX_FRAMES,
  TX_BYTES,
  TX_DROPPED,
  TX_FRAMES,
} from '../../switch/ports.ts';
import { Action, Stage } from '../../switch/trace.ts';
import {
  CONSUME,
  drop,
  PASS,
  type Verdict,
  VerdictKind,
  verdictArgument,
  verdictKind,
} from '../../switch/verdict.ts';
import type { Carrier } from '../../wire/carrier.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { Malformed } from '../../wire/malformed.ts';
import { parse, parseEthernet, parseNetwork } from '../../wire/parse.ts';
import { checkVnet } from '../../wire/virtio-net.ts';
import type {
  FlowEntry,
  FlowEvent,
  FlowFilter,
  FlowPage,
  PortCounters,
  Snapshot,
  SnapshotWants,
} from './commands.ts';
import { Configuration, type DataplaneOptions } from './configuration.ts';
import { listFlows } from './flows.ts';
import { Rule } from './rules.ts';

/** What the smallest frame costs of a port's budget, in bytes: about as much time as copying so many in and out. */
const FRAME_COST = 2048;

/** Milliseconds for which timers rest after one of them threw: it would be due again at once, and for ever. */
const REST = 1000;

const PORT_ISOLATED = drop(DropReason.PORT_ISOLATED);

/**
 * The switch as a pure machine: frames and time in, frames out. No clock, no thread, no descriptor; the same
 * object runs live behind TAPs and in virtual time behind captures.
 */
export class Dataplane extends Configuration {
  /** Verdict on the frame received last; for replay, traces and tests. */
  lastVerdict: Verdict = PASS;
  /** Id of the packet that came in or was made last. */
  #packet = 0;
  /** Until when timers rest. */
  #resting = Number.NEGATIVE_INFINITY;

  constructor(options: DataplaneOptions = {}) {
    super(options);
    this.neighbors.mayTell = (frame) => this.#undo(frame);
  }

  // ---- the way of a frame ----

  /**
   * Takes frames from the port's device until it has no more or the budget is spent; answers how many there were.
   * @param budget bytes; a frame costs at least `FRAME_COST`, and as much for every copy that is made of it: who floods
   *   spends his own turn, not that of the others
   */
  poll(port: PortId, budget: number, now: number): number {
    const device = this.egress.device(port);
    if (!device) return 0;
    const ledger = this.ledger;
    let count = 0;
    for (let left = budget; left > 0; count++) {
      const frame = this.#take(device, now);
      if (!frame) break;
      left -= Math.max(frame.length, FRAME_COST);
      const copies = ledger.copies;
      this.receive(port, frame, now);
      left -= (ledger.copies - copies) * FRAME_COST;
    }
    this.egress.sendBatches(now);
    return count;
  }

  #take(device: Device, now: number): Frame | null {
    try {
      return device.receive(this.arena, now);
    } catch (error) {
      this.onException(error, null);
      return null;
    }
  }

  /** One frame that came in by `port`; its reference passes to the data plane. */
  receive(port: PortId, frame: Frame, now: number): void {
    const counters = this.ports.counters;
    const row = port * PORT_STRIDE;
    counters[row + RX_FRAMES]!++;
    counters[row + RX_BYTES]! += frame.length;
    this.ledger.ports++;
    frame.ingress = port;
    frame.origin = port;
    frame.packet = this.#nextPacket();
    const { isOn } = this.observer;
    let verdict: Verdict;
    try {
      if (isOn) this.#observe(frame, now);
      verdict = this.ingress(frame, now);
    } catch (error) {
      // Whatever is wrong with our code must cost this frame and nothing else.
      verdict = drop(DropReason.EXCEPTION);
      this.onException(error, frame);
    }
    if (verdictKind(verdict) === VerdictKind.DROP) counters[row + RX_DROPPED]!++;
    this.lastVerdict = verdict;
    this.egress.settle(frame, verdict, now);
    this.sendOutbox(now);
    if (isOn) this.#observed();
  }

  #observe(frame: Frame, now: number): void {
    this.outbox.cause = frame.packet;
    this.observer.received(frame, now);
  }

  #observed(): void {
    this.outbox.cause = 0;
    this.observer.commit();
  }

  /** Id of the packet that came in or was made last; ids go up by one, wrap, and are never 0. */
  get packet(): number {
    return this.#packet;
  }

  #nextPacket(): number {
    const next = (this.#packet + 1) | 0;
    this.#packet = next === 0 ? 1 : next;
    return this.#packet;
  }

  /** What is to become of a frame: every stage of the switch, in order. */
  ingress(frame: Frame, now: number): Verdict {
    const fault = parseEthernet(frame);
    if (fault !== Malformed.NONE) return drop(fault);

    const network = this.networks[this.ports.network[frame.ingress]!]!;
    const verdict = network.bridge.ingress(frame, now);
    switch (verdictKind(verdict)) {
      case VerdictKind.FORWARD: {
        const toGateway = verdictArgument(verdict) === network.port;
        const guarded = this.guard.check(frame, network, toGateway);
        if (guarded !== PASS) return guarded;
        if (frame.trace !== null) this.#pointGuard(frame);
        return toGateway ? this.#toGateway(frame, network, now) : verdict;
      }
      case VerdictKind.FLOOD: {
        const guarded = this.guard.check(frame, network, false);
        if (guarded !== PASS) return guarded;
        if (frame.trace !== null) this.#pointGuard(frame);
        return this.#overhear(frame, network, verdict, now);
      }
      default:
        if (verdict === PORT_ISOLATED) this.rules.count(Rule.ICC, network.id, frame.end - frame.l3);
        return verdict;
    }
  }

  #pointGuard(frame: Frame): void {
    if (this.ports.guarded[frame.ingress] !== 0) frame.trace!.point(frame, Stage.GUARD, Action.RETURNED);
  }

  /** A frame for the gateway's MAC: INPUT when the gateway is its destination, FORWARD when it is to route it. */
  #toGateway(frame: Frame, network: Network, now: number): Verdict {
    const fault = parseNetwork(frame) || checkVnet(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    if (frame.moreFragments || frame.fragmentOffset !== 0) return this.#reassemble(frame, network, now);
    return this.#route(frame, network, now);
  }

  #route(frame: Frame, network: Network, now: number): Verdict {
    const isIp = frame.etherType === ETHERTYPE_IPV4 || frame.etherType === ETHERTYPE_IPV6;
    return isIp ? this.forwarding.input(frame, network, now) : this.gateway.input(frame, network, now);
  }

  /**
   * Makes a translated packet again what its sender knows, so that an error can quote it; false when nobody remembers.
   */
  #undo(frame: Frame): boolean {
    if (frame.flow < 0) return true;
    const { conntrack } = this.nat;
    if (conntrack.serial[frame.flow >> 1] !== frame.flowSerial) return false;
    restore(frame, conntrack.tuples, frame.flow);
    return true;
  }

  /** A fragment for the gateway's MAC. The datagram that it completes goes on as a frame of its own. */
  #reassemble(frame: Frame, network: Network, now: number): Verdict {
    const isLocal = this.routes.isLocal(frame, network);
    const verdict = this.reassembly.input(frame, network, isLocal, now);
    const whole = this.reassembly.take();
    if (frame.trace !== null) {
      if (whole !== null) frame.trace.point(frame, Stage.PREROUTING, Action.REASSEMBLED, whole.length);
      else if (verdict === CONSUME) frame.trace.point(frame, Stage.PREROUTING, Action.FRAGMENT_HELD);
    }
    if (whole === null) return verdict;
    whole.trace = frame.trace;
    // In front of what it causes: its verdict is written where the outbox reads it later. Until then it is what becomes of
    // the datagram if its handling throws.
    if (!this.outbox.reassembled(whole, drop(DropReason.EXCEPTION))) {
      this.arena.release(whole);
      return verdict;
    }
    const fault = parse(whole);
    whole.verdict = fault === Malformed.NONE ? this.#route(whole, network, now) : drop(fault);
    return verdict;
  }

  /** A frame that the bridge floods: the gateway is one of those who hear it. */
  #overhear(frame: Frame, network: Network, verdict: Verdict, now: number): Verdict {
    const heard = this.gateway.hear(frame, network, now);
    const others = network.bridge.memberCount - 1;
    if (others === 0) return heard === PASS ? drop(DropReason.NO_EGRESS) : heard;
    if (heard !== PASS) {
      this.ledger.copies++;
      if (verdictKind(heard) === VerdictKind.DROP) this.ledger.drop(verdictArgument(heard) as DropReason);
      else this.ledger.consumed++;
      if (frame.trace !== null) this.observer.verdict(frame, heard);
      else if (verdictKind(heard) === VerdictKind.DROP) this.observer.dropped(frame, heard, now);
    }
    return verdict;
  }

  protected sendOutbox(now: number): void {
    if (this.outbox.size > 0) this.#emptyOutbox(now);
  }

  #emptyOutbox(now: number): void {
    const { outbox, observer } = this;
    for (let frame = outbox.shift(); frame; frame = outbox.shift()) {
      const { provenance } = outbox;
      // What was made has its cause for a number until it gets its own; what goes on does so because of the packet in hand.
      const cause = provenance === Provenance.RESUMED ? outbox.cause : frame.packet;
      if (provenance === Provenance.ORIGINATED) {
        this.ledger.originated++;
        frame.packet = this.#nextPacket();
      } else if (provenance === Provenance.REASSEMBLED) this.ledger.originated++;
      else if (provenance === Provenance.RESUMED) this.ledger.held--;
      else this.ledger.copies++;
      if (observer.isOn) observer.left(frame, provenance, cause, now);
      this.egress.settle(frame, frame.verdict, now);
    }
    if (observer.isOn) observer.commit();
  }

  // ---- time ----

  /** When `expire` has something to do next, monotonic milliseconds; Infinity if nothing is pending. */
  deadline(): number {
    const due = Math.min(
      this.fdb.deadline,
      this.neighbors.deadline,
      this.reassembly.deadline,
      this.nat.conntrack.deadline,
      this.names.deadline,
    );
    return Math.max(due, this.#resting);
  }

  /** Does all work that is due at `now`; answers the next deadline. */
  expire(now: number): number {
    if (now < this.#resting) return this.deadline();
    try {
      if (now >= this.fdb.deadline) this.fdb.expire(now);
      if (now >= this.neighbors.deadline) this.neighbors.expire(now);
      if (now >= this.reassembly.deadline) this.reassembly.expire(now);
      if (now >= this.nat.conntrack.deadline) this.nat.expire(now);
      if (now >= this.names.deadline) this.names.expire(now);
    } catch (error) {
      this.#resting = now + REST;
      this.onException(error, null);
    }
    this.sendOutbox(now);
    this.egress.sendBatches(now);
    return this.deadline();
  }
  override carry(carrier: Carrier, device: (port: PortId) => Device): void {
    super.carry(carrier, device);
    this.#resting = carrier.number(this.#resting);
    this.#packet = carrier.number(this.#packet);
  }

  // ---- what can be seen from outside ----

  /** The connections that match, all of them. */
  flows(filter: FlowFilter, now: number): FlowEntry[] {
    const flows: FlowEntry[] = [];
    for (let next: number | null = 0; next !== null; ) {
      const page = this.flowPage(filter, next, now);
      flows.push(...page.flows);
      next = page.next;
    }
    return flows;
  }

  /** A part of the connections that match, few enough to be told between two batches of frames; 0 is the first part. */
  flowPage(filter: FlowFilter, from: number, now: number): FlowPage {
    return listFlows(this.nat, filter, from, now);
  }

  /** Hears of connections that begin, change and end; null while nobody listens. */
  set onFlow(listener: ((event: FlowEvent) => void) | null) {
    this.nat.onFlow = listener;
  }

  /** Hears of connections that are ended though neither end has (see `Nat.onSevered`); null while nobody listens. */
  set onSevered(listener: ((tuples: Int32Array, at: number) => void) | null) {
    this.nat.onSevered = listener;
  }

  /** Accounts for what a port's device has got and discarded by itself, before there was a frame. */
  discarded(port: PortId, reason: DropReason, count: number): void {
    const { counters } = this.ports;
    const row = port * PORT_STRIDE;
    this.ledger.ports += count;
    this.ledger.drops[reason]! += count;
    counters[row + RX_FRAMES]! += count;
    counters[row + RX_DROPPED]! += count;
  }

  snapshot(now: number, wants: SnapshotWants = {}): Snapshot {
    return {
      now,
      ledger: this.ledger.snapshot(),
      ports: wants.ports ? this.#portCounters() : [],
      gateways: wants.ports ? this.#gateways() : [],
      fdb: wants.fdb ? this.fdb.list(now) : [],
      neighbors: wants.neighbors ? this.neighbors.list(now) : [],
      rules: wants.rules ? [...this.rules.list(), ...this.filter.list()] : [],
      conntrack: { entries: this.nat.conntrack.size, capacity: this.nat.conntrack.capacity },
      names: { ...this.resolver.counters },
    };
  }

  #gateways(): Snapshot['gateways'] {
    return this.networks.flatMap((network, id) => (network ? { port: network.port, network: id } : []));
  }

  #portCounters(): PortCounters[] {
    const { counters, network } = this.ports;
    return Array.from(this.specs.keys(), (port) => {
      const row = port * PORT_STRIDE;
      return {
        port,
        network: network[port]!,
        rxFrames: counters[row + RX_FRAMES]!,
        rxBytes: counters[row + RX_BYTES]!,
        rxDropped: counters[row + RX_DROPPED]!,
        txFrames: counters[row + TX_FRAMES]!,
        txBytes: counters[row + TX_BYTES]!,
        txDropped: counters[row + TX_DROPPED]!,
      };
    });
  }
}
