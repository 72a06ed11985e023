/**
 * Why a frame cannot be understood. `parse` answers with one of these; they are the first rows of the
 * closed list of drop reasons (`switch/drop-reason.ts`). 0 means well-formed.
 * Names follow Linux's `enum skb_drop_reason` where it has one.
 */
export const Malformed = {
  NONE: 0,
  /** Shorter than an Ethernet header. */
  PKT_TOO_SMALL: 1,
  /** A header, option or extension is cut off by the end of the frame. */
  HDR_TRUNC: 2,
  /** IPv4: version, header length or total length is impossible (RFC 1122 §3.2.1.1, RFC 1812 §5.2.2). */
  IP_INHDR: 3,
  /** IPv4 header checksum is wrong (RFC 1812 §5.2.2). */
  IP_CSUM: 4,
  /** IPv6: version, payload length or an extension header is impossible (RFC 8200). */
  IPV6_INHDR: 5,
  /** Fragment fields contradict themselves: beyond 65,535 bytes, length not a multiple of 8 (RFC 791, RFC 8200 §4.5). */
  FRAG_INVALID: 6,
  /** TCP data offset, or UDP length, is impossible. */
  L4_INHDR: 7,
  /** ARP: hardware or protocol type, lengths or addresses are not Ethernet/IPv4 (RFC 826). */
  ARP_INHDR: 8,
  /** The virtio-net header contradicts the frame that follows it. */
  VNET_INHDR: 9,
} as const;
export type Malformed = (typeof Malformed)[keyof typeof Malformed];
