import { copy, get32, set16 } from '../wire/bytes.ts';
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { ICMP_EXCEEDED_REASSEMBLY, ICMP_TIME_EXCEEDED } from '../wire/icmp.ts';
import { ICMPV6_EXCEEDED_REASSEMBLY, ICMPV6_TIME_EXCEEDED } from '../wire/icmpv6.ts';
import {
  fillIpv4Checksum,
  IPV4_SRC,
  ipv4HeaderLength,
  ipv4Identification,
  ipv4Protocol,
  setIpv4Fragment,
  setIpv4TotalLength,
} from '../wire/ipv4.ts';
import {
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_SRC,
  ipv6ExtensionLength,
  ipv6FragmentIdentification,
  setIpv6PayloadLength,
} from '../wire/ipv6.ts';
import { parse } from '../wire/parse.ts';
import { clearVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { DropReason } from './drop-reason.ts';
import { BIG_SLOT, type Frame, HEADROOM } from './frame.ts';
import type { Icmp } from './icmp.ts';
import type { Icmpv6 } from './icmpv6.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { CONSUME, drop, type Verdict } from './verdict.ts';

/** Datagrams being put together at one time, in all and from one source. */
export const REASSEMBLIES = 16;
export const REASSEMBLIES_PER_SOURCE = 4;
/** Milliseconds from the first piece on (Linux's `ipfrag_time`; within RFC 1122 §3.3.2's 60 s and RFC 8200 §4.5's). */
export const REASSEMBLY_TIMEOUT = 30_000;

/** Bytes kept for Ethernet header, IP header and the extension headers in front of the fragment header. */
const HEADERS = 1024;
const LONGEST = 0xffff;
const UNITS = 8192;
/** Words of a source and a destination. */
const ADDRESSES = 8;

/**
 * Puts datagrams together that are addressed to a gateway; packets on their way through are never touched. Pieces may
 * come in any order, their bytes go straight to their place in a big slot, and a bitmap of 8-byte units remembers which
 * are there: no list to walk (CVE-2018-5391), no length to believe. Pieces that overlap cost the whole datagram, and its
 * further pieces, too (RFC 5722; RFC 8200 §4.5; the same for IPv4); an exact duplicate is ignored.
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
  readonly #datagrams: readonly Datagram[] = Array.from({ length: REASSEMBLIES }, () => new Datagram());
  #whole: Frame | null = null;

  constructor(originator: Originator, icmp: Icmp, icmpv6: Icmpv6) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
  }

  /** A parsed IPv4 or IPv6 fragment for the gateway. If it is the last that was missing, `take` gives the datagram. */
  input(frame: Frame, network: Network, now: number): Verdict {
    const datagram = this.#find(frame, network) ?? this.#open(frame, network, now);
    if (datagram === undefined) return drop(DropReason.FRAG_QUEUEFULL);
    const target = datagram.frame;
    if (target === null) return drop(DropReason.FRAG_OVERLAP);
    let verdict = datagram.add(frame);
    if (verdict === CONSUME && datagram.isComplete && !datagram.fits) verdict = drop(DropReason.FRAG_INVALID);
    if (verdict !== CONSUME) {
      this.#originator.arena.release(target);
      datagram.frame = null;
    } else if (datagram.isComplete) {
      datagram.network = null;
      datagram.frame = null;
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
      datagram.network = null;
      datagram.frame = null;
      if (frame === null) continue;
      // RFC 1122 §3.3.2, RFC 8200 §4.5: only when the first piece is there, because the error quotes it.
      if (datagram.hasFirst) {
        datagram.restoreFirst(frame);
        if (datagram.isIpv6) {
          this.#icmpv6.error(frame, network, ICMPV6_TIME_EXCEEDED, ICMPV6_EXCEEDED_REASSEMBLY, 0, now);
        } else {
          this.#icmp.error(frame, network, ICMP_TIME_EXCEEDED, ICMP_EXCEEDED_REASSEMBLY, 0, now);
        }
      }
      if (!this.#originator.outbox.originate(frame, drop(DropReason.FRAG_TIMEOUT))) {
        this.#originator.arena.release(frame);
      }
    }
    this.#schedule();
  }

  /** Gives up what is for the gateway of a network that is no more. */
  removeNetwork(id: number): void {
    for (const datagram of this.#datagrams) {
      if (datagram.network?.id !== id) continue;
      this.#free(datagram);
    }
    this.#schedule();
  }

  #find(frame: Frame, network: Network): Datagram | undefined {
    for (const datagram of this.#datagrams) {
      if (datagram.network === network && datagram.matches(frame)) return datagram;
    }
    return undefined;
  }

  /**
   * Room for one more datagram. Who has too many loses his own oldest; when all are taken, the oldest of all goes: the
   * others would wait 30 s for whoever left his unfinished.
   */
  #open(frame: Frame, network: Network, now: number): Datagram | undefined {
    let free: Datagram | undefined;
    let oldest: Datagram | undefined;
    let own: Datagram | undefined;
    let owned = 0;
    for (const datagram of this.#datagrams) {
      if (datagram.network === null) {
        free ??= datagram;
        continue;
      }
      if (oldest === undefined || datagram.started < oldest.started) oldest = datagram;
      if (datagram.network !== network || !datagram.isFrom(frame)) continue;
      owned++;
      if (own === undefined || datagram.started < own.started) own = datagram;
    }
    const datagram = owned >= REASSEMBLIES_PER_SOURCE ? own! : (free ?? oldest!);
    this.#free(datagram);
    if (this.#originator.arena.scarce) return undefined;
    const target = this.#originator.arena.allocate(BIG_SLOT - HEADROOM);
    if (target === undefined) return undefined;
    datagram.begin(target, frame, network, now);
    if (now + REASSEMBLY_TIMEOUT < this.deadline) this.deadline = now + REASSEMBLY_TIMEOUT;
    return datagram;
  }

  #free(datagram: Datagram): void {
    if (datagram.frame !== null) this.#originator.arena.release(datagram.frame);
    datagram.frame = null;
    datagram.network = null;
  }

  #schedule(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    for (const { network, started } of this.#datagrams) {
      if (network !== null) this.deadline = Math.min(this.deadline, started + REASSEMBLY_TIMEOUT);
    }
  }
}

