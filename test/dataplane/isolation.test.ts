import { describe, expect, test } from 'vitest';
import type { RuleCounter, RuleKind } from '../../src/dataplane/commands.ts';
import { icmp, icmpEcho, type Station, tcp, udp } from '../../src/testing/frames.ts';
import { type MemoryDeck, type MemoryNetwork, memoryDeck } from '../../src/testing/memory-deck.ts';
import { connect, expectNoLeak, FEW, send } from '../switch/gateway-bed.ts';
import { arrived, C1, C2, D1, EXT1, ends, R, UP, VIA_GA, VIA_GB, VIA_UP } from './nat-bed.ts';

/** The gateway of network b, and its address as others reach it. */
const GB: Station = { mac: VIA_GA.mac, ipv4: '10.1.0.1', ipv6: 'fd01::1' };

/** c1 and c2 in network a, d1 in network b, and an uplink. */
function bed(a: MemoryNetwork = {}, b: MemoryNetwork = {}): MemoryDeck {
  return memoryDeck({
    seed: 1,
    arena: FEW,
    uplinks: {
      up: {
        mac: UP.mac,
        ipv4: `${UP.ipv4}/24`,
        ipv6: `${UP.ipv6}/64`,
        gateway4: R.ipv4,
        gateway6: R.ipv6,
        mtu: 1500,
      },
    },
    networks: {
      a: { ipv4: '10.0.0.1/24', ipv6: 'fd00::1/64', ...(!a.internal && { uplink: 'up' }), ...a },
      b: { ipv4: '10.1.0.1/24', ipv6: 'fd01::1/64', ...(!b.internal && { uplink: 'up' }), ...b },
    },
    ports: {
      c1: { network: 'a', station: C1 },
      c2: { network: 'a', station: C2 },
      d1: { network: 'b', station: D1 },
      ext: { network: 'up', station: R },
    },
  });
}

function counter(deck: MemoryDeck, kind: RuleKind, network: string): Pick<RuleCounter, 'packets' | 'bytes'> {
  const { rules } = deck.virtual.dataplane.snapshot(deck.now, { rules: true });
  const { packets, bytes } = rules.find(
    (one) => one.kind === kind && one.network === deck.networkId(network),
  )!;
  return { packets, bytes };
}

