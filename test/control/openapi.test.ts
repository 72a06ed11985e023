import { Ajv, type ValidateFunction } from 'ajv';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildApi } from '../../src/control/api.ts';
import type { Deck } from '../../src/control/deck.ts';
import { EventLog } from '../../src/control/event-log.ts';
import { Leases } from '../../src/control/leases.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';
import { flowEntry, pingEntry } from './flow-entries.ts';

interface Operation {
  summary?: string;
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}

let plane: FakeDataPlane;
let deck: Deck;
let app: FastifyInstance;

beforeEach(async () => {
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
  app = buildApi({
    deck,
    leases: new Leases(deck),
    events: new EventLog(deck.events),
    prune: async () => ({ networks: ['lab'], containers: [], sandboxes: [], files: [] }),
    version: () => ({
      version: '1.2.3',
      pid: 1,
      startedAt: '2026-01-01T00:00:00.000Z',
      untilEmpty: false,
      uplinks: [],
      notices: [],
    }),
    ending: () => false,
    saved: async () => {},
    onDefect: (error) => {
      throw error;
    },
  });
});

afterEach(async () => {
  await app.close();
  await deck.close();
});

async function operations(): Promise<[method: string, path: string, Operation][]> {
  const { paths } = (await app.inject('/v1/openapi.json')).json() as {
    paths: Record<string, Record<string, Operation>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]): [string, string, Operation] => [
      method.toUpperCase(),
      path,
      one,
    ]),
  );
}

describe('the description of the API', () => {
  it('is an OpenAPI document that names every route', async () => {
    const { body } = await app.inject('/v1/openapi.json');
    expect(JSON.parse(body)).toMatchObject({ openapi: '3.1.0', info: { title: 'tapdeck' } });
    const described = (await operations()).map(([method, path]) => `${method} ${path}`);
    // Fastify's own list. No GET is a HEAD too: that of a stream would begin one.
    const printed = app.printRoutes({ commonPrefix: false, includeHooks: false });
    expect(described.length).toBeGreaterThan(20);
    expect(described.length).toBe(
      Array.from(printed.matchAll(/\(([A-Z, ]+)\)/g)).flatMap(([, methods]) => methods!.split(', ')).length,
    );
  });

  it('says of every route what it is for, what it takes and what it answers', async () => {
    for (const [method, path, { summary, parameters = [], requestBody, responses }] of await operations()) {
      const where = `${method} ${path}`;
      expect(summary, where).toMatch(/^[A-Z].*[^.]$/);
      const named = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name);
      expect(
        parameters.filter((one) => one.in === 'path').map(({ name }) => name),
        where,
      ).toEqual(named);
      expect(requestBody !== undefined, where).toBe(method === 'POST');
      const [good, ...others] = Object.keys(responses);
      expect(good, where).toMatch(/^20[01]$/);
      expect(others, where).toEqual(['default']);
      for (const { description, content } of Object.values(responses)) {
        expect(description, where).not.toBe('');
        expect(Object.values(content!), where).toHaveLength(1);
        expect(Object.values(content!)[0]!.schema, where).toMatchObject({});
      }
    }
  });
});

