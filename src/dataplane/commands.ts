import type { Timeouts } from '../../nat/timeouts.ts';
import type { FdbEntry } from '../../switch/fdb.ts';
import type { PortId } from '../../switch/frame.ts';
import type { NeighborEntry } from '../../switch/neighbors.ts';
import type { NetworkOptions as SegmentOptions } from '../../switch/network.ts';
import type { PortOptions } from '../../switch/ports.ts';
import type { ResolverCounters } from '../../switch/resolver.ts';

/** A container network to make; `uplink` is what `addUplink` answered, null or left out for an internal network. */
export interface NetworkOptions extends SegmentOptions {
  /** RFC 6296: the prefix (four int32 words and a length) that stands outside for the network's IPv6 prefix, host by host. */
  npt?: { address: readonly number[]; prefix: number } | null;
  /** false: its ports are isolated from each other (Docker's `enable_icc`), but for published ports; true when left out. */
  icc?: boolean;
}

/** Who may send to a port that an endpoint's own packets have mapped (RFC 4787 §5). */
export const FILTERINGS = [
  'endpoint-independent',
  'address-dependent',
  'address-and-port-dependent',
] as const;
export type Filtering = (typeof FILTERINGS)[number];
export const DEFAULT_FILTERING: Filtering = 'address-dependent';

/**
 * An uplink to make: a segment like a network's, in which the deck is a host. `ipv4` and `ipv6` are the deck's first
 * addresses there; they are also its gateway addresses in the data plane's eyes.
 */
export interface UplinkOptions extends SegmentOptions {
  /** Further addresses of the deck, for source NAT; every endpoint keeps to one of them (RFC 4787 REQ-2). */
  ipv4Pool?: readonly number[];
  ipv6Pool?: readonly (readonly number[])[];
  /** The next hop for all that is not on the uplink's own subnet; null or left out when there is none. */
  gateway4?: number | null;
  gateway6?: readonly number[] | null;
  /** `address-dependent` when left out. */
  filtering?: Filtering;
  /**
   * Whether what is behind it are the host's sockets: then the host's addresses, and not the deck's own, are those on
   * which ports are published, and `gateway4` and `gateway6` stand for its loopback.
   */
  isHost?: boolean;
  /** Prefixes to which no connection may go. */
  denied?: readonly DeniedPrefix[];
}

/** An address, an int32 or four words, and a length. */
export interface DeniedPrefix {
  address: number | readonly number[];
  prefix: number;
}

/** One `-p`: ports of the deck that are an endpoint's. Port n of the range is port `target + n` of the endpoint. */
export interface PublishOptions {
  /** The endpoint's network and its address there: an int32 or four words. */
  network: number;
  address: number | readonly number[];
  protocol: 6 | 17;
  /** First port of the endpoint. */
  target: number;
  /** First and last port of the deck. */
  from: number;
  to: number;
  /**
   * The deck's address that is published, of the same IP version as `address`; null for all of them: those of the
   * network's uplink, and those of the gateways.
   */
  host: number | readonly number[] | null;
  /** With `host` null: only the addresses of the network's uplink. */
  uplinkOnly?: boolean;
}

/** One direction of a connection, as `conntrack -L` prints it. */
export interface FlowDirection {
  /** The network or uplink by which packets of this direction come in. */
  network: number;
  src: string;
  dst: string;
  /** Ports; for ICMP queries the identifier, on the asking side's port. 0 without ports. */
  srcPort: number;
  dstPort: number;
  packets: number;
  bytes: number;
}

/** One connection. */
export interface FlowEntry {
  /** Names the connection while it lives. */
  id: number;
  /** IP protocol number. */
  protocol: number;
  family: 4 | 6;
  /** TCP's state (SYN_SENT, ESTABLISHED, ...), null for other protocols. */
  state: string | null;
  original: FlowDirection;
  reply: FlowDirection;
  /** UNREPLIED: no packet of the reply direction was seen. ASSURED: not evicted when the table is full. */
  unreplied: boolean;
  assured: boolean;
  /** ICMP query: type, code and identifier as `conntrack -L` shows them; null for other protocols. */
  icmp: { type: number; code: number; id: number } | null;
  /** Whether the source, the destination, or both are rewritten. */
  snat: boolean;
  dnat: boolean;
  /** Milliseconds until it is forgotten if nothing comes. */
  remaining: number;
  /** The publish that let it in, -1 if none did. */
  publish: number;
}

