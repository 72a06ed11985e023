import { copy } from '../wire/bytes.ts';
import { fragmentCount, writeFragment } from '../wire/fragmentation.ts';
import {
  fillIpv4Checksum,
  IPV4_MF,
  ipv4Fragment,
  ipv4HeaderLength,
  setIpv4Fragment,
  setIpv4TotalLength,
} from '../wire/ipv4.ts';
import {
  IPV6_EXT_FRAGMENT,
  IPV6_EXT_HOP_BY_HOP,
  IPV6_EXT_ROUTING,
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_NEXT_HEADER,
  ipv6ExtensionLength,
  isIpv6Extension,
  setIpv6PayloadLength,
  writeIpv6Fragment,
} from '../wire/ipv6.ts';
import type { Random } from '../wire/random.ts';
import { clearVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame } from './frame.ts';
import { Identifications } from './identifications.ts';
import type { Network } from './network.ts';
import type { Originator } from './originator.ts';
import { drop, PASS, type Verdict } from './verdict.ts';

/**
 * Cuts packets that are too long for a link. The first piece stays in the packet's own frame, which is shortened; only the
 * others are copied. In the ledger they are copies of it.
 */
export class Fragmenter {
  readonly identifications: Identifications;
  readonly #originator: Originator;
  /** What was cut off last, in order. */
  readonly #pieces: Frame[] = [];

  constructor(originator: Originator, random: Random) {
    this.#originator = originator;
    this.identifications = new Identifications(random);
  }

  /**
   * Cuts a parsed IPv4 packet; one that came in fragments may be cut again although it has DF, which all its pieces have
   * then: the caller sees to it that they are not larger than those were. After PASS the frame is the first piece, and `take` gives the others until there are no
   * more; they are the caller's to `send`. Otherwise the packet cannot be cut, for the reason in the verdict.
   */
  cutIpv4(frame: Frame, mtu: number): Verdict {
    this.#discard();
    const count = fragmentCount(frame, mtu, frame.largestFragment > 0);
    if (count === 0) return drop(DropReason.PKT_TOO_BIG);
    // The last one first, because `take` pops.
    for (let index = count - 1; index > 0; index--) {
      const piece = this.#allocate(frame, frame.l3 - frame.at + mtu);
      if (piece === undefined) return this.#giveUp();
      writeFragment(frame, mtu, index, piece);
    }
    if (count === 1) return PASS;
    const { bytes, l3 } = frame;
    const header = ipv4HeaderLength(bytes, l3);
    const total = header + ((mtu - header) & ~7);
    setIpv4TotalLength(bytes, l3, total);
    setIpv4Fragment(bytes, l3, ipv4Fragment(bytes, l3) | IPV4_MF);
    fillIpv4Checksum(bytes, l3);
    this.#shorten(frame, l3 + total);
    return PASS;
  }

  /** As `cutIpv4`, for an IPv6 packet of the gateway's own: only its source may cut it (RFC 8200 §4.5). */
  cutIpv6(frame: Frame, mtu: number): Verdict {
    return this.#cutIpv6(frame, mtu, this.identifications.next());
  }

  /**
   * As `cutIpv4`, for an IPv6 packet that came in fragments: its source has cut it, and its pieces get the identification
   * that it came with. The caller sees to it that they are not larger than those were.
   */
  cutIpv6Forwarded(frame: Frame, mtu: number): Verdict {
    if (frame.largestFragment === 0) return drop(DropReason.PKT_TOO_BIG);
    return this.#cutIpv6(frame, mtu, frame.fragmentIdentification);
  }

