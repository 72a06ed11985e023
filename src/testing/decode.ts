import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import {
  ARP_HLEN,
  ARP_HTYPE,
  ARP_HTYPE_ETHERNET,
  ARP_LEN,
  ARP_PTYPE,
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
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
  ethType,
} from '../../wire/ethernet.ts';
import { ICMP_LEN, icmpChecksum, icmpCode, icmpIdentifier, icmpSequence, icmpType } from '../../wire/icmp.ts';
import {
  IPV4_DF,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  ipv4Checksum,
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
  IPV6_EXT_DESTINATION,
  IPV6_EXT_FRAGMENT,
  IPV6_EXT_HOP_BY_HOP,
  IPV6_EXT_ROUTING,
  IPV6_FRAG_LEN,
  IPV6_FRAG_M,
  IPV6_FRAG_OFFSET,
  IPV6_FRAG_OFFSET_MASK,
  IPV6_LEN,
  IPV6_SRC,
  ipv6ExtensionLength,
  ipv6FlowLabel,
  ipv6FragmentIdentification,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
} from '../../wire/ipv6.ts';
import {
  ND_NA_OVERRIDE,
  ND_NA_ROUTER,
  ND_NA_SOLICITED,
  ND_NS_LEN,
  ND_OPT_LLA_LEN,
  ND_OPT_SOURCE_LLA,
  ND_OPT_TARGET_LLA,
  ND_TARGET,
  ndOptionMacHi,
  ndOptionMacLo,
} from '../../wire/nd.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_LEN,
  TCP_OPT_END,
  TCP_OPT_MSS,
  TCP_OPT_NOP,
  TCP_OPT_SACK,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_TIMESTAMPS,
  TCP_OPT_WINDOW_SCALE,
  tcpAcknowledgment,
  tcpChecksum,
  tcpDstPort,
  tcpFlags,
  tcpHeaderLength,
  tcpSequence,
  tcpSrcPort,
  tcpUrgent,
  tcpWindow,
} from '../../wire/tcp.ts';
import { UDP_LEN, udpChecksum, udpDstPort, udpLength, udpSrcPort } from '../../wire/udp.ts';
import { VLAN_LEN, vlanDropEligible, vlanId, vlanPriority } from '../../wire/vlan.ts';
import { tcpOptions } from './encode.ts';
import {
  ARP_OPERATIONS,
  ICMP_TYPES,
  ICMP6_TYPES,
  type Layer,
  nameOf,
  type TcpOptions,
  tcpFlagLetters,
} from './layer.ts';

/**
 * The layers of any bytes, as far as they can be told: what is too short or of no known kind is payload.
 * @throws RangeError when there is no whole Ethernet header
 */
export function decode(bytes: Uint8Array): Layer[] {
  if (bytes.length < ETH_LEN)
    throw new RangeError(`a frame has at least ${ETH_LEN} bytes, and this one ${bytes.length}`);
  const layers: Layer[] = [];
  let type = ethType(bytes, 0);
  layers.push({
    layer: 'eth',
    dst: formatMac(ethDstHi(bytes, 0), ethDstLo(bytes, 0)),
    src: formatMac(ethSrcHi(bytes, 0), ethSrcLo(bytes, 0)),
    type,
  });
  let at = ETH_LEN;
  while ((type === ETHERTYPE_VLAN || type === ETHERTYPE_QINQ) && bytes.length >= at + VLAN_LEN) {
    const tci = get16(bytes, at);
    const tpid = type;
    type = get16(bytes, at + 2);
    layers.push({
      layer: 'vlan',
      id: vlanId(tci),
      priority: vlanPriority(tci),
      dropEligible: vlanDropEligible(tci),
      tpid,
      type,
    });
    at += VLAN_LEN;
  }
  const end = decodePacket(bytes, at, type, layers);
  if (end < bytes.length) layers.push({ layer: 'padding', data: bytes.slice(end) });
  return layers;
}

/** Adds the packet's layers; answers where it ends. */
function decodePacket(bytes: Uint8Array, at: number, type: number, layers: Layer[]): number {
  const left = bytes.length - at;
  if (type === ETHERTYPE_ARP && left >= ARP_LEN && isEthernetArp(bytes, at)) {
    layers.push({
      layer: 'arp',
      op: nameOf(ARP_OPERATIONS, arpOper(bytes, at)),
      sha: formatMac(arpShaHi(bytes, at), arpShaLo(bytes, at)),
      spa: formatIpv4(arpSpa(bytes, at)),
      tha: formatMac(arpThaHi(bytes, at), arpThaLo(bytes, at)),
      tpa: formatIpv4(arpTpa(bytes, at)),
    });
    return at + ARP_LEN;
  }
  if (type === ETHERTYPE_IPV4 && left >= IPV4_LEN) return decodeIp(bytes, at, layers);
  if (type === ETHERTYPE_IPV6 && left >= IPV6_LEN) return decodeIp6(bytes, at, layers);
  payload(bytes, at, bytes.length, layers);
  return bytes.length;
}

