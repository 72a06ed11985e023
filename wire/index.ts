/**
 * The bytes of a network: Ethernet, VLAN tags, ARP, IPv4 and IPv6 with their options and extension headers, ICMP,
 * ICMPv6 with neighbor discovery, UDP and TCP, their checksums, and the virtio-net header with what it stands for.
 * Nothing here has state, does I/O, reads a clock or imports anything above it.
 *
 * A frame is a range of one large `Uint8Array`, described by a `Packet`. `parse` checks every length once and fills the
 * packet's offsets, or answers why it cannot (`Malformed`). From then on a header is read in place with small functions
 * of bytes and offset (`ipv4Src(bytes, packet.l3)`) or with named offsets (`bytes[packet.l3 + IPV4_TTL]`); nothing
 * is copied and nothing allocated. Setters write one field and leave checksums to the caller, who knows all that
 * changes: `update16` and `update32` adjust, the `fill…` functions compute anew. `write…` functions write a header with
 * every byte of it and return the offset behind it.
 *
 * Conventions: offsets are absolute; 16-bit fields are unsigned numbers, 32-bit fields signed ones; a MAC is two
 * numbers (`hi` of 16 bits, `lo` of 32), an IPv6 address four words.
 */
export * from './address.ts';
export * from './arp.ts';
export * from './bytes.ts';
export * from './checksum.ts';
export * from './describe.ts';
export * from './dhcp.ts';
export * from './dns.ts';
export * from './ethernet.ts';
export * from './fragmentation.ts';
export * from './hash.ts';
export * from './icmp.ts';
export * from './icmp-name.ts';
export * from './icmpv6.ts';
export * from './ipv4.ts';
export * from './ipv6.ts';
export * from './malformed.ts';
export * from './nd.ts';
export * from './packet.ts';
export * from './parse.ts';
export * from './protocol.ts';
export * from './random.ts';
export * from './segmentation.ts';
export * from './tcp.ts';
export * from './transport.ts';
export * from './udp.ts';
export * from './virtio-net.ts';
export * from './vlan.ts';
