/** Connections as they are shown to people and programs, and picked out by them. */
import { ASSURED, DNAT, NPT, SEEN_REPLY, SNAT } from '../../nat/conntrack.ts';
import { TCP_STATE_NAMES } from '../../nat/tcp-tracking.ts';
import {
  destinationPort,
  kindIsIpv6,
  kindProtocol,
  kindZone,
  sourcePort,
  TUPLE_DST,
  TUPLE_KIND,
  TUPLE_PORTS,
  TUPLE_SRC,
  TUPLE_WORDS,
} from '../../nat/tuple.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP } from '../../wire/protocol.ts';
import type { FlowDirection, FlowEntry, FlowFilter, FlowPage } from './commands.ts';
import { flowMatch, shownDestinationPort, shownSourcePort } from './flow-match.ts';
import type { Nat } from './nat.ts';

/** The connection of a row that lives. */
export function describeFlow(nat: Nat, row: number, now: number): FlowEntry {
  const { conntrack, publishes } = nat;
  const { tuples, status, publish } = conntrack;
  const at = row * 2 * TUPLE_WORDS;
  const kind = tuples[at + TUPLE_KIND]!;
  const protocol = kindProtocol(kind);
  const bits = status[row]!;
  const isIcmp = protocol === PROTO_ICMP || protocol === PROTO_ICMPV6;
  const ports = tuples[at + TUPLE_PORTS]!;
  return {
    id: conntrack.serial[row]! * (conntrack.capacity + 1) + row,
    protocol,
    family: kindIsIpv6(kind) ? 6 : 4,
    state: protocol === PROTO_TCP ? TCP_STATE_NAMES[conntrack.tcp.state[row]!]! : null,
    original: direction(nat, row << 1),
    reply: direction(nat, (row << 1) | 1),
    unreplied: (bits & SEEN_REPLY) === 0,
    assured: (bits & ASSURED) !== 0,
    icmp: isIcmp ? { type: destinationPort(ports), code: 0, id: sourcePort(ports) } : null,
    snat: (bits & (SNAT | NPT)) !== 0,
    dnat: (bits & DNAT) !== 0,
    remaining: conntrack.remaining(row, now),
    publish: publish[row]! < 0 ? -1 : publishes.id(publish[row]!),
  };
}

function direction(nat: Nat, ref: number): FlowDirection {
  const { conntrack } = nat;
  const { tuples } = conntrack;
  const at = ref * TUPLE_WORDS;
  const kind = tuples[at + TUPLE_KIND]!;
  return {
    network: kindZone(kind),
    src: addressAt(tuples, at + TUPLE_SRC, kindIsIpv6(kind)),
    dst: addressAt(tuples, at + TUPLE_DST, kindIsIpv6(kind)),
    srcPort: shownSourcePort(tuples, ref),
    dstPort: shownDestinationPort(tuples, ref),
    packets: conntrack.packets(ref),
    bytes: conntrack.bytes(ref),
  };
}

function addressAt(words: Int32Array, at: number, isIpv6: boolean): string {
  return isIpv6
    ? formatIpv6(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!)
    : formatIpv4(words[at + 3]!);
}

/** Whether a connection is one of those that are meant. */
export function matchesFlow(flow: FlowEntry, filter: FlowFilter): boolean {
  const { original, reply } = flow;
  const is = <T>(wanted: T | undefined, value: T) => wanted === undefined || wanted === value;
  return (
    is(filter.protocol, flow.protocol) &&
    is(filter.family, flow.family) &&
    is(filter.src, original.src) &&
    is(filter.dst, original.dst) &&
    is(filter.srcPort, original.srcPort) &&
    is(filter.dstPort, original.dstPort) &&
    is(filter.replySrc, reply.src) &&
    is(filter.replyDst, reply.dst) &&
    is(filter.replySrcPort, reply.srcPort) &&
    is(filter.replyDstPort, reply.dstPort) &&
    (filter.state === undefined || filter.state === flow.state) &&
    (filter.network === undefined ||
      filter.network === original.network ||
      filter.network === reply.network) &&
    is(filter.publish, flow.publish)
  );
}

/** Connections of a page: as many as are described between two batches of frames without anybody noticing. */
const PAGE = 512;
/** Rows of a page; one that is only looked at costs a hundredth of one that is described. */
const MOST_ROWS = 16_384;

/** The connections that match, of a part of the table: from a row on. */
export function listFlows(nat: Nat, filter: FlowFilter, from: number, now: number): FlowPage {
  const { conntrack } = nat;
  const matches = flowMatch(nat, filter);
  const flows: FlowEntry[] = [];
  let row = from;
  for (; row < conntrack.high && flows.length < PAGE && row < from + MOST_ROWS; row++) {
    if (conntrack.isLive(row) && matches(row)) flows.push(describeFlow(nat, row, now));
  }
  return { flows, next: row < conntrack.high ? row : null };
}
