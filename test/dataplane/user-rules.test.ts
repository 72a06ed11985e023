import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { UserRule } from '../../src/dataplane/commands.ts';
import { type RuleSpec, readRule } from '../../src/dataplane/rule-spec.ts';
import { icmp, icmpEcho, tcp, udp } from '../../src/testing/frames.ts';
import type { MemoryDeck } from '../../src/testing/memory-deck.ts';
import { expectNoLeak, only, send } from '../switch/gateway-bed.ts';
import { arrived, C1, C2, D1, EXT1, EXT2, natBed, R, UP, VIA_GA, VIA_GB, VIA_UP } from './nat-bed.ts';

/** Puts rules in force as people write them; ids count from 1. */
function setRules(deck: MemoryDeck, ...specs: RuleSpec[]): void {
  deck.setUserRules(
    specs.map((spec, i) => ({ id: i + 1, ...readRule(spec, (name) => deck.networkId(name)) })),
  );
}

/** Packets of each rule, by id. */
function counted(deck: MemoryDeck): Record<number, number> {
  const { rules } = deck.virtual.dataplane.snapshot(deck.now, { rules: true });
  return Object.fromEntries(
    rules.filter(({ kind }) => kind === 'USER').map(({ rule, packets }) => [rule!, packets]),
  );
}

const TABLES = { a: 'a', b: 'b', up: 'up' } as const;

/** A packet that begins something, as the rules should see it: after DNAT and before SNAT. */
interface Try {
  port: string;
  frame: Uint8Array;
  in: string;
  out: string;
  src: string;
  dst: string;
  protocol: string;
  sport: number;
  dport: number;
  icmpType?: number;
  states: string[];
  /** What becomes of it when no rule says anything. */
  otherwise: string;
}

function tries(family: 4 | 6, sport: number, dport: number): Try[] {
  const address = (station: { ipv4: string; ipv6: string }) => (family === 4 ? station.ipv4 : station.ipv6);
  const ports = { srcPort: sport, dstPort: dport, family };
  const common = { sport, dport, states: ['NEW'] };
  const inside = {
    ...common,
    in: 'a',
    out: 'b',
    src: address(C1),
    dst: address(D1),
    otherwise: 'NETWORK_ISOLATED',
  };
  const outward = {
    ...common,
    in: 'b',
    out: 'up',
    src: address(D1),
    dst: address(EXT1),
    otherwise: 'FORWARD',
  };
  const [ping, type] = family === 4 ? ['icmp', 8] : ['icmpv6', 128];
  return [
    { ...inside, port: 'c1', protocol: 'udp', frame: udp({ from: C1, to: D1, via: VIA_GA, ...ports }) },
    {
      ...inside,
      port: 'c1',
      protocol: 'tcp',
      frame: tcp({ from: C1, to: D1, via: VIA_GA, flags: 'S', ...ports }),
    },
    {
      ...inside,
      port: 'c1',
      protocol: ping as string,
      icmpType: type as number,
      frame: icmpEcho({ from: C1, to: D1, via: VIA_GA, family }),
    },
    { ...outward, port: 'd1', protocol: 'udp', frame: udp({ from: D1, to: EXT1, via: VIA_GB, ...ports }) },
    {
      ...outward,
      port: 'd1',
      protocol: 'tcp',
      frame: tcp({ from: D1, to: EXT1, via: VIA_GB, flags: 'S', ...ports }),
    },
    {
      ...common,
      port: 'ext',
      protocol: 'tcp',
      frame: tcp({ from: EXT2, to: UP, via: VIA_UP, family, srcPort: sport, dstPort: 8080, flags: 'S' }),
      in: 'up',
      out: 'a',
      src: address(EXT2),
      dst: address(C2),
      dport: 80,
      states: ['NEW', 'DNAT'],
      otherwise: 'FORWARD',
    },
  ];
}

/** An address as one big number, with the number of its bits. */
function big(text: string): [value: bigint, bits: number] {
  if (!text.includes(':')) return [text.split('.').reduce((sum, byte) => sum * 256n + BigInt(byte), 0n), 32];
  const [left, right = ''] = text.split('::');
  const groups = (half: string) => (half === '' ? [] : half.split(':'));
  const [head, tail] = [groups(left!), groups(right)];
  const zeros = new Array<string>(8 - head.length - tail.length).fill('0');
  return [[...head, ...zeros, ...tail].reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n), 128];
}

