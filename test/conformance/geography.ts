/**
 * The test bed: who is where. Two container networks, A and B, behind the NAT; an uplink in front of it with two hosts of
 * two addresses each and a router, behind which there are more.
 *
 * ```
 *   c1 c2 ── A ──┐
 *                ├── the NAT ── uplink ── ext1, ext2, router ── far
 *   d1 ───── B ──┘
 * ```
 */

import type { Timeouts } from '../../nat/timeouts.ts';
import type { Filtering } from '../../src/dataplane/commands.ts';

export const SEGMENTS = ['A', 'B', 'uplink'] as const;
export type Segment = (typeof SEGMENTS)[number];

/** A published port: `{ protocol: 'tcp', port: 8080, to: 'c2:80' }`. */
export interface Publish {
  protocol: 'tcp' | 'udp';
  /** Of the NAT's addresses. */
  port: number;
  /** Station and port inside. */
  to: string;
}

/** How the NAT is to be set up; what is left out is as a user finds it. */
export interface Layout {
  filtering?: Filtering;
  /** Addresses that the NAT has outside; 1 when left out. */
  addresses?: number;
  publish?: readonly Publish[];
  /** Of the uplink; 1500 when left out. */
  uplinkMtu?: number;
  /** Of the networks inside; 1500 when left out. */
  insideMtu?: number;
  timeouts?: Partial<Timeouts>;
  /** Most connections, of all and of one endpoint. */
  capacity?: number;
  quota?: number;
  /** The uplink has network A's own subnet. */
  sameSubnet?: boolean;
  /** No router on the uplink: only its own subnet can be reached. */
  noRouter?: boolean;
}

/** A host on a segment, played by the test. */
export interface Station {
  name: string;
  segment: Segment;
  mac: string;
  ipv4: readonly string[];
  ipv6: readonly string[];
}

/** The NAT on a segment. */
export interface Deck {
  segment: Segment;
  mac: string;
  ipv4: readonly string[];
  ipv6: readonly string[];
  mtu: number;
}

export interface Geography {
  stations: readonly Station[];
  decks: Readonly<Record<Segment, Deck>>;
  /** Addresses by the names that rows use. */
  places: ReadonlyMap<string, Place>;
  /** Default routers on the uplink; null without one. */
  router4: string | null;
  router6: string | null;
  layout: Layout;
}

/** A name for an address: `ext1b` is the second address of ext1, `out` the NAT's own outside. */
export interface Place {
  /** Whose it is; null for the NAT's own. */
  station: Station | null;
  ipv4: string;
  ipv6: string;
}

export const PREFIX4 = 24;
export const PREFIX6 = 64;

export function geography(layout: Layout): Geography {
  const up4 = layout.sameSubnet ? '10.1.0.' : '192.0.2.';
  const up6 = '2001:db8:0:1::';
  const host = layout.sameSubnet ? 100 : 0;
  const station = (
    name: string,
    segment: Segment,
    mac: string,
    ipv4: readonly string[],
    ipv6: readonly string[],
  ): Station => ({ name, segment, mac, ipv4, ipv6 });
  const stations = [
    station('c1', 'A', '02:00:00:0a:00:11', ['10.1.0.11'], ['fd00:a::11']),
    station('c2', 'A', '02:00:00:0a:00:12', ['10.1.0.12'], ['fd00:a::12']),
    station('d1', 'B', '02:00:00:0b:00:11', ['10.2.0.11'], ['fd00:b::11']),
    station(
      'ext1',
      'uplink',
      '02:00:00:0e:00:11',
      [`${up4}${host + 11}`, `${up4}${host + 12}`],
      [`${up6}11`, `${up6}12`],
    ),
    station(
      'ext2',
      'uplink',
      '02:00:00:0e:00:21',
      [`${up4}${host + 21}`, `${up4}${host + 22}`],
      [`${up6}21`, `${up6}22`],
    ),
    station('router', 'uplink', '02:00:00:0e:00:01', [`${up4}${host + 1}`], [`${up6}1`]),
  ];
  const addresses = Array.from({ length: layout.addresses ?? 1 }, (_, i) => i + 2);
  const { insideMtu = 1500, uplinkMtu = 1500 } = layout;
  const decks: Record<Segment, Deck> = {
    A: { segment: 'A', mac: '02:00:00:0a:00:01', ipv4: ['10.1.0.1'], ipv6: ['fd00:a::1'], mtu: insideMtu },
    B: { segment: 'B', mac: '02:00:00:0b:00:01', ipv4: ['10.2.0.1'], ipv6: ['fd00:b::1'], mtu: insideMtu },
    uplink: {
      segment: 'uplink',
      mac: '02:00:00:0e:00:02',
      ipv4: addresses.map((n) => `${up4}${host + n}`),
      ipv6: addresses.map((n) => `${up6}${n}`),
      mtu: uplinkMtu,
    },
  };
  const places = new Map<string, Place>();
  for (const one of stations) {
    places.set(one.name, { station: one, ipv4: one.ipv4[0]!, ipv6: one.ipv6[0]! });
    if (one.ipv4.length > 1)
      places.set(`${one.name}b`, { station: one, ipv4: one.ipv4[1]!, ipv6: one.ipv6[1]! });
  }
  const router = stations.at(-1)!;
  places.set('far', { station: router, ipv4: '198.51.100.7', ipv6: '2001:db8:ff::7' });
  places.set('gw', { station: null, ipv4: decks.A.ipv4[0]!, ipv6: decks.A.ipv6[0]! });
  places.set('out', { station: null, ipv4: decks.uplink.ipv4[0]!, ipv6: decks.uplink.ipv6[0]! });
  return {
    stations,
    decks,
    places,
    router4: layout.noRouter ? null : router.ipv4[0]!,
    router6: layout.noRouter ? null : router.ipv6[0]!,
    layout,
  };
}
