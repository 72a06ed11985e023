import { IPV4_MAPPED } from '../../nat/tuple.ts';
import type { Frame } from '../../switch/frame.ts';
import { Action, LENGTH_BITS, NAME_BYTES, Piece, ROW_ARGUMENTS } from '../../switch/trace.ts';
import { arpOper, arpShaHi, arpShaLo, arpSpa, arpTpa } from '../../wire/arp.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import {
  DHCP_CLIENT_PORT,
  DHCP_COOKIE,
  DHCP_LEN,
  DHCP_MAGIC,
  DHCP_SERVER_PORT,
  DHCP_YIADDR,
  dhcpMessageType,
} from '../../wire/dhcp.ts';
import { DNS_ANCOUNT, DNS_FLAGS, DNS_LEN, DNS_PORT, DNS_QDCOUNT, skipPlainDnsName } from '../../wire/dns.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACHABLE,
  icmpMtu,
  icmpSequence,
} from '../../wire/icmp.ts';
import {
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_REDIRECT,
  icmpv6Mtu,
  icmpv6Sequence,
  isIcmpv6Echo,
} from '../../wire/icmpv6.ts';
import { IPV4_DST, IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_SRC } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { ndLength, ndTarget } from '../../wire/nd.ts';
import { Packet } from '../../wire/packet.ts';
import { parseEthernet, parseNetwork } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { tcpFlags } from '../../wire/tcp.ts';
import { udpDstPort, udpSrcPort } from '../../wire/udp.ts';
import { gsoSize, gsoType, VNET_GSO_NONE, VNET_LEN } from '../../wire/virtio-net.ts';

/** Arguments that `Ends.write` writes. */
const WORDS = 10;
/** Arguments of a row. */
const ALL = 11;

/**
 * Reads whom a frame is from and for into a row, and what it says, however broken it is: what cannot be read is 0. It has a
 * description of the frame of its own, because the frame's may be of the one before it in the slot, and must not change by being
 * looked at.
 */
export class Ends {
  readonly #packet: Packet;

  constructor(bytes: Uint8Array) {
    this.#packet = new Packet(bytes);
  }

