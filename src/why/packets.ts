/** Frames as the kernel of a station writes them. */
import {
  MAC_BROADCAST_HI,
  MAC_BROADCAST_LO,
  MAC_IPV6_MULTICAST_HI,
  type Mac,
  SOLICITED_NODE_W0,
  SOLICITED_NODE_W1,
  SOLICITED_NODE_W2,
  solicitedNodeW3,
} from '../../wire/address.ts';
import { ARP_LEN, ARP_REPLY, ARP_REQUEST, writeArp } from '../../wire/arp.ts';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  writeEthernet,
} from '../../wire/ethernet.ts';
import { fillIcmpChecksum, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, writeIcmp } from '../../wire/icmp.ts';
import {
  fillIcmpv6Checksum,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  writeIcmpv6,
} from '../../wire/icmpv6.ts';
import { IPV4_DF, IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_LEN, setIpv6Dst, setIpv6Src, writeIpv6 } from '../../wire/ipv6.ts';
import {
  ND_HOP_LIMIT,
  ND_NA_LEN,
  ND_NA_OVERRIDE,
  ND_NA_SOLICITED,
  ND_NS_LEN,
  ND_OPT_LLA_LEN,
  ND_OPT_SOURCE_LLA,
  ND_OPT_TARGET_LLA,
  writeNdMacOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
} from '../../wire/nd.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { TCP_LEN, writeTcp } from '../../wire/tcp.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import { UDP_LEN, writeUdp } from '../../wire/udp.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';
import type { Address } from './question.ts';

const TTL = 64;

/** Who sends a packet to whom. */
export interface Ends {
  srcMac: Mac;
  dstMac: Mac;
  src: Address;
  dst: Address;
}

/** A frame parsed where it lies; null for one that `wire/` does not understand. */
export function parsed(frame: Uint8Array): Packet | null {
  const bytes = new Uint8Array(VNET_LEN + frame.length);
  bytes.set(frame, VNET_LEN);
  const packet = new Packet(bytes);
  packet.at = VNET_LEN;
  packet.length = frame.length;
  return parse(packet) === 0 ? packet : null;
}

/** Everybody is asked for the MAC of an address. */
export function neighborQuestion(mac: Mac, own: Address, target: Address): Uint8Array {
  if (target.length === 1) {
    const frame = new Uint8Array(ETH_LEN + ARP_LEN);
    const l3 = writeEthernet(frame, 0, MAC_BROADCAST_HI, MAC_BROADCAST_LO, mac.hi, mac.lo, ETHERTYPE_ARP);
    writeArp(frame, l3, ARP_REQUEST, mac.hi, mac.lo, own[0]!, 0, 0, target[0]!);
    return frame;
  }
  const w3 = solicitedNodeW3(target[3]!);
  const group = [SOLICITED_NODE_W0, SOLICITED_NODE_W1, SOLICITED_NODE_W2, w3];
  const ends = { srcMac: mac, dstMac: { hi: MAC_IPV6_MULTICAST_HI, lo: w3 }, src: own, dst: group };
  return discovery(ends, ND_NS_LEN, ND_OPT_SOURCE_LLA, (frame, at) =>
    writeNeighborSolicitation(frame, at, ...words(target)),
  );
}

/** The owner of an address tells who asked. */
export function neighborAnswer(ends: Ends): Uint8Array {
  const { srcMac, dstMac, src, dst } = ends;
  if (src.length === 1) {
    const frame = new Uint8Array(ETH_LEN + ARP_LEN);
    const l3 = writeEthernet(frame, 0, dstMac.hi, dstMac.lo, srcMac.hi, srcMac.lo, ETHERTYPE_ARP);
    writeArp(frame, l3, ARP_REPLY, srcMac.hi, srcMac.lo, src[0]!, dstMac.hi, dstMac.lo, dst[0]!);
    return frame;
  }
  return discovery(ends, ND_NA_LEN, ND_OPT_TARGET_LLA, (frame, at) =>
    writeNeighborAdvertisement(frame, at, ND_NA_SOLICITED | ND_NA_OVERRIDE, ...words(src)),
  );
}

