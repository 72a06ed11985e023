/**
 * `tapdeck/nat`: the parts of a network address translator, without I/O and clock: the table of connections, TCP tracking,
 * mappings and port pools, publishes, prefix translation, and how a packet and an ICMP error are rewritten.
 */

export * from './conntrack.ts';
export {
  claimedMtu,
  isIcmpErrorPacket,
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
export { TCP_STATE_NAMES, TcpState } from './tcp-tracking.ts';
export { DEFAULT_TIMEOUTS, type Timeouts } from './timeouts.ts';
export { restore, translate } from './translate.ts';
