import fc from 'fast-check';
import { type MemoryDeck, memoryDeck } from '../../src/testing/memory-deck.ts';

/** What a deck is to be: networks `a`, `b`, `c` with two stations each, and an uplink with one. */
export interface DeckShape {
  networks: readonly { icc: boolean; internal: boolean }[];
  rules: readonly {
    in: number;
    out: number;
    protocol: 'tcp' | 'udp' | 'icmp';
    dport: number;
    action: 'ACCEPT' | 'DROP' | 'REJECT';
  }[];
  publishes: readonly {
    network: number;
    host: number;
    from: number;
    target: number;
    protocol: 'tcp' | 'udp';
  }[];
}

const LETTERS = ['a', 'b', 'c'];
export const NAMES = [...LETTERS.flatMap((letter) => [`${letter}0`, `${letter}1`]), 'up0'];
const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17 };

export function arbitraryDeck(): fc.Arbitrary<DeckShape> {
  const network = fc.nat({ max: 2 });
  return fc.record({
    networks: fc.array(
      fc.record({ icc: fc.boolean(), internal: fc.integer({ min: 0, max: 3 }).map((n) => n === 0) }),
      { minLength: 3, maxLength: 3 },
    ),
    rules: fc.array(
      fc.record({
        in: network,
        out: network,
        protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'icmp' as const),
        dport: fc.constantFrom(53, 80),
        action: fc.constantFrom('ACCEPT' as const, 'DROP' as const, 'REJECT' as const),
      }),
      { maxLength: 4 },
    ),
    publishes: fc.uniqueArray(
      fc.record({
        network,
        host: fc.nat({ max: 1 }),
        from: fc.constantFrom(53, 80, 8080),
        target: fc.constantFrom(53, 80),
        protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      }),
      { maxLength: 3, selector: ({ from, protocol }) => `${from}/${protocol}` },
    ),
  });
}

/** @param connections most at one time */
export function makeDeck({ networks, rules, publishes }: DeckShape, connections = 256): MemoryDeck {
  const station = (i: number, host: number) => ({
    mac: `02:42:0a:0${i}:00:0${host + 2}`,
    ipv4: `10.${i}.0.${host + 2}`,
    ipv6: `fd00:${i}::${host + 2}`,
  });
  const deck = memoryDeck({
    conntrack: { capacity: connections },
    arena: { small: 256, big: 16 },
    uplinks: {
      up: { ipv4: '192.0.2.2/24', ipv6: '2001:db8::2/64', gateway4: '192.0.2.1', gateway6: '2001:db8::1' },
    },
    networks: Object.fromEntries(
      networks.map(({ icc, internal }, i) => [
        LETTERS[i],
        {
          ipv4: `10.${i}.0.1/24`,
          ipv6: `fd00:${i}::1/64`,
          icc,
          internal,
          ...(!internal && { uplink: 'up' }),
        },
      ]),
    ),
    ports: {
      ...Object.fromEntries(
        networks.flatMap((_, i) =>
          [0, 1].map((host) => [`${LETTERS[i]}${host}`, { network: LETTERS[i], station: station(i, host) }]),
        ),
      ),
      up0: {
        network: 'up',
        station: { mac: '02:42:c0:00:02:01', ipv4: '192.0.2.1', ipv6: '2001:db8::1' },
      },
    },
  });
  deck.setUserRules(
    rules.map(({ in: from, out, protocol, dport, action }, id) => ({
      id,
      action,
      in: { network: deck.networkId(LETTERS[from]!) },
      out: { network: deck.networkId(LETTERS[out]!) },
      protocol: PROTOCOLS[protocol],
      ...(protocol !== 'icmp' && { dports: { from: dport, to: dport } }),
    })),
  );
  for (const { network, host, from, target, protocol } of publishes) {
    if (networks[network]!.internal) continue;
    deck.publish({ station: station(network, host), network: LETTERS[network]!, from, target, protocol });
  }
  return deck;
}

/** All addresses worth asking for, of both IP versions. */
export function targetsOf(deck: MemoryDeck): string[] {
  return [
    ...[...deck.virtual.ports.keys()].flatMap((name) => {
      const { ipv4, ipv6 } = deck.station(name);
      return [ipv4, ipv6];
    }),
    ...LETTERS.flatMap((letter) => {
      const { ipv4, ipv6 } = deck.gateway(letter);
      return [ipv4, ipv6];
    }),
    '192.0.2.2',
    '2001:db8::2',
    '198.51.100.9',
    '10.0.0.99',
    '10.1.0.99',
  ].filter((text) => text !== undefined);
}
