import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  contains,
  formatAddress,
  formatSubnet,
  overlap,
  parseAddress,
  parseSubnet,
} from '../../src/control/address.ts';
import { DeckError } from '../../src/control/error.ts';
import { AddressPool, Subnets } from '../../src/control/ipam.ts';

describe('AddressPool', () => {
  it('gives the lowest free address, past the gateway', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'));
    expect(formatAddress(4, pool.gateway)).toBe('10.0.0.1');
    expect(Array.from({ length: 3 }, () => formatAddress(4, pool.reserve()))).toEqual([
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.4',
    ]);
    pool.release(parseAddress(4, '10.0.0.3'));
    expect(formatAddress(4, pool.reserve())).toBe('10.0.0.3');
    expect(formatAddress(4, pool.reserve())).toBe('10.0.0.5');
  });

  it('keeps the network and broadcast address of IPv4, and only the first of IPv6', () => {
    const ipv4 = new AddressPool(parseSubnet(4, '10.0.0.0/30'));
    expect(formatAddress(4, ipv4.reserve())).toBe('10.0.0.2');
    expect(() => ipv4.reserve()).toThrow(/no address is left in 10\.0\.0\.0\/30/);
    expect(() => ipv4.reserve('10.0.0.3')).toThrow(/broadcast/);
    expect(() => ipv4.reserve('10.0.0.0')).toThrow(/the subnet itself/);

    const ipv6 = new AddressPool(parseSubnet(6, 'fd00::/126'));
    expect([ipv6.reserve(), ipv6.reserve()].map((address) => formatAddress(6, address))).toEqual([
      'fd00::2',
      'fd00::3',
    ]);
    expect(() => ipv6.reserve()).toThrow(DeckError);
  });

  it('works around a gateway that is not the first', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'), '10.0.0.3');
    expect([1, 2, 4, 5, 6].map((last) => `10.0.0.${last}`)).toEqual(
      Array.from({ length: 5 }, () => formatAddress(4, pool.reserve())),
    );
  });

  it('refuses what is outside, in use or the gateway, and says so', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/24'));
    pool.reserve('10.0.0.9');
    expect(() => pool.reserve('10.0.0.9')).toThrow('address 10.0.0.9 is in use in 10.0.0.0/24');
    expect(() => pool.reserve('10.0.0.1')).toThrow('is the gateway of');
    expect(() => pool.reserve('10.0.1.9')).toThrow('outside');
    expect(() => pool.reserve('10.0.0.09')).toThrow('not an IPv4 address');
    expect(() => new AddressPool(parseSubnet(4, '10.0.0.0/24'), '10.1.0.1')).toThrow('outside');
  });

  it('never gives one address twice, whatever is reserved and released in which order', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('take' as const) }),
      fc.record({ kind: fc.constant('static' as const), offset: fc.integer({ min: 0, max: 31 }) }),
      fc.record({ kind: fc.constant('release' as const), index: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.constantFrom<4 | 6>(4, 6), fc.array(step, { maxLength: 200 }), (family, steps) => {
        const subnet = parseSubnet(family, family === 4 ? '10.0.0.0/27' : 'fd00::/123');
        const pool = new AddressPool(subnet);
        const held = new Set<bigint>();
        for (const step of steps) {
          if (step.kind === 'release') {
            const victim = Array.from(held)[step.index % Math.max(1, held.size)];
            if (victim === undefined) continue;
            pool.release(victim);
            held.delete(victim);
            continue;
          }
          const wanted =
            step.kind === 'static' ? formatAddress(family, subnet.base + BigInt(step.offset)) : undefined;
          let address: bigint;
          try {
            address = pool.reserve(wanted);
          } catch (error) {
            expect(error).toBeInstanceOf(DeckError);
            // Full means full: 32 addresses less the gateway and the ones that nobody can have.
            if (step.kind === 'take') expect(held.size).toBe(family === 4 ? 29 : 30);
            continue;
          }
          expect(held.has(address)).toBe(false);
          expect(address).not.toBe(pool.gateway);
          expect(contains(subnet, address)).toBe(true);
          if (step.kind === 'take') {
            for (let lower = subnet.base + 1n; lower < address; lower++) {
              expect(held.has(lower) || lower === pool.gateway).toBe(true);
            }
          }
          held.add(address);
        }
      }),
    );
  });
});

describe('Subnets', () => {
  it("hands out Docker's pools in order, around what is taken", () => {
    const subnets = new Subnets();
    subnets.reserve(4, '172.17.0.0/16');
    const first = subnets.reserve(4);
    expect(formatSubnet(first)).toBe('172.18.0.0/16');
    subnets.reserve(4, '172.19.4.0/24');
    expect(formatSubnet(subnets.reserve(4))).toBe('172.20.0.0/16');
    subnets.release(first);
    expect(formatSubnet(subnets.reserve(4))).toBe('172.18.0.0/16');
    expect(formatSubnet(subnets.reserve(6))).toBe('fd74:6170:6465::/64');
    expect(formatSubnet(subnets.reserve(6))).toBe('fd74:6170:6465:1::/64');
  });

  it('goes on with 192.168.0.0/16 and ends with a refusal', () => {
    const subnets = new Subnets();
    const all = Array.from({ length: 15 + 16 }, () => subnets.reserve(4));
    expect(formatSubnet(all[14]!)).toBe('172.31.0.0/16');
    expect(formatSubnet(all[15]!)).toBe('192.168.0.0/20');
    for (const [i, one] of all.entries()) {
      for (const other of all.slice(i + 1)) expect(overlap(one, other)).toBe(false);
    }
    expect(() => subnets.reserve(4)).toThrow('no IPv4 subnet is left');
  });

  it('refuses overlaps in both directions', () => {
    const subnets = new Subnets();
    subnets.reserve(4, '10.1.0.0/16');
    expect(() => subnets.reserve(4, '10.1.2.0/24')).toThrow('overlaps with 10.1.0.0/16');
    expect(() => subnets.reserve(4, '10.0.0.0/8')).toThrow('overlaps');
    expect(() => subnets.reserve(6, 'fd00::/64')).not.toThrow();
  });
});

describe('parseSubnet', () => {
  it.each([
    ['10.0.0.1/24', 'did you mean 10.0.0.0/24'],
    ['10.0.0.0', 'not an IPv4 subnet'],
    ['10.0.0.0/33', 'longer than 32'],
    ['10.0.0.0/31', 'too small'],
    ['0.0.0.0/0', 'too large'],
    ['10.0.0/24', 'not an IPv4 address'],
    ['127.0.0.0/8', 'loopback'],
    ['169.254.0.0/16', 'link-local'],
    ['224.0.0.0/24', 'multicast'],
    ['10.0.0.0/024', 'not an IPv4 subnet'],
    ['__proto__', 'not an IPv4 subnet'],
  ])('refuses %s: %s', (text, why) => {
    expect(() => parseSubnet(4, text)).toThrow(why);
  });

  it.each([
    ['fd00::1/64', 'did you mean fd00::/64'],
    ['fe80::/64', 'link-local'],
    ['ff02::/64', 'multicast'],
    ['fd00::/127', 'too small'],
    ['10.0.0.0/24', 'not an IPv6 address'],
  ])('refuses %s: %s', (text, why) => {
    expect(() => parseSubnet(6, text)).toThrow(why);
  });
});
