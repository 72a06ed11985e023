/**
 * The hash of a tuple, under which the connection table finds it: HalfSipHash-1-3, as `wire/hash.ts`, of the bytes in which
 * tuples can differ. An IPv4 tuple is the message of 15 bytes of its two addresses, its ports and the low three bytes of
 * its kind; the rounds are written out because every packet that is tracked goes through them (12 ns where `hash4` takes
 * 19). An IPv6 tuple is hashed whole.
 */
import { type HashKey, hashN } from '../wire/hash.ts';
import {
  kindIsIpv6,
  TUPLE_DST_IPV4,
  TUPLE_KIND,
  TUPLE_LENGTH,
  TUPLE_PORTS,
  TUPLE_SRC_IPV4,
} from './tuple.ts';

/** Where SipHash has the length of the message: the highest byte of the last word. */
const IPV4_LENGTH = 15 << 24;

/** Hash of the tuple at `words[at]`, as int32. */
export function hashTuple(key: HashKey, words: Int32Array, at: number): number {
  const kind = words[at + TUPLE_KIND];
  if (kindIsIpv6(kind)) return hashN(key[0], key[1], words, at, TUPLE_LENGTH);
  return hashIpv4(
    key[0],
    key[1],
    words[at + TUPLE_SRC_IPV4],
    words[at + TUPLE_DST_IPV4],
    words[at + TUPLE_PORTS],
    // The kind has more than 24 bits in zones from 32,768 on; they are mixed with the length, and no two kinds become one.
    kind ^ IPV4_LENGTH,
  );
}

function hashIpv4(k0: number, k1: number, a: number, b: number, c: number, d: number): number {
  let v0 = k0 | 0;
  let v1 = k1 | 0;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;

  v3 ^= a;
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
  v0 ^= a;

  v3 ^= b;
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
  v0 ^= b;

  v3 ^= c;
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
  v0 ^= c;

  v3 ^= d;
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
  v0 ^= d;

  v2 ^= 0xff;
  for (let i = 0; i < 3; i++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  }
  return v1 ^ v3;
}
