import { DHCP_SERVER_PORT } from '../wire/dhcp.ts';
import { DNS_PORT } from '../wire/dns.ts';
import { PROTO_TCP, PROTO_UDP } from '../wire/protocol.ts';

/** Where a gateway itself listens. */
export const SERVICES: readonly { protocol: number; port: number }[] = [
  { protocol: PROTO_UDP, port: DNS_PORT },
  { protocol: PROTO_TCP, port: DNS_PORT },
  { protocol: PROTO_UDP, port: DHCP_SERVER_PORT },
];

/**
 * Whether a port of a gateway is one where it listens itself: such a port is nobody's to publish or to translate to there, or whoever
 * had it would answer everybody's questions (CVE-2021-3773).
 */
export function isService(protocol: number, port: number): boolean {
  if (protocol === PROTO_UDP) return port === DNS_PORT || port === DHCP_SERVER_PORT;
  return protocol === PROTO_TCP && port === DNS_PORT;
}
