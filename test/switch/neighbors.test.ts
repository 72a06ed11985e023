import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bridge } from '../../switch/bridge.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { Fdb } from '../../switch/fdb.ts';
import { Fragmenter } from '../../switch/fragmenter.ts';
import { Arena } from '../../switch/frame.ts';
import { Icmp } from '../../switch/icmp.ts';
import { Icmpv6 } from '../../switch/icmpv6.ts';
import { Heard, Neighbors, type NeighborsOptions } from '../../switch/neighbors.ts';
import { Network } from '../../switch/network.ts';
import { Originator } from '../../switch/originator.ts';
import { Outbox, Provenance } from '../../switch/outbox.ts';
import { PortKind, Ports } from '../../switch/ports.ts';
import { RateLimit } from '../../switch/rate-limit.ts';
import { drop, forward, HOLD, VerdictKind, verdictKind } from '../../switch/verdict.ts';
import { writeEthernet } from '../../wire/ethernet.ts';
import { writeIpv4 } from '../../wire/ipv4.ts';
import { parse } from '../../wire/parse.ts';
import { Random } from '../../wire/random.ts';

const HOST = 0x0a000000;
const MAC_HI = 0x0242;

/** A table by itself: one network 10.0.0.1/8 with three ports, and an outbox that is emptied by hand. */
function bed(options?: NeighborsOptions) {
  const arena = new Arena({ small: 1024, big: 8 });
  const ports = new Ports(16);
  const fdb = new Fdb(ports, [3, 4], 4096);
  const bridge = new Bridge(0, ports, fdb);
  const gateway = ports.add(0, PortKind.GATEWAY);
  bridge.gateway = gateway;
  fdb.addStatic(0, MAC_HI, HOST | 1, gateway);
  const devices = [0, 1, 2].map(() => {
    const port = ports.add(0, PortKind.DEVICE);
    bridge.add(port);
    return port;
  });
  const network = new Network(0, bridge, gateway, {
    macHi: MAC_HI,
    macLo: HOST | 1,
    ipv4: { address: HOST | 1, prefix: 8 },
    ipv6: { address: [0xfd000000 | 0, 0, 0, 1], prefix: 64 },
    mtu: 1500,
  });
  const random = new Random(1);
  const originator = new Originator(arena, new Outbox());
  const fragmenter = new Fragmenter(originator, random);
  const limit = new RateLimit(random);
  const neighbors = new Neighbors(
    originator,
    new Icmp(originator, fragmenter, limit),
    new Icmpv6(originator, fragmenter, limit),
    random,
    options,
  );
  /** Sends a packet from a port to a next hop; gives the frame back as the edge does. */
  const output = (hop: number, port: number, now: number) => {
    const frame = arena.allocate(34)!;
    const l3 = writeEthernet(frame.bytes, frame.at, MAC_HI, HOST | 1, MAC_HI, 77, 0x0800);
    writeIpv4(frame.bytes, l3, 20, 200, 64, HOST | 9, hop);
    frame.bytes.fill(0, frame.at - 12, frame.at);
    frame.ingress = devices[port];
    parse(frame);
    const verdict = neighbors.outputIpv4(frame, network, network, hop, now);
    arena.release(frame);
    return verdict;
  };
  /** What left through the outbox, by provenance. */
  const drain = () => {
    const left = { originated: 0, resumed: 0, dropped: 0 };
    for (let frame = originator.outbox.shift(); frame; frame = originator.outbox.shift()) {
      if (originator.outbox.provenance === Provenance.ORIGINATED) left.originated++;
      else if (verdictKind(frame.verdict) === VerdictKind.DROP) left.dropped++;
      else left.resumed++;
      arena.release(frame);
    }
    return left;
  };
  return { arena, fdb, network, neighbors, devices, output, drain, originator };
}

/** Milliseconds for a test that does much, on a machine that has other things to do. */
const PATIENCE = 60_000;