  /** Writes the arguments a0 to a9 (ENDS of `switch/trace.ts`). */
  write(frame: Frame, row: Int32Array): void {
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + WORDS);
    const packet = this.#packet;
    packet.at = frame.at;
    packet.length = frame.length;
    if (parseEthernet(packet) !== Malformed.NONE) return;
    const { bytes, l3, etherType } = packet;
    row[ROW_ARGUMENTS + 9] = etherType;
    if (parseNetwork(packet) !== Malformed.NONE) return;
    switch (etherType) {
      case ETHERTYPE_IPV4:
        writeIpv4(row, 0, get32(bytes, l3 + IPV4_SRC));
        writeIpv4(row, 4, get32(bytes, l3 + IPV4_DST));
        break;
      case ETHERTYPE_IPV6:
        for (let i = 0; i < 4; i++) {
          row[ROW_ARGUMENTS + i] = get32(bytes, l3 + IPV6_SRC + 4 * i);
          row[ROW_ARGUMENTS + 4 + i] = get32(bytes, l3 + IPV6_DST + 4 * i);
        }
        break;
      case ETHERTYPE_ARP:
        writeIpv4(row, 0, arpSpa(bytes, l3));
        writeIpv4(row, 4, arpTpa(bytes, l3));
        row[ROW_ARGUMENTS] = arpShaHi(bytes, l3);
        row[ROW_ARGUMENTS + 1] = arpShaLo(bytes, l3);
        row[ROW_ARGUMENTS + 8] = arpOper(bytes, l3);
        return;
      default:
        return;
    }
    const { protocol, l4, moreFragments } = packet;
    const piece = l4 === 0 ? Piece.LATER : moreFragments ? Piece.FIRST : Piece.WHOLE;
    const more = l4 !== 0 && protocol === PROTO_TCP ? tcpFlags(bytes, l4) : piece;
    row[ROW_ARGUMENTS + 9] = etherType | ((protocol & 0xff) << 16) | (more << 24);
    if (l4 === 0) return;
    switch (protocol) {
      case PROTO_TCP:
      case PROTO_UDP:
        row[ROW_ARGUMENTS + 8] = get32(bytes, l4);
        break;
      case PROTO_ICMP:
      case PROTO_ICMPV6:
        row[ROW_ARGUMENTS + 8] = get16(bytes, l4) | (numberOf(packet) << 16);
        break;
    }
  }

  /** Of the frame written last: its length, and what of that is no payload, as RECEIVED has them. */
  get lengths(): number {
    const { length, protocol, l4, payload, end } = this.#packet;
    if (l4 === 0 || (protocol !== PROTO_TCP && protocol !== PROTO_UDP)) return length;
    const rest = length - (end - payload);
    return rest >>> (32 - LENGTH_BITS) === 0 ? length | (rest << LENGTH_BITS) : length;
  }

  /** Writes into how many segments the frame written last is to be cut (UNCUT); false when it is a single one. */
  writeSegments(row: Int32Array): boolean {
    const { bytes, at, payload, end, l4 } = this.#packet;
    const size = gsoType(bytes, at - VNET_LEN) === VNET_GSO_NONE ? 0 : gsoSize(bytes, at - VNET_LEN);
    if (size === 0 || l4 === 0) return false;
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + ALL);
    row[ROW_ARGUMENTS] = Math.ceil((end - payload) / size);
    row[ROW_ARGUMENTS + 1] = size;
    return true;
  }

  /**
   * Writes what the message of the frame written last says, where it is one that speaks of others than its ends. Answers the action
   * of the row, or -1 when there is nothing to say.
   */
  writeMessage(row: Int32Array): Action | -1 {
    const { protocol, l4, etherType, moreFragments } = this.#packet;
    if (l4 === 0 || moreFragments) return -1;
    if (protocol === PROTO_UDP) return this.#writeDatagram(row);
    if (protocol === PROTO_ICMPV6 && etherType === ETHERTYPE_IPV6) return this.#writeTarget(row);
    return -1;
  }

  #writeTarget(row: Int32Array): Action | -1 {
    const { bytes, l4, end } = this.#packet;
    const type = bytes[l4]!;
    const isTargeted =
      type === ICMPV6_NEIGHBOR_SOLICITATION ||
      type === ICMPV6_NEIGHBOR_ADVERTISEMENT ||
      type === ICMPV6_REDIRECT;
    if (!isTargeted || l4 + ndLength(type) > end) return -1;
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + ALL);
    for (let i = 0; i < 4; i++) row[ROW_ARGUMENTS + i] = ndTarget(bytes, l4, i);
    return Action.TARGET;
  }

  #writeDatagram(row: Int32Array): Action | -1 {
    const { bytes, l4, payload, end } = this.#packet;
    const from = udpSrcPort(bytes, l4);
    const to = udpDstPort(bytes, l4);
    if (from === DNS_PORT || to === DNS_PORT) return this.#writeQuestion(row);
    const isDhcp =
      (from === DHCP_CLIENT_PORT || from === DHCP_SERVER_PORT) &&
      (to === DHCP_SERVER_PORT || to === DHCP_CLIENT_PORT);
    if (!isDhcp || end - payload < DHCP_LEN || get32(bytes, payload + DHCP_COOKIE) !== DHCP_MAGIC) return -1;
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + ALL);
    row[ROW_ARGUMENTS] = dhcpMessageType(bytes, payload, end);
    row[ROW_ARGUMENTS + 1] = get32(bytes, payload + DHCP_YIADDR);
    return Action.DHCP;
  }

  #writeQuestion(row: Int32Array): Action | -1 {
    const { bytes, payload, end } = this.#packet;
    const name = payload + DNS_LEN;
    if (name > end || get16(bytes, payload + DNS_QDCOUNT) !== 1) return -1;
    const behind = skipPlainDnsName(bytes, name, end);
    if (behind < 0 || behind + 4 > end) return -1;
    row.fill(0, ROW_ARGUMENTS, ROW_ARGUMENTS + ALL);
    row[ROW_ARGUMENTS] = (get16(bytes, payload + DNS_FLAGS) << 16) | get16(bytes, behind);
    row[ROW_ARGUMENTS + 1] = (get16(bytes, payload + DNS_ANCOUNT) << 16) | (behind - name);
    const length = Math.min(behind - name, NAME_BYTES);
    for (let i = 0; i < length; i++) row[ROW_ARGUMENTS + 2 + (i >> 2)]! |= bytes[name + i]! << ((i & 3) << 3);
    return Action.QUESTION;
  }
}

/** The number that tells ICMP messages of one kind apart: an echo's place in its sequence, or the MTU of an error. */
function numberOf({ bytes, l4, protocol }: Packet): number {
  const type = bytes[l4]!;
  if (protocol === PROTO_ICMP) {
    if (type === ICMP_ECHO_REQUEST || type === ICMP_ECHO_REPLY) return icmpSequence(bytes, l4);
    const isMtu = type === ICMP_UNREACHABLE && bytes[l4 + 1] === ICMP_UNREACH_FRAG_NEEDED;
    return isMtu ? icmpMtu(bytes, l4) : 0;
  }
  if (isIcmpv6Echo(type)) return icmpv6Sequence(bytes, l4);
  return type === ICMPV6_PACKET_TOO_BIG ? Math.min(icmpv6Mtu(bytes, l4) >>> 0, 0xffff) : 0;
}

function writeIpv4(row: Int32Array, argument: number, address: number): void {
  row[ROW_ARGUMENTS + argument + 2] = IPV4_MAPPED;
  row[ROW_ARGUMENTS + argument + 3] = address;
}
