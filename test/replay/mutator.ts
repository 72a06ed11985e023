import type { Station } from '../../src/testing/index.ts';
import { parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';
import { ARP_SHA, ARP_SPA, ARP_TPA } from '../../wire/arp.ts';
import { get16, set16, set32 } from '../../wire/bytes.ts';
import {
  ETH_DST,
  ETH_LEN,
  ETH_SRC,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
} from '../../wire/ethernet.ts';
import {
  fillIpv4Checksum,
  IPV4_DST,
  IPV4_FRAGMENT,
  IPV4_IDENTIFICATION,
  IPV4_LEN,
  IPV4_SRC,
  IPV4_TOTAL_LENGTH,
  IPV4_TTL,
} from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_HOP_LIMIT,
  IPV6_LEN,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SRC,
} from '../../wire/ipv6.ts';
import { Malformed } from '../../wire/malformed.ts';
import { Packet } from '../../wire/packet.ts';
import { parse } from '../../wire/parse.ts';
import type { Random } from '../../wire/random.ts';
import { fillTransportChecksum } from '../../wire/transport.ts';
import {
  VNET_F_NEEDS_CSUM,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';

/** Longest frame that a mutation makes. */
const LONGEST = 66_000;

/** Values that lengths and offsets are often checked against wrongly. */
const EDGES = [
  0, 1, 7, 8, 19, 20, 21, 39, 40, 41, 59, 60, 0x7f, 0x80, 0xff, 0x1fff, 0x2000, 0x3fff, 0x7fff, 0xffff,
];

/**
 * Frames made of recorded ones by a seeded random generator: addressed to somebody who is on the deck, so that
 * they get past the bridge, and damaged in the ways in which frames are damaged on purpose.
 */
export class Mutator {
  readonly #random: Random;
  readonly #corpus: readonly Uint8Array[];
  readonly #stations: readonly Station[];
  readonly #gateways: readonly Station[];
  readonly #strangers: readonly Station[];
  /** The frame: valid until the next `next`. */
  readonly bytes = new Uint8Array(LONGEST);
  length = 0;
  /** Its virtio-net header, all zero for most. */
  readonly vnet = new Uint8Array(VNET_LEN);

  /**
   * @param strangers addresses that nobody has: no route, no answer, groups, martians
   */
  constructor(
    random: Random,
    corpus: readonly Uint8Array[],
    stations: readonly Station[],
    gateways: readonly Station[],
    strangers: readonly Station[],
  ) {
    this.#random = random;
    this.#corpus = corpus;
    this.#stations = stations;
    this.#gateways = gateways;
    this.#strangers = strangers;
  }

  /** Makes the next frame, sent by `from`, whose gateway is `gateway`. */
  next(from: Station, gateway: Station): void {
    const source = this.#pick(this.#corpus);
    this.length = Math.min(source.length, LONGEST);
    this.bytes.set(source.subarray(0, this.length));
    this.vnet.fill(0);
    this.#address(from, gateway);
    if (this.#chance(0.05)) this.#offload();
    if (this.#chance(0.6)) return;
    const damages = 1 + this.#below(3);
    for (let i = 0; i < damages; i++) this.#damage();
    // Half of the damaged packets have right checksums, so that the damage is seen by more than the checksum.
    if (this.#chance(0.5)) this.#fillChecksums();
  }

  #address(from: Station, gateway: Station): void {
    if (this.length < ETH_LEN) return;
    // As it was recorded: stations come and go.
    if (this.#chance(0.1)) return;
    const local = this.#chance(0.15) ? this.#pick(this.#stations) : gateway;
    const destination = this.#chance(0.05) ? 'ff:ff:ff:ff:ff:ff' : local.mac;
    if (!this.#chance(0.1)) this.#mac(ETH_DST, destination);
    this.#mac(ETH_SRC, this.#chance(0.03) ? this.#pick(this.#stations).mac : from.mac);
    const target = this.#target(local);
    switch (get16(this.bytes, 12)) {
      case ETHERTYPE_ARP:
        this.#mac(ETH_LEN + ARP_SHA, from.mac);
        this.#ipv4(ETH_LEN + ARP_SPA, from);
        this.#ipv4(ETH_LEN + ARP_TPA, this.#chance(0.7) ? gateway : target);
        break;
      case ETHERTYPE_IPV4:
        this.#ipv4(ETH_LEN + IPV4_SRC, this.#chance(0.05) ? this.#pick(this.#strangers) : from);
        this.#ipv4(ETH_LEN + IPV4_DST, target);
        if (this.#chance(0.1)) this.bytes[ETH_LEN + IPV4_TTL] = this.#below(3);
        break;
      case ETHERTYPE_IPV6:
        if (this.#chance(0.8))
          this.#ipv6(ETH_LEN + IPV6_SRC, this.#chance(0.05) ? this.#pick(this.#strangers) : from);
        if (this.#chance(0.8)) this.#ipv6(ETH_LEN + IPV6_DST, target);
        if (this.#chance(0.1)) this.bytes[ETH_LEN + IPV6_HOP_LIMIT] = this.#below(3);
        break;
    }
    this.#fillChecksums();
  }

  #target(local: Station): Station {
    const kind = this.#random.next() >>> 29;
    if (kind < 3) return local;
    if (kind < 6) return this.#pick(this.#stations);
    return kind === 6 ? this.#pick(this.#gateways) : this.#pick(this.#strangers);
  }

  /** A header as a TAP with offload writes it, right or not. */
  #offload(): void {
    const { bytes, length } = this;
    const packet = this.#parsed();
    const right = packet !== undefined && packet.l4 !== 0 && !this.#chance(0.3);
    const types = [0, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4, this.#below(256)];
    const protocol = packet?.protocol;
    const ipv4 = get16(bytes, 12) === ETHERTYPE_IPV4;
    const fitting =
      protocol === 6 ? (ipv4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6) : protocol === 17 ? VNET_GSO_UDP_L4 : 0;
    const start = right ? packet.l4 : this.#number(16);
    const offset = right ? (protocol === 6 ? 16 : 6) : this.#number(16);
    const type = right ? fitting : this.#pick(types);
    const size = this.#chance(0.7) ? 100 + this.#below(1400) : this.#number(16);
    const headers = right ? packet.payload : this.#number(16);
    writeVnet(
      this.vnet,
      0,
      this.#chance(0.9) ? VNET_F_NEEDS_CSUM : this.#below(256),
      type,
      headers,
      size,
      start,
      offset,
    );
    if (!this.#chance(0.5) || length < 60) return;
    // Larger than a frame on a cable can be, as segmentation offload makes them.
    const grown = Math.min(LONGEST, length + this.#below(20_000));
    bytes.fill(0x5a, length, grown);
    this.length = grown;
    if (ipv4) set16(bytes, ETH_LEN + IPV4_TOTAL_LENGTH, Math.min(0xffff, grown - ETH_LEN));
    else set16(bytes, ETH_LEN + IPV6_PAYLOAD_LENGTH, Math.min(0xffff, grown - ETH_LEN - IPV6_LEN));
    if (ipv4 && length >= ETH_LEN + IPV4_LEN) fillIpv4Checksum(bytes, ETH_LEN);
  }

  #damage(): void {
    const { bytes, length } = this;
    switch (this.#below(9)) {
      case 0: // bits flipped anywhere
        for (let i = this.#below(8); i >= 0; i--)
          if (length > 0) bytes[this.#below(length)]! ^= 1 << this.#below(8);
        break;
      case 1: // a byte of the headers replaced
        if (length > 0) bytes[this.#below(Math.min(length, 80))] = this.#number(8);
        break;
      case 2: // two bytes of the headers, such as a length
        if (length > 1) set16(bytes, this.#below(Math.min(length - 1, 80)), this.#number(16));
        break;
      case 3: // cut off
        this.length = this.#below(length + 1);
        break;
      case 4: {
        // more behind it than it says
        const grown = Math.min(LONGEST, length + (this.#chance(0.9) ? this.#below(64) : this.#below(3000)));
        for (let i = length; i < grown; i++) bytes[i] = this.#below(256);
        this.length = grown;
        break;
      }
      case 5: // lengths that lie
        if (length > ETH_LEN + IPV6_LEN) {
          if (get16(bytes, 12) === ETHERTYPE_IPV6)
            set16(bytes, ETH_LEN + IPV6_PAYLOAD_LENGTH, this.#number(16));
          else set16(bytes, ETH_LEN + IPV4_TOTAL_LENGTH, this.#number(16));
        }
        break;
      case 6: // a fragment of something
        if (get16(bytes, 12) === ETHERTYPE_IPV4 && length > ETH_LEN + IPV4_LEN) {
          const place = this.#chance(0.7) ? this.#below(20) : this.#number(13);
          set16(bytes, ETH_LEN + IPV4_IDENTIFICATION, this.#below(3));
          set16(bytes, ETH_LEN + IPV4_FRAGMENT, place | (this.#chance(0.5) ? 0x2000 : 0));
          fillIpv4Checksum(bytes, ETH_LEN);
        }
        break;
      case 7: // another header than expected
        if (length > ETH_LEN + IPV6_LEN) {
          if (get16(bytes, 12) === ETHERTYPE_IPV6)
            bytes[ETH_LEN + IPV6_NEXT_HEADER] = this.#pick([0, 43, 44, 51, 60, 58, 135]);
          else bytes[ETH_LEN] = 0x40 | this.#below(16);
        }
        break;
      default: // a piece of itself again
        if (length > 40)
          bytes.copyWithin(this.#below(length - 20), this.#below(length - 20), this.#below(length));
    }
  }

  #fillChecksums(): void {
    const { bytes, length } = this;
    if (length < ETH_LEN + IPV4_LEN) return;
    const headerEnd = ETH_LEN + ((bytes[ETH_LEN]! & 15) << 2);
    if (get16(bytes, 12) === ETHERTYPE_IPV4 && headerEnd >= ETH_LEN + IPV4_LEN && headerEnd <= length) {
      fillIpv4Checksum(bytes, ETH_LEN);
    }
    const packet = this.#parsed();
    if (packet && !packet.moreFragments) fillTransportChecksum(packet);
  }

  #parsed(): Packet | undefined {
    const packet = new Packet(this.bytes);
    packet.length = this.length;
    return parse(packet) === Malformed.NONE ? packet : undefined;
  }

  #mac(at: number, text: string): void {
    const { hi, lo } = parseMac(text)!;
    if (at + 6 > this.length) return;
    set16(this.bytes, at, hi);
    set32(this.bytes, at + 2, lo);
  }

  #ipv4(at: number, { ipv4 }: Station): void {
    if (ipv4 !== undefined && at + 4 <= this.length) set32(this.bytes, at, parseIpv4(ipv4)!);
  }

  #ipv6(at: number, { ipv6 }: Station): void {
    if (ipv6 === undefined || at + 16 > this.length) return;
    for (const [i, word] of parseIpv6(ipv6)!.entries()) set32(this.bytes, at + 4 * i, word);
  }

  /** Any value of so many bits, the usual suspects more often. */
  #number(bits: number): number {
    const value = this.#chance(0.5) ? this.#pick(EDGES) : this.#below(2 ** bits);
    return value & (2 ** bits - 1);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)]!;
  }

  #below(n: number): number {
    return this.#random.below(n);
  }

  #chance(probability: number): boolean {
    return this.#random.chance(probability);
  }
}
