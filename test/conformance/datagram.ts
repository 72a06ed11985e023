import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { checksum, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DF,
  IPV4_DST,
  IPV4_FRAGMENT,
  IPV4_IDENTIFICATION,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_SRC,
  IPV4_TOTAL_LENGTH,
  IPV4_TTL,
  ipv4HeaderLength,
} from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_EXT_FRAGMENT,
  IPV6_FRAG_LEN,
  IPV6_HOP_LIMIT,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SRC,
} from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_FLAGS,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  tcpHeaderLength,
  tcpMss,
} from '../../wire/tcp.ts';

/**
 * An IP packet, read as leniently as it can be: also one that is quoted in an ICMP error and cut off. What is not there
 * reads as 0. It reads with nothing that the NAT under test translates with.
 */
export class Datagram {
  /** From the IP header on, without what an Ethernet frame has behind it. */
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
  readonly protocol: number;
  /** Offset of the transport header. */
  readonly l4: number;

  constructor(bytes: Uint8Array) {
    this.family = bytes[0]! >>> 4 === 6 ? 6 : 4;
    const length =
      this.family === 4 ? get16(bytes, IPV4_TOTAL_LENGTH) : IPV6_LEN + get16(bytes, IPV6_PAYLOAD_LENGTH);
    this.bytes = bytes.slice(0, Math.min(bytes.length, length));
    if (this.family === 4) {
      this.protocol = bytes[IPV4_PROTOCOL]!;
      this.l4 = ipv4HeaderLength(bytes, 0);
    } else {
      const next = bytes[IPV6_NEXT_HEADER]!;
      this.protocol = next === IPV6_EXT_FRAGMENT ? bytes[IPV6_LEN]! : next;
      this.l4 = next === IPV6_EXT_FRAGMENT ? IPV6_LEN + IPV6_FRAG_LEN : IPV6_LEN;
    }
  }

  // ---- IP ----

  get src(): string {
    return this.#address(this.family === 4 ? IPV4_SRC : IPV6_SRC);
  }

  get dst(): string {
    return this.#address(this.family === 4 ? IPV4_DST : IPV6_DST);
  }

