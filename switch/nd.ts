import {
  isGroup,
  isIpv6LinkLocal,
  isIpv6Unspecified,
  MAC_IPV6_MULTICAST_HI,
  SOLICITED_NODE_W0,
  SOLICITED_NODE_W1,
  SOLICITED_NODE_W2,
  solicitedNodeW3,
} from '../wire/address.ts';
import { get32 } from '../wire/bytes.ts';
import { ETH_LEN, ETHERTYPE_IPV6, ethDstHi, ethSrcHi, ethSrcLo, writeEthernet } from '../wire/ethernet.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  icmpv6Type,
} from '../wire/icmpv6.ts';
import { IPV6_DST, IPV6_LEN, IPV6_SRC, setIpv6Address, writeIpv6 } from '../wire/ipv6.ts';
import {
  findNdOption,
  ND_HOP_LIMIT,
  ND_NA_LEN,
  ND_NA_OVERRIDE,
  ND_NA_ROUTER,
  ND_NA_SOLICITED,
  ND_NS_LEN,
  ND_OPT_LLA_LEN,
  ND_OPT_SOURCE_LLA,
  ND_OPT_TARGET_LLA,
  ND_TARGET,
  ndNaFlags,
  ndOk,
  ndOptionMacHi,
  ndOptionMacLo,
  writeNdMacOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
} from '../wire/nd.ts';
import { PROTO_ICMPV6 } from '../wire/protocol.ts';
import { transportChecksumOk } from '../wire/transport.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame } from './frame.ts';
import { containsIpv6, isIpv6Host } from './martian.ts';
import { Heard, type Neighbors } from './neighbors.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { CONSUME, drop, PASS, type Verdict } from './verdict.ts';

/** ff02::1, the group of all nodes of a link (RFC 4291 §2.7.1). */
export const ALL_NODES_W0 = 0xff020000 | 0;
export const ALL_NODES_W3 = 1;

const ND_PACKET = IPV6_LEN + ND_NS_LEN + ND_OPT_LLA_LEN;

/**
 * Neighbor discovery of the gateways (RFC 4861): answers for their addresses, and learns from who asks and who answers.
 * Addresses are configured by the deck, so the gateways advertise no routes and answer no router solicitation.
 */
export class Nd {
  readonly #originator: Originator;
  readonly #neighbors: Neighbors;

  constructor(originator: Originator, neighbors: Neighbors) {
    this.#originator = originator;
    this.#neighbors = neighbors;
  }

  /**
   * A neighbor discovery message (`isNd`), sent to the gateway or to a group. PASS when it is for others; the frame stays as
   * it is, because others may get it, too.
   */
  input(frame: Frame, network: Network, now: number): Verdict {
    const type = icmpv6Type(frame.bytes, frame.l4);
    // The deck configures its endpoints: no container is a router for the gateway (RFC 6105).
    if (type === ICMPV6_ROUTER_ADVERTISEMENT || type === ICMPV6_REDIRECT) return drop(DropReason.RA_GUARD);
    if (!ndOk(frame) || !transportChecksumOk(frame)) return drop(DropReason.ND_INVALID);
    if (type === ICMPV6_NEIGHBOR_SOLICITATION) return this.#solicited(frame, network, now);
    return type === ICMPV6_NEIGHBOR_ADVERTISEMENT ? this.#advertised(frame, network, now) : CONSUME;
  }