describe('DK-3: networks are isolated', () => {
  test.each([4, 6] as const)(
    'IPv%i: no packet goes from one to another, and the rule counts it',
    (family) => {
      const deck = bed();
      const way = { from: C1, to: D1, via: VIA_GA, family };
      const tries = [icmpEcho(way), udp({ ...way, dstPort: 53 }), tcp({ ...way, dstPort: 80, flags: 'S' })];
      for (const frame of tries) expect(send(deck, 'c1', frame)).toBe('NETWORK_ISOLATED');
      // Nobody is told (as by DROP), nothing is remembered, and TTLs do not show where the packet was dropped.
      expect(send(deck, 'c1', udp({ ...way, dstPort: 33434, ttl: 1 }))).toBe('NETWORK_ISOLATED');
      expect(deck.takeAll()).toEqual({});
      expect(deck.flows()).toEqual([]);
      expect(counter(deck, 'ISOLATED', 'b').packets).toBe(4);
      expect(counter(deck, 'ISOLATED', 'b').bytes).toBe(
        [...tries, udp({ ...way, dstPort: 33434 })].reduce((sum, frame) => sum + frame.length - 14, 0),
      );
      expect(counter(deck, 'ISOLATED', 'a').packets).toBe(0);
      expectNoLeak(deck);
    },
  );

  test('a published port of another network is reached by the addresses of the deck, and the endpoint itself is not', () => {
    const deck = bed();
    deck.publish({ station: D1, network: 'b', from: 8080, target: 80 });
    for (const to of [GB, { mac: '', ipv4: '10.0.0.1' }, UP]) {
      expect(send(deck, 'c1', tcp({ from: C1, to, via: VIA_GA, dstPort: 8080, flags: 'S' }))).toBe('FORWARD');
      const { src, srcPort, dst, dstPort } = arrived(deck, 'd1');
      expect([dst, dstPort]).toEqual([D1.ipv4, 80]);
      const reply = tcp({
        from: D1,
        to: { mac: '', ipv4: src },
        via: VIA_GB,
        srcPort: 80,
        dstPort: srcPort,
        flags: 'SA',
      });
      expect(send(deck, 'd1', reply)).toBe('FORWARD');
      expect(arrived(deck, 'c1')).toMatchObject({ src: to.ipv4, srcPort: 8080 });
    }
    expect(send(deck, 'c1', tcp({ from: C1, to: D1, via: VIA_GA, dstPort: 80, flags: 'S' }))).toBe(
      'NETWORK_ISOLATED',
    );
  });

  test('the gateways of other networks answer pings', () => {
    const deck = bed();
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: GB }))).toBe('FORWARD');
    expect(deck.take('c1')).toHaveLength(1);
  });

  test('by the prefix of another network outside there is no way either', () => {
    const deck = bed({}, { npt: '2001:db8:b::/64' });
    send(deck, 'd1', udp({ from: D1, to: EXT1, via: VIA_GB, family: 6, srcPort: 5, dstPort: 6 }));
    const { src } = arrived(deck, 'ext');
    expect(src.startsWith('2001:db8:b:')).toBe(true);
    const there = { mac: '', ipv6: src };
    expect(
      send(deck, 'c1', udp({ from: C1, to: there, via: VIA_GA, family: 6, srcPort: 6, dstPort: 5 })),
    ).toBe('NETWORK_ISOLATED');
  });

  test('when the rule goes that let a connection in, so does the connection, and errors about it', () => {
    const deck = bed();
    connect(deck, 'a', 'b');
    const there = udp({ from: C1, to: D1, via: VIA_GA, srcPort: 5000, dstPort: 53 });
    const back = udp({ from: D1, to: C1, via: VIA_GB, srcPort: 53, dstPort: 5000 });
    expect(send(deck, 'c1', there)).toBe('FORWARD');
    const [delivered] = deck.take('d1');
    const unreachable = icmp({
      from: D1,
      to: C1,
      via: VIA_GB,
      type: 3,
      code: 3,
      data: delivered!.subarray(14),
    });
    expect(send(deck, 'd1', back)).toBe('FORWARD');
    expect(send(deck, 'd1', unreachable)).toBe('FORWARD');
    deck.setUserRules([]);
    for (const [port, frame] of [
      ['c1', there],
      ['d1', back],
      ['d1', unreachable],
    ] as const) {
      expect(send(deck, port, frame)).toBe('NETWORK_ISOLATED');
    }
    connect(deck, 'a', 'b');
    expect(send(deck, 'c1', there)).toBe('FORWARD');
  });
});

