import { describe, expect, test } from 'vitest';
import {
  ASSURED,
  type Conntrack,
  ORIGINAL,
  REFRESH_REPLY,
  REFUSED_CLASH,
  REFUSED_FULL,
  REFUSED_INVALID,
  REFUSED_QUOTA,
  REPLY,
  SEEN_REPLY,
  Track,
} from '../../nat/conntrack.ts';
import { TcpState } from '../../nat/tcp-tracking.ts';
import { DEFAULT_TIMEOUTS } from '../../nat/timeouts.ts';
import { TICK } from '../../nat/timer-wheel.ts';
import { invertTuple, TUPLE_LENGTH, TUPLE_SRC_IPV4, TUPLE_WORDS, tupleKind } from '../../nat/tuple.ts';
import { icmp, icmpEcho, ip, tcp, udp } from '../../src/testing/frames.ts';
import { ICMP_TIMESTAMP, ICMP_TIMESTAMP_REPLY } from '../../wire/icmp.ts';
import {
  A,
  B,
  conntrack,
  datagram,
  INSIDE,
  open,
  packetOf,
  refOf,
  segment,
  tuplesOf,
} from './conntrack-bed.ts';

const { udp: UDP, icmp: ICMP, generic: GENERIC } = DEFAULT_TIMEOUTS;

/** Packets and bytes of both directions. */
function countersOf(table: Conntrack, row: number): number[] {
  return [ORIGINAL, REPLY].flatMap((direction) => [
    table.packets(refOf(row, direction)),
    table.bytes(refOf(row, direction)),
  ]);
}

/** Takes a TCP connection of A with the port through its handshake; the row. */
function establish(table: Conntrack, port: number, now = 0, owner = 0): number {
  const row = open(table, segment(port, 'S', 100, 0), now, owner);
  table.track(refOf(row, REPLY), segment(port, 'SA', 500, 101, true), now);
  table.track(refOf(row, ORIGINAL), segment(port, 'A', 101, 501), now);
  expect(table.tcp.state[row]).toBe(TcpState.ESTABLISHED);
  return row;
}

describe('conntrack: finding', () => {
  test.each([4, 6] as const)('IPv%i: both directions of a flow are found, with their direction', (family) => {
    const table = conntrack();
    const packet = packetOf(udp({ from: A, to: B, family, srcPort: 4000, dstPort: 53 }));
    const words = tuplesOf(packet);
    expect(table.find(words, 0)).toBe(-1);
    const row = open(table, packet);
    expect(table.find(words, 0)).toBe(refOf(row, ORIGINAL));
    expect(table.find(words, TUPLE_WORDS)).toBe(refOf(row, REPLY));
    expect(table.isLive(row)).toBe(true);
    expect(table.size).toBe(1);
  });

  test('a flow is found by its own reply tuple, translated as the caller likes', () => {
    const table = conntrack();
    const packet = datagram(4000);
    const words = tuplesOf(packet);
    words[TUPLE_WORDS + TUPLE_SRC_IPV4]! ^= 0x55;
    const row = table.open(words, 0, packet, 0, false, 0);
    expect(table.find(words, TUPLE_WORDS)).toBe(refOf(row, REPLY));
    expect(table.find(tuplesOf(packet), TUPLE_WORDS)).toBe(-1);
    const at = row * 2 * TUPLE_WORDS;
    for (const from of [0, TUPLE_WORDS]) {
      expect([...table.tuples.subarray(at + from, at + from + TUPLE_LENGTH)]).toEqual([
        ...words.subarray(from, from + TUPLE_LENGTH),
      ]);
    }
  });

  test('the same addresses and ports in another network are another flow', () => {
    const table = conntrack();
    const packet = datagram(4000);
    open(table, packet);
    const words = tuplesOf(packet);
    words[9] = tupleKind(17, false, INSIDE + 1);
    expect(table.find(words, 0)).toBe(-1);
  });

  test('a closed flow is found no more, its row is free and the next flow is told apart by its serial', () => {
    const table = conntrack();
    const packet = datagram(4000);
    const row = open(table, packet);
    const serial = table.serial[row];
    table.close(row);
    expect(table.find(tuplesOf(packet), 0)).toBe(-1);
    expect(table.find(tuplesOf(packet), TUPLE_WORDS)).toBe(-1);
    expect(table.isLive(row)).toBe(false);
    expect(table.size).toBe(0);
    expect(table.deadline).toBe(Number.POSITIVE_INFINITY);
    expect(open(table, datagram(4001))).toBe(row);
    expect(table.serial[row]).not.toBe(serial);
  });

  test('columns of the caller begin at -1, whatever the last flow of the row left there', () => {
    const table = conntrack();
    const row = open(table, datagram(4000));
    table.mapping[row] = 5;
    table.publish[row] = 6;
    table.close(row);
    expect(open(table, datagram(4001), 0, 3)).toBe(row);
    expect([table.mapping[row], table.publish[row], table.owner[row]]).toEqual([-1, -1, 3]);
  });
});

