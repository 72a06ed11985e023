/**
 * IPv6-to-IPv6 network prefix translation (RFC 6296): every address of a prefix inside has one of a prefix outside, found
 * by arithmetic, without state. The translation is neutral to the internet checksum: what the prefix changes in the sum,
 * one 16-bit word behind it changes back, so that no transport checksum needs to be touched and protocols that nobody here
 * knows pass too.
 */
import { prefixWord } from '../wire/address.ts';
import { fold } from '../wire/checksum.ts';

/** Bits of an address before the words of which one may be adjusted, at most: the last word must be left over. */
const LONGEST_PREFIX = 112;

export class Npt {
  /** Bits that are exchanged: those of the longer prefix; the shorter one is extended with zeros (RFC 6296 §3.1). */
  readonly prefix: number;
  readonly #inside: Int32Array;
  readonly #outside: Int32Array;
  /** What is added to the adjusted word outward and inward, ones-complement (RFC 6296 §3.1). */
  readonly #outward: number;
  readonly #inward: number;
  /** First 16-bit word that may be adjusted. */
  readonly #adjusted: number;

  /**
   * @param inside the prefix inside, four int32 words; bits behind `insidePrefix` do not count
   * @param outside the prefix outside, likewise
   * @throws RangeError for a prefix of 0 bits or more than 112
   */
  constructor(
    inside: readonly number[],
    insidePrefix: number,
    outside: readonly number[],
    outsidePrefix: number,
  ) {
    for (const length of [insidePrefix, outsidePrefix]) {
      if (!(Number.isInteger(length) && length >= 1 && length <= LONGEST_PREFIX))
        throw new RangeError(
          `a prefix to translate has 1 to ${LONGEST_PREFIX} bits (RFC 6296), not ${length}`,
        );
    }
    this.prefix = Math.max(insidePrefix, outsidePrefix);
    this.#inside = Int32Array.from({ length: 4 }, (_, i) => inside[i]! & prefixWord(insidePrefix, i));
    this.#outside = Int32Array.from({ length: 4 }, (_, i) => outside[i]! & prefixWord(outsidePrefix, i));
    this.#outward = subtract(sumOf(this.#inside), sumOf(this.#outside));
    this.#inward = subtract(sumOf(this.#outside), sumOf(this.#inside));
    // RFC 6296 §3.4: up to /48 the subnet, bits 48–63. §3.5: beyond that the interface identifier; and of that, beyond
    // /64, what the prefix leaves.
    this.#adjusted = this.prefix <= 48 ? 3 : Math.max(4, Math.ceil(this.prefix / 16));
  }

  /** Whether the four words at `words[at]` are an address of the prefix inside. */
  isInside(words: Int32Array, at: number): boolean {
    return this.#has(this.#inside, words, at);
  }

  /** Whether the four words at `words[at]` are an address of the prefix outside. */
  isOutside(words: Int32Array, at: number): boolean {
    return this.#has(this.#outside, words, at);
  }

  /**
   * Exchanges an inside address, four words at `words[at]`, for its outside one (RFC 6296 §3.2).
   * @returns false, with the words untouched, for an address that has none: it is not of the prefix, its subnet is 0xffff
   *   (§3.2: discard; ICMPv6 destination unreachable), or its whole interface identifier is ones (§3.7: discard; parameter
   *   problem)
   */
  outward(words: Int32Array, at: number): boolean {
    return this.#translate(this.#inside, this.#outside, this.#outward, words, at);
  }

  /** The inverse of `outward`, for the destinations of packets that come in (RFC 6296 §3.3). */
  inward(words: Int32Array, at: number): boolean {
    return this.#translate(this.#outside, this.#inside, this.#inward, words, at);
  }

  #has(prefix: Int32Array, words: Int32Array, at: number): boolean {
    for (let i = 0; i < 4; i++)
      if (((words[at + i] ^ prefix[i]) & prefixWord(this.prefix, i)) !== 0) return false;
    return true;
  }

  #translate(from: Int32Array, to: Int32Array, adjustment: number, words: Int32Array, at: number): boolean {
    if (!this.#has(from, words, at)) return false;
    // RFC 6296 §3.4 adjusts the subnet alone; §3.5 the first word that is not all ones.
    const last = this.#adjusted === 3 ? 3 : 7;
    let word = this.#adjusted;
    while (half(words, at, word) === 0xffff) if (++word > last) return false;
    const sum = fold(half(words, at, word) + adjustment);
    for (let i = 0; i < 4; i++) words[at + i] = (words[at + i] & ~prefixWord(this.prefix, i)) | to[i];
    // RFC 6296 §3.2: all ones is written as zero. So it never arises, and the way back finds the same word.
    const adjusted = sum === 0xffff ? 0 : sum;
    const i = at + (word >> 1);
    words[i] = word & 1 ? (words[i] & 0xffff0000) | adjusted : (words[i] & 0xffff) | (adjusted << 16);
    return true;
  }
}

/** 16-bit word `word` of the address at `words[at]`. */
function half(words: Int32Array, at: number, word: number): number {
  const pair = words[at + (word >> 1)];
  return word & 1 ? pair & 0xffff : pair >>> 16;
}

function sumOf(words: Int32Array): number {
  let total = 0;
  for (let word = 0; word < 8; word++) total += half(words, 0, word);
  return fold(total);
}

/** Ones-complement `a` - `b`. */
function subtract(a: number, b: number): number {
  return fold(a + (~b & 0xffff));
}
