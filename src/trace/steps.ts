import { TCP_STATE_NAMES } from '../../nat/tcp-state.ts';
import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import type { DropReasonName } from '../../switch/drop-text.ts';
import {
  Action,
  By,
  LENGTH_BITS,
  MAPPED,
  NAME_BYTES,
  Piece,
  ROW_ARGUMENTS,
  ROW_PACKET,
  ROW_PORT,
  rowAction,
  rowStage,
  Service,
  Stage,
} from '../../switch/trace.ts';
import { VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { formatIpv4, formatIpv6, formatMac } from '../../wire/address.ts';
import { ARP_REPLY, ARP_REQUEST } from '../../wire/arp.ts';
import { DhcpType } from '../../wire/dhcp.ts';
import { DNS_QR, DNS_RCODE, dnsRcodeName, dnsTypeName, readDnsName } from '../../wire/dns.ts';
import { ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST } from '../../wire/icmp.ts';
import { icmpName, icmpv6Name } from '../../wire/icmp-name.ts';
import { isIcmpv6Echo } from '../../wire/icmpv6.ts';
import {
  PROTO_GRE,
  PROTO_ICMP,
  PROTO_ICMPV6,
  PROTO_IGMP,
  PROTO_SCTP,
  PROTO_TCP,
  PROTO_UDP,
} from '../../wire/protocol.ts';
import { tcpFlagNames } from '../../wire/tcp.ts';
import { RULE_ACTIONS, RULE_KINDS, RULE_STATES } from '../dataplane/commands.ts';
import type { Names } from './names.ts';

export type StageName = keyof typeof Stage;
export type ActionName = keyof typeof Action;

/** An address and, where the protocol has any, a port. */
export interface End {
  readonly address: string;
  readonly port?: number;
}

/** What a frame carries, and whom it is from and for; only what could be read is there. */
export interface Ends {
  /** `TCP`, `UDP`, `ICMP`, `ARP`, `IPv6 protocol 89`, `EtherType 0x88cc`; undefined for what is no Ethernet frame. */
  readonly protocol?: string;
  readonly from?: End;
  readonly to?: End;
  /** Of ICMP. */
  readonly type?: number;
  readonly code?: number;
  /** What it says, in a word: `SYN+ACK` of TCP, `echo request` of ICMP, `request` or `reply` of ARP (or the operation's number). */
  readonly message?: string;
  /** Of IP packets that come in pieces; of TCP only later ones. */
  readonly fragment?: 'first' | 'later';
  /** Of echo requests and replies. */
  readonly sequence?: number;
  /** Of an ICMP error that tells one. */
  readonly mtu?: number;
  /** The sender's, as ARP says it. */
  readonly mac?: string;
}

/** What DNS asks or answers. */
export interface DnsQuestion {
  /** `A`. */
  readonly type: string;
  /** As in text; one that has no room is cut, and ends in `…`. */
  readonly name: string;
  /** Only of answers: `NOERROR`, `NXDOMAIN`. */
  readonly rcode?: string;
  readonly answers?: number;
}

/** What every step has; which of the others there are is the action's (`switch/trace.ts`). */
export interface Step {
  readonly stage: StageName;
  readonly action: ActionName;
  /** The packet's id, which all its copies have. */
  readonly packet: number;
  /** Where the packet came in. */
  readonly ingress: string;
  readonly ends?: Ends;
  /** Bytes; milliseconds are in the row. */
  readonly length?: number;
  /** Bytes behind the header of TCP or UDP. */
  readonly payload?: number;
  readonly question?: DnsQuestion;
  /** `DISCOVER`. */
  readonly dhcp?: string;
  readonly mac?: string;
  readonly port?: string;
  readonly before?: End;
  readonly after?: End;
  readonly network?: string;
  readonly to?: string;
  readonly count?: number;
  readonly connection?: number;
  readonly direction?: 'original' | 'reply';
  readonly state?: string;
  readonly tcp?: string;
  readonly by?: Lowercase<keyof typeof By>;
  readonly publish?: string;
  readonly service?: Lowercase<keyof typeof Service>;
  readonly rule?: string;
  readonly kind?: string;
  readonly says?: string;
  readonly address?: string;
  readonly reason?: DropReasonName;
  readonly verdict?: keyof typeof VerdictKind;
  /** The packet because of which this one was made, or goes on. */
  readonly cause?: number;
  /** Milliseconds for which it has waited. */
  readonly waited?: number;
}

const STAGES = Object.keys(Stage) as StageName[];
const ACTIONS = Object.keys(Action) as ActionName[];
const BYS = Object.keys(By).map((name) => name.toLowerCase()) as Lowercase<keyof typeof By>[];
const SERVICES = Object.keys(Service).map((name) => name.toLowerCase()) as Lowercase<keyof typeof Service>[];
const VERDICTS = Object.keys(VerdictKind) as (keyof typeof VerdictKind)[];
const PROTOCOLS: Readonly<Record<number, string>> = {
  [PROTO_ICMP]: 'ICMP',
  [PROTO_IGMP]: 'IGMP',
  [PROTO_TCP]: 'TCP',
  [PROTO_UDP]: 'UDP',
  [PROTO_GRE]: 'GRE',
  [PROTO_ICMPV6]: 'ICMPv6',
  [PROTO_SCTP]: 'SCTP',
};

const DHCP_TYPES = Object.entries(DhcpType);

/** What the row at `at` says, with names. */
export function readStep(words: Int32Array, at: number, names: Names): Step {
  const action = rowAction(words, at);
  const step = {
    stage: STAGES[rowStage(words, at)]!,
    action: ACTIONS[action]!,
    packet: words[at + ROW_PACKET]!,
    ingress: names.port(words[at + ROW_PORT]!),
  };
  return { ...step, ...details(action, words, at + ROW_ARGUMENTS, names) };
}

function details(action: Action, words: Int32Array, at: number, names: Names): Partial<Step> {
  const a = (argument: number): number => words[at + argument]!;
  switch (action) {
    case Action.RECEIVED: {
      const length = a(10) & (2 ** LENGTH_BITS - 1);
      const rest = a(10) >>> LENGTH_BITS;
      return { ends: readEnds(words, at), length, ...(rest > 0 && { payload: length - rest }) };
    }
    case Action.MADE:
      return { ends: readEnds(words, at), ...(a(10) !== 0 && { cause: a(10) }) };
    case Action.VERDICT: {
      const kind = verdictKind(a(10));
      const ends = readEnds(words, at);
      const verdict = VERDICTS[kind]!;
      if (kind === VerdictKind.DROP) return { ends, verdict, reason: reasonOf(verdictArgument(a(10))) };
      return { ends, verdict };
    }
    case Action.LEARNED:
    case Action.MOVED:
    case Action.KNOWN:
      return {
        mac: formatMac(a(0), a(1)),
        port: names.port(a(2)),
        ...(action === Action.MOVED && { before: { address: names.port(a(3)) } }),
      };
    case Action.FLOODED:
      return { mac: formatMac(a(0), a(1)), network: names.network(a(2)), count: a(3) };
    case Action.CONNECTION:
      return {
        connection: a(0),
        direction: a(1) === 0 ? 'original' : 'reply',
        state: RULE_STATES[31 - Math.clz32(a(2))] ?? 'NEW',
        ...(a(3) !== 0 && { tcp: TCP_STATE_NAMES[a(3)]! }),
      };
    case Action.OPENED:
      return { connection: a(0), state: 'NEW' };
    case Action.REFUSED:
      return { reason: reasonOf(a(0)) };
    case Action.DNAT:
    case Action.SNAT: {
      const by = BYS[a(9)]!;
      return {
        before: { address: addressAt(words, at), port: a(8) >>> 16 },
        after: { address: addressAt(words, at + 4), port: a(8) & 0xffff },
        by,
        ...(by === 'connection' && { connection: a(10) }),
        ...(by === 'publish' && publishOf(a(10), names)),
        ...((by === 'masquerade' || by === 'prefix' || by === 'host') && { network: names.network(a(10)) }),
      };
    }
    case Action.REASSEMBLED:
    case Action.FRAGMENTED:
      return { length: a(0) };
    case Action.SEGMENTED:
    case Action.UNCUT:
      return { count: a(0), length: a(1) };
    case Action.SERVICE:
      return { service: SERVICES[a(0)]! };
    case Action.RULE: {
      const rule = names.userRule?.(a(2)) ?? `rule ${a(0)}`;
      return { count: a(0), says: RULE_ACTIONS[a(1)]!, rule };
    }
    case Action.RETURNED:
      // Port security is of a port, and has no networks.
      if (STAGES[rowStage(words, at - ROW_ARGUMENTS)] === 'GUARD') return {};
      return { count: a(0), network: names.network(a(1)), to: names.network(a(2)) };
    case Action.DROPPED:
    case Action.ACCEPTED: {
      const kind = RULE_KINDS[a(2)]!;
      const rule = names.rule?.(kind, a(0), a(1));
      return {
        network: names.network(a(0)),
        to: names.network(a(1)),
        kind,
        ...(rule !== undefined && { rule }),
        ...(action === Action.ACCEPTED && a(3) >= 0 && publishOf(a(3), names)),
      };
    }
    case Action.ROUTED:
      return { network: names.network(a(0)), to: names.network(a(1)), count: a(2) };
    case Action.RESOLVED:
      return { address: addressAt(words, at), network: names.network(a(4)), mac: formatMac(a(5), a(6)) };
    case Action.ASKED:
    case Action.WAITS:
      return { address: addressAt(words, at), network: names.network(a(4)) };
    case Action.RESUMED:
      // Nobody has seen it begin to wait: not even an IPv4 address is 0 here.
      if ((a(0) | a(1) | a(2) | a(3)) === 0) return {};
      return {
        address: addressAt(words, at),
        network: names.network(a(4)),
        ...((a(5) !== 0 || a(6) !== 0) && { mac: formatMac(a(5), a(6)) }),
        waited: a(7) / 1000,
        ...(a(8) !== 0 && { cause: a(8) }),
      };
    case Action.SENT:
      return { port: names.port(a(0)), length: a(1) };
    case Action.QUEUED:
      return { port: names.port(a(0)) };
    case Action.LOST:
      return { port: names.port(a(0)), reason: reasonOf(a(1)) };
    case Action.TARGET:
      return { address: addressAt(words, at) };
    case Action.QUESTION:
      return { question: readQuestion(words, at) };
    case Action.DHCP:
      return {
        dhcp: DHCP_TYPES.find(([, type]) => type === a(0))?.[0] ?? `type ${a(0)}`,
        ...(a(1) !== 0 && { address: formatIpv4(a(1)) }),
      };
    case Action.SOCKET:
      return { kind: PROTOCOLS[a(0)] ?? `protocol ${a(0)}` };
    default:
      return {};
  }
}

function publishOf(id: number, names: Names): Partial<Step> {
  const publish = names.publish?.(id);
  return publish === undefined ? {} : { publish };
}

function reasonOf(number: number): DropReasonName {
  return DROP_REASON_NAMES[number] as DropReasonName;
}

function readEnds(words: Int32Array, at: number): Ends {
  const etherType = words[at + 9]! & 0xffff;
  if (etherType === 0) return {};
  const isIp = etherType === ETHERTYPE_IPV4 || etherType === ETHERTYPE_IPV6;
  if (!isIp && etherType !== ETHERTYPE_ARP) {
    return { protocol: `EtherType 0x${etherType.toString(16).padStart(4, '0')}` };
  }
  // What is broken behind its Ethernet header has no addresses.
  const isRead = words.subarray(at, at + 8).some((word) => word !== 0);
  if (!isIp) return isRead ? readArpEnds(words, at) : { protocol: 'ARP' };
  const version = etherType === ETHERTYPE_IPV4 ? 'IPv4' : 'IPv6';
  return isRead ? readInternetEnds(words, at, version) : { protocol: version };
}

function readArpEnds(words: Int32Array, at: number): Ends {
  const operation = words[at + 8]!;
  const message = operation === ARP_REQUEST ? 'request' : operation === ARP_REPLY ? 'reply' : `${operation}`;
  return {
    protocol: 'ARP',
    from: { address: formatIpv4(words[at + 3]!) },
    to: { address: formatIpv4(words[at + 7]!) },
    message,
    mac: formatMac(words[at]!, words[at + 1]!),
  };
}

function readInternetEnds(words: Int32Array, at: number, version: 'IPv4' | 'IPv6'): Ends {
  const number = (words[at + 9]! >> 16) & 0xff;
  const ports = words[at + 8]!;
  const from = { address: addressAt(words, at) };
  const to = { address: addressAt(words, at + 4) };
  const more = words[at + 9]! >>> 24;
  const isTcp = number === PROTO_TCP;
  const isIcmp = number === PROTO_ICMP || number === PROTO_ICMPV6;
  // Of a later piece of TCP there are no ports: nobody speaks from port 0 to port 0.
  const isLater = isTcp ? ports === 0 : more === Piece.LATER;
  const isFirst = !isTcp && more === Piece.FIRST;
  const ends = {
    protocol: PROTOCOLS[number] ?? `${version} protocol ${number}`,
    from,
    to,
    ...((isLater || isFirst) && { fragment: isLater ? ('later' as const) : ('first' as const) }),
  };
  if (isLater) return ends;
  if (isIcmp) return { ...ends, ...readIcmp(ports, number === PROTO_ICMPV6) };
  if (!isTcp && number !== PROTO_UDP) return ends;
  return {
    ...ends,
    from: { ...from, port: ports >>> 16 },
    to: { ...to, port: ports & 0xffff },
    ...(isTcp && { message: tcpFlagNames(more) }),
  };
}

function readIcmp(word: number, isIcmpv6: boolean): Partial<Ends> {
  const type = (word >>> 8) & 0xff;
  const code = word & 0xff;
  const number = word >>> 16;
  const isEcho = isIcmpv6 ? isIcmpv6Echo(type) : type === ICMP_ECHO_REQUEST || type === ICMP_ECHO_REPLY;
  const message = isIcmpv6 ? icmpv6Name(type, code) : icmpName(type, code);
  return { type, code, message, ...(isEcho ? { sequence: number } : number !== 0 && { mtu: number }) };
}

function readQuestion(words: Int32Array, at: number): DnsQuestion {
  const flags = words[at]! >>> 16;
  const length = words[at + 1]! & 0xffff;
  const name = new Uint8Array(NAME_BYTES + 1);
  for (let i = 0; i < NAME_BYTES; i++) name[i] = words[at + 2 + (i >> 2)]! >>> ((i & 3) << 3);
  if (length > NAME_BYTES) shorten(name);
  const text = `${readDnsName(name, 0, 0, name.length) ?? '?'}${length > NAME_BYTES ? '…' : ''}`;
  return {
    type: dnsTypeName(words[at]! & 0xffff),
    name: text,
    ...((flags & DNS_QR) !== 0 && {
      rcode: dnsRcodeName(flags & DNS_RCODE),
      answers: words[at + 1]! >>> 16,
    }),
  };
}

/** Ends a name in the middle of a label whose length reaches beyond what is there. */
function shorten(name: Uint8Array): void {
  for (let at = 0; at < NAME_BYTES; at += 1 + name[at]!) {
    if (at + 1 + name[at]! > NAME_BYTES) name[at] = NAME_BYTES - at - 1;
  }
}

function addressAt(words: Int32Array, at: number): string {
  const [w0, w1, w2, w3] = words.subarray(at, at + 4) as unknown as [number, number, number, number];
  return w0 === 0 && w1 === 0 && w2 === MAPPED ? formatIpv4(w3) : formatIpv6(w0, w1, w2, w3);
}
