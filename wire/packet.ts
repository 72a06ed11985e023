/**
 * A packet is a view of bytes that somebody else owns: where the frame starts, how long it is, and (after
 * `parse`) where its headers are. Offsets are absolute in `bytes`, so that a header is read with
 * `bytes[packet.l3 + IPV4_TTL]` and no sub-array is ever made.
 *
 * The 12 bytes in front of the frame (`at - VNET_LEN`) are its virtio-net header: see `virtio-net.ts`.
 */
export class Packet {
  bytes: Uint8Array;
  /** The same bytes, for 16 and 32 bits at once where every nanosecond counts; it throws where `bytes` would give undefined. */
  view: DataView;
  /** Offset of the Ethernet header. */
  at = 0;
  /** Length of the frame from the Ethernet header on, without the virtio-net header. */
  length = 0;

  /** EtherType behind all VLAN tags; values below 0x0600 are IEEE 802.3 lengths. */
  etherType = 0;
  /** Tag control information of the outermost 802.1Q/802.1ad tag, or -1. */
  vlan = -1;
  /** Offset of the network header (ARP, IPv4, IPv6, or whatever the EtherType names). */
  l3 = 0;
  /** End of the network packet: Ethernet padding lies behind it. */
  end = 0;
  /** IP protocol of the transport header, after IPv6 extension headers; -1 when there is no IP packet. */
  protocol = -1;
  /** Offset of the transport header; 0 in fragments other than the first and without IP. */
  l4 = 0;
  /** Offset of the transport payload; equals `l4` where the protocol is not known to us, 0 where l4 is 0. */
  payload = 0;
  /** Fragment offset in bytes (0 also when the packet is not fragmented). */
  fragmentOffset = 0;
  /** Whether more fragments follow. */
  moreFragments = false;
  /** Offset of the IPv6 fragment header, or 0. */
  fragmentHeader = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Takes over what `parse` found in `from`, of which this packet is a copy at another place. */
  moveHeaders(from: Packet): void {
    const shift = this.at - from.at;
    this.etherType = from.etherType;
    this.vlan = from.vlan;
    this.l3 = from.l3 + shift;
    this.end = from.end + shift;
    this.protocol = from.protocol;
    this.l4 = from.l4 === 0 ? 0 : from.l4 + shift;
    this.payload = from.payload === 0 ? 0 : from.payload + shift;
    this.fragmentOffset = from.fragmentOffset;
    this.moreFragments = from.moreFragments;
    this.fragmentHeader = from.fragmentHeader === 0 ? 0 : from.fragmentHeader + shift;
  }
}
