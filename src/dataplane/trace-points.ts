import { type Conntrack, NPT, REPLY } from '../../nat/conntrack.ts';
import {
  destinationPort,
  portsWord,
  sourcePort,
  TUPLE_DST,
  TUPLE_PORTS,
  TUPLE_SRC,
  TUPLE_WORDS,
} from '../../nat/tuple.ts';
import type { Frame } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { Action, By, Stage } from '../../switch/trace.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { ipv4Ttl } from '../../wire/ipv4.ts';
import { ipv6HopLimit } from '../../wire/ipv6.ts';
import { type Nat, REPLY_AT } from './nat.ts';

// What the way of an IP packet says about itself to who looks. Every function is for a frame that has a trace.

/** A packet of a known connection, and where it goes now if that is not where it said. */
export function pointConnection(frame: Frame, conntrack: Conntrack, ref: number, state: number): void {
  const row = ref >> 1;
  const { trace } = frame;
  trace!.point(frame, Stage.PREROUTING, Action.CONNECTION, row, ref & 1, state, conntrack.tcp.state[row]);
  pointDestination(
    frame,
    conntrack.tuples,
    ref * TUPLE_WORDS,
    conntrack.tuples,
    (ref ^ 1) * TUPLE_WORDS,
    By.CONNECTION,
    row,
  );
}

/** The destination of a first packet has been chosen: it is published, or mapped by whom it is for. */
export function pointTarget(frame: Frame, nat: Nat, publish: number, mapping: number): void {
  if (publish >= 0) pointNewDestination(frame, nat, By.PUBLISH, nat.publishes.id(publish));
  else pointNewDestination(frame, nat, By.MAPPING, mapping);
}

/** As `nat.words` has it: the destination of a first packet becomes another. */
export function pointNewDestination(frame: Frame, { words }: Nat, by: By, which: number): void {
  pointDestination(frame, words, 0, words, REPLY_AT, by, which);
}

/** Says that a destination is translated, if it is: of a packet with tuple `at`, which the one at `replyAt` answers. */
function pointDestination(
  frame: Frame,
  words: Int32Array,
  at: number,
  replies: Int32Array,
  replyAt: number,
  by: By,
  which: number,
): void {
  const before = destinationPort(words[at + TUPLE_PORTS]!);
  const after = sourcePort(replies[replyAt + TUPLE_PORTS]!);
  if (before === after && isSame(words, at + TUPLE_DST, replies, replyAt + TUPLE_SRC)) return;
  frame.trace!.translated(
    frame,
    Stage.PREROUTING,
    Action.DNAT,
    words,
    at + TUPLE_DST,
    replies,
    replyAt + TUPLE_SRC,
    portsWord(before, after),
    by,
    which,
  );
}

/** Says that the source of a packet of direction `ref` is translated, if it is: answers, because their questions were. */
export function pointSource(frame: Frame, { tuples, status }: Conntrack, ref: number, egress: Network): void {
  const row = ref >> 1;
  const isAnswer = (ref & 1) === REPLY;
  const by = isAnswer ? By.CONNECTION : (status[row]! & NPT) !== 0 ? By.PREFIX : By.MASQUERADE;
  const at = ref * TUPLE_WORDS;
  const replyAt = (ref ^ 1) * TUPLE_WORDS;
  const before = sourcePort(tuples[at + TUPLE_PORTS]!);
  const after = destinationPort(tuples[replyAt + TUPLE_PORTS]!);
  if (before === after && isSame(tuples, at + TUPLE_SRC, tuples, replyAt + TUPLE_DST)) return;
  frame.trace!.translated(
    frame,
    Stage.POSTROUTING,
    Action.SNAT,
    tuples,
    at + TUPLE_SRC,
    tuples,
    replyAt + TUPLE_DST,
    portsWord(before, after),
    by,
    isAnswer ? row : egress.id,
  );
}

/** It is to go from one network to another. */
export function pointRoute(frame: Frame, network: Network, egress: Network): void {
  const { bytes, l3, etherType } = frame;
  const ttl = etherType === ETHERTYPE_IPV4 ? ipv4Ttl(bytes, l3) : ipv6HopLimit(bytes, l3);
  frame.trace!.point(frame, Stage.FORWARD, Action.ROUTED, network.id, egress.id, ttl);
}

/** An isolation chain drops it, by its rule of `kind`. */
export function pointDropped(
  frame: Frame,
  stage: Stage,
  network: Network,
  egress: Network,
  kind: number,
): void {
  frame.trace!.point(frame, stage, Action.DROPPED, network.id, egress.id, kind);
}

/** Chain DOCKER lets it pass, by a rule of `kind`. */
export function pointAccepted(
  frame: Frame,
  network: Network,
  egress: Network,
  kind: number,
  publish = -1,
): void {
  frame.trace!.point(frame, Stage.DOCKER, Action.ACCEPTED, network.id, egress.id, kind, publish);
}

function isSame(a: Int32Array, at: number, b: Int32Array, bt: number): boolean {
  for (let i = 0; i < 4; i++) if (a[at + i] !== b[bt + i]) return false;
  return true;
}
