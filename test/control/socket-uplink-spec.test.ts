import { describe, expect, it } from 'vitest';
import { formatSubnet } from '../../src/control/address.ts';
import { deniedPrefixes, METADATA, type SocketUplinkSpec } from '../../src/control/socket-uplink-spec.ts';
import { formatUplinkSpec, parseUplinkSpec } from '../../src/control/uplink-spec.ts';

function denied(text: string): string[] {
  return deniedPrefixes(parseUplinkSpec(text) as SocketUplinkSpec).map(formatSubnet);
}

describe('an uplink of kind socket', () => {
  it('needs nothing but its kind', () => {
    expect(parseUplinkSpec('socket')).toMatchObject({
      kind: 'socket',
      filtering: 'address-dependent',
      hostAccess: true,
      deny: [],
      ipv4: { addresses: [0xc0000002n], gateway: 0xc0000001n },
    });
    expect(denied('socket')).toEqual([]);
  });

  it('has a text of its own that means the same', () => {
    const texts = [
      'socket',
      'socket,deny=metadata,deny=10.0.0.0/8,host-access=no,filtering=endpoint-independent',
    ];
    expect(texts.map((text) => formatUplinkSpec(parseUplinkSpec(text)))).toEqual([
      'socket,filtering=address-dependent',
      'socket,filtering=endpoint-independent,host-access=no,deny=metadata,deny=10.0.0.0/8',
    ]);
    for (const text of texts) {
      const once = formatUplinkSpec(parseUplinkSpec(text));
      expect(formatUplinkSpec(parseUplinkSpec(once))).toBe(once);
    }
  });

  it('denies addresses, prefixes, and what clouds tell machines about themselves', () => {
    expect(denied('socket,deny=192.0.2.7,deny=2001:db8::/32,deny=::7,deny=192.0.2.7/32')).toEqual([
      '192.0.2.7/32',
      '2001:db8::/32',
      '::7/128',
    ]);
    expect(denied('socket,deny=metadata')).toEqual(METADATA);
    expect(METADATA).toContain('169.254.0.0/16');
    expect(METADATA).toContain('fd00:ec2::254/128');
  });

  it.each([
    [
      'socket,addr=192.0.2.2/24',
      /there is no "addr" here; what follows the name is filtering=, host-access=, deny=$/,
    ],
    ['socket,host-access=maybe', /host-access=maybe is not understood; it is yes or no/],
    ['socket,filtering=none', /there is no filtering "none"; choose one of/],
    ['socket,deny=', /deny= has no value/],
    ['socket,deny=cloud', /deny="cloud": .*; or give metadata for the addresses of clouds/],
    ['socket,deny=10.0.0.1/8', /deny="10\.0\.0\.1\/8": .* has host bits set; did you mean 10\.0\.0\.0\/8\?/],
    ['socket:eth0', /there is no kind "socket" of uplink/],
  ])('%j is refused in one line', (text, message) => {
    expect(() => parseUplinkSpec(text)).toThrow(message);
  });
});
