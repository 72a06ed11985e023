import { DropReason } from '../../switch/drop-reason.ts';
import type { Fragmenter } from '../../switch/fragmenter.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import type { Icmp } from '../../switch/icmp.ts';
import type { Icmpv6 } from '../../switch/icmpv6.ts';
import { containsIpv6 } from '../../switch/martian.ts';
import type { Neighbors } from '../../switch/neighbors.ts';
import type { Network } from '../../switch/network.ts';
import { Action, Stage } from '../../switch/trace.ts';
import { CONSUME, drop, PASS, type Verdict } from '../../switch/verdict.ts';
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
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts';
import { decrementIpv4Ttl, IPV4_DF, IPV4_DST, IPV4_LEN, ipv4Fragment, ipv4Ttl } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_LEN, ipv6HopLimit, setIpv6HopLimit } from '../../wire/ipv6.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import { segmentCount, segmentLength, writeSegment } from '../../wire/segmentation.ts';
import { TCP_LEN, TCP_SYN, tcpFlags } from '../../wire/tcp.ts';
import { clampMss } from '../../wire/transport.ts';
import { gsoType, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';
import type { Uplink } from './uplink.ts';

/**
 * Carries packets from one network to another (RFC 1812 §5, RFC 8200), in two halves, because addresses are translated
 * between them: what may be refused is refused before anything is written, so that an error quotes what its receiver sent.
 */
export class Router {
  readonly #arena: Arena;
  readonly #fragmenter: Fragmenter;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #neighbors: Neighbors;
  /** By network id; undefined where the network is no uplink. */
  readonly #uplinks: readonly (Uplink | undefined)[];

  constructor(
    arena: Arena,
    fragmenter: Fragmenter,
    icmp: Icmp,
    icmpv6: Icmpv6,
    neighbors: Neighbors,
    uplinks: readonly (Uplink | undefined)[],
  ) {
    this.#arena = arena;
    this.#fragmenter = fragmenter;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
    this.#neighbors = neighbors;
    this.#uplinks = uplinks;
  }

  /**
   * Whether a packet that came in by `network` can go out by `egress`: PASS, and its TTL is one less. Otherwise its sender
   * has been told why not.
   */
  admit(frame: Frame, network: Network, egress: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    const isIpv4 = frame.etherType === ETHERTYPE_IPV4;
    if (egress.bridge.memberCount === 0 && this.#uplinks[egress.id] !== undefined) {
      if (isIpv4) this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_NET, 0, now);
      else this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, ICMPV6_UNREACH_NO_ROUTE, 0, now);
      return drop(DropReason.UPLINK_GONE);
    }
    if (isIpv4) {
      if (ipv4Ttl(bytes, l3) <= 1) {
        this.#icmp.error(frame, network, ICMP_TIME_EXCEEDED, ICMP_EXCEEDED_TTL, 0, now);
        return drop(DropReason.IP_TTL_EXCEEDED);
      }
      // What came in fragments with DF may go on in as small ones, and in none that are larger.
      const { largestFragment } = frame;
      const tooLong = largestFragment > 0 ? largestFragment > egress.mtu : isTooLong(frame, egress.mtu);
      if (tooLong && (ipv4Fragment(bytes, l3) & IPV4_DF) !== 0) {
        this.#icmp.error(frame, network, ICMP_UNREACHABLE, ICMP_UNREACH_FRAG_NEEDED, egress.mtu, now);
        return drop(DropReason.PKT_TOO_BIG);
      }
      decrementIpv4Ttl(bytes, l3);
      return PASS;
    }
    const hopLimit = ipv6HopLimit(bytes, l3);
    if (hopLimit <= 1) {
      this.#icmpv6.error(frame, network, ICMPV6_TIME_EXCEEDED, ICMPV6_EXCEEDED_HOP_LIMIT, 0, now);
      return drop(DropReason.IP_TTL_EXCEEDED);
    }
    // RFC 8200 §4.5: who cut the datagram has to cut it smaller; a router only puts its pieces together and apart again.
    const { largestFragment } = frame;
    if (largestFragment > 0 ? largestFragment > egress.mtu : isTooLong(frame, egress.mtu)) {
      this.#icmpv6.error(frame, network, ICMPV6_PACKET_TOO_BIG, 0, egress.mtu, now);
      return drop(DropReason.PKT_TOO_BIG);
    }
    setIpv6HopLimit(bytes, l3, hopLimit - 1);
    return PASS;
  }

  /** Sends an admitted packet to the next hop of the destination that it has now. Its frame is written to. */
  output(frame: Frame, network: Network, egress: Network, now: number): Verdict {
    if (frame.protocol === PROTO_TCP && frame.l4 !== 0) {
      const flags = tcpFlags(frame.bytes, frame.l4);
      if ((flags & TCP_SYN) !== 0) this.#clampMss(frame, network, egress);
    }
    const { largestFragment } = frame;
    const limit = largestFragment > 0 ? Math.min(largestFragment, egress.mtu) : egress.mtu;
    if (!isTooLong(frame, limit)) return this.#send(frame, network, egress, now);
    if (gsoType(frame.bytes, frame.at - VNET_LEN) !== VNET_GSO_NONE) {
      return this.#segment(frame, network, egress, now);
    }
    if (frame.trace !== null) frame.trace.point(frame, Stage.POSTROUTING, Action.FRAGMENTED, limit);
    return this.#fragment(frame, limit, network, egress, now);
  }

  /**
   * Both sides learn at once what fits through the smaller link, also where ICMP is filtered (RFC 2923 §2.1). Between
   * networks of the deck nobody filters it.
   */
  #clampMss(frame: Frame, network: Network, egress: Network): void {
    if (this.#uplinks[network.id] === undefined && this.#uplinks[egress.id] === undefined) return;
    const headers = (frame.etherType === ETHERTYPE_IPV4 ? IPV4_LEN : IPV6_LEN) + TCP_LEN;
    clampMss(frame, Math.min(network.mtu, egress.mtu) - headers);
  }

  #send(frame: Frame, network: Network, egress: Network, now: number): Verdict {
    const { bytes, l3 } = frame;
    const uplink = this.#uplinks[egress.id];
    if (frame.etherType === ETHERTYPE_IPV4) {
      let hop = get32(bytes, l3 + IPV4_DST);
      if (uplink !== undefined && !egress.containsIpv4(hop)) {
        if (!uplink.hasGateway4) return drop(DropReason.IP_INNOROUTES);
        hop = uplink.gateway4;
      }
      return this.#neighbors.outputIpv4(frame, egress, network, hop, now);
    }
    const d0 = get32(bytes, l3 + IPV6_DST);
    const d1 = get32(bytes, l3 + IPV6_DST + 4);
    const d2 = get32(bytes, l3 + IPV6_DST + 8);
    const d3 = get32(bytes, l3 + IPV6_DST + 12);
    if (uplink !== undefined && !containsIpv6(egress, d0, d1, d2, d3)) {
      if (!uplink.hasGateway6) return drop(DropReason.IP_INNOROUTES);
      const hop = uplink.gateway6;
      return this.#neighbors.outputIpv6(frame, egress, network, hop[0], hop[1], hop[2], hop[3], now);
    }
    return this.#neighbors.outputIpv6(frame, egress, network, d0, d1, d2, d3, now);
  }

  #fragment(frame: Frame, mtu: number, network: Network, egress: Network, now: number): Verdict {
    const cut =
      frame.etherType === ETHERTYPE_IPV4
        ? this.#fragmenter.cutIpv4(frame, mtu)
        : this.#fragmenter.cutIpv6Forwarded(frame, mtu);
    if (cut !== PASS) return cut;
    const verdict = this.#send(frame, network, egress, now);
    for (let piece = this.#fragmenter.take(); piece !== undefined; piece = this.#fragmenter.take()) {
      // As in `#segment`: it is in the outbox before its handling can throw.
      if (!this.#fragmenter.send(piece, drop(DropReason.EXCEPTION))) continue;
      piece.verdict = this.#send(piece, network, egress, now);
    }
    return verdict;
  }

  /** A GSO frame whose segments are too long and may be fragmented: each becomes a frame of its own, then pieces. */
  #segment(frame: Frame, network: Network, egress: Network, now: number): Verdict {
    const count = segmentCount(frame);
    if (count === 0) return drop(DropReason.VNET_INHDR);
    if (frame.trace !== null)
      frame.trace.point(frame, Stage.POSTROUTING, Action.SEGMENTED, count, egress.mtu);
    for (let index = 0; index < count; index++) {
      const segment = this.#arena.allocate(segmentLength(frame));
      if (segment === undefined) return drop(DropReason.NOMEM);
      segment.inherit(frame);
      writeSegment(frame, index, segment);
      // In front of its pieces: its verdict is written where the outbox reads it later. Until then it is what becomes of
      // the segment if its handling throws.
      if (!this.#fragmenter.send(segment, drop(DropReason.EXCEPTION))) return drop(DropReason.NOMEM);
      segment.verdict = this.#fragment(segment, egress.mtu, network, egress, now);
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
