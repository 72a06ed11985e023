/** A frame in one line, in the manner of tcpdump: for logs, differences and replay. */
import { formatIpv4, formatIpv6, formatMac } from './address.ts';
import { ARP_REPLY, ARP_REQUEST, arpOper, arpShaHi, arpShaLo, arpSpa, arpTpa } from './arp.ts';
import { get16, get32 } from './bytes.ts';
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_MIN,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
} from './ethernet.ts';
import {
  ICMP_CODE,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_IDENTIFIER,
  ICMP_LEN,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SEQUENCE,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACHABLE,
  icmpGateway,
  icmpMtu,
  isIcmpError,
} from './icmp.ts';
import { icmpName, icmpv6Name } from './icmp-name.ts';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
  icmpv6Mtu,
} from './icmpv6.ts';
import { IPV4_DST, IPV4_LEN, IPV4_SRC, ipv4Identification } from './ipv4.ts';
import { IPV6_DST, IPV6_LEN, IPV6_SRC, ipv6FragmentIdentification } from './ipv6.ts';
import { Malformed } from './malformed.ts';
import {
  ND_NA_OVERRIDE,
  ND_NA_ROUTER,
  ND_NA_SOLICITED,
  ND_TARGET,
  ndLength,
  ndNaFlags,
  ndRaLifetime,
} from './nd.ts';
import { Packet } from './packet.ts';
import { parse } from './parse.ts';
import {
  PROTO_AH,
  PROTO_ESP,
  PROTO_GRE,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_IGMP,
  PROTO_SCTP,
  PROTO_TCP,
  PROTO_UDP,
} from './protocol.ts';
import {
  TCP_ACK,
  TCP_CWR,
  TCP_ECE,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  TCP_URG,
  tcpAcknowledgment,
  tcpDstPort,
  tcpFlags,
  tcpMss,
  tcpSequence,
  tcpSrcPort,
  tcpWindow,
} from './tcp.ts';
import { udpDstPort, udpLength, udpSrcPort } from './udp.ts';
import { gsoSize, gsoType, needsChecksum, VNET_GSO_NONE, VNET_LEN } from './virtio-net.ts';
import { vlanDropEligible, vlanId, vlanPriority } from './vlan.ts';

/**
 * The frame at `packet.at`, of `packet.length` bytes, as text. Parses it by itself and changes nothing; for any bytes it
 * says something and never throws.
 */
export function describe(packet: Packet): string {
  const view = new Packet(packet.bytes);
  view.at = packet.at;
  view.length = packet.length;
  const { bytes, at, length } = view;
  const malformed = parse(view);
  if (malformed === Malformed.PKT_TOO_SMALL) return `malformed PKT_TOO_SMALL, length ${length}`;
  const parts = [
    `${formatMac(ethSrcHi(bytes, at), ethSrcLo(bytes, at))} > ${formatMac(ethDstHi(bytes, at), ethDstLo(bytes, at))}`,
  ];
  if (view.vlan >= 0) {
    const dei = vlanDropEligible(view.vlan) ? ' dei' : '';
    parts.push(`vlan ${vlanId(view.vlan)} p${vlanPriority(view.vlan)}${dei}`);
  }
  parts.push(malformed === Malformed.NONE ? network(view) : broken(view, malformed));
  const vnet = at - VNET_LEN;
  if (gsoType(bytes, vnet) !== VNET_GSO_NONE) parts.push(`gso ${gsoSize(bytes, vnet)}`);
  if (needsChecksum(bytes, vnet)) parts.push('partial checksum');
  return parts.join(', ');
}

/** What could not be parsed, named by its type, its addresses if they are there, and the reason. */
function broken(packet: Packet, malformed: Malformed): string {
  const { bytes, at, l3 } = packet;
  const room = at + packet.length - l3;
  let what = typeName(packet.etherType);
  if (packet.etherType === ETHERTYPE_IPV4 && room >= IPV4_LEN) what += ` ${ipv4Pair(bytes, l3)}`;
  if (packet.etherType === ETHERTYPE_IPV6 && room >= IPV6_LEN) what += ` ${ipv6Pair(bytes, l3)}`;
  return `${what}: malformed ${malformedName(malformed)}, length ${packet.length}`;
}

