import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAPPING_FULL, Mappings, NO_EXTERNAL_ADDRESS, PORTS_EXHAUSTED } from '../../nat/mappings.ts';
import { Peers } from '../../nat/peers.ts';
import { IPV4_MAPPED, portsWord, TUPLE_WORDS, tupleKind } from '../../nat/tuple.ts';
import { PROTO_GRE, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP } from '../../wire/protocol.ts';
import { Random } from '../../wire/random.ts';

const NETWORK = 3;
const UPLINK = 9;
const v4 = (address: number) => [0, 0, IPV4_MAPPED, address | 0];
const C1 = v4(0xac110002);
const C2 = v4(0xac110003);
const EXTERNAL = v4(0xcb007101);
const REMOTE = v4(0xc6336401);

function mappings({ capacity = 1000, addresses = [EXTERNAL], seed = 1, share = 8 } = {}) {
  const table = new Mappings({ capacity, key: [1, 2], random: new Random(seed), share });
  const indices = addresses.map((words) => table.addAddress(UPLINK, words));
  return { table, address: indices[0]!, indices };
}

interface Endpoint {
  host?: readonly number[];
  port?: number;
  protocol?: number;
  zone?: number;
  remote?: readonly number[];
  remotePort?: number;
  isIpv6?: boolean;
}

/** A tuple that is not at the beginning of its words. */
const AT = 1;
function from({
  host = C1,
  port = 5000,
  protocol = PROTO_UDP,
  zone = NETWORK,
  remote = REMOTE,
  remotePort = 53,
  isIpv6 = false,
}: Endpoint = {}): Int32Array {
  const words = new Int32Array(TUPLE_WORDS + 2);
  words.set([...host, ...remote, portsWord(port, remotePort), tupleKind(protocol, isIpv6, zone)], AT);
  return words;
}

/** Maps and retains, as a flow does. */
function map(table: Mappings, endpoint: Endpoint = {}, uplink = UPLINK): number {
  const row = table.map(from(endpoint), AT, uplink);
  if (row >= 0) table.retain(row);
  return row;
}

/** What the mapping looks up as from outside, on its uplink. */
function find(
  table: Mappings,
  port: number,
  { host = EXTERNAL, protocol = PROTO_UDP, isIpv6 = false, uplink = UPLINK } = {},
) {
  const words = from({
    host: REMOTE,
    port: 53,
    remote: host,
    remotePort: port,
    protocol,
    isIpv6,
    zone: uplink,
  });
  return table.findExternal(words, AT, uplink);
}

function external(table: Mappings, row: number): number[] {
  const words = new Int32Array(6);
  table.copyExternal(row, words, 1);
  return [...words.subarray(1, 5)];
}

