import { solicitedNodeW3 } from '../../wire/address.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { TCP_ACK, TCP_CWR, TCP_ECE, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG } from '../../wire/tcp.ts';

/** Ethernet II. `type` follows from the layer behind. */
export interface EthFields {
  dst: string;
  src: string;
  /** EtherType; below 0x600 an IEEE 802.3 length. */
  type: number;
}

/** An 802.1Q tag; `tpid` 0x88a8 makes it an 802.1ad service tag. */
export interface VlanFields {
  id: number;
  priority: number;
  dropEligible: boolean;
  tpid: number;
  /** EtherType of what the tag encloses. */
  type: number;
}

/** ARP for IPv4 over Ethernet; the address fields have RFC 826's names. */
export interface ArpFields {
  op: ArpOperation | number;
  sha: string;
  spa: string;
  tha: string;
  tpa: string;
}

export type ArpOperation = 'who-has' | 'is-at';

/** IPv4 (RFC 791). */
export interface IpFields {
  version: number;
  /** In bytes; options included. */
  headerLength: number;
  tos: number;
  /** Total length: header and data. */
  length: number;
  id: number;
  df: boolean;
  mf: boolean;
  /** Fragment offset in bytes. */
  offset: number;
  ttl: number;
  protocol: number;
  checksum: number;
  src: string;
  dst: string;
  /** As they stand; filled up with zeros to a multiple of 4 bytes. */
  options: Uint8Array;
}

/** The fixed header of IPv6 (RFC 8200). */
export interface Ip6Fields {
  version: number;
  trafficClass: number;
  flowLabel: number;
  /** Payload length: everything behind the fixed header. */
  length: number;
  /** Next header. */
  next: number;
  hopLimit: number;
  src: string;
  dst: string;
}

/** A hop-by-hop, routing or destination options header (RFC 8200 §4.3, §4.4, §4.6). */
export interface ExtensionFields {
  next: number;
  /** Header extension length: units of 8 bytes behind the first. */
  length: number;
  /** All behind the length; options are filled up with padding to a multiple of 8 bytes. */
  data: Uint8Array;
}

/** The fragment header (RFC 8200 §4.5). */
export interface FragmentFields {
  next: number;
  /** In bytes. */
  offset: number;
  more: boolean;
  id: number;
}

export interface UdpFields {
  sport: number;
  dport: number;
  length: number;
  checksum: number;
}

/** Options of TCP, written in the order in which Linux writes them. */
export interface TcpOptions {
  mss?: number;
  /** The shift count. */
  wscale?: number;
  sackPermitted?: boolean;
  /** Left and right edges. */
  sack?: readonly (readonly [left: number, right: number])[];
  /** TSval and TSecr. */
  timestamps?: readonly [value: number, echo: number];
  /** All options as they stand, instead of the others: for an order of one's own, and for broken ones. */
  raw?: Uint8Array;
}

export interface TcpFields {
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  /** In bytes; options included. */
  headerLength: number;
  /** Letters as tcpdump's, with `A` for the dot: 'S', 'SA', 'PA', 'FA', 'R'; E and C are ECN-Echo and CWR. */
  flags: string;
  window: number;
  checksum: number;
  urgent: number;
  options: TcpOptions;
}

/** ICMP (RFC 792). `id` and `seq` are those of echoes, `mtu` of "fragmentation needed"; `rest` is the second word as it stands. */
export interface IcmpFields {
  type: IcmpType | number;
  code: number;
  checksum: number;
  id?: number;
  seq?: number;
  mtu?: number;
  rest?: number;
}

/** ICMPv6 (RFC 4443), and of neighbor discovery solicitation and advertisement (RFC 4861 §4.3, §4.4). */
export interface Icmp6Fields {
  type: Icmp6Type | number;
  code: number;
  checksum: number;
  id?: number;
  seq?: number;
  mtu?: number;
  rest?: number;
  /** Of neighbor discovery: whom it is about. */
  target?: string;
  /** The source (of a solicitation) or target link-layer address option; null: there is none. */
  linkLayer?: string | null;
  router?: boolean;
  solicited?: boolean;
  override?: boolean;
}

