/**
 * Addresses as integers, and as text.
 *
 * A MAC is two integers: `hi`, its first two bytes, and `lo`, its last four as int32. An IPv4 address is an int32.
 * An IPv6 address is four int32 words. So no address on the packet path is an object, and all compare with `===`.
 * Parsing answers `undefined` for anything that is not exactly an address; what to say about it is the caller's.
 */

/** A MAC as a value, for configuration and tests; the packet path passes `hi` and `lo`. */
export interface Mac {
  readonly hi: number;
  readonly lo: number;
}

/** An IPv6 address as a value: four int32 words, the first one first. */
export type Ipv6 = readonly [number, number, number, number];

export const MAC_BROADCAST_HI = 0xffff;
export const MAC_BROADCAST_LO = -1;
/** First two bytes of the MACs that Docker derives from IPv4 addresses: locally administered, unicast. */
export const MAC_DOCKER_HI = 0x0242;
/** First two bytes of the group MACs of IPv6 multicast; the last word of the address follows (RFC 2464 §7). */
export const MAC_IPV6_MULTICAST_HI = 0x3333;
/** First two bytes of the group MACs of IPv4 multicast (RFC 1112 §6.4). */
export const MAC_IPV4_MULTICAST_HI = 0x0100;

/** Multicast or broadcast: the lowest bit of the first byte (IEEE 802 §8.2.2). Never a source. */
export function isGroup(hi: number): boolean {
  return (hi & 0x0100) !== 0;
}

export function isBroadcast(hi: number, lo: number): boolean {
  return hi === MAC_BROADCAST_HI && lo === MAC_BROADCAST_LO;
}

/** 01-80-C2-00-00-00 to -0F, which no bridge forwards (IEEE 802.1D §7.12.6, 802.1Q §8.6.3). */
export function isReserved(hi: number, lo: number): boolean {
  return hi === 0x0180 && (lo & 0xfffffff0) === (0xc2000000 | 0);
}

export function isZeroMac(hi: number, lo: number): boolean {
  return (hi | lo) === 0;
}

/** The MAC that Docker gives to a container with this IPv4 address: 02:42 and the address. */
export function dockerMac(ipv4: number): Mac {
  return { hi: MAC_DOCKER_HI, lo: ipv4 | 0 };
}

/** Last four bytes of the group MAC of an IPv4 multicast address (RFC 1112 §6.4: the low 23 bits). */
export function ipv4MulticastMacLo(address: number): number {
  return 0x5e000000 | (address & 0x7fffff);
}

/** `02:42:ac:11:00:02`, or with `-`; two hexadecimal digits per byte. */
export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}$/i.test(text)) return undefined;
  const digits = text.replace(/[:-]/g, '');
  return { hi: Number.parseInt(digits.slice(0, 4), 16), lo: Number.parseInt(digits.slice(4), 16) | 0 };
}

/** Lower case, with colons. */
export function formatMac(hi: number, lo: number): string {
  const digits = (hi & 0xffff).toString(16).padStart(4, '0') + (lo >>> 0).toString(16).padStart(8, '0');
  return digits.replace(/..(?=.)/g, '$&:');
}

/**
 * Four decimal numbers, without leading zeros: some read `010` as eight, and what two programs understand
 * differently is no address.
 */
export function parseIpv4(text: string): number | undefined {
  if (!/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return undefined;
  let address = 0;
  for (const part of text.split('.')) {
    const byte = Number(part);
    if (byte > 255) return undefined;
    address = (address << 8) | byte;
  }
  return address;
}

export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

export function isIpv4Multicast(address: number): boolean {
  return address >>> 28 === 0xe;
}

export function isIpv4Loopback(address: number): boolean {
  return address >>> 24 === 127;
}

/** 169.254.0.0/16 (RFC 3927): never routed. */
export function isIpv4LinkLocal(address: number): boolean {
  return address >>> 16 === 0xa9fe;
}

/** The mask of a prefix of 0 to 32 bits, as int32. */
export function ipv4Mask(prefixLength: number): number {
  // A shift by 32 is a shift by 0.
  return prefixLength === 0 ? 0 : -1 << (32 - prefixLength);
}

/** Word 0 to 3 of the mask of an IPv6 prefix. */
export function prefixWord(prefix: number, word: number): number {
  const bits = prefix - word * 32;
  if (bits >= 32) return -1;
  // A shift by 32 is a shift by 0.
  return bits <= 0 ? 0 : -1 << (32 - bits);
}

/** RFC 4291 §2.2 in all three forms; no zone (`%eth0`), which is no part of an address. */
export function parseIpv6(text: string): Ipv6 | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const left = parseGroups(halves[0]!, halves.length === 1);
  const right = parseGroups(halves[1] ?? '', true);
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  // `::` stands for one group or more (RFC 4291 §2.2).
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right];
  const word = (i: number) => (groups[i]! << 16) | groups[i + 1]!;
  return [word(0), word(2), word(4), word(6)];
}

/** The 16-bit groups of one side of `::`; a dotted IPv4 address may stand `last`. */
function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const ipv4 = last && i === parts.length - 1 ? parseIpv4(part) : undefined;
    if (ipv4 === undefined) return undefined;
    groups.push(ipv4 >>> 16, ipv4 & 0xffff);
  }
  return groups;
}

/** The canonical text (RFC 5952): lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
export function formatIpv6(w0: number, w1: number, w2: number, w3: number): string {
  // IPv4-mapped addresses are printed with the IPv4 address that they are (RFC 5952 §5).
  if (w0 === 0 && w1 === 0 && w2 === 0xffff) return `::ffff:${formatIpv4(w3)}`;
  const groups = [w0, w1, w2, w3].flatMap((word) => [word >>> 16, word & 0xffff]);
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (groups[i + run] === 0) run++;
    if (run > length) {
      start = i;
      length = run;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

/** ff00::/8. */
export function isIpv6Multicast(w0: number): boolean {
  return w0 >>> 24 === 0xff;
}

/** fe80::/10: never routed (RFC 4291 §2.5.6). */
export function isIpv6LinkLocal(w0: number): boolean {
  return w0 >>> 22 === 0x3fa;
}

export function isIpv6Unspecified(w0: number, w1: number, w2: number, w3: number): boolean {
  return (w0 | w1 | w2 | w3) === 0;
}

export function isIpv6Loopback(w0: number, w1: number, w2: number, w3: number): boolean {
  return (w0 | w1 | w2) === 0 && w3 === 1;
}

/** ff02::1:ffxx:xxxx, the group in which a neighbor with this last word listens (RFC 4291 §2.7.1). */
export const SOLICITED_NODE_W0 = 0xff020000 | 0;
export const SOLICITED_NODE_W1 = 0;
export const SOLICITED_NODE_W2 = 1;
export function solicitedNodeW3(w3: number): number {
  return 0xff000000 | (w3 & 0xffffff);
}

/** The link-local address that a MAC makes (modified EUI-64, RFC 4291 appendix A). */
export function linkLocalFromMac(mac: Mac): Ipv6 {
  return [
    0xfe800000 | 0,
    0,
    ((mac.hi ^ 0x0200) << 16) | ((mac.lo >>> 24) << 8) | 0xff,
    (0xfe << 24) | (mac.lo & 0xffffff),
  ];
}
