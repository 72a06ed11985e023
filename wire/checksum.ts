/**
 * The internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * A *sum* is an unfinished ones-complement accumulation: a small non-negative integer, to which more may be
 * added; `fold` brings it to 16 bits, and the checksum is the complement of that. Ones-complement arithmetic has
 * two zeros. A sum over anything but zero bytes never becomes 0x0000, so 0xffff is "zero" here and a
 * received header is right exactly when it sums up to 0xffff.
 */
import { get16 } from './bytes.ts';

/** Shorter pieces are summed byte by byte: looking up the view costs as much as 20 bytes. */
const WORDWISE = 48;
/** Bytes of which the 16-bit words, all 0xffff, still sum up to less than 2^31. */
const CHUNK = 32768;
/** A view per buffer, for loads of 32 bits: 6 GB/s instead of 2.4. Frames share one buffer, so that this has one entry. */
const views = new WeakMap<Uint8Array, DataView>();

/**
 * Adds `length` bytes to a sum. To sum in pieces, pass the sum of the piece before as `initial`; every piece but
 * the last must have an even length, because an odd last byte is padded with a zero (RFC 1071 §4.1).
 * @param initial a sum, below 2^30
 * @returns a folded sum, 0 to 0xffff
 */
export function sum(bytes: Uint8Array, at: number, length: number, initial = 0): number {
  // Like every accessor, it reads 0 beyond the array.
  const end = Math.min(at + length, bytes.length);
  let total = initial;
  let i = at;
  if (length >= WORDWISE) {
    let view = views.get(bytes);
    if (view === undefined) {
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      views.set(bytes, view);
    }
    while (i + 8 <= end) {
      total = fold(total);
      for (const stop = Math.min(i + CHUNK, end) - 8; i <= stop; i += 8) {
        const first = view.getInt32(i);
        const second = view.getInt32(i + 4);
        total = (total + (first >>> 16) + (first & 0xffff) + (second >>> 16) + (second & 0xffff)) | 0;
      }
    }
  }
  for (; i + 1 < end; i += 2) total += (bytes[i] << 8) | bytes[i + 1];
  if (i < end) total += bytes[i] << 8;
  return fold(total);
}

/** Brings a sum to 16 bits by adding its carries (RFC 1071 §1). */
export function fold(total: number): number {
  const once = (total & 0xffff) + (total >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** The checksum of `length` bytes and of what `initial` sums up already (a pseudo-header, say). */
export function checksum(bytes: Uint8Array, at: number, length: number, initial = 0): number {
  return ~sum(bytes, at, length, initial) & 0xffff;
}

/** The checksum after a 16-bit field that it covers changed from `before` to `after` (RFC 1624 §3, equation 3). */
export function update16(check: number, before: number, after: number): number {
  return ~fold((~check & 0xffff) + (~before & 0xffff) + (after & 0xffff)) & 0xffff;
}

/** As `update16`, for a 32-bit field (two 16-bit fields at once) such as an address. */
export function update32(check: number, before: number, after: number): number {
  const less = ~before;
  return (
    ~fold((~check & 0xffff) + (less >>> 16) + (less & 0xffff) + (after >>> 16) + (after & 0xffff)) & 0xffff
  );
}

/**
 * A *partial* checksum (virtio-net NEEDS_CSUM) is the pseudo-header's sum, not complemented. When an address of the
 * pseudo-header changes, the sum moves the other way than a finished checksum does.
 */
export function updatePartial16(partial: number, before: number, after: number): number {
  return fold((partial & 0xffff) + (~before & 0xffff) + (after & 0xffff));
}

/** As `updatePartial16`, for a 32-bit field. */
export function updatePartial32(partial: number, before: number, after: number): number {
  const less = ~before;
  return fold((partial & 0xffff) + (less >>> 16) + (less & 0xffff) + (after >>> 16) + (after & 0xffff));
}

/** Sum of the two 16-bit words of a 32-bit field. */
export function halves(value: number): number {
  return (value >>> 16) + (value & 0xffff);
}

/** A multiple of 0xffff, which is zero, and larger than what 64 words can lose. */
const BIAS = 64 * 0xffff;
/** What a finished checksum is to its sum: the complement. */
export const FINISHED = 0xffff;
/** What a partial checksum is to its sum: the same. */
export const PARTIAL = 0;

/**
 * The checksum after several fields that it covers changed: one update for all of them (RFC 1624 §3, equation 3).
 * @param change sum of the fields' 16-bit words now, less that before (`halves(after) - halves(before)`, added up for up
 *   to 64 words); not 0, because what did not change needs no update
 * @param form FINISHED, or PARTIAL for a checksum that moves the other way (see `updatePartial16`)
 */
export function adjust(check: number, change: number, form: number = FINISHED): number {
  const total = (check ^ form) + change + BIAS;
  const once = (total & 0xffff) + (total >>> 16);
  return ((once & 0xffff) + (once >>> 16)) ^ form;
}

/**
 * Sum of the IPv4 pseudo-header (RFC 768, RFC 9293 §3.1).
 * @param at offset of the IPv4 header, which holds the addresses
 * @param length bytes of the transport header and its payload
 */
export function pseudoSumIpv4(bytes: Uint8Array, at: number, protocol: number, length: number): number {
  return (
    get16(bytes, at + 12) +
    get16(bytes, at + 14) +
    get16(bytes, at + 16) +
    get16(bytes, at + 18) +
    protocol +
    length
  );
}

/**
 * Sum of the IPv6 pseudo-header (RFC 8200 §8.1).
 * @param at offset of the IPv6 header, which holds the addresses
 * @param protocol of the transport header, which need not be the IPv6 header's next header
 * @param length bytes of the transport header and its payload
 */
export function pseudoSumIpv6(bytes: Uint8Array, at: number, protocol: number, length: number): number {
  return sum(bytes, at + 8, 32, protocol + (length >>> 16) + (length & 0xffff));
}
