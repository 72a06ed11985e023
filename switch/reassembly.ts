import { isIpv6Multicast } from '../wire/address.ts';
import { get32 } from '../wire/bytes.ts';
import type { Carrier } from '../wire/carrier.ts';
import { ETHERTYPE_IPV4 } from '../wire/ethernet.ts';
import { ICMP_EXCEEDED_REASSEMBLY, ICMP_TIME_EXCEEDED } from '../wire/icmp.ts';
import { ICMPV6_EXCEEDED_REASSEMBLY, ICMPV6_TIME_EXCEEDED, icmpv6Type } from '../wire/icmpv6.ts';
import { ipv4Dst, ipv4Src, isIpv4SourceRouted } from '../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC, isIpv6SourceRouted } from '../wire/ipv6.ts';
import { isNd } from '../wire/nd.ts';
import { PROTO_ICMPV6 } from '../wire/protocol.ts';
import { DropReason } from './drop-reason.ts';
import { BIG_SLOT, type Frame, HEADROOM, type PortId } from './frame.ts';
import type { Icmp } from './icmp.ts';
import type { Icmpv6 } from './icmpv6.ts';
import { isIpv4Source, isIpv6Host, isIpv6Land } from './martian.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { PartialDatagram } from './partial-datagram.ts';
import { isUntagged } from './priority-tag.ts';
import { CONSUME, drop, PASS, type Verdict } from './verdict.ts';

/** Datagrams being put together at one time: in all (3.1 MiB), of what came in by one port, and from one source there. */
export const REASSEMBLIES = 48;
export const REASSEMBLIES_PER_PORT = 24;
export const REASSEMBLIES_PER_SOURCE = 8;
/** Milliseconds from the first piece on (Linux's `ipfrag_time`; within RFC 1122 §3.3.2's 60 s and RFC 8200 §4.5's). */
export const REASSEMBLY_TIMEOUT = 30_000;
/**
 * Pieces of a source's other datagrams between two of an IPv4 datagram (Linux's `ipfrag_max_dist`): when more have come,
 * the 16 bits of identification may mean another datagram by now (RFC 4963).
 */
export const REASSEMBLY_DISTANCE = 64;

/**
 * Puts datagrams together that are for the deck or to be routed by it, before anything else is decided about them:
 * connections have ports, and only the first piece has them (PREROUTING, in netfilter's words). Bridged pieces are never
 * touched. Pieces may come in any order, their bytes go straight to their place in a big slot, and a bitmap of 8-byte units
 * remembers which are there: no list to walk (CVE-2018-5391), no length to believe.
 *
 * Who floods loses his own: a source its oldest datagram, a port its oldest, and when all places are taken or memory is
 * scarce, the port that has the most gives its oldest: nobody who has less loses by what another sends.
 *
 * Ledger: a piece is consumed when its bytes are copied. The datagram is a new frame, originated when it is complete
 * or, with FRAG_TIMEOUT, when it never will be; one that is given up early (overlap, no room) was never a frame.
 */
