import {
  isGroup,
  isIpv6Multicast,
  SOLICITED_NODE_W1,
  SOLICITED_NODE_W2,
  solicitedNodeW3,
} from '../wire/address.ts';
import { copy, get32 } from '../wire/bytes.ts';
import { DHCP_SERVER_PORT } from '../wire/dhcp.ts';
import { DNS_PORT } from '../wire/dns.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethDstHi } from '../wire/ethernet.ts';
import { ICMP_UNREACH_PORT, ICMP_UNREACH_PROTOCOL, ICMP_UNREACHABLE } from '../wire/icmp.ts';
import {
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PARAMETER_HEADER,
  ICMPV6_PARAMETER_NEXT_HEADER,
  ICMPV6_PARAMETER_OPTION,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACHABLE,
  icmpv6Type,
} from '../wire/icmpv6.ts';
import { ipv4Dst, ipv4Src, isIpv4SourceRouted } from '../wire/ipv4.ts';
import {
  findIpv6Extension,
  IPV6_DST,
  IPV6_EXT_ROUTING,
  IPV6_LEN,
  IPV6_NO_NEXT,
  IPV6_ROUTING_SEGMENTS_LEFT,
  IPV6_ROUTING_TYPE,
  IPV6_SRC,
} from '../wire/ipv6.ts';
import { Malformed } from '../wire/malformed.ts';
import { isNd } from '../wire/nd.ts';
import { parseNetwork } from '../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { transportChecksumOk } from '../wire/transport.ts';
import { udpDstPort } from '../wire/udp.ts';
import { checkVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { Arp } from './arp.ts';
import type { DhcpServer } from './dhcp-server.ts';
import { DropReason } from './drop-reason.ts';
import { findForbiddenOption, protocolField } from './extension-headers.ts';
import type { Frame } from './frame.ts';
import type { Icmp } from './icmp.ts';
import type { Icmpv6 } from './icmpv6.ts';
import { isIpv4Source, isIpv6Host, isIpv6Land } from './martian.ts';
import type { NameServer } from './name-server.ts';
import { ALL_NODES_W0, ALL_NODES_W3, Nd } from './nd.ts';
import type { Neighbors } from './neighbors.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { isUntagged, stripPriorityTag } from './priority-tag.ts';
import { sendTcpReset } from './tcp-reset.ts';
import { Action, Service, Stage } from './trace.ts';
import { CONSUME, drop, PASS, type Verdict, VerdictKind, verdictKind } from './verdict.ts';

/** ff02::2, the group of all routers of a link (RFC 4291 §2.7.1); its other words are those of all nodes. */
const ALL_ROUTERS_W3 = 2;

/**
 * The deck itself as a station of each network: what it answers when it is spoken to. INPUT, in netfilter's words.
 */
export class Gateway {
  readonly #originator: Originator;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #arp: Arp;
  readonly #nd: Nd;
  readonly #names: NameServer;
  readonly #dhcp: DhcpServer;

  constructor(
    originator: Originator,
    neighbors: Neighbors,
    icmp: Icmp,
    icmpv6: Icmpv6,
    names: NameServer,
    dhcp: DhcpServer,
  ) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
    this.#arp = new Arp(originator, neighbors);
    this.#nd = new Nd(originator, neighbors);
    this.#names = names;
    this.#dhcp = dhcp;
  }

  /**
   * A parsed frame to the gateway's MAC: ARP, or an IP packet to an address of a gateway (which may be that of another
   * network), no fragment. The frame is the gateway's alone and may become the answer.
   */
  input(frame: Frame, network: Network, now: number): Verdict {
    if (!isUntagged(frame)) return drop(DropReason.VLAN_NOT_OURS);
    stripPriorityTag(frame);
    switch (frame.etherType) {
      case ETHERTYPE_ARP:
        if (frame.trace !== null) pointService(frame, Service.ARP);
        return this.#arp.input(frame, network, now);
      case ETHERTYPE_IPV4:
        return this.#ipv4(frame, network, now);
      case ETHERTYPE_IPV6:
        return this.#ipv6(frame, network, now);
      default:
        return drop(DropReason.UNHANDLED_PROTO);
    }
  }

  /**
   * A frame that the bridge floods, of which `parseEthernet` is known. It is not changed, because others get it, too.
   * PASS when it is none of the gateway's business. Broadcast and IPv4 multicast are not, but for ARP and DHCP: no other service
   * listens there, and an echo request to all is ignored as Linux does (RFC 1122 §3.2.2.6 leaves it open).
   */
  hear(frame: Frame, network: Network, now: number): Verdict {
    if (!isGroup(ethDstHi(frame.bytes, frame.at)) || !isUntagged(frame)) return PASS;
    switch (frame.etherType) {
      case ETHERTYPE_ARP: {
        const fault = parseNetwork(frame);
        if (fault !== Malformed.NONE) return drop(fault);
        const heard = this.#arp.input(frame, network, now);
        if (frame.trace !== null && heard !== PASS) pointService(frame, Service.ARP);
        return heard;
      }
      case ETHERTYPE_IPV4:
        return this.#dhcp.serves(network.id) ? this.#hearDhcp(frame, network, now) : PASS;
      case ETHERTYPE_IPV6:
        return listens(frame, network) ? this.#hearIpv6(frame, network, now) : PASS;
      default:
        return PASS;
    }
  }

  /** Who has no address yet asks all (RFC 2131 §4.1). */
  #hearDhcp(frame: Frame, network: Network, now: number): Verdict {
    const fault = parseNetwork(frame) || checkVnet(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    if (frame.protocol !== PROTO_UDP || frame.l4 === 0 || frame.moreFragments) return PASS;
    if (!this.#isForDhcp(frame, network)) return PASS;
    if (!transportChecksumOk(frame)) return drop(DropReason.L4_CSUM);
    if (frame.trace !== null) pointService(frame, Service.DHCP);
    return this.#dhcp.input(frame, network, now);
  }

  #hearIpv6(frame: Frame, network: Network, now: number): Verdict {
    const fault = parseNetwork(frame) || checkVnet(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    if (frame.protocol !== PROTO_ICMPV6 || frame.l4 === 0) return PASS;
    const type = icmpv6Type(frame.bytes, frame.l4);
    if (isNd(type)) {
      const heard = this.#nd.input(frame, network, now);
      if (frame.trace !== null && heard !== PASS) pointService(frame, Service.ND);
      return heard;
    }
    // RFC 4443 §4.2: echo requests to a group should be answered, by a frame of our own.
    if (type !== ICMPV6_ECHO_REQUEST || frame.moreFragments) return PASS;
    const answer = this.#originator.arena.allocate(frame.length);
    if (answer === undefined) {
      this.#originator.failures++;
      return drop(DropReason.NOMEM);
    }
    copy(frame.bytes, frame.at - VNET_LEN, answer.bytes, answer.at - VNET_LEN, VNET_LEN + frame.length);
    answer.moveHeaders(frame);
    answer.ingress = frame.ingress;
    answer.origin = frame.origin;
    const verdict = this.input(answer, network, now);
    if (verdictKind(verdict) === VerdictKind.DROP || !this.#originator.outbox.originate(answer, verdict)) {
      this.#originator.arena.release(answer);
      return verdictKind(verdict) === VerdictKind.DROP ? verdict : CONSUME;
    }
    return CONSUME;
  }

  #ipv4(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    if (!network.hasIpv4) return drop(DropReason.UNHANDLED_PROTO);
    const src = ipv4Src(bytes, l3);
    // Also "land": a packet that claims to come from where it goes.
    if (!isIpv4Source(network, src) || src === ipv4Dst(bytes, l3)) return drop(DropReason.IP_MARTIAN_SOURCE);
    if (isIpv4SourceRouted(bytes, l3)) return drop(DropReason.IP_SOURCE_ROUTED);
    return this.#transport(frame, network, now);
  }

  #ipv6(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    if (!network.hasIpv6) return drop(DropReason.UNHANDLED_PROTO);
    const s0 = get32(bytes, l3 + IPV6_SRC);
    const s1 = get32(bytes, l3 + IPV6_SRC + 4);
    const s2 = get32(bytes, l3 + IPV6_SRC + 8);
    const s3 = get32(bytes, l3 + IPV6_SRC + 12);
    const d0 = get32(bytes, l3 + IPV6_DST);
    if (isIpv6Multicast(d0) && !listens(frame, network)) return drop(DropReason.IP_GROUP);
    // Before the source is judged: duplicate address detection comes from nobody.
    const isNdMessage =
      frame.protocol === PROTO_ICMPV6 && frame.l4 !== 0 && isNd(icmpv6Type(bytes, frame.l4));
    if (isNdMessage && frame.trace !== null) pointService(frame, Service.ND);
    if (isNdMessage) return this.#nd.input(frame, network, now);
    if (isIpv6Land(bytes, l3) || !isIpv6Host(s0, s1, s2) || network.isOwnIpv6(s0, s1, s2, s3)) {
      return drop(DropReason.IP_MARTIAN_SOURCE);
    }
    const routing = findIpv6Extension(frame, IPV6_EXT_ROUTING);
    if (routing !== 0 && bytes[routing + IPV6_ROUTING_SEGMENTS_LEFT] !== 0) {
      // RFC 5095 §3, RFC 8200 §4.4: the gateway knows no type of routing header, and type 0 least of all.
      this.#parameterProblem(frame, network, ICMPV6_PARAMETER_HEADER, routing + IPV6_ROUTING_TYPE, now);
      return drop(DropReason.IP_SOURCE_ROUTED);
    }
    const option = findForbiddenOption(frame);
    if (option !== 0) {
      // RFC 8200 §4.2: 01 discards in silence, 10 and 11 tell the sender.
      if (bytes[option] >>> 6 !== 1)
        this.#parameterProblem(frame, network, ICMPV6_PARAMETER_OPTION, option, now);
      return drop(DropReason.IPV6_INHDR);
    }
    return this.#transport(frame, network, now);
  }

  #transport(frame: Frame, network: Network, now: number): Verdict {
    const isIpv4 = frame.etherType === ETHERTYPE_IPV4;
    if (frame.trace !== null) pointService(frame, this.#serviceOf(frame, network));
    switch (frame.protocol) {
      case PROTO_ICMP:
        if (isIpv4) return this.#icmp.input(frame, network, now);
        break;
      case PROTO_ICMPV6:
        if (!isIpv4) return this.#icmpv6.input(frame, network, now);
        break;
      case PROTO_UDP:
        if (!transportChecksumOk(frame)) return drop(DropReason.L4_CSUM);
        if (this.#isForNames(frame, network)) return this.#names.input(frame, network, now);
        if (isIpv4 && this.#isForDhcp(frame, network)) return this.#dhcp.input(frame, network, now);
        if (isIpv4) this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_PORT, 0, now);
        else this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_PORT, 0, now);
        return drop(DropReason.NO_SOCKET);
      case PROTO_TCP:
        if (!transportChecksumOk(frame)) return drop(DropReason.L4_CSUM);
        if (this.#isForNames(frame, network)) return this.#names.inputTcp(frame, network, now);
        sendTcpReset(this.#originator, frame, network, now);
        return drop(DropReason.NO_SOCKET);
    }
    if (isIpv4) this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_PROTOCOL, 0, now);
    else if (frame.protocol !== IPV6_NO_NEXT) {
      this.#parameterProblem(frame, network, ICMPV6_PARAMETER_NEXT_HEADER, protocolField(frame), now);
    }
    return drop(DropReason.UNHANDLED_PROTO);
  }

  /** Which service a packet of a transport protocol is for. */
  #serviceOf(frame: Frame, network: Network): Service {
    switch (frame.protocol) {
      case PROTO_ICMP:
      case PROTO_ICMPV6:
        return Service.ICMP;
      case PROTO_UDP:
        if (this.#isForNames(frame, network)) return Service.DNS;
        return this.#isForDhcp(frame, network) ? Service.DHCP : Service.CLOSED;
      case PROTO_TCP:
        return this.#isForNames(frame, network) ? Service.DNS_STREAM : Service.CLOSED;
      default:
        return Service.CLOSED;
    }
  }

  /** Whether a datagram or segment is for a network's name server; nobody outside is answered. */
  #isForNames({ bytes, l3, l4, etherType }: Frame, network: Network): boolean {
    if (udpDstPort(bytes, l4) !== DNS_PORT || !this.#names.serves(network)) return false;
    // IPv4 groups do not come here.
    return etherType === ETHERTYPE_IPV4 || !isIpv6Multicast(get32(bytes, l3 + IPV6_DST));
  }

  #isForDhcp({ bytes, l4 }: Frame, network: Network): boolean {
    return udpDstPort(bytes, l4) === DHCP_SERVER_PORT && this.#dhcp.serves(network.id);
  }

  /** @param at what is wrong, as an offset in the frame's bytes */
  #parameterProblem(frame: Frame, network: Network, code: number, at: number, now: number): void {
    this.#icmpv6.error(frame, network, ICMPV6_PARAMETER_PROBLEM, code, at - frame.l3, now);
  }
}

function pointService(frame: Frame, service: Service): void {
  frame.trace!.point(frame, Stage.INPUT, Action.SERVICE, service);
}

/** Whether an IPv6 packet, of which only the Ethernet header need be parsed, goes to a group in which the gateway is. */
function listens(frame: Frame, network: Network): boolean {
  const { bytes, l3 } = frame;
  if (!network.hasIpv6 || l3 + IPV6_LEN > frame.end) return false;
  const d0 = get32(bytes, l3 + IPV6_DST);
  const d1 = get32(bytes, l3 + IPV6_DST + 4);
  const d2 = get32(bytes, l3 + IPV6_DST + 8);
  const d3 = get32(bytes, l3 + IPV6_DST + 12);
  if (d0 !== ALL_NODES_W0 || d1 !== SOLICITED_NODE_W1) return false;
  if (d2 === 0) return d3 === ALL_NODES_W3 || d3 === ALL_ROUTERS_W3;
  if (d2 !== SOLICITED_NODE_W2) return false;
  const { ownIpv6 } = network;
  for (let i = 3; i < ownIpv6.length; i += 4) if (d3 === solicitedNodeW3(ownIpv6[i])) return true;
  return d3 === solicitedNodeW3(network.linkLocal[3]);
}
