/** What ICMP messages are called, in a few words. */
import {
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_EXCEEDED_TTL,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_ROUTER_ADVERTISEMENT,
  ICMP_ROUTER_SOLICITATION,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TIMESTAMP,
  ICMP_TIMESTAMP_REPLY,
  ICMP_UNREACH_ADMIN,
  ICMP_UNREACH_FRAG_NEEDED,
  ICMP_UNREACH_HOST,
  ICMP_UNREACH_HOST_PROHIBITED,
  ICMP_UNREACH_NET,
  ICMP_UNREACH_NET_PROHIBITED,
  ICMP_UNREACH_PORT,
  ICMP_UNREACH_PROTOCOL,
  ICMP_UNREACH_SOURCE_ROUTE,
  ICMP_UNREACHABLE,
} from './icmp.ts';
import {
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_EXCEEDED_HOP_LIMIT,
  ICMPV6_MLD_DONE,
  ICMPV6_MLD_QUERY,
  ICMPV6_MLD_REPORT,
  ICMPV6_MLDV2_REPORT,
  ICMPV6_NEIGHBOR_ADVERTISEMENT,
  ICMPV6_NEIGHBOR_SOLICITATION,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_REDIRECT,
  ICMPV6_ROUTER_ADVERTISEMENT,
  ICMPV6_ROUTER_SOLICITATION,
  ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE,
} from './icmpv6.ts';

const NAMES: ReadonlyMap<number, string> = new Map([
  [ICMP_ECHO_REPLY, 'echo reply'],
  [ICMP_SOURCE_QUENCH, 'source quench'],
  [ICMP_REDIRECT, 'redirect'],
  [ICMP_ECHO_REQUEST, 'echo request'],
  [ICMP_ROUTER_ADVERTISEMENT, 'router advertisement'],
  [ICMP_ROUTER_SOLICITATION, 'router solicitation'],
  [ICMP_PARAMETER_PROBLEM, 'parameter problem'],
  [ICMP_TIMESTAMP, 'timestamp request'],
  [ICMP_TIMESTAMP_REPLY, 'timestamp reply'],
]);

const UNREACHABLE: ReadonlyMap<number, string> = new Map([
  [ICMP_UNREACH_NET, 'net unreachable'],
  [ICMP_UNREACH_HOST, 'host unreachable'],
  [ICMP_UNREACH_PROTOCOL, 'protocol unreachable'],
  [ICMP_UNREACH_PORT, 'port unreachable'],
  [ICMP_UNREACH_FRAG_NEEDED, 'fragmentation needed'],
  [ICMP_UNREACH_SOURCE_ROUTE, 'source route failed'],
  [ICMP_UNREACH_NET_PROHIBITED, 'network prohibited'],
  [ICMP_UNREACH_HOST_PROHIBITED, 'host prohibited'],
  [ICMP_UNREACH_ADMIN, 'administratively prohibited'],
]);

/** `echo request`, `host unreachable`; by its numbers when it has no name: `type 40 code 0`. */
export function icmpName(type: number, code: number): string {
  if (type === ICMP_UNREACHABLE) return UNREACHABLE.get(code) ?? `unreachable code ${code}`;
  if (type === ICMP_TIME_EXCEEDED) return exceeded(code === ICMP_EXCEEDED_TTL);
  return NAMES.get(type) ?? `type ${type} code ${code}`;
}

const NAMES6: ReadonlyMap<number, string> = new Map([
  [ICMPV6_PACKET_TOO_BIG, 'packet too big'],
  [ICMPV6_PARAMETER_PROBLEM, 'parameter problem'],
  [ICMPV6_ECHO_REQUEST, 'echo request'],
  [ICMPV6_ECHO_REPLY, 'echo reply'],
  [ICMPV6_MLD_QUERY, 'multicast listener query'],
  [ICMPV6_MLD_REPORT, 'multicast listener report'],
  [ICMPV6_MLD_DONE, 'multicast listener done'],
  [ICMPV6_ROUTER_SOLICITATION, 'router solicitation'],
  [ICMPV6_ROUTER_ADVERTISEMENT, 'router advertisement'],
  [ICMPV6_NEIGHBOR_SOLICITATION, 'neighbor solicitation'],
  [ICMPV6_NEIGHBOR_ADVERTISEMENT, 'neighbor advertisement'],
  [ICMPV6_REDIRECT, 'redirect'],
  [ICMPV6_MLDV2_REPORT, 'multicast listener report v2'],
]);

/** Codes of destination unreachable, RFC 4443 §3.1. */
const UNREACHABLE6: readonly string[] = [
  'no route',
  'administratively prohibited',
  'beyond scope',
  'address unreachable',
  'port unreachable',
];

/** As `icmpName`, of ICMPv6. */
export function icmpv6Name(type: number, code: number): string {
  if (type === ICMPV6_UNREACHABLE) return UNREACHABLE6[code] ?? `unreachable code ${code}`;
  if (type === ICMPV6_TIME_EXCEEDED) return exceeded(code === ICMPV6_EXCEEDED_HOP_LIMIT);
  return NAMES6.get(type) ?? `type ${type} code ${code}`;
}

function exceeded(isInTransit: boolean): string {
  return `time exceeded ${isInTransit ? 'in transit' : 'in reassembly'}`;
}
