/**
 * One pass over a frame: from bytes to offsets, or to the reason why not.
 *
 * Every length is checked here, once. After `Malformed.NONE` every accessor of the headers that were recognised reads
 * inside the frame; setters of lengths, types and header sizes say that they break this promise. Whatever the
 * answer, all offsets of the packet lie within its frame.
 *
 * Read RFC 1122 §3.2.1, RFC 1812 §5.2 and RFC 8200 §4 before changing what is refused.
 */
import { ARP_HLEN, ARP_HTYPE, ARP_HTYPE_ETHERNET, ARP_LEN, ARP_PLEN, ARP_PTYPE } from './arp.ts';
import { get16 } from './bytes.ts';
import { sum } from './checksum.ts';
import {
  ETH_LEN,
  ETH_TYPE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
} from './ethernet.ts';
import { ICMP_LEN } from './icmp.ts';
import {
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  ipv4OptionsOk,
} from './ipv4.ts';
import {
  IPV6_EXT_DESTINATION,
  IPV6_EXT_FRAGMENT,
  IPV6_EXT_HOP_BY_HOP,
  IPV6_FRAG_LEN,
  IPV6_FRAG_M,
  IPV6_FRAG_OFFSET,
  IPV6_FRAG_OFFSET_MASK,
  IPV6_LEN,
  IPV6_MAX_EXTENSIONS,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  ipv6ExtensionLength,
  ipv6OptionsOk,
  isIpv6Extension,
} from './ipv6.ts';
import { Malformed } from './malformed.ts';
import type { Packet } from './packet.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from './protocol.ts';
import { TCP_DATA_OFFSET, TCP_LEN } from './tcp.ts';
import { UDP_LEN, UDP_LENGTH } from './udp.ts';
import { VLAN_LEN, VLAN_MAX_TAGS } from './vlan.ts';

/** `parseEthernet` and `parseNetwork` in one. */
export function parse(packet: Packet): Malformed {
  const malformed = parseEthernet(packet);
  return malformed === Malformed.NONE ? parseNetwork(packet) : malformed;
}

/**
 * Reads the Ethernet header and up to two VLAN tags: all that a bridge needs. Fills `etherType`, `vlan`, `l3`
 * and `end` (the end of the frame) and resets what `parseNetwork` fills. A third tag is an EtherType like any other.
 */
export function parseEthernet(packet: Packet): Malformed {
  const { bytes, at, length } = packet;
  const end = at + length;
  packet.end = end;
  packet.vlan = -1;
  packet.protocol = -1;
  packet.l4 = 0;
  packet.payload = 0;
  packet.fragmentOffset = 0;
  packet.moreFragments = false;
  packet.fragmentHeader = 0;
  if (length < ETH_LEN) {
    packet.etherType = 0;
    packet.l3 = end;
    return Malformed.PKT_TOO_SMALL;
  }
  let l3 = at + ETH_LEN;
  let type = get16(bytes, at + ETH_TYPE);
  for (let tags = 0; tags < VLAN_MAX_TAGS && (type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ); tags++) {
    if (l3 + VLAN_LEN > end) {
      packet.etherType = type;
      packet.l3 = l3;
      return Malformed.HDR_TRUNC;
    }
    if (tags === 0) packet.vlan = get16(bytes, l3);
    type = get16(bytes, l3 + 2);
    l3 += VLAN_LEN;
  }
  packet.etherType = type;
  packet.l3 = l3;
  return Malformed.NONE;
}

/**
 * Goes on where `parseEthernet` stopped: ARP, IPv4 and IPv6, then the transport header. Fills `end`, `protocol`, `l4`,
 * `payload` and the fragment fields. Any other EtherType, and an IEEE 802.3 length, is well-formed as it is.
 * Verifies the IPv4 header checksum; for the others see `transportChecksumOk`.
 */
export function parseNetwork(packet: Packet): Malformed {
  switch (packet.etherType) {
    case ETHERTYPE_IPV4:
      return parseIpv4(packet);
    case ETHERTYPE_IPV6:
      return parseIpv6(packet);
    case ETHERTYPE_ARP:
      return parseArp(packet);
    default:
      return Malformed.NONE;
  }
}