/** Whether an address is in a prefix of its own IP version. */
function within(address: string, prefix: string): boolean {
  const [base, length] = prefix.split('/') as [string, string?];
  const [value, bits] = big(address);
  const [wanted, wantedBits] = big(base);
  if (bits !== wantedBits) return false;
  const shift = BigInt(bits - Number(length ?? bits));
  return value >> shift === wanted >> shift;
}

/** What iptables' manual says of each option, said once more. */
function matches(spec: RuleSpec, packet: Try): boolean {
  const not = (text: string, holds: (plain: string) => boolean) =>
    text.startsWith('!') ? !holds(text.slice(1)) : holds(text);
  const isIpv6 = packet.src.includes(':');
  const inRange = (text: string, port: number) => {
    const [from, to = from] = text.split(':').map(Number);
    return port >= from! && port <= to!;
  };
  // A prefix is one of an IP version, negated or not.
  if (spec.src !== undefined && spec.src.includes(':') !== isIpv6) return false;
  if (spec.dst !== undefined && spec.dst.includes(':') !== isIpv6) return false;
  return [
    spec.in === undefined || not(spec.in, (name) => name === packet.in),
    spec.out === undefined || not(spec.out, (name) => name === packet.out),
    spec.src === undefined || not(spec.src, (prefix) => within(packet.src, prefix)),
    spec.dst === undefined || not(spec.dst, (prefix) => within(packet.dst, prefix)),
    spec.protocol === undefined || spec.protocol === packet.protocol,
    spec.sport === undefined || inRange(spec.sport, packet.sport),
    spec.dport === undefined || inRange(spec.dport, packet.dport),
    spec.icmpType === undefined || Number(spec.icmpType) === packet.icmpType,
    spec.state === undefined || spec.state.some((state) => packet.states.includes(state)),
  ].every(Boolean);
}

const FATES = { ACCEPT: 'FORWARD', DROP: 'USER_DROP', REJECT: 'USER_REJECT' } as const;

describe('DOCKER-USER: against an oracle', () => {
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
  const segment = fc.constantFrom('a', 'b', 'up', '!a', '!b', '!up');
  const prefix = fc.constantFrom(
    '10.0.0.0/24',
    '10.0.0.2',
    '!10.0.0.2',
    '10.1.0.2/31',
    '10.1.0.3/32',
    '0.0.0.0/0',
    '!203.0.113.0/24',
    '203.0.113.2',
    'fd00::/64',
    'fd00::2',
    '!fd01::2/128',
    'fd00::/15',
    '::/0',
    '2001:db8:2::/127',
  );
  const port = fc.constantFrom('80', '1000:2000', '0:65535', '5000', '81:99');
  const spec = fc
    .record({
      action: fc.constantFrom('ACCEPT', 'DROP', 'REJECT', 'RETURN'),
      in: optional(segment),
      out: optional(segment),
      src: optional(prefix),
      dst: optional(prefix),
      protocol: optional(fc.constantFrom('tcp', 'udp', 'icmp', 'icmpv6')),
      sport: optional(port),
      dport: optional(port),
      icmpType: optional(fc.constantFrom('8', '128', '0')),
      state: optional(
        fc.subarray(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'DNAT'] as const, { minLength: 1 }),
      ),
    })
    .map((fields): RuleSpec => {
      const { protocol, sport, dport, icmpType, ...rest } = fields;
      const hasPorts = protocol === 'tcp' || protocol === 'udp';
      const all = {
        ...rest,
        protocol,
        ...(hasPorts && { sport, dport }),
        ...(protocol?.startsWith('icmp') && { icmpType }),
      };
      return Object.fromEntries(
        Object.entries(all).filter(([, value]) => value !== undefined),
      ) as unknown as RuleSpec;
    })
    .filter((one) => {
      try {
        readRule(one, () => 0);
        return true;
      } catch {
        return false;
      }
    });
  const set = fc.record({
    rules: fc.array(spec, { maxLength: 6 }),
    family: fc.constantFrom(4 as const, 6 as const),
    sport: fc.constantFrom(80, 999, 1000, 2000, 2001, 5000),
    dport: fc.constantFrom(80, 81, 99, 100, 1500),
  });

  test('property: the first rule that matches decides, and counts', () => {
    const deck = natBed({ conntrack: { capacity: 16 } });
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    fc.assert(
      fc.property(set, ({ rules, family, sport, dport }) => {
        deck.setUserRules([]);
        setRules(deck, ...rules);
        deck.virtual.dataplane.closeFlows({}, deck.now);
        const expected: Record<number, number> = Object.fromEntries(rules.map((_, i) => [i + 1, 0]));
        for (const packet of tries(family, sport, dport)) {
          const first = rules.findIndex((rule) => matches(rule, packet));
          if (first >= 0) expected[first + 1]!++;
          const action = first < 0 ? 'RETURN' : rules[first]!.action;
          const fate = action === 'RETURN' ? packet.otherwise : FATES[action];
          // The next hop of the uplink has to be asked for; that is no refusal.
          expect(send(deck, packet.port, packet.frame).replace('HOLD', 'FORWARD')).toBe(fate);
        }
        expect(counted(deck)).toEqual(expected);
      }),
      { numRuns: 400 },
    );
  });
});