export class Reassembly {
  /** When `expire` is next worth calling, ms; Infinity while nothing is being put together. */
  deadline = Number.POSITIVE_INFINITY;
  readonly #originator: Originator;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;
  readonly #datagrams: readonly PartialDatagram[] = Array.from(
    { length: REASSEMBLIES },
    () => new PartialDatagram(),
  );
  /** By port: how many of the datagrams came in by it. */
  #counts = new Uint8Array(64);
  #whole: Frame | null = null;

  constructor(originator: Originator, icmp: Icmp, icmpv6: Icmpv6) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
  }

  /** @param networks by id; those of the state are there already */
  carry(carrier: Carrier, networks: readonly (Network | undefined)[]): void {
    this.deadline = carrier.number(this.deadline);
    for (const datagram of this.#datagrams) {
      datagram.carry(carrier, this.#originator.arena.frames, networks);
    }
    this.#counts = carrier.grown(this.#counts);
  }

  /**
   * A parsed IPv4 or IPv6 fragment to the gateway's MAC. If it is the last that was missing, `take` gives the datagram.
   * @param isLocal whether it is addressed to the deck itself, which then says when the datagram is given up
   */
  input(frame: Frame, network: Network, isLocal: boolean, now: number): Verdict {
    const refused = check(frame, network);
    if (refused !== PASS) return refused;
    const datagram = this.#find(frame, network) ?? this.#open(frame, network, isLocal, now);
    if (datagram === undefined) return drop(DropReason.FRAG_QUEUEFULL);
    const target = datagram.frame;
    if (target === null) return drop(DropReason.FRAG_OVERLAP);
    target.packet = frame.packet;
    let verdict = datagram.add(frame);
    if (verdict === CONSUME && datagram.isComplete && !datagram.isSound) {
      verdict = drop(DropReason.FRAG_INVALID);
    }
    if (verdict !== CONSUME) {
      // The place stays taken: further pieces are refused.
      this.#originator.arena.release(target);
      datagram.frame = null;
    } else if (datagram.isComplete) {
      this.#forget(datagram);
      datagram.finish(target);
      this.#whole = target;
      this.#schedule();
    }
    return verdict;
  }

  /** The datagram that the last piece completed, not parsed yet, held once for the caller; null if it completed none. */
  take(): Frame | null {
    const whole = this.#whole;
    this.#whole = null;
    return whole;
  }

  /** Gives up what has waited too long, and tells the senders. Sets the next deadline. */
  expire(now: number): void {
    for (const datagram of this.#datagrams) {
      const { network, frame } = datagram;
      // The same sum as in the deadline: a difference may round to the other side of the timeout.
      if (network === null || now < datagram.started + REASSEMBLY_TIMEOUT) continue;
      this.#forget(datagram);
      if (frame === null) continue;
      // RFC 1122 §3.3.2, RFC 8200 §4.5: only when the first piece is there, because the error quotes it; and only from the
      // host to which the datagram goes (RFC 792): on its way through, it is lost like any other.
      const { outbox } = this.#originator;
      if (datagram.hasFirst && datagram.isLocal) {
        outbox.cause = frame.packet;
        datagram.restoreFirst(frame);
        if (datagram.isIpv6) {
          this.#icmpv6.error(frame, network, ICMPV6_TIME_EXCEEDED, ICMPV6_EXCEEDED_REASSEMBLY, 0, now);
        } else {
          this.#icmp.error(frame, network, ICMP_TIME_EXCEEDED, ICMP_EXCEEDED_REASSEMBLY, 0, now);
        }
      }
      outbox.cause = 0;
      if (!outbox.reassembled(frame, drop(DropReason.FRAG_TIMEOUT))) {
        this.#originator.arena.release(frame);
      }
    }
    this.#schedule();
  }

  /** Gives up what came in by a network that is no more. */
  removeNetwork(id: number): void {
    for (const datagram of this.#datagrams) if (datagram.network?.id === id) this.#free(datagram);
    this.#schedule();
  }

  /** Gives up what came in by a port that is no more: the number may soon be another's. */
  removePort(port: PortId): void {
    for (const datagram of this.#datagrams) {
      if (datagram.network !== null && datagram.ingress === port) this.#free(datagram);
    }
    this.#schedule();
  }

  #find(frame: Frame, network: Network): PartialDatagram | undefined {
    let found: PartialDatagram | undefined;
    for (const datagram of this.#datagrams) {
      if (datagram.network !== network || !datagram.isFrom(frame)) continue;
      if (datagram.matches(frame)) found = datagram;
      else datagram.distance++;
    }
    if (found === undefined) return undefined;
    if (found.distance > REASSEMBLY_DISTANCE && !found.isIpv6) {
      this.#free(found);
      return undefined;
    }
    found.distance = 0;
    return found;
  }

  /** Room for one more datagram. */
  #open(frame: Frame, network: Network, isLocal: boolean, now: number): PartialDatagram | undefined {
    const port = frame.ingress;
    let free: PartialDatagram | undefined;
    let oldestOfPort: PartialDatagram | undefined;
    let oldestOfSource: PartialDatagram | undefined;
    let ofSource = 0;
    for (const datagram of this.#datagrams) {
      if (datagram.network === null) free ??= datagram;
      else if (datagram.ingress === port) {
        oldestOfPort = older(oldestOfPort, datagram);
        if (!datagram.isFrom(frame)) continue;
        oldestOfSource = older(oldestOfSource, datagram);
        ofSource++;
      }
    }
    let datagram = free;
    if (ofSource >= REASSEMBLIES_PER_SOURCE) datagram = oldestOfSource;
    else if (this.#countOf(port) >= REASSEMBLIES_PER_PORT) datagram = oldestOfPort;
    const { arena } = this.#originator;
    // What is left of the memory is for frames on their way: then there is room only where somebody gives some.
    const { scarce } = arena;
    if (datagram === undefined || (datagram.frame === null && scarce)) datagram = this.#oldestOfMost(scarce);
    if (datagram === undefined) return undefined;
    this.#free(datagram);
    const target = arena.allocate(BIG_SLOT - HEADROOM);
    if (target === undefined) return undefined;
    datagram.begin(target, frame, network, isLocal, now);
    this.#count(port, 1);
    if (now + REASSEMBLY_TIMEOUT < this.deadline) this.deadline = now + REASSEMBLY_TIMEOUT;
    return datagram;
  }

  /** The oldest datagram (if need be, with memory) of the port that has the most; undefined when there is none. */
  #oldestOfMost(withMemory: boolean): PartialDatagram | undefined {
    let found: PartialDatagram | undefined;
    let most = 0;
    for (const datagram of this.#datagrams) {
      if (datagram.network === null || (withMemory && datagram.frame === null)) continue;
      const count = this.#countOf(datagram.ingress);
      if (count < most) continue;
      if (count > most || datagram.started < found!.started) found = datagram;
      most = count;
    }
    return found;
  }

  #free(datagram: PartialDatagram): void {
    if (datagram.frame !== null) this.#originator.arena.release(datagram.frame);
    if (datagram.network !== null) this.#forget(datagram);
  }

  /** Frees the place, but not the memory. */
  #forget(datagram: PartialDatagram): void {
    this.#count(datagram.ingress, -1);
    datagram.frame = null;
    datagram.network = null;
  }

  #countOf(port: PortId): number {
    return port < this.#counts.length ? this.#counts[port] : 0;
  }

  #count(port: PortId, change: number): void {
    if (port >= this.#counts.length) {
      const counts = new Uint8Array(port * 2);
      counts.set(this.#counts);
      this.#counts = counts;
    }
    this.#counts[port] += change;
  }

  #schedule(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    for (const { network, started } of this.#datagrams) {
      if (network !== null) this.deadline = Math.min(this.deadline, started + REASSEMBLY_TIMEOUT);
    }
  }
}

