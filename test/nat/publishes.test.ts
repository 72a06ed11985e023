import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Publish, Publishes } from '../../nat/publishes.ts';
import { IPV4_MAPPED, portsWord, TUPLE_LENGTH, tupleKind } from '../../nat/tuple.ts';
import { PROTO_ICMP, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';

const HOST = 0x0a000001;
const OTHER = 0x0a000002;
const v4 = (address: number) => [0, 0, IPV4_MAPPED, address];

let ids = 0;
function publish(changes: Partial<Publish> = {}): Publish {
  return {
    id: ids++,
    network: 3,
    address: v4(0xac110002 | 0),
    target: 80,
    protocol: PROTO_TCP,
    family: 4,
    host: null,
    uplinkOnly: false,
    from: 8080,
    to: 8080,
    ...changes,
  };
}

/** A tuple from somewhere to `host`:`port`. */
function to(host: readonly number[], port: number, protocol = PROTO_TCP, isIpv6 = false): Int32Array {
  const words = new Int32Array(TUPLE_LENGTH + 2);
  words.set([1, 2, 3, 4, ...host, portsWord(50_000, port), tupleKind(protocol, isIpv6, 9)], 1);
  return words;
}

describe('publishes', () => {
  test('a published port leads to its endpoint, on any address of the deck', () => {
    const table = new Publishes();
    const row = table.add(publish({ id: 42, network: 5, target: 80, from: 8080, to: 8080 }));
    for (const host of [HOST, OTHER]) expect(table.find(to(v4(host), 8080), 1)).toBe(row);
    for (const port of [8079, 8081, 80, 0]) expect(table.find(to(v4(HOST), port), 1)).toBe(-1);
    expect([table.id(row), table.network(row), table.targetPort(row, 8080)]).toEqual([42, 5, 80]);
    const words = new Int32Array(6);
    table.copyAddress(row, words, 1);
    expect([...words]).toEqual([0, ...v4(0xac110002 | 0), 0]);
  });

  test('protocol and IP version count', () => {
    const table = new Publishes();
    table.add(publish());
    expect(table.find(to(v4(HOST), 8080, PROTO_UDP), 1)).toBe(-1);
    expect(table.find(to(v4(HOST), 8080, PROTO_ICMP), 1)).toBe(-1);
    expect(table.find(to(v4(HOST), 8080, PROTO_TCP, true), 1)).toBe(-1);
  });

  test('a range is one entry, translated port by port, ends included', () => {
    const table = new Publishes();
    const row = table.add(publish({ from: 1, to: 65_535, target: 1 }));
    const udp = table.add(publish({ protocol: PROTO_UDP, from: 9000, to: 9010, target: 100 }));
    expect(table.size).toBe(2);
    for (const port of [1, 4711, 65_535]) {
      expect(table.find(to(v4(HOST), port), 1)).toBe(row);
      expect(table.targetPort(row, port)).toBe(port);
    }
    expect([8999, 9000, 9010, 9011].map((port) => table.find(to(v4(HOST), port, PROTO_UDP), 1))).toEqual([
      -1,
      udp,
      udp,
      -1,
    ]);
    expect(table.targetPort(udp, 9010)).toBe(110);
  });

  test('a host address comes before all addresses', () => {
    const table = new Publishes();
    const all = table.add(publish({ from: 8000, to: 9000, target: 1 }));
    const one = table.add(publish({ host: v4(HOST), from: 8080, to: 8080 }));
    expect(table.find(to(v4(HOST), 8080), 1)).toBe(one);
    expect(table.find(to(v4(OTHER), 8080), 1)).toBe(all);
    expect(table.find(to(v4(HOST), 8081), 1)).toBe(all);
  });

  test('what is removed is not found, and rows of the others stay', () => {
    const table = new Publishes();
    const [a, b] = [publish({ from: 1, to: 1 }), publish({ from: 2, to: 2 })];
    table.add(a);
    const row = table.add(b);
    expect(table.remove(a.id)).toBe(true);
    expect(table.remove(a.id)).toBe(false);
    expect(table.find(to(v4(HOST), 1), 1)).toBe(-1);
    expect(table.find(to(v4(HOST), 2), 1)).toBe(row);
    expect(table.at(row)).toEqual(b);
    expect(table.list()).toEqual([b]);
    expect(table.row(a.id)).toBe(-1);
  });

  test('two publishes cannot have the same port where two sockets could not', () => {
    const table = new Publishes();
    const range = publish({ host: v4(HOST), from: 8000, to: 8100, target: 1 });
    table.add(range);
    const conflict = (changes: Partial<Publish>) => table.conflict(publish({ host: v4(HOST), ...changes }));
    expect(conflict({ from: 8100, to: 8200 })).toBe(range.id);
    expect(conflict({ from: 8000, to: 8000, host: null })).toBe(range.id);
    expect(conflict({ from: 8101, to: 8101 })).toBe(-1);
    expect(conflict({ from: 8000, to: 8000, host: v4(OTHER) })).toBe(-1);
    expect(conflict({ from: 8000, to: 8000, protocol: PROTO_UDP })).toBe(-1);
    expect(conflict({ from: 8000, to: 8000, family: 6, host: null })).toBe(-1);
  });

  test.each<[string, Partial<Publish>]>([
    ['port 0', { from: 0, to: 0 }],
    ['a reversed range', { from: 81, to: 80 }],
    ['a port above 65535', { from: 65_535, to: 65_536 }],
    ['a target range beyond 65535', { from: 1, to: 10, target: 65_530 }],
    ['no whole number', { from: 1.5, to: 2 }],
    ['ICMP', { protocol: PROTO_ICMP }],
    ['an id twice', { id: -7, from: 2, to: 2 }],
    ['a port twice', { from: 1, to: 1 }],
  ])('refuses %s and stays as it was', (_, changes) => {
    const table = new Publishes();
    table.add(publish({ id: -7, from: 1, to: 1 }));
    expect(() => table.add(publish(changes))).toThrow(RangeError);
    expect(table.size).toBe(1);
  });

  test('finds what a search through all of them finds', () => {
    // Few hosts, negative words among them, and few ports, so that publishes meet.
    const hosts = [null, v4(HOST), v4(-1), v4(0), [-1, 5, 0, 0], [0, 0, 0, 0], [0x20010db8, 0, 0, 1]];
    const entry = fc.record({
      host: fc.constantFrom(...hosts),
      protocol: fc.constantFrom(PROTO_TCP, PROTO_UDP),
      family: fc.constantFrom<(4 | 6)[]>(4, 6),
      from: fc.integer({ min: 1, max: 30 }),
      length: fc.integer({ min: 0, max: 6 }),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 25 }), (entries) => {
        const table = new Publishes();
        let model: Publish[] = [];
        for (const { length, remove, ...rest } of entries) {
          const one = publish({ ...rest, to: rest.from + length });
          const meets = (other: Publish) =>
            other.protocol === one.protocol &&
            other.family === one.family &&
            other.from <= one.to &&
            one.from <= other.to;
          const clashes = model.filter(meets);
          const refused = clashes.some(({ host }) => String(host) === String(one.host));
          const conflict = clashes.filter(
            ({ host }) => host === null || one.host === null || String(host) === String(one.host),
          );
          const found = table.conflict(one);
          expect(conflict.length === 0 ? found === -1 : conflict.some(({ id }) => id === found)).toBe(true);
          if (refused) expect(() => table.add(one)).toThrow(RangeError);
          else {
            table.add(one);
            model.push(one);
          }
          if (remove && model.length > 0) {
            table.remove(model[0]!.id);
            model = model.slice(1);
          }
        }
        for (const host of hosts)
          for (let port = 0; port < 40; port++)
            for (const protocol of [PROTO_TCP, PROTO_UDP])
              for (const family of [4, 6]) {
                if (host === null) continue;
                const has = (publish: Publish) =>
                  publish.protocol === protocol &&
                  publish.family === family &&
                  publish.from <= port &&
                  port <= publish.to;
                const expected =
                  model.find((one) => has(one) && String(one.host) === String(host)) ??
                  model.find((one) => has(one) && one.host === null);
                const row = table.find(to(host, port, protocol, family === 6), 1);
                expect(table.at(row)?.id).toBe(expected?.id);
              }
      }),
      { numRuns: 60 },
    );
  });
});
