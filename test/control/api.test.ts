import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildApi } from '../../src/control/api.ts';
import type { Deck } from '../../src/control/deck.ts';
import { EventLog } from '../../src/control/event-log.ts';
import { Leases } from '../../src/control/leases.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';
import { flowEntry, pingEntry } from './flow-entries.ts';

let plane: FakeDataPlane;
let deck: Deck;
let app: FastifyInstance;
let defects: Error[];

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
  defects = [];
  app = buildApi({
    deck,
    leases: new Leases(deck),
    events: new EventLog(deck.events),
    prune: async () => ({ networks: ['lab'], containers: [], sandboxes: [], files: [] }),
    version: () => ({ version: '1.2.3', pid: 1, startedAt: '', untilEmpty: false, uplinks: [], notices: [] }),
    ending: () => false,
    saved: async () => {},
    onDefect: (error) => defects.push(error),
  });
});

afterEach(async () => {
  await app.close();
  await deck.close();
});

async function call(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object | string) {
  const headers = typeof payload === 'string' ? { 'content-type': 'application/json' } : {};
  const response = await app.inject({ method, url, headers, ...(payload !== undefined && { payload }) });
  return { status: response.statusCode, body: response.json() };
}

describe('API', () => {
  it('makes, lists, shows and removes networks', async () => {
    const made = await call('POST', '/v1/networks', { name: 'lab', subnet: '10.1.0.0/24', ipv6: true });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ name: 'lab', ipv4: { gateway: '10.1.0.1' }, endpoints: [] });
    expect((await call('GET', '/v1/networks')).body).toHaveLength(4);
    expect((await call('GET', '/v1/networks/lab')).body).toEqual(made.body);
    expect((await call('DELETE', '/v1/networks/lab')).status).toBe(200);
    expect((await call('GET', '/v1/networks/lab')).status).toBe(404);
  });

  it('attaches, lists, shows and detaches endpoints', async () => {
    const made = await call('POST', '/v1/endpoints', { netns: '/run/netns/a', mtu: 1500 });
    expect(made).toMatchObject({ status: 201, body: { name: 'a', ipv4: '172.17.0.2', mtu: 1500 } });
    expect((await call('GET', '/v1/endpoints')).body).toEqual([made.body]);
    expect((await call('GET', '/v1/endpoints/a')).body).toEqual(made.body);
    expect((await call('DELETE', '/v1/endpoints/a')).body).toMatchObject({
      name: 'a',
      endpoints: [made.body],
    });
    expect((await call('GET', '/v1/endpoints')).body).toEqual([]);
  });

  it('publishes, shows and withdraws ports', async () => {
    await call('POST', '/v1/endpoints', { pid: 1, name: 'web', publish: ['80:80'] });
    const made = await call('POST', '/v1/endpoints/web/ports', { publish: ['53:53/udp'] });
    expect(made).toMatchObject({ status: 201, body: [{ protocol: 'udp', hostPort: 53 }, { host: '::' }] });
    expect((await call('GET', '/v1/endpoints/web/ports')).body).toHaveLength(4);
    expect((await call('DELETE', '/v1/endpoints/web/ports?spec=53%2Fudp')).body).toEqual(made.body);
    expect((await call('GET', '/v1/endpoints/web')).body.ports).toHaveLength(2);
    expect((await call('DELETE', '/v1/endpoints/web/ports?spec=53%2Fudp')).status).toBe(404);
    expect((await call('GET', '/v1/endpoints/nobody/ports')).status).toBe(404);
    expect((await call('POST', '/v1/endpoints/web/ports', { publish: ['80:81'] })).status).toBe(409);
  });

  it("adds, lists and removes rules of the user's", async () => {
    await call('POST', '/v1/networks', { name: 'front' });
    const wanted = {
      in: 'front',
      out: '!bridge',
      protocol: 'tcp',
      dport: '80',
      state: ['NEW'],
      action: 'DROP',
    };
    const made = await call('POST', '/v1/rules/user', wanted);
    expect(made).toMatchObject({
      status: 201,
      body: { ...wanted, id: 1, position: 1, active: true, packets: 0 },
    });
    plane.rules = [{ kind: 'USER', network: -1, publish: -1, rule: 1, packets: 3, bytes: 180 }];
    expect((await call('GET', '/v1/rules/user')).body).toEqual([{ ...made.body, packets: 3, bytes: 180 }]);
    const chains = (await call('GET', '/v1/rules')).body as { name: string; rules: object[] }[];
    expect(chains.find(({ name }) => name === 'DOCKER-USER')!.rules[0]).toMatchObject({
      rule: 1,
      target: 'DROP',
      packets: 3,
      words: 'TCP to port 80 from network front to anywhere but network bridge in state NEW is dropped',
    });
    expect(deck.save().rules).toMatchObject([{ ...wanted, id: 1 }]);
    await call('POST', '/v1/rules/user', { action: 'RETURN' });
    expect(await call('DELETE', '/v1/rules/user?id=1&id=2')).toMatchObject({
      status: 200,
      body: [{ id: 1 }, { id: 2 }],
    });
    expect(plane.userRules).toEqual([]);
  });

  it.each([
    [400, { action: 'LOG' }, 'must be equal to one of the allowed values'],
    [400, { action: 'DROP', foo: 1 }, 'must NOT have additional properties'],
    [400, { in: 'front' }, "must have required property 'action'"],
    [
      400,
      { action: 'DROP', in: '__proto__' },
      "there is no network or uplink '__proto__'; there are: bridge",
    ],
    [400, { action: 'DROP', dport: '80' }, 'port 80 says nothing without a protocol'],
  ])('answers %i to the rule %j', async (status, rule, message) => {
    const answer = await call('POST', '/v1/rules/user', rule);
    expect(answer).toMatchObject({
      status,
      body: { code: 'invalid', message: expect.stringContaining(message) },
    });
    expect((await call('GET', '/v1/rules/user')).body).toEqual([]);
    expect((await call('DELETE', '/v1/rules/user?id=1')).status).toBe(404);
    expect((await call('DELETE', '/v1/rules/user?id=one')).status).toBe(400);
    expect((await call('DELETE', '/v1/rules/user')).status).toBe(400);
  });

  it('shows and forgets connections, and the rules', async () => {
    plane.flowTable = [flowEntry(), pingEntry()];
    const query =
      '?protocol=tcp&family=4&srcPort=40000&dstPort=0&replySrcPort=443&replyDstPort=1&src=10.0.0.1';
    expect((await call('GET', `/v1/conntrack${query}`)).body).toMatchObject([{ protocol: 'tcp' }, { id: 8 }]);
    expect(plane.filters).toEqual([
      {
        protocol: 6,
        family: 4,
        srcPort: 40000,
        dstPort: 0,
        replySrcPort: 443,
        replyDstPort: 1,
        src: '10.0.0.1',
      },
    ]);
    expect((await call('GET', '/v1/conntrack/count')).body).toEqual({ entries: 2, capacity: 262_144 });
    expect((await call('DELETE', '/v1/conntrack')).body).toEqual({ closed: 2 });
    expect((await call('GET', '/v1/rules')).body[0]).toMatchObject({ table: 'nat', name: 'PREROUTING' });
  });

  it('tells a long table in parts, which are one array with a connection per line', async () => {
    plane.flowsPerPage = 2;
    for (const count of [0, 1, 2, 3, 5]) {
      plane.flowTable = Array.from({ length: count }, (_, id) => flowEntry({ id }));
      const { body, headers } = await app.inject({ method: 'GET', url: '/v1/conntrack' });
      expect(headers['content-type']).toMatch('application/json');
      expect(JSON.parse(body).map(({ id }: { id: number }) => id)).toEqual(
        plane.flowTable.map(({ id }) => id),
      );
      expect(body.split('\n').filter((line) => line.startsWith('{'))).toHaveLength(count);
    }
  });

  it.each([
    ['/v1/conntrack?srcPort=x', 400],
    ['/v1/conntrack?srcPort=65536', 400],
    ['/v1/conntrack?family=5', 400],
    ['/v1/conntrack?colour=red', 400],
    ['/v1/conntrack?protocol=tpc', 400],
    ['/v1/conntrack?network=nowhere', 404],
    ['/v1/conntrack/events?state=OPEN', 400],
  ])('refuses %s', async (url, status) => {
    expect(await call('GET', url)).toMatchObject({
      status,
      body: { message: expect.stringMatching(/^[^\n]+$/) },
    });
    expect(plane.watched).toBe(false);
  });

  it('shows the tables', async () => {
    await call('POST', '/v1/endpoints', { pid: 1, name: 'a' });
    expect((await call('GET', '/v1/fdb')).body).toEqual([]);
    expect((await call('GET', '/v1/neighbors')).body).toEqual([]);
    expect((await call('GET', '/v1/drops')).body[0]).toMatchObject({ reason: 'FDB_SAME_PORT', count: 1 });
    expect((await call('GET', '/v1/counters')).body).toMatchObject({
      ledger: { balanced: true },
      ports: [{ endpoint: 'a' }],
    });
    expect((await call('GET', '/v1/version')).body).toMatchObject({ version: '1.2.3' });
    expect((await call('GET', '/v1/health')).body).toEqual({ status: 'ok' });
  });

  it.each([
    ['a field that does not exist', '/v1/endpoints', { netns: '/x', publish: '80' }, 400, 'invalid'],
    ['a field of another type', '/v1/endpoints', { pid: '1' }, 400, 'invalid'],
    ['a number as text', '/v1/networks', { name: 'x', mtu: '1500' }, 400, 'invalid'],
    ['a missing field', '/v1/networks', {}, 400, 'invalid'],
    ['ports that are none', '/v1/endpoints', { pid: 1, publish: ['80:http'] }, 400, 'invalid'],
    ['no object', '/v1/networks', '[]', 400, 'invalid'],
    ['no JSON', '/v1/networks', '{', 400, 'invalid'],
    ['prototype pollution', '/v1/networks', '{"name":"x","__proto__":{"y":1}}', 400, 'invalid'],
    ['too much', '/v1/networks', JSON.stringify({ name: 'x'.repeat(2 << 20) }), 413, 'invalid'],
    ['neither path nor process', '/v1/endpoints', {}, 400, 'invalid'],
    ['a name in use', '/v1/networks', { name: 'bridge' }, 409, 'conflict'],
    ['a network that does not exist', '/v1/endpoints', { pid: 1, network: 'x' }, 404, 'not-found'],
    ['a sandbox without its mark', '/v1/sandboxes', { pid: 1, id: 'x' }, 400, 'invalid'],
    ['a path that does not exist', '/v1/nothing', {}, 404, 'not-found'],
    ['a path that is no UTF-8', '/v1/networks/%ff', {}, 400, 'invalid'],
  ])('refuses %s', async (_, url, payload, status, code) => {
    const answer = await call('POST', url, payload);
    expect(answer).toMatchObject({ status, body: { code } });
    expect(Object.keys(answer.body).sort()).toEqual(['code', 'message']);
    expect(answer.body.message).toMatch(/^[^\n]+$/);
    expect(deck.endpoints()).toEqual([]);
    expect(deck.networks()).toHaveLength(3);
    expect(defects).toEqual([]);
  });

  it('says so when the data plane fails, with one line', async () => {
    plane.failing.set('snapshot', 'the data plane\nhas stopped');
    expect(await call('GET', '/v1/fdb')).toEqual({
      status: 503,
      body: { code: 'unavailable', message: 'the data plane has stopped' },
    });
  });

  it('reports defects without their stack', async () => {
    deck.networks = () => {
      throw new TypeError('x is not a function');
    };
    const answer = await call('GET', '/v1/networks');
    expect(answer.status).toBe(500);
    expect(answer.body).toEqual({
      code: 'internal',
      message: 'the daemon failed: x is not a function; its log has the details',
    });
    expect(defects).toHaveLength(1);
  });
});
