import { describe, expect, test } from 'vitest';
import {
  arpReply,
  arpRequest,
  ethernet,
  frameLine,
  icmpEcho,
  memoryDeck,
  type Station,
  udp,
} from '../../src/testing/index.ts';

const a: Station = { mac: '02:42:0a:00:00:0a', ipv4: '10.0.0.10', ipv6: 'fd00::a' };
const b: Station = { mac: '02:42:0a:00:00:0b', ipv4: '10.0.0.11', ipv6: 'fd00::b' };

test('bytes in, frames out', () => {
  const deck = memoryDeck({ ports: { a: {}, b: {}, c: {} } });
  const hello = icmpEcho({ from: a, to: b });
  expect(deck.send('a', hello)).toBe('flooded');
  expect(deck.takeAll()).toEqual({ b: [hello], c: [hello] });
  expect(deck.take('b')).toEqual([]);
  expect(deck.send('b', icmpEcho({ from: b, to: a, reply: true }))).toBe('forwarded to a');
  expect(deck.tables().fdb.map(({ mac, port }) => [mac, port])).toContainEqual([a.mac, 'a']);
});

test('the gateway answers, in two networks, and routes between them', () => {
  const deck = memoryDeck({
    networks: { lan: { ipv4: '10.0.0.1/24', ipv6: 'fd00::1/64' }, far: { ipv4: '10.1.0.1/24' } },
    ports: { a: { station: a }, far: { network: 'far' } },
  });
  const gateway = deck.gateway('lan');
  expect(gateway).toEqual({ mac: '02:42:0a:00:00:01', ipv4: '10.0.0.1', ipv6: 'fd00::1' });
  expect(deck.send('a', arpRequest({ from: a, ask: '10.0.0.1' }))).toBe('consumed by the gateway');
  expect(deck.take('a')).toEqual([arpReply({ from: gateway, to: a })]);
  expect(deck.send('a', icmpEcho({ from: a, to: gateway, sequence: 7 }))).toBe('sent back to a');
  expect(deck.take('a')).toEqual([icmpEcho({ from: gateway, to: a, reply: true, sequence: 7 })]);

  const far: Station = { mac: '02:42:0a:01:00:0f', ipv4: '10.1.0.15' };
  const question = udp({ from: a, to: far, via: gateway, dstPort: 9, data: 'over there' });
  expect(deck.send('a', question)).toBe('dropped: NETWORK_ISOLATED');
  deck.setUserRules([{ id: 1, action: 'ACCEPT', in: { network: deck.networkId('lan') } }]);
  expect(deck.send('a', question)).toContain('held');
  expect(deck.take('far').map(frameLine)).toEqual([
    '02:42:0a:01:00:01 > ff:ff:ff:ff:ff:ff, ARP, request who-has 10.1.0.15 tell 10.1.0.1',
  ]);
  deck.send('far', arpReply({ from: far, to: deck.gateway('far') }));
  const routed = udp({
    from: { ...a, mac: '02:42:0a:01:00:01' },
    to: far,
    ttl: 63,
    dstPort: 9,
    data: 'over there',
  });
  expect(deck.take('far')).toEqual([routed]);
});

test('time stands still until it is moved, and timers run at their own times', () => {
  const deck = memoryDeck({
    networks: { lan: { ipv4: '10.0.0.1/24' }, far: { ipv4: '10.1.0.1/24' } },
    ports: { a: { station: a }, far: { network: 'far' } },
  });
  deck.setUserRules([{ id: 1, action: 'ACCEPT' }]);
  deck.advance(250);
  deck.send('a', icmpEcho({ from: a, to: { mac: '', ipv4: '10.1.0.99' }, via: deck.gateway() }));
  deck.advance(100_000);
  expect(deck.now).toBe(100_250);
  // Three questions a second apart, then the sender is told.
  expect(deck.takeTimed('far').map(({ now }) => now)).toEqual([250, 1250, 2250]);
  expect(deck.takeTimed('a').map(({ now }) => now)).toEqual([3250]);
  expect(deck.drops()).toEqual({ NEIGH_FAILED: 1 });
});

test('ports come, go, and stand behind bad lines', () => {
  const deck = memoryDeck({ ports: { a: {}, b: { faults: 'transmit.loss=100%' } } });
  deck.send('a', icmpEcho({ from: a, to: b }));
  expect(deck.take('b')).toEqual([]);
  deck.attach('c');
  deck.send('a', icmpEcho({ from: a, to: b }));
  expect(deck.take('c')).toHaveLength(1);
  deck.detach('c');
  expect(() => deck.send('c', icmpEcho({ from: b, to: a }))).toThrow("the port 'c' cannot receive");
  deck.attach('c');
  expect(deck.send('c', icmpEcho({ from: b, to: a }))).toBe('forwarded to a');
  expect(deck.tables().ports['c']).toMatchObject({ rxFrames: 1, txFrames: 1 });
});

describe('mistakes are named', () => {
  const deck = memoryDeck({ ports: { a: {} } });
  test.each([
    [() => deck.send('z', new Uint8Array(60)), "there is no port 'z'"],
    [() => deck.take('z'), "there is no port 'z'"],
    [() => deck.gateway('z'), "there is no network 'z'"],
    [() => deck.attach('b', { network: 'z' }), "there is no network 'z'"],
    [() => deck.send('a', new Uint8Array(100_000)), "the port 'a' cannot receive this frame"],
    [() => memoryDeck({ networks: { n: { ipv4: '10.0.0.1' } }, ports: {} }), "'10.0.0.1' is not an address"],
    [
      () => memoryDeck({ networks: { n: { ipv4: '10.0.0/24' } }, ports: {} }),
      "'10.0.0/24' is not an address",
    ],
  ])('%s', (mistake, words) => {
    expect(mistake).toThrow(words);
  });

  test('dropped frames say why', () => {
    expect(deck.send('a', ethernet({ from: a.mac, to: '01:80:c2:00:00:0e', type: 0x88cc }))).toBe(
      'dropped: MAC_RESERVED',
    );
    expect(deck.send('a', new Uint8Array(0))).toBe('dropped: PKT_TOO_SMALL');
  });
});