describe('DK-4: an internal network', () => {
  const ACCEPT_ALL = [{ id: 1, action: 'ACCEPT' }] as const;

  test.each([
    ['without rules', []],
    ['with a rule that accepts all', ACCEPT_ALL],
  ])('%s: has its own gateway and nothing else', (_, rules) => {
    const deck = bed({ internal: true });
    deck.setUserRules(rules);
    deck.publish({ station: D1, network: 'b', from: 8080 });
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: { ...VIA_GA, ipv4: '10.0.0.1' } }))).toBe('FORWARD');
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: { ...VIA_GA, ipv6: 'fd00::1' }, family: 6 }))).toBe(
      'FORWARD',
    );
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2 }))).toBe('FORWARD');
    deck.takeAll();
    const via = VIA_GA;
    for (const family of [4, 6] as const) {
      for (const to of [D1, GB]) {
        for (const frame of [
          icmpEcho({ from: C1, to, via, family }),
          udp({ from: C1, to, via, family, dstPort: 53 }),
          tcp({ from: C1, to, via, family, dstPort: 8080, flags: 'S' }),
          icmp({ from: C1, to, via, family, type: family === 4 ? 13 : 138 }),
        ]) {
          expect(['NETWORK_INTERNAL', 'CT_INVALID', 'ICMP_UNHANDLED']).toContain(send(deck, 'c1', frame));
        }
      }
      expect(send(deck, 'c1', udp({ from: C1, to: EXT1, via, family, dstPort: 53 }))).toBe('IP_INNOROUTES');
    }
    // To the other's published port by the own gateway, which has it, too.
    const own = { ...VIA_GA, ipv4: '10.0.0.1' };
    expect(send(deck, 'c1', tcp({ from: C1, to: own, dstPort: 8080, flags: 'S' }))).toBe('NETWORK_INTERNAL');
    expect(send(deck, 'd1', udp({ from: D1, to: C1, via: VIA_GB, dstPort: 9 }))).toBe('NETWORK_INTERNAL');
    expect([...deck.take('d1'), ...deck.take('ext')]).toEqual([]);
    expect(deck.flows()).toEqual([]);
    expectNoLeak(deck);
  });

  test('publishes for itself alone', () => {
    const deck = bed({ internal: true });
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    const own = { ...VIA_GA, ipv4: '10.0.0.1' };
    expect(send(deck, 'c1', tcp({ from: C1, to: own, dstPort: 8080, flags: 'S' }))).toBe('FORWARD');
    expect(ends(deck.take('c2')[0]!)).toMatchObject({ dst: C2.ipv4, dstPort: 80 });
    const there = { mac: VIA_GB.mac, ipv4: '10.1.0.1' };
    expect(send(deck, 'd1', tcp({ from: D1, to: there, dstPort: 8080, flags: 'S' }))).toBe(
      'NETWORK_INTERNAL',
    );
    expect(send(deck, 'ext', tcp({ from: EXT1, to: UP, via: VIA_UP, dstPort: 8080, flags: 'S' }))).toBe(
      'NOT_PUBLISHED',
    );
    expect(counter(deck, 'INTERNAL_IN', 'a').packets).toBe(1);
  });

  test('its drops are in the rules that say so', () => {
    const deck = bed({ internal: true });
    send(deck, 'c1', icmpEcho({ from: C1, to: D1, via: VIA_GA }));
    send(deck, 'c1', icmpEcho({ from: C1, to: GB }));
    send(deck, 'd1', icmpEcho({ from: D1, to: C1, via: VIA_GB }));
    expect(counter(deck, 'INTERNAL_OUT', 'a')).toEqual({ packets: 1, bytes: 84 });
    expect(counter(deck, 'INTERNAL_INPUT', 'a')).toEqual({ packets: 1, bytes: 84 });
    expect(counter(deck, 'INTERNAL_IN', 'a')).toEqual({ packets: 1, bytes: 84 });
  });
});

describe('DK-11: icc=false', () => {
  test('endpoints reach each other neither by the bridge nor by the router, but by published ports', () => {
    const deck = bed({ icc: false });
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2 }))).toBe('PORT_ISOLATED');
    expect(send(deck, 'c1', icmpEcho({ from: C1, to: C2, via: VIA_GA }))).toBe('PORT_ISOLATED');
    expect(
      send(deck, 'c1', icmpEcho({ from: C1, to: { mac: 'ff:ff:ff:ff:ff:ff', ipv4: C2.ipv4 } })),
    ).not.toBe('FORWARD');
    expect(deck.take('c2')).toEqual([]);
    const own = { ...VIA_GA, ipv4: '10.0.0.1' };
    expect(send(deck, 'c1', tcp({ from: C1, to: own, dstPort: 8080, flags: 'S' }))).toBe('FORWARD');
    expect(
      send(deck, 'c1', tcp({ from: C1, to: UP, via: VIA_GA, dstPort: 8080, flags: 'S', srcPort: 2 })),
    ).toBe('FORWARD');
    expect(deck.take('c2')).toHaveLength(2);
    expect(counter(deck, 'ICC', 'a')).toEqual({ packets: 2, bytes: 168 });
    const kinds = deck.virtual.dataplane
      .snapshot(0, { rules: true })
      .rules.filter(({ kind }) => kind === 'ICC' || kind === 'INTRA')
      .map(({ kind, network }) => [kind, network]);
    expect(kinds).toEqual([
      ['ICC', deck.networkId('a')],
      ['INTRA', deck.networkId('b')],
    ]);
  });
});

