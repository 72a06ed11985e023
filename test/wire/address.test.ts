import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  dockerMac,
  formatIpv4,
  formatIpv6,
  formatMac,
  ipv4Mask,
  ipv4MulticastMacLo,
  isBroadcast,
  isGroup,
  isIpv4LinkLocal,
  isIpv4Loopback,
  isIpv4Multicast,
  isIpv6LinkLocal,
  isIpv6Loopback,
  isIpv6Multicast,
  isIpv6Unspecified,
  isReserved,
  isZeroMac,
  linkLocalFromMac,
  MAC_IPV4_MULTICAST_HI,
  parseIpv4,
  parseIpv6,
  parseMac,
  SOLICITED_NODE_W0,
  SOLICITED_NODE_W1,
  SOLICITED_NODE_W2,
  solicitedNodeW3,
} from '../../wire/address.ts';

const int32 = fc.integer();

describe('MAC', () => {
  const reserved = (text: string) => {
    const mac = parseMac(text)!;
    return isReserved(mac.hi, mac.lo);
  };

  it('is text with colons or dashes', () => {
    expect(parseMac('02:42:ac:11:00:02')).toEqual({ hi: 0x0242, lo: 0xac110002 | 0 });
    expect(parseMac('02-42-AC-11-00-02')).toEqual({ hi: 0x0242, lo: 0xac110002 | 0 });
    expect(formatMac(0x0242, 0xac110002 | 0)).toBe('02:42:ac:11:00:02');
  });

  it('survives printing and parsing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), int32, (hi, lo) => {
        expect(parseMac(formatMac(hi, lo))).toEqual({ hi, lo });
      }),
    );
  });

  it.each([
    '',
    '02:42:ac:11:00',
    '02:42:ac:11:00:02:03',
    '2:42:ac:11:0:2',
    '02:42-ac:11:00:02',
    '0242ac110002',
    'g2:42:ac:11:00:02',
    '02:42:ac:11:00:02\n',
  ])('is not %j', (text) => {
    expect(parseMac(text)).toBeUndefined();
  });

  it('of a group has the lowest bit of its first byte set', () => {
    expect(isGroup(0x0100)).toBe(true);
    expect(isGroup(0xffff)).toBe(true);
    expect(isGroup(0x3333)).toBe(true);
    expect(isGroup(0x0242)).toBe(false);
    expect(isGroup(0x00ff)).toBe(false);
  });

  it('is reserved from 01-80-C2-00-00-00 to -0F and nowhere else', () => {
    for (let last = 0; last < 16; last++) expect(reserved(`01:80:c2:00:00:0${last.toString(16)}`)).toBe(true);
    for (const text of [
      '01:80:c2:00:00:10',
      '01:80:c2:00:01:00',
      '01:80:c3:00:00:00',
      '00:80:c2:00:00:00',
      'ff:ff:ff:ff:ff:ff',
    ]) {
      expect(reserved(text)).toBe(false);
    }
  });

  it('is broadcast, or zero, as a whole only', () => {
    expect(isBroadcast(0xffff, -1)).toBe(true);
    expect(isBroadcast(0xffff, -2)).toBe(false);
    expect(isBroadcast(0xfffe, -1)).toBe(false);
    expect(isZeroMac(0, 0)).toBe(true);
    expect(isZeroMac(0, 1)).toBe(false);
    expect(isZeroMac(1, 0)).toBe(false);
  });

  it('of a container is 02:42 and its address', () => {
    const mac = dockerMac(parseIpv4('172.17.0.2')!);
    expect(formatMac(mac.hi, mac.lo)).toBe('02:42:ac:11:00:02');
  });

  it('of an IPv4 group has its low 23 bits (RFC 1112 §6.4)', () => {
    const lo = ipv4MulticastMacLo(parseIpv4('224.129.2.251')!);
    expect(formatMac(MAC_IPV4_MULTICAST_HI, lo)).toBe('01:00:5e:01:02:fb');
  });
});