function isEthernetArp(bytes: Uint8Array, at: number): boolean {
  return (
    get16(bytes, at + ARP_HTYPE) === ARP_HTYPE_ETHERNET &&
    get16(bytes, at + ARP_PTYPE) === ETHERTYPE_IPV4 &&
    get16(bytes, at + ARP_HLEN) === 0x0604
  );
}

function decodeIp(bytes: Uint8Array, at: number, layers: Layer[]): number {
  const headerLength = ipv4HeaderLength(bytes, at);
  const length = ipv4TotalLength(bytes, at);
  // A length that cannot be is not followed.
  const header = headerLength < IPV4_LEN || at + headerLength > bytes.length ? IPV4_LEN : headerLength;
  const end = length < header || at + length > bytes.length ? bytes.length : at + length;
  const fragment = ipv4Fragment(bytes, at);
  const offset = (fragment & IPV4_OFFSET_MASK) * 8;
  const mf = (fragment & IPV4_MF) !== 0;
  const protocol = ipv4Protocol(bytes, at);
  layers.push({
    layer: 'ip',
    version: bytes[at]! >> 4,
    headerLength,
    tos: ipv4Tos(bytes, at),
    length,
    id: ipv4Identification(bytes, at),
    df: (fragment & IPV4_DF) !== 0,
    mf,
    offset,
    ttl: ipv4Ttl(bytes, at),
    protocol,
    checksum: ipv4Checksum(bytes, at),
    src: formatIpv4(ipv4Src(bytes, at)),
    dst: formatIpv4(ipv4Dst(bytes, at)),
    options: bytes.slice(at + IPV4_LEN, at + header),
  });
  if (mf || offset > 0) payload(bytes, at + header, end, layers);
  else decodeTransport(bytes, at + header, end, protocol, layers);
  return end;
}

function decodeIp6(bytes: Uint8Array, start: number, layers: Layer[]): number {
  let at = start;
  const length = ipv6PayloadLength(bytes, at);
  const end = at + IPV6_LEN + length > bytes.length ? bytes.length : at + IPV6_LEN + length;
  let next = ipv6NextHeader(bytes, at);
  layers.push({
    layer: 'ip6',
    version: bytes[at]! >> 4,
    trafficClass: ipv6TrafficClass(bytes, at),
    flowLabel: ipv6FlowLabel(bytes, at),
    length,
    next,
    hopLimit: ipv6HopLimit(bytes, at),
    src: ipv6At(bytes, at + IPV6_SRC),
    dst: ipv6At(bytes, at + IPV6_DST),
  });
  at += IPV6_LEN;
  for (;;) {
    const kind = EXTENSIONS[next];
    const size = kind && end - at >= 8 ? ipv6ExtensionLength(bytes, at, next) : 0;
    if (!kind || size === 0 || at + size > end) break;
    next = bytes[at]!;
    layers.push({ layer: kind, next, length: bytes[at + 1]!, data: bytes.slice(at + 2, at + size) });
    at += size;
  }
  if (next === IPV6_EXT_FRAGMENT && end - at >= IPV6_FRAG_LEN) {
    const field = get16(bytes, at + IPV6_FRAG_OFFSET);
    const offset = field & IPV6_FRAG_OFFSET_MASK;
    const more = (field & IPV6_FRAG_M) !== 0;
    next = bytes[at]!;
    layers.push({ layer: 'fragment', next, offset, more, id: ipv6FragmentIdentification(bytes, at) >>> 0 });
    at += IPV6_FRAG_LEN;
    if (more || offset > 0) {
      payload(bytes, at, end, layers);
      return end;
    }
  }
  decodeTransport(bytes, at, end, next, layers);
  return end;
}

const EXTENSIONS: Readonly<Record<number, 'hopByHop' | 'routing' | 'destination'>> = {
  [IPV6_EXT_HOP_BY_HOP]: 'hopByHop',
  [IPV6_EXT_ROUTING]: 'routing',
  [IPV6_EXT_DESTINATION]: 'destination',
};

function decodeTransport(
  bytes: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  layers: Layer[],
): void {
  const left = end - at;
  let behind = at;
  if (protocol === PROTO_TCP && left >= TCP_LEN) behind = decodeTcp(bytes, at, end, layers);
  else if (protocol === PROTO_UDP && left >= UDP_LEN) {
    layers.push({
      layer: 'udp',
      sport: udpSrcPort(bytes, at),
      dport: udpDstPort(bytes, at),
      length: udpLength(bytes, at),
      checksum: udpChecksum(bytes, at),
    });
    behind = at + UDP_LEN;
  } else if (protocol === PROTO_ICMP && left >= ICMP_LEN) behind = decodeIcmp(bytes, at, layers);
  else if (protocol === PROTO_ICMPV6 && left >= ICMP_LEN) behind = decodeIcmp6(bytes, at, end, layers);
  payload(bytes, behind, end, layers);
}