function discovery(
  ends: Ends,
  length: number,
  option: number,
  write: (frame: Uint8Array, at: number) => number,
): Uint8Array {
  const total = length + ND_OPT_LLA_LEN;
  const { frame, l4 } = packet(ends, PROTO_ICMPV6, total, ND_HOP_LIMIT);
  const at = write(frame, l4);
  writeNdMacOption(frame, at, option, ends.srcMac.hi, ends.srcMac.lo);
  fillIcmpv6Checksum(frame, ETH_LEN, l4, total);
  return frame;
}

export function echo(ends: Ends, isReply: boolean, identifier: number, data: Uint8Array): Uint8Array {
  const isIpv4 = ends.src.length === 1;
  const length = 8 + data.length;
  const { frame, l4 } = packet(ends, isIpv4 ? PROTO_ICMP : PROTO_ICMPV6, length);
  frame.set(data, l4 + 8);
  const rest = (identifier << 16) | 1;
  if (isIpv4) {
    writeIcmp(frame, l4, isReply ? ICMP_ECHO_REPLY : ICMP_ECHO_REQUEST, 0, rest);
    fillIcmpChecksum(frame, l4, length);
  } else {
    writeIcmpv6(frame, l4, isReply ? ICMPV6_ECHO_REPLY : ICMPV6_ECHO_REQUEST, 0, rest);
    fillIcmpv6Checksum(frame, ETH_LEN, l4, length);
  }
  return frame;
}

export function datagram(ends: Ends, from: number, to: number, data: Uint8Array): Uint8Array {
  const { frame, l4 } = packet(ends, PROTO_UDP, UDP_LEN + data.length);
  writeUdp(frame, l4, from, to, UDP_LEN + data.length);
  frame.set(data, l4 + UDP_LEN);
  return finished(frame);
}

/** What a segment says beside its ports. */
export interface Segment {
  sequence: number;
  acknowledgment: number;
  flags: number;
  data: Uint8Array;
}

export function segment(ends: Ends, from: number, to: number, what: Segment): Uint8Array {
  const { sequence, acknowledgment, flags, data } = what;
  const { frame, l4 } = packet(ends, PROTO_TCP, TCP_LEN + data.length);
  writeTcp(frame, l4, from, to, sequence, acknowledgment, flags, 65535);
  frame.set(data, l4 + TCP_LEN);
  return finished(frame);
}

function packet(
  { srcMac, dstMac, src, dst }: Ends,
  protocol: number,
  length: number,
  ttl = TTL,
): { frame: Uint8Array; l4: number } {
  const isIpv4 = src.length === 1;
  const frame = new Uint8Array(ETH_LEN + (isIpv4 ? IPV4_LEN : IPV6_LEN) + length);
  const type = isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
  const l3 = writeEthernet(frame, 0, dstMac.hi, dstMac.lo, srcMac.hi, srcMac.lo, type);
  if (isIpv4) {
    return {
      frame,
      l4: writeIpv4(frame, l3, IPV4_LEN + length, protocol, ttl, src[0]!, dst[0]!, 0, IPV4_DF),
    };
  }
  const l4 = writeIpv6(frame, l3, length, protocol, ttl);
  setIpv6Src(frame, l3, ...words(src));
  setIpv6Dst(frame, l3, ...words(dst));
  return { frame, l4 };
}

/** With the checksum of its transport. */
function finished(frame: Uint8Array): Uint8Array {
  const whole = parsed(frame)!;
  fillTransportChecksum(whole);
  return whole.bytes.subarray(VNET_LEN);
}

function words(address: Address): [number, number, number, number] {
  return [address[0]!, address[1]!, address[2]!, address[3]!];
}