describe('masquerade=false', () => {
  test('packets leave with their own address, and the answers come back', () => {
    const deck = bed({ masquerade: false });
    for (const family of [4, 6] as const) {
      const [inside, outside] = family === 4 ? [C1.ipv4, EXT1.ipv4] : [C1.ipv6, EXT1.ipv6];
      expect(send(deck, 'c1', udp({ from: C1, to: EXT1, via: VIA_GA, family, srcPort: 7, dstPort: 9 }))).toBe(
        'FORWARD',
      );
      expect(arrived(deck, 'ext')).toEqual({ src: inside, srcPort: 7, dst: outside, dstPort: 9 });
      const back = udp({ from: EXT1, to: C1, via: VIA_UP, family, srcPort: 9, dstPort: 7 });
      expect(send(deck, 'ext', back)).toBe('FORWARD');
      expect(arrived(deck, 'c1')).toEqual({ src: outside, srcPort: 9, dst: inside, dstPort: 7 });
      // Who was not asked still does not come in (DK-2).
      const intrusion = udp({ from: EXT1, to: C1, via: VIA_UP, family, srcPort: 9, dstPort: 8 });
      expect(send(deck, 'ext', intrusion)).toBe('NOT_PUBLISHED');
    }
    expect(send(deck, 'd1', udp({ from: D1, to: EXT1, via: VIA_GB, srcPort: 7, dstPort: 9 }))).toBe(
      'FORWARD',
    );
    expect(arrived(deck, 'ext').src).toBe(UP.ipv4);
  });
});

describe('DK-2: from outside', () => {
  test('nobody is routed to an endpoint, unless a rule accepts it', () => {
    const deck = bed({}, { internal: true });
    const knock = tcp({ from: EXT1, to: C1, via: VIA_UP, dstPort: 80, flags: 'S' });
    expect(send(deck, 'ext', knock)).toBe('NOT_PUBLISHED');
    const [up, a] = [deck.networkId('up'), deck.networkId('a')];
    const rule = { in: { network: up }, protocol: 6, dports: { from: 80, to: 80 } };
    deck.setUserRules([{ id: 1, action: 'RETURN', ...rule }]);
    expect(send(deck, 'ext', knock)).toBe('NOT_PUBLISHED');
    deck.setUserRules([{ id: 1, action: 'ACCEPT', ...rule, out: { network: a } }]);
    expect(send(deck, 'ext', knock)).toBe('FORWARD');
    expect(arrived(deck, 'c1')).toMatchObject({ src: EXT1.ipv4, dst: C1.ipv4, dstPort: 80 });
    deck.setUserRules([{ id: 1, action: 'ACCEPT' }]);
    expect(send(deck, 'ext', tcp({ from: EXT1, to: D1, via: VIA_UP, dstPort: 80, flags: 'S' }))).toBe(
      'NETWORK_INTERNAL',
    );
  });
});

describe('what the deck refuses for itself', () => {
  test('is counted by a rule: TCP and UDP to ports that nobody has', () => {
    const deck = bed();
    const own = { ...VIA_GA, ipv4: '10.0.0.1' };
    expect(send(deck, 'c1', udp({ from: C1, to: own, dstPort: 9, data: 10 }))).toBe('NO_SOCKET');
    expect(send(deck, 'c1', tcp({ from: C1, to: own, dstPort: 9, flags: 'S' }))).toBe('NO_SOCKET');
    expect(send(deck, 'ext', udp({ from: R, to: UP, dstPort: 9, data: 20 }))).toBe('NO_SOCKET');
    expect(counter(deck, 'CLOSED_UDP', 'a')).toEqual({ packets: 1, bytes: 38 });
    expect(counter(deck, 'CLOSED_TCP', 'a')).toEqual({ packets: 1, bytes: 40 });
    expect(counter(deck, 'CLOSED_UDP', 'up')).toEqual({ packets: 1, bytes: 48 });
  });
});
