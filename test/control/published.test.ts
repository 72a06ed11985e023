import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Deck } from '../../src/control/deck.ts';
import { DeckError } from '../../src/control/error.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

let plane: FakeDataPlane;
let deck: Deck;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
});

afterEach(() => deck.close());

const WEB = 0xac110002 | 0;
const WEB6 = [0xfd746170 | 0, 0x64650000, 0, 2];
const told = () => Array.from(plane.publishes.values());

describe('publish', () => {
  it('tells the data plane once per IP version, and shows it with the endpoint', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    const published = await deck.publish('web', ['8080:80']);
    const port = {
      endpoint: 'web',
      protocol: 'tcp',
      hostPort: 8080,
      hostPortEnd: 8080,
      port: 80,
      portEnd: 80,
    };
    expect(published).toEqual([
      { ...port, host: '0.0.0.0', gateway: '172.17.0.1' },
      { ...port, host: '::', gateway: 'fd74:6170:6465::1' },
    ]);
    const options = { network: 0, protocol: 6, target: 80, from: 8080, to: 8080, host: null };
    expect(told()).toEqual([
      { ...options, address: WEB },
      { ...options, address: WEB6 },
    ]);
    expect(deck.endpoint('web').ports).toEqual(published);
    expect(deck.endpoints()[0]!.ports).toEqual(published);
  });

  it('of ranges is one entry, of one address that of its IP version', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    await deck.publish('web', ['172.17.0.1:8000-8010:80-90/udp', '[fd74:6170:6465::1]:53:53', '0.0.0.0:7:7']);
    expect(told()).toEqual([
      { network: 0, address: WEB, protocol: 17, target: 80, from: 8000, to: 8010, host: 0xac110001 | 0 },
      {
        network: 0,
        address: WEB6,
        protocol: 6,
        target: 53,
        from: 53,
        to: 53,
        host: [0xfd746170 | 0, 0x64650000, 0, 1],
      },
      { network: 0, address: WEB, protocol: 6, target: 7, from: 7, to: 7, host: null },
    ]);
    expect(deck.endpoint('web').ports.map(({ port, host }) => [port, host])).toEqual([
      [7, '0.0.0.0'],
      [53, 'fd74:6170:6465::1'],
      [80, '172.17.0.1'],
    ]);
  });

  it('is part of attach, and of what attach answers', async () => {
    const web = await deck.attach({ pid: 1, name: 'web', publish: ['8080:80', '53:53/udp'] });
    expect(web.ports).toHaveLength(4);
    expect(plane.publishes.size).toBe(4);
    expect(deck.endpoint('web')).toEqual(web);
  });

  it('chooses a free port, the same for both IP versions', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    const [one, other] = await deck.publish('web', ['80']);
    expect(one!.hostPort).toBe(other!.hostPort);
    expect(one!.hostPort).toBeGreaterThanOrEqual(32768);
    expect(one!.hostPort).toBeLessThanOrEqual(60999);
    const ports = new Set<number>();
    for (let i = 0; i < 20; i++) ports.add((await deck.publish('web', [`0:${1000 + i}`]))[0]!.hostPort);
    expect(ports.size).toBe(20);
  });

  it('chooses as many ports in a row as are asked for, and says when there are none', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    await deck.publish('web', ['32768-60989:1-28222']);
    const [published] = await deck.publish('web', ['80-89']);
    expect(published).toMatchObject({ hostPort: 60990, hostPortEnd: 60999, port: 80, portEnd: 89 });
    await expect(deck.publish('web', ['443'])).rejects.toThrow(
      'publish "443": no port free in 32768-60999/tcp; take others away or give a host port',
    );
    await expect(deck.publish('web', ['80-90'])).rejects.toThrow('no 11 ports in a row free');
    expect((await deck.publish('web', ['443/udp']))[0]).toMatchObject({ protocol: 'udp' });
    await expect(deck.publish('web', ['1-40000/udp'])).rejects.toThrow('no 40000 ports in a row free');
  });

  it('takes the first free one out of a range for a single port, as Docker does', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    expect((await deck.publish('web', ['8000-8001:80']))[0]!.hostPort).toBe(8000);
    expect((await deck.publish('web', ['8000-8001:80']))[0]!.hostPort).toBe(8001);
    await expect(deck.publish('web', ['8000-8001:80'])).rejects.toThrow('no port free in 8000-8001/tcp');
  });

  it('says whose a port is', async () => {
    await deck.attach({ pid: 1, name: 'web', publish: ['8000-8080:8000-8080'] });
    await deck.attach({ pid: 2, name: 'api', publish: ['172.17.0.1:90:90'] });
    for (const [spec, message] of [
      ['8080:80', 'port 8000-8080/tcp is published by container web already, on all addresses'],
      ['172.17.0.1:8000:80', 'port 8000-8080/tcp is published by container web already'],
      ['90:90', 'port 90/tcp is published by container api already, on 172.17.0.1; choose'],
    ] as const) {
      const refused = deck.publish('api', [spec]);
      await expect(refused).rejects.toThrow(DeckError);
      await expect(refused).rejects.toThrow(message);
      await expect(refused).rejects.toMatchObject({ code: 'conflict' });
    }
    await deck.publish('api', ['8080:80/udp', '[fd74:6170:6465::1]:90:90']);
    expect(plane.publishes.size).toBe(2 + 1 + 2 + 1);
  });

  it.each([
    [['1:1', '2:2', '1:3'], /port 1\/tcp is asked for twice/],
    [['1:1', '2-3:2'], null],
    [
      ['1:1', '127.0.0.1:8080:80'],
      /ports of container \w+ cannot be on 127.0.0.1; use 172.17.0.1 \(gateway of bridge\)/,
    ],
    [
      ['1:1', '[::1]:8080:80'],
      /ports of container \w+ cannot be on ::1; use fd74:6170:6465::1 \(gateway of bridge\)/,
    ],
    [['1:1', '2:nonsense'], /"nonsense" is not a port number/],
  ])('of %j is all or nothing', async (specs, message) => {
    await deck.attach({ pid: 1, name: 'web' });
    if (message === null) {
      await deck.publish('web', specs);
      return;
    }
    await expect(deck.publish('web', specs)).rejects.toThrow(message);
    expect(told()).toEqual([]);
    expect(deck.endpoint('web').ports).toEqual([]);
    await expect(deck.attach({ pid: 2, name: 'other', publish: specs })).rejects.toThrow(message);
    expect(deck.endpoints().map(({ name }) => name)).toEqual(['web']);
    expect(plane.ports.size).toBe(1);
    // Nothing is left of it: neither port nor name.
    await deck.attach({ pid: 2, name: 'other', publish: ['1:1'] });
  });

  it('is taken back when the data plane refuses one of several', async () => {
    await deck.attach({ pid: 1, name: 'web' });
    const publish = plane.publish.bind(plane);
    let calls = 0;
    plane.publish = async (options) => {
      if (++calls === 3) throw new Error('no room for another publish');
      return publish(options);
    };
    await expect(deck.publish('web', ['1:1', '2:2'])).rejects.toThrow('no room for another publish');
    await deck.drops();
    expect(told()).toEqual([]);
    expect(deck.endpoint('web').ports).toEqual([]);
    await deck.publish('web', ['1:1', '2:2']);
    expect(told()).toHaveLength(4);
  });

  it('is taken back when the attach fails later', async () => {
    plane.failing.set('addTap', 'no such device');
    await expect(deck.attach({ pid: 1, name: 'web', publish: ['80:80'] })).rejects.toThrow('no such device');
    plane.failing.clear();
    await deck.drops();
    expect(told()).toEqual([]);
    expect((await deck.attach({ pid: 1, name: 'web', publish: ['80:80'] })).ports).toHaveLength(2);
  });

  it('of one port at the same time succeeds once', async () => {
    await deck.attach({ pid: 1, name: 'a' });
    await deck.attach({ pid: 2, name: 'b' });
    const results = await Promise.allSettled([
      deck.publish('a', ['80:80']),
      deck.publish('b', ['80:80']),
      deck.attach({ pid: 3, name: 'c', publish: ['80:80'] }),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected']);
    expect(plane.publishes.size).toBe(2);
  });

  it('ends with the endpoint, also when it is under way', async () => {
    await deck.attach({ pid: 1, name: 'web', publish: ['80:80'] });
    const [published, detached] = await Promise.allSettled([
      deck.publish('web', ['81:81']),
      deck.detach('web'),
    ]);
    expect(detached.status).toBe('fulfilled');
    expect(published).toMatchObject({ status: 'rejected', reason: expect.any(DeckError) });
    expect(told()).toEqual([]);
    await deck.attach({ pid: 1, name: 'other', publish: ['80-81:80-81'] });
  });

  it('ends when the namespace vanishes', async () => {
    const { port } = await deck.attach({ pid: 1, name: 'web', publish: ['80:80'] });
    const gone = new Promise((resolve) => deck.events.once('gone', resolve));
    plane.vanish(port);
    await gone;
    expect(told()).toEqual([]);
  });

  it('knows the endpoint by its name or id only', async () => {
    await expect(deck.publish('nobody', ['80'])).rejects.toMatchObject({ code: 'not-found' });
    await expect(deck.unpublish('nobody', '80')).rejects.toMatchObject({ code: 'not-found' });
    const { id } = await deck.attach({ pid: 1, name: 'web' });
    await deck.publish(id.slice(0, 12), ['80:80']);
    expect(deck.endpoint('web').ports).toHaveLength(2);
  });
});