describe('IPv4 address', () => {
  it('is four decimal numbers', () => {
    expect(parseIpv4('172.17.0.2')).toBe(0xac110002 | 0);
    expect(parseIpv4('255.255.255.255')).toBe(-1);
    expect(parseIpv4('0.0.0.0')).toBe(0);
  });

  it('survives printing and parsing', () => {
    fc.assert(
      fc.property(int32, (address) => {
        expect(parseIpv4(formatIpv4(address))).toBe(address);
      }),
    );
  });

  it.each([
    '',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.',
    '.1.2.3.4',
    '1..2.3',
    '1.2.3.4 ',
    '0x1.2.3.4',
    '-1.2.3.4',
    '1.2.3.4\n',
  ])('is not %j', (text) => {
    expect(parseIpv4(text)).toBeUndefined();
  });

  it('has a kind', () => {
    expect(isIpv4Multicast(parseIpv4('224.0.0.0')!)).toBe(true);
    expect(isIpv4Multicast(parseIpv4('239.255.255.255')!)).toBe(true);
    expect(isIpv4Multicast(parseIpv4('240.0.0.0')!)).toBe(false);
    expect(isIpv4Multicast(parseIpv4('223.255.255.255')!)).toBe(false);
    expect(isIpv4Loopback(parseIpv4('127.1.2.3')!)).toBe(true);
    expect(isIpv4Loopback(parseIpv4('128.0.0.1')!)).toBe(false);
    expect(isIpv4LinkLocal(parseIpv4('169.254.169.254')!)).toBe(true);
    expect(isIpv4LinkLocal(parseIpv4('169.253.0.1')!)).toBe(false);
  });

  it('has a mask for every prefix length', () => {
    expect(formatIpv4(ipv4Mask(0))).toBe('0.0.0.0');
    expect(formatIpv4(ipv4Mask(1))).toBe('128.0.0.0');
    expect(formatIpv4(ipv4Mask(16))).toBe('255.255.0.0');
    expect(formatIpv4(ipv4Mask(32))).toBe('255.255.255.255');
  });
});

describe('IPv6 address', () => {
  /** What goes in, and its canonical form. RFC 5952 §1 to §5 and RFC 4291 §2.2 have most of these. */
  it.each([
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:0DB8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:1:0:0:0:1', '::1:0:0:0:1'],
    ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::FFFF:c000:0201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7.8.9.10', '1:2:3:4:5:6:708:90a'],
  ])('%s prints as %s', (text, canonical) => {
    expect(formatIpv6(...parseIpv6(text)!)).toBe(canonical);
  });

  it.each([
    '',
    ':',
    ':::',
    '1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    '::1:2:3:4:5:6:7:8',
    '12345::',
    '::g',
    'fe80::1%eth0',
    '1.2.3.4',
    '::1.2.3',
    '::1.2.3.4:5',
    '1.2.3.4::',
    '[::1]',
    '::1 ',
  ])('is not %j', (text) => {
    expect(parseIpv6(text)).toBeUndefined();
  });

  it('survives printing and parsing', () => {
    // Zeros in many places: where `::` has choices.
    const word = fc.oneof(fc.constantFrom(0, 1, 0x10000, 0xffff), int32);
    fc.assert(
      fc.property(word, word, word, word, (w0, w1, w2, w3) => {
        const text = formatIpv6(w0, w1, w2, w3);
        expect(parseIpv6(text)).toEqual([w0, w1, w2, w3]);
        expect(text).toBe(text.toLowerCase());
        expect(text.length).toBeLessThanOrEqual(39);
      }),
      { numRuns: 1000 },
    );
  });

  it('any text is an address or is not, and never throws', () => {
    const part = fc.constantFrom('0', 'f', 'ffff', ':', '::', '.', '1', '255', '256', '%', 'x');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 20 }), (parts) => {
        const text = parts.join('');
        const words = parseIpv6(text);
        if (words !== undefined) expect(parseIpv6(formatIpv6(...words))).toEqual(words);
        const ipv4 = parseIpv4(text);
        if (ipv4 !== undefined) expect(formatIpv4(ipv4)).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  it('has a kind', () => {
    const words = (text: string) => parseIpv6(text)!;
    expect(isIpv6Multicast(words('ff02::1')[0])).toBe(true);
    expect(isIpv6Multicast(words('fe80::1')[0])).toBe(false);
    expect(isIpv6LinkLocal(words('fe80::1')[0])).toBe(true);
    expect(isIpv6LinkLocal(words('febf::1')[0])).toBe(true);
    expect(isIpv6LinkLocal(words('fec0::1')[0])).toBe(false);
    expect(isIpv6Unspecified(...words('::'))).toBe(true);
    expect(isIpv6Unspecified(...words('::1'))).toBe(false);
    expect(isIpv6Loopback(...words('::1'))).toBe(true);
    expect(isIpv6Loopback(...words('1::1'))).toBe(false);
  });

  it('has a solicited-node group (RFC 4291 §2.7.1)', () => {
    const [, , , last] = parseIpv6('4037::1:800:200e:8c6c')!;
    const group = formatIpv6(SOLICITED_NODE_W0, SOLICITED_NODE_W1, SOLICITED_NODE_W2, solicitedNodeW3(last));
    expect(group).toBe('ff02::1:ff0e:8c6c');
  });

  it('of a link comes from the MAC (RFC 4291 appendix A)', () => {
    expect(formatIpv6(...linkLocalFromMac(parseMac('02:42:ac:11:00:02')!))).toBe('fe80::42:acff:fe11:2');
    expect(formatIpv6(...linkLocalFromMac(parseMac('34:56:78:9a:bc:de')!))).toBe('fe80::3656:78ff:fe9a:bcde');
  });
});
