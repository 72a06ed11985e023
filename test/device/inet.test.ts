import { describe, expect, it } from 'vitest';
import {
  AF_INET,
  AF_INET6,
  formatInet,
  macText,
  parseInet,
  parseMac,
  sameSubnet,
} from '../../src/device/inet.ts';

describe('addresses for the kernel', () => {
  it('are bytes in network order with a prefix', () => {
    expect(parseInet('172.17.0.2/16')).toEqual({
      family: AF_INET,
      bytes: Uint8Array.of(172, 17, 0, 2),
      prefix: 16,
    });
    const v6 = parseInet('fd00::2/64');
    expect(v6.family).toBe(AF_INET6);
    expect([...v6.bytes]).toEqual([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    expect(parseInet('10.0.0.1').prefix).toBe(32);
    expect(parseInet('fd00::1').prefix).toBe(128);
    expect(parseInet('0.0.0.0/0').prefix).toBe(0);
  });

  it.each(['', '10.1', '10.0.0.256/8', '010.0.0.1', 'fd00::1%eth0', 'eth0', '10.0.0.1/8/8'])(
    'refuse %j with what it was for',
    (text) => expect(() => parseInet(text, 'gateway')).toThrow(`gateway '${text}'`),
  );

  it.each(['10.0.0.1/33', '10.0.0.1/', '10.0.0.1/-1', 'fd00::1/129', '10.0.0.1/08'])(
    'refuse the prefix of %j',
    (text) => expect(() => parseInet(text)).toThrow('impossible prefix length'),
  );

  it('are text again', () => {
    for (const text of ['192.0.2.255', '2001:db8::1', '::', 'fe80::42:acff:fe11:2']) {
      expect(formatInet(parseInet(text).bytes)).toBe(text);
    }
    expect(formatInet(undefined)).toBe('');
    expect(formatInet(Uint8Array.of(1, 2, 3))).toBe('');
    expect(macText(parseMac('02:42:AC:11:00:02'))).toBe('02:42:ac:11:00:02');
  });

  it('know their subnet to the bit', () => {
    const a = parseInet('10.0.15.255').bytes;
    expect(sameSubnet(a, parseInet('10.0.0.1').bytes, 20)).toBe(true);
    expect(sameSubnet(a, parseInet('10.0.16.0').bytes, 20)).toBe(false);
    expect(sameSubnet(a, parseInet('10.0.16.0').bytes, 19)).toBe(true);
    expect(sameSubnet(a, parseInet('11.0.0.0').bytes, 0)).toBe(true);
    expect(sameSubnet(a, parseInet('fd00::').bytes, 0)).toBe(false);
  });

  it('refuse a MAC that no interface can have', () => {
    expect(() => parseMac('01:00:5e:00:00:01')).toThrow('group address');
    expect(() => parseMac('00:00:00:00:00:00')).toThrow('cannot be');
    expect(() => parseMac('02:42:ac:11:00')).toThrow('no MAC address');
  });
});
