/**
 * What a network card does for its host, in software: cutting a GSO frame into the segments or datagrams that it stands
 * for (TSO, USO), and finishing partial checksums. For devices without offload, to which a container's frame of
 * 64 KiB with half a checksum must not go.
 *
 * The order: `segmentCount` says how many there are and whether the frame can be cut at all; then `writeSegment` for
 * each of them. Read RFC 9293 §3.7, RFC 3168 §6.1.2 and Linux's `tcp_gso_segment` before changing a rule.
 */
import { copy, get16, get32, set16, set32 } from './bytes.ts';
import { sum, update16 } from './checksum.ts';
import { ETHERTYPE_IPV4 } from './ethernet.ts';
import { IPV4_CHECKSUM, IPV4_IDENTIFICATION, IPV4_TOTAL_LENGTH } from './ipv4.ts';
import { IPV6_LEN, IPV6_PAYLOAD_LENGTH } from './ipv6.ts';
import { Malformed } from './malformed.ts';
import type { Packet } from './packet.ts';
import { parse } from './parse.ts';
import { PROTO_TCP, PROTO_UDP } from './protocol.ts';
import { TCP_CWR, TCP_DATA_OFFSET, TCP_FIN, TCP_FLAGS, TCP_LEN, TCP_PSH, TCP_SEQUENCE } from './tcp.ts';
import { fillTransportChecksum } from './transport.ts';
import { UDP_CHECKSUM, UDP_LEN, UDP_LENGTH } from './udp.ts';
import {
  checkVnet,
  clearNeedsChecksum,
  clearVnet,
  csumOffset,
  csumStart,
  gsoSize,
  gsoType,
  needsChecksum,
  VNET_GSO_NONE,
  VNET_GSO_UDP_L4,
  VNET_LEN,
} from './virtio-net.ts';

/**
 * How many frames `packet` stands for: 1 for an ordinary frame. 0 means that it cannot be cut, because it or its
 * virtio-net header is malformed. Parses the packet if only `parseEthernet` has seen it.
 */
export function segmentCount(packet: Packet): number {
  const vnet = packet.at - VNET_LEN;
  if (gsoType(packet.bytes, vnet) === VNET_GSO_NONE) return 1;
  if (packet.l4 === 0 && parse(packet) !== Malformed.NONE) return 0;
  if (checkVnet(packet) !== Malformed.NONE) return 0;
  const size = gsoSize(packet.bytes, vnet);
  const payload = packet.end - packet.payload;
  return payload <= size ? 1 : Math.floor((payload + size - 1) / size);
}

/**
 * Length of the longest frame for which `packet` stands: its own, or headers and gso_size. Needs no parse, because a
 * bridge asks this of every frame that is longer than the port's MTU; trusts nothing that it reads.
 */
export function segmentLength(packet: Packet): number {
  const { bytes, at, length } = packet;
  const vnet = at - VNET_LEN;
  const type = gsoType(bytes, vnet);
  if (type === VNET_GSO_NONE) return length;
  if (!needsChecksum(bytes, vnet)) {
    // A GSO frame has a partial checksum (virtio 1.2 §5.1.6.2); without one, only the headers tell.
    if (packet.l4 === 0 && parse(packet) !== Malformed.NONE) return length;
    return Math.min(length, packet.payload - at + gsoSize(bytes, vnet));
  }
  const start = csumStart(bytes, vnet);
  if (start + TCP_LEN > length) return length;
  const header = type === VNET_GSO_UDP_L4 ? UDP_LEN : (bytes[at + start + TCP_DATA_OFFSET] >>> 4) << 2;
  return Math.min(length, start + header + gsoSize(bytes, vnet));
}

/**
 * Writes frame `index` of `segmentCount(packet)` to `target.bytes` at `target.at`: headers adjusted, all checksums
 * finished, the virtio-net header cleared, `target.length` and offsets set. The caller has seen to VNET_LEN bytes in
 * front of `target.at` and `segmentLength(packet)` bytes from it on, which must not overlap `packet`.
 */