describe('conntrack: opening', () => {
  test('counts the first packet, and tracked ones in their direction, by IP length', () => {
    const table = conntrack();
    const row = open(table, datagram(4000, false, 10));
    table.track(refOf(row, ORIGINAL), datagram(4000, false, 20), 1);
    table.track(refOf(row, REPLY), datagram(4000, true, 100), 1);
    expect(countersOf(table, row)).toEqual([2, 28 + 10 + 28 + 20, 1, 28 + 100]);
    table.close(row);
    open(table, datagram(4001, false, 0));
    expect(countersOf(table, row)).toEqual([1, 28, 0, 0]);
  });

  test('CT-6: a tuple of another flow is refused, in either place', () => {
    const table = conntrack();
    const first = datagram(4000);
    open(table, first);
    expect(open(table, first)).toBe(REFUSED_CLASH);

    // A second flow whose answers would be the first one's.
    const second = datagram(4001);
    const words = tuplesOf(second);
    words.set(tuplesOf(first).subarray(TUPLE_WORDS), TUPLE_WORDS);
    expect(table.open(words, 0, second, 0, false, 0)).toBe(REFUSED_CLASH);

    // A flow that begins with what is the answer to another (nf_conntrack_reverse_clash).
    const third = datagram(4002);
    const reverse = tuplesOf(third);
    reverse.set(tuplesOf(first).subarray(TUPLE_WORDS), 0);
    expect(table.open(reverse, 0, third, 0, false, 0)).toBe(REFUSED_CLASH);
    expect(table.size).toBe(1);
  });

  test('IP-9: a flow whose answers look like its questions is refused', () => {
    const table = conntrack();
    const packet = packetOf(udp({ from: A, to: A, srcPort: 7, dstPort: 7 }));
    const words = tuplesOf(packet);
    invertTuple(words, 0, TUPLE_WORDS, INSIDE);
    expect(table.open(words, 0, packet, 0, false, 0)).toBe(REFUSED_CLASH);
  });

  test.each([
    ['an echo reply', icmpEcho({ from: A, to: B, reply: true })],
    ['an ICMPv6 echo reply', icmpEcho({ from: A, to: B, family: 6, reply: true })],
    ['a timestamp reply', icmp({ from: A, to: B, type: ICMP_TIMESTAMP_REPLY, rest: 7 << 16, data: 12 })],
    ['a SYN,ACK', tcp({ from: A, to: B, dstPort: 80, flags: 'SA' })],
    ['an RST', tcp({ from: A, to: B, dstPort: 80, flags: 'R' })],
  ])('%s opens nothing', (_, frame) => {
    const table = conntrack();
    expect(open(table, packetOf(frame))).toBe(REFUSED_INVALID);
    expect(table.size).toBe(0);
    expect(table.deadline).toBe(Number.POSITIVE_INFINITY);
  });

  test.each([
    ['an echo request', icmpEcho({ from: A, to: B }), ICMP],
    ['an ICMPv6 echo request', icmpEcho({ from: A, to: B, family: 6 }), ICMP],
    ['a timestamp request', icmp({ from: A, to: B, type: ICMP_TIMESTAMP, rest: 7 << 16, data: 12 }), ICMP],
    ['a SYN', tcp({ from: A, to: B, dstPort: 80 }), DEFAULT_TIMEOUTS.tcpOpening],
    ['a datagram', udp({ from: A, to: B, dstPort: 53 }), UDP],
    ['a packet of another protocol', ip({ from: A, to: B }, 47, 20), GENERIC],
  ])('%s opens a flow with the timeout of its kind', (_, frame, timeout) => {
    const table = conntrack();
    const row = open(table, packetOf(frame), 1000);
    expect(row).toBeGreaterThanOrEqual(0);
    expect(table.remaining(row, 1000)).toBe(timeout);
  });

  test('a mid-stream ACK opens as `loose` says, and a refused one gives up no other flow', () => {
    expect(open(conntrack(), segment(4000, 'A', 1, 1))).toBeGreaterThanOrEqual(0);
    const table = conntrack({ loose: false, capacity: 1 });
    const row = open(table, datagram(4000));
    expect(open(table, segment(4000, 'A', 1, 1))).toBe(REFUSED_INVALID);
    expect(table.isLive(row)).toBe(true);
  });
});

