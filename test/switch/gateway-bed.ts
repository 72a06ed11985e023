import { expect } from 'vitest';
import type { Station } from '../../src/testing/frames.ts';
import { type MemoryDeck, type MemoryDeckOptions, memoryDeck } from '../../src/testing/memory-deck.ts';
import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { type Verdict, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import { arpOper, arpShaHi, arpShaLo, arpSpa, arpThaHi, arpThaLo, arpTpa } from '../../wire/arp.ts';
import { get32 } from '../../wire/bytes.ts';
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ethDstHi,
  ethDstLo,
  ethSrcHi,
  ethSrcLo,
} from '../../wire/ethernet.ts';
import { icmpCode, icmpType } from '../../wire/icmp.ts';
import { ipv4Dst, ipv4Fragment, ipv4Src, ipv4Tos, ipv4Ttl } from '../../wire/ipv4.ts';
import { ipv6Dst, ipv6HopLimit, ipv6Src } from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../../wire/protocol.ts';
import { transportChecksumOk } from '../../wire/transport.ts';
import { VNET_LEN } from '../../wire/virtio-net.ts';

/** Containers: c1 and c2 on network a, d1 on network b. */
export const C1: Required<Station> = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
export const C2: Required<Station> = { mac: '02:42:0a:00:00:03', ipv4: '10.0.0.3', ipv6: 'fd00::3' };
export const D1: Required<Station> = { mac: '02:42:0a:01:00:02', ipv4: '10.1.0.2', ipv6: 'fd01::2' };
/** The gateways, in the two networks; GA_LOCAL by its link-local address. */
export const GA: Required<Station> = { mac: '02:42:0a:00:00:01', ipv4: '10.0.0.1', ipv6: 'fd00::1' };
export const GB: Required<Station> = { mac: '02:42:0a:01:00:01', ipv4: '10.1.0.1', ipv6: 'fd01::1' };
export const GA_LOCAL = 'fe80::42:aff:fe00:1';
/** A station of network b, as c1 reaches it. */
export const VIA_GA = { mac: GA.mac };

export interface BedOptions {
  /** Whether c1, c2 and d1 are entered as endpoints, with permanent neighbors; false: everything is learned. */
  known?: boolean;
  mtuA?: number;
  mtuB?: number;
  isolated?: boolean;
  /** Whether known endpoints are kept to their own addresses: who tests what the gateway makes of forgeries lets them. */
  guard?: boolean;
  /** Whether a rule lets the two networks reach each other. */
  routed?: boolean;
  arena?: MemoryDeckOptions['arena'];
  seed?: number;
}

/** Enough for one frame and what it causes: beds of properties are made by the hundred. */
export const FEW = { small: 64, big: 24 };

/** Two networks with gateways, and three ports; every free byte of the arena is 0xa5, so that it shows when one leaves. */
export function gatewayBed(options: BedOptions = {}): MemoryDeck {
  const {
    known = false,
    mtuA = 1500,
    mtuB = 1400,
    isolated = false,
    guard = false,
    routed = true,
    ...rest
  } = options;
  const deck = memoryDeck({
    seed: 7,
    ...rest,
    networks: {
      a: { ipv4: '10.0.0.1/16', ipv6: 'fd00::1/64', mac: GA.mac, mtu: mtuA },
      b: { ipv4: '10.1.0.1/24', ipv6: 'fd01::1/64', mac: GB.mac, mtu: mtuB },
    },
    ports: {
      c1: { network: 'a', isolated, ...(known && { station: C1, guard }) },
      c2: { network: 'a', isolated, ...(known && { station: C2, guard }) },
      d1: { network: 'b', ...(known && { station: D1, guard }) },
    },
  });
  if (routed) connect(deck, 'a', 'b');
  deck.virtual.dataplane.arena.bytes.fill(0xa5);
  return deck;
}

/** Lets two networks reach each other, by rules of the user. */
export function connect(deck: MemoryDeck, one: string, other: string): void {
  const [a, b] = [deck.networkId(one), deck.networkId(other)];
  deck.setUserRules([
    { id: 1, action: 'ACCEPT', in: { network: a }, out: { network: b } },
    { id: 2, action: 'ACCEPT', in: { network: b }, out: { network: a } },
  ]);
}

/** A frame comes in by a port; answers the verdict on it: FORWARD, FLOOD, CONSUME, HOLD, or the reason of a DROP. */
export function send(deck: MemoryDeck, port: string, frame: Uint8Array): string {
  deck.send(port, frame);
  return verdictName(deck.virtual.dataplane.lastVerdict);
}

export function verdictName(verdict: Verdict): string {
  const kind = verdictKind(verdict);
  if (kind === VerdictKind.DROP) return DROP_REASON_NAMES[verdictArgument(verdict)]!;
  return Object.keys(VerdictKind)[kind];
}

