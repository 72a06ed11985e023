import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Npt } from '../../nat/npt.ts';
import { formatIpv6, parseIpv6 } from '../../wire/address.ts';

function words(text: string): Int32Array {
  return Int32Array.from(parseIpv6(text)!);
}

function text(address: Int32Array, at = 0): string {
  return formatIpv6(address[at]!, address[at + 1]!, address[at + 2]!, address[at + 3]!);
}

function npt(inside: string, outside: string): Npt {
  const [a, b] = [inside.split('/'), outside.split('/')] as [[string, string], [string, string]];
  return new Npt(parseIpv6(a[0])!, Number(a[1]), parseIpv6(b[0])!, Number(b[1]));
}

/** The address outside, or undefined. */
function outward(translator: Npt, address: string): string | undefined {
  const at = words(address);
  return translator.outward(at, 0) ? text(at) : undefined;
}

function inward(translator: Npt, address: string): string | undefined {
  const at = words(address);
  return translator.inward(at, 0) ? text(at) : undefined;
}

/** Value of the eight 16-bit words modulo 2^16 - 1: what the internet checksum sees of an address. */
function residue(address: Int32Array): number {
  let sum = 0;
  for (const word of address) sum += (word >>> 16) + (word & 0xffff);
  return sum % 0xffff;
}

