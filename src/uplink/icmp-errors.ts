import type { Arena, Frame, PortId } from '../../switch/frame.ts';
import { ICMP_BURST, ICMP_PER_SECOND } from '../../switch/rate-limit.ts';
import { TokenBuckets } from '../../switch/token-buckets.ts';
import { get32, set16 } from '../../wire/bytes.ts';
import { sum } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from '../../wire/ethernet.ts';
import { fillIcmpChecksum, ICMP_LEN, writeIcmp } from '../../wire/icmp.ts';
import { fillIcmpv6Checksum, writeIcmpv6 } from '../../wire/icmpv6.ts';
import { fillIpv4Checksum, IPV4_LEN, ipv4Src, setIpv4TotalLength, writeIpv4 } from '../../wire/ipv4.ts';
import {
  IPV6_DST,
  IPV6_LEN,
  IPV6_MIN_MTU,
  IPV6_SRC,
  setIpv6PayloadLength,
  setIpv6Src,
  writeIpv6,
} from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP } from '../../wire/protocol.ts';
import { checksumOffset } from '../../wire/transport.ts';
import { setUdpLength, UDP_CHECKSUM } from '../../wire/udp.ts';
import { clearVnet, hasPartialChecksum, VNET_LEN } from '../../wire/virtio-net.ts';
import { isHostsOwnIpv6, isLoopbackIpv4 } from './loopback.ts';
import type { Segment } from './segment.ts';

/** Longest ICMP error over IPv4 (RFC 1812 §4.3.2.3), and over IPv6 (RFC 4443 §2.4 c). */
const LONGEST_IPV4 = 576;
const LONGEST_IPV6 = IPV6_MIN_MTU;
/** Errors that wait to be received. More of them at once are like errors lost on the way, which nobody relies on. */
const CAPACITY = 64;
const STRIDE = ETH_LEN + LONGEST_IPV6;
/** Endpoints share so many allowances, by their ports. */
const ALLOWANCES = 256;
const TTL = 64;

/**
 * ICMP and ICMPv6 errors that the uplink has for the deck: those that routers and hosts outside sent about what left by a
 * host socket, told to us by the kernel without their packet, and those that the uplink itself has to send. Written
 * here as whole frames, and received by the deck like all others.
 *
 * Make one: `begin`, write the IP packet that it is about, as the uplink got it, `finish`. For a frame at hand: `about`.
 */
export class IcmpErrors {
  /** Where `begin` lets the packet be written. */
  readonly bytes = new Uint8Array(CAPACITY * STRIDE);
  /** Errors that found no room, or of which an endpoint has had too many. */
  lost = 0;
  /** Monotonic milliseconds of the turn that it is. */
  now = 0;
  readonly #lengths = new Int32Array(CAPACITY);
  readonly #segment: Segment;
  #first = 0;
  #count = 0;
  #identification = 0;
  /** Errors that may go out at once, by allowance. */
  readonly #allowances = new TokenBuckets(ALLOWANCES, ICMP_BURST);

  constructor(segment: Segment) {
    this.#segment = segment;
  }

  /** How many wait. */
  get size(): number {
    return this.#count;
  }

  /** How many bytes of the packet that it is about an error quotes at most. */
  room(isIpv6: boolean): number {
    return isIpv6 ? LONGEST_IPV6 - IPV6_LEN - ICMP_LEN : LONGEST_IPV4 - IPV4_LEN - ICMP_LEN;
  }

  /** Begins an error: where in `bytes` the IP packet that it is about is to be written, or -1 when too many wait. */
  begin(isIpv6: boolean): number {
    if (this.#count === CAPACITY) {
      this.lost++;
      return -1;
    }
    return this.#next() + ETH_LEN + (isIpv6 ? IPV6_LEN : IPV4_LEN) + ICMP_LEN;
  }