describe('mappings', () => {
  test('RFC 4787 REQ-1: one mapping for an endpoint, whomever it speaks to', () => {
    const { table, address } = mappings();
    const row = map(table);
    expect(map(table, { remotePort: 54 })).toBe(row);
    expect(map(table, { remote: v4(7), remotePort: 1 })).toBe(row);
    expect(table.size).toBe(1);
    expect(external(table, row)).toEqual(EXTERNAL);
    expect(table.address(row)).toBe(address);
    expect(table.pool(address).isTaken(PROTO_UDP, table.externalPort(row))).toBe(true);
    expect([table.insidePort(row), table.insideZone(row), table.uplink(row)]).toEqual([
      5000,
      NETWORK,
      UPLINK,
    ]);
    const inside = new Int32Array(4);
    table.copyInside(row, inside, 0);
    expect([...inside]).toEqual(C1);
  });

  test('RFC 4787 REQ-3: endpoints differ by host, port, protocol, zone and uplink, and so do their ports', () => {
    const { table } = mappings();
    table.addAddress(UPLINK + 1, EXTERNAL);
    const rows = [
      map(table),
      map(table, { host: C2 }),
      map(table, { port: 5002 }),
      map(table, { zone: NETWORK + 1 }),
    ];
    const others = [map(table, { protocol: PROTO_TCP }), map(table, {}, UPLINK + 1)];
    expect(new Set([...rows, ...others]).size).toBe(6);
    expect(new Set(rows.map((row) => table.externalPort(row))).size).toBe(4);
  });

  test('class and parity of the port are kept', () => {
    const { table } = mappings();
    for (const port of [1, 53, 1022, 1023, 1024, 1025, 40_000, 65_535]) {
      const udp = table.externalPort(map(table, { port }));
      expect([udp < 1024, udp & 1]).toEqual([port < 1024, port & 1]);
      expect(table.externalPort(map(table, { port, protocol: PROTO_TCP })) < 1024).toBe(port < 1024);
    }
  });

  test('an external port leads to its mapping, on its own uplink only', () => {
    const { table } = mappings();
    const row = map(table);
    const port = table.externalPort(row);
    expect(find(table, port)).toBe(row);
    expect(find(table, port ^ 2)).toBe(-1);
    expect(find(table, port, { protocol: PROTO_TCP })).toBe(-1);
    expect(find(table, port, { host: v4(1) })).toBe(-1);
    expect(find(table, port, { uplink: UPLINK + 1 })).toBe(-1);
  });

  test('ICMP: the identifier is mapped, IPv4 and IPv6 apart; an echo request leads to nobody', () => {
    const v6 = [0x20010db8, 0, 0, 1];
    const { table } = mappings({ addresses: [EXTERNAL, v6] });
    const four = map(table, { protocol: PROTO_ICMP, port: 7, remotePort: 8 });
    const timestamp = map(table, { protocol: PROTO_ICMP, port: 7, remotePort: 13 });
    const six = map(table, {
      protocol: PROTO_ICMPV6,
      port: 7,
      remotePort: 128,
      host: [1, 2, 3, 4],
      isIpv6: true,
    });
    expect(timestamp).toBe(four);
    expect(external(table, six)).toEqual(v6);
    for (let id = 0; id < 256; id++) expect(find(table, id, { protocol: PROTO_ICMP })).toBe(-1);
  });

  test('an uplink without an address of the IP version maps nothing', () => {
    const { table } = mappings();
    expect(map(table, { host: [1, 2, 3, 4], isIpv6: true })).toBe(NO_EXTERNAL_ADDRESS);
    expect(map(table, {}, UPLINK + 1)).toBe(NO_EXTERNAL_ADDRESS);
    expect(table.size).toBe(0);
  });

  test('protocols without ports share the address; from outside it leads to one endpoint alone', () => {
    const { table, address } = mappings();
    const gre = { protocol: PROTO_GRE, port: 0, remotePort: 0 };
    const one = map(table, gre);
    expect(table.externalPort(one)).toBe(0);
    expect(find(table, 0, { protocol: PROTO_GRE })).toBe(one);
    const other = map(table, { ...gre, host: C2 });
    expect(other).not.toBe(one);
    expect(find(table, 0, { protocol: PROTO_GRE })).toBe(-1);
    table.release(one);
    expect(find(table, 0, { protocol: PROTO_GRE })).toBe(other);
    table.release(other);
    expect(find(table, 0, { protocol: PROTO_GRE })).toBe(-1);
    expect(table.pool(address).count(PROTO_UDP)).toBe(0);
  });

  test('lives while a flow holds it, then its port is free and it is made anew', () => {
    const { table, address } = mappings();
    const row = map(table);
    map(table);
    const port = table.externalPort(row);
    table.release(row);
    expect([table.isLive(row), find(table, port)]).toEqual([true, row]);
    table.release(row);
    expect([table.isLive(row), find(table, port), table.size]).toEqual([false, -1, 0]);
    expect(table.pool(address).count(PROTO_UDP)).toBe(0);
    expect(map(table)).toBe(row);
  });

  test('what nothing came of is given up by a release', () => {
    const { table, address } = mappings();
    const row = table.map(from(), AT, UPLINK);
    table.retain(row);
    table.release(row);
    expect([table.size, table.pool(address).count(PROTO_UDP)]).toEqual([0, 0]);
  });

  test('is bounded', () => {
    const { table } = mappings({ capacity: 3 });
    const rows = [1024, 1025, 1026].map((port) => map(table, { port }));
    expect(rows.every((row) => row >= 0)).toBe(true);
    expect(map(table, { port: 1027 })).toBe(MAPPING_FULL);
    expect(map(table, { port: 1025 })).toBe(rows[1]);
    table.release(rows[0]!);
    expect(map(table, { port: 1027 })).toBeGreaterThanOrEqual(0);
  });

  test('RFC 4787 REQ-3, RFC 7857 §4: no port left means no mapping, neither a shared port nor another address', () => {
    const { table, indices } = mappings({ capacity: 5000, addresses: [EXTERNAL, v4(0xcb007102)] });
    const rows: number[] = [];
    const home = table.address(map(table, { port: 20 }));
    for (const index of indices) expect(table.claim(index, PROTO_UDP, 1024, 65_533)).toBe(-1);
    for (let port = 1024; rows.length < 1; port += 2) rows.push(map(table, { port }));
    expect(table.externalPort(rows[0]!)).toBe(65_534);
    expect(table.address(rows[0]!)).toBe(home);
    expect(map(table, { port: 2000 })).toBe(PORTS_EXHAUSTED);
    // The other parity and class, and the mapping that is there, are not concerned.
    expect(table.externalPort(map(table, { port: 2001 }))).toBe(65_535);
    expect(map(table, { port: 1024 })).toBe(rows[0]);
    expect(map(table, { port: 22 })).toBeGreaterThanOrEqual(0);
    table.release(rows[0]!);
    table.release(rows[0]!);
    expect(table.externalPort(map(table, { port: 2000 }))).toBe(65_534);
  });

  test('RFC 4787 REQ-2: a host keeps to one address, and hosts spread over the pool', () => {
    const addresses = [0, 1, 2, 3].map((i) => v4(0xcb007101 + i));
    const { table } = mappings({ capacity: 10_000, addresses });
    const counts = new Array<number>(4).fill(0);
    for (let i = 0; i < 400; i++) {
      const host = v4(0xac110100 + i);
      const used = [1024, 1025, 80, 30_000].flatMap((port) =>
        [PROTO_UDP, PROTO_TCP, PROTO_ICMP, PROTO_GRE].map((protocol) =>
          table.address(map(table, { host, port: protocol === PROTO_GRE ? 0 : port, protocol })),
        ),
      );
      expect(new Set(used).size).toBe(1);
      counts[used[0]!]!++;
    }
    for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(40);
  });

  test('RFC 6888 REQ-4: one host cannot have all ports; what it leaves is enough for the others', () => {
    const { table, address } = mappings({ capacity: 70_000 });
    const take = (host: readonly number[], protocol: number) => {
      let count = 0;
      // Odd ones, as UDP keeps parity.
      for (let port = 1025; port < 65_536; port += 2) if (map(table, { host, port, protocol }) >= 0) count++;
      return count;
    };
    expect(take(C1, PROTO_UDP)).toBe(28_672); // 8/9 of the 32,256 odd ones
    expect(map(table, { port: 1 })).toBeGreaterThanOrEqual(0);
    expect(map(table, { port: 1024 })).toBeGreaterThanOrEqual(0);
    expect(take(C2, PROTO_UDP)).toBe(3186);
    expect(take(v4(7), PROTO_UDP)).toBe(354);
    expect(table.pool(address).available(PROTO_UDP, 1025)).toBe(44);
    expect(map(table, { host: v4(8), port: 1025 })).toBeGreaterThanOrEqual(0);
    // The share counts what a host has now: less for whom it has, more for the others.
    const row = map(table, { port: 1025 });
    for (const _ of [1, 2]) table.release(row);
    expect(map(table, { port: 1025 })).toBe(PORTS_EXHAUSTED);
    expect(table.pool(address).available(PROTO_UDP, 1025)).toBe(44);
    expect(take(C1, PROTO_TCP)).toBe(32_256);
  });

  test('a host keeps to its address when others are added, and is free to choose when it has no mapping', () => {
    const { table, address } = mappings();
    const hosts = Array.from({ length: 20 }, (_, i) => v4(0xac110100 + i));
    const rows = hosts.map((host) => map(table, { host }));
    const added = [2, 3, 4].map((i) => table.addAddress(UPLINK, v4(0xcb007100 + i)));
    rows.push(...hosts.map((host) => map(table, { host, port: 7000 })));
    expect(rows.every((row) => table.address(row) === address)).toBe(true);
    for (const row of rows) table.release(row);
    expect(table.size).toBe(0);
    const spread = hosts.map((host) => table.address(map(table, { host })));
    expect(spread.filter((index) => added.includes(index)).length).toBeGreaterThan(8);
  });

  test('an address is added to an uplink once, and has one pool', () => {
    const { table, address } = mappings();
    expect(table.addAddress(UPLINK, EXTERNAL)).toBe(address);
    expect(table.addAddress(UPLINK + 1, EXTERNAL)).not.toBe(address);
    expect(table.pool(address)).toBe(table.pool(table.addAddress(UPLINK, EXTERNAL)));
  });

  test('a removed uplink maps nothing and is found by nothing; its flows end as they will', () => {
    const { table, address } = mappings();
    const row = map(table);
    const port = table.externalPort(row);
    table.retire(address, PROTO_TCP, 1);
    table.removeUplink(UPLINK);
    table.removeUplink(UPLINK);
    expect([find(table, port), map(table)]).toEqual([-1, NO_EXTERNAL_ADDRESS]);
    expect(external(table, row)).toEqual(EXTERNAL);
    // The address is not forgotten while a flow has it, and its place is taken again when none has.
    const next = table.addAddress(UPLINK, v4(1));
    expect(next).not.toBe(address);
    expect(external(table, row)).toEqual(EXTERNAL);
    table.release(row);
    expect(table.size).toBe(0);
    expect(table.addAddress(UPLINK + 1, v4(2))).toBe(address);
    expect(table.pool(address).count(PROTO_UDP)).toBe(0);
  });
});

