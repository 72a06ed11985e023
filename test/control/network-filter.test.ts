import { describe, expect, it } from 'vitest';
import { DeckError } from '../../src/control/error.ts';
import { checkLabels, parseLabels } from '../../src/control/labels.ts';
import type { NetworkInfo } from '../../src/control/network.ts';
import { LIST_FILTERS, networkFilter, PRUNE_FILTERS } from '../../src/control/network-filter.ts';

const NOW = Date.parse('2026-01-02T00:00:00Z');

function network(name: string, fields: Partial<NetworkInfo> = {}): NetworkInfo {
  return {
    id: `${name}id`.padEnd(64, '0'),
    name,
    driver: 'bridge',
    labels: {},
    endpoints: [],
    createdAt: '2026-01-01T00:00:00Z',
    ...fields,
  } as NetworkInfo;
}

const NETWORKS = [
  network('bridge', { endpoints: ['web'] }),
  network('host', { driver: 'host' }),
  network('none', { driver: 'null' }),
  network('front', { labels: { tier: 'front', project: 'shop' }, endpoints: ['web'] }),
  network('back', { labels: { tier: 'back', project: 'shop' }, createdAt: '2026-01-01T23:30:00Z' }),
];

const chosen = (keys: readonly string[], ...filters: string[]) =>
  NETWORKS.filter(networkFilter(filters, keys, NOW)).map(({ name }) => name);

describe('filters of networks', () => {
  it.each([
    [[], ['bridge', 'host', 'none', 'front', 'back']],
    [['driver=bridge'], ['bridge', 'front', 'back']],
    [
      ['driver=host', 'driver=null'],
      ['host', 'none'],
    ],
    [['name=ont'], ['front']],
    [
      ['name=front', 'name=back'],
      ['front', 'back'],
    ],
    [['id=frontid'], ['front']],
    [
      ['scope=local', 'type=builtin'],
      ['bridge', 'host', 'none'],
    ],
    [['scope=swarm'], []],
    [['type=custom', 'dangling=true'], ['back']],
    [['dangling=0'], ['bridge', 'front']],
    [['label=project'], ['front', 'back']],
    [['label=project=shop', 'label=tier=back'], ['back']],
    [['label=constructor'], []],
    [['label=project=sho'], []],
  ])('%j of ls', (filters, names) => {
    expect(chosen(LIST_FILTERS, ...filters)).toEqual(names);
  });

  it.each([
    [['until=1h'], ['bridge', 'host', 'none', 'front']],
    [
      ['until=1h', 'label!=tier'],
      ['bridge', 'host', 'none'],
    ],
    [['until=15m'], ['bridge', 'host', 'none', 'front', 'back']],
    [['until=24h0m1s'], []],
    [['until=2026-01-01T12:00:00Z'], ['bridge', 'host', 'none', 'front']],
    [[`until=${NOW / 1000 - 3600}`], ['bridge', 'host', 'none', 'front']],
    [['label!=tier=front', 'label=tier'], ['back']],
  ])('%j of prune', (filters, names) => {
    expect(chosen(PRUNE_FILTERS, ...filters)).toEqual(names);
  });

  it.each(['', 'name', '=x', 'until=1h', '__proto__=x', 'type=other', 'dangling=maybe', 'NAME=x'])(
    'of ls refuse %j',
    (filter) => {
      expect(() => chosen(LIST_FILTERS, filter)).toThrow(DeckError);
    },
  );

  it.each(['until=', 'until=soon', 'until=-1h', 'until=1d', 'until=2026-13-45', 'name=x'])(
    'of prune refuse %j',
    (filter) => {
      expect(() => chosen(PRUNE_FILTERS, filter)).toThrow(DeckError);
    },
  );
});

describe('labels', () => {
  it('are keys with values, of which the last counts', () => {
    expect(parseLabels(['a=1', 'b', 'c=x=y', 'a=2', 'constructor=z'])).toEqual({
      a: '2',
      b: '',
      c: 'x=y',
      constructor: 'z',
    });
  });

  it.each([[['=x']], [['']], [['a b=x']], [['__proto__=x']], [[`k=${'v'.repeat(5000)}`]]])(
    'refuse %j',
    (labels) => {
      expect(() => parseLabels(labels)).toThrow(DeckError);
    },
  );

  it('with the name of a prototype come to no harm', () => {
    const labels = JSON.parse('{"__proto__": "x"}') as Record<string, string>;
    expect(() => checkLabels(labels)).toThrow('label "__proto__" cannot be');
  });
});
