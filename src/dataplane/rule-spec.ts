/** Rules of DOCKER-USER as people and programs write them, in text and with names of networks. */
import { parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import {
  REJECTIONS,
  type Rejection,
  RULE_ACTIONS,
  RULE_STATES,
  type RuleAction,
  type RuleNetwork,
  type RulePorts,
  type RulePrefix,
  type RuleState,
  type UserRule,
} from './commands.ts';

/** What a rule matches and does. What is left out matches all; `!` in front means all others. */
export interface RuleSpec {
  action: RuleAction;
  /** With REJECT. */
  rejectWith?: Rejection;
  /** Names of networks or uplinks: `front`, `!front`. */
  in?: string;
  out?: string;
  /** `10.0.0.0/24`, `10.0.0.2`, `!fd00::/64`. */
  src?: string;
  dst?: string;
  /** `tcp`, `udp`, `icmp`, `icmpv6`, or a number. */
  protocol?: string;
  /** `80`, `8000:8010`. */
  sport?: string;
  dport?: string;
  /** `echo-request`, or a number. */
  icmpType?: string;
  state?: readonly RuleState[];
}

/** The protocols that have names. */
export const RULE_PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ['icmp', PROTO_ICMP],
  ['tcp', PROTO_TCP],
  ['udp', PROTO_UDP],
  ['gre', 47],
  ['esp', 50],
  ['icmpv6', PROTO_ICMPV6],
  ['sctp', 132],
]);

/** iptables' and ip6tables' names of ICMP types. */
const ICMP_TYPES: ReadonlyMap<string, number> = new Map([
  ['echo-reply', 0],
  ['destination-unreachable', 3],
  ['redirect', 5],
  ['echo-request', 8],
  ['time-exceeded', 11],
  ['parameter-problem', 12],
  ['timestamp-request', 13],
  ['timestamp-reply', 14],
]);
const ICMPV6_TYPES: ReadonlyMap<string, number> = new Map([
  ['destination-unreachable', 1],
  ['packet-too-big', 2],
  ['time-exceeded', 3],
  ['parameter-problem', 4],
  ['echo-request', 128],
  ['echo-reply', 129],
]);

/**
 * The rule that a specification means, but for its id.
 * @param find the number of a network or uplink by its name
 * @throws RangeError that says in one line what is wrong and what would be right
 */
export function readRule(spec: RuleSpec, find: (name: string) => number | undefined): Omit<UserRule, 'id'> {
  const rule: Omit<UserRule, 'id'> = { action: wordOf(RULE_ACTIONS, spec.action, 'action') };
  const { rejectWith, protocol: name, icmpType, state } = spec;
  const protocol = name === undefined ? undefined : protocolOf(name);
  if (rejectWith !== undefined) {
    rule.rejectWith = wordOf(REJECTIONS, rejectWith, 'answer');
    if (rule.action !== 'REJECT')
      throw new RangeError(`${rule.action} answers nothing: leave '${rejectWith}' out`);
    if (rejectWith === 'tcp-reset' && protocol !== PROTO_TCP) {
      throw new RangeError("'tcp-reset' is for TCP: give the protocol tcp");
    }
  }
  if (spec.in !== undefined) rule.in = networkOf(spec.in, find);
  if (spec.out !== undefined) rule.out = networkOf(spec.out, find);
  if (spec.src !== undefined) rule.src = prefixOf(spec.src);
  if (spec.dst !== undefined) rule.dst = prefixOf(spec.dst);
  const isIpv6 = [rule.src, rule.dst].flatMap((prefix) =>
    prefix === undefined ? [] : [typeof prefix.address !== 'number'],
  );
  if (isIpv6.length === 2 && isIpv6[0] !== isIpv6[1]) {
    throw new RangeError(`no packet goes from ${spec.src} to ${spec.dst}: one is IPv4, the other IPv6`);
  }
  if (protocol !== undefined) {
    rule.protocol = protocol;
    const wrong =
      protocol === PROTO_ICMP ? isIpv6.includes(true) : protocol === PROTO_ICMPV6 && isIpv6.includes(false);
    if (wrong) throw new RangeError('icmp is for IPv4 addresses, and icmpv6 for IPv6 ones');
  }
  if (spec.sport !== undefined) rule.sports = portsOf(spec.sport, protocol);
  if (spec.dport !== undefined) rule.dports = portsOf(spec.dport, protocol);
  if (icmpType !== undefined) rule.icmpType = icmpTypeOf(icmpType, protocol);
  if (state !== undefined && state.length > 0) {
    rule.states = state.map((each) => wordOf(RULE_STATES, each, 'state'));
  }
  return rule;
}

/** The name of a network without the `!`. */
export function nameOf(text: string): string {
  return text.startsWith('!') ? text.slice(1) : text;
}

function networkOf(text: string, find: (name: string) => number | undefined): RuleNetwork {
  const name = nameOf(text);
  const network = find(name);
  if (network === undefined) throw new RangeError(`there is no network or uplink '${name}'`);
  return { network, ...(name !== text && { not: true }) };
}

function prefixOf(text: string): RulePrefix {
  const plain = nameOf(text);
  const [address = '', length, ...rest] = plain.split('/');
  const ipv4 = parseIpv4(address);
  const ipv6 = parseIpv6(address);
  const most = ipv4 === undefined ? 128 : 32;
  const prefix = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  const found = ipv4 ?? ipv6;
  if (found === undefined || rest.length > 0 || !(prefix <= most)) {
    throw new RangeError(`'${text}' is no address or subnet; write 10.0.0.2, 10.0.0.0/24 or fd00::/64`);
  }
  return { address: found, prefix, ...(plain !== text && { not: true }) };
}

function protocolOf(text: string): number {
  const named = RULE_PROTOCOLS.get(text.toLowerCase());
  if (named !== undefined) return named;
  if (/^\d{1,3}$/.test(text) && Number(text) <= 255) return Number(text);
  throw new RangeError(
    `'${text}' is no protocol; there are: ${[...RULE_PROTOCOLS.keys()].join(', ')}, and numbers up to 255`,
  );
}

function portsOf(text: string, protocol: number | undefined): RulePorts {
  if (protocol !== PROTO_TCP && protocol !== PROTO_UDP) {
    throw new RangeError(`port ${text} says nothing without a protocol that has ports: give tcp or udp`);
  }
  const [, first, last] = /^(\d{1,5})(?:[:-](\d{1,5}))?$/.exec(text) ?? [];
  const from = Number(first);
  const to = Number(last ?? first);
  if (!(from <= to && to <= 65535)) {
    throw new RangeError(`'${text}' is no port or range of ports; write 80 or 8000:8010`);
  }
  return { from, to };
}

function icmpTypeOf(text: string, protocol: number | undefined): number {
  if (protocol !== PROTO_ICMP && protocol !== PROTO_ICMPV6) {
    throw new RangeError(`type ${text} says nothing without a protocol that has types: give icmp or icmpv6`);
  }
  const names = protocol === PROTO_ICMP ? ICMP_TYPES : ICMPV6_TYPES;
  const named = names.get(text.toLowerCase());
  if (named !== undefined) return named;
  if (/^\d{1,3}$/.test(text) && Number(text) <= 255) return Number(text);
  throw new RangeError(
    `'${text}' is no type of it; there are: ${[...names.keys()].join(', ')}, and numbers up to 255`,
  );
}

function wordOf<W extends string>(words: readonly W[], text: string, what: string): W {
  const word = words.find((each) => each === text);
  if (word === undefined)
    throw new RangeError(`there is no ${what} '${text}'; there are: ${words.join(', ')}`);
  return word;
}