describe('ports of publishes', () => {
  test('a claimed port is never given to a mapping', () => {
    const { table, address } = mappings({ share: Number.POSITIVE_INFINITY });
    expect(table.claim(address, PROTO_TCP, 1, 1000)).toBe(-1);
    for (let i = 0; i < 23; i++)
      expect(table.externalPort(map(table, { protocol: PROTO_TCP, port: i + 1 }))).toBeGreaterThan(1000);
    expect(map(table, { protocol: PROTO_TCP, port: 500 })).toBe(PORTS_EXHAUSTED);
    table.unclaim(address, PROTO_TCP, 1, 1000);
    expect(map(table, { protocol: PROTO_TCP, port: 500 })).toBeGreaterThanOrEqual(0);
  });

  test('claims all or none', () => {
    const { table, address } = mappings();
    const row = map(table);
    const port = table.externalPort(row);
    table.pool(address).take(PROTO_UDP, port + 3);
    const before = table.pool(address).count(PROTO_UDP);
    expect(table.claim(address, PROTO_UDP, port - 1, port + 4)).toBe(port + 3);
    expect(table.pool(address).count(PROTO_UDP)).toBe(before);
    expect(find(table, port)).toBe(row);
  });

  test('a mapping whose port is published lives for its flows and is not found', () => {
    const { table, address } = mappings();
    const row = map(table);
    const port = table.externalPort(row);
    expect(table.claim(address, PROTO_UDP, port, port)).toBe(-1);
    expect([find(table, port), table.isLive(row), table.externalPort(row)]).toEqual([-1, true, port]);
    const again = map(table);
    expect(again).not.toBe(row);
    expect(table.externalPort(again)).not.toBe(port);
    // Its end does not free a port that is the publish's now.
    table.release(row);
    expect(table.pool(address).isTaken(PROTO_UDP, port)).toBe(true);
    table.unclaim(address, PROTO_UDP, port, port);
    expect(table.pool(address).isTaken(PROTO_UDP, port)).toBe(false);
    expect(find(table, table.externalPort(again))).toBe(again);
  });

  test('a port that flows of a retired mapping use is not free when its publish ends', () => {
    const { table, address } = mappings();
    const row = map(table);
    const port = table.externalPort(row);
    table.claim(address, PROTO_UDP, port, port);
    table.unclaim(address, PROTO_UDP, port, port);
    expect(table.pool(address).isTaken(PROTO_UDP, port)).toBe(true);
    // It can be published again, and ends with whoever is last.
    expect(table.claim(address, PROTO_UDP, port, port)).toBe(-1);
    table.unclaim(address, PROTO_UDP, port, port);
    table.release(row);
    expect(table.pool(address).isTaken(PROTO_UDP, port)).toBe(false);
    expect(table.claim(address, PROTO_UDP, port, port)).toBe(-1);
    expect(table.retire(address, PROTO_UDP, port)).toBe(false);
  });

  test('retire answers whether a mapping had the port', () => {
    const { table, address } = mappings();
    expect(table.retire(address, PROTO_UDP, 5000)).toBe(false);
    const row = map(table);
    expect(table.retire(address, PROTO_UDP, table.externalPort(row))).toBe(true);
    expect(table.retire(address, PROTO_UDP, table.externalPort(row))).toBe(false);
  });
});

