import { BY_RULE, DNAT, NPT, SNAT } from '../../nat/conntrack.ts';
import { TUPLE_DST, TUPLE_PORTS } from '../../nat/tuple.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame } from '../../switch/frame.ts';
import type { Gateway } from '../../switch/gateway.ts';
import type { Icmp } from '../../switch/icmp.ts';
import type { Icmpv6 } from '../../switch/icmpv6.ts';
import { isIpv6Host, isSubnetBroadcast } from '../../switch/martian.ts';
import type { Network } from '../../switch/network.ts';
import type { Ports } from '../../switch/ports.ts';
import { isService } from '../../switch/services.ts';
import { Action, By, Stage } from '../../switch/trace.ts';
import { drop, PASS, type Verdict } from '../../switch/verdict.ts';
import { isIpv4LinkLocal, isIpv4Multicast, isIpv6LinkLocal, isIpv6Multicast } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { ICMP_UNREACH_ADMIN, ICMP_UNREACH_NET, ICMP_UNREACHABLE } from '../../wire/icmp.ts';
import {
  ICMPV6_UNREACH_ADMIN,
  ICMPV6_UNREACH_BEYOND_SCOPE,
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts';
import { IPV4_DST } from '../../wire/ipv4.ts';
import { IPV6_DST } from '../../wire/ipv6.ts';
import { PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import type { Filter } from './filter.ts';
import type { Nat } from './nat.ts';
import type { Postrouting } from './postrouting.ts';
import type { Router } from './router.ts';
import type { Routes } from './routes.ts';
import { Rule, type Rules } from './rules.ts';
import { isRoutable, isSourceRouted, leavesItsLink, sourceFault } from './source.ts';
import { pointAccepted, pointNewDestination, pointTarget } from './trace-points.ts';
import type { Uplink } from './uplink.ts';
import { STATE_DNAT, STATE_NEW } from './user-rules.ts';

const NO_SOCKET = drop(DropReason.NO_SOCKET);

/**
 * Packets that are of no known connection, each the first of one, or of none: for whom they are, whether they may go there,
 * and with what translation. What is decided here holds for all packets of the connection that follow.
 */
export class FirstPackets {
  readonly #ports: Ports;
  /** By id, uplinks included. */
  readonly #networks: readonly (Network | undefined)[];
  readonly #uplinks: readonly (Uplink | undefined)[];
  readonly #routes: Routes;
  readonly #gateway: Gateway;
  readonly #router: Router;
  readonly #nat: Nat;
  readonly #rules: Rules;
  readonly #filter: Filter;
  readonly #postrouting: Postrouting;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;

  constructor(
    ports: Ports,
    networks: readonly (Network | undefined)[],
    uplinks: readonly (Uplink | undefined)[],
    routes: Routes,
    gateway: Gateway,
    router: Router,
    nat: Nat,
    rules: Rules,
    filter: Filter,
    postrouting: Postrouting,
    icmp: Icmp,
    icmpv6: Icmpv6,
  ) {
    this.#ports = ports;
    this.#networks = networks;
    this.#uplinks = uplinks;
    this.#routes = routes;
    this.#gateway = gateway;
    this.#router = router;
    this.#nat = nat;
    this.#rules = rules;
    this.#filter = filter;
    this.#postrouting = postrouting;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
  }

  /** The first packet of a connection, of which `nat.words` is the tuple. */
  judge(frame: Frame, network: Network, now: number): Verdict {
    if (frame.etherType === ETHERTYPE_IPV4) {
      const dst = get32(frame.bytes, frame.l3 + IPV4_DST);
      const route = this.#routes.lookupIpv4(dst);
      if (route?.isLocal) return this.#local(frame, network, route.network, now);
      return this.#forwardIpv4(frame, network, dst, route === null ? null : route.network, now);
    }
    const { bytes, l3 } = frame;
    const d0 = get32(bytes, l3 + IPV6_DST);
    const d1 = get32(bytes, l3 + IPV6_DST + 4);
    const d2 = get32(bytes, l3 + IPV6_DST + 8);
    const d3 = get32(bytes, l3 + IPV6_DST + 12);
    // RFC 6085: a group may be reached by a unicast MAC.
    if (isIpv6Multicast(d0)) return this.#input(frame, network, now);
    if (network.isOwnIpv6(d0, d1, d2, d3)) return this.#local(frame, network, network, now);
    const route = this.#routes.lookupIpv6(d0, d1, d2, d3);
    if (route?.isLocal) return this.#local(frame, network, route.network, now);
    return this.#forwardIpv6(frame, network, d0, d1, d2, d3, route === null ? null : route.network, now);
  }

  /** An ICMP message that is neither query, answer nor error: something for the gateway. */
  withoutConnection(frame: Frame, network: Network, now: number): Verdict {
    if (this.#routes.isLocal(frame, network)) {
      if (network.isInternal && !isForGateway(frame, network)) return this.#internalInput(frame, network);
      return this.#input(frame, network, now);
    }
    // RFC 5508 REQ-11: redirects, advertisements and the like end here.
    this.#rules.count(Rule.INVALID, network.id, frame.end - frame.l3);
    return drop(DropReason.CT_INVALID);
  }

  // ---- INPUT ----

  /** A packet to an address of the deck, which `owner` holds: published, mapped, or for the deck itself. */
  #local(frame: Frame, network: Network, owner: Network, now: number): Verdict {
    const nat = this.#nat;
    const { protocol } = frame;
    const isUplink = this.#uplinks[network.id] !== undefined;
    const hasPorts = protocol === PROTO_TCP || protocol === PROTO_UDP;
    if (network.isInternal && owner !== network) return this.#internalInput(frame, network);
    if (hasPorts) {
      const port = nat.words[TUPLE_PORTS] & 0xffff;
      // In front of what is published: only the deck itself speaks for the gateway.
      if (!isUplink && isService(protocol, port) && this.#uplinks[owner.id] === undefined) {
        return this.#input(frame, network, now);
      }
      const publish = nat.findPublish(owner);
      if (publish >= 0) return this.#toTarget(frame, network, owner, publish, -1, isUplink, now);
    }
    if (owner === network && this.#ports.hostAtGateway[frame.ingress] !== 0) {
      const uplink = this.#uplinks[network.uplink];
      if (hasPorts && uplink?.isHost && nat.toNextHop(uplink, frame.etherType === ETHERTYPE_IPV4)) {
        return this.#toHost(frame, network, uplink, now);
      }
    }
    const mapping = nat.findMapping(owner);
    if (mapping >= 0) {
      if (!this.#mayEnter(mapping, frame, network, owner)) return drop(DropReason.NAT_FILTERED);
      return this.#toTarget(frame, network, owner, -1, mapping, isUplink, now);
    }
    if (isUplink && protocol === PROTO_TCP) {
      // RFC 5382 REQ-4: an unsolicited SYN gets no answer; it may be one half of a simultaneous open.
      return this.#unpublished(frame, network);
    }
    if (isUplink && !leavesItsLink(frame)) {
      // Nobody outside speaks for somebody inside, not to the deck itself either (RFC 3704 §2.2).
      const martian = sourceFault(frame, network, this.#uplinks[network.id], this.#routes);
      if (martian !== 0) return drop(martian as DropReason);
    }
    return this.#input(frame, network, now);
  }

  /** A packet for the deck itself. */
  #input(frame: Frame, network: Network, now: number): Verdict {
    const bytes = frame.end - frame.l3;
    const verdict = this.#gateway.input(frame, network, now);
    if (verdict === NO_SOCKET) {
      this.#rules.count(frame.protocol === PROTO_TCP ? Rule.CLOSED_TCP : Rule.CLOSED_UDP, network.id, bytes);
    }
    return verdict;
  }

  /** From an internal network to an address of the deck elsewhere. */
  #internalInput(frame: Frame, network: Network): Verdict {
    this.#rules.count(Rule.INTERNAL_INPUT, network.id, frame.end - frame.l3);
    return drop(DropReason.NETWORK_INTERNAL);
  }

  /**
   * Whether the sender of the packet may use a mapping that another's packets have made (RFC 4787 §5). Who may reach the
   * endpoint directly needs no permission: hairpinning works with every filtering (RFC 4787 REQ-9).
   */
  #mayEnter(mapping: number, frame: Frame, network: Network, owner: Network): boolean {
    if (this.#uplinks[network.id] === undefined) {
      const isKeptApart =
        this.#ports.isolated[frame.ingress] !== 0 || this.#nat.networkOfMapping(mapping) !== network.id;
      if (!isKeptApart) return true;
    }
    const uplink = this.#uplinks[owner.id];
    // On a gateway's address nobody asks for a mapping but to be answered.
    if (uplink === undefined) return false;
    if (uplink.filtering === 'endpoint-independent') return true;
    return uplink.filtering === 'address-dependent' && this.#nat.isPeer(mapping);
  }

  /** DNAT: to who published the port, or whose mapping it is; and SNAT, too, when the sender is behind the deck himself. */
  #toTarget(
    frame: Frame,
    network: Network,
    owner: Network,
    publish: number,
    mapping: number,
    isUplink: boolean,
    now: number,
  ): Verdict {
    const nat = this.#nat;
    const fault = this.#faultOf(frame, network);
    if (fault !== 0) return drop(fault as DropReason);
    const target = publish >= 0 ? nat.networkOfPublish(publish) : nat.networkOfMapping(mapping);
    const egress = this.#networks[target]!;
    if (publish >= 0) nat.toPublish(publish);
    else nat.toMapping(mapping);
    if (frame.trace !== null) pointTarget(frame, nat, publish, mapping);
    const verdict = this.#admit(frame, network, egress, STATE_NEW | STATE_DNAT, now);
    if (verdict !== PASS) return verdict;
    const row = isUplink
      ? nat.open(frame, DNAT, publish, mapping, true, now)
      : nat.openMasqueraded(frame, DNAT | SNAT, owner, publish, mapping, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    const bytes = frame.end - frame.l3;
    if (publish >= 0) {
      this.#rules.countPublish(Rule.DNAT, publish, bytes);
      if (!this.#filter.isAccepted) {
        this.#rules.countPublish(Rule.PUBLISHED, publish, bytes);
        if (frame.trace !== null)
          pointAccepted(frame, network, egress, Rule.PUBLISHED, nat.publishes.id(publish));
      }
      if (!isUplink) this.#rules.countPublish(Rule.HAIRPIN, publish, bytes);
    }
    return this.#postrouting.send(row << 1, frame, network, egress, now);
  }

  /** DNAT and SNAT: from an endpoint for which the gateway stands for the host's loopback, which is the next hop of the uplink. */
  #toHost(frame: Frame, network: Network, { network: egress }: Uplink, now: number): Verdict {
    const fault = this.#faultOf(frame, network);
    if (fault !== 0) return drop(fault as DropReason);
    if (frame.trace !== null) pointNewDestination(frame, this.#nat, By.HOST, egress.id);
    const verdict = this.#admit(frame, network, egress, STATE_NEW | STATE_DNAT, now);
    if (verdict !== PASS) return verdict;
    const row = this.#nat.openMasqueraded(frame, DNAT | SNAT, egress, -1, -1, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    this.#rules.count(Rule.MASQUERADE, network.id, frame.end - frame.l3);
    this.#accept(Rule.OUTBOUND, frame, network, egress);
    return this.#postrouting.send(row << 1, frame, network, egress, now);
  }

  // ---- FORWARD ----

  /** PASS when neither the rules nor the router refuse the packet. */
  #admit(frame: Frame, network: Network, egress: Network, states: number, now: number): Verdict {
    const filtered = this.#filter.first(frame, network, egress, states, now);
    return filtered === PASS ? this.#router.admit(frame, network, egress, now) : filtered;
  }

  #forwardIpv4(frame: Frame, network: Network, dst: number, home: Network | null, now: number): Verdict {
    const isUplink = this.#uplinks[network.id] !== undefined;
    const fault = this.#faultOf(frame, network);
    if (fault !== 0) return drop(fault as DropReason);
    if (this.#uplinks[network.id]?.isHost) return this.#fromHost(frame, network, now);
    if (isIpv4Multicast(dst)) return drop(DropReason.IP_GROUP);
    const uplink = this.#uplinks[network.uplink];
    // RFC 3927 §7: link-local addresses are for one link, and no router forwards to them; but the host's sockets end the packet
    // on the host, which may have such a link (the metadata service of a cloud).
    const isHostLink = uplink?.isHost && isIpv4LinkLocal(dst);
    if (!isRoutable(dst) && !isHostLink) return drop(DropReason.IP_MARTIAN_DESTINATION);
    if (isUplink) return this.#fromOutside(frame, network, home, now);
    if (home !== null) {
      // RFC 2644: nobody reaches all stations of another network with one packet.
      if (isSubnetBroadcast(home, dst)) return drop(DropReason.IP_MARTIAN_DESTINATION);
      return this.#toNetwork(frame, network, home, now);
    }
    if (uplink === undefined || !uplink.reachesIpv4(dst)) {
      this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_NET, 0, now);
      return drop(DropReason.IP_INNOROUTES);
    }
    if (isSubnetBroadcast(uplink.network, dst)) return drop(DropReason.IP_MARTIAN_DESTINATION);
    return this.#toUplink(frame, network, uplink, now);
  }

  #forwardIpv6(
    frame: Frame,
    network: Network,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
    home: Network | null,
    now: number,
  ): Verdict {
    const isUplink = this.#uplinks[network.id] !== undefined;
    if (!isUplink && leavesItsLink(frame)) {
      // RFC 4443 §3.1: the sender is told that it chose the wrong source.
      this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_BEYOND_SCOPE, 0, now);
      return drop(DropReason.IP_MARTIAN_SOURCE);
    }
    const fault = this.#faultOf(frame, network);
    if (fault !== 0) return drop(fault as DropReason);
    if (this.#uplinks[network.id]?.isHost) return this.#fromHost(frame, network, now);
    if (!isIpv6Host(d0, d1, d2) || isIpv6LinkLocal(d0)) return drop(DropReason.IP_MARTIAN_DESTINATION);
    if (isUplink) return this.#fromOutside(frame, network, home, now);
    if (home !== null) return this.#toNetwork(frame, network, home, now);
    const translated = this.#nat.findPrefix();
    if (translated >= 0) return this.#toPrefix(frame, network, translated, now);
    const uplink = this.#uplinks[network.uplink];
    if (uplink === undefined || !uplink.reachesIpv6(d0, d1, d2, d3)) {
      this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_NO_ROUTE, 0, now);
      return drop(DropReason.IP_INNOROUTES);
    }
    return this.#toUplink(frame, network, uplink, now);
  }

  /** Between endpoints by their addresses in another prefix (RFC 6296 §2.2: who is inside reaches them as who is outside). */
  #toPrefix(frame: Frame, network: Network, target: number, now: number): Verdict {
    const nat = this.#nat;
    const egress = this.#networks[target]!;
    if (!nat.toPrefix(target)) return drop(DropReason.IP_INNOROUTES);
    if (frame.trace !== null) pointNewDestination(frame, nat, By.PREFIX, target);
    const verdict = this.#admit(frame, network, egress, STATE_NEW, now);
    if (verdict !== PASS) return verdict;
    const row = nat.hasPrefix(network)
      ? nat.openTranslatedPrefix(frame, network, NPT | DNAT, now)
      : nat.open(frame, DNAT, -1, -1, false, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    this.#opened(row, frame, network, egress);
    return this.#postrouting.send(row << 1, frame, network, egress, now);
  }

  /** Counts the first packet of a connection from one endpoint to another. */
  #opened(row: number, frame: Frame, network: Network, egress: Network): void {
    // When the rule goes that has let it from one network into another, so does the connection.
    if (egress !== network) this.#nat.conntrack.status[row]! |= BY_RULE;
    this.#accept(egress === network ? Rule.INTRA : Rule.OUTBOUND, frame, network, egress);
  }

  /** Counts a first packet for the rule of chain DOCKER that lets it pass, if none of the user has done so. */
  #accept(kind: number, frame: Frame, network: Network, egress: Network): void {
    if (this.#filter.isAccepted) return;
    this.#rules.count(kind, network.id, frame.end - frame.l3);
    if (frame.trace !== null) pointAccepted(frame, network, egress, kind);
  }

  /**
   * Nobody outside is routed inside, also not with a route to a subnet here: what is to be reached is published (DK-2), or
   * accepted by a rule of the user.
   * @param home where the destination is; null when nowhere here
   */
  #fromOutside(frame: Frame, network: Network, home: Network | null, now: number): Verdict {
    if (home === null || this.#filter.isEmpty) return this.#unpublished(frame, network);
    this.#nat.toNetwork(home);
    const filtered = this.#filter.first(frame, network, home, STATE_NEW, now);
    if (filtered !== PASS) return filtered;
    if (!this.#filter.isAccepted) return this.#unpublished(frame, network);
    const verdict = this.#router.admit(frame, network, home, now);
    if (verdict !== PASS) return verdict;
    const row = this.#nat.open(frame, 0, -1, -1, true, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    return this.#postrouting.send(row << 1, frame, network, home, now);
  }

  #unpublished(frame: Frame, network: Network): Verdict {
    this.#rules.count(Rule.UNPUBLISHED, network.id, frame.end - frame.l3);
    return drop(DropReason.NOT_PUBLISHED);
  }

  #toNetwork(frame: Frame, network: Network, egress: Network, now: number): Verdict {
    this.#nat.toNetwork(egress);
    const filtered = this.#filter.first(frame, network, egress, STATE_NEW, now);
    if (filtered !== PASS) return filtered;
    // Back into its own network from a port that the bridge keeps apart from the others there.
    if (egress === network && !this.#filter.isAccepted && this.#ports.isolated[frame.ingress] !== 0) {
      this.#rules.count(Rule.ICC, network.id, frame.end - frame.l3);
      return drop(DropReason.PORT_ISOLATED);
    }
    const verdict = this.#router.admit(frame, network, egress, now);
    if (verdict !== PASS) return verdict;
    const row = this.#nat.open(frame, 0, -1, -1, false, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    this.#opened(row, frame, network, egress);
    return this.#postrouting.send(row << 1, frame, network, egress, now);
  }

  #toUplink(frame: Frame, network: Network, uplink: Uplink, now: number): Verdict {
    const egress = uplink.network;
    if (uplink.denies(this.#nat.words, TUPLE_DST, network.hostLoopback)) {
      this.#prohibit(frame, network, now);
      return drop(DropReason.DESTINATION_DENIED);
    }
    const nat = this.#nat;
    nat.toNetwork(egress);
    const verdict = this.#admit(frame, network, egress, STATE_NEW, now);
    if (verdict !== PASS) return verdict;
    const row = this.#openOutward(frame, network, uplink, now);
    if (row < 0) return this.#refuse(row, frame, network, now);
    this.#accept(Rule.OUTBOUND, frame, network, egress);
    return this.#postrouting.send(row << 1, frame, network, egress, now);
  }

  /** Opens a connection to the outside, with the source that it has there. */
  #openOutward(frame: Frame, network: Network, uplink: Uplink, now: number): number {
    const nat = this.#nat;
    const bytes = frame.end - frame.l3;
    if (frame.etherType !== ETHERTYPE_IPV4 && nat.hasPrefix(network)) {
      const row = nat.openTranslatedPrefix(frame, network, NPT, now);
      if (row >= 0) this.#rules.count(Rule.NPT, network.id, bytes);
      return row;
    }
    // Sockets have the host's address, whatever they are to have.
    if (!network.masquerades && !uplink.isHost) return nat.open(frame, 0, -1, -1, false, now);
    const row = nat.openMasqueraded(frame, SNAT, uplink.network, -1, -1, now);
    if (row >= 0) this.#rules.count(Rule.MASQUERADE, network.id, bytes);
    return row;
  }

  /** A packet from the host's sockets, whose destination is an address of the host: published, or nobody's. */
  #fromHost(frame: Frame, network: Network, now: number): Verdict {
    const publish = this.#nat.findPublish(network);
    if (publish < 0) return this.#unpublished(frame, network);
    return this.#toTarget(frame, network, network, publish, -1, true, now);
  }

  /** What is wrong with a packet with which a connection is to begin, or 0. */
  #faultOf(frame: Frame, network: Network): number {
    const { protocol } = frame;
    const fault = sourceFault(frame, network, this.#uplinks[network.id], this.#routes);
    if (fault !== 0) return fault;
    if (isSourceRouted(frame)) return DropReason.IP_SOURCE_ROUTED;
    if (protocol === PROTO_TCP || protocol === PROTO_UDP) {
      const ports = this.#nat.words[TUPLE_PORTS];
      if (ports >>> 16 === 0 || (ports & 0xffff) === 0) return DropReason.PORT_ZERO;
      return transportChecksumOk(frame) ? 0 : DropReason.L4_CSUM;
    }
    return transportChecksumOk(frame) ? 0 : DropReason.ICMP_CSUM;
  }

  /** A connection that there is no room for: who is behind the deck is told (RFC 5508 REQ-8). */
  #refuse(refusal: number, frame: Frame, network: Network, now: number): Verdict {
    if (this.#uplinks[network.id] === undefined && this.#nat.isForLack(refusal)) {
      this.#prohibit(frame, network, now);
    }
    const reason = this.#nat.reasonOf(refusal);
    if (frame.trace !== null) frame.trace.point(frame, Stage.PREROUTING, Action.REFUSED, reason);
    if (reason === DropReason.CT_INVALID) this.#rules.count(Rule.INVALID, network.id, frame.end - frame.l3);
    return drop(reason);
  }

  /** Tells the sender that the deck does not let the packet through. */
  #prohibit(frame: Frame, network: Network, now: number): void {
    if (frame.etherType === ETHERTYPE_IPV4) {
      this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_ADMIN, 0, now);
    } else this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_ADMIN, 0, now);
  }
}

/** Whether a packet for the deck is for the gateway of its own network, or a group in which that is. */
function isForGateway({ bytes, l3, etherType }: Frame, network: Network): boolean {
  if (etherType === ETHERTYPE_IPV4) return network.isOwnIpv4(get32(bytes, l3 + IPV4_DST));
  const at = l3 + IPV6_DST;
  const d0 = get32(bytes, at);
  return (
    isIpv6Multicast(d0) ||
    network.isOwnIpv6(d0, get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12))
  );
}
