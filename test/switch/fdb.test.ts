import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEFAULT_AGEING, Fdb, Learned } from '../../switch/fdb.ts';
import { PortKind, Ports } from '../../switch/ports.ts';

const HI = 0x0242;

function fdb({ capacity = 1024, networkLimit = 512, learnLimit = 256, ports = 4 } = {}) {
  const table = new Ports(64);
  const ids = Array.from({ length: ports }, () => table.add(0, PortKind.DEVICE, { learnLimit }));
  return { ports: table, fdb: new Fdb(table, [1, 2], capacity, networkLimit), ids };
}

describe('fdb', () => {
  test('a learned address is found on its port, in its network only', () => {
    const { fdb: table, ids } = fdb();
    expect(table.lookup(0, HI, 7, 0)).toBe(-1);
    expect(table.learn(0, HI, 7, ids[1]!, 0)).toBe(Learned.OK);
    expect(table.lookup(0, HI, 7, 0)).toBe(ids[1]);
    expect(table.lookup(1, HI, 7, 0)).toBe(-1);
  });

  test('BR-4: an address is forgotten exactly when it has aged, swept or not', () => {
    const { fdb: table, ids } = fdb();
    table.learn(0, HI, 7, ids[0]!, 1000);
    expect(table.lookup(0, HI, 7, 1000 + DEFAULT_AGEING - 1)).toBe(ids[0]);
    expect(table.lookup(0, HI, 7, 1000 + DEFAULT_AGEING)).toBe(-1);
    expect(table.size).toBe(1);
    table.expire(1000 + DEFAULT_AGEING);
    expect(table.size).toBe(0);
  });

  test('a refreshed address lives on from its last frame', () => {
    const { fdb: table, ids } = fdb();
    table.learn(0, HI, 7, ids[0]!, 0);
    table.learn(0, HI, 7, ids[0]!, 200_000);
    table.expire(300_000);
    expect(table.lookup(0, HI, 7, 400_000)).toBe(ids[0]);
    expect(table.deadline).toBe(500_000);
  });

  test('the deadline is Infinity while nothing can age, and time 0 is a time', () => {
    const { fdb: table, ids } = fdb();
    expect(table.deadline).toBe(Number.POSITIVE_INFINITY);
    table.addStatic(0, HI, 1, ids[0]!);
    expect(table.deadline).toBe(Number.POSITIVE_INFINITY);
    table.learn(0, HI, 2, ids[0]!, 0);
    expect(table.deadline).toBe(DEFAULT_AGEING);
    table.expire(DEFAULT_AGEING);
    expect(table.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  test('BR-5: a station that moves is learned on its new port at once', () => {
    const { fdb: table, ids, ports } = fdb();
    table.learn(0, HI, 7, ids[0]!, 0);
    expect(table.learn(0, HI, 7, ids[1]!, 1)).toBe(Learned.OK);
    expect(table.lookup(0, HI, 7, 1)).toBe(ids[1]);
    expect([ports.learned[ids[0]!], ports.learned[ids[1]!]]).toEqual([0, 1]);
  });

  test('a static address neither moves nor ages', () => {
    const { fdb: table, ids } = fdb();
    table.addStatic(0, HI, 7, ids[0]!);
    expect(table.learn(0, HI, 7, ids[1]!, 0)).toBe(Learned.FOREIGN);
    expect(table.learn(0, HI, 7, ids[0]!, 0)).toBe(Learned.OK);
    expect(table.lookup(0, HI, 7, 10 * DEFAULT_AGEING)).toBe(ids[0]);
  });

  test('BR-11: the port, the network and the table are bounded; what is known stays known', () => {
    const { fdb: table, ids } = fdb({ capacity: 16, networkLimit: 12, learnLimit: 8 });
    for (let i = 0; i < 100; i++) table.learn(0, HI, i, ids[0]!, 0);
    expect(table.size).toBe(8);
    for (let i = 100; i < 200; i++) table.learn(0, HI, i, ids[1]!, 0);
    expect(table.size).toBe(12);
    for (let i = 200; i < 300; i++) table.learn(1, HI, i, ids[2]!, 0);
    expect(table.size).toBe(16);
    expect(table.overflows).toBe(92 + 96 + 96);
    for (let i = 0; i < 8; i++) expect(table.lookup(0, HI, i, 0)).toBe(ids[0]);
  });

  test('a static address finds room in a full table, at the cost of what was not seen for longest', () => {
    const { fdb: table, ids, ports } = fdb({ capacity: 4 });
    table.addStatic(0, HI, 100, ids[0]!);
    for (const [time, mac] of [7, 5, 6].entries()) table.learn(0, HI, mac, ids[1]!, time);
    table.learn(0, HI, 7, ids[1]!, 9);
    expect(table.addStatic(2, HI, 1, ids[3]!)).toBe(true);
    expect([5, 6, 7].map((mac) => table.lookup(0, HI, mac, 9))).toEqual([-1, ids[1], ids[1]]);
    expect(table.lookup(2, HI, 1, 9)).toBe(ids[3]);
    expect([table.size, ports.learned[ids[1]!]]).toEqual([4, 2]);
    for (const mac of [2, 3]) expect(table.addStatic(2, HI, mac, ids[3]!)).toBe(true);
    expect(table.addStatic(2, HI, 4, ids[3]!), 'all are static').toBe(false);
    expect(table.lookup(0, HI, 100, 9)).toBe(ids[0]);
  });

  test('BR-7: a removed port takes its addresses with it', () => {
    const { fdb: table, ids, ports } = fdb();
    for (let i = 0; i < 50; i++) table.learn(0, HI, i, ids[i % 2]!, 0);
    table.addStatic(0, HI, 99, ids[0]!);
    table.flushPort(ids[0]!);
    expect(table.size).toBe(25);
    expect(table.lookup(0, HI, 99, 0)).toBe(-1);
    expect(ports.learned[ids[0]!]).toBe(0);
  });

  test('agrees with a plain map under any sequence of operations', () => {
    const operation = fc.oneof(
      fc.record({ op: fc.constant('learn'), mac: fc.nat(20), port: fc.nat(3), wait: fc.nat(100_000) }),
      fc.record({ op: fc.constant('static'), mac: fc.nat(20), port: fc.nat(3), wait: fc.constant(0) }),
      fc.record({ op: fc.constant('remove'), mac: fc.nat(20), port: fc.constant(0), wait: fc.constant(0) }),
      fc.record({ op: fc.constant('flush'), mac: fc.constant(0), port: fc.nat(3), wait: fc.constant(0) }),
      fc.record({
        op: fc.constant('expire'),
        mac: fc.constant(0),
        port: fc.constant(0),
        wait: fc.nat(400_000),
      }),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), fc.integer(), (operations, key) => {
        const ports = new Ports(8);
        const ids = [0, 1, 2, 3].map(() => ports.add(0, PortKind.DEVICE));
        const table = new Fdb(ports, [key, ~key], 64);
        const model = new Map<number, { port: number; seen: number; static: boolean }>();
        let now = 0;
        const live = (mac: number) => {
          const entry = model.get(mac);
          return entry && (entry.static || now - entry.seen < DEFAULT_AGEING) ? entry : undefined;
        };
        for (const { op, mac, port: index, wait } of operations) {
          now += wait;
          const port = ids[index]!;
          if (op === 'learn') {
            table.learn(0, HI, mac, port, now);
            if (!model.get(mac)?.static) model.set(mac, { port, seen: now, static: false });
          } else if (op === 'static') {
            table.addStatic(0, HI, mac, port);
            model.set(mac, { port, seen: 0, static: true });
          } else if (op === 'remove') {
            table.remove(0, HI, mac);
            model.delete(mac);
          } else if (op === 'flush') {
            table.flushPort(port);
            for (const [key, entry] of model) if (entry.port === port) model.delete(key);
          } else {
            table.expire(now);
            for (const key of [...model.keys()]) if (!live(key)) model.delete(key);
            expect(table.size).toBe(model.size);
          }
          for (let each = 0; each <= 20; each++) {
            expect(table.lookupFrom(port, 0, HI, each, now)).toBe(live(each)?.port ?? -1);
            expect(table.lookup(0, HI, each, now)).toBe(live(each)?.port ?? -1);
          }
        }
        const listed = table.list(now).map((entry) => [entry.macLo, entry.port]);
        const expected = [...model.keys()].filter(live).map((mac) => [mac, model.get(mac)!.port]);
        expect(listed.sort()).toEqual(expected.sort());
      }),
      { numRuns: 200 },
    );
  });
});
