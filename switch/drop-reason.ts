import { Malformed } from '../wire/malformed.ts';

/**
 * Why a frame was discarded: a closed list. Every discarded frame is counted under exactly one of these.
 * The first rows are `wire/`'s reasons for not understanding a frame; names follow Linux's
 * `enum skb_drop_reason` where it has one. Numbers are stable: new reasons are appended.
 */
export const DropReason = {
  ...Malformed,

  /** Destination 01-80-C2-00-00-0X: for the link only, never forwarded (IEEE 802.1Q table 8-1). */
  MAC_RESERVED: 16,
  /** Source address is a group address or zero: no station can have sent it (IEEE 802.3 §3.2.3). */
  MAC_SOURCE_INVALID: 17,
  /** Source address is the gateway's own: a loop, or somebody who pretends to be the gateway. */
  MAC_OWN: 18,
  /** Source address is known to be attached to another port. */
  MAC_FOREIGN: 19,
  /** The destination is behind the port by which the frame came in: filtering (IEEE 802.1Q §8.6.1). */
  FDB_SAME_PORT: 20,
  /** Both ports are isolated (`icc=false`). */
  PORT_ISOLATED: 21,
  /** More flooded frames than the port may send in a second: storm control. */
  STORM_LIMIT: 22,
  /** Flooded, but no other port was there to take it. */
  NO_EGRESS: 23,
  /** Longer than the egress port's MTU, and nobody to tell (bridged), or DF forbids to fragment it (routed). */
  PKT_TOO_BIG: 24,
  /** The egress port's queue is full. */
  FULL_RING: 25,
  /** The egress device did not take the frame: its interface is down. */
  LINK_DOWN: 26,
  /** The egress port vanished while the frame waited for it. */
  PORT_GONE: 27,
  /** No free slot in the arena. */
  NOMEM: 28,
  /** Handling the frame threw: a defect of tapdeck, logged once with the frame. */
  EXCEPTION: 29,
  /** The network of the port is being removed. */
  NETWORK_GONE: 30,

  /** ARP that neither asks for the gateway nor answers it. */
  ARP_NOT_FOR_US: 32,
  /** ARP whose sender is impossible: group address, another MAC than the frame's, another's address, or outside the subnet. */
  ARP_SPOOF: 33,
  /** ND without hop limit 255, with a wrong code, checksum, target or option (RFC 4861 §6.1, §7.1). */
  ND_INVALID: 34,
  /** Router advertisement or redirect from a container port (RFC 6105). */
  RA_GUARD: 35,
  /** ND whose sender is impossible, as for ARP_SPOOF. */
  ND_SPOOF: 36,
  /** ND to the gateway's MAC that neither asks for the gateway nor answers it. */
  ND_NOT_FOR_US: 37,
  /** Tagged for a VLAN (IEEE 802.1Q): the gateway is in none, and hears only untagged and priority-tagged frames. */
  VLAN_NOT_OURS: 38,

  /** Source address that cannot be a host's: multicast, broadcast, loopback, 0/8, or the gateway's own (RFC 1812 §5.3.7). */
  IP_MARTIAN_SOURCE: 40,
  /** Destination address that must not be routed: loopback, 0/8, link-local, limited broadcast (RFC 1812 §5.3.7). */
  IP_MARTIAN_DESTINATION: 41,
  /** Loose or strict source route option, or an IPv6 type 0 routing header (RFC 7126 §4.3, RFC 5095). */
  IP_SOURCE_ROUTED: 42,
  /** No route to the destination. */
  IP_INNOROUTES: 43,
  /** TTL or hop limit ran out (RFC 1812 §5.3.1, RFC 8200 §3). */
  IP_TTL_EXCEEDED: 44,
  /** A multicast or broadcast packet for the gateway that no protocol of it listens to. */
  IP_GROUP: 45,
  /** A protocol the gateway does not speak, or no socket of the host. */
  UNHANDLED_PROTO: 46,
  /** No service of the gateway listens on this TCP or UDP port, or the segment is of no connection of uplink socket. */
  NO_SOCKET: 47,
  /** Next hop did not answer ARP or ND. */
  NEIGH_FAILED: 48,
  /** Too many frames already wait for this next hop. */
  NEIGH_QUEUEFULL: 49,
  /** Too many next hops are being asked for at once. */
  NEIGH_TABLE_FULL: 50,
  /** ICMP or ICMPv6 checksum is wrong. */
  ICMP_CSUM: 51,
  /** An ICMP message that the gateway neither answers nor needs. */
  ICMP_UNHANDLED: 52,
  /** TCP or UDP checksum is wrong. */
  L4_CSUM: 53,
  /** Fragments that overlap: the whole datagram goes (RFC 5722, and the same for IPv4). */
  FRAG_OVERLAP: 54,
  /** Not all fragments came in time (RFC 791, RFC 8200 §4.5). */
  FRAG_TIMEOUT: 55,
  /** Reassembly has no room for another datagram or fragment. */
  FRAG_QUEUEFULL: 56,

  /** Not part of a connection, and none can begin with it: TCP outside the window, a reply to nothing, a half-known flow. */
  CT_INVALID: 57,
  /** All rows of the connection table are taken by connections that are assured. */
  CT_TABLE_FULL: 58,
  /** The endpoint has as many connections as one endpoint may have. */
  CT_QUOTA: 59,
  /** The connection's reply could not be told from another's: the same tuple is in use (a clash, in netfilter's words). */
  CT_CLASH: 60,
  /** No external port of the wanted class is free (RFC 4787 REQ-3: never reuse one). */
  NAT_PORTS_EXHAUSTED: 61,
  /** For a mapped port, from somebody to whom the endpoint has not spoken (RFC 4787 REQ-8). */
  NAT_FILTERED: 62,
  /** From an uplink to an address or port that is not published. */
  NOT_PUBLISHED: 63,
  /** An ICMP error about a packet of no connection, or one whose quotation cannot be true (RFC 5508 REQ-4a, RFC 5927). */
  ICMP_ERROR_UNRELATED: 64,
  /** An ICMP error whose quoted packet is cut too short or has a wrong header checksum (RFC 5508 REQ-3). */
  ICMP_ERROR_MALFORMED: 65,
  /** TCP or UDP port 0, which no host uses (RFC 6335 §6). */
  PORT_ZERO: 66,
  /** To an address that the uplink's policy keeps from endpoints. */
  DESTINATION_DENIED: 67,
  /** The uplink's device has gone: nothing can leave by it. */
  UPLINK_GONE: 68,

  /** Source address is not that of the endpoint behind the port: port security. */
  MAC_SPOOF: 69,
  /** IPv4 or IPv6 source is not an address of the endpoint behind the port (RFC 2827, RFC 6620): port security. */
  IP_SPOOF: 70,
  /** A DHCP message for a client, which only a server sends, from a container port (RFC 7610). */
  DHCP_GUARD: 71,
  /** More VLAN tags than port security looks behind. */
  VLAN_DEPTH: 72,
  /** From one network of the deck to another (DOCKER-ISOLATION-STAGE-2). */
  NETWORK_ISOLATED: 73,
  /** Into or out of an internal network (DOCKER-ISOLATION-STAGE-1). */
  NETWORK_INTERNAL: 74,
  /** A rule in DOCKER-USER says DROP. */
  USER_DROP: 75,
  /** A rule in DOCKER-USER says REJECT: the sender has been told. */
  USER_REJECT: 76,
  /** Uplink socket: no descriptor, memory or row is left for another socket of the host. */
  SOCKET_EXHAUSTED: 84,
  /** Uplink socket: the host could not send it (no route, not permitted, too long), and the sender was told. */
  SOCKET_ERROR: 85,
  /** Uplink socket: the host's socket has no room. */
  SOCKET_FULL: 86,
  /** Uplink socket: the host permits neither ping sockets nor raw ones. */
  PING_FORBIDDEN: 87,

  /** UDP to the gateway's port 53 that is no question: too short, or itself an answer. */
  DNS_MALFORMED: 80,
  /** A question about a name outside, while too many others are under way. */
  DNS_BUSY: 81,
  /** UDP to the gateway's port 67 that is no DHCP message of a client, or one whose options are malformed. */
  DHCP_MALFORMED: 82,
  /** DHCP by a relay, for another MAC than the endpoint's, or from a port without an address to lease. */
  DHCP_FOREIGN: 83,
  /** An EtherType behind an LLC/SNAP header (RFC 1042), where port security would not see what it names. */
  SNAP_ENCAPSULATED: 88,
} as const;
export type DropReason = (typeof DropReason)[keyof typeof DropReason];

/** Room for one counter per reason. */
export const DROP_REASONS = 128;

/** The name of each reason by its number; undefined where a number is not in use. */
export const DROP_REASON_NAMES: readonly (string | undefined)[] = (() => {
  const names: (string | undefined)[] = new Array(DROP_REASONS).fill(undefined);
  for (const [name, reason] of Object.entries(DropReason)) if (reason !== 0) names[reason] = name;
  return names;
})();