export interface DataFields {
  data: Uint8Array;
}

/** All layers, by name. */
export interface Layers {
  eth: EthFields;
  vlan: VlanFields;
  arp: ArpFields;
  ip: IpFields;
  ip6: Ip6Fields;
  hopByHop: ExtensionFields;
  routing: ExtensionFields;
  destination: ExtensionFields;
  fragment: FragmentFields;
  tcp: TcpFields;
  udp: UdpFields;
  icmp: IcmpFields;
  icmp6: Icmp6Fields;
  payload: DataFields;
  /** What an Ethernet frame carries behind its packet. */
  padding: DataFields;
}

export type LayerName = keyof Layers;

/** A layer with all its fields. */
export type Layer = { [K in LayerName]: { readonly layer: K } & Readonly<Layers[K]> }[LayerName];

/** A layer with the fields that are not to follow from anything. */
export type PartialLayer = {
  [K in LayerName]: { readonly layer: K } & Readonly<Partial<Layers[K]>>;
}[LayerName];

export const ICMP_TYPES = {
  'echo-reply': 0,
  unreachable: 3,
  redirect: 5,
  'echo-request': 8,
  'time-exceeded': 11,
  'parameter-problem': 12,
} as const;
export type IcmpType = keyof typeof ICMP_TYPES;

export const ICMP6_TYPES = {
  unreachable: 1,
  'packet-too-big': 2,
  'time-exceeded': 3,
  'parameter-problem': 4,
  'echo-request': 128,
  'echo-reply': 129,
  'router-solicitation': 133,
  'router-advertisement': 134,
  'neighbor-solicitation': 135,
  'neighbor-advertisement': 136,
} as const;
export type Icmp6Type = keyof typeof ICMP6_TYPES;

export const ARP_OPERATIONS = { 'who-has': 1, 'is-at': 2 } as const;

/** Protocol numbers of the layers that can stand behind IP. */
export const PROTOCOL_OF: Partial<Record<LayerName, number>> = {
  hopByHop: 0,
  icmp: PROTO_ICMP,
  tcp: PROTO_TCP,
  udp: PROTO_UDP,
  routing: 43,
  fragment: 44,
  icmp6: PROTO_ICMPV6,
  destination: 60,
};

const FLAGS = {
  F: TCP_FIN,
  S: TCP_SYN,
  R: TCP_RST,
  P: TCP_PSH,
  A: TCP_ACK,
  U: TCP_URG,
  E: TCP_ECE,
  C: TCP_CWR,
} as const;

/** @throws TypeError for a letter that is no flag */
export function tcpFlagBits(letters: string): number {
  let bits = 0;
  for (const letter of letters) {
    if (!(letter in FLAGS)) throw new TypeError(`'${letter}' is no TCP flag; use F, S, R, P, A, U, E and C`);
    bits |= FLAGS[letter as keyof typeof FLAGS];
  }
  return bits;
}

/** The letters of flags, in the order in which tcpdump has them. */
export function tcpFlagLetters(bits: number): string {
  return Object.entries(FLAGS)
    .filter(([, bit]) => bits & bit)
    .map(([letter]) => letter)
    .join('');
}

/** The number of a name in one of the tables above, or the number itself. */
export function numberOf(
  names: Readonly<Record<string, number>>,
  name: string | number,
  kind: string,
): number {
  if (typeof name === 'number') return name;
  const number = names[name];
  if (number === undefined)
    throw new TypeError(`'${name}' is no ${kind}; use a number or ${Object.keys(names).join(', ')}`);
  return number;
}

/** The other way round. */
export function nameOf<N extends string>(names: Readonly<Record<N, number>>, number: number): N | number {
  const found = Object.entries(names).find(([, each]) => each === number);
  return found ? (found[0] as N) : number;
}

/** Words of the solicited-node group of an address (RFC 4291 §2.7.1). */
export function solicitedNode(target: readonly number[]): readonly [number, number, number, number] {
  return [0xff020000 | 0, 0, 1, solicitedNodeW3(target[3]!)];
}