describe('DOCKER-USER', () => {
  const there = udp({ from: C1, to: EXT1, via: VIA_GA, srcPort: 5000, dstPort: 53, data: 'question' });

  /** A conversation of c1 with a host outside, and a packet of it that comes back. */
  function conversation(): { deck: MemoryDeck; back: Uint8Array } {
    const deck = natBed();
    send(deck, 'c1', there);
    const { srcPort } = arrived(deck, 'ext');
    const back = udp({ from: EXT1, to: UP, via: VIA_UP, srcPort: 53, dstPort: srcPort });
    expect(send(deck, 'ext', back)).toBe('FORWARD');
    deck.takeAll();
    return { deck, back };
  }

  test('a rule that comes ends connections that stand at their next packet, either way, and one that goes lets them on', () => {
    const { deck, back } = conversation();
    setRules(deck, {
      in: 'up',
      state: ['ESTABLISHED'],
      dst: C1.ipv4,
      protocol: 'udp',
      sport: '53',
      dport: '5000',
      action: 'DROP',
    });
    expect(send(deck, 'ext', back)).toBe('USER_DROP');
    expect(send(deck, 'c1', there)).toBe('FORWARD');
    setRules(deck, { src: '10.0.0.0/24', out: 'up', dport: '53', protocol: 'udp', action: 'DROP' });
    expect(send(deck, 'ext', back)).toBe('FORWARD');
    expect(send(deck, 'c1', there)).toBe('USER_DROP');
    setRules(deck);
    expect(send(deck, 'c1', there)).toBe('FORWARD');
    expectNoLeak(deck);
  });

  test('NEW until it is answered, ESTABLISHED from then on, DNAT for published ports, RELATED for errors', () => {
    const deck = natBed();
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    setRules(
      deck,
      { state: ['RELATED'], action: 'RETURN' },
      { state: ['INVALID'], action: 'RETURN' },
      { state: ['DNAT'], action: 'RETURN' },
      { state: ['NEW'], action: 'RETURN' },
      { state: ['ESTABLISHED'], action: 'RETURN' },
    );
    const count = (port: string, frame: Uint8Array) => {
      const before = counted(deck);
      send(deck, port, frame);
      const after = counted(deck);
      return [1, 2, 3, 4, 5].filter((id) => after[id] !== before[id]);
    };
    expect(count('c1', there)).toEqual([4]);
    const { srcPort } = arrived(deck, 'ext');
    expect(count('c1', there)).toEqual([4]);
    const quoted = deck.take('ext')[0]!.subarray(14);
    expect(count('ext', icmp({ from: R, to: UP, type: 3, code: 1, data: quoted }))).toEqual([1]);
    expect(count('ext', udp({ from: EXT1, to: UP, via: VIA_UP, srcPort: 53, dstPort: srcPort }))).toEqual([
      5,
    ]);
    expect(count('c1', there)).toEqual([5]);
    expect(
      count('ext', tcp({ from: EXT1, to: UP, via: VIA_UP, srcPort: 7, dstPort: 8080, flags: 'S' })),
    ).toEqual([3]);
    const wild = { from: EXT1, to: UP, via: VIA_UP, srcPort: 7, dstPort: 8080, flags: 'A' } as const;
    expect(count('ext', tcp({ ...wild, sequence: 0x4000_0000, acknowledgment: 5 }))).toEqual([2]);
  });

  test('RELATED has the address of who found something wrong', () => {
    const { deck } = conversation();
    send(deck, 'c1', there);
    const quoted = deck.take('ext')[0]!.subarray(14);
    const error = icmp({ from: R, to: UP, type: 3, code: 1, data: quoted });
    setRules(deck, {
      src: R.ipv4,
      dst: C1.ipv4,
      protocol: 'icmp',
      icmpType: 'destination-unreachable',
      action: 'DROP',
    });
    expect(send(deck, 'ext', error)).toBe('USER_DROP');
    setRules(deck, { src: EXT1.ipv4, state: ['RELATED'], action: 'DROP' });
    expect(send(deck, 'ext', error)).toBe('FORWARD');
  });

  test('what a rule has accepted no other chain counts', () => {
    const { deck, back } = conversation();
    const totals = () => {
      const { rules } = deck.virtual.dataplane.snapshot(0, { rules: true });
      return rules
        .filter(({ kind }) => ['OUTBOUND', 'ESTABLISHED'].includes(kind))
        .map(({ packets }) => packets);
    };
    const before = totals();
    setRules(deck, { action: 'ACCEPT' });
    send(deck, 'c1', there);
    send(deck, 'ext', back);
    expect(totals()).toEqual(before);
    expect(counted(deck)).toEqual({ 1: 2 });
    setRules(deck);
    send(deck, 'ext', back);
    expect(totals()).not.toEqual(before);
  });

  test('counters of a rule that stays go on, wherever it stands; those of a new one begin', () => {
    const { deck } = conversation();
    const all = (id: number): UserRule => ({ id, action: 'RETURN' });
    deck.setUserRules([all(7)]);
    send(deck, 'c1', there);
    deck.setUserRules([{ id: 9, action: 'RETURN', protocol: 6 }, all(7)]);
    send(deck, 'c1', there);
    expect(counted(deck)).toEqual({ 7: 2, 9: 0 });
    deck.setUserRules([all(9)]);
    deck.setUserRules([all(7)]);
    expect(counted(deck)).toEqual({ 7: 0 });
  });

  test('a rule matches nothing any more when its network is gone, and not the next one of that number', () => {
    const { deck } = conversation();
    const { dataplane } = deck.virtual;
    const made = {
      macHi: 0x0242,
      macLo: 9,
      ipv4: { address: 0x0a090001, prefix: 24 },
      ipv6: null,
      mtu: 1500,
    };
    const id = dataplane.addNetwork(made);
    deck.setUserRules([{ id: 1, action: 'DROP', in: { network: id, not: true } }]);
    expect(send(deck, 'c1', there)).toBe('USER_DROP');
    dataplane.removeNetwork(id, deck.now);
    expect(send(deck, 'c1', there)).toBe('FORWARD');
    expect(dataplane.addNetwork(made)).toBe(id);
    expect(send(deck, 'c1', there)).toBe('FORWARD');
  });

  test('REJECT resets a connection that stands, towards who sends', () => {
    const deck = natBed();
    deck.publish({ station: C2, network: 'a', from: 8080, target: 80 });
    const client = { from: EXT1, to: UP, via: VIA_UP, srcPort: 7, dstPort: 8080 };
    send(deck, 'ext', tcp({ ...client, flags: 'S', sequence: 100 }));
    send(
      deck,
      'c2',
      tcp({
        from: C2,
        to: EXT1,
        via: VIA_GA,
        srcPort: 80,
        dstPort: 7,
        flags: 'SA',
        sequence: 500,
        acknowledgment: 101,
      }),
    );
    send(deck, 'ext', tcp({ ...client, flags: 'A', sequence: 101, acknowledgment: 501 }));
    deck.takeAll();
    setRules(deck, { out: 'a', dport: '80', protocol: 'tcp', action: 'REJECT' });
    expect(
      send(deck, 'ext', tcp({ ...client, flags: 'PA', sequence: 101, acknowledgment: 501, data: 'GET' })),
    ).toBe('USER_REJECT');
    expect(arrived(deck, 'ext')).toEqual({ src: UP.ipv4, srcPort: 8080, dst: EXT1.ipv4, dstPort: 7 });
    // A reset is not answered, and neither is a segment that is damaged.
    expect(send(deck, 'ext', tcp({ ...client, flags: 'R', sequence: 101 }))).toBe('USER_REJECT');
    const damaged = tcp({ ...client, flags: 'A', sequence: 101, acknowledgment: 501 });
    damaged[damaged.length - 1]! ^= 1;
    expect(send(deck, 'ext', damaged)).toBe('USER_REJECT');
    expect(deck.take('ext')).toEqual([]);
  });

  test.each([
    [undefined, 3, 4],
    ['icmp-net-unreachable', 0, 0],
    ['icmp-host-unreachable', 1, 3],
    ['icmp-proto-unreachable', 2, 4],
    ['icmp-port-unreachable', 3, 4],
    ['icmp-net-prohibited', 9, 1],
    ['icmp-host-prohibited', 10, 1],
    ['icmp-admin-prohibited', 13, 1],
  ] as const)('REJECT with %s says so, from the gateway', (rejectWith, code4, code6) => {
    const deck = natBed();
    setRules(deck, { protocol: 'udp', action: 'REJECT', ...(rejectWith && { rejectWith }) });
    for (const [family, code, from] of [
      [4, code4, '10.0.0.1'],
      [6, code6, 'fd00::1'],
    ] as const) {
      const sent = udp({ from: C1, to: EXT1, via: VIA_GA, family, dstPort: 9, data: 'hello' });
      expect(send(deck, 'c1', sent)).toBe('USER_REJECT');
      const { ip, icmp: said, payload } = only(deck, 'c1');
      expect([ip!.src, said!.type, said!.code]).toEqual([from, family === 4 ? 3 : 1, code]);
      // As its sender sent it: with the TTL that it had.
      expect(payload).toEqual(sent.slice(14));
    }
  });

  test('what is impossible is refused, and what was in force stays', () => {
    const { deck } = conversation();
    setRules(deck, { action: 'DROP' });
    const a = { network: deck.networkId('a') };
    const bad: [UserRule[], string][] = [
      [[{ id: 1.5, action: 'DROP' }], '1.5 is no id'],
      [
        [
          { id: 2, action: 'DROP' },
          { id: 2, action: 'DROP' },
        ],
        'two rules 2',
      ],
      [[{ id: 2, action: 'LOG' as 'DROP' }], 'no action LOG'],
      [[{ id: 2, action: 'DROP', rejectWith: 'tcp-reset' }], 'DROP answers nothing'],
      [[{ id: 2, action: 'REJECT', rejectWith: 'tcp-reset', protocol: 17 }], 'only TCP'],
      [[{ id: 2, action: 'DROP', in: { network: 77 } }], 'no network 77'],
      [[{ id: 2, action: 'DROP', in: a, protocol: 300 }], '300 is no IP protocol'],
      [[{ id: 2, action: 'DROP', sports: { from: 1, to: 2 } }], 'only TCP and UDP have ports'],
      [[{ id: 2, action: 'DROP', protocol: 6, dports: { from: 9, to: 8 } }], 'no range'],
      [[{ id: 2, action: 'DROP', icmpType: 8 }], 'only ICMP has types'],
      [[{ id: 2, action: 'DROP', protocol: 1, icmpType: 256 }], '256 is no type'],
      [[{ id: 2, action: 'DROP', src: { address: 0, prefix: 33 } }], '33 is no length'],
      [
        [
          {
            id: 2,
            action: 'DROP',
            src: { address: 0, prefix: 0 },
            dst: { address: [0, 0, 0, 0], prefix: 0 },
          },
        ],
        'no packet goes',
      ],
      [
        [{ id: 2, action: 'DROP', protocol: 1, src: { address: [0, 0, 0, 0], prefix: 0 } }],
        'ICMP is for IPv4',
      ],
      [[{ id: 2, action: 'DROP', states: ['OLD' as 'NEW'] }], 'no state OLD'],
    ];
    for (const [rules, message] of bad) {
      expect(() => deck.setUserRules(rules)).toThrow(message);
      expect(send(deck, 'c1', there)).toBe('USER_DROP');
    }
    expect(counted(deck)).toEqual({ 1: bad.length });
  });
});

