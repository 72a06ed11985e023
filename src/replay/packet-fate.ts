import { DROP_REASON_NAMES } from '../../switch/drop-reason.ts';
import { type Verdict, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { formatIpv4, formatIpv6 } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_LEN, ETH_TYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../../wire/ethernet.ts';
import { IPV4_DST, IPV4_LEN, IPV4_SRC } from '../../wire/ipv4.ts';
import { IPV6_DST, IPV6_LEN, IPV6_SRC } from '../../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { frameLine } from './frame-difference.ts';
import { type VerdictName, verdictName } from './verdict-words.ts';

/** What became of a packet, in words and for programs. */
export interface PacketFate {
  verdict: VerdictName;
  /** The drop reason's name; null when it was not dropped. */
  reason: string | null;
  /** Ports that something went out by because of it. */
  to: string[];
  /** `forwarded to web as 10.0.0.3:80`, `dropped: USER_DROP`. */
  words: string;
}

/** Outputs that are kept of one packet, and bytes of each: enough for its headers. */
const KEPT = 16;
const KEPT_BYTES = 128;

/**
 * What one deck does with one packet: its verdict, and by which ports it sends what to whom. A number stands for all of it,
 * so that equal fates cost no words; they are made of the headers that are kept.
 */
export class FateRecorder {
  /** Outputs so far. */
  count = 0;
  #mark = 0;
  readonly #bytes = new Uint8Array(KEPT * KEPT_BYTES);
  readonly #lengths = new Int32Array(KEPT);
  readonly #ports: string[] = new Array(KEPT).fill('');

  /** Forgets the packet before. */
  begin(): void {
    this.count = 0;
    this.#mark = 0;
  }

  /**
   * A frame left the deck.
   * @param id the same for ports of one name in both decks
   */
  sent(name: string, id: number, bytes: Uint8Array, at: number, length: number): void {
    this.#mark = mix(mix(this.#mark, id), endsMark(bytes, at, length));
    if (this.count < KEPT) {
      const kept = Math.min(length, KEPT_BYTES);
      this.#bytes.set(bytes.subarray(at, at + kept), this.count * KEPT_BYTES);
      this.#lengths[this.count] = kept;
      this.#ports[this.count] = name;
    }
    this.count++;
  }

  /** Equal for equal fates; of others, only by chance. */
  mark(verdict: Verdict): number {
    const kind = verdictKind(verdict);
    // Ports and networks have other numbers in another deck; where it went is in the outputs.
    const what = kind === VerdictKind.DROP ? verdictArgument(verdict) : 0;
    return mix(mix(mix(this.#mark, this.count), kind), what);
  }

  /** The fate in words, of a frame that came in by `port`. */
  fate(verdict: Verdict, port: string, bytes: Uint8Array, at: number, length: number): PacketFate {
    const name = verdictName(verdict);
    const reason = name === 'dropped' ? (DROP_REASON_NAMES[verdictArgument(verdict)] ?? 'no verdict') : null;
    const came = endsOf(bytes, at, length);
    const kept = Math.min(this.count, KEPT);
    const to = [...new Set(this.#ports.slice(0, kept))];
    const own: string[] = [];
    const other: string[] = [];
    for (let i = 0; i < kept; i++) {
      const start = i * KEPT_BYTES;
      const went = endsOf(this.#bytes, start, this.#lengths[i]!);
      const isCopy = name === 'forwarded' || name === 'flooded';
      if (isCopy && went.protocol === came.protocol) own.push(`${this.#ports[i]}${translation(came, went)}`);
      else
        other.push(
          `${this.#ports[i]} is sent ${frameLine(this.#bytes, start, this.#lengths[i]).replace(/^\S+ > \S+, /, '')}`,
        );
    }
    const places = [...new Set(own)].join(', ');
    const what = {
      forwarded:
        to.length === 1 && to[0] === port
          ? `sent back to ${places || port}`
          : `forwarded to ${places || 'nobody'}`,
      flooded: `flooded to ${places || 'nobody'}`,
      consumed: 'consumed by the gateway',
      held: 'held until the next hop or the other fragments are known',
      dropped: `dropped: ${reason}`,
    }[name];
    const more = this.count > KEPT ? [`${this.count - KEPT} frames more`] : [];
    return { verdict: name, reason, to, words: [what, ...other, ...more].join('; ') };
  }
}

/** Who speaks with whom in a packet; ports are -1 where there are none. */
interface Ends {
  protocol: number;
  src: string;
  dst: string;
  dstPort: number;
}

function translation(came: Ends, went: Ends): string {
  const ends: string[] = [];
  if (came.dst !== went.dst || came.dstPort !== went.dstPort) {
    const host = went.dst.includes(':') ? `[${went.dst}]` : went.dst;
    ends.push(` as ${host}${went.dstPort < 0 ? '' : `:${went.dstPort}`}`);
  }
  if (came.src !== went.src) ends.push(` from ${went.src}`);
  return ends.join('');
}

function endsOf(bytes: Uint8Array, at: number, length: number): Ends {
  const none = { protocol: -1, src: '', dst: '', dstPort: -1 };
  if (length < ETH_LEN + IPV4_LEN) return none;
  const l3 = at + ETH_LEN;
  const type = get16(bytes, at + ETH_TYPE);
  if (type === ETHERTYPE_IPV4) {
    return {
      protocol: bytes[l3 + 9]!,
      src: formatIpv4(get32(bytes, l3 + IPV4_SRC)),
      dst: formatIpv4(get32(bytes, l3 + IPV4_DST)),
      dstPort: portAt(bytes, bytes[l3 + 9]!, l3 + 4 * (bytes[l3]! & 0xf), at + length),
    };
  }
  if (type !== ETHERTYPE_IPV6 || length < ETH_LEN + IPV6_LEN) return { ...none, protocol: -type };
  const address = (from: number) =>
    formatIpv6(get32(bytes, from), get32(bytes, from + 4), get32(bytes, from + 8), get32(bytes, from + 12));
  return {
    protocol: bytes[l3 + 6]!,
    src: address(l3 + IPV6_SRC),
    dst: address(l3 + IPV6_DST),
    dstPort: portAt(bytes, bytes[l3 + 6]!, l3 + IPV6_LEN, at + length),
  };
}

function portAt(bytes: Uint8Array, protocol: number, l4: number, end: number): number {
  return (protocol === PROTO_TCP || protocol === PROTO_UDP) && l4 + 4 <= end ? get16(bytes, l4 + 2) : -1;
}

/** Of all that `endsOf` says, and of an ICMP message its type and code: what belongs to a fate. */
function endsMark(bytes: Uint8Array, at: number, length: number): number {
  if (length < ETH_LEN + IPV4_LEN) return length;
  const l3 = at + ETH_LEN;
  const type = get16(bytes, at + ETH_TYPE);
  let mark = type;
  if (type === ETHERTYPE_IPV4) {
    const l4 = l3 + 4 * (bytes[l3]! & 0xf);
    mark = mix(mix(mix(mark, bytes[l3 + 9]!), get32(bytes, l3 + IPV4_SRC)), get32(bytes, l3 + IPV4_DST));
    return mix(mark, messageMark(bytes, bytes[l3 + 9]!, l4, at + length));
  }
  if (type !== ETHERTYPE_IPV6 || length < ETH_LEN + IPV6_LEN) return mark;
  for (let word = IPV6_SRC; word < IPV6_LEN; word += 4) mark = mix(mark, get32(bytes, l3 + word));
  return mix(mix(mark, bytes[l3 + 6]!), messageMark(bytes, bytes[l3 + 6]!, l3 + IPV6_LEN, at + length));
}

function messageMark(bytes: Uint8Array, protocol: number, l4: number, end: number): number {
  if (l4 + 4 > end) return 0;
  // A source port is the deck's own choice where it masquerades, and says nothing.
  if (protocol === PROTO_TCP || protocol === PROTO_UDP) return get16(bytes, l4 + 2);
  return protocol === PROTO_ICMP || protocol === PROTO_ICMPV6 ? get16(bytes, l4) : 0;
}

function mix(mark: number, value: number): number {
  const mixed = Math.imul(mark ^ value, 0x9e37_79b1);
  return mixed ^ (mixed >>> 15);
}
