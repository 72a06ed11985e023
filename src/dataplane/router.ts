import { DropReason } from '../../switch/drop-reason.ts';
import type { Fragmenter } from '../../switch/fragmenter.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import type { Icmp } from '../../switch/icmp.ts';
import type { Icmpv6 } from '../../switch/icmpv6.ts';
import { isIpv4Source, isIpv6Host, isSubnetBroadcast } from '../../switch/martian.ts';
import type { Neighbors } from '../../switch/neighbors.ts';
import type { Network } from '../../switch/network.ts';
import type { Ports } from '../../switch/ports.ts';
import { isUntagged, stripPriorityTag } from '../../switch/priority-tag.ts';
import { CONSUME, drop, PASS, type Verdict } from '../../switch/verdict.ts';
import { isIpv4LinkLocal, isIpv4Multicast, isIpv6LinkLocal } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import {
  ICMP_EXCEEDED_TTL,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACH_NET,
  ICMP_UNREACHABLE,
} from '../../wire/icmp.ts';
import {
  ICMPV6_EXCEEDED_HOP_LIMIT,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACH_BEYOND_SCOPE,
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts';
import {
  decrementIpv4Ttl,
  IPV4_DF,
  IPV4_DST,
  IPV4_SRC,
  ipv4Fragment,
  ipv4Ttl,
  isIpv4SourceRouted,
} from '../../wire/ipv4.ts';
import {
  findIpv6Extension,
  IPV6_DST,
  IPV6_EXT_ROUTING,
  IPV6_ROUTING_SEGMENTS_LEFT,
  IPV6_ROUTING_TYPE,
  IPV6_SRC,
  ipv6HopLimit,
  setIpv6HopLimit,
} from '../../wire/ipv6.ts';
import { segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import { gsoType, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';
import type { Routes } from './routes.ts';

/** The type of routing header that RFC 5095 abolished. */
const ROUTING_TYPE_SOURCE_ROUTE = 0;

/**
 * Routes packets from one network of the deck to another (RFC 1812 §5, RFC 8200): FORWARD, in netfilter's words. The packet
 * stays where it lies; only TTL, header checksum and Ethernet addresses are written.
 */
export class Router {
  readonly #arena: Arena;
  readonly #ports: Ports;
  readonly #fragmenter: Fragmenter;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #neighbors: Neighbors;
  readonly #routes: Routes;

  constructor(
    arena: Arena,
    ports: Ports,
    fragmenter: Fragmenter,
    icmp: Icmp,
    icmpv6: Icmpv6,
    neighbors: Neighbors,
    routes: Routes,
  ) {
    this.#arena = arena;
    this.#ports = ports;
    this.#fragmenter = fragmenter;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
    this.#neighbors = neighbors;
    this.#routes = routes;
  }

  /** A parsed IPv4 or IPv6 packet to the gateway's MAC in `network`, whose destination is somebody else. */
  forward(frame: Frame, network: Network, now: number): Verdict {
    if (!isUntagged(frame)) return drop(DropReason.VLAN_NOT_OURS);
    stripPriorityTag(frame);
    return frame.etherType === ETHERTYPE_IPV4
      ? this.#forwardIpv4(frame, network, now)
      : this.#forwardIpv6(frame, network, now);
  }

  #forwardIpv4(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    const src = get32(bytes, l3 + IPV4_SRC);
    const dst = get32(bytes, l3 + IPV4_DST);
    if (!isIpv4Source(network, src) || !this.#comesBackIpv4(src, network)) {
      return drop(DropReason.IP_MARTIAN_SOURCE);
    }
    if (isIpv4SourceRouted(bytes, l3)) return drop(DropReason.IP_SOURCE_ROUTED);
    if (isIpv4Multicast(dst)) return drop(DropReason.IP_GROUP);
    if (!isRoutable(dst)) return drop(DropReason.IP_MARTIAN_DESTINATION);
    const route = this.#routes.lookupIpv4(dst);
    if (route === null) {
      this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_NET, 0, now);
      return drop(DropReason.IP_INNOROUTES);
    }
    const egress = route.network;
    // RFC 2644: nobody reaches all stations of another network with one packet.
    if (isSubnetBroadcast(egress, dst)) return drop(DropReason.IP_MARTIAN_DESTINATION);
    if (this.#isDetour(frame, network, egress)) return drop(DropReason.PORT_ISOLATED);
    if (ipv4Ttl(bytes, l3) <= 1) {
      this.#icmp.error(frame, network, ICMP_TIME_EXCEEDED, ICMP_EXCEEDED_TTL, 0, now);
      return drop(DropReason.IP_TTL_EXCEEDED);
    }
    const tooLong = isTooLong(frame, egress.mtu);
    if (tooLong && (ipv4Fragment(bytes, l3) & IPV4_DF) !== 0) {
      this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_FRAG_NEEDED, egress.mtu, now);
      return drop(DropReason.PKT_TOO_BIG);
    }
    decrementIpv4Ttl(bytes, l3);
    if (!tooLong) return this.#neighbors.outputIpv4(frame, egress, network, dst, now);
    if (gsoType(bytes, frame.at - VNET_LEN) !== VNET_GSO_NONE)
      return this.#segment(frame, egress, network, dst, now);
    return this.#fragment(frame, egress, network, dst, now);
  }

  #forwardIpv6(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    const s0 = get32(bytes, l3 + IPV6_SRC);
    const s1 = get32(bytes, l3 + IPV6_SRC + 4);
    const s2 = get32(bytes, l3 + IPV6_SRC + 8);
    const s3 = get32(bytes, l3 + IPV6_SRC + 12);
    if (!network.hasIpv6 || !isIpv6Host(s0, s1, s2)) return drop(DropReason.IP_MARTIAN_SOURCE);
    if (isIpv6LinkLocal(s0)) {
      // RFC 4291 §2.5.6: never leaves its link. RFC 4443 §3.1: the sender is told that it chose the wrong source.
      this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_BEYOND_SCOPE, 0, now);
      return drop(DropReason.IP_MARTIAN_SOURCE);
    }
    if (!this.#comesBackIpv6(s0, s1, s2, s3, network)) return drop(DropReason.IP_MARTIAN_SOURCE);
    const routing = findIpv6Extension(frame, IPV6_EXT_ROUTING);
    if (
      routing !== 0 &&
      bytes[routing + IPV6_ROUTING_TYPE] === ROUTING_TYPE_SOURCE_ROUTE &&
      bytes[routing + IPV6_ROUTING_SEGMENTS_LEFT] !== 0
    ) {
      return drop(DropReason.IP_SOURCE_ROUTED);
    }
    const d0 = get32(bytes, l3 + IPV6_DST);
    const d1 = get32(bytes, l3 + IPV6_DST + 4);
    const d2 = get32(bytes, l3 + IPV6_DST + 8);
    const d3 = get32(bytes, l3 + IPV6_DST + 12);
    if (!isIpv6Host(d0, d1, d2) || isIpv6LinkLocal(d0)) return drop(DropReason.IP_MARTIAN_DESTINATION);
    const route = this.#routes.lookupIpv6(d0, d1, d2, d3);
    if (route === null) {
      this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_NO_ROUTE, 0, now);
      return drop(DropReason.IP_INNOROUTES);
    }
    const egress = route.network;
    if (this.#isDetour(frame, network, egress)) return drop(DropReason.PORT_ISOLATED);
    const hopLimit = ipv6HopLimit(bytes, l3);
    if (hopLimit <= 1) {
      this.#icmpv6.error(frame, network, ICMPV6_TIME_EXCEEDED, ICMPV6_EXCEEDED_HOP_LIMIT, 0, now);
      return drop(DropReason.IP_TTL_EXCEEDED);
    }
    if (isTooLong(frame, egress.mtu)) {
      this.#icmpv6.error(frame, network, ICMPV6_PACKET_TOO_BIG, 0, egress.mtu, now);
      return drop(DropReason.PKT_TOO_BIG);
    }
    setIpv6HopLimit(bytes, l3, hopLimit - 1);
    return this.#neighbors.outputIpv6(frame, egress, network, d0, d1, d2, d3, now);
  }

  /**
   * Whether answers to the source would go back to where the packet came from (RFC 3704 §2.2, strict): who is in one network
   * does not speak for another.
   */
  #comesBackIpv4(src: number, network: Network): boolean {
    return this.#routes.lookupIpv4(src)?.network === network;
  }

  #comesBackIpv6(w0: number, w1: number, w2: number, w3: number, network: Network): boolean {
    if (network.isOwnIpv6(w0, w1, w2, w3)) return false;
    return this.#routes.lookupIpv6(w0, w1, w2, w3)?.network === network;
  }

  /** Whether the packet goes back into its own network from a port that the bridge keeps apart from the others there. */
  #isDetour(frame: Frame, network: Network, egress: Network): boolean {
    return egress === network && this.#ports.isolated[frame.ingress] !== 0;
  }

  #fragment(frame: Frame, egress: Network, network: Network, dst: number, now: number): Verdict {
    const cut = this.#fragmenter.cutIpv4(frame, egress.mtu);
    if (cut !== PASS) return cut;
    const verdict = this.#neighbors.outputIpv4(frame, egress, network, dst, now);
    for (let piece = this.#fragmenter.take(); piece !== undefined; piece = this.#fragmenter.take()) {
      this.#fragmenter.send(piece, this.#neighbors.outputIpv4(piece, egress, network, dst, now));
    }
    return verdict;
  }

  /** A GSO frame whose segments are too long and may be fragmented: each becomes a frame of its own, then pieces. */
  #segment(frame: Frame, egress: Network, network: Network, dst: number, now: number): Verdict {
    const count = segmentCount(frame);
    if (count === 0) return drop(DropReason.VNET_INHDR);
    for (let index = 0; index < count; index++) {
      const segment = this.#arena.allocate(segmentLength(frame));
      if (segment === undefined) return drop(DropReason.NOMEM);
      segment.ingress = frame.ingress;
      writeSegment(frame, index, segment);
      // In front of its pieces: its verdict is written where the outbox reads it later. Until then it is what becomes of
      // the segment if its handling throws.
      if (!this.#fragmenter.send(segment, drop(DropReason.EXCEPTION))) return drop(DropReason.NOMEM);
      segment.verdict = this.#fragment(segment, egress, network, dst, now);
    }
    return CONSUME;
  }
}

/** Whether a packet, or one of the segments that it stands for, is longer than the MTU. */
function isTooLong(frame: Frame, mtu: number): boolean {
  if (frame.end - frame.l3 <= mtu) return false;
  if (gsoType(frame.bytes, frame.at - VNET_LEN) === VNET_GSO_NONE) return true;
  return segmentLength(frame) - (frame.l3 - frame.at) > mtu;
}

/** Whether the address may be that of a host behind a router (RFC 1812 §5.3.7, RFC 3927 §7). */
function isRoutable(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224 && !isIpv4LinkLocal(address);
}