describe('prefix translation', () => {
  test('RFC 6296 §3.6: the example, out and in', () => {
    const translator = npt('fd01:203:405::/48', '2001:db8:1::/48');
    expect(outward(translator, 'fd01:203:405:1::1234')).toBe('2001:db8:1:d550::1234');
    expect(inward(translator, '2001:db8:1:d550::1234')).toBe('fd01:203:405:1::1234');
  });

  // Worked by hand from §3.1 to §3.5.
  test.each([
    ['fd01:203:405::/48', '2001:db8:1::/48', 'fd01:203:405::1', '2001:db8:1:d54f::1'],
    // 0x2ab0 + 0xd54f is all ones and is written as zero.
    ['fd01:203:405::/48', '2001:db8:1::/48', 'fd01:203:405:2ab0::1', '2001:db8:1::1'],
    // A carry goes around: 0x2ab1 + 0xd54f = 0x10000.
    ['fd01:203:405::/48', '2001:db8:1::/48', 'fd01:203:405:2ab1::1', '2001:db8:1:1::1'],
    // §3.5: the identifier's first word that is not all ones.
    ['fd01:203:405:1::/64', '2001:db8:1:2::/64', 'fd01:203:405:1::1234', '2001:db8:1:2:d54e::1234'],
    [
      'fd01:203:405:1::/64',
      '2001:db8:1:2::/64',
      'fd01:203:405:1:ffff:ffff:0:1234',
      '2001:db8:1:2:ffff:ffff:d54e:1234',
    ],
    // Bits 56 to 63 are no part of the prefix and stay.
    ['fd01:203:405:100::/56', '2001:db8:1:100::/56', 'fd01:203:405:1ab::1', '2001:db8:1:1ab:d54f::1'],
    // §3.1: the shorter prefix is extended with zeros.
    ['fd01:203:405:1::/64', '2001:db8:1::/48', 'fd01:203:405:1::1234', '2001:db8:1:0:d550::1234'],
    // Shorter ones than /48 adjust the subnet too.
    ['fd00::/8', '2000::/8', 'fd01:203:405:1::1', '2001:203:405:dd01::1'],
    // Behind /64 what the prefix leaves of the identifier.
    ['fd00:0:0:1:2::/80', '2001:db8::/80', 'fd00:0:0:1:2::5', '2001:db8::cf4a:0:5'],
  ])('%s to %s: %s is %s', (inside, outside, from, to) => {
    const translator = npt(inside, outside);
    expect(outward(translator, from)).toBe(text(words(to)));
    expect(inward(translator, to)).toBe(text(words(from)));
  });

  test('what has no address outside stays as it is', () => {
    const subnet = npt('fd01:203:405::/48', '2001:db8:1::/48');
    expect(outward(subnet, 'fd01:203:405:ffff::1')).toBeUndefined();
    expect(outward(subnet, 'fd01:203:406:1::1')).toBeUndefined();
    expect(inward(subnet, '2001:db8:1:ffff::1')).toBeUndefined();
    expect(inward(subnet, 'fd01:203:405:1::1')).toBeUndefined();
    const host = npt('fd01:203:405:1::/64', '2001:db8:1:2::/64');
    const address = words('fd01:203:405:1:ffff:ffff:ffff:ffff');
    expect(host.outward(address, 0)).toBe(false);
    expect(text(address)).toBe('fd01:203:405:1:ffff:ffff:ffff:ffff');
  });

  test('knows the addresses of either side', () => {
    const translator = npt('fd01:203:405::/48', '2001:db8:1::/48');
    expect(translator.isInside(words('fd01:203:405:ffff::'), 0)).toBe(true);
    expect(translator.isInside(words('fd01:203:404::'), 0)).toBe(false);
    expect(translator.isOutside(words('2001:db8:1::9'), 0)).toBe(true);
    expect(translator.isOutside(words('2001:db9:1::9'), 0)).toBe(false);
  });

  test('touches the four words that it is told of', () => {
    const translator = npt('fd01:203:405::/48', '2001:db8:1::/48');
    const around = Int32Array.of(7, ...words('fd01:203:405:1::1234'), 8);
    expect(translator.outward(around, 1)).toBe(true);
    expect(text(around, 1)).toBe('2001:db8:1:d550::1234');
    expect([around[0], around[5]]).toEqual([7, 8]);
  });

  test.each([0, -1, 113, 128, 1.5])('no prefix of %s bits', (length) => {
    expect(() => new Npt([0, 0, 0, 0], 64, [0, 0, 0, 0], length)).toThrow(RangeError);
    expect(() => new Npt([0, 0, 0, 0], length, [0, 0, 0, 0], 64)).toThrow(RangeError);
  });

  const address = fc.tuple(...Array.from({ length: 4 }, () => fc.integer())) as fc.Arbitrary<number[]>;
  const prefix = fc.integer({ min: 1, max: 112 });

  test('any prefixes: inward undoes outward, no two addresses become one, and no checksum changes', () => {
    fc.assert(
      fc.property(address, prefix, address, prefix, address, (inside, length, outside, other, host) => {
        const translator = new Npt(inside, length, outside, other);
        const bits = translator.prefix;
        // An address of the inside prefix, which is extended with zeros.
        const from = Int32Array.from(host, (word, i) => {
          const mask = (length: number) => {
            const covered = length - 32 * i;
            return covered >= 32 ? -1 : covered <= 0 ? 0 : -1 << (32 - covered);
          };
          return (inside[i]! & mask(length) & mask(bits)) | (word & ~mask(bits));
        });
        const to = Int32Array.from(from);
        if (!translator.outward(to, 0)) {
          expect(to).toEqual(from);
          return;
        }
        expect(translator.isInside(from, 0)).toBe(true);
        expect(translator.isOutside(to, 0)).toBe(true);
        expect(residue(to)).toBe(residue(from));
        expect(translator.inward(to, 0)).toBe(true);
        expect(to).toEqual(from);
      }),
      { numRuns: 2000 },
    );
  });

  test('all 65,535 subnets of a /48 have each another outside', () => {
    const translator = npt('fd01:203:405::/48', '2001:db8:1::/48');
    const seen = new Set<number>();
    const at = new Int32Array(4);
    for (let subnet = 0; subnet < 0xffff; subnet++) {
      at.set([0xfd010203, 0x04050000 | subnet, 0, 1]);
      expect(translator.outward(at, 0)).toBe(true);
      seen.add(at[1]! & 0xffff);
    }
    expect(seen.size).toBe(0xffff);
    expect(seen.has(0xffff)).toBe(false);
  });
});