  #solicited(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, at, l3, l4 } = frame;
    const t0 = get32(bytes, l4 + ND_TARGET);
    const t1 = get32(bytes, l4 + ND_TARGET + 4);
    const t2 = get32(bytes, l4 + ND_TARGET + 8);
    const t3 = get32(bytes, l4 + ND_TARGET + 12);
    if (!network.isOwnIpv6(t0, t1, t2, t3)) return notForUs(frame);
    const s0 = get32(bytes, l3 + IPV6_SRC);
    const s1 = get32(bytes, l3 + IPV6_SRC + 4);
    const s2 = get32(bytes, l3 + IPV6_SRC + 8);
    const s3 = get32(bytes, l3 + IPV6_SRC + 12);
    const hi = ethSrcHi(bytes, at);
    const lo = ethSrcLo(bytes, at);
    if (isIpv6Unspecified(s0, s1, s2, s3)) {
      // Duplicate address detection (RFC 4862 §5.4.3): the answer goes to all nodes (RFC 4861 §7.2.4).
      const flags = ND_NA_ROUTER | ND_NA_OVERRIDE;
      this.#advertise(
        network,
        MAC_IPV6_MULTICAST_HI,
        ALL_NODES_W3,
        flags,
        ALL_NODES_W0,
        0,
        0,
        ALL_NODES_W3,
        t0,
        t1,
        t2,
        t3,
        now,
      );
      return CONSUME;
    }
    if (!isNeighbor(network, s0, s1, s2, s3)) return drop(DropReason.ND_SPOOF);
    const option = findNdOption(bytes, l4 + ND_NS_LEN, frame.end, ND_OPT_SOURCE_LLA);
    if (option !== 0) {
      // Who names another MAC than his own wants the traffic to go where it does not belong.
      if (ndOptionMacHi(bytes, option) !== hi || ndOptionMacLo(bytes, option) !== lo)
        return drop(DropReason.ND_SPOOF);
      const heard = this.#neighbors.hearIpv6(network, s0, s1, s2, s3, hi, lo, frame.ingress, true, true, now);
      if (heard === Heard.FOREIGN) return drop(DropReason.ND_SPOOF);
    }
    const flags = ND_NA_ROUTER | ND_NA_SOLICITED | ND_NA_OVERRIDE;
    this.#advertise(network, hi, lo, flags, s0, s1, s2, s3, t0, t1, t2, t3, now);
    return CONSUME;
  }

  #advertised(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, at, l3, l4, ingress } = frame;
    const t0 = get32(bytes, l4 + ND_TARGET);
    const t1 = get32(bytes, l4 + ND_TARGET + 4);
    const t2 = get32(bytes, l4 + ND_TARGET + 8);
    const t3 = get32(bytes, l4 + ND_TARGET + 12);
    // Also somebody who found the gateway's address taken, that is, who wants it for himself.
    if (!isNeighbor(network, t0, t1, t2, t3)) return drop(DropReason.ND_SPOOF);
    const s0 = get32(bytes, l3 + IPV6_SRC);
    if (!isIpv6Host(s0, get32(bytes, l3 + IPV6_SRC + 4), get32(bytes, l3 + IPV6_SRC + 8))) {
      return drop(DropReason.ND_SPOOF);
    }
    const hi = ethSrcHi(bytes, at);
    const lo = ethSrcLo(bytes, at);
    const option = findNdOption(bytes, l4 + ND_NA_LEN, frame.end, ND_OPT_TARGET_LLA);
    if (option !== 0 && (ndOptionMacHi(bytes, option) !== hi || ndOptionMacLo(bytes, option) !== lo)) {
      return drop(DropReason.ND_SPOOF);
    }
    const flags = ndNaFlags(bytes, l4);
    const override = (flags & ND_NA_OVERRIDE) !== 0;
    const solicited = (flags & ND_NA_SOLICITED) !== 0;
    const heard = solicited
      ? this.#neighbors.answerIpv6(network, t0, t1, t2, t3, hi, lo, ingress, override, now)
      : this.#neighbors.hearIpv6(network, t0, t1, t2, t3, hi, lo, ingress, false, override, now);
    if (heard === Heard.FOREIGN) return drop(DropReason.ND_SPOOF);
    // Nobody had asked: nothing is made of it (RFC 4861 §7.2.5).
    return solicited && heard === Heard.OK ? CONSUME : notForUs(frame);
  }

  #advertise(
    network: Network,
    dstHi: number,
    dstLo: number,
    flags: number,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
    t0: number,
    t1: number,
    t2: number,
    t3: number,
    now: number,
  ): void {
    const frame = begin(this.#originator, network, dstHi, dstLo, d0, d1, d2, d3);
    if (frame === undefined) return;
    const { bytes } = frame;
    const l3 = frame.at + ETH_LEN;
    setIpv6Address(bytes, l3 + IPV6_SRC, t0, t1, t2, t3);
    const option = writeNeighborAdvertisement(bytes, l3 + IPV6_LEN, flags, t0, t1, t2, t3);
    finish(this.#originator, frame, network, option, ND_OPT_TARGET_LLA, now);
  }
}

/** Asks all stations of a network, by the solicited-node group, for the MAC of an address. */
export function sendNeighborSolicitation(
  originator: Originator,
  network: Network,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
  now: number,
): void {
  const g3 = solicitedNodeW3(w3);
  const frame = begin(
    originator,
    network,
    MAC_IPV6_MULTICAST_HI,
    g3,
    SOLICITED_NODE_W0,
    SOLICITED_NODE_W1,
    SOLICITED_NODE_W2,
    g3,
  );
  if (frame !== undefined) solicit(originator, frame, network, w0, w1, w2, w3, now);
}

/** Asks one station whether it still has an address (RFC 4861 §7.3.3). */
export function sendNeighborPoll(
  originator: Originator,
  network: Network,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
  hi: number,
  lo: number,
  now: number,
): void {
  const frame = begin(originator, network, hi, lo, w0, w1, w2, w3);
  if (frame !== undefined) solicit(originator, frame, network, w0, w1, w2, w3, now);
}

function solicit(
  originator: Originator,
  frame: Frame,
  network: Network,
  w0: number,
  w1: number,
  w2: number,
  w3: number,
  now: number,
): void {
  const { bytes } = frame;
  const { linkLocal } = network;
  const l3 = frame.at + ETH_LEN;
  setIpv6Address(bytes, l3 + IPV6_SRC, linkLocal[0], linkLocal[1], linkLocal[2], linkLocal[3]);
  const option = writeNeighborSolicitation(bytes, l3 + IPV6_LEN, w0, w1, w2, w3);
  finish(originator, frame, network, option, ND_OPT_SOURCE_LLA, now);
}

/** A frame with everything but the source and the message. */
function begin(
  originator: Originator,
  network: Network,
  dstHi: number,
  dstLo: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): Frame | undefined {
  const frame = originator.allocate(ETH_LEN + ND_PACKET);
  if (frame === undefined) return undefined;
  const { bytes, at } = frame;
  const l3 = writeEthernet(bytes, at, dstHi, dstLo, network.macHi, network.macLo, ETHERTYPE_IPV6);
  writeIpv6(bytes, l3, ND_PACKET - IPV6_LEN, PROTO_ICMPV6, ND_HOP_LIMIT);
  setIpv6Address(bytes, l3 + IPV6_DST, d0, d1, d2, d3);
  return frame;
}

function finish(
  originator: Originator,
  frame: Frame,
  network: Network,
  option: number,
  type: number,
  now: number,
): void {
  const l3 = frame.at + ETH_LEN;
  writeNdMacOption(frame.bytes, option, type, network.macHi, network.macLo);
  fillIcmpv6Checksum(frame.bytes, l3, l3 + IPV6_LEN, ND_PACKET - IPV6_LEN);
  originator.send(frame, network, now);
}

/** Whether the address can be that of another station of the network. */
function isNeighbor(network: Network, w0: number, w1: number, w2: number, w3: number): boolean {
  if (!isIpv6Host(w0, w1, w2) || network.isOwnIpv6(w0, w1, w2, w3)) return false;
  return isIpv6LinkLocal(w0) || containsIpv6(network, w0, w1, w2, w3);
}

function notForUs(frame: Frame): Verdict {
  return isGroup(ethDstHi(frame.bytes, frame.at)) ? PASS : drop(DropReason.ND_NOT_FOR_US);
}