/** Which connections are meant; what is left out matches all. Addresses and ports are those of the original direction. */
export interface FlowFilter {
  protocol?: number;
  family?: 4 | 6;
  /** Text as `FlowDirection` has it. */
  src?: string;
  dst?: string;
  srcPort?: number;
  dstPort?: number;
  /** Of the reply direction. */
  replySrc?: string;
  replyDst?: string;
  replySrcPort?: number;
  replyDstPort?: number;
  state?: string;
  network?: number;
  publish?: number;
}

/** A part of the connection table: all of it at once would hold the frames up. */
export interface FlowPage {
  flows: FlowEntry[];
  /** Where the next part begins; null when this was the last. */
  next: number | null;
}

export const FLOW_EVENTS = ['NEW', 'UPDATE', 'DESTROY'] as const;
/** What happened to a connection, with what is known of it then. */
export interface FlowEvent {
  event: (typeof FLOW_EVENTS)[number];
  flow: FlowEntry;
}

/** An address, an int32 or four words, and a length; with `not`, all others of its IP version are meant. */
export interface RulePrefix {
  address: number | readonly number[];
  prefix: number;
  not?: boolean;
}

/** A network or uplink by its number; with `not`, all others are meant. */
export interface RuleNetwork {
  network: number;
  not?: boolean;
}

/** First and last port. */
export interface RulePorts {
  from: number;
  to: number;
}

export const RULE_ACTIONS = ['ACCEPT', 'DROP', 'REJECT', 'RETURN'] as const;
export type RuleAction = (typeof RULE_ACTIONS)[number];

/** What netfilter calls `ctstate`; DNAT is that of connections to published ports. */
export const RULE_STATES = ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'DNAT'] as const;
export type RuleState = (typeof RULE_STATES)[number];

/** With what REJECT answers, by iptables' names; IPv6 has what comes closest. */
export const REJECTIONS = [
  'tcp-reset',
  'icmp-port-unreachable',
  'icmp-net-unreachable',
  'icmp-host-unreachable',
  'icmp-proto-unreachable',
  'icmp-net-prohibited',
  'icmp-host-prohibited',
  'icmp-admin-prohibited',
] as const;
export type Rejection = (typeof REJECTIONS)[number];

/**
 * A rule of chain DOCKER-USER; what is left out matches all. Addresses and ports are those that the packet has in FORWARD:
 * its source before it is masqueraded, its destination after a published port has become the endpoint's.
 */
export interface UserRule {
  /** Names the rule, and its counters, while it stands. */
  id: number;
  /**
   * ACCEPT lets the packet through whatever the other chains say, but into or out of an internal network. RETURN goes on
   * with them, as does a packet that no rule matches.
   */
  action: RuleAction;
  /** With REJECT; a reset for TCP and `icmp-port-unreachable` for all else when left out. */
  rejectWith?: Rejection;
  /** By which network or uplink the packet comes in, and goes out. */
  in?: RuleNetwork;
  out?: RuleNetwork;
  src?: RulePrefix;
  dst?: RulePrefix;
  /** IP protocol number. */
  protocol?: number;
  /** With TCP and UDP. */
  sports?: RulePorts;
  dports?: RulePorts;
  /** Type, with ICMP and ICMPv6. */
  icmpType?: number;
  /** One of them must hold. */
  states?: readonly RuleState[];
}

