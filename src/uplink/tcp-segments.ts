import { type Arena, BIG_SLOT, type Frame, HEADROOM } from '../../switch/frame.ts';
import { set16 } from '../../wire/bytes.ts';
import { fold, pseudoSumIpv4, pseudoSumIpv6 } from '../../wire/checksum.ts';
import { ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from '../../wire/ethernet.ts';
import { IPV4_DF, IPV4_LEN, ipv4Dst, ipv4Src, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_LEN, ipv6Dst, ipv6Src, setIpv6Dst, setIpv6Src, writeIpv6 } from '../../wire/ipv6.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import { TCP_CHECKSUM, TCP_LEN, tcpDstPort, tcpSrcPort, writeTcp } from '../../wire/tcp.ts';
import {
  VNET_F_NEEDS_CSUM,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_LEN,
  writeVnet,
} from '../../wire/virtio-net.ts';
import type { Segment } from './segment.ts';
import { INSIDE, IS_IPV6, OUTSIDE, PORTS, ROW } from './tcp-connections.ts';

const TTL = 64;
/** What an IP packet holds at most (IPv4 counts its header in, IPv6 does not). */
const LONGEST_PACKET = 65_535;

/** Bytes of a TCP segment, header included, that fit in one frame. */
export function longestSegment(isIpv6: boolean): number {
  return isIpv6 ? LONGEST_PACKET : LONGEST_PACKET - IPV4_LEN;
}

/**
 * Writes segments towards the deck. The payload, if there is any, is in the slot already: headers are written around it,
 * the checksum is left to whoever needs it (virtio-net).
 */
export class TcpSegments {
  /** Set when there was no slot; whoever wants to know clears it before. */
  starved = false;
  readonly #words: Int32Array;
  readonly #segment: Segment;

  constructor(words: Int32Array, segment: Segment) {
    this.#words = words;
    this.#segment = segment;
  }

  /** Where a segment's TCP header will be in the frame's slot. */
  headerAt(frame: Frame, row: number): number {
    return frame.at + ETH_LEN + (this.#words[row * ROW + IS_IPV6] !== 0 ? IPV6_LEN : IPV4_LEN);
  }

  /** A slot for headers alone, or one for as much as fits; undefined when there is none. */
  allocate(arena: Arena, payload: boolean): Frame | undefined {
    const frame = arena.allocate(payload ? BIG_SLOT - HEADROOM : ETH_LEN + IPV6_LEN + 60);
    if (frame === undefined) this.starved = true;
    return frame;
  }

  /**
   * Writes all headers of a segment of the row's connection; options are the caller's, before or after.
   * @param headerLength of the TCP header with its options
   * @param payload bytes behind it
   * @param mss payload bytes of one segment: a longer payload is cut by whoever has to (GSO)
   */
  write(
    frame: Frame,
    row: number,
    sequence: number,
    acknowledgment: number,
    flags: number,
    window: number,
    headerLength: number,
    payload: number,
    mss: number,
  ): void {
    const { bytes, at } = frame;
    const words = this.#words;
    const { deck, device } = this.#segment;
    const fields = row * ROW;
    const isIpv6 = words[fields + IS_IPV6] !== 0;
    const length = headerLength + payload;
    const l3 = writeEthernet(
      bytes,
      at,
      deck.mac.hi,
      deck.mac.lo,
      device.mac.hi,
      device.mac.lo,
      isIpv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4,
    );
    let l4: number;
    let sum: number;
    if (isIpv6) {
      l4 = writeIpv6(bytes, l3, length, PROTO_TCP, TTL);
      const o = fields + OUTSIDE;
      const i = fields + INSIDE;
      setIpv6Src(bytes, l3, words[o], words[o + 1], words[o + 2], words[o + 3]);
      setIpv6Dst(bytes, l3, words[i], words[i + 1], words[i + 2], words[i + 3]);
      sum = pseudoSumIpv6(bytes, l3, PROTO_TCP, length);
    } else {
      const src = words[fields + OUTSIDE + 3];
      const dst = words[fields + INSIDE + 3];
      // Never cut (DF), so the identification means nothing (RFC 6864 §4.1).
      l4 = writeIpv4(bytes, l3, IPV4_LEN + length, PROTO_TCP, TTL, src, dst, 0, IPV4_DF);
      sum = pseudoSumIpv4(bytes, l3, PROTO_TCP, length);
    }
    const ports = words[fields + PORTS];
    writeTcp(bytes, l4, ports >>> 16, ports & 0xffff, sequence, acknowledgment, flags, window, headerLength);
    set16(bytes, l4 + TCP_CHECKSUM, fold(sum));
    const gso = payload > mss;
    writeVnet(
      bytes,
      at - VNET_LEN,
      VNET_F_NEEDS_CSUM,
      gso ? (isIpv6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4) : VNET_GSO_NONE,
      gso ? l4 + headerLength - at : 0,
      gso ? mss : 0,
      l4 - at,
      TCP_CHECKSUM,
    );
    frame.length = l4 + length - at;
  }

  /** Writes a RST that answers a frame from the deck, with the addresses and ports of the frame exchanged. */
  writeReset(
    reset: Frame,
    frame: Frame,
    l3: number,
    sequence: number,
    acknowledgment: number,
    flags: number,
  ): void {
    const words = this.#words;
    const { bytes, l4 } = frame;
    // The row behind the last is nobody's.
    const row = words.length / ROW - 1;
    const at = row * ROW;
    const isIpv6 = frame.etherType === ETHERTYPE_IPV6;
    words[at + IS_IPV6] = isIpv6 ? 1 : 0;
    for (let i = 0; i < 4; i++) {
      words[at + OUTSIDE + i] = isIpv6 ? ipv6Dst(bytes, l3, i) : ipv4Dst(bytes, l3);
      words[at + INSIDE + i] = isIpv6 ? ipv6Src(bytes, l3, i) : ipv4Src(bytes, l3);
    }
    words[at + PORTS] = (tcpDstPort(bytes, l4) << 16) | tcpSrcPort(bytes, l4);
    this.write(reset, row, sequence, acknowledgment, flags, 0, TCP_LEN, 0, 1);
  }
}
