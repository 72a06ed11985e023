import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  contains,
  formatAddress,
  formatSubnet,
  overlap,
  parseAddress,
  parseSubnet,
  type Subnet,
} from '../../src/control/address.ts';
import { DeckError } from '../../src/control/error.ts';
import { AddressPool, parseSubnetPool, Subnets } from '../../src/control/ipam.ts';

/** The next free address, or a certain one, at time 0. */
function take(pool: AddressPool, address?: string): bigint {
  return pool.reserve(address, 'web', 0);
}

describe('AddressPool', () => {
  it('gives the lowest free address, past the gateway', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'), { rest: 0 });
    expect(formatAddress(4, pool.gateway)).toBe('10.0.0.1');
    expect(Array.from({ length: 3 }, () => formatAddress(4, take(pool)))).toEqual([
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.4',
    ]);
    pool.release(parseAddress(4, '10.0.0.3'), 0);
    expect(formatAddress(4, take(pool))).toBe('10.0.0.3');
    expect(formatAddress(4, take(pool))).toBe('10.0.0.5');
  });

  it('keeps the network and broadcast address of IPv4, and only the first of IPv6', () => {
    const ipv4 = new AddressPool(parseSubnet(4, '10.0.0.0/30'));
    expect(formatAddress(4, take(ipv4))).toBe('10.0.0.2');
    expect(() => take(ipv4)).toThrow(/no address is left in 10\.0\.0\.0\/30/);
    expect(() => take(ipv4, '10.0.0.3')).toThrow(/broadcast/);
    expect(() => take(ipv4, '10.0.0.0')).toThrow(/the subnet itself/);

    const ipv6 = new AddressPool(parseSubnet(6, 'fd00::/126'));
    expect([take(ipv6), take(ipv6)].map((address) => formatAddress(6, address))).toEqual([
      'fd00::2',
      'fd00::3',
    ]);
    expect(() => take(ipv6)).toThrow(DeckError);
  });

  it('works around a gateway that is not the first', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'), { gateway: '10.0.0.3' });
    expect([1, 2, 4, 5, 6].map((last) => `10.0.0.${last}`)).toEqual(
      Array.from({ length: 5 }, () => formatAddress(4, take(pool))),
    );
  });

  it('refuses what is outside, in use or the gateway, and says so', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/24'));
    take(pool, '10.0.0.9');
    expect(() => take(pool, '10.0.0.9')).toThrow('address 10.0.0.9 is in use by web in 10.0.0.0/24');
    expect(() => take(pool, '10.0.0.1')).toThrow('is the gateway of 10.0.0.0/24');
    expect(() => take(pool, '10.0.1.9')).toThrow('outside');
    expect(() => take(pool, '10.0.0.09')).toThrow('not an IPv4 address');
    expect(() => new AddressPool(parseSubnet(4, '10.0.0.0/24'), { gateway: '10.1.0.1' })).toThrow('outside');
  });

  it('gives an address that came back to nobody else for a while, unless it is asked for', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'), { rest: 1000 });
    const text = (address: bigint) => formatAddress(4, address);
    const next = (now: number) => text(pool.reserve(undefined, 'web', now));
    expect([next(0), next(0)]).toEqual(['10.0.0.2', '10.0.0.3']);
    pool.release(parseAddress(4, '10.0.0.2'), 100);
    expect(next(1099)).toBe('10.0.0.4');
    expect(next(1100)).toBe('10.0.0.2');
    pool.release(parseAddress(4, '10.0.0.3'), 1200);
    expect(text(pool.reserve('10.0.0.3', 'web', 1200))).toBe('10.0.0.3');
    // The one that has rested longest goes first where there is no other.
    for (const last of [4, 3, 2]) pool.release(parseAddress(4, `10.0.0.${last}`), 1300);
    expect([next(1301), next(1301), next(1301)]).toEqual(['10.0.0.5', '10.0.0.6', '10.0.0.4']);
    expect([next(1302), next(1302)]).toEqual(['10.0.0.3', '10.0.0.2']);
    expect(() => next(1303)).toThrow('no address is left in 10.0.0.0/29');
  });

  it('gives an address that nobody came to have to the next', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'));
    const address = take(pool);
    pool.cancel(address);
    expect(take(pool)).toBe(address);
    // What rests stays so.
    pool.release(address, 0);
    pool.cancel(address);
    expect(take(pool)).not.toBe(address);
  });

  it('chooses out of its range, and gives others when they are asked for', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/24'), { range: '10.0.0.128/30' });
    expect(formatAddress(4, pool.gateway)).toBe('10.0.0.1');
    const chosen = Array.from({ length: 4 }, () => formatAddress(4, take(pool)));
    expect(chosen).toEqual(['10.0.0.128', '10.0.0.129', '10.0.0.130', '10.0.0.131']);
    expect(() => take(pool)).toThrow('no address is left in the range 10.0.0.128/30 of 10.0.0.0/24');
    expect(formatAddress(4, take(pool, '10.0.0.7'))).toBe('10.0.0.7');
    // Given back, it is nothing that could be chosen.
    pool.release(parseAddress(4, '10.0.0.7'), 0);
    expect(() => pool.reserve(undefined, 'web', 1e9)).toThrow('no address is left in the range');
  });

  it.each([
    ['10.0.1.0/30', 'range 10.0.1.0/30 lies outside'],
    ['10.0.0.0/16', 'range 10.0.0.0/16 lies outside'],
    ['10.0.0.1/30', 'has host bits set'],
    ['fd00::/64', 'the prefix is longer than 32 bits'],
  ])('refuses the range %s: %s', (range, why) => {
    expect(() => new AddressPool(parseSubnet(4, '10.0.0.0/24'), { range })).toThrow(why);
  });

  it('keeps auxiliary addresses, also from the gateway that nobody chose', () => {
    const pool = new AddressPool(parseSubnet(4, '10.0.0.0/29'), {
      auxAddresses: { router: '10.0.0.1', 'dns.2': '10.0.0.3' },
    });
    expect(formatAddress(4, pool.gateway)).toBe('10.0.0.2');
    expect(formatAddress(4, take(pool))).toBe('10.0.0.4');
    expect(() => take(pool, '10.0.0.3')).toThrow('is in use by auxiliary address dns.2');
  });

  it.each([
    [{ a: '10.0.0.2' }, 'auxiliary address a=10.0.0.2 is the gateway'],
    [{ a: '10.0.0.3', b: '10.0.0.3' }, 'auxiliary address b=10.0.0.3 is that of auxiliary address a too'],
    [{ a: '10.0.1.3' }, 'auxiliary address a=10.0.1.3 lies outside'],
    [{ a: '10.0.0.255' }, 'auxiliary address a=10.0.0.255 is the broadcast address'],
    [{ 'a b': '10.0.0.3' }, 'auxiliary address name "a b" is not allowed'],
    [{ ['__proto__']: '10.0.0.3' }, 'auxiliary address name "__proto__" is not allowed'],
    [{ a: 'x' }, 'not an IPv4 address'],
  ])('refuses auxiliary addresses %j: %s', (auxAddresses, why) => {
    expect(
      () => new AddressPool(parseSubnet(4, '10.0.0.0/24'), { gateway: '10.0.0.2', auxAddresses }),
    ).toThrow(why);
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
        const pool = new AddressPool(subnet, { rest: 0 });
        const held = new Set<bigint>();
        for (const step of steps) {
          if (step.kind === 'release') {
            const victim = Array.from(held)[step.index % Math.max(1, held.size)];
            if (victim === undefined) continue;
            pool.release(victim, 0);
            held.delete(victim);
            continue;
          }
          const wanted =
            step.kind === 'static' ? formatAddress(family, subnet.base + BigInt(step.offset)) : undefined;
          let address: bigint;
          try {
            address = take(pool, wanted);
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

/** The /24s of 10.0.0.0/20 that a subnet lies in. */
function thirds({ base, prefix }: Subnet): number[] {
  const first = Number((base >> 8n) & 0xffn);
  return Array.from({ length: prefix >= 24 ? 1 : 1 << (24 - prefix) }, (_, i) => first + i);
}

describe('parseSubnetPool', () => {
  it.each([
    ['', 'makes no sense'],
    ['base=10.0.0.0/8', 'makes no sense'],
    ['base=10.0.0.0/8,size=24,size=25', 'makes no sense'],
    ['base=10.0.0.0/8,size=24,more=1', 'makes no sense'],
    ['base=10.0.0.0/8,size=x', 'makes no sense'],
    ['base=10.0.0.0/16,size=8', 'larger than its base'],
    ['base=10.0.0.0/16,size=31', 'too small'],
    ['base=10.0.0.1/16,size=24', 'host bits'],
    ['base=__proto__,size=24', 'not an IPv4 subnet'],
  ])('refuses %s: %s', (text, why) => {
    expect(() => parseSubnetPool(text)).toThrow(why);
  });
});

describe('Subnets', () => {
  it("hands out Docker's pools in order, around what is taken", () => {
    const subnets = new Subnets();
    expect(formatSubnet(subnets.reserve(4))).toBe('172.17.0.0/16');
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
    expect(formatSubnet(all[0]!)).toBe('172.17.0.0/16');
    expect(formatSubnet(all[14]!)).toBe('172.31.0.0/16');
    expect(formatSubnet(all[15]!)).toBe('192.168.0.0/20');
    for (const [i, one] of all.entries()) {
      for (const other of all.slice(i + 1)) expect(overlap(one, other)).toBe(false);
    }
    expect(() => subnets.reserve(4)).toThrow(
      'no IPv4 subnet is left in the default pools, all are in use; remove networks, give one with --subnet, or more with "tapdeck daemon --default-address-pool"',
    );
  });

  it('leaves out what the host has routes to, but for default routes in pieces', () => {
    const routes = [
      '172.17.5.0/24',
      '172.18.0.0/15',
      '192.168.16.0/20',
      '0.0.0.0/1',
      '2000::/3',
      'fe80::/64',
    ];
    const subnets = new Subnets({ hostRoutes: () => routes });
    const all = Array.from({ length: 12 + 15 }, () => formatSubnet(subnets.reserve(4)));
    expect([all[0], all[11], all[12], all[13], all[26]]).toEqual([
      '172.20.0.0/16',
      '172.31.0.0/16',
      '192.168.0.0/20',
      '192.168.32.0/20',
      '192.168.240.0/20',
    ]);
    expect(() => subnets.reserve(4)).toThrow('the host has routes to them as to 172.17.5.0/24');
    // Who asks for it gets it.
    expect(formatSubnet(subnets.reserve(4, '172.17.0.0/16'))).toBe('172.17.0.0/16');
    expect(formatSubnet(subnets.reserve(6))).toBe('fd74:6170:6465::/64');
  });

  it('takes pools of the user in place of those of the same IP version', () => {
    const pools = ['base=10.10.0.0/23,size=24', 'base=10.20.0.0/24,size=24'].map(parseSubnetPool);
    const subnets = new Subnets({ pools });
    expect(Array.from({ length: 3 }, () => formatSubnet(subnets.reserve(4)))).toEqual([
      '10.10.0.0/24',
      '10.10.1.0/24',
      '10.20.0.0/24',
    ]);
    expect(() => subnets.reserve(4)).toThrow('no IPv4 subnet is left');
    expect(formatSubnet(subnets.reserve(6))).toBe('fd74:6170:6465::/64');
  });

  it('finds its way around large things at once', () => {
    const subnets = new Subnets({ pools: [parseSubnetPool('base=fd00::/8,size=126')] });
    subnets.reserve(6, 'fd00::/9');
    expect(formatSubnet(subnets.reserve(6))).toBe('fd80::/126');
  });

  it('never gives subnets that overlap, whatever is taken', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ third: fc.integer({ min: 0, max: 15 }), prefix: fc.integer({ min: 22, max: 28 }) }),
          { maxLength: 8 },
        ),
        (wishes) => {
          const subnets = new Subnets({ pools: [parseSubnetPool('base=10.0.0.0/20,size=24')] });
          const taken: Subnet[] = [];
          for (const { third, prefix } of wishes) {
            const base = third & (prefix < 24 ? 0xff << (24 - prefix) : 0xff);
            try {
              taken.push(subnets.reserve(4, `10.0.${base}.0/${prefix}`));
            } catch (error) {
              expect(error).toBeInstanceOf(DeckError);
            }
          }
          const free = 16 - new Set(taken.flatMap((one) => thirds(one))).size;
          const chosen = Array.from({ length: free }, () => subnets.reserve(4));
          const clash = chosen.some((one, i) =>
            [...taken, ...chosen.slice(i + 1)].some((other) => overlap(one, other)),
          );
          expect(clash).toBe(false);
          expect(() => subnets.reserve(4)).toThrow(DeckError);
        },
      ),
    );
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
    ['10.0.0.0/32', 'too small'],
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
    ['::ffff:10.0.0.0/104', 'IPv4-mapped'],
    ['::/0', 'too large'],
    ['10.0.0.0/24', 'not an IPv6 address'],
  ])('refuses %s: %s', (text, why) => {
    expect(() => parseSubnet(6, text)).toThrow(why);
  });
});
