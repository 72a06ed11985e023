import { isIpv4Loopback } from '../../wire/address.ts';
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