describe('peers', () => {
  const words = Int32Array.from([0, ...REMOTE, ...v4(9), 1, 2, 3, 4]);
  const [FIRST, SECOND, SIXTH] = [1, 5, 9];

  test('RFC 4787 §5: those to whom the endpoint has spoken, for as long as a flow to them lives', () => {
    const { table } = mappings();
    const [row, other] = [map(table), map(table, { host: C2 })];
    expect(table.addPeer(row, words, FIRST)).toBe(true);
    table.addPeer(row, words, FIRST);
    table.addPeer(row, words, SIXTH);
    expect([FIRST, SECOND, SIXTH].map((at) => table.hasPeer(row, words, at))).toEqual([true, false, true]);
    expect(table.hasPeer(other, words, FIRST)).toBe(false);
    table.removePeer(row, words, FIRST);
    expect(table.hasPeer(row, words, FIRST)).toBe(true);
    table.removePeer(row, words, FIRST);
    expect(table.hasPeer(row, words, FIRST)).toBe(false);
    expect(table.hasPeer(row, words, SIXTH)).toBe(true);
  });

  test('are bounded, and counted as a multiset would', () => {
    const step = fc.record({
      add: fc.boolean(),
      owner: fc.integer({ min: 0, max: 3 }),
      address: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const peers = new Peers([1, 2], 12);
        const model = new Map<string, number>();
        for (const { add, owner, address } of steps) {
          const words = Int32Array.of(7, 0, 0, address >> 1, address & 1);
          const name = `${owner} ${address}`;
          const count = model.get(name) ?? 0;
          if (add) {
            const room = count > 0 || model.size < 12;
            expect(peers.add(owner, words, 1)).toBe(room);
            if (room) model.set(name, count + 1);
          } else {
            peers.remove(owner, words, 1);
            if (count > 1) model.set(name, count - 1);
            else model.delete(name);
          }
          expect(peers.size).toBe(model.size);
        }
        for (let owner = 0; owner < 4; owner++)
          for (let address = 0; address < 6; address++) {
            const words = Int32Array.of(0, 0, address >> 1, address & 1);
            expect(peers.has(owner, words, 0)).toBe(model.has(`${owner} ${address}`));
          }
      }),
    );
  });
});

