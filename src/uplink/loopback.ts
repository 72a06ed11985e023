import { isIpv4Loopback, isIpv6LinkLocal } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';

export const LOOPBACK_IPV4 = 0x7f00_0001;

/** 127/8, or no address at all. */
export function isLoopbackIpv4(address: number): boolean {
  return address === 0 || isIpv4Loopback(address);
}

/** ::1 or ::, in 16 bytes. */
export function isLoopbackIpv6(bytes: Uint8Array, at: number): boolean {
  return (
    (get32(bytes, at) | get32(bytes, at + 4) | get32(bytes, at + 8)) === 0 &&
    get32(bytes, at + 12) >>> 1 === 0
  );
}

/**
 * Whether an IPv6 address in 16 bytes means something to the host alone: its loopback, or a station on one of its links
 * (fe80::/10), which without the link is nobody's address. Endpoints know such clients by the device's address, as what they
 * answer to.
 */
export function isHostsOwnIpv6(bytes: Uint8Array, at: number): boolean {
  return isLoopbackIpv6(bytes, at) || isIpv6LinkLocal(get32(bytes, at));
}