describe('unpublish', () => {
  beforeEach(async () => {
    const publish = ['8080:80', '8000-8010:8000-8010', '53:53/udp', '172.17.0.1:90:90', '443'];
    await deck.attach({ pid: 1, name: 'web', publish });
  });

  it.each([
    ['8080', 2],
    ['8080/tcp', 2],
    ['8080:80', 2],
    ['0.0.0.0:8080:80', 1],
    ['[::]:8080:80', 1],
    ['53/udp', 2],
    ['8000-8010', 2],
    ['8000-8010:8000-8010/tcp', 2],
    ['172.17.0.1:90:90', 1],
    ['90', 1],
    ['443', 2],
    ['0:443', 2],
    ['0.0.0.0:8080', 1],
    ['[::]:8080/tcp', 1],
    ['[fd74:6170:6465::1]:53/udp', 1],
    ['172.17.0.1:8000-8010', 1],
    ['172.17.0.1:90', 1],
  ])('%j withdraws %d', async (spec, count) => {
    const before = deck.endpoint('web').ports.length;
    const known = plane.publishes.size;
    expect(await deck.unpublish('web', spec)).toHaveLength(count);
    expect(deck.endpoint('web').ports).toHaveLength(before - count);
    expect(plane.publishes.size).toBe(known - count);
    await expect(deck.unpublish('web', spec)).rejects.toMatchObject({ code: 'not-found' });
  });

  it.each(['80', '53', '8080/udp', '8080:81', '1.2.3.4:8080:80', '90:90', '1.2.3.4:8080', '0.0.0.0:90'])(
    '%j is not what was published, and changes nothing',
    async (spec) => {
      const known = plane.publishes.size;
      await expect(deck.unpublish('web', spec)).rejects.toThrow(
        /^container web does not publish "[^"]+", only 8080\/tcp, .*; see "tapdeck port web"$/,
      );
      expect(plane.publishes.size).toBe(known);
    },
  );

  it.each(['8000', '8000-8009', '0.0.0.0:8010', '8005-8081'])(
    '%j is a part of a range, which goes as a whole',
    async (spec) => {
      const refused = deck.unpublish('web', spec);
      await expect(refused).rejects.toMatchObject({ code: 'conflict' });
      await expect(refused).rejects.toThrow(
        `container web does not publish "${spec}" alone; 8000-8010/tcp goes as a whole, with "tapdeck unpublish web 8000-8010/tcp"`,
      );
      expect(plane.publishes.size).toBe(9);
    },
  );

  it('by the port of the endpoint is for one publish, and never for several', async () => {
    const [one] = await deck.publish('web', ['443']);
    const ports = deck
      .endpoint('web')
      .ports.filter(({ port }) => port === 443)
      .map(({ hostPort }) => hostPort);
    const names = Array.from(new Set(ports), (port) => `${port}/tcp`)
      .sort()
      .join(', ');
    for (const spec of ['443', '0:443']) {
      const refused = deck.unpublish('web', spec);
      await expect(refused).rejects.toMatchObject({ code: 'conflict' });
      await expect(refused).rejects.toThrow(
        `container web publishes "${spec}" more than once; say which by the host port: ${names}`,
      );
    }
    expect(plane.publishes.size).toBe(11);
    await deck.unpublish('web', String(one!.hostPort));
    expect(await deck.unpublish('web', '443')).toHaveLength(2);
    // A host port goes before a port of the endpoint.
    await deck.publish('web', ['443:1', '443']);
    expect(await deck.unpublish('web', '443')).toMatchObject([{ port: 1 }, { port: 1 }]);
  });

  it('of several is of all or of none', async () => {
    await expect(deck.unpublish('web', ['8080', '53'])).rejects.toThrow('does not publish "53"');
    expect(plane.publishes.size).toBe(9);
    expect(await deck.unpublish('web', ['8080', '53/udp', '0.0.0.0:8080'])).toHaveLength(4);
    expect(plane.publishes.size).toBe(5);
  });

  it('frees the port for others', async () => {
    await deck.unpublish('web', '8080');
    await deck.attach({ pid: 2, name: 'api', publish: ['8080:80'] });
    await expect(deck.unpublish('web', '8080')).rejects.toThrow('does not publish "8080"');
  });
});