function older(found: PartialDatagram | undefined, other: PartialDatagram): PartialDatagram {
  return found === undefined || other.started < found.started ? other : found;
}

/** Whether a fragment may take memory at all; PASS, or why not. What is left out here is judged when it is whole. */
function check(frame: Frame, network: Network): Verdict {
  if (!isUntagged(frame)) return drop(DropReason.VLAN_NOT_OURS);
  return frame.etherType === ETHERTYPE_IPV4 ? checkIpv4(frame, network) : checkIpv6(frame, network);
}

function checkIpv4(frame: Frame, network: Network): Verdict {
  const { bytes, l3 } = frame;
  if (!network.hasIpv4) return drop(DropReason.UNHANDLED_PROTO);
  const src = ipv4Src(bytes, l3);
  const dst = ipv4Dst(bytes, l3);
  // Also "land": a packet that claims to come from where it goes.
  if (!isIpv4Source(network, src) || src === dst) return drop(DropReason.IP_MARTIAN_SOURCE);
  if (isIpv4SourceRouted(bytes, l3)) return drop(DropReason.IP_SOURCE_ROUTED);
  return dst >>> 28 >= 0xe ? drop(DropReason.IP_GROUP) : PASS;
}

function checkIpv6(frame: Frame, network: Network): Verdict {
  const { bytes, l3, l4 } = frame;
  if (!network.hasIpv6) return drop(DropReason.UNHANDLED_PROTO);
  const s0 = get32(bytes, l3 + IPV6_SRC);
  const s1 = get32(bytes, l3 + IPV6_SRC + 4);
  const s2 = get32(bytes, l3 + IPV6_SRC + 8);
  const s3 = get32(bytes, l3 + IPV6_SRC + 12);
  // RFC 6980 §5. The first piece has its whole header (RFC 7112), so that a message without it never becomes whole.
  if (frame.protocol === PROTO_ICMPV6 && l4 !== 0 && isNd(icmpv6Type(bytes, l4))) {
    return drop(DropReason.ND_INVALID);
  }
  if (isIpv6Multicast(get32(bytes, l3 + IPV6_DST))) return drop(DropReason.IP_GROUP);
  if (isIpv6Land(bytes, l3) || !isIpv6Host(s0, s1, s2) || network.isOwnIpv6(s0, s1, s2, s3)) {
    return drop(DropReason.IP_MARTIAN_SOURCE);
  }
  return isIpv6SourceRouted(frame) ? drop(DropReason.IP_SOURCE_ROUTED) : PASS;
}
