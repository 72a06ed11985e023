import { isIpv6Unspecified, linkLocalFromMac, type Mac } from '../wire/address.ts';
import { ARP_LEN, ARP_REQUEST, arpOper, arpShaHi, arpShaLo, arpSpa } from '../wire/arp.ts';
import { get16, get32 } from '../wire/bytes.ts';
import type { Carrier } from '../wire/carrier.ts';
import {
  ETH_LEN,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_MIN,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  ethSrcHi,
  ethSrcLo,
} from '../wire/ethernet.ts';
import {
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  icmpv6Type,
} from '../wire/icmpv6.ts';
import {
  IPV4_FRAGMENT,
  IPV4_LEN,
  IPV4_MF,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_SRC,
  ipv4HeaderLength,
} from '../wire/ipv4.ts';
import { IPV6_LEN, IPV6_NEXT_HEADER, IPV6_SRC, isIpv6Extension } from '../wire/ipv6.ts';
import { Malformed } from '../wire/malformed.ts';
import {
  isNd,
  ND_NA_LEN,
  ND_OPT_LLA_LEN,
  ND_OPT_SOURCE_LLA,
  ND_OPT_TARGET_LLA,
  ND_TARGET,
  ndLength,
  ndOk,
  ndOptionMacHi,
  ndOptionMacLo,
} from '../wire/nd.ts';
import { parseNetwork } from '../wire/parse.ts';
import { PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';
import { VLAN_LEN, vlanId, vlanTagTci } from '../wire/vlan.ts';
import { DropReason } from './drop-reason.ts';
import type { Frame, PortId } from './frame.ts';
import type { Network } from './network.ts';
import type { Ports } from './ports.ts';
import { drop, PASS, type Verdict } from './verdict.ts';

const ARP_SPOOF = drop(DropReason.ARP_SPOOF);
const ND_SPOOF = drop(DropReason.ND_SPOOF);
const ND_INVALID = drop(DropReason.ND_INVALID);
const RA_GUARD = drop(DropReason.RA_GUARD);
const IP_SPOOF = drop(DropReason.IP_SPOOF);
const DHCP_GUARD = drop(DropReason.DHCP_GUARD);
const VLAN_DEPTH = drop(DropReason.VLAN_DEPTH);
const SNAP_ENCAPSULATED = drop(DropReason.SNAP_ENCAPSULATED);
const TRUNCATED = drop(DropReason.HDR_TRUNC);

/** Link-local addresses that one port can have, that of its MAC among them. */
export const LINK_LOCALS = 4;
/** Words of a link-local address that say something: the interface identifier. */
const IDENTIFIER = 2;
const LINK_LOCAL_W0 = 0xfe800000 | 0;

/** LLC: the control byte of unnumbered information. SNAP: the organizations whose types are EtherTypes. */
const LLC_UI = 0x03;
const SNAP_LEN = 8;
const SNAP_ETHERTYPE = 0x000000;
const SNAP_TUNNEL = 0x0000f8;

/** UDP ports (RFC 2131 §4.1, RFC 8415 §7.2). What goes to a client is said by a server. */
const DHCP_SERVER = 67;
const DHCP_CLIENT = 68;
const DHCPV6_CLIENT = 546;

/** MLD done and reports of both versions (RFC 2710, RFC 9777): before it has an address, a host reports from none (RFC 3590). */
const MLD_REPORT = 131;
const MLD_DONE = 132;
const MLDV2_REPORT = 143;

/**
 * Port security: what a station may say about itself. From a guarded port come frames with the endpoint's own MAC (the
 * bridge sees to that), from its own addresses, and with nothing but these in ARP and neighbor discovery. The address
 * that an endpoint has is known beforehand; only link-local ones it chooses itself, first come, first served (SAVI,
 * RFC 6620), a few of them. From any other port come all addresses but the gateway's.
 *
 * No endpoint is a router (RFC 6105) or a DHCP server (RFC 7610) for the others.
 *
 * Tags are looked behind whatever VLAN they name, because hosts take as untagged what has only priority tags, however
 * many; and what cannot be looked into, because its headers lie in a later fragment, does not pass (RFC 7113 §3), nor what
 * an LLC/SNAP header hides.
 */
export class PortGuard {
  readonly #ports: Ports;
  /** By port; 0 for none. */
  readonly #ipv4: Int32Array;
  /** By port, four words; 0 for none. */
  readonly #ipv6: Int32Array;
  /** By port, the interface identifiers of its link-local addresses. */
  readonly #identifiers: Int32Array;
  readonly #identifierCount: Uint8Array;

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#ipv4 = new Int32Array(ports.capacity);
    this.#ipv6 = new Int32Array(4 * ports.capacity);
    this.#identifiers = new Int32Array(IDENTIFIER * LINK_LOCALS * ports.capacity);
    this.#identifierCount = new Uint8Array(ports.capacity);
  }

  carry(carrier: Carrier): void {
    const { high } = this.#ports;
    carrier.column(this.#ipv4, high);
    carrier.column(this.#ipv6, 4 * high);
    carrier.column(this.#identifiers, IDENTIFIER * LINK_LOCALS * high);
    carrier.column(this.#identifierCount, high);
  }

  /** Says which addresses are those of a guarded port. The link-local one that its MAC makes is taken from whoever has it. */
  add(port: PortId, network: Network, mac: Mac, ipv4 = 0, ipv6: readonly number[] = [0, 0, 0, 0]): void {
    this.#ipv4[port] = ipv4;
    this.#ipv6.set(ipv6, 4 * port);
    const [, , w2, w3] = linkLocalFromMac(mac);
    const holder = this.#holder(network, w2, w3);
    if (holder >= 0) this.#release(holder, w2, w3);
    this.#identifierCount[port] = 0;
    this.#bind(port, w2, w3);
  }

  /** Forgets the addresses of a port that is being removed. */
  remove(port: PortId): void {
    this.#identifierCount[port] = 0;
  }

  /**
   * Whether a frame, of which `parseEthernet` is known, may pass: PASS, or a drop. It is not changed, but parsed further
   * where need be.
   * @param toGateway whether the gateway is the only one to hear it, which judges for itself what it believes
   */
  check(frame: Frame, network: Network, toGateway: boolean): Verdict {
    const { ingress, bytes, l3 } = frame;
    if (this.#ports.guarded[ingress] === 0) return toGateway ? PASS : guardFirstHop(frame, network);
    switch (frame.etherType) {
      case ETHERTYPE_IPV4: {
        if (l3 + IPV4_LEN > frame.end) return TRUNCATED;
        const src = get32(bytes, l3 + IPV4_SRC);
        if (src !== this.#ipv4[ingress] || src === 0) return src === 0 ? guardUnspecified(frame) : IP_SPOOF;
        if (bytes[l3 + IPV4_PROTOCOL] !== PROTO_UDP) return PASS;
        // One byte is enough for nearly all, wherever the packet ends.
        if (bytes[l3 + ipv4HeaderLength(bytes, l3) + 3] !== DHCP_CLIENT) return PASS;
        return udpPort(frame, 2) === DHCP_CLIENT ? DHCP_GUARD : PASS;
      }
      case ETHERTYPE_IPV6:
        return this.#checkIpv6(frame, network);
      case ETHERTYPE_ARP:
        return this.#checkArp(frame);
      case ETHERTYPE_VLAN:
      case ETHERTYPE_QINQ:
        return VLAN_DEPTH;
      default:
        return isEncapsulated(frame) ? SNAP_ENCAPSULATED : PASS;
    }
  }

  #checkArp(frame: Frame): Verdict {
    const fault = parseNetwork(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    const { bytes, at, l3, ingress } = frame;
    if (arpShaHi(bytes, l3) !== ethSrcHi(bytes, at) || arpShaLo(bytes, l3) !== ethSrcLo(bytes, at))
      return ARP_SPOOF;
    const spa = arpSpa(bytes, l3);
    // RFC 5227 §2.1.1: a probe comes from no address, and says nothing about its sender.
    if (spa === 0) return arpOper(bytes, l3) === ARP_REQUEST ? PASS : ARP_SPOOF;
    return spa === this.#ipv4[ingress] ? PASS : ARP_SPOOF;
  }

  #checkIpv6(frame: Frame, network: Network): Verdict {
    const { bytes, l3 } = frame;
    if (l3 + IPV6_LEN > frame.end) return TRUNCATED;
    const s0 = get32(bytes, l3 + IPV6_SRC);
    const s1 = get32(bytes, l3 + IPV6_SRC + 4);
    const s2 = get32(bytes, l3 + IPV6_SRC + 8);
    const s3 = get32(bytes, l3 + IPV6_SRC + 12);
    const isUnspecified = isIpv6Unspecified(s0, s1, s2, s3);
    const isOwn = !isUnspecified && this.#isOwn(frame.ingress, network, s0, s1, s2, s3);
    const next = bytes[l3 + IPV6_NEXT_HEADER];
    if (next === PROTO_TCP) return isOwn ? PASS : IP_SPOOF;
    if (next === PROTO_UDP && isOwn) return isForDhcpv6Client(frame, l3 + IPV6_LEN) ? DHCP_GUARD : PASS;

    const fault = parseNetwork(frame);
    if (fault !== Malformed.NONE) return drop(fault);
    const { l4, protocol } = frame;
    if (protocol === PROTO_ICMPV6 && l4 !== 0) {
      const type = icmpv6Type(bytes, l4);
      if (isNd(type)) return this.#checkNd(frame, network, type, isOwn, isUnspecified);
      if (isUnspecified && (type === MLD_REPORT || type === MLD_DONE || type === MLDV2_REPORT)) return PASS;
    }
    if (!isOwn) return IP_SPOOF;
    return protocol === PROTO_UDP && l4 !== 0 && isForDhcpv6Client(frame, l4) ? DHCP_GUARD : PASS;
  }

  #checkNd(frame: Frame, network: Network, type: number, isOwn: boolean, isUnspecified: boolean): Verdict {
    if (type === ICMPV6_ROUTER_ADVERTISEMENT || type === ICMPV6_REDIRECT) return RA_GUARD;
    if (!isOwn && !isUnspecified) return ND_SPOOF;
    // What hosts need not believe they need not hear; no host takes it in fragments (RFC 6980 §5).
    if (!ndOk(frame)) return ND_INVALID;
    const { bytes, l4 } = frame;
    if (!hasOnlyOwnMac(frame, l4 + ndLength(type))) return ND_SPOOF;
    const speaksOfTarget =
      type === ICMPV6_NEIGHBOR_ADVERTISEMENT || (type === ICMPV6_NEIGHBOR_SOLICITATION && isUnspecified);
    if (!speaksOfTarget) return PASS;
    // Who advertises an address has it, and who asks from none whether somebody has it wants it (RFC 4862 §5.4.2): a
    // question about another's would tell this one, while it asks itself, that its address is taken (§5.4.3).
    if (type === ICMPV6_NEIGHBOR_ADVERTISEMENT && isUnspecified) return ND_SPOOF;
    const at = l4 + ND_TARGET;
    const t0 = get32(bytes, at);
    const t1 = get32(bytes, at + 4);
    const t2 = get32(bytes, at + 8);
    return this.#isOwn(frame.ingress, network, t0, t1, t2, get32(bytes, at + 12)) ? PASS : ND_SPOOF;
  }

  /** Whether the address is one of the port's. A link-local one that nobody has becomes its own, if it has room. */
  #isOwn(port: PortId, network: Network, w0: number, w1: number, w2: number, w3: number): boolean {
    const own = this.#ipv6;
    const at = port << 2;
    if (w3 === own[at + 3] && w2 === own[at + 2] && w1 === own[at + 1] && w0 === own[at]) return w0 !== 0;
    if (w0 !== LINK_LOCAL_W0 || w1 !== 0) return false;
    return this.#hasIdentifier(port, w2, w3) || this.#claim(port, network, w2, w3);
  }

  #claim(port: PortId, network: Network, w2: number, w3: number): boolean {
    if (this.#identifierCount[port] === LINK_LOCALS) return false;
    if (network.isOwnIpv6(LINK_LOCAL_W0, 0, w2, w3) || this.#holder(network, w2, w3) >= 0) return false;
    this.#bind(port, w2, w3);
    return true;
  }

  #bind(port: PortId, w2: number, w3: number): void {
    const at = (port * LINK_LOCALS + this.#identifierCount[port]!++) * IDENTIFIER;
    this.#identifiers[at] = w2;
    this.#identifiers[at + 1] = w3;
  }

  #release(port: PortId, w2: number, w3: number): void {
    const first = port * LINK_LOCALS * IDENTIFIER;
    const last = first + --this.#identifierCount[port]! * IDENTIFIER;
    let at = first;
    while (this.#identifiers[at] !== w2 || this.#identifiers[at + 1] !== w3) at += IDENTIFIER;
    this.#identifiers.copyWithin(at, last, last + IDENTIFIER);
  }

  #hasIdentifier(port: PortId, w2: number, w3: number): boolean {
    const first = port * LINK_LOCALS * IDENTIFIER;
    const end = first + this.#identifierCount[port]! * IDENTIFIER;
    for (let at = first; at < end; at += IDENTIFIER) {
      if (this.#identifiers[at + 1] === w3 && this.#identifiers[at] === w2) return true;
    }
    return false;
  }

  /** The port of the network that has the link-local address, or -1. */
  #holder(network: Network, w2: number, w3: number): PortId {
    const { members, memberCount } = network.bridge;
    for (let i = 0; i < memberCount; i++) if (this.#hasIdentifier(members[i]!, w2, w3)) return members[i]!;
    return -1;
  }
}

/** A packet from 0.0.0.0: only who has no address yet asks a DHCP server for one (RFC 1122 §3.2.1.3, RFC 2131 §4.1). */
function guardUnspecified(frame: Frame): Verdict {
  const { bytes, l3 } = frame;
  const asks =
    bytes[l3 + IPV4_PROTOCOL] === PROTO_UDP &&
    (get16(bytes, l3 + IPV4_FRAGMENT) & (IPV4_MF | IPV4_OFFSET_MASK)) === 0 &&
    udpPort(frame, 0) === DHCP_CLIENT &&
    udpPort(frame, 2) === DHCP_SERVER;
  return asks ? PASS : IP_SPOOF;
}

/** A port of an IPv4 UDP datagram, at `offset` of its header; -1 where the header is not: in a later fragment. */
function udpPort(frame: Frame, offset: number): number {
  const { bytes, l3 } = frame;
  if ((get16(bytes, l3 + IPV4_FRAGMENT) & IPV4_OFFSET_MASK) !== 0) return -1;
  const at = l3 + ipv4HeaderLength(bytes, l3) + offset;
  return at + 2 <= frame.end ? get16(bytes, at) : -1;
}

function isForDhcpv6Client(frame: Frame, l4: number): boolean {
  return l4 + 4 <= frame.end && get16(frame.bytes, l4 + 2) === DHCPV6_CLIENT;
}

/** Whether all link-layer addresses in the options from `option` on, which are well-formed, are the frame's source. */
function hasOnlyOwnMac(frame: Frame, option: number): boolean {
  const { bytes, at, end } = frame;
  const hi = ethSrcHi(bytes, at);
  const lo = ethSrcLo(bytes, at);
  for (let next = option; next + ND_OPT_LLA_LEN <= end; next += bytes[next + 1] << 3) {
    const type = bytes[next];
    if (type !== ND_OPT_SOURCE_LLA && type !== ND_OPT_TARGET_LLA) continue;
    if (ndOptionMacHi(bytes, next) !== hi || ndOptionMacLo(bytes, next) !== lo) return false;
  }
  return true;
}

/**
 * Whether an EtherType, and what it names, lies behind a length and an LLC/SNAP header (RFC 1042; of bridges, IEEE 802.1H). On
 * Ethernet nobody sends IP so, but some hosts take it as if the header were not there, and so nothing may hide behind it
 * (CVE-2021-27853), whatever the length says (CVE-2021-27861).
 */
function isEncapsulated({ bytes, l3, end, etherType }: Frame): boolean {
  if (etherType >= ETHERTYPE_MIN || l3 + SNAP_LEN > end) return false;
  // The low bits of both addresses mean groups and answers, and one of the third byte asks for an answer (IEEE 802.2).
  if ((get16(bytes, l3) & 0xfefe) !== 0xaaaa || (bytes[l3 + 2] & ~0x10) !== LLC_UI) return false;
  const organization = get32(bytes, l3 + 2) & 0xffffff;
  return organization === SNAP_ETHERTYPE || organization === SNAP_TUNNEL;
}

/**
 * Of a port without security: whether a frame from one station to others may pass. Not when it says, by ARP or neighbor
 * discovery, that the gateway's address is its own, nor when it makes a router of its sender (RFC 6105). One such frame,
 * and all that the others send to other networks would go to him. All but ND passes unparsed.
 */
function guardFirstHop(frame: Frame, network: Network): Verdict {
  const { etherType } = frame;
  if (etherType === ETHERTYPE_IPV4) return PASS;
  if (etherType === ETHERTYPE_IPV6) return guardNd(frame, network);
  if (etherType === ETHERTYPE_VLAN || etherType === ETHERTYPE_QINQ)
    return isInVlan(frame) ? PASS : VLAN_DEPTH;
  if (isEncapsulated(frame)) return isInVlan(frame) ? PASS : SNAP_ENCAPSULATED;
  if (etherType !== ETHERTYPE_ARP || !network.hasIpv4) return PASS;
  const { bytes, l3, end } = frame;
  // The sender's address lies at its place whatever the packet says about itself: too much is refused, if anything.
  return l3 + ARP_LEN <= end && network.isOwnIpv4(arpSpa(bytes, l3)) && !isInVlan(frame) ? ARP_SPOOF : PASS;
}

function guardNd(frame: Frame, network: Network): Verdict {
  const { bytes, l3 } = frame;
  if (l3 + IPV6_LEN > frame.end) return PASS;
  const next = bytes[l3 + IPV6_NEXT_HEADER];
  if (next === PROTO_TCP || next === PROTO_UDP) return PASS;
  if (isInVlan(frame)) return PASS;
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

/** Whether one of the tags that were looked behind names a VLAN. Hosts ignore all that do not (IEEE 802.1Q §9.6, VID 0). */
function isInVlan(frame: Frame): boolean {
  for (let tag = frame.at + ETH_LEN - 2; tag + VLAN_LEN < frame.l3; tag += VLAN_LEN) {
    if (vlanId(vlanTagTci(frame.bytes, tag)) !== 0) return true;
  }
  return false;
}

function isGatewayAt(bytes: Uint8Array, at: number, network: Network): boolean {
  return network.isOwnIpv6(
    get32(bytes, at),
    get32(bytes, at + 4),
    get32(bytes, at + 8),
    get32(bytes, at + 12),
  );
}
