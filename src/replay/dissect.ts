import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import {
  ARP_REPLY,
  ARP_REQUEST,
  arpOper,
  arpShaHi,
  arpShaLo,
  arpSpa,
  arpThaHi,
  arpThaLo,
  arpTpa,
} from '../../wire/arp.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
} from '../../wire/ethernet.ts';
import { ICMP_CHECKSUM } from '../../wire/icmp.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DF,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  ipv4Dst,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Identification,
  ipv4Protocol,
  ipv4Src,
  ipv4Tos,
  ipv4TotalLength,
  ipv4Ttl,
} from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_LEN,
  IPV6_SRC,
  ipv6FlowLabel,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
} from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_CHECKSUM,
  TCP_LEN,
  tcpAcknowledgment,
  tcpDstPort,
  tcpFlags,
  tcpSequence,
  tcpSrcPort,
  tcpWindow,
} from '../../wire/tcp.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { UDP_CHECKSUM, udpDstPort, udpLength, udpSrcPort } from '../../wire/udp.ts';

/** One field of a frame, in words: `IPv4 ttl`, `64`. */
export interface Field {
  name: string;
  value: string;
}

/** Bytes shown of a payload. */
const SHOWN = 24;

/** Every header field of a frame, one by one, in the order in which they stand; for any bytes at all. */
export function dissect(bytes: Uint8Array): Field[] {
  const packet = new Packet(bytes);
  packet.length = bytes.length;
  const fields: Field[] = [];
  const add = (name: string, value: string | number): void =>
    void fields.push({ name, value: String(value) });
  const malformed = parse(packet);
  if (malformed === Malformed.PKT_TOO_SMALL) {
    add('malformed', `shorter than an Ethernet header (${bytes.length} bytes)`);
    add('bytes', preview(bytes, 0, bytes.length));
    return fields;
  }
  add('length', `${bytes.length} bytes`);
  add('Ethernet destination', formatMac(ethDstHi(bytes, 0), ethDstLo(bytes, 0)));
  add('Ethernet source', formatMac(ethSrcHi(bytes, 0), ethSrcLo(bytes, 0)));
  if (packet.l3 > ETH_LEN) add('VLAN tags', preview(bytes, ETH_LEN - 2, packet.l3 - 2));
  add('Ethernet type', `0x${packet.etherType.toString(16).padStart(4, '0')}`);
  if (malformed !== Malformed.NONE) {
    const reason = Object.entries(Malformed).find(([, number]) => number === malformed)?.[0];
    add('malformed', reason ?? malformed);
    add('payload', preview(bytes, packet.l3, bytes.length));
    return fields;
  }
  switch (packet.etherType) {
    case ETHERTYPE_ARP:
      arp(packet, add);
      break;
    case ETHERTYPE_IPV4:
      ipv4(packet, add);
      transport(packet, add);
      break;
    case ETHERTYPE_IPV6:
      ipv6(packet, add);
      transport(packet, add);
      break;
    default:
      add('payload', preview(bytes, packet.l3, bytes.length));
      return fields;
  }
  if (packet.end < bytes.length) add('padding', preview(bytes, packet.end, bytes.length));
  return fields;
}

type Add = (name: string, value: string | number) => void;

function arp({ bytes, l3 }: Packet, add: Add): void {
  const oper = arpOper(bytes, l3);
  add('ARP operation', oper === ARP_REQUEST ? '1 request' : oper === ARP_REPLY ? '2 reply' : oper);
  add('ARP sender MAC', formatMac(arpShaHi(bytes, l3), arpShaLo(bytes, l3)));
  add('ARP sender address', formatIpv4(arpSpa(bytes, l3)));
  add('ARP target MAC', formatMac(arpThaHi(bytes, l3), arpThaLo(bytes, l3)));
  add('ARP target address', formatIpv4(arpTpa(bytes, l3)));
}

