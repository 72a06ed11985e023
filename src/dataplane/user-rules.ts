import { IPV4_MAPPED, sourcePort, TUPLE_PORTS, TUPLE_SRC } from '../../nat/tuple.ts';
import type { Frame } from '../../switch/frame.ts';
import { prefixWord } from '../../wire/address.ts';
import type { Carrier } from '../../wire/carrier.ts';
import { ETHERTYPE_IPV4 } from '../../wire/ethernet.ts';
import { icmpType } from '../../wire/icmp.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  REJECTIONS,
  RULE_ACTIONS,
  RULE_STATES,
  type RuleCounter,
  type RulePrefix,
  type UserRule,
} from './commands.ts';

/** What becomes of a packet: the places in `RULE_ACTIONS`. RETURN also when no rule matches. */
export const UserAction = { ACCEPT: 0, DROP: 1, REJECT: 2, RETURN: 3 } as const;
export type UserAction = (typeof UserAction)[keyof typeof UserAction];

/** Bits of a packet's state: the places in `RULE_STATES`. */
export const STATE_NEW = 1;
export const STATE_ESTABLISHED = 2;
export const STATE_RELATED = 4;
export const STATE_INVALID = 8;
export const STATE_DNAT = 16;

/** How a rule that says nothing about it rejects: `REJECTIONS` are from 0 on. */
export const REJECT_BY_PROTOCOL = -1;

// Words of a rule. What is not asked for is not looked at: `ASKS` says what is.
const ASKS = 0;
const ACTION = 1;
const REJECTION = 2;
const IN = 3;
const OUT = 4;

const PROTOCOL = 5;
const STATES = 6;
const ICMP_TYPE = 7;
const SPORT_FROM = 8;
const SPORT_TO = 9;
const DPORT_FROM = 10;
const DPORT_TO = 11;
/** An address and a mask, four words each; IPv4 as in a tuple. */
const SRC = 12;
const DST = 20;
const STRIDE = 28;

const ASKS_IN = 1;
const ASKS_OUT = 2;
const ASKS_SRC = 4;
const ASKS_DST = 8;
const ASKS_PROTOCOL = 16;
const ASKS_SPORT = 32;
const ASKS_DPORT = 64;
const ASKS_ICMP_TYPE = 128;
const ASKS_STATES = 256;
const ASKS_IPV4 = 512;
const ASKS_IPV6 = 1024;
const NOT_IN = 2048;
const NOT_OUT = 4096;
const NOT_SRC = 8192;
const NOT_DST = 16384;
/** It names a network that is gone. */
const DORMANT = 32768;

/** No rule matched. */
const NONE = -1;

/**
 * Chain DOCKER-USER: the rules that users have put in front of all others, tried in order for every packet that is
 * forwarded. A table of words, replaced as a whole; the first rule that matches decides.
 */
export class UserRules {
  /** How many there are. With none, nobody need ask. */
  size = 0;
  #rows = new Int32Array(0);
  #ids: readonly number[] = [];
  /** Packets and bytes of each; doubles, exact to 2^53. */
  #counters = new Float64Array(0);
  /** The rule that matched last, or NONE. */
  #matched = 0;

  carry(carrier: Carrier): void {
    this.size = carrier.number(this.size);
    this.#rows = carrier.grown(this.#rows);
    this.#ids = carrier.plain(this.#ids);
    this.#counters = carrier.grown(this.#counters);
    this.#matched = carrier.number(this.#matched);
  }

  /** Place of the rule that decided last, the first is 0; -1 when none has matched. */
  get matched(): number {
    return this.#matched;
  }

  /** Id of that rule. */
  get matchedId(): number {
    return this.#ids[this.#matched]!;
  }

  /** How the rule that matched last rejects: a place in `REJECTIONS`, or REJECT_BY_PROTOCOL. */
  get rejection(): number {
    return this.#rows[this.#matched * STRIDE + REJECTION];
  }

