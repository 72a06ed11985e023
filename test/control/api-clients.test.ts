import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildApi, listenAt, type Patience } from '../../src/control/api.ts';
import { DaemonClient } from '../../src/control/client.ts';
import type { Deck } from '../../src/control/deck.ts';
import { EventLog } from '../../src/control/event-log.ts';
import { Leases } from '../../src/control/leases.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';
import { flowEntry } from './flow-entries.ts';

// Clients that are many, slow or rude, on a real socket.

let folder: string;
let socket: string;
let plane: FakeDataPlane;
let deck: Deck;
let app: FastifyInstance;
let leases: Leases;
let serve: (...patience: [Patience?]) => Promise<void>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  socket = join(folder, 'api.sock');
  plane = new FakeDataPlane();
  deck = await fakeDeck(plane);
  leases = new Leases(deck);
  const parts = {
    deck,
    leases,
    events: new EventLog(deck.events),
    prune: async () => ({ networks: [], containers: [], sandboxes: [], files: [] }),
    version: () => ({ version: '1', pid: 1, startedAt: '', untilEmpty: false, uplinks: [], notices: [] }),
    ending: () => false,
    saved: async () => {},
    onDefect: (error: Error) => {
      throw error;
    },
  };
  serve = async (...patience) => {
    app = buildApi(parts, ...patience);
    await listenAt(app, socket);
  };
});

afterEach(async () => {
  await app.close();
  await deck.close();
  rmSync(folder, { recursive: true });
});

/** Short in what a test is about, and longer in the other than any test. */
const SHORT_REQUEST: Patience = { request: 200, idle: 240_000 };
const SHORT_IDLE: Patience = { request: 240_000, idle: 400 };
const LONG: Patience = { request: 240_000, idle: 240_000 };

/** What a client hears that says this and no more, until it is cut off. */
async function cutOff(said: string): Promise<string> {
  const client = connect(socket);
  let heard = '';
  client.setEncoding('utf8').on('data', (text) => {
    heard += text;
  });
  // That what it says is not read to the end.
  client.on('error', () => {});
  client.write(said);
  await new Promise((resolve) => client.once('close', resolve));
  return heard;
}

/** The same, asked again as long as that is not done in the short time for it. */
async function inTime<T>(ask: (client: DaemonClient) => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask(new DaemonClient(socket));
    } catch (error) {
      // Cut off in the middle of it, or before.
      if (!/did not come as a whole in time|no daemon is running/.test((error as Error).message)) throw error;
    }
  }
}

describe('clients', () => {
  it.each([
    ['half a line', 'GET /v1/hea'],
    ['half a head', 'GET /v1/health HTTP/1.1\r\nhost: x\r\n'],
    [
      'half a body',
      'POST /v1/networks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"name',
    ],
  ])('that send %s are cut off', async (_, said) => {
    await serve(SHORT_REQUEST);
    expect(await cutOff(said)).toMatch(
      /^HTTP\/1\.1 408 (?:.|\r\n)*\r\n\r\n\{"code":"invalid","message":"the request did not come as a whole in time; send it at once"\}$/,
    );
    expect(deck.networks()).toHaveLength(3);
    expect(await inTime((client) => client.get('/v1/health'))).toEqual({ status: 'ok' });
  });

  it('that send nothing at all are cut off', async () => {
    await serve(SHORT_REQUEST);
    expect(await cutOff('')).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('that speak otherwise are told so', async () => {
    await serve();
    expect(await cutOff('HELO example.org\r\n')).toMatch(
      /^HTTP\/1\.1 400 (?:.|\r\n)*"this is no HTTP request /,
    );
  });

  it('that are more than the kernel lets wait get in one after the other', async () => {
    await serve();
    const path = join(folder, 'narrow.sock');
    const narrow = createServer((_, response) => response.end('{}')).listen({ path, backlog: 1 });
    await once(narrow, 'listening');
    const client = new DaemonClient(path);
    expect(await Promise.all(Array.from({ length: 50 }, () => client.get('/')))).toHaveLength(50);
    narrow.close();
  });

  it('that never read are cut off, and what they asked for is not made', async () => {
    await serve(SHORT_IDLE);
    plane.flowTable = Array.from({ length: 200_000 }, (_, id) => flowEntry({ id }));
    let pages = 0;
    const { flowPage } = deck;
    deck.flowPage = (...args) => {
      pages++;
      return flowPage.apply(deck, args);
    };
    const client: Socket = connect(socket);
    client.write('GET /v1/conntrack HTTP/1.1\r\nhost: x\r\n\r\n');
    client.pause();
    await once(app.server, 'connection');
    await expect
      .poll(() => new Promise((resolve) => app.server.getConnections((_, count) => resolve(count))))
      .toBe(0);
    expect(pages).toBeLessThan(plane.flowTable.length / plane.flowsPerPage / 2);
    client.destroy();
  });

  it('that wait for events are left in peace', async () => {
    await serve({ request: 200, idle: 400 });
    const stream = await inTime((client) => client.stream<{ name: string }>('/v1/events'));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await deck.createNetwork({ name: 'lab' });
    for await (const { name } of stream.lines) {
      expect(name).toBe('lab');
      break;
    }
    stream.destroy();
  });

  it('that are ten thousand at once are all answered', async () => {
    await serve(LONG);
    // In a process of their own: both ends would be more descriptors than many systems allow one process.
    const program = `
      const { connect } = require('node:net');
      let answered = 0;
      const ask = () => {
        const socket = connect(process.argv[1]);
        let heard = '';
        socket.on('data', (text) => { heard += text; });
        socket.on('error', ({ code }) => code === 'EAGAIN' ? setTimeout(ask, 10) : console.log(code));
        socket.on('end', () => { answered += heard.startsWith('HTTP/1.1 200') && heard.includes('"bridge"') ? 1 : 0; });
        socket.write('GET /v1/networks HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n');
      };
      for (let i = 0; i < 10000; i++) ask();
      process.on('exit', () => console.log(answered));
    `;
    const crowd = spawn(process.execPath, ['-e', program, socket]);
    let said = '';
    for (const stream of [crowd.stdout, crowd.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await once(crowd, 'close');
    expect(said).toBe('10000\n');
  });
});

describe('names', () => {
  it.each([
    '__proto__',
    'constructor',
    'toString',
    'x'.repeat(300),
    'naïve',
    '../../etc',
    '',
    ' ',
    'a\0b',
    '%00',
    '..',
  ])('as %j are looked up and refused as any other', async (name) => {
    await serve();
    const client = new DaemonClient(socket);
    const path = encodeURIComponent(name);
    if (name !== '' && name !== '..') {
      for (const kind of ['networks', 'containers', 'endpoints']) {
        await expect(client.get(`/v1/${kind}/${path}`)).rejects.toMatchObject({ code: 'not-found' });
      }
    }
    const good = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name) && name.length < 256;
    if (good) {
      expect(await client.post('/v1/networks', { name })).toMatchObject({ name });
      expect(await client.get(`/v1/networks/${path}`)).toMatchObject({ name });
    } else await expect(client.post('/v1/networks', { name })).rejects.toMatchObject({ code: 'invalid' });
  });

  it('of sandboxes are their ids, and for no other the daemon waits', async () => {
    await serve();
    const client = new DaemonClient(socket);
    for (const id of ['__proto__', '0123', 'g'.repeat(32)]) {
      await expect(client.expectSandbox(id)).rejects.toMatchObject({ code: 'invalid' });
    }
    expect(leases.size).toBe(0);
  });
});
