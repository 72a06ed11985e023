/** Where the layers of a frame are as far as a filter has looked, and the questions that need it. */
import { ETH_LEN, ETH_TYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../../wire/ethernet.ts';
import { IPV4_FRAGMENT, IPV4_OFFSET_MASK, IPV4_PROTOCOL } from '../../../wire/ipv4.ts';
import { IPV6_EXT_FRAGMENT, IPV6_FRAG_NEXT_HEADER, IPV6_LEN, IPV6_NEXT_HEADER } from '../../../wire/ipv6.ts';
import {
  PROTO_AH,
  PROTO_ESP,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_IGMP,
  PROTO_SCTP,
  PROTO_TCP,
  PROTO_UDP,
} from '../../../wire/protocol.ts';
import { VLAN_LEN } from '../../../wire/vlan.ts';
import { all, any, type Condition, field, not, test } from './condition.ts';
import { Op } from './machine.ts';
import type { Protocol } from './syntax.ts';
import { ETHER_PROTOCOLS } from './words.ts';

/** Largest length field of IEEE 802.3; what is larger is an EtherType to libpcap. */
const MAX_8023_LENGTH = 1500;
/** IEEE 802.2: frames of IP, ISO and NetBEUI have the same service access point twice. */
const LLC_TWICE: ReadonlySet<number> = new Set([0x06, 0xf0, 0xfe]);
const LLC_IPX = 0xe0;
const ETHERTYPE_IPX = 0x8137;
const ETHERTYPE_APPLETALK = 0x809b;
const ETHERTYPE_APPLETALK_ARP = 0x80f3;
/** SNAP headers of Ethernet (RFC 1042) and of Apple: LLC, control, and the first byte of the organization. */
const SNAP_ETHERNET = 0xaaaa0300;
const SNAP_APPLE = 0xaaaa0308;
/** Rest of Apple's organization code 08-00-07, in front of the type. */
const APPLE = 0x0007_0000;

/** The number of a protocol of IP, and in which of IPv4 and IPv6 its name alone looks for it. */
const NUMBERS: ReadonlyMap<Protocol, readonly [number, boolean, boolean]> = new Map([
  ['tcp', [PROTO_TCP, true, true]],
  ['udp', [PROTO_UDP, true, true]],
  ['sctp', [PROTO_SCTP, true, true]],
  ['ah', [PROTO_AH, true, true]],
  ['esp', [PROTO_ESP, true, true]],
  ['pim', [103, true, true]],
  ['icmp', [PROTO_ICMP, true, false]],
  ['igmp', [PROTO_IGMP, true, false]],
  ['igrp', [9, true, false]],
  ['vrrp', [112, true, false]],
  ['carp', [112, true, false]],
  ['icmp6', [PROTO_ICMPV6, false, true]],
]);

/**
 * Offsets in the frame. They move by a tag with every `vlan` in the text, for all that stands behind it, whatever the
 * two have to do with each other: so it is in libpcap, and `vlan 5 or ip` is not what it seems.
 */
export class Layers {
  /** Of the EtherType. */
  type = ETH_TYPE;
  /** Of what is behind the EtherType. */
  payload = ETH_LEN;

  /** Looks behind one more tag from now on. */
  enterVlan(): void {
    this.type += VLAN_LEN;
    this.payload += VLAN_LEN;
  }

  /** What `ether proto` asks: an EtherType, or up to 1500 a service access point of an IEEE 802.3 frame. */
  etherType(value: number): Condition {
    const { type, payload } = this;
    const is8023 = not(test([Op.HALF, type], Op.GREATER, MAX_8023_LENGTH));
    const snap = (behind: number, head: number) =>
      all(field(payload + 4, 4, behind), field(payload, 4, head));
    if (LLC_TWICE.has(value)) return all(is8023, field(payload, 2, (value << 8) | value));
    switch (value) {
      case LLC_IPX:
        return any(
          field(type, 2, ETHERTYPE_IPX),
          all(
            is8023,
            any(snap(ETHERTYPE_IPX, SNAP_ETHERNET), field(payload, 1, LLC_IPX), field(payload, 2, 0xffff)),
          ),
        );
      case ETHERTYPE_APPLETALK:
        return any(field(type, 2, value), all(is8023, snap(APPLE | value, SNAP_APPLE)));
      case ETHERTYPE_APPLETALK_ARP:
        return any(field(type, 2, value), all(is8023, snap(value, SNAP_ETHERNET)));
    }
    return value <= MAX_8023_LENGTH ? all(is8023, field(payload, 1, value)) : field(type, 2, value);
  }

  /** `ip proto`. */
  ipv4Protocol(value: number): Condition {
    return all(this.etherType(ETHERTYPE_IPV4), field(this.payload + IPV4_PROTOCOL, 1, value));
  }

  /** `ip6 proto`: the first header, or the one behind a fragment header; others are not looked behind. */
  ipv6Protocol(value: number): Condition {
    const next = this.payload + IPV6_NEXT_HEADER;
    const behind = this.payload + IPV6_LEN + IPV6_FRAG_NEXT_HEADER;
    return all(
      this.etherType(ETHERTYPE_IPV6),
      any(field(next, 1, value), all(field(next, 1, IPV6_EXT_FRAGMENT), field(behind, 1, value))),
    );
  }

  /** Not a later fragment, in which there is no transport header. */
  firstFragment(): Condition {
    return not(test([Op.HALF, this.payload + IPV4_FRAGMENT], Op.ANY_BIT, IPV4_OFFSET_MASK));
  }

  /** What the name of a protocol alone means; undefined for `ether`, which means nothing. */
  protocol(protocol: Protocol): Condition | undefined {
    const numbers = NUMBERS.get(protocol);
    if (numbers === undefined) {
      const type = ETHER_PROTOCOLS.get(protocol);
      return type === undefined ? undefined : this.etherType(type);
    }
    const [number, ipv4, ipv6] = numbers;
    if (!ipv6) return this.ipv4Protocol(number);
    return ipv4 ? any(this.ipv4Protocol(number), this.ipv6Protocol(number)) : this.ipv6Protocol(number);
  }
}