  /**
   * Replaces all rules; those whose id was there before go on counting. Throws RangeError, and changes nothing, when one of
   * them is impossible.
   * @param isNetwork whether there is a network or uplink of that number
   */
  set(rules: readonly UserRule[], isNetwork: (network: number) => boolean): void {
    const rows = new Int32Array(rules.length * STRIDE);
    const counters = new Float64Array(rules.length * 2);
    const ids = rules.map(({ id }) => id);
    for (const [i, rule] of rules.entries()) {
      if (!Number.isInteger(rule.id)) throw new RangeError(`${rule.id} is no id of a rule`);
      if (ids.indexOf(rule.id) !== i) throw new RangeError(`there are two rules ${rule.id}`);
      writeRule(rows, i * STRIDE, rule, isNetwork);
      const before = this.#ids.indexOf(rule.id);
      if (before >= 0) counters.set(this.#counters.subarray(2 * before, 2 * before + 2), 2 * i);
    }
    this.#rows = rows;
    this.#counters = counters;
    this.#ids = ids;
    this.#matched = 0;
    this.size = rules.length;
  }

  /** From now on no rule matches that names the network: its number may become another's. */
  forget(network: number): void {
    const rows = this.#rows;
    for (let at = 0; at < rows.length; at += STRIDE) {
      const asks = rows[at + ASKS];
      const names =
        ((asks & ASKS_IN) !== 0 && rows[at + IN] === network) ||
        ((asks & ASKS_OUT) !== 0 && rows[at + OUT] === network);
      if (names) rows[at + ASKS] = asks | DORMANT;
    }
  }

  /**
   * What becomes of a parsed, whole IP packet, and the rule that says so counts it.
   * @param source of the packet: a tuple's words, whose source address and port are meant
   * @param destination that it goes to in the end: the tuple of the other direction, whose source is meant
   * @param states bits that hold
   */
  judge(
    frame: Frame,
    source: Int32Array,
    sourceAt: number,
    destination: Int32Array,
    destinationAt: number,
    ingress: number,
    egress: number,
    states: number,
  ): UserAction {
    const rows = this.#rows;
    const { protocol } = frame;
    const family = frame.etherType === ETHERTYPE_IPV4 ? ASKS_IPV4 : ASKS_IPV6;
    for (let row = 0; row < this.size; row++) {
      const at = row * STRIDE;
      const asks = rows[at + ASKS];
      if ((asks & (ASKS_IPV4 | ASKS_IPV6)) !== 0 && (asks & family) === 0) continue;
      if ((asks & DORMANT) !== 0) continue;
      if ((asks & ASKS_IN) !== 0 && (rows[at + IN] === ingress) === ((asks & NOT_IN) !== 0)) continue;
      if ((asks & ASKS_OUT) !== 0 && (rows[at + OUT] === egress) === ((asks & NOT_OUT) !== 0)) continue;
      if ((asks & ASKS_PROTOCOL) !== 0 && rows[at + PROTOCOL] !== protocol) continue;
      if ((asks & ASKS_STATES) !== 0 && (rows[at + STATES] & states) === 0) continue;
      if (
        (asks & ASKS_SRC) !== 0 &&
        isIn(rows, at + SRC, source, sourceAt + TUPLE_SRC) === ((asks & NOT_SRC) !== 0)
      ) {
        continue;
      }
      if (
        (asks & ASKS_DST) !== 0 &&
        isIn(rows, at + DST, destination, destinationAt + TUPLE_SRC) === ((asks & NOT_DST) !== 0)
      ) {
        continue;
      }
      if ((asks & ASKS_SPORT) !== 0) {
        const port = sourcePort(source[sourceAt + TUPLE_PORTS]);
        if (port < rows[at + SPORT_FROM] || port > rows[at + SPORT_TO]) continue;
      }
      if ((asks & ASKS_DPORT) !== 0) {
        const port = sourcePort(destination[destinationAt + TUPLE_PORTS]);
        if (port < rows[at + DPORT_FROM] || port > rows[at + DPORT_TO]) continue;
      }
      if ((asks & ASKS_ICMP_TYPE) !== 0 && rows[at + ICMP_TYPE] !== icmpType(frame.bytes, frame.l4)) continue;
      this.#counters[2 * row]!++;
      this.#counters[2 * row + 1]! += frame.end - frame.l3;
      this.#matched = row;
      return rows[at + ACTION] as UserAction;
    }
    this.#matched = NONE;
    return UserAction.RETURN;
  }

  list(): RuleCounter[] {
    return this.#ids.map((rule, row) => ({
      kind: 'USER',
      network: -1,
      publish: -1,
      rule,
      packets: this.#counters[2 * row]!,
      bytes: this.#counters[2 * row + 1]!,
    }));
  }
}

function isIn(rows: Int32Array, at: number, words: Int32Array, from: number): boolean {
  for (let i = 0; i < 4; i++) if ((words[from + i] & rows[at + 4 + i]) !== rows[at + i]) return false;
  return true;
}

