import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Family, formatAddress } from '../../src/control/address.ts';
import { DeckError } from '../../src/control/error.ts';
import { formatHost, formatPorts, parsePublishSpec } from '../../src/control/publish-spec.ts';

const any = { family: null, host: null, ifname: null };
const range = (first: number, last = first) => ({ first, last });

describe('a spec of published ports', () => {
  it.each([
    ['80', { ...any, hostPorts: null, ports: range(80), protocol: 'tcp' }],
    ['80/udp', { ...any, hostPorts: null, ports: range(80), protocol: 'udp' }],
    ['80-90', { ...any, hostPorts: null, ports: range(80, 90), protocol: 'tcp' }],
    [':80', { ...any, hostPorts: null, ports: range(80), protocol: 'tcp' }],
    ['0:80', { ...any, hostPorts: null, ports: range(80), protocol: 'tcp' }],
    ['8080:80', { ...any, hostPorts: range(8080), ports: range(80), protocol: 'tcp' }],
    ['8080:80/TCP', { ...any, hostPorts: range(8080), ports: range(80), protocol: 'tcp' }],
    ['8000-8010:80-90/udp', { ...any, hostPorts: range(8000, 8010), ports: range(80, 90), protocol: 'udp' }],
    ['8000-8010:80', { ...any, hostPorts: range(8000, 8010), ports: range(80), protocol: 'tcp' }],
    ['1:65535', { ...any, hostPorts: range(1), ports: range(65535), protocol: 'tcp' }],
    ['192.0.2.1:8080:80', { family: 4, host: 0xc0000201n, hostPorts: range(8080), ports: range(80) }],
    ['192.0.2.1::80', { family: 4, host: 0xc0000201n, hostPorts: null, ports: range(80) }],
    ['0.0.0.0:8080:80', { family: 4, host: null, hostPorts: range(8080), ports: range(80) }],
    ['[::]:8080:80', { family: 6, host: null, hostPorts: range(8080), ports: range(80) }],
    ['%eth1:8080:80', { family: null, host: null, ifname: 'eth1', hostPorts: range(8080) }],
    ['192.0.2.1%eth1::80', { family: 4, host: 0xc0000201n, ifname: 'eth1', hostPorts: null }],
    ['0.0.0.0%lo:8080:80', { family: 4, host: null, ifname: 'lo', hostPorts: range(8080) }],
    ['[::%lo]:8080:80', { family: 6, host: null, ifname: 'lo', hostPorts: range(8080) }],
    ['[::1%lo]:8080:80', { family: 6, host: 1n, ifname: 'lo', hostPorts: range(8080) }],
    ['[::1]:53:53/udp', { family: 6, host: 1n, hostPorts: range(53), ports: range(53), protocol: 'udp' }],
  ])('is understood as %j', (text, expected) => {
    expect(parsePublishSpec(text)).toMatchObject({ text, ...expected });
  });

  it.each([
    ['', /is not understood; write it as in 8080:80/],
    [':', /is not understood/],
    ['/tcp', /is not understood/],
    ['80-', /is not understood/],
    ['-80', /is not understood/],
    ['1-2-3', /is not understood/],
    ['::1:8080:80', /an IPv6 address is written in brackets/],
    ['[::1]:80', /is not understood/],
    ['[::1:8080:80', /is not understood/],
    ['1.2.3:8080:80', /host address "1.2.3" is not an IPv4 address/],
    ['1.2.3.256:8080:80', /host address "1.2.3.256" is not an IPv4 address/],
    ['localhost:8080:80', /host address "localhost" is not an IPv4 address/],
    ['[fd00::x]:8080:80', /host address "fd00::x" is not an IPv6 address/],
    ['[%lo]:8080:80', /host address "" is not an IPv6 address/],
    ['%:8080:80', /interface name "" is not allowed/],
    ['192.0.2.1%a%b:8080:80', /interface name "a%b" is not allowed/],
    ['90-80:80-90', /range 90-80 is reversed; did you mean 80-90\?/],
    ['80-90:90-80', /range 90-80 is reversed/],
    ['80-90:80-91', /unequal length, 11 host ports and 12 ports of the endpoint/],
    ['80:80-91', /unequal length, 1 host ports and 12/],
    ['8080:0', /port 0 is out of range; use 1 to 65535/],
    ['0-5:80-85', /port 0 is out of range/],
    ['8080:65536', /port 65536 is out of range/],
    ['99999999999999999999:80', /port 99999999999999999999 is out of range/],
    ['http:80', /"http" is not a port number/],
    ['8080:80/sctp', /protocol "sctp" is unknown; use tcp or udp/],
    ['8080:80/', /protocol "" is unknown/],
    ['8080:80/tcp/udp', /protocol "tcp\/udp" is unknown/],
    ['8080: 80', /" 80" is not a port number/],
    ['8080:+80', /"\+80" is not a port number/],
    ['8080\n:80', /"8080\\n" is not a port number/],
  ])('%j is refused in one line', (text, message) => {
    expect(() => parsePublishSpec(text)).toThrow(DeckError);
    expect(() => parsePublishSpec(text)).toThrow(message);
    expect(() => parsePublishSpec(text)).toThrow(/^publish [^\n]+$/);
  });

  it('is what was written, whatever is written', () => {
    const port = fc.integer({ min: 1, max: 65435 });
    const length = fc.integer({ min: 0, max: 100 });
    const host = fc.oneof(
      fc.constant(null),
      fc.tuple(fc.constant(4 as Family), fc.bigInt({ min: 0n, max: 2n ** 32n - 1n })),
      fc.tuple(fc.constant(6 as Family), fc.bigInt({ min: 0n, max: 2n ** 128n - 1n })),
    );
    fc.assert(
      fc.property(
        port,
        port,
        length,
        host,
        fc.constantFrom('tcp', 'udp'),
        (from, to, count, at, protocol) => {
          const hostPorts = { first: from, last: from + count };
          const ports = { first: to, last: to + count };
          const before = at === null ? '' : `${formatHost(...at)}:`;
          const text = `${before}${formatPorts(hostPorts)}:${formatPorts(ports)}/${protocol}`;
          const spec = parsePublishSpec(text);
          expect(spec).toMatchObject({ hostPorts, ports, protocol, family: at?.[0] ?? null });
          expect(formatAddress(at?.[0] ?? 4, spec.host ?? 0n)).toBe(
            formatAddress(at?.[0] ?? 4, at?.[1] ?? 0n),
          );
        },
      ),
    );
  });

  it('never fails otherwise than with a line for people', () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^[[\]0-9a-f:.\-/tcpud]{0,30}$/));
    fc.assert(
      fc.property(text, (text) => {
        try {
          const { ports, hostPorts } = parsePublishSpec(text);
          for (const { first, last } of hostPorts ? [ports, hostPorts] : [ports]) {
            expect(first).toBeGreaterThanOrEqual(1);
            expect(last).toBeGreaterThanOrEqual(first);
            expect(last).toBeLessThanOrEqual(65535);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(DeckError);
        }
      }),
    );
  });
});