describe('conntrack: timers', () => {
  test('F23: a flow ends within 250 ms of its time, never before, and the deadline says when', () => {
    const table = conntrack();
    open(table, datagram(4000), 777.5);
    const end = 777.5 + UDP;
    expect(table.deadline).toBeGreaterThanOrEqual(end);
    expect(table.deadline).toBeLessThan(end + 250);
    table.expire(table.deadline - 1);
    expect(table.size).toBe(1);
    table.expire(table.deadline);
    expect(table.size).toBe(0);
  });

  test('4787-6, CT-5: packets of either direction prolong it', () => {
    for (const direction of [ORIGINAL, REPLY]) {
      const table = conntrack();
      const row = open(table, datagram(4000), 0);
      for (let now = 60_000; now <= 600_000; now += 60_000) {
        table.expire(now);
        expect(table.track(refOf(row, direction), datagram(4000, direction === REPLY), now)).toBe(
          Track.ACCEPT,
        );
      }
      table.expire(600_000 + UDP - 1);
      expect(table.isLive(row)).toBe(true);
      table.expire(600_000 + UDP + TICK);
      expect(table.isLive(row)).toBe(false);
    }
  });

  test('4787-6a: without REFRESH_REPLY packets from outside alone do not hold it', () => {
    const table = conntrack();
    const row = open(table, datagram(4000), 0);
    table.status[row]! &= ~REFRESH_REPLY;
    for (let now = 60_000; now < UDP; now += 60_000) {
      table.expire(now);
      table.track(refOf(row, REPLY), datagram(4000, true), now);
    }
    expect(table.packets(refOf(row, REPLY))).toBe(4);
    table.expire(UDP + TICK);
    expect(table.isLive(row)).toBe(false);
  });

  test('TCP: 7,440 s when established, and at once shorter when it closes', () => {
    const table = conntrack();
    const row = establish(table, 4000, 1000);
    expect(table.remaining(row, 1000)).toBe(7_440_000);
    // The timer of SYN_SENT fires and finds a flow that has two hours to live.
    table.expire(table.deadline);
    expect(table.deadline).toBeGreaterThan(7_441_000 - 1);
    table.track(refOf(row, ORIGINAL), segment(4000, 'FA', 101, 501), 400_000);
    expect(table.remaining(row, 400_000)).toBe(240_000);
    expect(table.deadline).toBeLessThan(640_000 + TICK);
    table.expire(639_999);
    expect(table.isLive(row)).toBe(true);
    table.expire(640_000 + TICK);
    expect(table.isLive(row)).toBe(false);
  });

  test('timeouts beyond the horizon of the wheel hold', () => {
    const day = 86_400_000;
    const table = conntrack({ timeouts: { ...DEFAULT_TIMEOUTS, udp: 5 * day } });
    const row = open(table, datagram(4000), 0);
    while (table.deadline < 5 * day) {
      table.expire(table.deadline);
      expect(table.isLive(row)).toBe(true);
    }
    table.expire(table.deadline);
    expect(table.isLive(row)).toBe(false);
  });

  test('INVALID segments change and count nothing; a new SYN after the end asks for a new flow', () => {
    const table = conntrack();
    const row = establish(table, 4000, 0);
    const before = countersOf(table, row);
    expect(table.track(refOf(row, REPLY), segment(4000, 'R', 0x7000_0000, 0, true), 1000)).toBe(
      Track.INVALID,
    );
    expect(countersOf(table, row)).toEqual(before);
    expect(table.remaining(row, 1000)).toBe(7_440_000 - 1000);
    table.track(refOf(row, ORIGINAL), segment(4000, 'FA', 101, 501), 2000);
    table.track(refOf(row, REPLY), segment(4000, 'FA', 501, 102, true), 2000);
    table.track(refOf(row, ORIGINAL), segment(4000, 'A', 102, 502), 2000);
    expect(table.tcp.state[row]).toBe(TcpState.TIME_WAIT);
    expect(table.track(refOf(row, ORIGINAL), segment(4000, 'S', 90_000, 0), 3000)).toBe(Track.REOPEN);
  });
});