function decodeTcp(bytes: Uint8Array, at: number, end: number, layers: Layer[]): number {
  const headerLength = tcpHeaderLength(bytes, at);
  const header = headerLength < TCP_LEN || at + headerLength > end ? TCP_LEN : headerLength;
  layers.push({
    layer: 'tcp',
    sport: tcpSrcPort(bytes, at),
    dport: tcpDstPort(bytes, at),
    seq: tcpSequence(bytes, at) >>> 0,
    ack: tcpAcknowledgment(bytes, at) >>> 0,
    headerLength,
    flags: tcpFlagLetters(tcpFlags(bytes, at)),
    window: tcpWindow(bytes, at),
    checksum: tcpChecksum(bytes, at),
    urgent: tcpUrgent(bytes, at),
    options: readTcpOptions(bytes.slice(at + TCP_LEN, at + header)),
  });
  return at + header;
}

function readTcpOptions(bytes: Uint8Array): TcpOptions {
  const options: TcpOptions = {};
  for (let at = 0; at < bytes.length && bytes[at] !== TCP_OPT_END; ) {
    const kind = bytes[at]!;
    const length = kind === TCP_OPT_NOP ? 1 : (bytes[at + 1] ?? 0);
    // A broken list ends here, as in every TCP (RFC 9293 §3.2).
    if (length === 0 || at + length > bytes.length) break;
    if (kind === TCP_OPT_MSS && length === 4) options.mss = get16(bytes, at + 2);
    if (kind === TCP_OPT_WINDOW_SCALE && length === 3) options.wscale = bytes[at + 2]!;
    if (kind === TCP_OPT_SACK_PERMITTED && length === 2) options.sackPermitted = true;
    if (kind === TCP_OPT_TIMESTAMPS && length === 10)
      options.timestamps = [get32(bytes, at + 2) >>> 0, get32(bytes, at + 6) >>> 0];
    if (kind === TCP_OPT_SACK && length % 8 === 2) {
      const blocks = (length - 2) / 8;
      options.sack = Array.from({ length: blocks }, (_, i) => {
        const block = at + 2 + 8 * i;
        return [get32(bytes, block) >>> 0, get32(bytes, block + 4) >>> 0] as const;
      });
    }
    at += length;
  }
  return Buffer.compare(tcpOptions(options), bytes) === 0 ? options : { ...options, raw: bytes };
}

function decodeIcmp(bytes: Uint8Array, at: number, layers: Layer[]): number {
  const type = nameOf(ICMP_TYPES, icmpType(bytes, at));
  const rest = get32(bytes, at + 4) >>> 0;
  layers.push({
    layer: 'icmp',
    type,
    code: icmpCode(bytes, at),
    checksum: icmpChecksum(bytes, at),
    ...(type === 'echo-request' || type === 'echo-reply'
      ? { id: icmpIdentifier(bytes, at), seq: icmpSequence(bytes, at) }
      : type === 'unreachable' && icmpCode(bytes, at) === 4 && rest <= 0xffff
        ? { mtu: rest }
        : { rest }),
  });
  return at + ICMP_LEN;
}

function decodeIcmp6(bytes: Uint8Array, at: number, end: number, layers: Layer[]): number {
  const type = nameOf(ICMP6_TYPES, icmpType(bytes, at));
  const rest = get32(bytes, at + 4);
  const common = {
    layer: 'icmp6',
    type,
    code: icmpCode(bytes, at),
    checksum: icmpChecksum(bytes, at),
  } as const;
  const isAdvertisement = type === 'neighbor-advertisement';
  if ((isAdvertisement || type === 'neighbor-solicitation') && end - at >= ND_NS_LEN) {
    const option = at + ND_NS_LEN;
    const wanted = isAdvertisement ? ND_OPT_TARGET_LLA : ND_OPT_SOURCE_LLA;
    const has = end - option >= ND_OPT_LLA_LEN && bytes[option] === wanted && bytes[option + 1] === 1;
    const flags = {
      router: (rest & ND_NA_ROUTER) !== 0,
      solicited: (rest & ND_NA_SOLICITED) !== 0,
      override: (rest & ND_NA_OVERRIDE) !== 0,
    };
    const reserved = rest & ~(ND_NA_ROUTER | ND_NA_SOLICITED | ND_NA_OVERRIDE);
    layers.push({
      ...common,
      target: ipv6At(bytes, at + ND_TARGET),
      linkLayer: has ? formatMac(ndOptionMacHi(bytes, option), ndOptionMacLo(bytes, option)) : null,
      ...(isAdvertisement && flags),
      ...((reserved !== 0 || (rest !== 0 && !isAdvertisement)) && { rest: rest >>> 0 }),
    });
    return has ? option + ND_OPT_LLA_LEN : option;
  }
  const own =
    type === 'echo-request' || type === 'echo-reply'
      ? { id: icmpIdentifier(bytes, at), seq: icmpSequence(bytes, at) }
      : type === 'packet-too-big'
        ? { mtu: rest >>> 0 }
        : { rest: rest >>> 0 };
  layers.push({ ...common, ...own });
  return at + ICMP_LEN;
}

function payload(bytes: Uint8Array, from: number, to: number, layers: Layer[]): void {
  if (to > from) layers.push({ layer: 'payload', data: bytes.slice(from, to) });
}

function ipv6At(bytes: Uint8Array, at: number): string {
  return formatIpv6(get32(bytes, at), get32(bytes, at + 4), get32(bytes, at + 8), get32(bytes, at + 12));
}
