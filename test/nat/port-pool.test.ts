import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hasPorts, PortPool } from '../../nat/port-pool.ts';
import { PROTO_GRE, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';

const pool = () => new PortPool([1, 2]);

/** Allocates until nothing is left. */
function drain(ports: PortPool, protocol: number, inside: number, random = new Random(1)): number[] {
  const got: number[] = [];
  for (let port = ports.allocate(protocol, inside, random); port >= 0; ) {
    got.push(port);
    port = ports.allocate(protocol, inside, random);
  }
  return got;
}

/** Pearson's statistic of how often each of `cells` was hit, against all being equally likely. */
function chiSquare(cells: readonly number[]): number {
  const expected = cells.reduce((sum, cell) => sum + cell, 0) / cells.length;
  return cells.reduce((sum, cell) => sum + (cell - expected) ** 2 / expected, 0);
}

describe('the port pool', () => {
  test('a port is taken once, and again when it was given back', () => {
    const ports = pool();
    expect(ports.take(PROTO_TCP, 8080)).toBe(true);
    expect(ports.isTaken(PROTO_TCP, 8080)).toBe(true);
    expect(ports.take(PROTO_TCP, 8080)).toBe(false);
    ports.free(PROTO_TCP, 8080);
    expect(ports.take(PROTO_TCP, 8080)).toBe(true);
  });

  test('protocols have ports of their own; ICMP and ICMPv6 never meet on one address and share one', () => {
    const ports = pool();
    ports.take(PROTO_TCP, 53);
    expect([ports.count(PROTO_TCP), ports.count(PROTO_UDP), ports.count(PROTO_ICMP)]).toEqual([1, 0, 0]);
    ports.take(PROTO_ICMPV6, 7);
    expect(ports.isTaken(PROTO_ICMP, 7)).toBe(true);
  });

  test('giving back what is not taken changes nothing', () => {
    const ports = pool();
    ports.free(PROTO_UDP, 53);
    expect(ports.count(PROTO_UDP)).toBe(0);
    expect(ports.available(PROTO_UDP, 53)).toBe(512);
  });

  test('RFC 6335 §6: port 0 is none, but identifier 0 is one', () => {
    const ports = pool();
    expect(ports.take(PROTO_TCP, 0)).toBe(false);
    ports.free(PROTO_TCP, 0);
    expect(ports.take(PROTO_TCP, 0)).toBe(false);
    expect(ports.count(PROTO_TCP)).toBe(0);
    expect(ports.take(PROTO_ICMP, 0)).toBe(true);
    ports.free(PROTO_ICMP, 0);
    expect(ports.take(PROTO_ICMP, 0)).toBe(true);
  });

  test('other protocols have no ports', () => {
    expect(() => pool().take(PROTO_GRE, 1)).toThrow(RangeError);
    expect([PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6, PROTO_GRE].map(hasPorts)).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  test.each([
    ['TCP, well-known', PROTO_TCP, 22, 1, 1023, 1],
    ['TCP, the others', PROTO_TCP, 40_000, 1024, 65_535, 1],
    ['UDP, well-known and odd', PROTO_UDP, 53, 1, 1023, 2],
    ['UDP, well-known and even', PROTO_UDP, 68, 2, 1022, 2],
    ['UDP, odd', PROTO_UDP, 1025, 1025, 65_535, 2],
    ['UDP, even', PROTO_UDP, 1024, 1024, 65_534, 2],
    ['ICMP', PROTO_ICMP, 500, 0, 65_535, 1],
  ])(
    'RFC 4787 REQ-3 a, REQ-4: %s: all of the class, each once, then none',
    (_, protocol, inside, from, to, step) => {
      const ports = pool();
      const all = Array.from({ length: (to - from) / step + 1 }, (_, i) => from + i * step);
      expect(ports.available(protocol, inside)).toBe(all.length);
      const got = drain(ports, protocol, inside);
      expect(got.toSorted((a, b) => a - b)).toEqual(all);
      expect(ports.available(protocol, inside)).toBe(0);
      // Nothing is reused, and no other class or parity stands in.
      expect(ports.allocate(protocol, inside, new Random(2))).toBe(-1);
      expect(ports.count(protocol)).toBe(all.length);
      const back = got[got.length >> 1]!;
      ports.free(protocol, back);
      expect(ports.allocate(protocol, inside, new Random(3))).toBe(back);
    },
  );

  test.each([
    ['an empty', 0],
    ['a crowded', 0.93],
  ])('RFC 7857 §9: in %s pool every free port is equally likely', (_, crowded) => {
    const ports = pool();
    const random = new Random(11);
    for (let port = 1024; port < 65_536; port++) if (random.chance(crowded)) ports.take(PROTO_TCP, port);
    // A long run of taken ports must not make the one behind it likelier.
    for (let port = 20_000; port < 30_000; port++) ports.take(PROTO_TCP, port);
    const free: number[] = [];
    for (let port = 1024; port < 65_536; port++) if (!ports.isTaken(PROTO_TCP, port)) free.push(port);
    const cells = new Array<number>(64).fill(0);
    const rank = new Map(free.map((port, i) => [port, Math.floor((i * 64) / free.length)]));
    for (let i = 0; i < 64_000; i++) {
      const port = ports.allocate(PROTO_TCP, 5000, random);
      cells[rank.get(port)!]!++;
      ports.free(PROTO_TCP, port);
    }
    // 63 degrees of freedom: above 103.4 once in a thousand, below 34.9 likewise.
    expect(chiSquare(cells)).toBeLessThan(103.4);
    expect(chiSquare(cells)).toBeGreaterThan(34.9);
  });

  test('RFC 6056: ports that follow each other have nothing to do with each other', () => {
    const ports = pool();
    const random = new Random(5);
    const steps = new Array<number>(64).fill(0);
    let before = ports.allocate(PROTO_TCP, 5000, random);
    for (let i = 0; i < 20_000; i++) {
      const port = ports.allocate(PROTO_TCP, 5000, random);
      ports.free(PROTO_TCP, before);
      steps[Math.floor((((port - before + 64_512) % 64_512) * 64) / 64_512)]!++;
      before = port;
    }
    expect(chiSquare(steps)).toBeLessThan(103.4);
  });

  test('who knows the generator but not the key knows no port', () => {
    const [one, other] = [new PortPool([1, 2]), new PortPool([1, 3])];
    const [a, b] = [new Random(1), new Random(1)];
    let same = 0;
    for (let i = 0; i < 1000; i++)
      if (one.allocate(PROTO_TCP, 5000, a) === other.allocate(PROTO_TCP, 5000, b)) same++;
    expect(same).toBeLessThan(10);
  });

  test('is a set of ports, whatever happens to it', () => {
    const protocol = fc.constantFrom(PROTO_TCP, PROTO_UDP, PROTO_ICMP);
    // Few ports, so that they meet, around the bounds of classes, words and blocks.
    const port = fc.constantFrom(0, 1, 2, 31, 32, 1022, 1023, 1024, 1025, 2047, 2048, 65_534, 65_535);
    const step = fc.oneof(
      fc.record({ do: fc.constant('take' as const), protocol, port }),
      fc.record({ do: fc.constant('free' as const), protocol, port }),
      fc.record({ do: fc.constant('allocate' as const), protocol, port }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer(), (steps, seed) => {
        const ports = pool();
        const random = new Random(seed);
        const model = new Set<string>();
        for (const { do: what, protocol, port } of steps) {
          const name = (port: number) => `${protocol} ${port}`;
          if (what === 'take') {
            const free = !model.has(name(port)) && (port !== 0 || protocol === PROTO_ICMP);
            expect(ports.take(protocol, port)).toBe(free);
            if (free) model.add(name(port));
          } else if (what === 'free') {
            ports.free(protocol, port);
            model.delete(name(port));
          } else {
            const got = ports.allocate(protocol, port, random);
            expect(model.has(name(got))).toBe(false);
            if (protocol !== PROTO_ICMP) {
              expect(got < 1024).toBe(port < 1024);
              expect(got).toBeGreaterThan(0);
            }
            if (protocol === PROTO_UDP) expect(got & 1).toBe(port & 1);
            model.add(name(got));
          }
          const count = [...model].filter((entry) => entry.startsWith(`${protocol} `)).length;
          expect(ports.count(protocol)).toBe(count);
        }
      }),
    );
  });
});
