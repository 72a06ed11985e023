import { expect } from 'vitest';
import type { Station } from '../../src/testing/frames.ts';
import {
  type MemoryDeck,
  type MemoryDeckOptions,
  type MemoryUplink,
  memoryDeck,
} from '../../src/testing/memory-deck.ts';
import { get16 } from '../../wire/bytes.ts';
import { parse } from '../../wire/parse.ts';
import { connect, FEW, packetOf, read } from '../switch/gateway-bed.ts';

export const C1: Required<Station> = { mac: '02:42:0a:00:00:02', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
export const C2: Required<Station> = { mac: '02:42:0a:00:00:03', ipv4: '10.0.0.3', ipv6: 'fd00::3' };
export const D1: Required<Station> = { mac: '02:42:0a:01:00:02', ipv4: '10.1.0.2', ipv6: 'fd01::2' };
/** The gateway of network a. */
export const GA = { mac: '02:42:0a:00:00:01', ipv4: '10.0.0.1', ipv6: 'fd00::1' };
export const GB = { mac: '02:42:0a:01:00:01', ipv4: '10.1.0.1', ipv6: 'fd01::1' };
/** The deck on the uplink. */
export const UP: Required<Station> = {
  mac: '02:42:c6:33:64:02',
  ipv4: '198.51.100.2',
  ipv6: '2001:db8:0:1::2',
};
/** The router on the uplink, and two hosts behind it, whose frames come from its MAC. */
export const R: Required<Station> = {
  mac: '02:00:00:00:00:01',
  ipv4: '198.51.100.1',
  ipv6: '2001:db8:0:1::1',
};
export const EXT1: Required<Station> = { mac: R.mac, ipv4: '203.0.113.1', ipv6: '2001:db8:2::1' };
export const EXT2: Required<Station> = { mac: R.mac, ipv4: '203.0.113.2', ipv6: '2001:db8:2::2' };

export const VIA_GA = { mac: GA.mac };
export const VIA_GB = { mac: GB.mac };
export const VIA_UP = { mac: UP.mac };

export interface NatBedOptions extends Pick<MemoryDeckOptions, 'conntrack' | 'seed'> {
  uplink?: Partial<MemoryUplink>;
  /** RFC 6296: what stands for network a's IPv6 prefix outside. */
  npt?: string;
  /** Whether network a may reach the host's loopback. */
  hostLoopback?: boolean;
  /** Whether the gateway stands for the host's loopback, for c1. */
  hostAtGateway?: boolean;
  /** Whether the bridge keeps c1 and c2 apart. */
  isolated?: boolean;
  /** Whether a rule lets the two networks reach each other. */
  routed?: boolean;
}

/** c1 and c2 in network a, d1 in network b, both behind one uplink, on whose wire is a router. */
export function natBed({
  uplink = {},
  npt,
  hostLoopback = false,
  hostAtGateway = false,
  isolated = false,
  routed = false,
  ...rest
}: NatBedOptions = {}): MemoryDeck {
  const deck = memoryDeck({
    seed: 1,
    arena: FEW,
    ...rest,
    uplinks: {
      up: {
        mac: UP.mac,
        ipv4: `${UP.ipv4}/24`,
        ipv6: `${UP.ipv6}/64`,
        gateway4: R.ipv4,
        gateway6: R.ipv6,
        mtu: 1500,
        ...uplink,
      },
    },
    networks: {
      a: {
        ipv4: '10.0.0.1/24',
        ipv6: 'fd00::1/64',
        uplink: 'up',
        hostLoopback,
        ...(npt !== undefined && { npt }),
      },
      b: { ipv4: '10.1.0.1/24', ipv6: 'fd01::1/64', uplink: 'up' },
    },
    ports: {
      c1: { network: 'a', station: C1, isolated, hostAtGateway },
      c2: { network: 'a', station: C2, isolated },
      d1: { network: 'b', station: D1 },
      ext: { network: 'up', station: R },
    },
  });
  if (routed) connect(deck, 'a', 'b');
  deck.virtual.dataplane.arena.bytes.fill(0xa5);
  return deck;
}

/** Who speaks to whom in a frame, `10.0.0.2 5000 > 203.0.113.1 80`; fails when a checksum in it is wrong. */
export interface Ends {
  src: string;
  srcPort: number;
  dst: string;
  dstPort: number;
}

export function ends(frame: Uint8Array): Ends {
  const { ip } = read(frame);
  const packet = packetOf(frame);
  parse(packet);
  return {
    src: ip!.src,
    srcPort: get16(packet.bytes, packet.l4),
    dst: ip!.dst,
    dstPort: get16(packet.bytes, packet.l4 + 2),
  };
}

/** The ends of the only frame that the deck has sent by the port since the last time. */
export function arrived(deck: MemoryDeck, port: string): Ends {
  const frames = deck.take(port);
  expect(frames, `frames sent by ${port}`).toHaveLength(1);
  return ends(frames[0]!);
}
