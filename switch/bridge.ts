import { isGroup, isReserved, isZeroMac } from '../wire/address.ts';
import type { Carrier } from '../wire/carrier.ts';
import { ethDstHi, ethDstLo, ethSrcHi, ethSrcLo } from '../wire/ethernet.ts';
import { DropReason } from './drop-reason.ts';
import { type Fdb, Learned } from './fdb.ts';
import type { Frame, PortId } from './frame.ts';
import type { Ports } from './ports.ts';
import { Action, Stage } from './trace.ts';
import { drop, flood, forward, type Verdict } from './verdict.ts';

/**
 * A learning bridge (IEEE 802.1Q, VLAN-unaware: tags pass unchanged): learns where a frame came from and
 * says where it goes. It owns no table; the fdb and the ports are the deck's.
 */
export class Bridge {
  readonly id: number;
  /** The port behind which the network's gateway is; -1 when it has none. */
  gateway: PortId = -1;
  readonly #fdb: Fdb;
  readonly #ports: Ports;
  /** Ports that frames are flooded to, the gateway's not among them. */
  members: Int32Array = new Int32Array(8);
  memberCount = 0;

  constructor(id: number, ports: Ports, fdb: Fdb) {
    this.id = id;
    this.#ports = ports;
    this.#fdb = fdb;
  }

  carry(carrier: Carrier): void {
    this.gateway = carrier.number(this.gateway);
    this.members = carrier.grown(this.members);
    this.memberCount = carrier.number(this.memberCount);
  }

  add(port: PortId): void {
    if (this.memberCount === this.members.length) {
      const grown = new Int32Array(this.memberCount * 2);
      grown.set(this.members);
      this.members = grown;
    }
    this.members[this.memberCount++] = port;
  }

  /** Takes the port out and forgets what was learned from it. */
  remove(port: PortId): void {
    const index = this.members.subarray(0, this.memberCount).indexOf(port);
    if (index >= 0) {
      this.members.copyWithin(index, index + 1, this.memberCount);
      this.memberCount--;
    }
    this.#fdb.flushPort(port);
  }

  /** Learns from a frame that came in by a port, and decides where it goes. */
  ingress(frame: Frame, now: number): Verdict {
    const { bytes, at, ingress } = frame;
    const sourceHi = ethSrcHi(bytes, at);
    const sourceLo = ethSrcLo(bytes, at);
    if (isGroup(sourceHi) || isZeroMac(sourceHi, sourceLo)) return drop(DropReason.MAC_SOURCE_INVALID);
    const hi = ethDstHi(bytes, at);
    const lo = ethDstLo(bytes, at);
    if (isReserved(hi, lo)) return drop(DropReason.MAC_RESERVED);
    const { trace } = frame;
    const before = trace === null ? ingress : this.#fdb.lookup(this.id, sourceHi, sourceLo, now);
    const learned = this.#fdb.learn(this.id, sourceHi, sourceLo, ingress, now);
    if (trace !== null && learned === Learned.OK && before !== ingress) {
      trace.point(
        frame,
        Stage.BRIDGE,
        before < 0 ? Action.LEARNED : Action.MOVED,
        sourceHi,
        sourceLo,
        ingress,
        before,
      );
    }
    if (learned !== Learned.OK) {
      if (learned === Learned.FOREIGN) {
        const owner = this.#fdb.lookup(this.id, sourceHi, sourceLo, now);
        return drop(owner === this.gateway ? DropReason.MAC_OWN : DropReason.MAC_FOREIGN);
      }
      // Nothing is learned from such a port: only its own address is known there.
      if (this.#ports.guarded[ingress] !== 0) return drop(DropReason.MAC_SPOOF);
    }
    return this.#decide(frame, hi, lo, now);
  }

  /** Decides where a frame goes that the gateway sends; the gateway's address is not learned, it is known. */
  egress(frame: Frame, now: number): Verdict {
    const { bytes, at } = frame;
    return this.#decide(frame, ethDstHi(bytes, at), ethDstLo(bytes, at), now);
  }

  /** The port behind which a station is known to be, or -1. */
  locate(macHi: number, macLo: number, now: number): PortId {
    return this.#fdb.lookup(this.id, macHi, macLo, now);
  }

  #decide(frame: Frame, hi: number, lo: number, now: number): Verdict {
    const ingress = frame.ingress;
    if (!isGroup(hi)) {
      const port = this.#fdb.lookupFrom(ingress, this.id, hi, lo, now);
      if (port >= 0) {
        if (port === ingress) return drop(DropReason.FDB_SAME_PORT);
        if (this.#ports.isolated[port] && this.#ports.isolated[ingress])
          return drop(DropReason.PORT_ISOLATED);
        if (frame.trace !== null) frame.trace.point(frame, Stage.BRIDGE, Action.KNOWN, hi, lo, port);
        return forward(port);
      }
    }
    if (ingress !== this.gateway && !this.#ports.mayFlood(ingress, now)) return drop(DropReason.STORM_LIMIT);
    if (frame.trace !== null) {
      frame.trace.point(frame, Stage.BRIDGE, Action.FLOODED, hi, lo, this.id, this.#listeners(ingress));
    }
    return flood(this.id);
  }

  /** How many ports a frame is flooded to that came in by `ingress`. */
  #listeners(ingress: PortId): number {
    const { isolated } = this.#ports;
    let count = 0;
    for (let i = 0; i < this.memberCount; i++) {
      const port = this.members[i]!;
      if (port !== ingress && !(isolated[port] && isolated[ingress])) count++;
    }
    return count;
  }
}
