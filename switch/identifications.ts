import { get16, set16 } from '../wire/bytes.ts';
import type { Carrier } from '../wire/carrier.ts';
import { update16 } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4 } from '../wire/ethernet.ts';
import { type HashKey, hash3 } from '../wire/hash.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DF,
  IPV4_IDENTIFICATION,
  ipv4Checksum,
  ipv4Dst,
  ipv4Fragment,
  ipv4Protocol,
  ipv4Src,
} from '../wire/ipv4.ts';
import type { Random } from '../wire/random.ts';
import { segmentCount } from '../wire/segmentation.ts';
import { gsoType, VNET_GSO_NONE, VNET_LEN } from '../wire/virtio-net.ts';
import type { Frame } from './frame.ts';

/** Counters; sources, destinations and protocols that share one only come round sooner. A power of two. */
const COUNTERS = 2048;

/**
 * Identifications of datagrams that leave with one address although they come from several hosts: pieces of two of them
 * that had the same one would be put together (RFC 6864 §5.3.1, RFC 7857 §10).
 */
export class Identifications {
  readonly #random: Random;
  #key: HashKey = [0, 0];
  /** For IPv4, next identification by source, destination and protocol; empty until one is needed. */
  #next = new Uint16Array(0);

  constructor(random: Random) {
    this.#random = random;
  }

  carry(carrier: Carrier): void {
    this.#key = carrier.plain(this.#key);
    this.#next = carrier.grown(this.#next);
  }

  /** Another 32 bits, for IPv6. */
  next(): number {
    return this.#random.next() | 0;
  }

  /**
   * Gives a parsed packet that may be in pieces, now or later, an identification of the deck's own. To be called once its
   * source is translated; of a GSO frame, every packet gets one.
   */
  renumber(frame: Frame): void {
    const { bytes, l3, largestFragment } = frame;
    if (frame.etherType !== ETHERTYPE_IPV4) {
      if (largestFragment > 0) frame.fragmentIdentification = this.next();
      return;
    }
    // RFC 6864 §4.1: it says nothing where nobody fragments.
    if ((ipv4Fragment(bytes, l3) & IPV4_DF) !== 0 && largestFragment === 0) return;
    const isGso = gsoType(bytes, frame.at - VNET_LEN) !== VNET_GSO_NONE;
    const identification = this.#take(
      ipv4Src(bytes, l3),
      ipv4Dst(bytes, l3),
      ipv4Protocol(bytes, l3),
      isGso ? segmentCount(frame) : 1,
    );
    const before = get16(bytes, l3 + IPV4_IDENTIFICATION);
    set16(bytes, l3 + IPV4_IDENTIFICATION, identification);
    set16(bytes, l3 + IPV4_CHECKSUM, update16(ipv4Checksum(bytes, l3), before, identification));
  }

  /** The first of `count` that follow each other: all 65,536 are used before one comes again. */
  #take(src: number, dst: number, protocol: number, count: number): number {
    if (this.#next.length === 0) {
      this.#key = [this.next(), this.next()];
      this.#next = Uint16Array.from({ length: COUNTERS }, () => this.#random.next());
    }
    const [k0, k1] = this.#key;
    const counter = hash3(k0, k1, src, dst, protocol) & (COUNTERS - 1);
    const first = this.#next[counter];
    this.#next[counter] = first + count;
    return first;
  }
}