describe('conntrack: assured', () => {
  test('UDP: asked, answered, asked again', () => {
    const table = conntrack();
    const row = open(table, datagram(4000));
    const both = () => table.status[row]! & (SEEN_REPLY | ASSURED);
    table.track(refOf(row, ORIGINAL), datagram(4000), 1);
    expect(both()).toBe(0);
    table.track(refOf(row, REPLY), datagram(4000, true), 1);
    table.track(refOf(row, REPLY), datagram(4000, true), 1);
    expect(both()).toBe(SEEN_REPLY);
    table.track(refOf(row, ORIGINAL), datagram(4000), 1);
    expect(both()).toBe(SEEN_REPLY | ASSURED);
  });

  test('TCP: the handshake; ICMP: never', () => {
    const table = conntrack();
    const row = establish(table, 4000);
    expect(table.status[row]! & ASSURED).toBe(ASSURED);

    const ping = icmpEcho({ from: A, to: B });
    const pong = icmpEcho({ from: B, to: A, reply: true });
    const query = open(table, packetOf(ping));
    for (let i = 0; i < 3; i++) {
      table.track(refOf(query, REPLY), packetOf(pong), 1);
      table.track(refOf(query, ORIGINAL), packetOf(ping), 1);
    }
    expect(table.status[query]! & (SEEN_REPLY | ASSURED)).toBe(SEEN_REPLY);
  });
});