describe('rules as they are written', () => {
  const read = (spec: RuleSpec) => readRule(spec, (name) => ({ ...TABLES })[name as 'a']?.length);

  test('become numbers', () => {
    expect(
      read({
        action: 'REJECT',
        rejectWith: 'tcp-reset',
        in: 'a',
        out: '!up',
        src: '!10.0.0.0/8',
        dst: '192.0.2.1',
        protocol: 'tcp',
        sport: '1024-65535',
        dport: '22',
        state: ['NEW'],
      }),
    ).toEqual({
      action: 'REJECT',
      rejectWith: 'tcp-reset',
      in: { network: 1 },
      out: { network: 2, not: true },
      src: { address: 0x0a000000, prefix: 8, not: true },
      dst: { address: 0xc0000201 | 0, prefix: 32 },
      protocol: 6,
      sports: { from: 1024, to: 65535 },
      dports: { from: 22, to: 22 },
      states: ['NEW'],
    });
    expect(read({ action: 'DROP', protocol: 'icmpv6', icmpType: 'packet-too-big' }).icmpType).toBe(2);
    expect(read({ action: 'DROP', protocol: '47' }).protocol).toBe(47);
  });

  test.each([
    [{ action: 'drop' as 'DROP' }, "there is no action 'drop'; there are: ACCEPT, DROP, REJECT, RETURN"],
    [{ in: 'c' }, "there is no network or uplink 'c'"],
    [{ in: '!__proto__' }, "there is no network or uplink '__proto__'"],
    [{ src: '10.0.0.256' }, "'10.0.0.256' is no address or subnet; write 10.0.0.2, 10.0.0.0/24 or fd00::/64"],
    [{ src: '10.0.0.0/33' }, 'is no address'],
    [{ dst: 'fd00::/129' }, 'is no address'],
    [{ dst: '10.0.0.0/8/8' }, 'is no address'],
    [{ dst: '' }, 'is no address'],
    [{ src: '10.0.0.1', dst: 'fd00::1' }, 'no packet goes from 10.0.0.1 to fd00::1'],
    [{ protocol: 'tpc' }, "'tpc' is no protocol; there are: icmp, tcp, udp"],
    [{ protocol: '256' }, 'is no protocol'],
    [{ protocol: 'icmp', src: 'fd00::1' }, 'icmp is for IPv4 addresses'],
    [{ dport: '80' }, 'port 80 says nothing without a protocol that has ports'],
    [{ dport: '80', protocol: 'icmp' }, 'says nothing'],
    [{ dport: '90:80', protocol: 'tcp' }, "'90:80' is no port or range of ports; write 80 or 8000:8010"],
    [{ sport: 'http', protocol: 'tcp' }, 'is no port'],
    [{ sport: '65536', protocol: 'udp' }, 'is no port'],
    [{ icmpType: '8' }, 'type 8 says nothing without a protocol that has types'],
    [{ icmpType: 'ping', protocol: 'icmp' }, "'ping' is no type of it; there are: echo-reply"],
    [{ state: ['OPEN' as 'NEW'] }, "there is no state 'OPEN'"],
    [{ rejectWith: 'tcp-reset' }, "DROP answers nothing: leave 'tcp-reset' out"],
    [{ action: 'REJECT', rejectWith: 'tcp-reset' }, "'tcp-reset' is for TCP"],
    [{ action: 'REJECT', rejectWith: 'rst' as 'tcp-reset' }, "there is no answer 'rst'"],
  ] as [Partial<RuleSpec>, string][])('%j is refused in one line', (spec, message) => {
    expect(() => read({ action: 'DROP', ...spec })).toThrow(message);
  });
});
