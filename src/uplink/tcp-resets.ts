import { discarded, type Transmit } from '../../switch/device.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import type { Arena, Frame } from '../../switch/frame.ts';
import { FrameRing } from '../../switch/frame-ring.ts';
import { IPV4_DF, IPV4_LEN, writeIpv4 } from '../../wire/ipv4.ts';
import { IPV6_LEN, setIpv6Dst, setIpv6Src, writeIpv6 } from '../../wire/ipv6.ts';
import { PROTO_TCP } from '../../wire/protocol.ts';
import {
  TCP_ACK,
  TCP_FIN,
  TCP_LEN,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgment,
  tcpFlags,
  tcpSequence,
  writeTcp,
} from '../../wire/tcp.ts';
import { icmpOfErrno } from './host-error.ts';
import type { IcmpErrors } from './icmp-errors.ts';
import { INSIDE, IS_IPV6, OUTSIDE, PORTS, RCV_NXT, ROW, SND_NXT } from './tcp-connections.ts';
import type { TcpSegments } from './tcp-segments.ts';

/** Resets that wait for the deck to take them. One that is lost is sent again when the inside sends again. */
const RESETS = 1024;
const QUOTED_TTL = 64;

/** What the inside is told by segments of no connection, or of one that is no more: RST, and ICMP for a SYN that came to nothing. */
export class TcpResets {
  /** Segments of no connection, answered by a reset. */
  strange = 0;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #segments: TcpSegments;
  readonly #errors: IcmpErrors;
  readonly #waiting = new FrameRing(RESETS);

  constructor(arena: Arena, words: Int32Array, segments: TcpSegments, errors: IcmpErrors) {
    this.#arena = arena;
    this.#words = words;
    this.#segments = segments;
    this.#errors = errors;
  }

  get pending(): boolean {
    return this.#waiting.size > 0;
  }

  /** The next that waits for the deck to take it, or null. */
  next(): Frame | null {
    return this.#waiting.shift();
  }

  clear(): void {
    for (let frame = this.#waiting.shift(); frame; frame = this.#waiting.shift()) this.#arena.release(frame);
  }

  /** RST to the inside of a connection, whose SYN we have answered; false when there is no room for it. */
  reset(row: number): boolean {
    return this.#reset(row, this.#words[row * ROW + SND_NXT]!);
  }

  /** RST for a SYN that was not answered, which it acknowledges (RFC 9293 §3.10.7.1). */
  refuseSyn(row: number): void {
    this.#reset(row, 0);
  }

  #reset(row: number, sequence: number): boolean {
    if (this.#waiting.full) return false;
    const frame = this.#segments.allocate(this.#arena, false);
    if (frame === undefined) return false;
    const next = this.#words[row * ROW + RCV_NXT]!;
    this.#segments.write(frame, row, sequence, next, TCP_RST | TCP_ACK, 0, TCP_LEN, 0, 1);
    this.#waiting.push(frame);
    return true;
  }

  /** RST for a segment that belongs to no connection (RFC 9293 §3.10.7.1), or not to the one it names. */
  refuse(frame: Frame): Transmit {
    const { bytes, l3, l4 } = frame;
    const flags = tcpFlags(bytes, l4);
    const status = discarded(DropReason.NO_SOCKET);
    if ((flags & TCP_RST) !== 0) return status;
    this.strange++;
    if (this.#waiting.full) return status;
    const reset = this.#segments.allocate(this.#arena, false);
    if (reset === undefined) return status;
    const acknowledges = (flags & TCP_ACK) !== 0;
    const control = (flags & TCP_SYN ? 1 : 0) + (flags & TCP_FIN ? 1 : 0);
    const next = (tcpSequence(bytes, l4) + frame.end - frame.payload + control) | 0;
    this.#segments.writeReset(
      reset,
      frame,
      l3,
      acknowledges ? tcpAcknowledgment(bytes, l4) : 0,
      acknowledges ? 0 : next,
      acknowledges ? TCP_RST : TCP_RST | TCP_ACK,
    );
    this.#waiting.push(reset);
    return status;
  }

  /** Tells the inside by ICMP why its SYN came to nothing: the SYN is written once more, to be quoted. */
  quote(row: number, number: number): void {
    const words = this.#words;
    const at = row * ROW;
    const isIpv6 = words[at + IS_IPV6] !== 0;
    const quoted = this.#errors.begin(isIpv6);
    if (quoted < 0) return;
    const { bytes } = this.#errors;
    const o = at + OUTSIDE;
    const i = at + INSIDE;
    let l4: number;
    if (isIpv6) {
      l4 = writeIpv6(bytes, quoted, TCP_LEN, PROTO_TCP, QUOTED_TTL);
      setIpv6Src(bytes, quoted, words[i]!, words[i + 1]!, words[i + 2]!, words[i + 3]!);
      setIpv6Dst(bytes, quoted, words[o]!, words[o + 1]!, words[o + 2]!, words[o + 3]!);
    } else {
      const total = IPV4_LEN + TCP_LEN;
      l4 = writeIpv4(bytes, quoted, total, PROTO_TCP, QUOTED_TTL, words[i + 3]!, words[o + 3]!, 0, IPV4_DF);
    }
    const ports = words[at + PORTS]!;
    const sequence = (words[at + RCV_NXT]! - 1) | 0;
    writeTcp(bytes, l4, ports & 0xffff, ports >>> 16, sequence, 0, TCP_SYN, 0);
    const error = icmpOfErrno(number, isIpv6);
    const length = (isIpv6 ? IPV6_LEN : IPV4_LEN) + TCP_LEN;
    this.#errors.finish(isIpv6, length, error >> 8, error & 0xff, 0, null, 0);
  }
}
