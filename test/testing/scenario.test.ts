import { expect, test } from 'vitest';
import '../../src/testing/vitest.ts';
import { eth, memoryDeck, type ScenarioSpec, scenario } from '../../src/testing/index.ts';

const networks = {
  front: { ipam: { config: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd01::/64' }] } },
  back: { ipam: { config: [{ subnet: '10.2.0.0/24' }] }, internal: true },
};

test('a service has the addresses that it is given, or the next free ones', () => {
  const deck = scenario({
    networks,
    services: {
      web: { networks: ['front'] },
      api: {
        networks: {
          front: { ipv4_address: '10.1.0.2', ipv6_address: 'fd01::2', mac_address: '02:00:00:00:00:02' },
          back: null,
        },
      },
      db: { networks: ['back'] },
    },
  });
  expect(deck.station('api.front')).toEqual({ mac: '02:00:00:00:00:02', ipv4: '10.1.0.2', ipv6: 'fd01::2' });
  expect(deck.station('web')).toEqual({ mac: '02:42:0a:01:00:03', ipv4: '10.1.0.3', ipv6: 'fd01::3' });
  expect(deck.station('api.back')).toEqual({ mac: '02:42:0a:02:00:02', ipv4: '10.2.0.2' });
  expect(deck.station('db')).toEqual({ mac: '02:42:0a:02:00:03', ipv4: '10.2.0.3' });
  expect(deck.gateway('front')).toEqual({ mac: '02:42:0a:01:00:01', ipv4: '10.1.0.1', ipv6: 'fd01::1' });
  expect(() => deck.station('cache')).toThrow("there is no port 'cache'");
});

test('a frame without addresses is for whom its packet is for', () => {
  const deck = scenario({
    networks,
    services: { web: { networks: ['front'] }, api: { networks: ['front'] }, db: { networks: ['back'] } },
  });
  const near = deck.fateOf(
    'web',
    eth()
      .ip({ dst: deck.station('api') })
      .tcp({ dport: 80 }),
  );
  expect(near).toForwardTo(
    'api',
    eth({ src: deck.station('web'), dst: deck.station('api') })
      .ip()
      .tcp({ dport: 80 }),
  );
  const far = deck.fateOf(
    'web',
    eth()
      .ip({ dst: deck.station('db') })
      .tcp({ dport: 5432 }),
  );
  expect(far).not.toForwardTo('db');
  expect(far.verdict).toMatch(/^dropped: /);
});

test('virtual time passes as it is told to', () => {
  const deck = scenario({ services: { a: {}, b: {} }, 'x-tapdeck': { ageing: '10s', seed: 7 } });
  const hello = eth({ dst: deck.station('b'), type: 0x88b5 }).payload('hello');
  deck.send('a', hello);
  const learned = () =>
    deck
      .tables()
      .fdb.filter((entry) => !entry.static)
      .map(({ mac, port }) => [mac, port]);
  expect(learned()).toEqual([[deck.station('a').mac, 'a']]);
  deck.advance(20_000);
  expect(learned()).toEqual([]);
});

test('has lines that are bad, and rules', () => {
  const deck = scenario({
    networks,
    services: { web: { networks: ['front'] }, api: { networks: ['front'] } },
    'x-tapdeck': { ports: { api: { faults: 'transmit.loss=100%,seed=1' } } },
  });
  deck.send('web', eth().arp({ tpa: deck.station('api') }));
  expect(deck.take('api')).toEqual([]);
});

test.each<[unknown, RegExp | string]>([
  [
    { networks, services: { a: { networks: ['frnt'] } } },
    "there is no network 'frnt'; there are: front, back",
  ],
  [{ services: { a: {} }, 'x-tapdeck': { ageing: 5, color: 'red' } }, /^scenario:\d+:\d+: .*color/],
  [
    { services: { a: {} }, 'x-tapdeck': { duration: '5s' } },
    'a scenario in a test has no commands, duration',
  ],
])('what is wrong is said: %#', (spec, message) => {
  expect(() => scenario(spec as ScenarioSpec)).toThrow(message);
});

test('a deck without networks has stations without addresses', () => {
  const deck = memoryDeck({ ports: { a: {}, b: {} } });
  expect(deck.station('a')).toEqual({ mac: '02:42:7f:00:00:02' });
  expect(deck.station('b')).toEqual({ mac: '02:42:7f:00:00:03' });
});
