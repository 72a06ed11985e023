import { BY_RULE, type Conntrack, REPLY, SEEN_REPLY, Track } from '../../nat/conntrack.ts';
import { isIcmpErrorPacket, quotedTcpSequence, readQuotation } from '../../nat/icmp-error.ts';
import { extractTuple, hasTuple, kindZone, TUPLE_KIND, TUPLE_WORDS } from '../../nat/tuple.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { isUntagged, stripPriorityTag } from '../../switch/priority-tag.ts';
import { Action, Stage } from '../../switch/trace.ts';
import { drop, PASS, type Verdict } from '../../switch/verdict.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { TCP_FIN, TCP_RST, TCP_SYN, tcpFlags } from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import type { Filter } from './filter.ts';
import type { FirstPackets } from './first-packets.ts';
import type { Nat } from './nat.ts';
import type { Postrouting } from './postrouting.ts';
import type { Router } from './router.ts';
import type { Routes } from './routes.ts';
import { Rule, type Rules } from './rules.ts';
import { isSourceRouted, sourceFault } from './source.ts';
import { pointAccepted, pointConnection, pointRoute } from './trace-points.ts';
import type { Uplink } from './uplink.ts';
import { STATE_ESTABLISHED, STATE_INVALID, STATE_NEW, STATE_RELATED } from './user-rules.ts';

/**
 * The way of an IP packet through the deck, from the gateway's MAC on: PREROUTING, then INPUT or FORWARD, then POSTROUTING,
 * in netfilter's words. A packet of a known connection takes the short way: found, tracked, translated, sent. The first
 * packet of a connection is judged, and what is decided about it holds for all that follow.
 */
export class Forwarding {
  /** By id, uplinks included. */
  readonly #networks: readonly (Network | undefined)[];
  readonly #uplinks: readonly (Uplink | undefined)[];
  readonly #routes: Routes;
  readonly #router: Router;
  readonly #nat: Nat;
  readonly #conntrack: Conntrack;
  readonly #rules: Rules;
  readonly #filter: Filter;
  readonly #firstPackets: FirstPackets;
  readonly #postrouting: Postrouting;
  /** By port, the connection of which its last packet was: that of most packets is the one before's. */
  readonly #recent: Int32Array;

  /** @param ports how many there may be */
  constructor(
    ports: number,
    networks: readonly (Network | undefined)[],
    uplinks: readonly (Uplink | undefined)[],
    routes: Routes,
    router: Router,
    nat: Nat,
    rules: Rules,
    filter: Filter,
    firstPackets: FirstPackets,
    postrouting: Postrouting,
  ) {
    this.#recent = new Int32Array(ports);
    this.#networks = networks;
    this.#uplinks = uplinks;
    this.#routes = routes;
    this.#router = router;
    this.#nat = nat;
    this.#conntrack = nat.conntrack;
    this.#rules = rules;
    this.#filter = filter;
    this.#firstPackets = firstPackets;
    this.#postrouting = postrouting;
  }

  /** A parsed, whole IPv4 or IPv6 packet to the gateway's MAC in `network`. */
  input(frame: Frame, network: Network, now: number): Verdict {
    if (!isUntagged(frame)) return drop(DropReason.VLAN_NOT_OURS);
    stripPriorityTag(frame);
    const { ingress } = frame;
    const recent = this.#recent[ingress];
    if (this.#conntrack.isLive(recent >> 1) && this.#isOf(recent, frame, network)) {
      return this.#known(recent, frame, network, now);
    }
    const { words } = this.#nat;
    if (!extractTuple(frame, network.id, words, 0)) {
      if (isIcmpErrorPacket(frame)) return this.#related(frame, network, now);
      return this.#firstPackets.withoutConnection(frame, network, now);
    }
    const ref = this.#conntrack.find(words, 0);
    if (ref >= 0) this.#recent[ingress] = ref;
    return ref >= 0 ? this.#known(ref, frame, network, now) : this.#firstPackets.judge(frame, network, now);
  }

  #isOf(ref: number, frame: Frame, network: Network): boolean {
    return hasTuple(frame, network.id, this.#conntrack.tuples, ref * TUPLE_WORDS);
  }