describe('what the API answers', () => {
  it('is what its description says', async () => {
    const ajv = new Ajv({ strict: false, formats: { 'date-time': /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ } });
    const schemas = new Map<string, ValidateFunction>();
    const texts = new Set<string>();
    for (const [method, path, { responses }] of await operations()) {
      for (const [status, { content }] of Object.entries(responses)) {
        const [type, { schema }] = Object.entries(content!)[0]!;
        if (type === 'application/json') schemas.set(`${method} ${path} ${status}`, ajv.compile(schema));
        else texts.add(`${method} ${path}`);
      }
    }
    const answered = new Set<string>();
    const call = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, payload?: object) => {
      const response = await app.inject({ method, url, ...(payload && { payload }) });
      const path = url.replace(/\?.*/, '');
      const route = Array.from(schemas.keys()).find((key) => {
        const [one, template = ''] = key.split(' ');
        return one === method && new RegExp(`^${template.replace(/\{\w+\}/g, '[^/]+')}$`).test(path);
      });
      const [, template = ''] = route?.split(' ') ?? [];
      const status = response.statusCode < 300 ? response.statusCode : 'default';
      const validate = schemas.get(`${method} ${template} ${status}`);
      expect(validate, `${method} ${url} answered ${response.statusCode}: ${response.body}`).toBeDefined();
      expect(validate!(response.json()), `${method} ${url}: ${ajv.errorsText(validate!.errors)}`).toBe(true);
      if (status !== 'default') answered.add(`${method} ${template}`);
      return response.json();
    };

    plane.flowTable = [flowEntry(), pingEntry()];
    await call('GET', '/v1/health');
    await call('GET', '/v1/version');
    await call('GET', '/v1/openapi.json');
    await call('POST', '/v1/networks', { name: 'lab', subnet: '10.1.0.0/24' });
    await call('POST', '/v1/networks', { name: 'lab' });
    await call('GET', '/v1/networks');
    await call('GET', '/v1/networks/lab');
    await call('DELETE', '/v1/networks/lab');
    await call('DELETE', '/v1/networks/lab');
    await call('GET', '/v1/uplinks');
    await call('POST', '/v1/networks', { name: 'spare', labels: { a: 'b' }, internal: true, ipv6: true });
    await call('POST', '/v1/endpoints', { pid: 1, name: 'web', publish: ['80:80'] });
    await call('POST', '/v1/endpoints/web/ports', { publish: ['53:53/udp'] });
    await call('GET', '/v1/endpoints/web/ports');
    await call('DELETE', '/v1/endpoints/web/ports?spec=53%2Fudp');
    await call('POST', '/v1/networks/spare/connect', { container: 'web' });
    await call('GET', '/v1/containers');
    await call('GET', '/v1/containers/web');
    await call('POST', '/v1/networks/spare/disconnect', { container: 'web' });
    await call('POST', '/v1/networks/prune', {});
    const rule = { action: 'DROP', in: 'bridge', protocol: 'tcp', dport: '25', comment: 'no mail' };
    const { id } = await call('POST', '/v1/rules/user', rule);
    await call('GET', '/v1/rules/user');
    await call('DELETE', `/v1/rules/user?id=${id}`);
    await call('POST', '/v1/why', { from: 'web', to: 'gateway' });
    await call('POST', '/v1/why', { from: 'web', to: 'nobody' });
    await call('POST', '/v1/why/past', { from: 'web', to: 'gateway:53/udp' });
    await call('POST', '/v1/why/remember', { everything: true });
    await call('POST', '/v1/why/frame', { port: 'web eth0', frame: 'AAAA' });
    await call('GET', '/v1/endpoints');
    await call('GET', '/v1/endpoints/web');
    for (const table of ['fdb', 'neighbors', 'drops', 'counters', 'rules']) await call('GET', `/v1/${table}`);
    const attachment = { id: 'a'.repeat(64), pid: 2, network: 'bridge', name: 'web' };
    await call('POST', '/v1/attachments', attachment);
    await call('POST', '/v1/attachments', attachment);
    await call('GET', `/v1/attachments/${attachment.id}`);
    await call('DELETE', `/v1/attachments/${attachment.id}`);
    await call('DELETE', '/v1/endpoints/web');
    await call('GET', '/v1/conntrack');
    await call('GET', '/v1/conntrack/count');
    await call('GET', '/v1/conntrack?srcPort=x');
    await call('DELETE', '/v1/conntrack');
    const ignored = { chunk: () => {}, end: () => {} };
    const { id: capture } = await deck.captures.open({ kind: 'trace', interfaces: ['bridge'] }, ignored);
    await call('GET', '/v1/captures');
    await call('POST', '/v1/descriptors', {});
    await call('DELETE', `/v1/captures/${capture}`);
    await deck.recordings.start({ chunk: (_, taken) => taken(), end: () => {} });
    await call('DELETE', '/v1/recording');
    await call('DELETE', `/v1/captures/${capture}`);
    await call('POST', '/v1/system/prune', {});
    const sandbox = `/v1/sandboxes/${'0123'.repeat(8)}`;
    await call('PUT', sandbox);
    await call('DELETE', sandbox);

    const all = (await operations()).map(([method, path]) => `${method} ${path}`);
    expect(all.filter((route) => !answered.has(route) && !texts.has(route))).toEqual([]);
  });
});
