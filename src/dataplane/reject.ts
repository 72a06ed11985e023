import type { Frame } from '../../switch/frame.ts';
import type { Icmp } from '../../switch/icmp.ts';
import type { Icmpv6 } from '../../switch/icmpv6.ts';
import type { Network } from '../../switch/network.ts';
import type { Originator } from '../../switch/originator.ts';
import { sendTcpReset } from '../../switch/tcp-reset.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import {
  ICMP_UNREACH_ADMIN,
  ICMP_UNREACH_HOST,
  ICMP_UNREACH_HOST_PROHIBITED,
  ICMP_UNREACH_NET,
  ICMP_UNREACH_NET_PROHIBITED,
  ICMP_UNREACH_PORT,
  ICMP_UNREACH_PROTOCOL,
  ICMP_UNREACHABLE,
} from '../../wire/icmp.ts';
import {
  ICMPV6_UNREACH_ADDRESS,
  ICMPV6_UNREACH_ADMIN,
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACHABLE,
} from '../../wire/icmpv6.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { REJECT_BY_PROTOCOL } from './user-rules.ts';

/** The place of `tcp-reset` in `REJECTIONS`. */
const TCP_RESET = 0;
/** The ICMP codes of `REJECTIONS`; the first is a reset. ICMPv6 tells nets, hosts and administrators not apart. */
const CODES = [
  -1,
  ICMP_UNREACH_PORT,
  ICMP_UNREACH_NET,
  ICMP_UNREACH_HOST,
  ICMP_UNREACH_PROTOCOL,
  ICMP_UNREACH_NET_PROHIBITED,
  ICMP_UNREACH_HOST_PROHIBITED,
  ICMP_UNREACH_ADMIN,
];
const CODES_IPV6 = [
  -1,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACH_NO_ROUTE,
  ICMPV6_UNREACH_ADDRESS,
  ICMPV6_UNREACH_PORT,
  ICMPV6_UNREACH_ADMIN,
  ICMPV6_UNREACH_ADMIN,
  ICMPV6_UNREACH_ADMIN,
];
const PORT_UNREACHABLE = 1;

/** What iptables' target REJECT does: the sender of a packet that is not let through is told so. */
export class Reject {
  readonly #originator: Originator;
  readonly #icmp: Icmp;
  readonly #icmpv6: Icmpv6;

  constructor(originator: Originator, icmp: Icmp, icmpv6: Icmpv6) {
    this.#originator = originator;
    this.#icmp = icmp;
    this.#icmpv6 = icmpv6;
  }

  /**
   * Answers a packet as it came in by `network`: a reset ends also a connection that stands, where an error would be
   * only a hint (RFC 1122 §4.2.3.9).
   * @param rejection a place in `REJECTIONS`, or REJECT_BY_PROTOCOL
   */
  answer(frame: Frame, network: Network, rejection: number, now: number): void {
    const isTcp = frame.protocol === PROTO_TCP;
    if (isTcp && (rejection === TCP_RESET || rejection === REJECT_BY_PROTOCOL)) {
      // Whoever made up a segment must not learn from the answer that its checksum need not be right.
      if (transportChecksumOk(frame)) sendTcpReset(this.#originator, frame, network, now);
      return;
    }
    const place = rejection === REJECT_BY_PROTOCOL ? PORT_UNREACHABLE : rejection;
    // The deck says it for itself, and not in the name of the destination, which knows nothing of it.
    if (frame.etherType === ETHERTYPE_IPV4) {
      this.#icmp.error(frame, network, ICMP_UNREACHABLE, CODES[place]!, 0, now, false);
    } else this.#icmpv6.error(frame, network, ICMPV6_UNREACHABLE, CODES_IPV6[place]!, 0, now, false);
  }
}
