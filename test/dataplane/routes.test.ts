import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Routes } from '../../src/dataplane/routes.ts';
import { Bridge } from '../../switch/bridge.ts';
import { Fdb } from '../../switch/fdb.ts';
import { Network } from '../../switch/network.ts';
import { Ports } from '../../switch/ports.ts';
import { ipv4Mask, parseIpv4, parseIpv6 } from '../../wire/address.ts';

const ports = new Ports(8);
const fdb = new Fdb(ports, [1, 2], 16);

function network(id: number, ipv4: string | null, ipv6: string | null = null): Network {
  const [address4, prefix4] = ipv4?.split('/') ?? [];
  const [address6, prefix6] = ipv6?.split('/') ?? [];
  return new Network(id, new Bridge(id, ports, fdb), id, {
    macHi: 0x0242,
    macLo: id,
    ipv4: address4 === undefined ? null : { address: parseIpv4(address4)!, prefix: Number(prefix4) },
    ipv6: address6 === undefined ? null : { address: parseIpv6(address6)!, prefix: Number(prefix6) },
    mtu: 1500,
  });
}

/** The id of the network to which an address belongs, or null. */
function lookup(routes: Routes, address: string): number | null {
  const route = address.includes(':')
    ? routes.lookupIpv6(...parseIpv6(address)!)
    : routes.lookupIpv4(parseIpv4(address)!);
  return route?.network.id ?? null;
}

describe('routes', () => {
  test('the longest prefix matches, in either IP version', () => {
    const routes = new Routes();
    routes.add(network(0, '10.0.0.1/8', 'fd00::1/8'));
    routes.add(network(1, '10.1.0.1/16', 'fd00:1::1/48'));
    routes.add(network(2, '10.1.2.1/24', 'fd00:1:0:2::1/64'));
    routes.add(network(3, '10.1.2.3/32', 'fd00:1:0:2::3/128'));
    const cases: [string, number | null][] = [
      ['10.200.0.9', 0],
      ['10.1.9.9', 1],
      ['10.1.2.9', 2],
      ['10.1.2.3', 3],
      ['11.0.0.1', null],
      ['fdff::9', 0],
      ['fd00:1:0:9::9', 1],
      ['fd00:1:0:2::9', 2],
      ['fd00:1:0:2::3', 3],
      ['fe80::1', null],
    ];
    for (const [address, id] of cases) expect(lookup(routes, address), address).toBe(id);
  });

  test('an empty table, a removed network, a network without one of the versions', () => {
    const routes = new Routes();
    expect(lookup(routes, '10.0.0.1')).toBeNull();
    const plain = network(1, '10.0.0.1/24');
    routes.add(plain);
    routes.add(network(2, null, 'fd00::1/64'));
    expect(lookup(routes, '10.0.0.9')).toBe(1);
    expect(lookup(routes, '0.0.0.0')).toBeNull();
    expect(lookup(routes, 'fd00::9')).toBe(2);
    expect(lookup(routes, '::')).toBeNull();
    routes.remove(plain);
    expect(lookup(routes, '10.0.0.9')).toBeNull();
    expect(lookup(routes, 'fd00::9')).toBe(2);
  });

  test('a prefix of 0 takes everything that is left', () => {
    const routes = new Routes();
    routes.add(network(1, '10.0.0.1/24'));
    routes.add(network(2, '198.51.100.1/0'));
    expect(lookup(routes, '10.0.0.9')).toBe(1);
    expect(lookup(routes, '192.0.2.1')).toBe(2);
  });

  test('the table agrees with a search through all networks', () => {
    const prefix = fc.record({ address: fc.integer(), length: fc.integer({ min: 0, max: 31 }) });
    fc.assert(
      fc.property(
        fc.array(prefix, { maxLength: 40 }),
        fc.array(fc.integer(), { maxLength: 20 }),
        (prefixes, others) => {
          const routes = new Routes();
          const masked = prefixes.map(({ address, length }) => ({
            address: address & ipv4Mask(length),
            length,
          }));
          const distinct = [
            ...new Map(masked.map((each) => [`${each.address}/${each.length}`, each])).values(),
          ];
          const networks = distinct.map(({ address, length }, id) => {
            const made = network(id, '0.0.0.0/0');
            const ipv4 = { ipv4: address, ipv4Prefix: length, ipv4Mask: ipv4Mask(length) };
            return Object.assign(made, ipv4, { ownIpv4: new Int32Array() });
          });
          for (const each of networks) routes.add(each);
          for (const address of [
            ...others,
            ...masked.map((each) => each.address),
            ...masked.map((each) => ~each.address),
          ]) {
            const matching = networks.filter((each) => ((address ^ each.ipv4) & each.ipv4Mask) === 0);
            const best = matching.sort((a, b) => b.ipv4Prefix - a.ipv4Prefix)[0];
            expect(routes.lookupIpv4(address | 0)?.network.id ?? null).toBe(best?.id ?? null);
          }
        },
      ),
    );
  });
});
