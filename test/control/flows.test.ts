import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import { DeckError } from '../../src/control/error.ts';
import { parseFlowQuery } from '../../src/control/flow-filter.ts';
import type { FlowEventView } from '../../src/control/flows.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';
import { flowEntry, pingEntry } from './flow-entries.ts';

describe('a query', () => {
  const number = (name: string) => (name === 'lab' ? 3 : -1);

  it('becomes what the data plane takes', () => {
    expect(parseFlowQuery({}, number)).toEqual({});
    expect(
      parseFlowQuery(
        {
          protocol: 'TCP',
          family: 4,
          src: '10.0.0.1',
          srcPort: 1,
          dstPort: 0,
          state: 'established',
          network: 'lab',
        },
        number,
      ),
    ).toEqual({
      protocol: 6,
      family: 4,
      src: '10.0.0.1',
      srcPort: 1,
      dstPort: 0,
      state: 'ESTABLISHED',
      network: 3,
    });
    expect(parseFlowQuery({ dst: 'FD00:0::0001', replySrc: '::' }, number)).toEqual({
      dst: 'fd00::1',
      replySrc: '::',
    });
    expect(parseFlowQuery({ protocol: '47' }, number)).toEqual({ protocol: 47 });
  });

  it.each([
    [{ protocol: 'tpc' }, /protocol "tpc" is unknown; use icmp, tcp, /],
    [{ protocol: '256' }, /protocol "256" is unknown/],
    [{ src: '10.0.0' }, /"10.0.0" is not an IPv4 address/],
    [{ replyDst: 'fd00::x' }, /"fd00::x" is not an IPv6 address/],
    [{ srcPort: 65536 }, /port 65536 is out of range/],
    [{ dstPort: -1 }, /port -1 is out of range/],
    [{ dstPort: 0.5 }, /port 0.5 is out of range/],
    [{ state: 'OPEN' }, /state "OPEN" is unknown; TCP has NONE, SYN_SENT/],
  ])('%j is refused in one line', (query, message) => {
    expect(() => parseFlowQuery(query, number)).toThrow(DeckError);
    expect(() => parseFlowQuery(query, number)).toThrow(message);
  });
});

describe('connections', () => {
  let plane: FakeDataPlane;
  let deck: Deck;

  beforeEach(async () => {
    plane = new FakeDataPlane();
    deck = await fakeDeck(plane);
  });

  afterEach(() => deck.close());

  it('are shown with the names of their networks and of who published the port', async () => {
    await deck.attach({ pid: 1, name: 'web', publish: ['8080:80'] });
    const [publish] = plane.publishes.keys();
    plane.flowTable = [flowEntry({ publish: publish! }), pingEntry({ protocol: 253, publish: 999 })];
    const [tcp, other] = await deck.flows({ protocol: 'tcp', network: 'bridge' });
    expect(plane.filters).toEqual([{ protocol: 6, network: 0 }]);
    expect(tcp).toMatchObject({
      id: 7,
      protocol: 'tcp',
      protocolNumber: 6,
      state: 'ESTABLISHED',
      remaining: 7439,
      published: 'web',
      original: { network: 'bridge', src: '172.17.0.2', packets: 3 },
      reply: { network: '#1', dstPort: 50001 },
    });
    expect(tcp).not.toHaveProperty('publish');
    expect(other).toMatchObject({ protocol: 'unknown', protocolNumber: 253, published: null });
  });

  it('are counted and forgotten', async () => {
    plane.flowTable = [flowEntry(), pingEntry()];
    expect(await deck.countFlows()).toEqual({ entries: 2, capacity: 262_144 });
    expect(await deck.closeFlows({ src: '172.17.0.2' })).toBe(2);
    expect(await deck.closeFlows()).toBe(0);
    expect(plane.filters).toEqual([{ src: '172.17.0.2' }, {}]);
    await expect(deck.flows({ network: 'nowhere' })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('are told of only while somebody listens', async () => {
    const heard: [string, FlowEventView][] = [];
    expect(plane.watched).toBe(false);
    const stop = await deck.watchFlows((event) => heard.push(['all', event]));
    const stopTcp = await deck.watchFlows((event) => heard.push(['tcp', event]), { protocol: 'tcp' });
    plane.happen({ event: 'NEW', flow: flowEntry() });
    plane.happen({ event: 'DESTROY', flow: pingEntry() });
    plane.lose(12);
    expect(heard).toMatchObject([
      ['all', { event: 'NEW', flow: { protocol: 'tcp', original: { network: 'bridge' } } }],
      ['tcp', { event: 'NEW' }],
      ['all', { event: 'DESTROY', flow: { protocol: 'icmp' } }],
      ['all', { event: 'LOST', count: 12 }],
      ['tcp', { event: 'LOST', count: 12 }],
    ]);
    await stop();
    await stop();
    expect(plane.watched).toBe(true);
    plane.happen({ event: 'NEW', flow: flowEntry() });
    expect(heard).toHaveLength(6);
    await stopTcp();
    expect(plane.watched).toBe(false);
  });

  it('are told of again after nobody listened, whoever comes and goes meanwhile', async () => {
    const stop = await deck.watchFlows(() => {});
    const stopping = stop();
    const again = await deck.watchFlows(() => {});
    await stopping;
    expect(plane.watched).toBe(true);
    await again();
    plane.failing.set('watchFlows', 'not now');
    await expect(deck.watchFlows(() => {})).rejects.toThrow('not now');
    plane.failing.clear();
    const last = await deck.watchFlows(() => {});
    expect(plane.watched).toBe(true);
    await last();
    expect(plane.watched).toBe(false);
  });
});