  /**
   * Finishes an error. It goes to the source of the packet that was written.
   * @param length bytes that were written of the packet, at most `room`
   * @param rest second word of the ICMP header: 0, or the MTU
   * @param offender whose address is the error's source, 4 or 16 bytes from `offender[offenderAt]` on; null for the device
   */
  finish(
    isIpv6: boolean,
    length: number,
    type: number,
    code: number,
    rest: number,
    offender: Uint8Array | null,
    offenderAt: number,
  ): void {
    const { bytes } = this;
    const { deck, device } = this.#segment;
    const at = this.#next();
    const etherType = isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
    const l3 = writeEthernet(bytes, at, deck.mac.hi, deck.mac.lo, device.mac.hi, device.mac.lo, etherType);
    const l4 = l3 + (isIpv6 ? IPV6_LEN : IPV4_LEN);
    const quoted = l4 + ICMP_LEN;
    if (isIpv6) {
      writeIpv6(bytes, l3, ICMP_LEN + length, PROTO_ICMPV6, TTL);
      if (offender === null || isHostsOwnIpv6(offender, offenderAt))
        setIpv6Src(bytes, l3, device.ipv6[0], device.ipv6[1], device.ipv6[2], device.ipv6[3]);
      else for (let i = 0; i < 16; i++) bytes[l3 + IPV6_SRC + i] = offender[offenderAt + i]!;
      bytes.copyWithin(l3 + IPV6_DST, quoted + IPV6_SRC, quoted + IPV6_SRC + 16);
      writeIcmpv6(bytes, l4, type, code, rest);
      fillIcmpv6Checksum(bytes, l3, l4, ICMP_LEN + length);
    } else {
      const own = offender === null || isLoopbackIpv4(get32(offender, offenderAt));
      const src = own ? device.ipv4 : get32(offender, offenderAt);
      const total = IPV4_LEN + ICMP_LEN + length;
      this.#identification = (this.#identification + 1) & 0xffff;
      writeIpv4(bytes, l3, total, PROTO_ICMP, TTL, src, ipv4Src(bytes, quoted), this.#identification);
      writeIcmp(bytes, l4, type, code, rest);
      fillIcmpChecksum(bytes, l4, ICMP_LEN + length);
    }
    this.#lengths[(this.#first + this.#count) % CAPACITY] = quoted + length - at;
    this.#count++;
  }

  /**
   * An error of the device's own about a frame that it got, unless who sent that has had too many.
   * @param end where the IP packet ends; that of the first datagram in a GSO frame
   */
  about(frame: Frame, type: number, code: number, rest: number, end: number = frame.end): void {
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    if (!this.#allows(frame.origin)) return;
    const at = this.begin(isIpv6);
    if (at < 0) return;
    const { bytes } = this;
    const { l3, l4 } = frame;
    const length = Math.min(end - l3, this.room(isIpv6));
    for (let i = 0; i < length; i++) bytes[at + i] = frame.bytes[l3 + i]!;
    if (end !== frame.end) {
      if (isIpv6) setIpv6PayloadLength(bytes, at, end - l3 - IPV6_LEN);
      else {
        setIpv4TotalLength(bytes, at, end - l3);
        fillIpv4Checksum(bytes, at);
      }
      if (frame.protocol === PROTO_UDP) {
        setUdpLength(bytes, at + l4 - l3, end - l4);
        // Of the first datagram alone: not known, and not asked for (RFC 5508 REQ-3 c).
        set16(bytes, at + l4 - l3 + UDP_CHECKSUM, 0);
      }
    } else if (hasPartialChecksum(frame)) {
      // The field holds the pseudo-header's sum, which so is counted with the rest.
      const field = l4 - l3 + checksumOffset(frame);
      if (field + 2 <= length) set16(bytes, at + field, ~sum(frame.bytes, l4, end - l4) & 0xffff);
    }
    this.finish(isIpv6, length, type, code, rest, null, 0);
  }

  /**
   * Limited (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f), to each endpoint what Linux gives to all receivers together. Not one error a
   * second, as Linux to each of them: that the host has no IPv6 is to be heard before a timeout, of every connection.
   */
  #allows(origin: PortId): boolean {
    const allowed = this.#allowances.take(origin & (ALLOWANCES - 1), this.now, ICMP_PER_SECOND, ICMP_BURST);
    if (!allowed) this.lost++;
    return allowed;
  }

  /** The error that has waited longest, in a slot held for the caller; null when none waits or no slot is free. */
  next(arena: Arena): Frame | null {
    if (this.#count === 0) return null;
    const length = this.#lengths[this.#first]!;
    const frame = arena.allocate(length);
    if (frame === undefined) return null;
    const from = this.#first * STRIDE;
    clearVnet(frame.bytes, frame.at - VNET_LEN);
    for (let i = 0; i < length; i++) frame.bytes[frame.at + i] = this.bytes[from + i]!;
    frame.length = length;
    this.#first = (this.#first + 1) % CAPACITY;
    this.#count--;
    return frame;
  }

  #next(): number {
    return ((this.#first + this.#count) % CAPACITY) * STRIDE;
  }
}
