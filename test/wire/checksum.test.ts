import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { get16, get32, set16, set32 } from '../../wire/bytes.ts';
import {
  checksum,
  fold,
  pseudoSumIpv4,
  pseudoSumIpv6,
  sum,
  update16,
  update32,
  updatePartial16,
  updatePartial32,
} from '../../wire/checksum.ts';
import { bytes, TCP4_SYN, TCP6, UDP4, UDP6 } from './samples.ts';

/** The definition (RFC 1071 §1), word by word in exact arithmetic. */
function reference(data: Uint8Array, at: number, length: number, initial: number): number {
  let total = BigInt(initial);
  for (let i = 0; i < length; i += 2) {
    const low = i + 1 < length ? data[at + i + 1]! : 0;
    total += BigInt(data[at + i]! * 256 + low);
  }
  while (total > 0xffffn) total = (total & 0xffffn) + (total >> 16n);
  return Number(total);
}

describe('sum', () => {
  it("RFC 1071 §3's example", () => {
    const example = bytes('00 01 f2 03 f4 f5 f6 f7');
    expect(sum(example, 0, 8)).toBe(0xddf2);
    expect(checksum(example, 0, 8)).toBe(0x220d);
  });

  it("an IPv4 header's", () => {
    const header = bytes('4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7');
    expect(sum(header, 0, 20)).toBe(0xffff);
    set16(header, 10, 0);
    expect(checksum(header, 0, 20)).toBe(0xb861);
  });

  it('of nothing is nothing, of zeros is zero', () => {
    expect(sum(new Uint8Array(8), 0, 0)).toBe(0);
    expect(checksum(new Uint8Array(1000), 0, 1000)).toBe(0xffff);
  });

  it('of anything else is never 0x0000, the other zero', () => {
    expect(sum(bytes('ffff'), 0, 2)).toBe(0xffff);
    expect(sum(bytes('ffff ffff 0001 fffe'), 0, 8)).toBe(0xffff);
  });

  it('is the definition, at any offset and length', () => {
    const data = fc.uint8Array({ minLength: 0, maxLength: 600, size: 'max' });
    fc.assert(
      fc.property(data, fc.nat(7), fc.nat(0x3fffffff), (data, offset, initial) => {
        const at = Math.min(offset, data.length);
        const length = data.length - at;
        expect(sum(data, at, length, initial)).toBe(reference(data, at, length, initial));
      }),
    );
  });

  it('is exact where carries are greatest: 64 KiB and more of 0xff', () => {
    for (const length of [65_535, 65_536, 131_072, 131_075]) {
      const data = new Uint8Array(length).fill(0xff);
      expect(sum(data, 0, length, 0x3fffffff)).toBe(reference(data, 0, length, 0x3fffffff));
    }
  });

  it('works on a part of a buffer', () => {
    const data = Uint8Array.from({ length: 400 }, (_, i) => i * 7);
    const view = new Uint8Array(data.buffer, 100, 200);
    expect(sum(view, 3, 190)).toBe(reference(data, 103, 190, 0));
  });

  it('in pieces of even length is the sum of the whole', () => {
    const data = fc.uint8Array({ minLength: 0, maxLength: 400, size: 'max' });
    fc.assert(
      fc.property(data, fc.nat(), (data, cut) => {
        const first = Math.min(data.length, (cut % (data.length + 1)) & ~1);
        const pieces = sum(data, first, data.length - first, sum(data, 0, first));
        expect(pieces).toBe(sum(data, 0, data.length));
      }),
    );
  });
});

describe('fold', () => {
  it('adds the carries, twice if need be', () => {
    expect(fold(0)).toBe(0);
    expect(fold(0xffff)).toBe(0xffff);
    expect(fold(0x10000)).toBe(1);
    expect(fold(0x1ffff)).toBe(1);
    expect(fold(0x7fffffff)).toBe(0x7fff);
  });
});

describe('update', () => {
  it("RFC 1624 §4's example: 0xdd2f, 0x5555 becomes 0x3285", () => {
    expect(update16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it('keeps the zero that a header has: 0x0000, never 0xffff (RFC 1624 §3)', () => {
    expect(update16(0x0000, 0x1234, 0x1234)).toBe(0x0000);
    expect(update32(0x0000, -1, 0)).toBe(0x0000);
    expect(update32(0x0000, 0, -1)).toBe(0x0000);
  });

  /** A word of zeros and a word of ones are where the arithmetic goes wrong. */
  const word = fc.oneof(fc.constantFrom(0, 1, 0xfffe, 0xffff), fc.integer({ min: 0, max: 0xffff }));
  const long = fc.oneof(fc.constantFrom(0, -1, 0xffff, 0x10000, 0xffff0000 | 0), fc.integer());

  it('gives a header that sums up to 0xffff, as the full checksum does', () => {
    const header = fc.uint8Array({ minLength: 20, maxLength: 20 });
    fc.assert(
      fc.property(header, word, long, fc.nat(7), (header, small, large, place) => {
        // A header is never all zero: it has a version. Only then do both zeros coincide.
        header[0] = 0x45;
        set16(header, 10, 0);
        set16(header, 10, checksum(header, 0, 20));
        const at = [2, 4, 6, 8, 12, 14, 16, 18][place]!;
        set16(header, 10, update16(get16(header, 10), get16(header, at), small));
        set16(header, at, small);
        expect(sum(header, 0, 20)).toBe(0xffff);
        set16(header, 10, update32(get16(header, 10), get32(header, 12), large));
        set32(header, 12, large);
        expect(sum(header, 0, 20)).toBe(0xffff);
        const incremental = get16(header, 10);
        set16(header, 10, 0);
        expect(incremental).toBe(checksum(header, 0, 20));
      }),
    );
  });

  it('of a partial checksum is the sum of the new pseudo-header', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), word, long, (header, small, large) => {
        const before = fold(pseudoSumIpv4(header, 0, 6, 1000));
        let partial = updatePartial32(before, get32(header, 16), large);
        set32(header, 16, large);
        expect(partial).toBe(fold(pseudoSumIpv4(header, 0, 6, 1000)));
        partial = updatePartial16(partial, get16(header, 12), small);
        set16(header, 12, small);
        expect(partial).toBe(fold(pseudoSumIpv4(header, 0, 6, 1000)));
      }),
    );
  });
});

describe('pseudo-header', () => {
  it('makes TCP and UDP checksums right over IPv4', () => {
    expect(sum(UDP4, 34, 13, pseudoSumIpv4(UDP4, 14, 17, 13))).toBe(0xffff);
    expect(sum(TCP4_SYN, 34, 40, pseudoSumIpv4(TCP4_SYN, 14, 6, 40))).toBe(0xffff);
  });

  it('makes TCP and UDP checksums right over IPv6', () => {
    expect(sum(UDP6, 54, 13, pseudoSumIpv6(UDP6, 14, 17, 13))).toBe(0xffff);
    expect(sum(TCP6, 54, 25, pseudoSumIpv6(TCP6, 14, 6, 25))).toBe(0xffff);
  });

  it('has a length of 32 bits in IPv6', () => {
    expect(pseudoSumIpv6(new Uint8Array(40), 0, 6, 0x1_0000)).toBe(
      pseudoSumIpv6(new Uint8Array(40), 0, 6, 1),
    );
  });
});
