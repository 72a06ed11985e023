/**
 * IPv4 fragmentation (RFC 791 §3.2, RFC 1812 §5.2.6): the pieces of a packet for a link with a smaller MTU. IPv6 routers
 * do not fragment (RFC 8200 §4.5).
 *
 * The order: `fragmentCount` says how many there are and whether it may be done at all; then `writeFragment` for each.
 */
import { copy, set16 } from './bytes.ts';
import { ETHERTYPE_IPV4 } from './ethernet.ts';
import {
  fillIpv4Checksum,
  IPV4_DF,
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MF,
  IPV4_MIN_MTU,
  IPV4_OFFSET_MASK,
  IPV4_OPT_COPIED,
  IPV4_OPT_END,
  IPV4_OPT_NOP,
  IPV4_TOTAL_LENGTH,
  IPV4_VERSION_IHL,
  ipv4Fragment,
  ipv4HeaderLength,
} from './ipv4.ts';
import type { Packet } from './packet.ts';
import { completeChecksum } from './segmentation.ts';
import { clearVnet, gsoType, VNET_GSO_NONE, VNET_LEN } from './virtio-net.ts';

/**
 * How many fragments a parsed IPv4 packet becomes for `mtu`: 1 when it fits. 0 means that it must not be fragmented (DF
 * is set: answer "fragmentation needed") or cannot be (no IPv4, a MTU below 68, a GSO frame, which is segmented first).
 * Finishes a partial checksum in place, because the pieces cannot.
 * @param again whether the packet came in fragments, so that it may be cut again although DF is set: in them, too
 */
export function fragmentCount(packet: Packet, mtu: number, again = false): number {
  if (packet.etherType !== ETHERTYPE_IPV4) return 0;
  const { bytes, l3 } = packet;
  const total = packet.end - l3;
  if (total <= mtu) return 1;
  if (((ipv4Fragment(bytes, l3) & IPV4_DF) !== 0 && !again) || mtu < IPV4_MIN_MTU) return 0;
  if (gsoType(bytes, packet.at - VNET_LEN) !== VNET_GSO_NONE || !completeChecksum(packet)) return 0;
  const rest = total - ipv4HeaderLength(bytes, l3) - firstData(packet, mtu);
  const step = furtherData(packet, mtu);
  return 1 + Math.floor((rest + step - 1) / step);
}

/**
 * Writes fragment `index` of `fragmentCount(packet, mtu)` to `target.bytes` at `target.at`, with its virtio-net header
 * cleared and `target.length` and offsets set. The caller has seen to VNET_LEN bytes in front of `target.at` and
 * the Ethernet header and `mtu` bytes from it on, which must not overlap `packet`.
 */
export function writeFragment(packet: Packet, mtu: number, index: number, target: Packet): void {
  const { bytes, at, l3 } = packet;
  const out = target.bytes;
  const header = ipv4HeaderLength(bytes, l3);
  const whole = packet.end - l3 <= mtu;
  const first = whole ? packet.end - l3 - header : firstData(packet, mtu);
  const step = furtherData(packet, mtu);
  const offset = index === 0 ? 0 : first + (index - 1) * step;
  const data = Math.min(index === 0 ? first : step, packet.end - l3 - header - offset);
  const last = l3 + header + offset + data === packet.end;

  copy(bytes, at, out, target.at, l3 - at + (index === 0 ? header : IPV4_LEN));
  clearVnet(out, target.at - VNET_LEN);
  target.moveHeaders(packet);
  const to = target.l3;
  let length = header;
  if (index > 0) {
    length = IPV4_LEN + writeCopiedOptions(packet, out, to + IPV4_LEN);
    out[to + IPV4_VERSION_IHL] = 0x40 | (length >>> 2);
    target.l4 = 0;
    target.payload = 0;
  }
  copy(bytes, l3 + header + offset, out, to + length, data);
  const field = ipv4Fragment(bytes, l3);
  const more = !last || packet.moreFragments;
  set16(out, to + IPV4_TOTAL_LENGTH, length + data);
  set16(
    out,
    to + IPV4_FRAGMENT,
    (field & ~(IPV4_OFFSET_MASK | IPV4_MF)) |
      (more ? IPV4_MF : 0) |
      ((field & IPV4_OFFSET_MASK) + (offset >>> 3)),
  );
  fillIpv4Checksum(out, to);
  target.end = to + length + data;
  target.length = target.end - target.at;
  target.fragmentOffset = packet.fragmentOffset + offset;
  target.moreFragments = more;
  // With options and a tiny MTU not even the transport header is in the first piece.
  if (target.payload > target.end) {
    target.l4 = 0;
    target.payload = 0;
  }
}

/** Data bytes in the first fragment: a multiple of 8. */
function firstData(packet: Packet, mtu: number): number {
  return (mtu - ipv4HeaderLength(packet.bytes, packet.l3)) & ~7;
}

/** Data bytes in each further fragment but the last. */
function furtherData(packet: Packet, mtu: number): number {
  return (mtu - IPV4_LEN - writeCopiedOptions(packet, undefined, 0)) & ~7;
}

/**
 * Copies the options that every fragment has (copied flag, RFC 791 §3.1), padded with "end of options" to a multiple of 4.
 * @param to where to write them, or undefined to count only
 * @returns their length
 */
function writeCopiedOptions(packet: Packet, to: Uint8Array | undefined, at: number): number {
  const { bytes, l3 } = packet;
  const end = l3 + ipv4HeaderLength(bytes, l3);
  let length = 0;
  for (let option = l3 + IPV4_LEN; option < end && bytes[option] !== IPV4_OPT_END; ) {
    const size = bytes[option] === IPV4_OPT_NOP ? 1 : bytes[option + 1];
    if ((bytes[option] & IPV4_OPT_COPIED) !== 0) {
      if (to) copy(bytes, option, to, at + length, size);
      length += size;
    }
    option += size;
  }
  for (; (length & 3) !== 0; length++) if (to) to[at + length] = IPV4_OPT_END;
  return length;
}
