import type { FlowFilter } from '../dataplane/commands.ts';
import { type Family, familyOf, formatAddress, parseAddress } from './address.ts';
import { invalid } from './error.ts';
import { quote } from './name.ts';

/** Names of IP protocols as `conntrack` prints them. */
const PROTOCOL_NAMES = new Map<number, string>([
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [33, 'dccp'],
  [47, 'gre'],
  [58, 'icmpv6'],
  [132, 'sctp'],
  [136, 'udplite'],
]);
const PROTOCOL_NUMBERS = new Map(Array.from(PROTOCOL_NAMES, ([number, name]) => [name, number]));

/** `unknown` for protocols that conntrack has no name for. */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES.get(protocol) ?? 'unknown';
}

/** TCP's states by Linux's names. */
const STATES = new Set([
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'SYN_SENT2',
]);

/**
 * Which connections are meant, in people's words; what is left out matches all. Addresses and ports are those of the
 * original direction, `reply...` those of the reply.
 */
export interface FlowQuery {
  /** `tcp`, `udp`, `icmp`, `icmpv6`, or a number. */
  protocol?: string;
  family?: Family;
  src?: string;
  dst?: string;
  srcPort?: number;
  dstPort?: number;
  replySrc?: string;
  replyDst?: string;
  replySrcPort?: number;
  replyDstPort?: number;
  /** TCP's state, `ESTABLISHED`. */
  state?: string;
  /** Name or id of the network, or name of the uplink, by which one of both directions comes in. */
  network?: string;
}

/**
 * As the data plane takes it. Throws a `DeckError` for what cannot match anything by its form.
 * @param networkNumber the data plane's number of a network or uplink
 */
export function parseFlowQuery(query: FlowQuery, networkNumber: (nameOrId: string) => number): FlowFilter {
  const { protocol, family, state, network } = query;
  const filter: FlowFilter = {};
  if (protocol !== undefined) filter.protocol = parseProtocol(protocol);
  if (family !== undefined) filter.family = family;
  for (const key of ['src', 'dst', 'replySrc', 'replyDst'] as const) {
    const text = query[key];
    if (text?.includes('/')) {
      throw invalid(
        `address ${quote(text)}: connections are chosen by whole addresses, there are no prefixes here`,
      );
    }
    // As the data plane writes it: `FD00::0002` is `fd00::2`.
    if (text !== undefined) filter[key] = formatAddress(familyOf(text), parseAddress(familyOf(text), text));
  }
  for (const key of ['srcPort', 'dstPort', 'replySrcPort', 'replyDstPort'] as const) {
    const port = query[key];
    if (port === undefined) continue;
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
      throw invalid(`port ${port} is out of range; use 0 to 65535`);
    }
    filter[key] = port;
  }
  if (state !== undefined) {
    const known = state.toUpperCase();
    if (!STATES.has(known)) {
      throw invalid(`state ${quote(state)} is unknown; TCP has ${Array.from(STATES).join(', ')}`);
    }
    filter.state = known;
  }
  if (network !== undefined) filter.network = networkNumber(network);
  return filter;
}

function parseProtocol(text: string): number {
  const known = PROTOCOL_NUMBERS.get(text.toLowerCase());
  if (known !== undefined) return known;
  if (/^\d{1,3}$/.test(text) && Number(text) <= 255) return Number(text);
  throw invalid(
    `protocol ${quote(text)} is unknown; use ${Array.from(PROTOCOL_NUMBERS.keys()).join(', ')} or a number from 0 to 255`,
  );
}
