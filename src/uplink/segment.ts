import type { Ipv6, Mac } from '../../wire/address.ts';

/** One of the two stations on the segment between the deck and a socket uplink. */
export interface SegmentStation {
  readonly mac: Mac;
  readonly ipv4: number;
  readonly ipv6: Ipv6;
}

/** The segment between the deck and a socket uplink: a link of two stations, of which nobody outside hears. */
export interface Segment {
  /** The deck: what leaves by the uplink comes from its addresses. */
  readonly deck: SegmentStation;
  /** The uplink's device, next hop to everywhere; programs on the host's loopback appear under its addresses. */
  readonly device: SegmentStation;
}