  #cutIpv6(frame: Frame, mtu: number, identification: number): Verdict {
    this.#discard();
    const { bytes, l3 } = frame;
    const field = lastUnfragmentable(frame);
    const isBare = field === l3 + IPV6_NEXT_HEADER;
    const split = isBare ? l3 + IPV6_LEN : field + ipv6ExtensionLength(bytes, field, IPV6_EXT_ROUTING);
    const headers = split - frame.at;
    const next = bytes[field];
    const payload = frame.end - split;
    if (frame.end - l3 <= Math.max(mtu, IPV6_MIN_MTU)) return PASS;
    const step = (Math.max(mtu, IPV6_MIN_MTU) - (split - l3) - IPV6_FRAG_LEN) & ~7;
    // RFC 7112 §5: all headers are in the first piece. Where they fill it, there is nothing to cut.
    if (step <= 0 || frame.payload > split + step) return drop(DropReason.PKT_TOO_BIG);
    for (let offset = payload - 1 - ((payload - 1) % step); offset > 0; offset -= step) {
      const length = Math.min(step, payload - offset);
      const piece = this.#allocate(frame, headers + IPV6_FRAG_LEN + length);
      if (piece === undefined) return this.#giveUp();
      const more = offset + length < payload;
      const data = writeIpv6Fragment(piece.bytes, piece.at + headers, next, offset, more, identification);
      copy(bytes, frame.at, piece.bytes, piece.at, headers);
      copy(bytes, split + offset, piece.bytes, data, length);
      clearVnet(piece.bytes, piece.at - VNET_LEN);
      piece.moveHeaders(frame);
      piece.protocol = next;
      piece.l4 = 0;
      piece.payload = 0;
      piece.fragmentOffset = offset;
      piece.moreFragments = more;
      this.#finishIpv6(piece, field - frame.at, headers, data + length);
    }
    // The headers of the first piece move into the headroom to make place for the fragment header.
    const namedAt = field - frame.at;
    copy(bytes, frame.at, bytes, frame.at - IPV6_FRAG_LEN, headers);
    frame.at -= IPV6_FRAG_LEN;
    frame.l3 -= IPV6_FRAG_LEN;
    const data = writeIpv6Fragment(bytes, frame.at + headers, next, 0, true, identification);
    this.#shorten(frame, data + step);
    this.#finishIpv6(frame, namedAt, headers, data + step);
    return PASS;
  }

  /** The next piece that was cut off, held once for the caller; undefined when there are no more. */
  take(): Frame | undefined {
    return this.#pieces.pop();
  }

  /** Hands over a piece with its verdict; false when it was lost for want of room. */
  send(piece: Frame, verdict: Verdict): boolean {
    if (this.#originator.outbox.copy(piece, verdict)) return true;
    this.#originator.failures++;
    this.#originator.arena.release(piece);
    return false;
  }

  /** Sends a frame that was cut to where its Ethernet header says, and all its other pieces behind it. */
  sendAll(frame: Frame, network: Network, now: number): Verdict {
    for (let piece = this.take(); piece !== undefined; piece = this.take()) {
      // Its verdict is written where the outbox reads it later; until then it is what becomes of it if something throws.
      if (this.send(piece, drop(DropReason.EXCEPTION))) piece.verdict = network.bridge.egress(piece, now);
    }
    return network.bridge.egress(frame, now);
  }

  #allocate(frame: Frame, length: number): Frame | undefined {
    const piece = this.#originator.arena.allocate(length);
    if (piece === undefined) return undefined;
    piece.inherit(frame);
    this.#pieces.push(piece);
    return piece;
  }

  /** Gives back what nobody has taken: pieces whose frame was given up half-way, or whose handling threw. */
  #discard(): void {
    for (let piece = this.take(); piece !== undefined; piece = this.take()) {
      this.#originator.arena.release(piece);
    }
  }

  #giveUp(): Verdict {
    this.#discard();
    this.#originator.failures++;
    return drop(DropReason.NOMEM);
  }

  #shorten(frame: Frame, end: number): void {
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    frame.end = end;
    frame.length = end - frame.at;
    frame.moreFragments = true;
    // With options and a tiny MTU not even the transport header is in the first piece.
    if (frame.payload > end) {
      frame.l4 = 0;
      frame.payload = 0;
    }
  }

  /**
   * @param field where the next header's number stands that announces the fragment header, and `header` where that one
   *   is, from the beginning of the frame on
   */
  #finishIpv6(piece: Frame, field: number, header: number, end: number): void {
    piece.end = end;
    piece.length = end - piece.at;
    piece.fragmentHeader = piece.at + header;
    piece.bytes[piece.at + field] = IPV6_EXT_FRAGMENT;
    setIpv6PayloadLength(piece.bytes, piece.l3, end - piece.l3 - IPV6_LEN);
  }
}

/**
 * Offset of the byte that names what comes behind the headers which every piece has (RFC 8200 §4.5): those up to a routing
 * header or else a hop-by-hop options header, which routers on the way read.
 */
function lastUnfragmentable(frame: Frame): number {
  const { bytes, l3, l4 } = frame;
  let last = l3 + IPV6_NEXT_HEADER;
  let next = bytes[last];
  for (let header = l3 + IPV6_LEN; header < l4 && isIpv6Extension(next); ) {
    if (next === IPV6_EXT_HOP_BY_HOP || next === IPV6_EXT_ROUTING) last = header;
    const length = ipv6ExtensionLength(bytes, header, next);
    next = bytes[header];
    header += length;
  }
  return last;
}
