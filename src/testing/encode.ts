import { ARP_LEN, writeArp } from '../../wire/arp.ts';
import { set16, set32 } from '../../wire/bytes.ts';
import { checksum, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_MIN,
  ETHERTYPE_VLAN,
  writeEthernet,
} from '../../wire/ethernet.ts';
import { ICMP_CHECKSUM, ICMP_LEN, writeIcmp } from '../../wire/icmp.ts';
import { IPV4_CHECKSUM, IPV4_DF, IPV4_DST, IPV4_LEN, IPV4_MF, IPV4_SRC, writeIpv4 } from '../../wire/ipv4.ts';
import {
  IPV6_FRAG_LEN,
  IPV6_LEN,
  IPV6_NO_NEXT,
  IPV6_OPT_PADN,
  setIpv6Address,
  setIpv6Dst,
  setIpv6Src,
  writeIpv6,
  writeIpv6Fragment,
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
  writeNdMacOption,
} from '../../wire/nd.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  TCP_CHECKSUM,
  TCP_LEN,
  TCP_OPT_MSS,
  TCP_OPT_NOP,
  TCP_OPT_SACK,
  TCP_OPT_SACK_PERMITTED,
  TCP_OPT_TIMESTAMPS,
  TCP_OPT_WINDOW_SCALE,
  TCP_URGENT,
  writeTcp,
} from '../../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_LEN, writeUdp } from '../../wire/udp.ts';
import { VLAN_LEN, vlanTci } from '../../wire/vlan.ts';
import { ipv4, ipv6, mac } from './address-text.ts';
import {
  ARP_OPERATIONS,
  type ExtensionFields,
  ICMP_TYPES,
  ICMP6_TYPES,
  type Icmp6Fields,
  type IcmpFields,
  type IpFields,
  numberOf,
  type PartialLayer,
  PROTOCOL_OF,
  type TcpFields,
  type TcpOptions,
  tcpFlagBits,
  type VlanFields,
} from './layer.ts';

const NOTHING = new Uint8Array(0);

/**
 * The bytes of layers. Lengths, types, next headers and checksums follow from what stands behind, unless they are given;
 * addresses are given.
 * @throws TypeError when an address or a name is none
 */
export function encode(layers: readonly PartialLayer[]): Uint8Array {
  let body: Uint8Array = NOTHING;
  let padding: Uint8Array = NOTHING;
  for (const [i, layer] of [...layers.entries()].reverse()) {
    // Lengths do not count what stands behind the packet.
    if (layer.layer === 'padding') padding = layer.data ?? NOTHING;
    else body = encodeLayer(layers, i, body);
  }
  return concat(body, padding);
}

function encodeLayer(layers: readonly PartialLayer[], i: number, body: Uint8Array): Uint8Array {
  const layer = layers[i]!;
  const next = layers[i + 1];
  switch (layer.layer) {
    case 'eth': {
      const header = new Uint8Array(ETH_LEN);
      const dst = mac(layer.dst!);
      const src = mac(layer.src!);
      // Without a type that is known: a length, as IEEE 802.3 has it.
      const type = layer.type ?? etherTypeOf(next) ?? Math.min(body.length, ETHERTYPE_MIN - 1);
      writeEthernet(header, 0, dst.hi, dst.lo, src.hi, src.lo, type);
      return concat(header, body);
    }
    case 'vlan':
      return concat(vlan(layer, layer.type ?? etherTypeOf(next) ?? body.length), body);
    case 'arp': {
      const header = new Uint8Array(ARP_LEN);
      const sha = mac(layer.sha!);
      const tha = mac(layer.tha!);
      const op = numberOf(ARP_OPERATIONS, layer.op ?? 'who-has', 'ARP operation');
      writeArp(header, 0, op, sha.hi, sha.lo, ipv4(layer.spa!), tha.hi, tha.lo, ipv4(layer.tpa!));
      return concat(header, body);
    }
    case 'ip':
      return concat(ip(layer, protocolOf(next) ?? 0, body.length), body);
    case 'ip6': {
      const header = new Uint8Array(IPV6_LEN);
      const {
        version = 6,
        trafficClass = 0,
        flowLabel = 0,
        length = body.length,
        next: following = protocolOf(next) ?? IPV6_NO_NEXT,
        hopLimit = 64,
      } = layer;
      writeIpv6(header, 0, length, following, hopLimit, trafficClass, flowLabel);
      header[0] = (version << 4) | (header[0]! & 0x0f);
      setIpv6Src(header, 0, ...ipv6(layer.src!));
      setIpv6Dst(header, 0, ...ipv6(layer.dst!));
      return concat(header, body);
    }
    case 'hopByHop':
    case 'routing':
    case 'destination':
      return concat(extension(layer, protocolOf(next) ?? IPV6_NO_NEXT, layer.layer !== 'routing'), body);
    case 'fragment': {
      const { next: following = protocolOf(next) ?? IPV6_NO_NEXT, offset = 0, more = false, id = 1 } = layer;
      const header = new Uint8Array(IPV6_FRAG_LEN);
      writeIpv6Fragment(header, 0, following, offset, more, id);
      return concat(header, body);
    }
    case 'tcp':
      return tcp(layer, layers.slice(0, i), body);
    case 'udp': {
      const { sport = 49152, dport = 0, length = UDP_LEN + body.length } = layer;
      const datagram = concat(new Uint8Array(UDP_LEN), body);
      writeUdp(datagram, 0, sport, dport, length);
      return finish(layers.slice(0, i), PROTO_UDP, datagram, layer.checksum);
    }
    case 'icmp':
      return icmp(layer, body);
    case 'icmp6':
      return finish(layers.slice(0, i), PROTO_ICMPV6, icmp6(layer, body), layer.checksum);
    case 'payload':
    case 'padding':
      return concat(layer.data ?? NOTHING, body);
  }
}

