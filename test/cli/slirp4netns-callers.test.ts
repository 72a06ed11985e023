import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HostForwards } from '../../src/integrations/slirp4netns/api-request.ts';
import { ApiSocket } from '../../src/integrations/slirp4netns/api-socket.ts';
import { habitsOf } from '../../src/integrations/slirp4netns/options.ts';
import { slirp4netns } from '../../src/integrations/slirp4netns/program.ts';

// Callers and daemons that do not behave.

let folder: string;
let err: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  err = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

/** A socket of the API behind which nothing is. */
function listen(path: string): Promise<ApiSocket> {
  const nothing = { publish: async () => {}, unpublish: async () => {} };
  return ApiSocket.listen(path, new HostForwards(nothing, { habits: habitsOf('10.0.2.0/24'), own: [] }));
}

/** What a client of the API hears until it is closed. */
function heard(client: Socket): Promise<string> {
  let all = '';
  client.setEncoding('utf8').on('data', (text) => {
    all += text;
  });
  // That nobody listens to the rest of what it says.
  client.on('error', () => {});
  return new Promise((resolve) => client.once('close', () => resolve(all)));
}

test('whoever does not come to an end gets an answer, and is not listened to any more', async () => {
  const path = join(folder, 'api');
  const api = await listen(path);
  const client = connect({ path, allowHalfOpen: true });
  const answer = heard(client);
  const goOn = () => {
    while (client.writable && client.write('more'.repeat(10_000)));
  };
  client.on('drain', goOn);
  goOn();
  expect(await answer).toBe('{"error":{"desc":"bad request: cannot parse JSON"}}');
  api.close();
});

test('half of a request is waited for ten seconds, also where it comes byte by byte', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const path = join(folder, 'api');
  const api = await listen(path);
  const client = connect(path);
  const answer = heard(client);
  await new Promise<void>((resolve) => client.write('{', () => resolve()));
  // It is accepted when another one's, which came later, is answered.
  const other = connect(path);
  other.end('{}');
  expect(await heard(other)).toContain('no execute found');
  for (let second = 0; second < 10; second++) {
    client.write(' ');
    vi.advanceTimersByTime(1000);
  }
  expect(await answer).toBe('');
  api.close();
});

test('a place that is too long for a socket is refused', async () => {
  await expect(listen(join(folder, 'a'.repeat(108)))).rejects.toThrow('is longer than 107 bytes');
});

test('an --exit-fd that is no pipe is said in a line', async () => {
  const fd = openSync(join(folder, 'file'), 'w');
  try {
    const host = `unix://${folder}/socket`;
    expect(await slirp4netns(['-e', `${fd}`, '7'], { TAPDECK_HOST: host })).toBe(1);
    expect(err).toMatch(/^slirp4netns: --exit-fd \d+ is no pipe: .*\n$/);
  } finally {
    closeSync(fd);
  }
});

test('a daemon that does not answer is given up', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const clients: Socket[] = [];
  const server: Server = createServer((client) => clients.push(client.resume()));
  const asked = new Promise((resolve) => server.once('connection', resolve));
  const path = join(folder, 'daemon');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const ended = slirp4netns(['7'], { TAPDECK_HOST: `unix://${path}` });
  await asked;
  vi.advanceTimersByTime(20_000);
  expect(await ended).toBe(1);
  expect(err).toBe(`slirp4netns: the daemon at ${path} has not answered within 20 s; see its log\n`);
  for (const client of clients) client.destroy();
  server.close();
});