/** Every slot of the arena is free again, once nothing waits any more. */
export function expectNoLeak(deck: MemoryDeck): void {
  deck.advance(120_000);
  const { arena } = deck.virtual.dataplane;
  expect(arena.frames.filter((frame) => frame.references !== 0)).toEqual([]);
  expect(arena.free).toBe(arena.frames.length);
  expect(deck.tables().ledger.held).toBe(0);
}

/** What a frame says, in text; fails when it is malformed or a checksum in it is wrong. */
export interface Said {
  dst: string;
  src: string;
  arp?: { oper: number; sha: string; spa: string; tha: string; tpa: string };
  ip?: { src: string; dst: string; ttl: number; protocol: number; fragmentOffset: number; more: boolean };
  /** IPv4 only. */
  tos?: number;
  df?: boolean;
  /** Bytes of the IP packet. */
  total?: number;
  icmp?: { type: number; code: number; rest: number };
  /** Behind the transport header; in ICMP errors, the packet that they are about. */
  payload?: Uint8Array;
}

export function read(frame: Uint8Array): Said {
  const packet = packetOf(frame);
  expect(parse(packet), 'the frame is well-formed').toBe(Malformed.NONE);
  expect(transportChecksumOk(packet), 'its checksum is right').toBe(true);
  const { bytes, at, l3, l4 } = packet;
  const said: Said = {
    dst: formatMac(ethDstHi(bytes, at), ethDstLo(bytes, at)),
    src: formatMac(ethSrcHi(bytes, at), ethSrcLo(bytes, at)),
  };
  if (packet.etherType === ETHERTYPE_ARP) {
    said.arp = {
      oper: arpOper(bytes, l3),
      sha: formatMac(arpShaHi(bytes, l3), arpShaLo(bytes, l3)),
      spa: formatIpv4(arpSpa(bytes, l3)),
      tha: formatMac(arpThaHi(bytes, l3), arpThaLo(bytes, l3)),
      tpa: formatIpv4(arpTpa(bytes, l3)),
    };
    return said;
  }
  const isIpv4 = packet.etherType === ETHERTYPE_IPV4;
  const word = (read: typeof ipv6Src) =>
    formatIpv6(read(bytes, l3, 0), read(bytes, l3, 1), read(bytes, l3, 2), read(bytes, l3, 3));
  said.ip = {
    src: isIpv4 ? formatIpv4(ipv4Src(bytes, l3)) : word(ipv6Src),
    dst: isIpv4 ? formatIpv4(ipv4Dst(bytes, l3)) : word(ipv6Dst),
    ttl: isIpv4 ? ipv4Ttl(bytes, l3) : ipv6HopLimit(bytes, l3),
    protocol: packet.protocol,
    fragmentOffset: packet.fragmentOffset,
    more: packet.moreFragments,
  };
  if (isIpv4) {
    said.tos = ipv4Tos(bytes, l3);
    said.df = (ipv4Fragment(bytes, l3) & 0x4000) !== 0;
  }
  said.total = packet.end - l3;
  if (l4 !== 0 && (packet.protocol === PROTO_ICMP || packet.protocol === PROTO_ICMPV6)) {
    said.icmp = { type: icmpType(bytes, l4), code: icmpCode(bytes, l4), rest: get32(bytes, l4 + 4) };
  }
  if (l4 !== 0) said.payload = bytes.slice(packet.payload, packet.end);
  return said;
}

/** A packet over a copy of the frame, with a virtio-net header that is all zero. */
export function packetOf(frame: Uint8Array): Packet {
  const bytes = new Uint8Array(VNET_LEN + frame.length);
  bytes.set(frame, VNET_LEN);
  const packet = new Packet(bytes);
  packet.at = VNET_LEN;
  packet.length = frame.length;
  return packet;
}

/** The only frame that the deck has sent by the port since the last time. */
export function only(deck: MemoryDeck, port: string): Said {
  const frames = deck.take(port);
  expect(frames).toHaveLength(1);
  return read(frames[0]);
}

/** The neighbors of the gateways that are not permanent, as `address state mac`. */
export function learned(deck: MemoryDeck): string[] {
  return deck
    .tables()
    .neighbors.filter(({ state }) => state !== 'PERMANENT')
    .map(({ address, state, mac }) => `${address} ${state}${mac ? ` ${mac}` : ''}`);
}

/** The frame with bytes replaced from `offset` on. */
export function patched(frame: Uint8Array, offset: number, ...bytes: number[]): Uint8Array {
  const copy = frame.slice();
  copy.set(bytes, offset);
  return copy;
}