function etherTypeOf(next: PartialLayer | undefined): number | undefined {
  switch (next?.layer) {
    case 'arp':
      return ETHERTYPE_ARP;
    case 'ip':
      return ETHERTYPE_IPV4;
    case 'ip6':
      return ETHERTYPE_IPV6;
    case 'vlan':
      return next.tpid ?? ETHERTYPE_VLAN;
    default:
      return undefined;
  }
}

function protocolOf(next: PartialLayer | undefined): number | undefined {
  return next && PROTOCOL_OF[next.layer];
}

function vlan(layer: Partial<VlanFields>, type: number): Uint8Array {
  const { id = 0, priority = 0, dropEligible = false } = layer;
  const header = new Uint8Array(VLAN_LEN);
  // The layer before has written the tag protocol identifier as its type.
  set16(header, 0, vlanTci(id, priority, dropEligible));
  set16(header, 2, type);
  return header;
}

function ip(layer: Partial<IpFields>, next: number, bodyLength: number): Uint8Array {
  const {
    version = 4,
    tos = 0,
    id = 0,
    df = false,
    mf = false,
    offset = 0,
    ttl = 64,
    protocol = next,
  } = layer;
  const options = layer.options ?? NOTHING;
  const header = new Uint8Array((IPV4_LEN + options.length + 3) & ~3);
  const { headerLength = header.length, length = header.length + bodyLength } = layer;
  const fragment = (df ? IPV4_DF : 0) | (mf ? IPV4_MF : 0) | (offset >> 3);
  writeIpv4(header, 0, length, protocol, ttl, ipv4(layer.src!), ipv4(layer.dst!), id, fragment, tos);
  header[0] = (version << 4) | (headerLength >> 2);
  header.set(options, IPV4_LEN);
  set16(header, IPV4_CHECKSUM, 0);
  set16(header, IPV4_CHECKSUM, layer.checksum ?? checksum(header, 0, header.length));
  return header;
}

function extension(layer: Partial<ExtensionFields>, following: number, isOptions: boolean): Uint8Array {
  const data = layer.data ?? NOTHING;
  const header = new Uint8Array((2 + data.length + 7) & ~7);
  header[0] = layer.next ?? following;
  header[1] = layer.length ?? header.length / 8 - 1;
  header.set(data, 2);
  const left = header.length - 2 - data.length;
  // One byte is Pad1, which is 0; more are PadN (RFC 8200 §4.2).
  if (isOptions && left > 1) {
    header[2 + data.length] = IPV6_OPT_PADN;
    header[2 + data.length + 1] = left - 2;
  }
  return header;
}

function tcp(layer: Partial<TcpFields>, before: readonly PartialLayer[], body: Uint8Array): Uint8Array {
  const { sport = 49152, dport = 0, seq = 0, ack = 0, flags = 'S', window = 65535, urgent = 0 } = layer;
  const options = tcpOptions(layer.options ?? {});
  const { headerLength = TCP_LEN + options.length } = layer;
  const segment = concat(new Uint8Array(TCP_LEN), options, body);
  writeTcp(segment, 0, sport, dport, seq, ack, tcpFlagBits(flags), window, headerLength);
  set16(segment, TCP_URGENT, urgent);
  return finish(before, PROTO_TCP, segment, layer.checksum);
}

/** Options in the order and with the padding of Linux, so that a SYN looks like a real one. */
export function tcpOptions(options: TcpOptions): Uint8Array {
  const { mss, wscale, sackPermitted = false, sack, timestamps, raw } = options;
  const bytes: number[] = [];
  if (raw) bytes.push(...raw);
  else {
    if (mss !== undefined) bytes.push(TCP_OPT_MSS, 4, mss >> 8, mss & 0xff);
    if (sackPermitted && !timestamps) bytes.push(TCP_OPT_NOP, TCP_OPT_NOP);
    if (sackPermitted) bytes.push(TCP_OPT_SACK_PERMITTED, 2);
    if (timestamps) {
      if (!sackPermitted) bytes.push(TCP_OPT_NOP, TCP_OPT_NOP);
      bytes.push(TCP_OPT_TIMESTAMPS, 10, ...timestamps.flatMap(word));
    }
    if (wscale !== undefined) bytes.push(TCP_OPT_NOP, TCP_OPT_WINDOW_SCALE, 3, wscale);
    if (sack)
      bytes.push(TCP_OPT_NOP, TCP_OPT_NOP, TCP_OPT_SACK, 2 + 8 * sack.length, ...sack.flat().flatMap(word));
  }
  while (bytes.length % 4 !== 0) bytes.push(0);
  return Uint8Array.from(bytes);
}