describe('neighbors', () => {
  test('what is refused, and when', () => {
    const { output, drain, neighbors } = bed();
    for (let i = 0; i < 32; i++) expect(output(HOST | 2, 0, 0)).toBe(HOLD);
    expect(output(HOST | 2, 0, 0)).toBe(drop(DropReason.NEIGH_QUEUEFULL));
    for (let host = 3; host < 66; host++) expect(output(HOST | host, 0, 0)).toBe(HOLD);
    expect(output(HOST | 66, 0, 0)).toBe(drop(DropReason.NEIGH_TABLE_FULL));
    expect(output(HOST | 66, 1, 0), 'another port').toBe(HOLD);
    expect(neighbors.size).toBe(65);
    expect(drain()).toEqual({ originated: 65, resumed: 0, dropped: 0 });
  });

  test('who has many frames wait leaves three places to every other neighbor', () => {
    const { output } = bed();
    // The common room of 512 is full.
    for (let host = 2; host < 20; host++) for (let i = 0; i < 32; i++) output(HOST | host, 0, 0);
    const verdicts = Array.from({ length: 4 }, () => output(HOST | 66, 1, 0));
    expect(verdicts).toEqual([HOLD, HOLD, HOLD, drop(DropReason.NEIGH_QUEUEFULL)]);
  });

  test('the table has a limit per network, which makes room of what failed', () => {
    const { output, drain, neighbors } = bed({ networkLimit: 16 });
    for (let host = 2; host < 18; host++) expect(output(HOST | host, 0, 0)).toBe(HOLD);
    expect(output(HOST | 18, 0, 0), 'all are being asked').toBe(drop(DropReason.NEIGH_TABLE_FULL));
    for (const now of [1000, 2000, 3000]) neighbors.expire(now);
    expect(drain()).toEqual({ originated: 16 * 3 + 6, resumed: 0, dropped: 16 });
    expect(neighbors.list(3000).every(({ state }) => state === 'FAILED')).toBe(true);
    expect(output(HOST | 18, 0, 3000)).toBe(HOLD);
    expect(neighbors.size).toBe(16);
  });

  test('an entry in use is not driven out, one that was not used for a minute is', () => {
    const { output, neighbors, network, devices } = bed({ networkLimit: 2 });
    neighbors.hearIpv4(network, HOST | 2, MAC_HI, 2, devices[1], true, 0);
    neighbors.hearIpv4(network, HOST | 3, MAC_HI, 3, devices[1], true, 0);
    output(HOST | 2, 0, 0);
    output(HOST | 3, 0, 0);
    neighbors.answerIpv4(network, HOST | 2, MAC_HI, 2, devices[1], 10);
    neighbors.answerIpv4(network, HOST | 3, MAC_HI, 3, devices[1], 10);
    expect(output(HOST | 4, 0, 50_000)).toBe(drop(DropReason.NEIGH_TABLE_FULL));
    output(HOST | 2, 0, 59_000);
    neighbors.answerIpv4(network, HOST | 2, MAC_HI, 2, devices[1], 59_000);
    expect(output(HOST | 4, 0, 61_000)).toBe(HOLD);
    expect(
      neighbors
        .list(61_000)
        .map(({ address }) => address[0] & 0xff)
        .sort(),
    ).toEqual([2, 4]);
  });

  test('a flood of requests to the gateway makes no more entries than the limit', () => {
    const { neighbors, network, devices } = bed({ networkLimit: 64 });
    for (let host = 2; host < 5000; host++) {
      const heard = neighbors.hearIpv4(network, HOST | host, MAC_HI, 9, devices[0], true, host);
      expect([Heard.OK, Heard.UNKNOWN]).toContain(heard);
    }
    expect(neighbors.size).toBe(64);
  });

  test('permanent entries are no part of the limit, and the table grows for them', () => {
    const { neighbors, network, output, devices, fdb } = bed({ capacity: 16, networkLimit: 16 });
    for (let host = 2; host < 2000; host++) {
      neighbors.addPermanent(network, [HOST | host], MAC_HI, host, 0);
      neighbors.addPermanent(network, [0xfd000000 | 0, 0, 0, host], MAC_HI, host, 0);
      fdb.addStatic(0, MAC_HI, host, devices[1]);
    }
    expect(neighbors.size).toBe(2 * 1998);
    for (let host = 2; host < 2000; host++) expect(output(HOST | host, 0, 0)).toBe(forward(devices[1]));
    for (let host = 0; host < 16; host++) expect(output(HOST | (0x10000 + host), 0, 0)).toBe(HOLD);
    for (let host = 2; host < 2000; host++) neighbors.remove(network, [HOST | host]);
    expect(neighbors.size).toBe(1998 + 16);
    expect(neighbors.list(0).filter(({ family }) => family === 6)).toHaveLength(1998);
  });

  test('an idle table has nothing to do', () => {
    const { neighbors, output, network, devices, drain } = bed();
    expect(neighbors.deadline).toBe(Number.POSITIVE_INFINITY);
    output(HOST | 2, 0, 0);
    expect(neighbors.deadline).toBe(1000);
    neighbors.answerIpv4(network, HOST | 2, MAC_HI, 2, devices[1], 500);
    neighbors.expire(1000);
    expect(neighbors.deadline).toBe(Number.POSITIVE_INFINITY);
    expect(drain()).toEqual({ originated: 1, resumed: 1, dropped: 0 });
  });

  test(
    'whatever happens: bounded, no frame lost, no reference kept',
    () => {
      const step = fc.record({
        what: fc.constantFrom(
          'output',
          'answer',
          'hear',
          'announce',
          'permanent',
          'remove',
          'wait',
          'network',
        ),
        host: fc.integer({ min: 2, max: 12 }),
        mac: fc.integer({ min: 2, max: 6 }),
        port: fc.integer({ min: 0, max: 2 }),
        wait: fc.integer({ min: 0, max: 7000 }),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
          const { neighbors, network, devices, output, drain, arena, fdb } = bed({
            capacity: 8,
            networkLimit: 8,
          });
          let now = 0;
          let held = 0;
          let permanent = 0;
          for (const { what, host, mac, port, wait } of steps) {
            const address = HOST | host;
            if (what === 'output' && output(address, port, now) === HOLD) held++;
            if (what === 'answer') neighbors.answerIpv4(network, address, MAC_HI, mac, devices[port], now);
            if (what === 'hear') neighbors.hearIpv4(network, address, MAC_HI, mac, devices[port], true, now);
            if (what === 'announce')
              neighbors.hearIpv4(network, address, MAC_HI, mac, devices[port], false, now);
            if (what === 'permanent') neighbors.addPermanent(network, [address], MAC_HI, mac, now);
            if (what === 'remove') neighbors.remove(network, [address]);
            if (what === 'network' && wait < 700) neighbors.removeNetwork(0);
            if (what === 'wait') {
              now += wait;
              if (now >= neighbors.deadline) neighbors.expire(now);
              fdb.learn(0, MAC_HI, mac, devices[port], now);
            }
            const left = drain();
            held -= left.resumed + left.dropped;
            const entries = neighbors.list(now);
            permanent = entries.filter(({ state }) => state === 'PERMANENT').length;
            expect(entries).toHaveLength(neighbors.size);
            expect(neighbors.size - permanent).toBeLessThanOrEqual(8);
            expect(new Set(entries.map((entry) => entry.address[0])).size).toBe(entries.length);
            expect(arena.frames.length - arena.free, 'held frames are all that is taken').toBe(held);
          }
          for (let i = 0; i < 8; i++) {
            now += 5000;
            neighbors.expire(now);
          }
          const left = drain();
          expect(left.resumed + left.dropped).toBe(held);
          expect(arena.free).toBe(arena.frames.length);
          expect(neighbors.deadline).toBe(Number.POSITIVE_INFINITY);
        }),
        { numRuns: 300 },
      );
    },
    PATIENCE,
  );
});