  /** A packet of a connection that is known. */
  #known(ref: number, frame: Frame, network: Network, now: number): Verdict {
    if (isSourceRouted(frame)) return drop(DropReason.IP_SOURCE_ROUTED);
    // What would change the connection's state has to be right; anything else is the receiver's to judge (RFC 1624 §4).
    if (steers(frame) && !transportChecksumOk(frame)) return drop(DropReason.L4_CSUM);
    const row = ref >> 1;
    const before = this.#conntrack.status[row];
    const stateBefore = this.#conntrack.tcp.state[row];
    switch (this.#conntrack.track(ref, frame, now)) {
      case Track.INVALID:
        return this.#invalid(ref, frame, network, now);
      case Track.REOPEN:
        extractTuple(frame, network.id, this.#nat.words, 0);
        this.#conntrack.close(row);
        return this.#firstPackets.judge(frame, network, now);
    }
    if ((ref & 1) === REPLY && (before & SEEN_REPLY) === 0) this.#nat.answered(row);
    if (this.#nat.onFlow !== null) {
      const isChanged =
        this.#conntrack.status[row] !== before || this.#conntrack.tcp.state[row] !== stateBefore;
      if (isChanged) this.#nat.tell('UPDATE', row, now);
    }
    const egress = this.#egressOf(ref);
    if (frame.trace !== null) {
      pointConnection(frame, this.#conntrack, ref, this.#stateOf(row));
      pointRoute(frame, network, egress);
    }
    if (!this.#filter.isEmpty || (before & BY_RULE) !== 0) {
      const filtered = this.#filter.next(ref, frame, network, egress, this.#stateOf(row), now);
      if (filtered !== PASS) return filtered;
    }
    const verdict = this.#router.admit(frame, network, egress, now);
    if (verdict !== PASS) return verdict;
    this.#countEstablished(frame, network, egress);
    return this.#postrouting.send(ref, frame, network, egress, now);
  }

  /** NEW until somebody has answered. */
  #stateOf(row: number): number {
    return (this.#conntrack.status[row] & SEEN_REPLY) !== 0 ? STATE_ESTABLISHED : STATE_NEW;
  }

  /** A packet that cannot be one of its connection. */
  #invalid(ref: number, frame: Frame, network: Network, now: number): Verdict {
    if (frame.trace !== null) pointConnection(frame, this.#conntrack, ref, STATE_INVALID);
    if (!this.#filter.isEmpty) {
      const filtered = this.#filter.next(ref, frame, network, this.#egressOf(ref), STATE_INVALID, now);
      if (filtered !== PASS) return filtered;
    }
    this.#rules.count(Rule.INVALID, network.id, frame.end - frame.l3);
    return drop(DropReason.CT_INVALID);
  }

  /** RELATED: an ICMP error about a packet of a connection goes to who sent that packet (RFC 5508 §4). */
  #related(frame: Frame, network: Network, now: number): Verdict {
    const { words } = this.#nat;
    if (isSourceRouted(frame)) return drop(DropReason.IP_SOURCE_ROUTED);
    const fault = readQuotation(frame, network.id, words, 0);
    if (fault !== 0) return drop(fault as DropReason);
    const ref = this.#conntrack.find(words, 0);
    if (ref < 0) return drop(DropReason.ICMP_ERROR_UNRELATED);
    const isUplink = this.#uplinks[network.id] !== undefined;
    const martian = sourceFault(frame, network, this.#uplinks[network.id], this.#routes);
    if (martian !== 0) return drop(martian as DropReason);
    // RFC 5927 §4.1: who did not see the connection cannot know its sequence numbers.
    const row = ref >> 1;
    if (
      (words[TUPLE_KIND] & 0xff) === PROTO_TCP &&
      !this.#conntrack.tcp.isInWindow(row, ((ref & 1) ^ 1) as 0 | 1, quotedTcpSequence(frame))
    ) {
      return drop(DropReason.ICMP_ERROR_UNRELATED);
    }
    const egress = this.#egressOf(ref);
    if (frame.trace !== null) {
      frame.trace.point(frame, Stage.PREROUTING, Action.CONNECTION, row, ref & 1, STATE_RELATED);
      pointRoute(frame, network, egress);
    }
    if (!this.#filter.isEmpty || (this.#conntrack.status[row] & BY_RULE) !== 0) {
      const filtered = this.#filter.next(ref, frame, network, egress, STATE_RELATED, now);
      if (filtered !== PASS) return filtered;
    }
    const verdict = this.#router.admit(frame, network, egress, now);
    if (verdict !== PASS) return verdict;
    this.#countEstablished(frame, network, egress);
    return this.#postrouting.sendError(ref, frame, network, egress, !isUplink, now);
  }

  #countEstablished(frame: Frame, network: Network, egress: Network): void {
    if (this.#filter.isAccepted) return;
    const bytes = frame.end - frame.l3;
    const isOutbound = this.#uplinks[egress.id] !== undefined;
    if (isOutbound) this.#rules.count(Rule.OUTBOUND, network.id, bytes);
    else this.#rules.count(Rule.ESTABLISHED, egress.id, bytes);
    if (frame.trace !== null) {
      pointAccepted(frame, network, egress, isOutbound ? Rule.OUTBOUND : Rule.ESTABLISHED);
    }
  }

  /** Where packets of this direction leave: by where those of the other one come in. */
  #egressOf(ref: number): Network {
    return this.#networks[kindZone(this.#conntrack.tuples[(ref ^ 1) * TUPLE_WORDS + TUPLE_KIND])]!;
  }
}

/** Whether the packet steers the connection's state: a few small ones of each. */
function steers(frame: Frame): boolean {
  if (frame.protocol !== PROTO_TCP) return frame.protocol !== PROTO_UDP;
  return (tcpFlags(frame.bytes, frame.l4) & (TCP_SYN | TCP_FIN | TCP_RST)) !== 0;
}
