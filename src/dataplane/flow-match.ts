/** Connections picked out of the table by what is known of them, without describing each: a filter as words and numbers. */
import { TCP_STATE_NAMES } from '../../nat/tcp-tracking.ts';
import {
  destinationPort,
  IPV4_MAPPED,
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
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP } from '../../wire/protocol.ts';
import type { FlowFilter } from './commands.ts';
import type { Nat } from './nat.ts';

type Test = (row: number) => boolean;

/** Answers whether the connection of a row that lives is one of those that `filter` means. */
export function flowMatch(nat: Nat, filter: FlowFilter): Test {
  const { conntrack, publishes } = nat;
  const { tuples, tcp, publish } = conntrack;
  const tests: Test[] = [];
  const kind = (row: number) => tuples[row * 2 * TUPLE_WORDS + TUPLE_KIND]!;
  const replyKind = (row: number) => tuples[row * 2 * TUPLE_WORDS + TUPLE_WORDS + TUPLE_KIND]!;

  const { protocol, family, state, network } = filter;
  if (protocol !== undefined) tests.push((row) => kindProtocol(kind(row)) === protocol);
  if (family !== undefined) tests.push((row) => kindIsIpv6(kind(row)) === (family === 6));
  if (state !== undefined) {
    const number = TCP_STATE_NAMES.indexOf(state);
    tests.push((row) => kindProtocol(kind(row)) === PROTO_TCP && tcp.state[row] === number);
  }
  if (network !== undefined) {
    tests.push((row) => kindZone(kind(row)) === network || kindZone(replyKind(row)) === network);
  }
  if (filter.publish !== undefined) {
    const id = filter.publish;
    tests.push((row) => (publish[row]! < 0 ? -1 : publishes.id(publish[row]!)) === id);
  }
  const address = (text: string | undefined, at: number) => {
    if (text === undefined) return;
    const words = addressWords(text);
    tests.push((row) => {
      const from = row * 2 * TUPLE_WORDS + at;
      return words?.every((word, i) => tuples[from + i] === word) ?? false;
    });
  };
  address(filter.src, TUPLE_SRC);
  address(filter.dst, TUPLE_DST);
  address(filter.replySrc, TUPLE_WORDS + TUPLE_SRC);
  address(filter.replyDst, TUPLE_WORDS + TUPLE_DST);
  const port = (wanted: number | undefined, of: typeof shownSourcePort, direction: number) => {
    if (wanted !== undefined) tests.push((row) => of(tuples, (row << 1) | direction) === wanted);
  };
  port(filter.srcPort, shownSourcePort, 0);
  port(filter.dstPort, shownDestinationPort, 0);
  port(filter.replySrcPort, shownSourcePort, 1);
  port(filter.replyDstPort, shownDestinationPort, 1);
  return (row) => tests.every((test) => test(row));
}

/** The source port of a direction; an ICMP query has its identifier at the side of who asks, and no port on the other. */
export function shownSourcePort(tuples: Int32Array, ref: number): number {
  return isIcmp(tuples, ref) && (ref & 1) === 1 ? 0 : sourcePort(tuples[ref * TUPLE_WORDS + TUPLE_PORTS]!);
}

/** The destination port of a direction, likewise. */
export function shownDestinationPort(tuples: Int32Array, ref: number): number {
  return isIcmp(tuples, ref) && (ref & 1) === 0
    ? 0
    : destinationPort(tuples[ref * TUPLE_WORDS + TUPLE_PORTS]!);
}

function isIcmp(tuples: Int32Array, ref: number): boolean {
  const protocol = kindProtocol(tuples[ref * TUPLE_WORDS + TUPLE_KIND]!);
  return protocol === PROTO_ICMP || protocol === PROTO_ICMPV6;
}

function addressWords(text: string): readonly number[] | undefined {
  if (text.includes(':')) return parseIpv6(text);
  const address = parseIpv4(text);
  return address === undefined ? undefined : [0, 0, IPV4_MAPPED, address];
}