function parseArp(packet: Packet): Malformed {
  const { bytes, l3 } = packet;
  if (l3 + ARP_LEN > packet.end) return Malformed.HDR_TRUNC;
  if (
    get16(bytes, l3 + ARP_HTYPE) !== ARP_HTYPE_ETHERNET ||
    get16(bytes, l3 + ARP_PTYPE) !== ETHERTYPE_IPV4 ||
    bytes[l3 + ARP_HLEN] !== 6 ||
    bytes[l3 + ARP_PLEN] !== 4
  ) {
    return Malformed.ARP_INHDR;
  }
  packet.end = l3 + ARP_LEN;
  return Malformed.NONE;
}

function parseIpv4(packet: Packet): Malformed {
  const { bytes, l3 } = packet;
  const room = packet.end - l3;
  if (room < IPV4_LEN) return Malformed.HDR_TRUNC;
  // RFC 1812 §5.2.2: the five checks of a received header. Truncation is judged by the frame, then by the lengths.
  const first = bytes[l3];
  const headerLength = (first & 0x0f) << 2;
  const total = get16(bytes, l3 + IPV4_TOTAL_LENGTH);
  if (first >>> 4 !== 4 || headerLength < IPV4_LEN || total < headerLength || total > room) {
    return Malformed.IP_INHDR;
  }
  const flags = get16(bytes, l3 + IPV4_FRAGMENT);
  if (headerLength === IPV4_LEN) {
    const words =
      get16(bytes, l3) +
      total +
      get16(bytes, l3 + 4) +
      flags +
      get16(bytes, l3 + 8) +
      get16(bytes, l3 + 10) +
      get16(bytes, l3 + 12) +
      get16(bytes, l3 + 14) +
      get16(bytes, l3 + 16) +
      get16(bytes, l3 + 18);
    // Ten words carry at most 9, so one addition of the carry decides: a right header sums up to 0xffff.
    if ((words & 0xffff) + (words >>> 16) !== 0xffff) return Malformed.IP_CSUM;
  } else {
    if (sum(bytes, l3, headerLength) !== 0xffff) return Malformed.IP_CSUM;
    if (!ipv4OptionsOk(bytes, l3)) return Malformed.IP_INHDR;
  }
  const end = l3 + total;
  const protocol = bytes[l3 + IPV4_PROTOCOL];
  if ((flags & (IPV4_MF | IPV4_OFFSET_MASK)) === 0) {
    packet.end = end;
    packet.protocol = protocol;
    return parseTransport(packet, protocol, l3 + headerLength, end, false);
  }
  const offset = (flags & IPV4_OFFSET_MASK) << 3;
  const more = (flags & IPV4_MF) !== 0;
  const data = total - headerLength;
  // RFC 791 §3.2: all but the last carry a multiple of 8 bytes, and the whole has at most 65,535. A fragment of nothing
  // is none; a TCP fragment inside the fixed header is an attempt to rewrite it (RFC 1858 §4.2, RFC 3128).
  if (
    data === 0 ||
    (more && (data & 7) !== 0) ||
    offset + total > 0xffff ||
    (protocol === PROTO_TCP && offset !== 0 && offset < TCP_LEN)
  ) {
    return Malformed.FRAG_INVALID;
  }
  packet.end = end;
  packet.protocol = protocol;
  packet.fragmentOffset = offset;
  packet.moreFragments = more;
  return offset === 0 ? parseTransport(packet, protocol, l3 + headerLength, end, true) : Malformed.NONE;
}

