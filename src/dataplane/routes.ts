import type { Frame } from '../../switch/frame.ts';
import type { Network } from '../../switch/network.ts';
import { isIpv6Multicast, prefixWord } from '../../wire/address.ts';
import { get32 } from '../../wire/bytes.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { IPV4_DST } from '../../wire/ipv4.ts';
import { IPV6_DST } from '../../wire/ipv6.ts';

/** Where packets to a prefix go: to stations of `network`, which are their own next hops, or to the deck itself. */
export interface Route {
  readonly network: Network;
  readonly prefix: number;
  /** Whether the destination is the deck: one address that its gateway holds in `network`. */
  readonly isLocal: boolean;
}

/** A route with the words of its prefix; IPv4 has one. */
interface Row extends Route {
  readonly words: readonly number[];
}

/**
 * The routing table, found by longest-prefix match: the subnets of the container networks, and every address of the deck
 * itself. One hash table per IP version; a look-up tries the prefix lengths that occur, the longest first: two or three,
 * however many networks there are.
 */
export class Routes {
  #ipv4 = new PrefixTable([], 1);
  #ipv6 = new PrefixTable([], 4);

  /** The networks to which there are routes, in the order in which they were added. */
  get networks(): Network[] {
    return [...new Set([...this.#ipv4.rows, ...this.#ipv6.rows].map(({ network }) => network))];
  }

  /** Adds the gateway's addresses and, unless it is an uplink's, the network's own prefixes. */
  add(network: Network, subnets = true): void {
    if (network.hasIpv4) {
      const rows: Row[] = Array.from(network.ownIpv4, (address) => ({
        network,
        prefix: 32,
        isLocal: true,
        words: [address],
      }));
      const prefix = network.ipv4Prefix;
      const words = [network.ipv4 & network.ipv4Mask];
      if (subnets && prefix < 32) rows.push({ network, prefix, isLocal: false, words });
      this.#ipv4 = new PrefixTable([...this.#ipv4.rows, ...rows], 1);
    }
    if (network.hasIpv6) {
      const own = network.ownIpv6;
      const rows: Row[] = Array.from({ length: own.length / 4 }, (_, i) => ({
        network,
        prefix: 128,
        isLocal: true,
        words: Array.from(own.subarray(4 * i, 4 * i + 4)),
      }));
      const prefix = network.ipv6Prefix;
      const words = Array.from(network.ipv6, (word, i) => word & prefixWord(prefix, i));
      if (subnets && prefix < 128) rows.push({ network, prefix, isLocal: false, words });
      this.#ipv6 = new PrefixTable([...this.#ipv6.rows, ...rows], 4);
    }
  }

  /** Removes all routes into the network. */
  remove(network: Network): void {
    const others = (row: Row) => row.network !== network;
    this.#ipv4 = new PrefixTable(this.#ipv4.rows.filter(others), 1);
    this.#ipv6 = new PrefixTable(this.#ipv6.rows.filter(others), 4);
  }

  /** The route to an IPv4 address, or null. */
  lookupIpv4(address: number): Route | null {
    return this.#ipv4.lookup(address, 0, 0, 0);
  }

  /** The route to an IPv6 address of four words, or null. */
  lookupIpv6(w0: number, w1: number, w2: number, w3: number): Route | null {
    return this.#ipv6.lookup(w0, w1, w2, w3);
  }

  /** Whether a parsed packet to the gateway's MAC is for the deck itself (INPUT) and not to be routed (FORWARD). */
  isLocal(frame: Frame, network: Network): boolean {
    const { bytes, l3 } = frame;
    if (frame.etherType === ETHERTYPE_IPV4) {
      return this.lookupIpv4(get32(bytes, l3 + IPV4_DST))?.isLocal === true;
    }
    if (frame.etherType !== ETHERTYPE_IPV6) return true;
    const w0 = get32(bytes, l3 + IPV6_DST);
    const w1 = get32(bytes, l3 + IPV6_DST + 4);
    const w2 = get32(bytes, l3 + IPV6_DST + 8);
    const w3 = get32(bytes, l3 + IPV6_DST + 12);
    // RFC 6085: a group may be reached by a unicast MAC.
    if (isIpv6Multicast(w0) || network.isOwnIpv6(w0, w1, w2, w3)) return true;
    return this.lookupIpv6(w0, w1, w2, w3)?.isLocal === true;
  }
}

/** An immutable open-addressing hash table of prefixes, at most half full. Its keys are the operator's, not a stranger's. */
class PrefixTable {
  readonly rows: readonly Row[];
  /** Words of an address. */
  readonly #width: number;
  /** The prefix lengths that occur, the longest first, and their masks, four words each. */
  readonly #prefixes: Int32Array;
  readonly #masks: Int32Array;
  readonly #slots: (Row | null)[];

  constructor(rows: readonly Row[], width: number) {
    this.rows = rows;
    this.#width = width;
    const prefixes = [...new Set(rows.map((row) => row.prefix))].sort((a, b) => b - a);
    this.#prefixes = Int32Array.from(prefixes);
    this.#masks = Int32Array.from(
      prefixes.flatMap((prefix) => [0, 1, 2, 3].map((word) => prefixWord(prefix, word))),
    );
    this.#slots = new Array<Row | null>(2 ** Math.ceil(Math.log2(rows.length * 2 + 1))).fill(null);
    for (const row of rows) {
      const [w0, w1 = 0, w2 = 0, w3 = 0] = row.words as [number, number?, number?, number?];
      let slot = this.#slot(row.prefix, w0, w1, w2, w3);
      while (this.#slots[slot] !== null) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = row;
    }
  }

  lookup(w0: number, w1: number, w2: number, w3: number): Row | null {
    const prefixes = this.#prefixes;
    const masks = this.#masks;
    for (let i = 0; i < prefixes.length; i++) {
      const at = i << 2;
      const row = this.#find(
        prefixes[i],
        w0 & masks[at],
        w1 & masks[at + 1],
        w2 & masks[at + 2],
        w3 & masks[at + 3],
      );
      if (row !== null) return row;
    }
    return null;
  }

  #find(prefix: number, w0: number, w1: number, w2: number, w3: number): Row | null {
    const slots = this.#slots;
    for (let slot = this.#slot(prefix, w0, w1, w2, w3); ; slot = (slot + 1) & (slots.length - 1)) {
      const row = slots[slot];
      if (row === null) return null;
      const { words } = row;
      if (row.prefix !== prefix || words[0] !== w0) continue;
      if (this.#width === 1 || (words[1] === w1 && words[2] === w2 && words[3] === w3)) return row;
    }
  }

  #slot(prefix: number, w0: number, w1: number, w2: number, w3: number): number {
    let hash = Math.imul(
      w0 ^ Math.imul(w1 ^ Math.imul(w2 ^ Math.imul(w3, 0x9e3779b1), 0x85ebca6b), 0xc2b2ae35),
      0x27d4eb2f,
    );
    hash = Math.imul(hash ^ prefix ^ (hash >>> 15), 0x9e3779b1);
    return (hash ^ (hash >>> 16)) & (this.#slots.length - 1);
  }
}