  #address(at: number): string {
    const { bytes } = this;
    if (this.family === 4) return formatIpv4(get32(bytes, at));
    return formatIpv6(get32(bytes, at), get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12));
  }

  get ttl(): number {
    return this.bytes[this.family === 4 ? IPV4_TTL : IPV6_HOP_LIMIT]!;
  }

  /** Of an IPv4 packet, or of IPv6 fragments. */
  get identification(): number {
    return this.family === 4 ? get16(this.bytes, IPV4_IDENTIFICATION) : get32(this.bytes, this.l4 - 4) >>> 0;
  }

  get dontFragment(): boolean {
    return this.family === 4 && (get16(this.bytes, IPV4_FRAGMENT) & IPV4_DF) !== 0;
  }

  get moreFragments(): boolean {
    if (this.family === 4) return (get16(this.bytes, IPV4_FRAGMENT) & IPV4_MF) !== 0;
    return this.l4 > IPV6_LEN && (this.bytes[this.l4 - 5]! & 1) !== 0;
  }

  /** Bytes. */
  get fragmentOffset(): number {
    if (this.family === 4) return (get16(this.bytes, IPV4_FRAGMENT) & IPV4_OFFSET_MASK) * 8;
    return this.l4 > IPV6_LEN ? get16(this.bytes, this.l4 - 6) & 0xfff8 : 0;
  }

  get isFragment(): boolean {
    return this.moreFragments || this.fragmentOffset !== 0;
  }

  // ---- transport ----

  get srcPort(): number {
    return this.#hasPorts ? get16(this.bytes, this.l4) : 0;
  }

  get dstPort(): number {
    return this.#hasPorts ? get16(this.bytes, this.l4 + 2) : 0;
  }

  get #hasPorts(): boolean {
    return (this.protocol === PROTO_UDP || this.protocol === PROTO_TCP) && this.fragmentOffset === 0;
  }

  /** Address and port, as `Bed` takes them: `192.0.2.2:5000`, `[2001:db8::2]:5000`. */
  get source(): string {
    return endpoint(this.src, this.srcPort);
  }

  get destination(): string {
    return endpoint(this.dst, this.dstPort);
  }

  /** Behind the UDP, TCP or ICMP header. */
  get payload(): Uint8Array {
    const header = this.protocol === PROTO_TCP ? tcpHeaderLength(this.bytes, this.l4) : 8;
    return this.bytes.subarray(this.l4 + header);
  }

  /** As `Bed.tcp` takes them: `S`, `SA`, `FA`. */
  get flags(): string {
    const bits = this.bytes[this.l4 + TCP_FLAGS]!;
    const letters = [
      [TCP_FIN, 'F'],
      [TCP_SYN, 'S'],
      [TCP_RST, 'R'],
      [TCP_PSH, 'P'],
      [TCP_ACK, 'A'],
    ] as const;
    return letters.map(([bit, letter]) => ((bits & bit) === 0 ? '' : letter)).join('');
  }

  get sequence(): number {
    return get32(this.bytes, this.l4 + 4) >>> 0;
  }

  get acknowledgment(): number {
    return get32(this.bytes, this.l4 + 8) >>> 0;
  }

  /** Largest segment that a SYN offers; 0 when it says nothing. */
  get mss(): number {
    return Math.max(0, tcpMss(this.bytes, this.l4));
  }

  get udpChecksum(): number {
    return get16(this.bytes, this.l4 + 6);
  }

  // ---- ICMP ----

  get isIcmp(): boolean {
    return this.protocol === (this.family === 4 ? PROTO_ICMP : PROTO_ICMPV6);
  }

  get icmpType(): number {
    return this.isIcmp ? this.bytes[this.l4]! : -1;
  }

  get icmpCode(): number {
    return this.isIcmp ? this.bytes[this.l4 + 1]! : -1;
  }

  get identifier(): number {
    return get16(this.bytes, this.l4 + 4);
  }

  /** The second word of an ICMP message. */
  get rest(): number {
    return get32(this.bytes, this.l4 + 4) >>> 0;
  }

  /** The packet that an ICMP error is about, as far as it is quoted. */
  get quoted(): Datagram {
    return new Datagram(this.payload);
  }

  // ---- checksums ----

  /** Of the IPv4 header; IPv6 has none. */
  get headerChecksumOk(): boolean {
    return this.family === 6 || checksum(this.bytes, 0, this.l4) === 0;
  }

  /** Of UDP, TCP or ICMP over a whole packet; a UDP checksum of 0 over IPv4 is none (RFC 768). */
  get transportChecksumOk(): boolean {
    const { bytes, l4, protocol, family } = this;
    const length = bytes.length - l4;
    if (protocol === PROTO_ICMP && family === 4) return checksum(bytes, l4, length) === 0;
    if (protocol === PROTO_UDP && this.udpChecksum === 0) return family === 4;
    const pseudo =
      family === 4 ? pseudoSumIpv4(bytes, 0, protocol, length) : pseudoSumIpv6(bytes, 0, protocol, length);
    return checksum(bytes, l4, length, pseudo) === 0;
  }

  get headerChecksum(): number {
    return get16(this.bytes, IPV4_CHECKSUM);
  }

  /** For messages: `UDP 10.1.0.11:5000 > 192.0.2.11:1`. */
  toString(): string {
    const { src, dst } = this;
    if (this.isFragment) return `fragment ${src} > ${dst} at ${this.fragmentOffset}`;
    if (this.isIcmp) return `ICMP ${this.icmpType}/${this.icmpCode} ${src} > ${dst}`;
    if (this.protocol === PROTO_TCP) return `TCP ${this.source} > ${this.destination} [${this.flags}]`;
    if (this.protocol === PROTO_UDP) return `UDP ${this.source} > ${this.destination}`;
    return `protocol ${this.protocol} ${src} > ${dst}`;
  }
}

export function endpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The datagram of which these are the fragments, in any order; undefined when they do not make one. */
export function reassemble(fragments: readonly Datagram[]): Datagram | undefined {
  const [any] = fragments;
  if (any === undefined) return undefined;
  if (!any.isFragment) return fragments.length === 1 ? any : undefined;
  const sorted = [...fragments].sort((a, b) => a.fragmentOffset - b.fragmentOffset);
  let end = 0;
  for (const [i, piece] of sorted.entries()) {
    if (piece.fragmentOffset !== end || piece.moreFragments !== i < sorted.length - 1) return undefined;
    if (piece.identification !== any.identification || piece.protocol !== any.protocol) return undefined;
    end += piece.bytes.length - piece.l4;
  }
  const header = any.family === 4 ? sorted[0]!.l4 : IPV6_LEN;
  const whole = new Uint8Array(header + end);
  whole.set(sorted[0]!.bytes.subarray(0, header));
  for (const piece of sorted) whole.set(piece.bytes.subarray(piece.l4), header + piece.fragmentOffset);
  const view = new DataView(whole.buffer);
  if (any.family === 4) {
    view.setUint16(IPV4_TOTAL_LENGTH, whole.length);
    view.setUint16(IPV4_FRAGMENT, 0);
    view.setUint16(IPV4_CHECKSUM, 0);
    view.setUint16(IPV4_CHECKSUM, checksum(whole, 0, header));
  } else {
    view.setUint16(IPV6_PAYLOAD_LENGTH, end);
    whole[IPV6_NEXT_HEADER] = any.protocol;
  }
  return new Datagram(whole);
}
