import { isGroup, isIpv6LinkLocal, isIpv6Multicast } from '../wire/address.ts';
import { copy, set32 } from '../wire/bytes.ts';
import { update16, update32 } from '../wire/checksum.ts';
import {
  ETH_LEN,
  ETHERTYPE_IPV6,
  ethDstHi,
  ethSrcHi,
  ethSrcLo,
  setEthDst,
  setEthSrc,
  writeEthernet,
} from '../wire/ethernet.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_EXCEEDED_REASSEMBLY,
  ICMPV6_LEN,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_REDIRECT,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACHABLE,
  icmpv6Checksum,
  icmpv6Code,
  icmpv6Type,
  isIcmpv6Error,
  setIcmpv6Checksum,
  setIcmpv6Type,
  writeIcmpv6,
} from '../wire/icmpv6.ts';
import {
  IPV6_DST,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_SRC,
  ipv6Dst,
  ipv6Src,
  setIpv6Address,
  setIpv6HopLimit,
  writeIpv6,
} from '../wire/ipv6.ts';
import { PROTO_ICMPV6 } from '../wire/protocol.ts';
import { completeChecksum } from '../wire/segmentation.ts';
import { transportChecksumOk } from '../wire/transport.ts';
import { clearVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { DropReason } from './drop-reason.ts';
import { stripExtensions } from './extension-headers.ts';
import type { Fragmenter } from './fragmenter.ts';
import type { Frame } from './frame.ts';
import { DEFAULT_TTL } from './icmp.ts';
import { isIpv6Host } from './martian.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import type { RateLimit } from './rate-limit.ts';
import { Action, Stage } from './trace.ts';
import { drop, PASS, type Verdict } from './verdict.ts';

/**
 * ICMPv6 of the gateways, but for neighbor discovery: answers echo requests and makes errors about IPv6 packets. Read
 * RFC 4443 §2.4 before changing when it keeps silent.
 */
export class Icmpv6 {
  readonly #originator: Originator;
  readonly #fragmenter: Fragmenter;
  readonly #limit: RateLimit;

  constructor(originator: Originator, fragmenter: Fragmenter, limit: RateLimit) {
    this.#originator = originator;
    this.#fragmenter = fragmenter;
    this.#limit = limit;
  }

  /**
   * A whole ICMPv6 message for the gateway. An echo request is answered in its own frame, whose payload is not touched;
   * one that was sent to a group is answered from the gateway's own address (RFC 4443 §4.2).
   */
  input(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l4 } = frame;
    if (!completeChecksum(frame) || !transportChecksumOk(frame)) return drop(DropReason.ICMP_CSUM);
    if (icmpv6Type(bytes, l4) !== ICMPV6_ECHO_REQUEST) return drop(DropReason.ICMP_UNHANDLED);

    // What the request had to say to the way, an atomic fragment header included (RFC 6946), is not said back.
    stripExtensions(frame);
    const { l3 } = frame;
    const code = icmpv6Code(bytes, l4);
    setIcmpv6Type(bytes, l4, ICMPV6_ECHO_REPLY);
    let check = update16(
      icmpv6Checksum(bytes, l4),
      (ICMPV6_ECHO_REQUEST << 8) | code,
      (ICMPV6_ECHO_REPLY << 8) | code,
    );
    const toGroup = isIpv6Multicast(ipv6Dst(bytes, l3, 0));
    const own = isIpv6LinkLocal(ipv6Src(bytes, l3, 0)) ? network.linkLocal : network.ipv6;
    for (let word = 0; word < 4; word++) {
      const src = ipv6Src(bytes, l3, word);
      const dst = ipv6Dst(bytes, l3, word);
      // Exchanging the addresses leaves the pseudo-header's sum as it was; another source does not.
      const from = toGroup ? own[word] : dst;
      if (toGroup) {
        check = update32(check, dst, from);
      }
      set32(bytes, l3 + IPV6_SRC + (word << 2), from);
      set32(bytes, l3 + IPV6_DST + (word << 2), src);
    }
    setIcmpv6Checksum(bytes, l4, check);
    setIpv6HopLimit(bytes, l3, DEFAULT_TTL);
    setEthDst(bytes, frame.at, ethSrcHi(bytes, frame.at), ethSrcLo(bytes, frame.at));
    setEthSrc(bytes, frame.at, network.macHi, network.macLo);
    clearVnet(bytes, frame.at - VNET_LEN);
    frame.length = frame.end - frame.at;
    frame.ingress = network.port;
    if (frame.end - l3 <= Math.max(network.mtu, IPV6_MIN_MTU)) return network.bridge.egress(frame, now);
    const cut = this.#fragmenter.cutIpv6(frame, network.mtu);
    return cut === PASS ? this.#fragmenter.sendAll(frame, network, now) : cut;
  }

  /**
   * Tells the sender of a packet what became of it, unless no error may be sent about it or too many were. The packet
   * is parsed, its frame as it came in.
   * @param network where the packet came in: the error's source is the gateway there, or the gateway that was spoken
   *   to, which may be another network's (RFC 4443 §2.2 a)
   * @param rest second word of the ICMPv6 header: a MTU, or the offset in the packet of what is wrong with it
   * @param forReceiver whether it is the destination's error, whose address then is its source
   */
  error(
    frame: Frame,
    network: Network,
    type: number,
    code: number,
    rest: number,
    now: number,
    forReceiver = isReceivers(type, code),
  ): void {
    const { bytes, at, l3 } = frame;
    if (!network.hasIpv6 || !mayReport(frame, network, type)) return;
    const w0 = ipv6Src(bytes, l3, 0);
    const w1 = ipv6Src(bytes, l3, 1);
    const w2 = ipv6Src(bytes, l3, 2);
    const w3 = ipv6Src(bytes, l3, 3);
    // Path MTU discovery is not limited: without it a connection stands still (Linux does the same).
    const urgent = type === ICMPV6_PACKET_TOO_BIG;
    if (!urgent && !this.#limit.allowIpv6(network.id, w0, w1, w2, w3, now)) {
      if (frame.trace !== null) frame.trace.point(frame, Stage.ORIGIN, Action.LIMITED);
      return;
    }

    // As much of the packet as fits into the minimum MTU (RFC 4443 §2.4 c).
    const payload = Math.min(IPV6_MIN_MTU - IPV6_LEN, ICMPV6_LEN + frame.end - l3);
    const error = this.#originator.allocate(ETH_LEN + IPV6_LEN + payload);
    if (error === undefined) return;
    const out = error.bytes;
    const ip = writeEthernet(
      out,
      error.at,
      ethSrcHi(bytes, at),
      ethSrcLo(bytes, at),
      network.macHi,
      network.macLo,
      ETHERTYPE_IPV6,
    );
    const icmp = writeIpv6(out, ip, payload, PROTO_ICMPV6, DEFAULT_TTL);
    if (forReceiver) copy(bytes, l3 + IPV6_DST, out, ip + IPV6_SRC, 16);
    else {
      const own = isIpv6LinkLocal(w0) ? network.linkLocal : network.ipv6;
      setIpv6Address(out, ip + IPV6_SRC, own[0], own[1], own[2], own[3]);
    }
    setIpv6Address(out, ip + IPV6_DST, w0, w1, w2, w3);
    const quote = writeIcmpv6(out, icmp, type, code, rest);
    copy(bytes, l3, out, quote, icmp + payload - quote);
    fillIcmpv6Checksum(out, ip, icmp, payload);
    this.#originator.send(error, network, now);
  }
}