export function writeSegment(packet: Packet, index: number, target: Packet): void {
  const { bytes, at } = packet;
  const vnet = at - VNET_LEN;
  if (gsoType(bytes, vnet) === VNET_GSO_NONE) {
    target.length = packet.length;
    copy(bytes, vnet, target.bytes, target.at - VNET_LEN, VNET_LEN + packet.length);
    target.moveHeaders(packet);
    if (needsChecksum(bytes, vnet)) completeChecksum(target);
    clearVnet(target.bytes, target.at - VNET_LEN);
    return;
  }
  const headers = packet.payload - at;
  const size = gsoSize(bytes, vnet);
  const offset = index * size;
  const payload = Math.min(size, packet.end - packet.payload - offset);
  const last = packet.payload + offset + payload === packet.end;
  copy(bytes, at, target.bytes, target.at, headers);
  copy(bytes, packet.payload + offset, target.bytes, target.at + headers, payload);
  clearVnet(target.bytes, target.at - VNET_LEN);
  target.length = headers + payload;
  target.moveHeaders(packet);
  target.end = target.at + target.length;
  const out = target.bytes;
  const { l3, l4 } = target;
  if (packet.etherType === ETHERTYPE_IPV4) {
    const total = target.end - l3;
    const before = get16(out, l3 + IPV4_TOTAL_LENGTH);
    const identification = get16(out, l3 + IPV4_IDENTIFICATION);
    let check = update16(get16(out, l3 + IPV4_CHECKSUM), before, total);
    check = update16(check, identification, (identification + index) & 0xffff);
    set16(out, l3 + IPV4_TOTAL_LENGTH, total);
    // Every packet its own identification, counted up as the sender would have done (RFC 791 §3.2, RFC 6864 §4).
    set16(out, l3 + IPV4_IDENTIFICATION, identification + index);
    set16(out, l3 + IPV4_CHECKSUM, check);
  } else {
    set16(out, l3 + IPV6_PAYLOAD_LENGTH, target.end - l3 - IPV6_LEN);
  }
  if (packet.protocol === PROTO_UDP) {
    // The sender of a datagram without a checksum wants its pieces to have none (RFC 768).
    const none = get16(bytes, packet.l4 + UDP_CHECKSUM) === 0 && !needsChecksum(bytes, vnet);
    set16(out, l4 + UDP_LENGTH, UDP_LEN + payload);
    if (none && packet.etherType === ETHERTYPE_IPV4) return;
  } else if (packet.protocol === PROTO_TCP) {
    set32(out, l4 + TCP_SEQUENCE, get32(out, l4 + TCP_SEQUENCE) + offset);
    // FIN and PSH are about the end of the data; CWR is said once (RFC 3168 §6.1.2), by the first segment.
    if (!last) out[l4 + TCP_FLAGS] &= ~(TCP_FIN | TCP_PSH);
    if (index > 0) out[l4 + TCP_FLAGS] &= ~TCP_CWR;
  }
  fillTransportChecksum(target);
}

/**
 * Finishes a partial checksum in place and clears the flag. Needs `parseEthernet` only (its `end`), because the virtio-net
 * header says where to sum. Answers false, and changes nothing, when that place is not inside the packet.
 */
export function completeChecksum(packet: Packet): boolean {
  const { bytes, at, end } = packet;
  const vnet = at - VNET_LEN;
  if (!needsChecksum(bytes, vnet)) return true;
  const start = at + csumStart(bytes, vnet);
  const offset = csumOffset(bytes, vnet);
  if (start < packet.l3 || start + offset + 2 > end) return false;
  // The field holds the pseudo-header's sum, so it is summed like any other word.
  const check = ~sum(bytes, start, end - start) & 0xffff;
  // RFC 768: a computed 0 is sent as all ones. No other protocol has its checksum at offset 6.
  set16(bytes, start + offset, check === 0 && offset === UDP_CHECKSUM ? 0xffff : check);
  clearNeedsChecksum(bytes, vnet);
  return true;
}
