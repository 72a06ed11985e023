import { type Ipv6, type Mac, parseIpv4, parseIpv6, parseMac } from '../../wire/address.ts';

/** Addresses of tests, in text; what is none is a mistake of the test. */

export function mac(text: string): Mac {
  return parseMac(text) ?? wrong(text, 'a MAC', '02:42:0a:00:00:02');
}

export function ipv4(text: string): number {
  return parseIpv4(text) ?? wrong(text, 'an IPv4 address', '10.0.0.2');
}

export function ipv6(text: string): Ipv6 {
  return parseIpv6(text) ?? wrong(text, 'an IPv6 address', 'fd00::2');
}

function wrong(text: string, kind: string, example: string): never {
  throw new TypeError(`'${text}' is not ${kind}; one looks like ${example}`);
}
