import { isGroup } from '../wire/address.ts';
import { copy, get16, set16 } from '../wire/bytes.ts';
import { update16 } from '../wire/checksum.ts';
import {
  ETH_LEN,
  ETHERTYPE_IPV4,
  ethDstHi,
  ethSrcHi,
  ethSrcLo,
  setEthDst,
  setEthSrc,
  writeEthernet,
} from '../wire/ethernet.ts';
import {
  fillIcmpChecksum,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_EXCEEDED_REASSEMBLY,
  ICMP_LEN,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACH_PORT,
  ICMP_UNREACH_PROTOCOL,
  ICMP_UNREACHABLE,
  icmpChecksum,
  icmpCode,
  icmpType,
  isIcmpError,
  setIcmpChecksum,
  setIcmpType,
  writeIcmp,
} from '../wire/icmp.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DF,
  IPV4_LEN,
  IPV4_TTL,
  ipv4Checksum,
  ipv4Dst,
  ipv4Src,
  setIpv4Dst,
  setIpv4Fragment,
  setIpv4Src,
  setIpv4Ttl,
  writeIpv4,
} from '../wire/ipv4.ts';
import { PROTO_ICMP } from '../wire/protocol.ts';
import { completeChecksum } from '../wire/segmentation.ts';
import { transportChecksumOk } from '../wire/transport.ts';
import { clearVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { DropReason } from './drop-reason.ts';
import type { Fragmenter } from './fragmenter.ts';
import type { Frame } from './frame.ts';
import { isIpv4Source, isSubnetBroadcast } from './martian.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import type { RateLimit } from './rate-limit.ts';
import { Action, Stage } from './trace.ts';
import { drop, PASS, type Verdict } from './verdict.ts';

/** TTL of what the gateway sends (RFC 1700, "IP time to live"; Linux's too). */
export const DEFAULT_TTL = 64;
/** Longest IPv4 packet that carries an ICMP error (RFC 1812 §4.3.2.3). */
export const ICMP_ERROR_MAX = 576;
/** Precedence "internetwork control" for errors (RFC 1812 §4.3.2.5). */
const TOS_INTERNETWORK_CONTROL = 0xc0;
/** Linux's NR_ICMP_TYPES: what is above could be an error that we do not know. */
const ICMP_TYPE_MAX = 18;

/**
 * ICMP of the gateways: answers echo requests and makes errors about IPv4 packets. Read RFC 1122 §3.2.2 and
 * RFC 1812 §4.3 before changing when it keeps silent.
 */
export class Icmp {
  readonly #originator: Originator;
  readonly #fragmenter: Fragmenter;
  readonly #limit: RateLimit;

  constructor(originator: Originator, fragmenter: Fragmenter, limit: RateLimit) {
    this.#originator = originator;
    this.#fragmenter = fragmenter;
    this.#limit = limit;
  }

  /**
   * A whole ICMP message for the gateway. An echo request is answered in its own frame: the payload is not touched,
   * however long it is.
   */
  input(frame: Frame, network: Network, now: number): Verdict {
    const { bytes, l3, l4 } = frame;
    if (!completeChecksum(frame) || !transportChecksumOk(frame)) return drop(DropReason.ICMP_CSUM);
    if (icmpType(bytes, l4) !== ICMP_ECHO_REQUEST) return drop(DropReason.ICMP_UNHANDLED);

    const code = icmpCode(bytes, l4);
    setIcmpType(bytes, l4, ICMP_ECHO_REPLY);
    setIcmpChecksum(bytes, l4, update16(icmpChecksum(bytes, l4), (ICMP_ECHO_REQUEST << 8) | code, code));
    const dst = ipv4Dst(bytes, l3);
    setIpv4Dst(bytes, l3, ipv4Src(bytes, l3));
    setIpv4Src(bytes, l3, dst);
    // Exchanging the addresses leaves the sum as it was.
    const before = get16(bytes, l3 + IPV4_TTL);
    setIpv4Ttl(bytes, l3, DEFAULT_TTL);
    set16(bytes, l3 + IPV4_CHECKSUM, update16(ipv4Checksum(bytes, l3), before, get16(bytes, l3 + IPV4_TTL)));
    // To whom it came from, whatever the neighbor table says: an answer never goes to a third party.
    setEthDst(bytes, frame.at, ethSrcHi(bytes, frame.at), ethSrcLo(bytes, frame.at));
    setEthSrc(bytes, frame.at, network.macHi, network.macLo);
    clearVnet(bytes, frame.at - VNET_LEN);
    frame.length = frame.end - frame.at;
    frame.ingress = network.port;
    if (frame.end - l3 <= network.mtu) return network.bridge.egress(frame, now);
    // Too long for the link although the request came over it, in fragments: the answer goes the same way.
    setIpv4Fragment(bytes, l3, 0);
    const cut = this.#fragmenter.cutIpv4(frame, network.mtu);
    return cut === PASS ? this.#fragmenter.sendAll(frame, network, now) : cut;
  }

  /**
   * Tells the sender of a packet what became of it, unless no error may be sent about it or too many were. The packet
   * is parsed, its frame as it came in.
   * @param network where the packet came in: the error's source is the gateway there (RFC 1812 §4.3.2.4), or the
   *   gateway that was spoken to, which may be another network's
   * @param rest second word of the ICMP header: the MTU for "fragmentation needed"
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
    if (!network.hasIpv4 || !mayReport(frame, network)) return;
    const receiver = ipv4Src(bytes, l3);
    // Path MTU discovery is not limited: without it a connection stands still (Linux does the same).
    const urgent = type === ICMP_UNREACHABLE && code === ICMP_UNREACH_FRAG_NEEDED;
    if (!urgent && !this.#limit.allowIpv4(network.id, receiver, now)) {
      if (frame.trace !== null) frame.trace.point(frame, Stage.ORIGIN, Action.LIMITED);
      return;
    }

    const total = Math.min(ICMP_ERROR_MAX, IPV4_LEN + ICMP_LEN + frame.end - l3);
    const error = this.#originator.allocate(ETH_LEN + total);
    if (error === undefined) return;
    const out = error.bytes;
    const ip = writeEthernet(
      out,
      error.at,
      ethSrcHi(bytes, at),
      ethSrcLo(bytes, at),
      network.macHi,
      network.macLo,
      ETHERTYPE_IPV4,
    );
    // Never cut (at most 576 bytes), so the identification means nothing and may be 0 (RFC 6864 §4.1).
    const icmp = writeIpv4(
      out,
      ip,
      total,
      PROTO_ICMP,
      DEFAULT_TTL,
      forReceiver ? ipv4Dst(bytes, l3) : network.ipv4,
      receiver,
      0,
      IPV4_DF,
      TOS_INTERNETWORK_CONTROL,
    );
    const quote = writeIcmp(out, icmp, type, code, rest);
    copy(bytes, l3, out, quote, ip + total - quote);
    fillIcmpChecksum(out, icmp, ip + total - icmp);
    this.#originator.send(error, network, now);
  }
}

/** Whether only a packet's destination makes such an error (RFC 1122 §3.2.2.1, §3.2.2.4): then it speaks for itself. */
function isReceivers(type: number, code: number): boolean {
  return type === ICMP_UNREACHABLE
    ? code === ICMP_UNREACH_PROTOCOL || code === ICMP_UNREACH_PORT
    : type === ICMP_TIME_EXCEEDED && code === ICMP_EXCEEDED_REASSEMBLY;
}

/** Whether an error may be sent about the packet at all (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7). */
function mayReport(frame: Frame, network: Network): boolean {
  const { bytes, l3, l4 } = frame;
  // A fragment other than the first: the others would each bring an error for the same datagram.
  if (frame.fragmentOffset !== 0) return false;
  // A group address of the link or of the network: everybody there would answer.
  if (isGroup(ethDstHi(bytes, frame.at))) return false;
  const dst = ipv4Dst(bytes, l3);
  if (dst >>> 28 >= 0xe || isSubnetBroadcast(network, dst)) return false;
  // A source that is not a single host.
  if (!isIpv4Source(network, ipv4Src(bytes, l3))) return false;
  // An error, or what could be one.
  if (frame.protocol !== PROTO_ICMP || l4 === 0) return true;
  const type = icmpType(bytes, l4);
  return !isIcmpError(type) && type <= ICMP_TYPE_MAX;
}
