/**
 * Frames for tests, each from one call: complete, with right lengths and checksums. Who speaks to whom is said
 * by stations, so that a test reads like its story: `icmpEcho({ from: a, to: c, via: gateway, ttl: 1 })`. What these cannot say,
 * `eth()` can.
 */
import { get16, set16 } from '../../wire/bytes.ts';
import { ETH_LEN, ETH_TYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN } from '../../wire/ethernet.ts';
import {
  fillIpv4Checksum,
  IPV4_FRAGMENT,
  IPV4_MF,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderLength,
} from '../../wire/ipv4.ts';
import {
  IPV6_EXT_FRAGMENT,
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  writeIpv6Fragment,
} from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../../wire/protocol.ts';
import { VLAN_LEN, vlanTci } from '../../wire/vlan.ts';
import { withChecksum } from './encode.ts';
import { BROADCAST, bytesOf, type Data, eth, type Ip6Frame, type IpFrame } from './frame-builder.ts';
import type { Station } from './station.ts';

export { BROADCAST, type Data } from './frame-builder.ts';
export type { Station } from './station.ts';

/** What every IP packet can be told. */
export interface IpOptions {
  from: Station;
  to: Station;
  /** Whose MAC the frame is for when that is not `to`: the router on the way. */
  via?: Pick<Station, 'mac'>;
  /** IPv4 when both have an IPv4 address, unless this says 6. */
  family?: 4 | 6;
  /** TTL or hop limit; 64 when left out. */
  ttl?: number;
  /** IPv4 only. */
  identification?: number;
  /** IPv4 only; false when left out. */
  dontFragment?: boolean;
}

/** An Ethernet II frame around any payload; `type` below 0x600 is an IEEE 802.3 length. */
export function ethernet(options: { from: string; to: string; type: number; data?: Data }): Uint8Array {
  const { from, to, type, data = 0 } = options;
  return eth({ src: from, dst: to, type }).payload(data).bytes();
}

/** A copy of `frame` with an 802.1Q tag behind the addresses. */
export function tagged(frame: Uint8Array, vlan: number, priority = 0): Uint8Array {
  const copy = new Uint8Array(frame.length + VLAN_LEN);
  copy.set(frame.subarray(0, ETH_TYPE));
  set16(copy, ETH_TYPE, ETHERTYPE_VLAN);
  set16(copy, ETH_TYPE + 2, vlanTci(vlan, priority, false));
  copy.set(frame.subarray(ETH_TYPE), ETH_TYPE + VLAN_LEN);
  return copy;
}

/** `from` asks everybody who has `ask`. Asking for one's own address is a gratuitous ARP. */
export function arpRequest(options: { from: Station; ask: string; to?: string }): Uint8Array {
  const { from, ask, to = BROADCAST } = options;
  return eth({ src: from, dst: to }).arp({ tpa: ask }).bytes();
}

/** RFC 5227: `from`, who has no address yet, asks whether `ask` is taken. */
export function arpProbe(options: { from: Pick<Station, 'mac'>; ask: string }): Uint8Array {
  return eth({ src: options.from }).arp({ spa: '0.0.0.0', tpa: options.ask }).bytes();
}

/** `from` tells `to` its address. */
export function arpReply(options: { from: Station; to: Station }): Uint8Array {
  const { from, to } = options;
  return eth({ src: from, dst: to }).arp({ op: 'is-at', tpa: to }).bytes();
}

/** `from` asks the solicited-node group (or `to`) who has `ask` (RFC 4861 §4.3). */
export function neighborSolicitation(options: { from: Station; ask: string; to?: Station }): Uint8Array {
  const { from, ask, to } = options;
  return eth({ src: from, ...(to && { dst: to }) })
    .ip6(to && { dst: to })
    .whoHas(ask)
    .bytes();
}

/** `from` tells `to` that it has its IPv6 address: solicited, override (RFC 4861 §4.4). */
export function neighborAdvertisement(options: { from: Station; to: Station; router?: boolean }): Uint8Array {
  const { from, to, router = false } = options;
  const frame = eth({ src: from, dst: to }).ip6({ dst: to }).isAt();
  return frame.with({ icmp6: { router } }).bytes();
}

/** An echo request, or with `reply` the answer to one. */
export function icmpEcho(
  options: IpOptions & { identifier?: number; sequence?: number; reply?: boolean; data?: Data },
): Uint8Array {
  const { identifier: id = 1, sequence: seq = 1, reply = false, data = 56 } = options;
  const fields = { type: reply ? 'echo-reply' : 'echo-request', id, seq } as const;
  const frame = familyOf(options) === 6 ? ip6(options).icmp6(fields) : ip4(options).icmp(fields);
  return frame.payload(data).bytes();
}

/** Any ICMP or ICMPv6 message: `rest` is its second word. */
export function icmp(
  options: IpOptions & { type: number; code?: number; rest?: number; data?: Data },
): Uint8Array {
  const { type, code = 0, rest = 0, data = 0 } = options;
  // As any protocol: the layers of the builder know what is in messages of neighbor discovery, and here it is data.
  const message = new Uint8Array(8 + bytesOf(data).length);
  message.set([type, code]);
  message.set([rest >>> 24, rest >>> 16, rest >>> 8, rest], 4);
  message.set(bytesOf(data), 8);
  return ip(options, familyOf(options) === 6 ? PROTO_ICMPV6 : PROTO_ICMP, message);
}