function parseIpv6(packet: Packet): Malformed {
  const { bytes, l3 } = packet;
  if (l3 + IPV6_LEN > packet.end) return Malformed.HDR_TRUNC;
  let at = l3 + IPV6_LEN;
  const end = at + get16(bytes, l3 + IPV6_PAYLOAD_LENGTH);
  // Jumbograms (RFC 2675) have payload length 0 and end here, too: no TAP is that large.
  if (bytes[l3] >>> 4 !== 6 || end > packet.end) return Malformed.IPV6_INHDR;
  let next = bytes[l3 + IPV6_NEXT_HEADER];
  let more = false;
  let fragmentHeader = 0;
  for (let left = IPV6_MAX_EXTENSIONS; isIpv6Extension(next); left--) {
    if (left === 0) return Malformed.IPV6_INHDR;
    if (at + 8 > end) return Malformed.HDR_TRUNC;
    const length = ipv6ExtensionLength(bytes, at, next);
    if (at + length > end) return Malformed.IPV6_INHDR;
    if (next === IPV6_EXT_HOP_BY_HOP || next === IPV6_EXT_DESTINATION) {
      // RFC 8200 §4.1: hop-by-hop options stand directly behind the IPv6 header or nowhere.
      if (next === IPV6_EXT_HOP_BY_HOP && at !== l3 + IPV6_LEN) return Malformed.IPV6_INHDR;
      if (!ipv6OptionsOk(bytes, at)) return Malformed.IPV6_INHDR;
    } else if (next === IPV6_EXT_FRAGMENT) {
      if (fragmentHeader !== 0) return Malformed.FRAG_INVALID;
      const field = get16(bytes, at + IPV6_FRAG_OFFSET);
      const offset = field & IPV6_FRAG_OFFSET_MASK;
      more = (field & IPV6_FRAG_M) !== 0;
      const data = end - at - IPV6_FRAG_LEN;
      // RFC 8200 §4.5: a multiple of 8 bytes in all but the last, at most 65,535 bytes behind the fixed header when put
      // together. With offset 0 and no more it is an atomic fragment (RFC 6946): a whole packet.
      if (
        (more && (data & 7) !== 0) ||
        (data === 0 && (more || offset !== 0)) ||
        at - l3 - IPV6_LEN + offset + data > 0xffff
      ) {
        return Malformed.FRAG_INVALID;
      }
      fragmentHeader = at;
      if (offset !== 0) {
        next = bytes[at];
        if (next === PROTO_TCP && offset < TCP_LEN) return Malformed.FRAG_INVALID;
        packet.end = end;
        packet.protocol = next;
        packet.fragmentOffset = offset;
        packet.moreFragments = more;
        packet.fragmentHeader = at;
        return Malformed.NONE;
      }
    }
    next = bytes[at];
    at += length;
  }
  packet.end = end;
  packet.protocol = next;
  packet.moreFragments = more;
  packet.fragmentHeader = fragmentHeader;
  return parseTransport(packet, next, at, end, more);
}

/**
 * @param partial the transport header is in a first fragment: it must be here as a whole (RFC 7112 §5, RFC 1858 §3), but
 *   its data need not be
 */
function parseTransport(
  packet: Packet,
  protocol: number,
  l4: number,
  end: number,
  partial: boolean,
): Malformed {
  const { bytes } = packet;
  let payload = l4;
  switch (protocol) {
    case PROTO_TCP: {
      if (l4 + TCP_LEN > end) return Malformed.HDR_TRUNC;
      const headerLength = (bytes[l4 + TCP_DATA_OFFSET] >>> 4) << 2;
      if (headerLength < TCP_LEN || l4 + headerLength > end) return Malformed.L4_INHDR;
      payload = l4 + headerLength;
      break;
    }
    case PROTO_UDP: {
      if (l4 + UDP_LEN > end) return Malformed.HDR_TRUNC;
      const length = get16(bytes, l4 + UDP_LENGTH);
      if (length < UDP_LEN || (l4 + length > end && !partial)) return Malformed.L4_INHDR;
      payload = l4 + UDP_LEN;
      break;
    }
    // Either one in either IP version: whoever looks only at the protocol must not read beyond the packet.
    case PROTO_ICMP:
    case PROTO_ICMPV6:
      if (l4 + ICMP_LEN > end) return Malformed.HDR_TRUNC;
      payload = l4 + ICMP_LEN;
      break;
  }
  packet.l4 = l4;
  packet.payload = payload;
  return Malformed.NONE;
}