it('never gives a port twice, whatever is published and withdrawn', async () => {
  const port = fc.integer({ min: 1, max: 12 });
  const host = fc.constantFrom('', '172.17.0.1:', '0.0.0.0:', '[::]:', '[fd74:6170:6465::1]:');
  const spec = fc
    .tuple(host, port, fc.integer({ min: 0, max: 3 }), fc.constantFrom('tcp', 'udp'))
    .map(
      ([host, from, count, protocol]) => `${host}${from}-${from + count}:${from}-${from + count}/${protocol}`,
    );
  const step = fc.record({
    endpoint: fc.constantFrom('a', 'b'),
    specs: fc.array(spec, { minLength: 1, maxLength: 3 }),
    withdraw: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const plane = new FakeDataPlane();
      await using deck = await fakeDeck(plane);
      await deck.attach({ pid: 1, name: 'a' });
      await deck.attach({ pid: 2, name: 'b' });
      await Promise.allSettled(
        steps.map(({ endpoint, specs, withdraw }) =>
          withdraw ? deck.unpublish(endpoint, specs[0]!) : deck.publish(endpoint, specs),
        ),
      );
      await deck.drops();
      const shown = deck.endpoints().flatMap(({ ports }) => ports);
      expect(plane.publishes.size).toBe(shown.length);
      const taken = Array.from(plane.publishes.values());
      for (const [i, one] of taken.entries()) {
        for (const other of taken.slice(i + 1)) {
          const apart =
            one.protocol !== other.protocol ||
            typeof one.address !== typeof other.address ||
            one.to < other.from ||
            other.to < one.from ||
            (one.host !== null && other.host !== null && String(one.host) !== String(other.host));
          expect(apart, JSON.stringify([one, other])).toBe(true);
        }
      }
    }),
    { numRuns: 60 },
  );
});