function ipv4({ bytes, l3 }: Packet, add: Add): void {
  const fragment = ipv4Fragment(bytes, l3);
  const headerLength = ipv4HeaderLength(bytes, l3);
  const flags = [fragment & IPV4_DF ? 'DF' : '', fragment & IPV4_MF ? 'MF' : ''].filter(Boolean);
  add('IPv4 tos', hex(ipv4Tos(bytes, l3), 2));
  add('IPv4 total length', ipv4TotalLength(bytes, l3));
  add('IPv4 identification', ipv4Identification(bytes, l3));
  add('IPv4 flags', flags.join(' ') || 'none');
  add('IPv4 fragment offset', (fragment & IPV4_OFFSET_MASK) * 8);
  add('IPv4 ttl', ipv4Ttl(bytes, l3));
  add('IPv4 protocol', ipv4Protocol(bytes, l3));
  // A wrong one is malformed, and does not come here.
  add('IPv4 header checksum', hex(get16(bytes, l3 + IPV4_CHECKSUM), 4));
  add('IPv4 source', formatIpv4(ipv4Src(bytes, l3)));
  add('IPv4 destination', formatIpv4(ipv4Dst(bytes, l3)));
  if (headerLength > IPV4_LEN) add('IPv4 options', preview(bytes, l3 + IPV4_LEN, l3 + headerLength));
}

function ipv6(packet: Packet, add: Add): void {
  const { bytes, l3, l4, end } = packet;
  add('IPv6 traffic class', hex(ipv6TrafficClass(bytes, l3), 2));
  add('IPv6 flow label', hex(ipv6FlowLabel(bytes, l3), 5));
  add('IPv6 payload length', ipv6PayloadLength(bytes, l3));
  add('IPv6 next header', ipv6NextHeader(bytes, l3));
  add('IPv6 hop limit', ipv6HopLimit(bytes, l3));
  add('IPv6 source', ipv6At(bytes, l3 + IPV6_SRC));
  add('IPv6 destination', ipv6At(bytes, l3 + IPV6_DST));
  const behind = l4 === 0 ? end : l4;
  if (behind > l3 + IPV6_LEN && l4 !== 0) add('IPv6 extensions', preview(bytes, l3 + IPV6_LEN, behind));
}

function transport(packet: Packet, add: Add): void {
  const { bytes, l3, l4, payload, end, protocol } = packet;
  if (l4 === 0) {
    const header = packet.etherType === ETHERTYPE_IPV4 ? ipv4HeaderLength(bytes, l3) : IPV6_LEN;
    add('fragment', preview(bytes, l3 + header, end));
    return;
  }
  const right = transportChecksumOk(packet) ? '' : ' (wrong)';
  switch (protocol) {
    case PROTO_ICMP:
    case PROTO_ICMPV6: {
      const name = protocol === PROTO_ICMP ? 'ICMP' : 'ICMPv6';
      add(`${name} type`, bytes[l4]!);
      add(`${name} code`, bytes[l4 + 1]!);
      add(`${name} checksum`, `${hex(get16(bytes, l4 + ICMP_CHECKSUM), 4)}${right}`);
      add(`${name} second word`, `${hex(get16(bytes, l4 + 4), 4)} ${hex(get16(bytes, l4 + 6), 4)}`);
      break;
    }
    case PROTO_UDP:
      add('UDP source port', udpSrcPort(bytes, l4));
      add('UDP destination port', udpDstPort(bytes, l4));
      add('UDP length', udpLength(bytes, l4));
      add('UDP checksum', `${hex(get16(bytes, l4 + UDP_CHECKSUM), 4)}${right}`);
      break;
    case PROTO_TCP:
      add('TCP source port', tcpSrcPort(bytes, l4));
      add('TCP destination port', tcpDstPort(bytes, l4));
      add('TCP sequence', tcpSequence(bytes, l4) >>> 0);
      add('TCP acknowledgment', tcpAcknowledgment(bytes, l4) >>> 0);
      add('TCP flags', hex(tcpFlags(bytes, l4), 2));
      add('TCP window', tcpWindow(bytes, l4));
      add('TCP checksum', `${hex(get16(bytes, l4 + TCP_CHECKSUM), 4)}${right}`);
      if (payload > l4 + TCP_LEN) add('TCP options', preview(bytes, l4 + TCP_LEN, payload));
      break;
  }
  if (end > payload) add('payload', preview(bytes, payload, end));
}

function ipv6At(bytes: Uint8Array, at: number): string {
  return formatIpv6(get32(bytes, at), get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12));
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** How many bytes, and the first of them. */
function preview(bytes: Uint8Array, from: number, to: number): string {
  const shown = Buffer.from(bytes.subarray(from, Math.min(to, from + SHOWN))).toString('hex');
  return `${to - from} bytes: ${shown}${to - from > SHOWN ? '...' : ''}`;
}
