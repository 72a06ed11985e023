import { ARP_LEN, arpSpa } from '../wire/arp.ts';
import { get32 } from '../wire/bytes.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import {
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  icmpv6Type,
} from '../wire/icmpv6.ts';
import { IPV6_LEN, IPV6_NEXT_HEADER, IPV6_SRC, isIpv6Extension } from '../wire/ipv6.ts';
import { Malformed } from '../wire/malformed.ts';
import { isNd, ND_NA_LEN, ND_TARGET } from '../wire/nd.ts';
import { parseNetwork } from '../wire/parse.ts';
import { PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame } from './frame.ts';
import type { Network } from './network.ts';
import { isUntagged } from './priority-tag.ts';
import { drop, PASS, type Verdict } from './verdict.ts';

const ARP_SPOOF = drop(DropReason.ARP_SPOOF);
const ND_SPOOF = drop(DropReason.ND_SPOOF);
const RA_GUARD = drop(DropReason.RA_GUARD);

/**
 * Whether a frame from one station to others may pass: not when it says, by ARP or neighbor discovery, that the gateway's
 * address is its own, nor when it makes a router of its sender (RFC 6105). One such frame, and all that the others
 * send to other networks would go to him. Of the frame `parseEthernet` is known; all but ND passes unparsed.
 */
export function guardFirstHop(frame: Frame, network: Network): Verdict {
  const { etherType } = frame;
  if (etherType === ETHERTYPE_IPV4) return PASS;
  if (etherType === ETHERTYPE_IPV6) return guardNd(frame, network);
  if (etherType !== ETHERTYPE_ARP || !network.hasIpv4) return PASS;
  const { bytes, l3, end } = frame;
  // The sender's address lies at its place whatever the packet says about itself: too much is refused, if anything.
  return l3 + ARP_LEN <= end && network.isOwnIpv4(arpSpa(bytes, l3)) && isUntagged(frame) ? ARP_SPOOF : PASS;
}

function guardNd(frame: Frame, network: Network): Verdict {
  const { bytes, l3 } = frame;
  if (l3 + IPV6_LEN > frame.end) return PASS;
  const next = bytes[l3 + IPV6_NEXT_HEADER];
  if (next === PROTO_TCP || next === PROTO_UDP) return PASS;
  if (!isUntagged(frame)) return PASS;
  const fault = parseNetwork(frame);
  // RFC 7113 §3: a chain of extension headers must not hide what is behind it. No host takes ND in fragments (RFC 6980).
  if (fault !== Malformed.NONE) return isIpv6Extension(next) ? drop(fault) : PASS;
  const { l4 } = frame;
  if (frame.protocol !== PROTO_ICMPV6 || l4 === 0) return PASS;
  const type = icmpv6Type(bytes, l4);
  if (type === ICMPV6_ROUTER_ADVERTISEMENT || type === ICMPV6_REDIRECT) return RA_GUARD;
  if (!isNd(type)) return PASS;
  if (isGatewayAt(bytes, l3 + IPV6_SRC, network)) return ND_SPOOF;
  const advertises = type === ICMPV6_NEIGHBOR_ADVERTISEMENT && l4 + ND_NA_LEN <= frame.end;
  return advertises && isGatewayAt(bytes, l4 + ND_TARGET, network) ? ND_SPOOF : PASS;
}

function isGatewayAt(bytes: Uint8Array, at: number, network: Network): boolean {
  return network.isOwnIpv6(
    get32(bytes, at),
    get32(bytes, at + 4),
    get32(bytes, at + 8),
    get32(bytes, at + 12),
  );
}
