/** LINKTYPE_ numbers of pcap and pcapng that a capture of a container network is likely to carry. */
export const LinkType = {
  NULL: 0,
  ETHERNET: 1,
  RAW: 101,
  LINUX_SLL: 113,
  IPV4: 228,
  IPV6: 229,
  LINUX_SLL2: 276,
} as const;
export type LinkType = (typeof LinkType)[keyof typeof LinkType];

// Names as in the LINKTYPE registry (draft-ietf-opsawg-pcaplinktype), so that a user finds them there.
const NAMES: Readonly<Record<number, string>> = {
  0: 'NULL (BSD loopback)',
  1: 'ETHERNET',
  6: 'IEEE802_5 (Token Ring)',
  7: 'ARCNET_BSD',
  8: 'SLIP',
  9: 'PPP',
  10: 'FDDI',
  50: 'PPP_HDLC',
  51: 'PPP_ETHER',
  101: 'RAW (IP without link layer)',
  104: 'C_HDLC',
  105: 'IEEE802_11 (Wi-Fi)',
  107: 'FRELAY',
  108: 'LOOP (OpenBSD loopback)',
  113: 'LINUX_SLL (Linux "any" interface)',
  117: 'PFLOG',
  119: 'IEEE802_11_PRISM',
  127: 'IEEE802_11_RADIOTAP',
  143: 'DOCSIS',
  147: 'USER0',
  187: 'BLUETOOTH_HCI_H4',
  189: 'USB_LINUX',
  195: 'IEEE802_15_4_WITHFCS',
  220: 'USB_LINUX_MMAPPED',
  228: 'IPV4',
  229: 'IPV6',
  239: 'NFLOG',
  249: 'USBPCAP',
  252: 'WIRESHARK_UPPER_PDU',
  253: 'NETLINK',
  276: 'LINUX_SLL2 (Linux "any" interface)',
};

/** The registered name of a link type with its number: `LINUX_SLL2 (Linux "any" interface), 276`. */
export function linkTypeName(linkType: number): string {
  const name = NAMES[linkType];
  return name === undefined ? `link type ${linkType}` : `${name}, ${linkType}`;
}
