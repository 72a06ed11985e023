/**
 * `tapdeck/nat`: network address translation. So far, how a packet is rewritten; connection tracking and the rules
 * that decide what to rewrite are being built.
 */

export * from './conntrack.ts';
export {
  claimedMtu,
  isBelowPmtuFloor,
  isIcmpErrorPacket,
  PMTU_FLOOR_IPV4,
  quotedTcpSequence,
  readQuotation,
  translateError,
} from './icmp-error.ts';
export {
  MAPPING_FULL,
  Mappings,
  type MappingsConfig,
  NO_EXTERNAL_ADDRESS,
  PORTS_EXHAUSTED,
} from './mappings.ts';
export { Npt } from './npt.ts';
export { hasPorts, PortPool } from './port-pool.ts';
export { type Publish, Publishes } from './publishes.ts';
export * from './rewrite.ts';
export { TCP_STATE_NAMES, TcpState } from './tcp-tracking.ts';
export { DEFAULT_TIMEOUTS, type Timeouts } from './timeouts.ts';
export { restore, translate } from './translate.ts';
