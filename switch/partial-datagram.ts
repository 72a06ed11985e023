import { copy, get32, set16 } from '../wire/bytes.ts';
import { type Carrier, carryFlag } from '../wire/carrier.ts';
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import {
  fillIpv4Checksum,
  IPV4_DF,
  IPV4_SRC,
  IPV4_TOS,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Identification,
  ipv4Protocol,
  ipv4Tos,
  setIpv4Fragment,
  setIpv4TotalLength,
} from '../wire/ipv4.ts';
import {
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_NEXT_HEADER,
  IPV6_SRC,
  ipv6ExtensionLength,
  ipv6FragmentIdentification,
  ipv6TrafficClass,
  setIpv6PayloadLength,
} from '../wire/ipv6.ts';
import { parse } from '../wire/parse.ts';
import { clearVnet, VNET_LEN } from '../wire/virtio-net.ts';
import { DropReason } from './drop-reason.ts';
import { type Frame, HEADROOM, type PortId } from './frame.ts';
import type { Network } from './network.ts';
import { CONSUME, drop, type Verdict } from './verdict.ts';

/** Bytes kept for Ethernet header, IP header and the extension headers in front of the fragment header. */
const HEADERS = 1024;
const LONGEST = 0xffff;
const UNITS = 8192;
/** Words of a source and a destination. */
const ADDRESSES = 8;
/** What every host takes (RFC 791 §3.1): who cuts datagrams smaller than that gains nothing, and costs many pieces. */
const IPV4_MIN_REASSEMBLY = 576;
/** ECN codepoints as bits of `#codepoints`: 00, and 11. */
const NOT_ECT = 1 << 0;
const CE = 1 << 3;

/** One datagram that is being put together. */
export class PartialDatagram {
  /** Where its first piece came in; null: the place is free. */
  network: Network | null = null;
  ingress: PortId = 0;
  /** Whether it is addressed to the deck itself. */
  isLocal = false;
  /** Where the bytes go; null when the datagram is spoilt and its further pieces are refused. */
  frame: Frame | null = null;
  started = 0;
  /** Pieces of the same source's other datagrams that have come in since the last of this one. */
  distance = 0;
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
  /** Bytes of the largest piece's IP packet, and of the largest that must not be fragmented any more. */
  #largest = 0;
  #largestWhole = 0;
  /** The ECN codepoints that occur, one bit each. */
  #codepoints = 0;
  /** One bit per 8 bytes: whether they are there, and whether a piece begins with them. */
  readonly #present = new Uint32Array(UNITS / 32);
  readonly #starts = new Uint32Array(UNITS / 32);

