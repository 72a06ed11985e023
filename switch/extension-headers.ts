import { copy } from '../wire/bytes.ts';
import { ETH_LEN } from '../wire/ethernet.ts';
import {
  IPV6_EXT_DESTINATION,
  IPV6_EXT_HOP_BY_HOP,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_OPT_PAD1,
  IPV6_OPT_PADN,
  IPV6_OPT_ROUTER_ALERT,
  ipv6ExtensionLength,
  setIpv6PayloadLength,
} from '../wire/ipv6.ts';
import { VNET_LEN } from '../wire/virtio-net.ts';
import type { Frame } from './frame.ts';

/**
 * Offset of the first option that the gateway does not know and that its sender does not want to be skipped (RFC 8200
 * §4.2: the two upper bits of its type), in the options headers of a parsed IPv6 packet; 0 if there is none.
 */
export function findForbiddenOption(frame: Frame): number {
  const { bytes, l3, l4 } = frame;
  let next = bytes[l3 + IPV6_NEXT_HEADER];
  for (let header = l3 + IPV6_LEN; header < l4; ) {
    const length = ipv6ExtensionLength(bytes, header, next);
    if (next === IPV6_EXT_HOP_BY_HOP || next === IPV6_EXT_DESTINATION) {
      const end = header + length;
      for (let option = header + 2; option < end; ) {
        const type = bytes[option];
        if (type === IPV6_OPT_PAD1) {
          option++;
          continue;
        }
        const known = type === IPV6_OPT_PADN || type === IPV6_OPT_ROUTER_ALERT;
        if (!known && type >>> 6 !== 0) return option;
        option += 2 + bytes[option + 1];
      }
    }
    next = bytes[header];
    header += length;
  }
  return 0;
}

/** Offset of the byte that names the transport protocol of a parsed IPv6 packet. */
export function protocolField(frame: Frame): number {
  const { bytes, l3, l4 } = frame;
  let field = l3 + IPV6_NEXT_HEADER;
  for (let header = l3 + IPV6_LEN; header < l4; ) {
    const next = bytes[field];
    field = header;
    header += ipv6ExtensionLength(bytes, header, next);
  }
  return field;
}

/**
 * Takes all extension headers out of a parsed, untagged IPv6 packet: Ethernet, IPv6 and virtio-net header move up to the
 * transport header. A partial checksum must have been finished.
 */
export function stripExtensions(frame: Frame): void {
  const { bytes, l3, l4, protocol } = frame;
  const shift = l4 - l3 - IPV6_LEN;
  if (shift === 0) return;
  copy(bytes, frame.at - VNET_LEN, bytes, frame.at - VNET_LEN + shift, VNET_LEN + ETH_LEN + IPV6_LEN);
  frame.at += shift;
  frame.l3 += shift;
  frame.length -= shift;
  frame.fragmentHeader = 0;
  bytes[frame.l3 + IPV6_NEXT_HEADER] = protocol;
  setIpv6PayloadLength(bytes, frame.l3, frame.end - l4);
}