describe('mappings as a model has them', () => {
  const POOL = [EXTERNAL, v4(0xcb007102)];
  const endpoint = fc.record({
    host: fc.constantFrom(C1, C2, v4(5)),
    port: fc.integer({ min: 1020, max: 1027 }),
    protocol: fc.constantFrom(PROTO_UDP, PROTO_TCP, PROTO_ICMP),
    zone: fc.constantFrom(NETWORK, NETWORK + 1),
  });
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('map' as const), endpoint }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), nth: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('publish' as const), nth: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('unpublish' as const), nth: fc.nat(1000) }) },
  );

  test('no port twice at one time, one mapping per endpoint, nothing left at the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer(), (steps, seed) => {
        const { table, indices } = mappings({ capacity: 24, addresses: POOL, seed });
        /** Mappings by row, with the flows that hold them. */
        const live = new Map<number, { key: string; port: string; flows: number; retired: boolean }>();
        /** Publishes: address, protocol and port. */
        const published: { name: string; address: number; protocol: number; port: number }[] = [];
        for (const one of steps) {
          if (one.do === 'map') {
            const key = JSON.stringify(one.endpoint);
            const known = [...live].find(([, it]) => it.key === key && !it.retired);
            const row = map(table, one.endpoint);
            if (known) {
              expect(row).toBe(known[0]);
              known[1].flows++;
            } else if (live.size === 24) expect(row).toBe(MAPPING_FULL);
            else {
              expect(live.has(row)).toBe(false);
              const port = `${table.address(row)} ${one.endpoint.protocol} ${table.externalPort(row)}`;
              for (const other of live.values()) expect(other.port).not.toBe(port);
              expect(published.some(({ name }) => name === port)).toBe(false);
              live.set(row, { key, port, flows: 1, retired: false });
            }
          } else if (one.do === 'release') {
            const chosen = [...live][one.nth % (live.size || 1)];
            if (!chosen) continue;
            const [row, it] = chosen;
            table.release(row);
            if (--it.flows === 0) live.delete(row);
            expect(table.isLive(row)).toBe(it.flows > 0);
          } else if (one.do === 'publish') {
            // Ports of mappings, so that publishes and mappings meet.
            const chosen = [...live][one.nth % (live.size || 1)];
            if (!chosen) continue;
            const [address, protocol, port] = chosen[1].port.split(' ').map(Number) as [
              number,
              number,
              number,
            ];
            const name = chosen[1].port;
            const taken = published.some((other) => other.name === name);
            expect(table.claim(address, protocol, port, port)).toBe(taken ? port : -1);
            if (taken) continue;
            published.push({ name, address, protocol, port });
            chosen[1].retired = true;
          } else if (published.length > 0) {
            const [gone] = published.splice(one.nth % published.length, 1);
            table.unclaim(gone!.address, gone!.protocol, gone!.port, gone!.port);
          }
          expect(table.size).toBe(live.size);
          const held = new Set([
            ...published.map(({ name }) => name),
            ...[...live.values()].map(({ port }) => port),
          ]);
          const taken = indices
            .flatMap((index) =>
              [PROTO_UDP, PROTO_TCP, PROTO_ICMP].map((protocol) => table.pool(index).count(protocol)),
            )
            .reduce((sum, count) => sum + count);
          expect(taken).toBe(held.size);
        }
        for (const [row, { port, retired }] of live) {
          const [address, protocol, number] = port.split(' ').map(Number) as [number, number, number];
          if (protocol === PROTO_ICMP) continue;
          expect(find(table, number, { host: POOL[indices.indexOf(address)]!, protocol })).toBe(
            retired ? -1 : row,
          );
        }
        for (const { address, protocol, port } of published) table.unclaim(address, protocol, port, port);
        for (const [row, { flows }] of live) for (let i = 0; i < flows; i++) table.release(row);
        expect(table.size).toBe(0);
        for (const index of indices)
          for (const protocol of [PROTO_UDP, PROTO_TCP, PROTO_ICMP])
            expect(table.pool(index).count(protocol)).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