function word(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function icmp(layer: Partial<IcmpFields>, body: Uint8Array): Uint8Array {
  const { type = 'echo-request', code = 0 } = layer;
  const message = concat(new Uint8Array(ICMP_LEN), body);
  writeIcmp(message, 0, numberOf(ICMP_TYPES, type, 'ICMP type'), code, restOf(layer));
  return finish([], PROTO_ICMP, message, layer.checksum);
}

/** The second word: of echoes identifier and sequence number, of errors about a size the size. */
function restOf({ rest, id, seq, mtu }: Partial<IcmpFields | Icmp6Fields>): number {
  return rest ?? mtu ?? ((id ?? 0) << 16) | ((seq ?? 0) & 0xffff);
}

function icmp6(layer: Partial<Icmp6Fields>, body: Uint8Array): Uint8Array {
  const { code = 0, target, linkLayer, router = false, solicited = false, override = false } = layer;
  const type = numberOf(ICMP6_TYPES, layer.type ?? 'echo-request', 'ICMPv6 type');
  const flags =
    (router ? ND_NA_ROUTER : 0) | (solicited ? ND_NA_SOLICITED : 0) | (override ? ND_NA_OVERRIDE : 0);
  const own = target === undefined ? ICMP_LEN : ND_NS_LEN + (linkLayer ? ND_OPT_LLA_LEN : 0);
  const message = concat(new Uint8Array(own), body);
  writeIcmp(message, 0, type, code, layer.rest ?? (target === undefined ? restOf(layer) : flags));
  if (target === undefined) return message;
  setIpv6Address(message, ND_TARGET, ...ipv6(target));
  if (linkLayer) {
    const { hi, lo } = mac(linkLayer);
    const option = type === ICMP6_TYPES['neighbor-solicitation'] ? ND_OPT_SOURCE_LLA : ND_OPT_TARGET_LLA;
    writeNdMacOption(message, ND_NS_LEN, option, hi, lo);
  }
  return message;
}

/** Where the checksum is in the transport header. */
const CHECKSUM_AT: Readonly<Record<number, number>> = {
  [PROTO_ICMP]: ICMP_CHECKSUM,
  [PROTO_ICMPV6]: ICMP_CHECKSUM,
  [PROTO_TCP]: TCP_CHECKSUM,
  [PROTO_UDP]: UDP_CHECKSUM,
};

/**
 * A copy of a message with its checksum in place; of protocols without one, and of what is too short for one, just a copy.
 * @param before layers in front of it, an IP layer with its addresses among them
 */
export function withChecksum(
  before: readonly PartialLayer[],
  protocol: number,
  message: Uint8Array,
): Uint8Array {
  const at = CHECKSUM_AT[protocol];
  const copy = message.slice();
  return at === undefined || copy.length < at + 2 ? copy : finish(before, protocol, copy, undefined);
}

/** Writes the checksum of a transport header, in place. */
function finish(
  before: readonly PartialLayer[],
  protocol: number,
  message: Uint8Array,
  given: number | undefined,
): Uint8Array {
  const at = CHECKSUM_AT[protocol]!;
  set16(message, at, 0);
  const check = checksum(message, 0, message.length, pseudoSum(before, protocol, message.length));
  // Of UDP 0 would mean "none", and 0xffff is the same number (RFC 768).
  set16(message, at, given ?? (check === 0 && protocol === PROTO_UDP ? 0xffff : check));
  return message;
}

/** Of the pseudo-header that the nearest IP layer gives; 0 without one, and for ICMP, which has none. */
function pseudoSum(before: readonly PartialLayer[], protocol: number, length: number): number {
  const layer = before.findLast((each) => each.layer === 'ip' || each.layer === 'ip6');
  if (!layer || protocol === PROTO_ICMP) return 0;
  const header = new Uint8Array(IPV6_LEN);
  if (layer.layer === 'ip') {
    set32(header, IPV4_SRC, ipv4(layer.src!));
    set32(header, IPV4_DST, ipv4(layer.dst!));
    return pseudoSumIpv4(header, 0, protocol, length);
  }
  setIpv6Src(header, 0, ...ipv6(layer.src!));
  setIpv6Dst(header, 0, ...ipv6(layer.dst!));
  return pseudoSumIpv6(header, 0, protocol, length);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