/** What a rule does; each is one row of `rules -v`. */
export const RULE_KINDS = [
  /** nat, DOCKER: to a published port, first packets of connections. */
  'DNAT',
  /** nat, POSTROUTING: out by the uplink with its address, first packets of connections. */
  'MASQUERADE',
  /** nat, POSTROUTING: from one endpoint to another's (or its own) published port, first packets. */
  'HAIRPIN',
  /** nat, POSTROUTING: out by the uplink with another prefix (RFC 6296), first packets. */
  'NPT',
  /** filter, FORWARD: of established and related connections, all packets into the network. */
  'ESTABLISHED',
  /** filter, DOCKER: to a published port, first packets. */
  'PUBLISHED',
  /** filter, FORWARD: from the network to elsewhere. */
  'OUTBOUND',
  /** filter, FORWARD: from the network into it. */
  'INTRA',
  /** filter, FORWARD: invalid, dropped. */
  'INVALID',
  /** filter, DOCKER: not published, dropped. */
  'UNPUBLISHED',
  /** filter, DOCKER-ISOLATION-STAGE-2: from another network, dropped; of the network that it was to go to. */
  'ISOLATED',
  /** filter, DOCKER-ISOLATION-STAGE-1: from an internal network to elsewhere, and from elsewhere into it, dropped. */
  'INTERNAL_OUT',
  'INTERNAL_IN',
  /** filter, FORWARD: from the network into it where its ports are isolated, dropped; those that are bridged, too. */
  'ICC',
  /** filter, INPUT: from an internal network to another's gateway, dropped. */
  'INTERNAL_INPUT',
  /** filter, INPUT: to a port of the deck itself that nobody has, rejected. */
  'CLOSED_TCP',
  'CLOSED_UDP',
  /** filter, DOCKER-USER: a rule of the user. */
  'USER',
] as const;
export type RuleKind = (typeof RULE_KINDS)[number];

/** One rule and what it has counted since it was made. */
export interface RuleCounter {
  kind: RuleKind;
  /** The network (or, for UNPUBLISHED and INVALID, also an uplink) that it belongs to. */
  network: number;
  /** For DNAT, HAIRPIN and PUBLISHED: the publish; -1 otherwise. */
  publish: number;
  /** For USER: the rule's id. */
  rule?: number;
  packets: number;
  bytes: number;
}

/** How connections are tracked. */
export interface ConntrackOptions {
  /** Most connections at one time; 262,144 when left out. */
  capacity?: number;
  /** Most connections that one endpoint may have begun; a quarter of the capacity when left out. */
  quota?: number;
  /** Milliseconds, by the names of `nat/timeouts.ts`; what is left out keeps its default. */
  timeouts?: Partial<Timeouts>;
  /** Whether TCP connections may be picked up in the middle (Linux's `nf_conntrack_tcp_loose`); true when left out. */
  loose?: boolean;
}

/** A port to add: where it belongs and which addresses are known to be behind it. */
export interface PortSpec extends PortOptions {
  network: number;
  /** The endpoint's MAC, entered statically into the fdb; left out for ports whose stations are to be learned. */
  mac?: { hi: number; lo: number };
  /** The endpoint's addresses, entered as permanent neighbors so that the gateway need not ask for them. */
  ipv4?: number;
  ipv6?: readonly number[];
  /**
   * Port security: frames leave the port only with this MAC and these addresses. When left out, that is so if there is a
   * `mac`, and not on uplinks, behind which everybody is.
   */
  guard?: boolean;
}

/** A port's counters since it was added. */
export interface PortCounters {
  port: PortId;
  network: number;
  rxFrames: number;
  rxBytes: number;
  rxDropped: number;
  txFrames: number;
  txBytes: number;
  txDropped: number;
}

/**
 * Where every frame went. `ports + originated + copies = sent + consumed + held + Σ drops`, exactly, at any
 * time between two frames.
 */
export interface LedgerSnapshot {
  /** Frames received from devices. */
  ports: number;
  /** Frames that the deck itself made (ARP, ND, ICMP). */
  originated: number;
  /** Copies beyond the first, made by flooding, segmentation and fragmentation. */
  copies: number;
  sent: number;
  consumed: number;
  /** Frames that wait inside the deck now: for a neighbor, for other fragments, for a full device. */
  held: number;
  /** By drop reason number (`switch/drop-reason.ts`). */
  drops: number[];
}

/** What the data plane knows, at one instant between two batches. */
export interface Snapshot {
  /** Monotonic milliseconds. */
  now: number;
  ledger: LedgerSnapshot;
  ports: PortCounters[];
  /** The deck's own port in each network and uplink; with `ports`. */
  gateways: { port: PortId; network: number }[];
  fdb: FdbEntry[];
  neighbors: NeighborEntry[];
  rules: RuleCounter[];
  /** How full the connection table is. */
  conntrack: { entries: number; capacity: number };
  /** What the gateways' name servers have done. */
  names: ResolverCounters;
}

/** What a snapshot is to contain beside the ledger; tables can be long. */
export interface SnapshotWants {
  ports?: boolean;
  fdb?: boolean;
  neighbors?: boolean;
  rules?: boolean;
}

export type { NeighborEntry };
