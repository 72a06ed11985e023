import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress, formatSubnet } from '../../src/control/address.ts';
import { DeckError } from '../../src/control/error.ts';
import { formatUplinkSpec, parseUplinkSpec, type UplinkSpec } from '../../src/control/uplink-spec.ts';

/** A specification for people: bigints as addresses. */
function shown(spec: UplinkSpec) {
  const pool = (family: 4 | 6): { subnet: string; addresses: string[]; gateway: string } | null => {
    const one = family === 4 ? spec.ipv4 : spec.ipv6;
    return (
      one && {
        subnet: formatSubnet(one.subnet),
        addresses: one.addresses.map((address) => formatAddress(family, address)),
        gateway: formatAddress(family, one.gateway),
      }
    );
  };
  return { ...spec, ipv4: pool(4), ipv6: pool(6) };
}

describe('an uplink', () => {
  it('of kind tap needs a name and an address', () => {
    expect(shown(parseUplinkSpec('tap:td0,addr=192.0.2.2/24'))).toEqual({
      kind: 'tap',
      ifname: 'td0',
      netns: null,
      mtu: null,
      filtering: 'address-dependent',
      ipv4: { subnet: '192.0.2.0/24', addresses: ['192.0.2.2'], gateway: '192.0.2.1' },
      ipv6: null,
    });
  });

  it('of kind tap takes everything there is', () => {
    const text =
      'tap:out0,addr=198.51.100.9/24,addr=2001:db8::9/64,addr=198.51.100.10/24,gw=2001:db8::1,gw=198.51.100.254,' +
      'netns=outside,mtu=9000,filtering=endpoint-independent';
    expect(shown(parseUplinkSpec(text))).toEqual({
      kind: 'tap',
      ifname: 'out0',
      netns: '/run/netns/outside',
      mtu: 9000,
      filtering: 'endpoint-independent',
      ipv4: {
        subnet: '198.51.100.0/24',
        addresses: ['198.51.100.9', '198.51.100.10'],
        gateway: '198.51.100.254',
      },
      ipv6: { subnet: '2001:db8::/64', addresses: ['2001:db8::9'], gateway: '2001:db8::1' },
    });
  });

  it('of kind tap puts the other side at the first address that the deck does not have', () => {
    const gateway = (text: string) => shown(parseUplinkSpec(text)).ipv4?.gateway;
    expect(gateway('tap:a,addr=192.0.2.1/24')).toBe('192.0.2.2');
    expect(gateway('tap:a,addr=192.0.2.2/24,addr=192.0.2.1/24')).toBe('192.0.2.3');
    expect(gateway('tap:a,addr=192.0.2.5/30')).toBe('192.0.2.6');
    expect(shown(parseUplinkSpec('tap:a,addr=fd00::1/126')).ipv6?.gateway).toBe('fd00::2');
  });

  it('of kind packet has a next hop for each IP version, which IPv6 may know by its link-local address', () => {
    const text = 'packet:eth1,addr=10.1.0.7/16,addr=fd00::7/64,gw=10.1.0.1,gw=fe80::1,netns=./x';
    expect(shown(parseUplinkSpec(text))).toMatchObject({
      kind: 'packet',
      netns: `${process.cwd()}/x`,
      ipv4: { gateway: '10.1.0.1' },
      ipv6: { gateway: 'fe80::1' },
    });
  });

  it.each([
    ['', /it does not say of what kind it is; write it as in tap:td0,addr=/],
    ['td0', /it does not say of what kind it is/],
    ['tun:td0,addr=192.0.2.2/24', /there is no kind "tun" of uplink; write it as in/],
    [':td0', /there is no kind "" of uplink/],
    ['tap:', /interface name "" is not allowed/],
    ['tap:lo,addr=192.0.2.2/24', /interface name "lo" is not allowed/],
    ['tap:a/b,addr=192.0.2.2/24', /interface name "a\/b" is not allowed/],
    ['tap:sixteen-letters-,addr=192.0.2.2/24', /is not allowed: 1 to 15 bytes/],
    ['tap:td0', /it has no address; give the deck one on it with addr=, as in tap:td0,addr=/],
    ['packet:eth1,gw=192.0.2.1', /it has no address; .* as in packet:eth1/],
    ['tap:td0,addr=', /addr= has no value/],
    ['tap:td0,addr', /addr= has no value/],
    ['tap:td0,addr=192.0.2.2', /"192\.0\.2\.2" is not an address with its prefix length; .*192\.0\.2\.7\/24/],
    ['tap:td0,addr=fd00::2', /"fd00::2" is not an address with its prefix length; .*2001:db8::7\/64/],
    ['tap:td0,addr=192.0.2.2/33', /the prefix is longer than 32 bits/],
    ['tap:td0,addr=192.0.2.2/024', /is not an address with its prefix length/],
    ['tap:td0,addr=192.0.2/24', /"192\.0\.2" is not an IPv4 address/],
    ['tap:td0,addr=fd00::2%eth0/64', /is not an IPv6 address/],
    ['tap:td0,addr=192.0.2.2/31', /is too small: the longest prefix is \/30/],
    ['tap:td0,addr=192.0.2.0/24', /address 192\.0\.2\.0 is the subnet itself of 192\.0\.2\.0\/24/],
    ['tap:td0,addr=192.0.2.255/24', /address 192\.0\.2\.255 is the broadcast address of 192\.0\.2\.0\/24/],
    ['tap:td0,addr=fd00::/64', /address fd00:: is the subnet itself/],
    ['tap:td0,addr=127.0.0.2/8', /lies in the loopback range/],
    ['tap:td0,addr=224.0.0.2/24', /lies in the multicast range/],
    ['tap:td0,addr=fe80::2/64', /lies in the link-local range/],
    ['tap:td0,addr=192.0.2.2/24,addr=192.0.2.2/24', /address 192\.0\.2\.2 is given twice/],
    [
      'tap:td0,addr=192.0.2.2/24,addr=192.0.3.2/24',
      /address 192\.0\.3\.2\/24 is not in the subnet of 192\.0\.2\.2\/24; make an uplink for each subnet/,
    ],
    ['tap:td0,addr=192.0.2.2/24,addr=192.0.2.3/25', /address 192\.0\.2\.3\/25 is not in the subnet of/],
    ['tap:td0,addr=192.0.2.1/30,addr=192.0.2.2/30', /no address of the subnet is left for the other side/],
    ['tap:td0,addr=192.0.2.2/24,gw=192.0.2.2', /gw=192\.0\.2\.2 is the deck's own address/],
    [
      'tap:td0,addr=192.0.2.2/24,gw=192.0.3.1',
      /gw=192\.0\.3\.1: address 192\.0\.3\.1 lies outside 192\.0\.2\.0\/24/,
    ],
    ['tap:td0,addr=192.0.2.2/24,gw=192.0.2.255', /gw=192\.0\.2\.255: .* is the broadcast address/],
    ['tap:td0,addr=192.0.2.2/24,gw=192.0.2.1/24', /"192\.0\.2\.1\/24" is not an IPv4 address/],
    ['tap:td0,addr=192.0.2.2/24,gw=192.0.2.1,gw=192.0.2.3', /gw= is given twice for IPv4/],
    ['tap:td0,addr=192.0.2.2/24,gw=fd00::1', /gw=fd00::1 is IPv6, and no addr= is/],
    ['tap:td0,addr=192.0.2.2/24,gw=x', /"x" is not an IPv4 address/],
    ['tap:td0,addr=fd00::2/64,gw=fe80::1', /gw=fe80::1: address fe80::1 lies outside fd00::\/64/],
    [
      'packet:eth1,addr=192.0.2.2/24',
      /it has no IPv4 next hop; name the router of the segment with gw=ADDRESS/,
    ],
    ['packet:eth1,addr=192.0.2.2/24,gw=192.0.2.1,addr=fd00::2/64', /it has no IPv6 next hop/],
    [
      'packet:eth1,addr=192.0.2.2/24,gw=192.0.2.1,mtu=1400',
      /the MTU of a packet uplink is that of the interface/,
    ],
    ['tap:td0,addr=192.0.2.2/24,mtu=1400,mtu=1400', /mtu= is given twice; give it once/],
    ['tap:td0,addr=192.0.2.2/24,mtu=67', /MTU 67 is out of range/],
    ['tap:td0,addr=192.0.2.2/24,mtu=65521', /MTU 65521 is out of range/],
    ['tap:td0,addr=192.0.2.2/24,mtu=1e3', /mtu=1e3 is not a whole number above zero/],
    ['tap:td0,addr=192.0.2.2/24,addr=fd00::2/64,mtu=1279', /IPv6 needs that much/],
    [
      'tap:td0,addr=192.0.2.2/24,filtering=none',
      /there is no filtering "none"; choose one of endpoint-independent, address-dependent, address-and-port-dependent/,
    ],
    [
      'tap:td0,addr=192.0.2.2/24,host=192.0.2.1/24',
      /there is no "host" here; what follows the name is addr=, gw=, netns=, mtu=, filtering=$/,
    ],
    ['packet:td0,addr=192.0.2.2/24,host=x', /what follows the name is addr=, gw=, netns=, filtering=$/],
    ['tap:td0,addr=192.0.2.2/24,', /there is no "" here/],
    ['tap:td0,addr=192.0.2.2/24,netns=', /netns= has no value/],
  ])('%j is refused in one line', (text, message) => {
    let error: unknown;
    try {
      parseUplinkSpec(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(DeckError);
    expect(error).toMatchObject({ code: 'invalid', message: expect.stringMatching(message) });
    expect((error as Error).message).toMatch(/^uplink ".*": [^\n]+$/);
  });

  it('has a text of its own that means the same', () => {
    const texts = [
      'tap:td0,addr=192.0.2.2/24',
      'tap:td0,filtering=endpoint-independent,mtu=1400,addr=192.0.2.2/24,netns=x',
      'packet:eth1,gw=fe80::1,addr=fd00::7/64,addr=fd00::8/64',
    ];
    expect(texts.map((text) => formatUplinkSpec(parseUplinkSpec(text)))).toEqual([
      'tap:td0,addr=192.0.2.2/24,gw=192.0.2.1,mtu=1500,filtering=address-dependent',
      'tap:td0,addr=192.0.2.2/24,gw=192.0.2.1,netns=/run/netns/x,mtu=1400,filtering=endpoint-independent',
      'packet:eth1,addr=fd00::7/64,addr=fd00::8/64,gw=fe80::1,filtering=address-dependent',
    ]);
    for (const text of texts) {
      const once = formatUplinkSpec(parseUplinkSpec(text));
      expect(formatUplinkSpec(parseUplinkSpec(once))).toBe(once);
    }
  });

  it('of any text is one that holds together, or refused', () => {
    const address = fc.tuple(fc.nat(255), fc.nat(33)).map(([host, prefix]) => `192.0.2.${host}/${prefix}`);
    const ipv6 = fc.tuple(fc.nat(9), fc.nat(129)).map(([host, prefix]) => `fd00::${host}/${prefix}`);
    const field = fc.oneof(
      fc.oneof(address, ipv6).map((text) => `addr=${text}`),
      fc.nat(255).map((host) => `gw=192.0.2.${host}`),
      fc.nat(9).map((host) => `gw=fd00::${host}`),
      fc.nat(70_000).map((mtu) => `mtu=${mtu}`),
      fc.string({ maxLength: 12 }),
    );
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.constantFrom('tap:td0', 'packet:eth1'),
        fc.array(field, { maxLength: 5 }),
        (head, fields) => {
          const text = [head, ...fields].join(',');
          let spec: UplinkSpec;
          try {
            spec = parseUplinkSpec(text);
          } catch (error) {
            expect(error, text).toBeInstanceOf(DeckError);
            return;
          }
          accepted++;
          for (const pool of [spec.ipv4, spec.ipv6]) {
            if (!pool) continue;
            expect(pool.addresses.length).toBeGreaterThan(0);
            expect(new Set([...pool.addresses, pool.gateway]).size).toBe(pool.addresses.length + 1);
          }
          expect(spec.ipv4 ?? spec.ipv6).not.toBeNull();
          expect(shown(parseUplinkSpec(formatUplinkSpec(spec)))).toMatchObject({
            ...shown(spec),
            ...(spec.kind === 'tap' && { mtu: spec.mtu ?? 1500 }),
          });
        },
      ),
      { numRuns: 3000 },
    );
    expect(accepted).toBeGreaterThan(50);
  });
});
