import { constants } from 'node:os';
import {
  ICMP_UNREACH_ADMIN,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACH_HOST,
  ICMP_UNREACH_NET,
  ICMP_UNREACH_PORT,
  ICMP_UNREACHABLE,
} from '../../wire/icmp.ts';
import {
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_UNREACH_ADDRESS,
  ICMPV6_UNREACH_ADMIN,
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts';

const { errno } = constants;
export const EMSGSIZE = errno.EMSGSIZE;

/**
 * The ICMP or ICMPv6 error that says what a system call's error number says about a destination: `type << 8 | code`. It
 * is what Linux makes of such an error when it hears of it, read backwards (icmp(7), net/ipv4/icmp.c `icmp_err_convert`,
 * net/ipv6/icmp.c `icmpv6_err_convert`).
 */
export function icmpOfErrno(number: number, isIpv6: boolean): number {
  switch (number) {
    case errno.ECONNREFUSED:
      return isIpv6
        ? (ICMPV6_UNREACHABLE << 8) | ICMPV6_UNREACH_PORT
        : (ICMP_UNREACHABLE << 8) | ICMP_UNREACH_PORT;
    case errno.EMSGSIZE:
      return isIpv6 ? ICMPV6_PACKET_TOO_BIG << 8 : (ICMP_UNREACHABLE << 8) | ICMP_UNREACH_FRAG_NEEDED;
    case errno.EACCES:
    case errno.EPERM:
    // No socket or descriptor is left (RFC 5508 REQ-8).
    case errno.EMFILE:
    case errno.ENFILE:
      return isIpv6
        ? (ICMPV6_UNREACHABLE << 8) | ICMPV6_UNREACH_ADMIN
        : (ICMP_UNREACHABLE << 8) | ICMP_UNREACH_ADMIN;
    // The host has no route, no address to send from, or no such IP version.
    case errno.ENETUNREACH:
    case errno.EADDRNOTAVAIL:
    case errno.EAFNOSUPPORT:
    case errno.ENETDOWN:
      return isIpv6
        ? (ICMPV6_UNREACHABLE << 8) | ICMPV6_UNREACH_NO_ROUTE
        : (ICMP_UNREACHABLE << 8) | ICMP_UNREACH_NET;
    default:
      return isIpv6
        ? (ICMPV6_UNREACHABLE << 8) | ICMPV6_UNREACH_ADDRESS
        : (ICMP_UNREACHABLE << 8) | ICMP_UNREACH_HOST;
  }
}

/** Whether the error says that the host is out of memory or room for now: what was to be sent is lost, as in a full queue. */
export function isShortage(number: number): boolean {
  return number === errno.EAGAIN || number === errno.ENOBUFS || number === errno.ENOMEM;
}

/** Whether the process or the host has no descriptor left. */
export function isExhausted(number: number): boolean {
  return number === errno.EMFILE || number === errno.ENFILE;
}