function malformedName(malformed: Malformed): string {
  return Object.entries(Malformed).find(([, value]) => value === malformed)?.[0] ?? String(malformed);
}

function network(packet: Packet): string {
  switch (packet.etherType) {
    case ETHERTYPE_ARP:
      return arp(packet);
    case ETHERTYPE_IPV4:
    case ETHERTYPE_IPV6:
      return internet(packet);
    default:
      return packet.etherType < ETHERTYPE_MIN
        ? llc(packet)
        : `${typeName(packet.etherType)}, length ${packet.length}`;
  }
}

function arp(packet: Packet): string {
  const { bytes, l3 } = packet;
  const spa = formatIpv4(arpSpa(bytes, l3));
  const tpa = formatIpv4(arpTpa(bytes, l3));
  switch (arpOper(bytes, l3)) {
    case ARP_REQUEST:
      return `ARP, request who-has ${tpa} tell ${spa}`;
    case ARP_REPLY:
      return `ARP, reply ${spa} is-at ${formatMac(arpShaHi(bytes, l3), arpShaLo(bytes, l3))}`;
    default:
      return `ARP, operation ${arpOper(bytes, l3)} from ${spa} to ${tpa}`;
  }
}

function internet(packet: Packet): string {
  const { bytes, l3, l4, end } = packet;
  const ipv4 = packet.etherType === ETHERTYPE_IPV4;
  const name = ipv4 ? 'IP' : 'IP6';
  const src = ipv4 ? ipv4At(bytes, l3 + IPV4_SRC) : ipv6At(bytes, l3 + IPV6_SRC);
  const dst = ipv4 ? ipv4At(bytes, l3 + IPV4_DST) : ipv6At(bytes, l3 + IPV6_DST);
  if (l4 === 0) {
    const id = ipv4
      ? ipv4Identification(bytes, l3)
      : ipv6FragmentIdentification(bytes, packet.fragmentHeader) >>> 0;
    const more = packet.moreFragments ? '+' : '';
    return `${name} ${src} > ${dst}: ${protocolName(packet.protocol)} fragment, id ${id}, offset ${packet.fragmentOffset}${more}`;
  }
  const first = packet.moreFragments ? ', first fragment' : '';
  switch (packet.protocol) {
    case PROTO_TCP:
      return `${name} ${src}.${tcpSrcPort(bytes, l4)} > ${dst}.${tcpDstPort(bytes, l4)}: ${tcp(packet)}${first}`;
    case PROTO_UDP:
      return `${name} ${src}.${udpSrcPort(bytes, l4)} > ${dst}.${udpDstPort(bytes, l4)}: UDP, length ${udpLength(bytes, l4) - 8}${first}`;
    case PROTO_ICMP:
      return `${name} ${src} > ${dst}: ICMP ${icmp(packet)}, length ${end - l4}${first}`;
    case PROTO_ICMPV6:
      return `${name} ${src} > ${dst}: ICMP6, ${icmpv6(packet)}, length ${end - l4}${first}`;
    default:
      return `${name} ${src} > ${dst}: ${protocolName(packet.protocol)}, length ${end - l4}${first}`;
  }
}

const TCP_FLAG_LETTERS: readonly (readonly [number, string])[] = [
  [TCP_FIN, 'F'],
  [TCP_SYN, 'S'],
  [TCP_RST, 'R'],
  [TCP_PSH, 'P'],
  [TCP_ACK, '.'],
  [TCP_URG, 'U'],
  [TCP_ECE, 'E'],
  [TCP_CWR, 'W'],
];