export function udp(options: IpOptions & { srcPort?: number; dstPort: number; data?: Data }): Uint8Array {
  const { srcPort: sport = 49152, dstPort: dport, data = 0 } = options;
  return packet(options).udp({ sport, dport }).payload(data).bytes();
}

/** A segment; `flags` are written as tcpdump prints them, with `A` for the dot: 'S', 'SA', 'PA', 'FA', 'R'. */
export function tcp(
  options: IpOptions & {
    srcPort?: number;
    dstPort: number;
    flags?: string;
    sequence?: number;
    acknowledgment?: number;
    window?: number;
    mss?: number;
    data?: Data;
  },
): Uint8Array {
  const { srcPort: sport = 49152, dstPort: dport, flags = 'S', window = 65535, mss, data = 0 } = options;
  const { sequence: seq = 0, acknowledgment: ack = 0 } = options;
  return packet(options)
    .tcp({ sport, dport, seq, ack, flags, window, options: mss === undefined ? {} : { mss } })
    .payload(data)
    .bytes();
}

/** Any IP packet: `data` is all behind the IP header. Fills the checksum of ICMP, ICMPv6, UDP and TCP. */
export function ip(options: IpOptions, protocol: number, data: Data): Uint8Array {
  const { from, to } = options;
  if (familyOf(options) === 6) {
    const addresses = { layer: 'ip6', src: from.ipv6!, dst: to.ipv6! } as const;
    const frame = ip6(options).with({ ip6: { next: protocol } });
    const message = protocol === PROTO_ICMP ? data : withChecksum([addresses], protocol, bytesOf(data));
    return frame.payload(message).bytes();
  }
  const frame = ip4(options).with({ ip: { protocol } });
  const addresses = { layer: 'ip', src: from.ipv4!, dst: to.ipv4! } as const;
  const message = protocol === PROTO_ICMPV6 ? data : withChecksum([addresses], protocol, bytesOf(data));
  return frame.payload(message).bytes();
}

function packet(options: IpOptions): IpFrame | Ip6Frame {
  return familyOf(options) === 6 ? ip6(options) : ip4(options);
}

function ip4(options: IpOptions): IpFrame {
  const { from, to, via = to, ttl = 64, identification: id = 0, dontFragment: df = false } = options;
  return eth({ src: from, dst: via.mac }).ip({ src: from, dst: to, ttl, id, df });
}

function ip6(options: IpOptions): Ip6Frame {
  const { from, to, via = to, ttl: hopLimit = 64 } = options;
  return eth({ src: from, dst: via.mac }).ip6({ src: from, dst: to, hopLimit });
}

function familyOf(options: IpOptions): 4 | 6 {
  const { from, to, family } = options;
  return family ?? (from.ipv4 !== undefined && to.ipv4 !== undefined ? 4 : 6);
}

/**
 * The packet of an untagged frame in fragments, as a sender with this MTU would make them (RFC 791, RFC 8200
 * §4.5). One frame, a copy, when it fits.
 * @param identification IPv6 only: IPv4 fragments take the packet's own
 */
export function fragments(frame: Uint8Array, mtu: number, identification = 1): Uint8Array[] {
  if (frame.length - ETH_LEN <= mtu) return [frame.slice()];
  const type = get16(frame, ETH_TYPE);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6)
    throw new TypeError('only IP packets have fragments');
  const isIpv4 = type === ETHERTYPE_IPV4;
  const headerEnd = ETH_LEN + (isIpv4 ? ipv4HeaderLength(frame, ETH_LEN) : IPV6_LEN);
  const extra = isIpv4 ? 0 : IPV6_FRAG_LEN;
  const room = (mtu - (headerEnd - ETH_LEN) - extra) & ~7;
  const data = frame.subarray(headerEnd);
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < data.length; offset += room) {
    const part = data.subarray(offset, offset + room);
    const more = offset + part.length < data.length;
    const piece = new Uint8Array(headerEnd + extra + part.length);
    piece.set(frame.subarray(0, headerEnd));
    piece.set(part, headerEnd + extra);
    if (isIpv4) {
      set16(piece, ETH_LEN + IPV4_TOTAL_LENGTH, piece.length - ETH_LEN);
      set16(piece, ETH_LEN + IPV4_FRAGMENT, (more ? IPV4_MF : 0) | (offset >> 3));
      fillIpv4Checksum(piece, ETH_LEN);
    } else {
      set16(piece, ETH_LEN + IPV6_PAYLOAD_LENGTH, piece.length - ETH_LEN - IPV6_LEN);
      const next = piece[ETH_LEN + IPV6_NEXT_HEADER]!;
      piece[ETH_LEN + IPV6_NEXT_HEADER] = IPV6_EXT_FRAGMENT;
      writeIpv6Fragment(piece, headerEnd, next, offset, more, identification);
    }
    pieces.push(piece);
  }
  return pieces;
}
