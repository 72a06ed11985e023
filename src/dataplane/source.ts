/** Who may have sent a packet that is to be routed, and where it may go (RFC 1812 §5.3.7 and §5.3.8). */
import { DropReason } from '../../switch/drop-reason.ts';
import type { Frame } from '../../switch/frame.ts';
import { isIpv4Host, isIpv4Source, isIpv6Host, isIpv6Land } from '../../switch/martian.ts';
import type { Network } from '../../switch/network.ts';
import { isIpv4LinkLocal, isIpv6LinkLocal } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { IPV4_DST, IPV4_LEN, IPV4_SRC, ipv4HeaderLength, isIpv4SourceRouted } from '../../wire/ipv4.ts';
import { IPV6_SRC, isIpv6SourceRouted } from '../../wire/ipv6.ts';
import type { Routes } from './routes.ts';
import type { Uplink } from './uplink.ts';

/** Whether the packet prescribes its own route (RFC 7126 §4.3, RFC 5095). */
export function isSourceRouted(frame: Frame): boolean {
  const { bytes, l3 } = frame;
  if (frame.etherType === ETHERTYPE_IPV4) {
    return ipv4HeaderLength(bytes, l3) > IPV4_LEN && isIpv4SourceRouted(bytes, l3);
  }
  return isIpv6SourceRouted(frame);
}

/**
 * Why a packet of `network` cannot have come from where it says, or 0. Answers to its source must go back to where it came
 * from (RFC 3704 §2.2, strict): who is in one network does not speak for another, and nobody outside speaks for one inside.
 * @param uplink the network as an uplink, if it is one
 */
export function sourceFault(
  frame: Frame,
  network: Network,
  uplink: Uplink | undefined,
  routes: Routes,
): number {
  return frame.etherType === ETHERTYPE_IPV4
    ? sourceFaultIpv4(frame, network, uplink, routes)
    : sourceFaultIpv6(frame, network, uplink, routes);
}

function sourceFaultIpv4(frame: Frame, network: Network, uplink: Uplink | undefined, routes: Routes): number {
  const { bytes, l3 } = frame;
  const src = get32(bytes, l3 + IPV4_SRC);
  const home = routes.lookupIpv4(src);
  const isPlausible =
    uplink !== undefined ? home === null : home !== null && home.network === network && !home.isLocal;
  // Also "land": a packet that claims to come from where it goes. Only a host speaks to itself.
  const isLand = src === get32(bytes, l3 + IPV4_DST) && uplink?.isHost !== true;
  return isPlausible && isIpv4Source(network, src) && !isLand ? 0 : DropReason.IP_MARTIAN_SOURCE;
}

function sourceFaultIpv6(frame: Frame, network: Network, uplink: Uplink | undefined, routes: Routes): number {
  const { bytes, l3 } = frame;
  const w0 = get32(bytes, l3 + IPV6_SRC);
  const w1 = get32(bytes, l3 + IPV6_SRC + 4);
  const w2 = get32(bytes, l3 + IPV6_SRC + 8);
  const w3 = get32(bytes, l3 + IPV6_SRC + 12);
  if (!network.hasIpv6 || !isIpv6Host(w0, w1, w2) || isIpv6LinkLocal(w0)) return DropReason.IP_MARTIAN_SOURCE;
  const home = routes.lookupIpv6(w0, w1, w2, w3);
  const isPlausible =
    uplink !== undefined ? home === null : home !== null && home.network === network && !home.isLocal;
  const isLand = uplink?.isHost !== true && isIpv6Land(bytes, l3);
  return isPlausible && !isLand ? 0 : DropReason.IP_MARTIAN_SOURCE;
}

/** Whether a packet from a link-local source goes farther than its link (RFC 4291 §2.5.6). */
export function leavesItsLink(frame: Frame): boolean {
  return frame.etherType !== ETHERTYPE_IPV4 && isIpv6LinkLocal(get32(frame.bytes, frame.l3 + IPV6_SRC));
}

/** Whether the IPv4 address may be that of a host behind a router (RFC 1812 §5.3.7, RFC 3927 §7). */
export function isRoutable(address: number): boolean {
  return isIpv4Host(address) && !isIpv4LinkLocal(address);
}