function tcp(packet: Packet): string {
  const { bytes, l4 } = packet;
  const flags = tcpFlags(bytes, l4);
  let letters = '';
  for (const [bit, letter] of TCP_FLAG_LETTERS) if ((flags & bit) !== 0) letters += letter;
  const length = packet.end - packet.payload;
  const sequence = tcpSequence(bytes, l4) >>> 0;
  let text = `Flags [${letters === '' ? 'none' : letters}], seq ${sequence}`;
  if (length > 0) text += `:${(sequence + length) % 0x1_0000_0000}`;
  if ((flags & TCP_ACK) !== 0) text += `, ack ${tcpAcknowledgment(bytes, l4) >>> 0}`;
  text += `, win ${tcpWindow(bytes, l4)}`;
  const mss = (flags & TCP_SYN) !== 0 ? tcpMss(bytes, l4) : 0;
  if (mss !== 0) text += `, mss ${mss}`;
  return `${text}, length ${length}`;
}

function icmp(packet: Packet): string {
  const { bytes, l4 } = packet;
  const type = bytes[l4];
  const code = bytes[l4 + ICMP_CODE];
  const name = icmpName(type, code);
  switch (type) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
      return `${name}, ${identity(bytes, l4)}`;
    case ICMP_UNREACHABLE: {
      const mtu = code === ICMP_UNREACH_FRAG_NEEDED ? ` mtu ${icmpMtu(bytes, l4)}` : '';
      return `${name}${mtu}${about(packet)}`;
    }
    case ICMP_REDIRECT:
      return `${name} to ${formatIpv4(icmpGateway(bytes, l4))}${about(packet)}`;
    case ICMP_PARAMETER_PROBLEM:
      return `${name} at ${bytes[l4 + 4]}${about(packet)}`;
    default:
      return `${name}${isIcmpError(type) ? about(packet) : ''}`;
  }
}

/** The packet that an ICMP error is about, as far as it is there. */
function about(packet: Packet): string {
  const inner = packet.l4 + ICMP_LEN;
  return inner + IPV4_LEN <= packet.end ? ` (${ipv4Pair(packet.bytes, inner)})` : '';
}

function icmpv6(packet: Packet): string {
  const { bytes, l4, end } = packet;
  const type = bytes[l4];
  const code = bytes[l4 + ICMP_CODE];
  // Which message it is, is known; what it says is not all there.
  if (l4 + ndLength(type) > end) return `type ${type} truncated`;
  const target = l4 + ND_TARGET;
  const name = icmpv6Name(type, code);
  switch (type) {
    case ICMPV6_ECHO_REQUEST:
    case ICMPV6_ECHO_REPLY:
      return `${name}, ${identity(bytes, l4)}`;
    case ICMPV6_NEIGHBOR_SOLICITATION:
      return `${name}, who has ${ipv6At(bytes, target)}`;
    case ICMPV6_NEIGHBOR_ADVERTISEMENT:
      return `${name}, tgt is ${ipv6At(bytes, target)}${naFlags(ndNaFlags(bytes, l4))}`;
    case ICMPV6_ROUTER_ADVERTISEMENT:
      return `${name}, lifetime ${ndRaLifetime(bytes, l4)} s`;
    case ICMPV6_REDIRECT:
      return `${name} to ${ipv6At(bytes, target)}`;
    case ICMPV6_PACKET_TOO_BIG:
      return `${name}, mtu ${icmpv6Mtu(bytes, l4) >>> 0}${about6(packet)}`;
    case ICMPV6_PARAMETER_PROBLEM:
      return `${name} code ${code} at ${get32(bytes, l4 + 4) >>> 0}${about6(packet)}`;
    case ICMPV6_UNREACHABLE:
    case ICMPV6_TIME_EXCEEDED:
      return `${name}${about6(packet)}`;
    default:
      return name;
  }
}

function about6(packet: Packet): string {
  const inner = packet.l4 + ICMP_LEN;
  return inner + IPV6_LEN <= packet.end ? ` (${ipv6Pair(packet.bytes, inner)})` : '';
}

