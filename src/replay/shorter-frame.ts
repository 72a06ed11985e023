import { get16 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { fillIpv4Checksum, ipv4HeaderLength, setIpv4TotalLength } from '../../wire/ipv4.ts';
import { IPV6_LEN, setIpv6PayloadLength } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_UDP } from '../../wire/protocol.ts';
import { checksumOffset, fillTransportChecksum, transportChecksumOk } from '../../wire/transport.ts';
import { setUdpLength } from '../../wire/udp.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';

/** The same frame with less in it, the boldest first: for whoever looks for the smallest that still shows something. */
export function shorterFrames(frame: Uint8Array): Uint8Array[] {
  const candidates: Uint8Array[] = [];
  const { packet, fault } = parsed(frame);
  if (fault === Malformed.NONE) {
    const { end, payload, l4 } = packet;
    if (l4 > 0 && payload > l4 && payload < end) {
      candidates.push(withPayload(frame, 0), withPayload(frame, Math.min(8, end - payload)));
    }
    // Ethernet padding, and whatever else lies behind the packet.
    if (packet.protocol >= 0 && end < VNET_LEN + frame.length)
      candidates.push(frame.slice(0, end - VNET_LEN));
  }
  // Damaged in its headers: only its length can be less.
  else
    for (let length = frame.length >> 1; length >= 1; length >>= 1)
      candidates.push(frame.slice(0, frame.length - length));
  const blank = withBlankPayload(frame);
  if (blank) candidates.push(blank);
  return candidates;
}

/** The frame in a packet of its own, with room for a virtio-net header in front. */
function parsed(frame: Uint8Array): { packet: Packet; fault: Malformed } {
  const bytes = new Uint8Array(VNET_LEN + frame.length);
  bytes.set(frame, VNET_LEN);
  const packet = new Packet(bytes);
  packet.at = VNET_LEN;
  packet.length = frame.length;
  return { packet, fault: parse(packet) };
}

/** With `length` bytes of its payload, and right lengths and checksums where they were right. */
function withPayload(frame: Uint8Array, length: number): Uint8Array {
  const { packet } = parsed(frame);
  const isRight = checksumOffset(packet) >= 0 && transportChecksumOk(packet);
  const { bytes, l3, l4, payload, etherType, protocol } = packet;
  const end = payload + length;
  if (protocol === PROTO_UDP) setUdpLength(bytes, l4, end - l4);
  if (etherType === ETHERTYPE_IPV4) {
    const wasRight = ipv4HeaderIsRight(bytes, l3);
    setIpv4TotalLength(bytes, l3, end - l3);
    if (wasRight) fillIpv4Checksum(bytes, l3);
  } else if (etherType === ETHERTYPE_IPV6) setIpv6PayloadLength(bytes, l3, end - l3 - IPV6_LEN);
  packet.length = end - VNET_LEN;
  packet.end = end;
  if (isRight) fillTransportChecksum(packet);
  return bytes.slice(VNET_LEN, end);
}

/** With zeros for payload; undefined when there is none, or it is that already. */
function withBlankPayload(frame: Uint8Array): Uint8Array | undefined {
  const { packet, fault } = parsed(frame);
  const { bytes, payload, end, l4 } = packet;
  if (fault !== Malformed.NONE || l4 === 0 || payload <= l4) return undefined;
  if (bytes.subarray(payload, end).every((byte) => byte === 0)) return undefined;
  const isRight = checksumOffset(packet) >= 0 && transportChecksumOk(packet);
  bytes.fill(0, payload, end);
  if (isRight) fillTransportChecksum(packet);
  return bytes.slice(VNET_LEN);
}

function ipv4HeaderIsRight(bytes: Uint8Array, l3: number): boolean {
  let sum = 0;
  for (let at = l3; at < l3 + ipv4HeaderLength(bytes, l3); at += 2) sum += get16(bytes, at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff;
}