function writeRule(
  rows: Int32Array,
  at: number,
  rule: UserRule,
  isNetwork: (network: number) => boolean,
): void {
  let asks = 0;
  rows[at + ACTION] = place(RULE_ACTIONS, rule.action, 'action');
  rows[at + REJECTION] = REJECT_BY_PROTOCOL;
  if (rule.rejectWith !== undefined) {
    if (rule.action !== 'REJECT') throw new RangeError(`${rule.action} answers nothing`);
    rows[at + REJECTION] = place(REJECTIONS, rule.rejectWith, 'answer');
    if (rule.rejectWith === 'tcp-reset' && rule.protocol !== PROTO_TCP) {
      throw new RangeError('only TCP can be answered with tcp-reset');
    }
  }
  for (const [field, word, flag, not] of [
    ['in', IN, ASKS_IN, NOT_IN],
    ['out', OUT, ASKS_OUT, NOT_OUT],
  ] as const) {
    const wanted = rule[field];
    if (wanted === undefined) continue;
    if (!isNetwork(wanted.network)) throw new RangeError(`there is no network ${wanted.network}`);
    rows[at + word] = wanted.network;
    asks |= flag | (wanted.not ? not : 0);
  }
  for (const [field, word, flag, not] of [
    ['src', SRC, ASKS_SRC, NOT_SRC],
    ['dst', DST, ASKS_DST, NOT_DST],
  ] as const) {
    const wanted = rule[field];
    if (wanted === undefined) continue;
    asks |= flag | writePrefix(rows, at + word, wanted) | (wanted.not ? not : 0);
  }
  if ((asks & (ASKS_IPV4 | ASKS_IPV6)) === (ASKS_IPV4 | ASKS_IPV6)) {
    throw new RangeError('no packet goes from an IPv4 to an IPv6 address');
  }
  const { protocol } = rule;
  if (protocol !== undefined) {
    if (!isInteger(protocol, 255)) throw new RangeError(`${protocol} is no IP protocol`);
    rows[at + PROTOCOL] = protocol;
    asks |= ASKS_PROTOCOL;
    const wrong = protocol === PROTO_ICMP ? ASKS_IPV6 : protocol === PROTO_ICMPV6 ? ASKS_IPV4 : 0;
    if ((asks & wrong) !== 0) throw new RangeError('ICMP is for IPv4, and ICMPv6 for IPv6');
  }
  for (const [field, word, flag] of [
    ['sports', SPORT_FROM, ASKS_SPORT],
    ['dports', DPORT_FROM, ASKS_DPORT],
  ] as const) {
    const wanted = rule[field];
    if (wanted === undefined) continue;
    if (protocol !== PROTO_TCP && protocol !== PROTO_UDP) throw new RangeError('only TCP and UDP have ports');
    const { from, to } = wanted;
    if (!isInteger(from, 65535) || !isInteger(to, 65535) || from > to) {
      throw new RangeError(`ports ${from} to ${to} are no range of 0 to 65535`);
    }
    rows[at + word] = from;
    rows[at + word + 1] = to;
    asks |= flag;
  }
  if (rule.icmpType !== undefined) {
    if (protocol !== PROTO_ICMP && protocol !== PROTO_ICMPV6) throw new RangeError('only ICMP has types');
    if (!isInteger(rule.icmpType, 255)) throw new RangeError(`${rule.icmpType} is no type of ICMP`);
    rows[at + ICMP_TYPE] = rule.icmpType;
    asks |= ASKS_ICMP_TYPE;
    // ICMP of the other IP version has other types.
    asks |= protocol === PROTO_ICMP ? ASKS_IPV4 : ASKS_IPV6;
  }
  if (rule.states !== undefined && rule.states.length > 0) {
    for (const state of rule.states) rows[at + STATES]! |= 1 << place(RULE_STATES, state, 'state');
    asks |= ASKS_STATES;
  }
  rows[at + ASKS] = asks;
}

/** Writes a prefix with its mask; answers the flag of its IP version. */
function writePrefix(rows: Int32Array, at: number, { address, prefix }: RulePrefix): number {
  const isIpv4 = typeof address === 'number';
  const words = isIpv4 ? [0, 0, IPV4_MAPPED, address] : address;
  if (!isInteger(prefix, isIpv4 ? 32 : 128)) throw new RangeError(`${prefix} is no length of a prefix`);
  const length = isIpv4 ? prefix + 96 : prefix;
  for (let i = 0; i < 4; i++) {
    const mask = prefixWord(length, i);
    rows[at + i] = words[i]! & mask;
    rows[at + 4 + i] = mask;
  }
  return isIpv4 ? ASKS_IPV4 : ASKS_IPV6;
}

function isInteger(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most;
}

function place<T extends string>(names: readonly T[], name: T, what: string): number {
  const index = names.indexOf(name);
  if (index < 0) throw new RangeError(`there is no ${what} ${name}; there are: ${names.join(', ')}`);
  return index;
}