function naFlags(flags: number): string {
  const names: string[] = [];
  if ((flags & ND_NA_ROUTER) !== 0) names.push('router');
  if ((flags & ND_NA_SOLICITED) !== 0) names.push('solicited');
  if ((flags & ND_NA_OVERRIDE) !== 0) names.push('override');
  return names.length === 0 ? '' : ` [${names.join(' ')}]`;
}

function identity(bytes: Uint8Array, l4: number): string {
  return `id ${get16(bytes, l4 + ICMP_IDENTIFIER)}, seq ${get16(bytes, l4 + ICMP_SEQUENCE)}`;
}

/** IEEE 802.2 LLC behind an IEEE 802.3 length: spanning tree by name, all others by their service access points. */
function llc(packet: Packet): string {
  const { bytes, l3, at, etherType } = packet;
  const room = at + packet.length - l3;
  if (room < 3) return `802.3, length ${etherType}`;
  const dsap = get16(bytes, l3) >>> 8;
  const ssap = get16(bytes, l3) & 0xff;
  if (dsap !== 0x42 || ssap !== 0x42 || room < 7) {
    return `802.3 LLC dsap 0x${hex(dsap, 2)} ssap 0x${hex(ssap, 2)}, length ${etherType}`;
  }
  const bpdu = bytes[l3 + 6];
  const kind =
    bpdu === 0x00 ? 'config' : bpdu === 0x02 ? 'rapid' : bpdu === 0x80 ? 'topology change' : `type ${bpdu}`;
  return `STP ${kind}, length ${etherType}`;
}

const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [ETHERTYPE_IPV4, 'IP'],
  [ETHERTYPE_IPV6, 'IP6'],
  [ETHERTYPE_ARP, 'ARP'],
  [ETHERTYPE_VLAN, '802.1Q'],
  [ETHERTYPE_QINQ, '802.1ad'],
  [0x0842, 'wake-on-LAN'],
  [0x8035, 'RARP'],
  [0x8809, 'slow protocols'],
  [0x8847, 'MPLS'],
  [0x8848, 'MPLS multicast'],
  [0x8863, 'PPPoE discovery'],
  [0x8864, 'PPPoE'],
  [0x888e, 'EAPOL'],
  [0x88cc, 'LLDP'],
  [0x88e5, 'MACsec'],
  [0x88f7, 'PTP'],
  [0x9000, 'loopback'],
]);

function typeName(etherType: number): string {
  return TYPE_NAMES.get(etherType) ?? `ethertype 0x${hex(etherType, 4)}`;
}

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map([
  [PROTO_ICMP, 'ICMP'],
  [PROTO_IGMP, 'IGMP'],
  [PROTO_TCP, 'TCP'],
  [PROTO_UDP, 'UDP'],
  [PROTO_GRE, 'GRE'],
  [PROTO_ESP, 'ESP'],
  [PROTO_AH, 'AH'],
  [PROTO_ICMPV6, 'ICMP6'],
  [PROTO_SCTP, 'SCTP'],
]);

function protocolName(protocol: number): string {
  return PROTOCOL_NAMES.get(protocol) ?? `protocol ${protocol}`;
}

function ipv4At(bytes: Uint8Array, at: number): string {
  return formatIpv4(get32(bytes, at));
}

function ipv6At(bytes: Uint8Array, at: number): string {
  return formatIpv6(get32(bytes, at), get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12));
}

/** Source and destination of the IPv4 header at `at`. */
function ipv4Pair(bytes: Uint8Array, at: number): string {
  return `${ipv4At(bytes, at + IPV4_SRC)} > ${ipv4At(bytes, at + IPV4_DST)}`;
}

/** Source and destination of the IPv6 header at `at`. */
function ipv6Pair(bytes: Uint8Array, at: number): string {
  return `${ipv6At(bytes, at + IPV6_SRC)} > ${ipv6At(bytes, at + IPV6_DST)}`;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