/** One datagram that is being put together. */
class Datagram {
  /** null: the place is free. */
  network: Network | null = null;
  /** Where the bytes go; null when the datagram is spoilt and its further pieces are refused. */
  frame: Frame | null = null;
  started = 0;
  isIpv6 = false;
  hasFirst = false;
  #identification = 0;
  /** IPv4 only: RFC 791 counts the protocol to the identity, RFC 8200 does not. */
  #protocol = 0;
  readonly #addresses = new Int32Array(ADDRESSES);
  /** Offset of the fragmentable part. */
  #data = 0;
  /** Length of the IP header and unfragmentable extension headers, once the first piece is there. */
  #header = 0;
  #firstLength = 0;
  /** Length of the fragmentable part, -1 until the last piece is there. */
  #total = -1;
  #received = 0;
  /** End of the piece that reaches farthest. */
  #reach = 0;
  /** One bit per 8 bytes: whether they are there, and whether a piece begins with them. */
  readonly #present = new Uint32Array(UNITS / 32);
  readonly #starts = new Uint32Array(UNITS / 32);

  get isComplete(): boolean {
    // Nothing is counted twice, because nothing overlaps.
    return this.hasFirst && this.#received === this.#total;
  }

  /** Whether the length fits into its field: the first piece may have had a longer header than those that parse saw. */
  get fits(): boolean {
    return (this.isIpv6 ? this.#header - IPV6_LEN : this.#header) + this.#total <= LONGEST;
  }

  begin(target: Frame, piece: Frame, network: Network, now: number): void {
    const { bytes, l3 } = piece;
    this.network = network;
    this.frame = target;
    this.started = now;
    this.isIpv6 = piece.etherType === ETHERTYPE_IPV6;
    this.hasFirst = false;
    this.#identification = identificationOf(piece);
    this.#protocol = this.isIpv6 ? 0 : ipv4Protocol(bytes, l3);
    const from = l3 + (this.isIpv6 ? IPV6_SRC : IPV4_SRC);
    const words = this.isIpv6 ? 8 : 2;
    for (let word = 0; word < words; word++) this.#addresses[word] = get32(bytes, from + (word << 2));
    this.#data = target.base + HEADROOM + HEADERS;
    this.#header = 0;
    this.#firstLength = 0;
    this.#total = -1;
    this.#received = 0;
    this.#reach = 0;
    this.#present.fill(0);
    this.#starts.fill(0);
    target.ingress = piece.ingress;
  }

  matches(piece: Frame): boolean {
    const { bytes, l3 } = piece;
    if (identificationOf(piece) !== this.#identification) return false;
    if (this.isIpv6 !== (piece.etherType === ETHERTYPE_IPV6)) return false;
    if (!this.isIpv6 && ipv4Protocol(bytes, l3) !== this.#protocol) return false;
    return this.#sameWords(piece, this.isIpv6 ? 8 : 2);
  }

  isFrom(piece: Frame): boolean {
    const isIpv6 = piece.etherType === ETHERTYPE_IPV6;
    return this.isIpv6 === isIpv6 && this.#sameWords(piece, isIpv6 ? 4 : 1);
  }

  /** Copies a piece to its place; CONSUME, or why the datagram is spoilt. */
  add(piece: Frame): Verdict {
    const { bytes, l3, fragmentOffset } = piece;
    const from = this.isIpv6 ? piece.fragmentHeader + IPV6_FRAG_LEN : l3 + ipv4HeaderLength(bytes, l3);
    const length = piece.end - from;
    const end = fragmentOffset + length;
    // "Ping of death": parse refuses it, too, but here it would be written behind the slot.
    if (end > LONGEST || length === 0) return drop(DropReason.FRAG_INVALID);
    if (fragmentOffset === 0 && from - l3 > HEADERS - ETH_LEN) return drop(DropReason.FRAG_INVALID);
    const last = !piece.moreFragments;
    if (this.#overlaps(fragmentOffset, end)) {
      const duplicate = this.#isPiece(fragmentOffset, end) && last === (end === this.#total);
      return duplicate ? CONSUME : drop(DropReason.FRAG_OVERLAP);
    }
    // Two last pieces, or data behind the last.
    if (last ? this.#total >= 0 || end < this.#reach : this.#total >= 0 && end > this.#total) {
      return drop(DropReason.FRAG_OVERLAP);
    }
    const target = this.frame!;
    copy(bytes, from, target.bytes, this.#data + fragmentOffset, length);
    this.#mark(fragmentOffset, end);
    this.#received += length;
    this.#reach = Math.max(this.#reach, end);
    if (last) this.#total = end;
    if (fragmentOffset === 0) this.#addHeaders(piece, from, length);
    return CONSUME;
  }

  #addHeaders(piece: Frame, data: number, length: number): void {
    const { bytes, at, l3 } = piece;
    const out = this.frame!.bytes;
    this.hasFirst = true;
    this.#firstLength = length;
    const unfragmentable = this.isIpv6 ? piece.fragmentHeader - l3 : data - l3;
    this.#header = unfragmentable;
    const to = this.#data - unfragmentable;
    // MACs and type; a priority tag between them is left out.
    copy(bytes, at, out, to - ETH_LEN, ETH_LEN - 2);
    set16(out, to - 2, this.isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
    copy(bytes, l3, out, to, unfragmentable);
    if (!this.isIpv6) return;
    // RFC 8200 §4.5: the last header in front of the fragment header takes over what that one announced.
    let field = to + IPV6_NEXT_HEADER;
    for (let header = to + IPV6_LEN; header < this.#data; ) {
      const next = out[field];
      field = header;
      header += ipv6ExtensionLength(out, header, next);
    }
    out[field] = bytes[piece.fragmentHeader];
  }

  /** Makes a packet of what is there, as if it had come in whole. */
  finish(target: Frame): void {
    const { bytes } = target;
    const l3 = this.#place(target, this.#total);
    if (this.isIpv6) {
      setIpv6PayloadLength(bytes, l3, this.#header - IPV6_LEN + this.#total);
    } else {
      setIpv4TotalLength(bytes, l3, this.#header + this.#total);
      setIpv4Fragment(bytes, l3, 0);
      fillIpv4Checksum(bytes, l3);
    }
  }

  /** Makes the first piece of what is there, for an error to quote. */
  restoreFirst(target: Frame): void {
    this.#place(target, this.#firstLength);
    parse(target);
    target.fragmentOffset = 0;
  }

  #place(target: Frame, length: number): number {
    const l3 = this.#data - this.#header;
    target.at = l3 - ETH_LEN;
    target.length = ETH_LEN + this.#header + length;
    clearVnet(target.bytes, target.at - VNET_LEN);
    return l3;
  }

  #sameWords(piece: Frame, words: number): boolean {
    const from = piece.l3 + (this.isIpv6 ? IPV6_SRC : IPV4_SRC);
    for (let word = 0; word < words; word++) {
      if (this.#addresses[word] !== get32(piece.bytes, from + (word << 2))) return false;
    }
    return true;
  }

  #overlaps(start: number, end: number): boolean {
    for (let unit = start >>> 3; unit << 3 < end; unit++) if (isSet(this.#present, unit)) return true;
    return false;
  }

  /** Whether exactly these bytes came as one piece before. */
  #isPiece(start: number, end: number): boolean {
    const first = start >>> 3;
    const behind = (end + 7) >>> 3;
    if (!isSet(this.#starts, first)) return false;
    for (let unit = first; unit < behind; unit++) {
      if (!isSet(this.#present, unit) || (unit > first && isSet(this.#starts, unit))) return false;
    }
    return behind === UNITS || !isSet(this.#present, behind) || isSet(this.#starts, behind);
  }

  #mark(start: number, end: number): void {
    const first = start >>> 3;
    this.#starts[first >>> 5] |= 1 << (first & 31);
    for (let unit = first; unit << 3 < end; unit++) this.#present[unit >>> 5] |= 1 << (unit & 31);
  }
}

function isSet(bits: Uint32Array, index: number): boolean {
  return ((bits[index >>> 5] >>> (index & 31)) & 1) !== 0;
}

function identificationOf(piece: Frame): number {
  return piece.etherType === ETHERTYPE_IPV6
    ? ipv6FragmentIdentification(piece.bytes, piece.fragmentHeader)
    : ipv4Identification(piece.bytes, piece.l3);
}