describe('conntrack: no room', () => {
  /** Makes a UDP flow assured. */
  function assure(table: Conntrack, row: number, port: number): void {
    table.track(refOf(row, REPLY), datagram(port, true), 0);
    table.track(refOf(row, ORIGINAL), datagram(port), 0);
  }

  test('at its quota an owner gives up its own oldest unassured flow, or gets none', () => {
    const table = conntrack({ quota: 3 });
    const rows = [1, 2, 3].map((port) => open(table, datagram(port), 0, 7));
    const other = open(table, datagram(4), 0, 8);
    assure(table, rows[0]!, 1);
    const closed: number[] = [];
    table.onClosed = (row) => {
      expect(table.isLive(row)).toBe(true);
      expect(table.tuples[row * 2 * TUPLE_WORDS + TUPLE_SRC_IPV4]).not.toBe(0);
      closed.push(row);
    };
    const fifth = open(table, datagram(5), 0, 7);
    expect(closed).toEqual([rows[1]]);
    expect(table.flowsOf(7)).toBe(3);
    assure(table, rows[2]!, 3);
    assure(table, fifth, 5);
    expect(open(table, datagram(6), 0, 7)).toBe(REFUSED_QUOTA);
    expect(closed).toEqual([rows[1]]);
    expect(table.isLive(other)).toBe(true);
    table.close(fifth);
    expect(open(table, datagram(6), 0, 7)).toBeGreaterThanOrEqual(0);
  });

  test('an exempt owner has no quota', () => {
    const table = conntrack({ quota: 3 });
    for (let port = 1; port <= 10; port++)
      expect(open(table, datagram(port), 0, 7, true)).toBeGreaterThanOrEqual(0);
    expect(table.size).toBe(10);
  });

  test('a full table: first the own oldest, then the oldest of whoever has most, never an assured one', () => {
    const table = conntrack({ capacity: 6 });
    const [a1, a2, b1, b2, b3, c1] = [
      [1, 1],
      [2, 1],
      [3, 2],
      [4, 2],
      [5, 2],
      [6, 3],
    ].map(([port, owner]) => open(table, datagram(port!), 0, owner!)) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    assure(table, c1, 6);
    const closed: number[] = [];
    table.onClosed = (row) => closed.push(row);
    // Owner 1 gives up its own, though owner 2 has more.
    const a3 = open(table, datagram(11), 0, 1);
    expect(closed).toEqual([a1]);
    // Owner 3 has none that can be spared.
    const c2 = open(table, datagram(12), 0, 3);
    expect(closed).toEqual([a1, b1]);
    expect(table.size).toBe(6);
    for (const [row, port] of [
      [a2, 2],
      [b2, 4],
      [b3, 5],
      [a3, 11],
      [c2, 12],
    ] as const) {
      assure(table, row, port);
    }
    for (let i = 0; i < 100; i++) expect(open(table, datagram(13), 0, 9)).toBe(REFUSED_FULL);
    expect(table.size).toBe(6);
    expect(table.high).toBe(7);
    for (const port of [2, 4, 5, 6, 11, 12]) {
      const ref = table.find(tuplesOf(datagram(port)), 0);
      expect(table.isLive(ref >> 1)).toBe(true);
      expect(table.find(tuplesOf(datagram(port)), TUPLE_WORDS)).toBe(ref | REPLY);
    }
    table.close(a2);
    expect(open(table, datagram(13), 0, 9)).toBeGreaterThanOrEqual(0);
  });

  test('TCP connections that are over make room, established and half-closed ones do not', () => {
    const table = conntrack({ capacity: 2 });
    const over = establish(table, 1);
    const halfClosed = establish(table, 2);
    table.track(refOf(halfClosed, ORIGINAL), segment(2, 'FA', 101, 501), 0);
    expect(open(table, segment(3, 'S', 100, 0))).toBe(REFUSED_FULL);
    table.track(refOf(over, ORIGINAL), segment(1, 'R', 101, 0), 0);
    expect(table.tcp.state[over]).toBe(TcpState.CLOSE);
    expect(open(table, segment(3, 'S', 100, 0))).toBeGreaterThanOrEqual(0);
    expect(table.find(tuplesOf(segment(1, 'S', 0, 0)), 0)).toBe(-1);
    expect(table.isLive(halfClosed)).toBe(true);
  });

  test('CT-8: an established connection survives a flood of SYNs through a full table', () => {
    const table = conntrack({ capacity: 100, quota: 100 });
    const row = establish(table, 1, 0, 1);
    for (let port = 2; port < 5000; port++) {
      expect(open(table, segment(port, 'S', 1, 0), port, 2)).toBeGreaterThanOrEqual(0);
    }
    expect(table.isLive(row)).toBe(true);
    expect(table.size).toBe(100);
  });
});