/** Whether only a packet's destination makes such an error: then it speaks for itself. */
function isReceivers(type: number, code: number): boolean {
  switch (type) {
    case ICMPV6_UNREACHABLE:
      return code === ICMPV6_UNREACH_PORT;
    case ICMPV6_TIME_EXCEEDED:
      return code === ICMPV6_EXCEEDED_REASSEMBLY;
    default:
      return type === ICMPV6_PARAMETER_PROBLEM;
  }
}

/** Whether an error may be sent about the packet at all (RFC 4443 §2.4 e). */
function mayReport(frame: Frame, network: Network, error: number): boolean {
  const { bytes, l3, l4 } = frame;
  // As for IPv4: one error per datagram is enough, and the first fragment brings it.
  if (frame.fragmentOffset !== 0) return false;
  // e.3, e.4: groups, with an exception for path MTU discovery.
  const toGroup = isGroup(ethDstHi(bytes, frame.at)) || isIpv6Multicast(ipv6Dst(bytes, l3, 0));
  if (toGroup && error !== ICMPV6_PACKET_TOO_BIG) return false;
  // e.6: a source that is not a single host.
  const w0 = ipv6Src(bytes, l3, 0);
  const w1 = ipv6Src(bytes, l3, 1);
  const w2 = ipv6Src(bytes, l3, 2);
  if (!isIpv6Host(w0, w1, w2) || network.isOwnIpv6(w0, w1, w2, ipv6Src(bytes, l3, 3))) return false;
  // e.1, e.2: an error or a redirect.
  if (frame.protocol !== PROTO_ICMPV6 || l4 === 0) return true;
  const type = icmpv6Type(bytes, l4);
  return !isIcmpv6Error(type) && type !== ICMPV6_REDIRECT;
}
