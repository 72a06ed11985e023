import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bridge } from '../../switch/bridge.ts';
import { DropReason } from '../../switch/drop-reason.ts';
import { Fdb } from '../../switch/fdb.ts';
import { Arena, type PortId } from '../../switch/frame.ts';
import { PortKind, type PortOptions, Ports } from '../../switch/ports.ts';
import { drop, flood, forward, VerdictKind, verdictArgument, verdictKind } from '../../switch/verdict.ts';
import { parseMac } from '../../wire/address.ts';
import { writeEthernet } from '../../wire/ethernet.ts';

const A = '02:42:0a:00:00:0a';
const B = '02:42:0a:00:00:0b';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';

function bed(options: PortOptions[] = [{}, {}, {}]) {
  const arena = new Arena({ small: 4, big: 0 });
  const ports = new Ports(16);
  const fdb = new Fdb(ports, [3, 4], 256);
  const bridge = new Bridge(5, ports, fdb);
  const gateway = ports.add(5, PortKind.GATEWAY);
  bridge.gateway = gateway;
  const gatewayMac = parseMac('02:42:0a:00:00:01')!;
  fdb.addStatic(5, gatewayMac.hi, gatewayMac.lo, gateway);
  const ids = options.map((each) => {
    const port = ports.add(5, PortKind.DEVICE, each);
    bridge.add(port);
    return port;
  });
  /** The verdict on a 60-byte frame from `source` to `destination` that comes in by `port`. */
  const ingress = (port: PortId, source: string, destination: string, now = 0) => {
    const frame = arena.allocate(60)!;
    const [from, to] = [parseMac(source)!, parseMac(destination)!];
    frame.bytes.fill(0, frame.at, frame.at + 60);
    writeEthernet(frame.bytes, frame.at, to.hi, to.lo, from.hi, from.lo, 0x88b5);
    frame.ingress = port;
    const before = frame.bytes.slice(frame.at, frame.at + 60);
    const verdict = bridge.ingress(frame, now);
    expect(frame.bytes.slice(frame.at, frame.at + 60), 'BR-8: the frame is untouched').toEqual(before);
    arena.release(frame);
    return verdict;
  };
  return { ports, fdb, bridge, ids, ingress, gateway };
}

describe('bridge', () => {
  test('BR-2: unknown unicast, broadcast and multicast are flooded', () => {
    const { ingress, ids } = bed();
    for (const to of [B, BROADCAST, '01:00:5e:00:00:fb', '33:33:00:00:00:01']) {
      expect(ingress(ids[0]!, A, to)).toBe(flood(5));
    }
  });

  test('BR-3: known unicast goes to its port alone, and nowhere when that is where it came from', () => {
    const { ingress, ids } = bed();
    ingress(ids[1]!, B, BROADCAST);
    expect(ingress(ids[0]!, A, B)).toBe(forward(ids[1]!));
    expect(ingress(ids[1]!, A, B)).toBe(drop(DropReason.FDB_SAME_PORT));
  });

  test('BR-1: a group or zero source is refused and never learned', () => {
    const { ingress, ids, fdb } = bed();
    const before = fdb.size;
    for (const from of ['01:00:5e:00:00:01', BROADCAST, '00:00:00:00:00:00', '33:33:00:00:00:01']) {
      expect(ingress(ids[0]!, from, B)).toBe(drop(DropReason.MAC_SOURCE_INVALID));
    }
    expect(fdb.size).toBe(before);
  });

  test.each([...Array(16).keys()])('BR-6: 01-80-C2-00-00-0%s is never forwarded', (last) => {
    const { ingress, ids } = bed();
    const to = `01:80:c2:00:00:0${last.toString(16)}`;
    for (const port of ids) expect(ingress(port, A, to)).toBe(drop(DropReason.MAC_RESERVED));
  });

  test('01-80-C2-00-00-10 is an ordinary group address', () => {
    const { ingress, ids } = bed();
    expect(ingress(ids[0]!, A, '01:80:c2:00:00:10')).toBe(flood(5));
  });

  test("the gateway's own address as source is a loop or a lie; another endpoint's is a lie", () => {
    const { ingress, ids, fdb } = bed();
    expect(ingress(ids[0]!, '02:42:0a:00:00:01', B)).toBe(drop(DropReason.MAC_OWN));
    const mac = parseMac(A)!;
    fdb.addStatic(5, mac.hi, mac.lo, ids[1]!);
    expect(ingress(ids[0]!, A, B)).toBe(drop(DropReason.MAC_FOREIGN));
    expect(ingress(ids[1]!, A, B)).toBe(flood(5));
  });

  test('BR-7: what was behind a removed port is flooded again', () => {
    const { ingress, ids, bridge } = bed();
    ingress(ids[1]!, B, BROADCAST);
    bridge.remove(ids[1]!);
    expect(ingress(ids[0]!, A, B)).toBe(flood(5));
    expect([...bridge.members.subarray(0, bridge.memberCount)]).toEqual([ids[0], ids[2]]);
  });

  test('BR-12: isolated ports reach others, never each other', () => {
    const { ingress, ids } = bed([{ isolated: true }, { isolated: true }, {}]);
    ingress(ids[1]!, B, BROADCAST);
    ingress(ids[2]!, '02:42:0a:00:00:0c', BROADCAST);
    expect(ingress(ids[0]!, A, B)).toBe(drop(DropReason.PORT_ISOLATED));
    expect(ingress(ids[0]!, A, '02:42:0a:00:00:0c')).toBe(forward(ids[2]!));
    expect(ingress(ids[2]!, '02:42:0a:00:00:0c', B)).toBe(forward(ids[1]!));
  });

  test('BR-14: a storm is cut off at the limit, known unicast is not', () => {
    const { ingress, ids } = bed([{ stormLimit: 100 }, {}]);
    ingress(ids[1]!, B, BROADCAST);
    const flooded = (from: number, to: number) => {
      let count = 0;
      for (let now = from; now < to; now++) {
        for (let i = 0; i < 2; i++) if (ingress(ids[0]!, A, BROADCAST, now) === flood(5)) count++;
      }
      return count;
    };
    // 2,000 frames a second for two seconds: the burst of one second and twice the limit.
    const count = flooded(0, 2000);
    expect(count).toBeGreaterThanOrEqual(298);
    expect(count).toBeLessThanOrEqual(300);
    expect(ingress(ids[0]!, A, BROADCAST, 2000)).toBe(drop(DropReason.STORM_LIMIT));
    expect(ingress(ids[0]!, A, B, 2000)).toBe(forward(ids[1]!));
    expect(ingress(ids[1]!, B, BROADCAST, 2000), 'other ports are not punished').toBe(flood(5));
  });

  test('never sends a frame back to where it came from', () => {
    const mac = fc.integer({ min: 0, max: 15 }).map((i) => `02:42:0a:00:00:${(i + 16).toString(16)}`);
    const step = fc.record({
      port: fc.nat(2),
      from: mac,
      to: fc.oneof(mac, fc.constant(BROADCAST)),
      wait: fc.nat(200_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const { ingress, ids } = bed();
        let now = 0;
        for (const { port, from, to, wait } of steps) {
          now += wait;
          const verdict = ingress(ids[port]!, from, to, now);
          if (verdictKind(verdict) === VerdictKind.FORWARD)
            expect(verdictArgument(verdict)).not.toBe(ids[port]);
          else expect([flood(5), drop(DropReason.FDB_SAME_PORT)]).toContain(verdict);
        }
      }),
    );
  });
});