  /**
   * @param frames those of the arena, by slot
   * @param networks by id
   */
  carry(carrier: Carrier, frames: readonly Frame[], networks: readonly (Network | undefined)[]): void {
    this.network = networks[carrier.number(this.network?.id ?? -1)] ?? null;
    this.ingress = carrier.number(this.ingress);
    this.isLocal = carryFlag(carrier, this.isLocal);
    this.frame = frames[carrier.number(this.frame?.slot ?? -1)] ?? null;
    this.started = carrier.number(this.started);
    this.distance = carrier.number(this.distance);
    this.isIpv6 = carryFlag(carrier, this.isIpv6);
    this.hasFirst = carryFlag(carrier, this.hasFirst);
    this.#identification = carrier.number(this.#identification);
    this.#protocol = carrier.number(this.#protocol);
    carrier.column(this.#addresses);
    this.#data = carrier.number(this.#data);
    this.#header = carrier.number(this.#header);
    this.#firstLength = carrier.number(this.#firstLength);
    this.#total = carrier.number(this.#total);
    this.#received = carrier.number(this.#received);
    this.#reach = carrier.number(this.#reach);
    this.#largest = carrier.number(this.#largest);
    this.#largestWhole = carrier.number(this.#largestWhole);
    this.#codepoints = carrier.number(this.#codepoints);
    carrier.column(this.#present);
    carrier.column(this.#starts);
    if (this.frame !== null) this.#carryFrame(carrier, this.frame);
  }

  /** The bytes that are there: between them is what lay in the slot before. */
  #carryFrame(carrier: Carrier, frame: Frame): void {
    frame.carryHeaders(carrier);
    frame.at = carrier.detail(frame.at);
    frame.length = carrier.detail(frame.length);
    if (this.hasFirst) {
      carrier.column(frame.bytes.subarray(this.#data - this.#header - ETH_LEN, this.#data));
    }
    const most = this.#total < 0 ? LONGEST : this.#total;
    for (let unit = 0; unit < UNITS; ) {
      const first = unit;
      while (unit < UNITS && isSet(this.#present, unit)) unit++;
      const from = this.#data + (first << 3);
      const behind = this.#data + Math.min(unit << 3, most);
      if (unit > first) carrier.column(frame.bytes.subarray(from, behind));
      else unit++;
    }
  }

  get isComplete(): boolean {
    // Nothing is counted twice, because nothing overlaps.
    return this.hasFirst && this.#received === this.#total;
  }

  /**
   * Whether the pieces make a packet: its length fits into its field, because the first piece may have had a longer header
   * than those that parse saw; and all or none are of an ECN-capable transport (RFC 3168 §5.3).
   */
  get isSound(): boolean {
    if ((this.#codepoints & NOT_ECT) !== 0 && this.#codepoints !== NOT_ECT) return false;
    return (this.isIpv6 ? this.#header - IPV6_LEN : this.#header) + this.#total <= LONGEST;
  }

  begin(target: Frame, piece: Frame, network: Network, isLocal: boolean, now: number): void {
    const { bytes, l3 } = piece;
    this.network = network;
    this.ingress = piece.ingress;
    this.isLocal = isLocal;
    this.distance = 0;
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
    this.#largest = 0;
    this.#largestWhole = 0;
    this.#codepoints = 0;
    this.#present.fill(0);
    this.#starts.fill(0);
    target.ingress = piece.ingress;
    target.origin = piece.origin;
  }

  /** Whether a piece from its source (`isFrom`) belongs to it. */
  matches(piece: Frame): boolean {
    if (identificationOf(piece) !== this.#identification) return false;
    if (!this.isIpv6 && ipv4Protocol(piece.bytes, piece.l3) !== this.#protocol) return false;
    return this.#sameWords(piece, this.isIpv6 ? 4 : 1, this.isIpv6 ? 8 : 2);
  }

  /**
   * Whether a piece has its source. The port counts: what one endpoint sends in another's name is not mixed with what
   * that one sends.
   */
  isFrom(piece: Frame): boolean {
    if (piece.ingress !== this.ingress) return false;
    const isIpv6 = piece.etherType === ETHERTYPE_IPV6;
    return this.isIpv6 === isIpv6 && this.#sameWords(piece, 0, isIpv6 ? 4 : 1);
  }

  /**
   * Copies a piece to its place; CONSUME, or why the datagram is spoilt: by pieces that overlap, with all that belongs to it
   * (RFC 5722; RFC 8200 §4.5; the same for IPv4). An exact duplicate is ignored.
   */
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
    const size = piece.end - l3;
    this.#largest = Math.max(this.#largest, size);
    if (!this.isIpv6 && (ipv4Fragment(bytes, l3) & IPV4_DF) !== 0) {
      this.#largestWhole = Math.max(this.#largestWhole, size);
    }
    const trafficClass = this.isIpv6 ? ipv6TrafficClass(bytes, l3) : ipv4Tos(bytes, l3);
    this.#codepoints |= 1 << (trafficClass & 3);
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
    target.largestFragment = Math.max(this.#largest, this.isIpv6 ? IPV6_MIN_MTU : IPV4_MIN_REASSEMBLY);
    target.fragmentIdentification = this.#identification;
    if ((this.#codepoints & CE) !== 0) setCongestionExperienced(bytes, l3, this.isIpv6);
    if (this.isIpv6) {
      setIpv6PayloadLength(bytes, l3, this.#header - IPV6_LEN + this.#total);
    } else {
      setIpv4TotalLength(bytes, l3, this.#header + this.#total);
      // Whoever cuts it again must not make pieces that are larger than its largest that must not be cut.
      setIpv4Fragment(bytes, l3, this.#largestWhole === this.#largest ? IPV4_DF : 0);
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

  #sameWords(piece: Frame, first: number, behind: number): boolean {
    const from = piece.l3 + (this.isIpv6 ? IPV6_SRC : IPV4_SRC);
    for (let word = first; word < behind; word++) {
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

/** RFC 3168 §5.3: what one piece met on its way, the datagram met. */
function setCongestionExperienced(bytes: Uint8Array, l3: number, isIpv6: boolean): void {
  if (isIpv6) bytes[l3 + 1] |= 0x30;
  else bytes[l3 + IPV4_TOS] |= 0x03;
}
