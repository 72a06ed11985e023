import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Ending } from '../../src/cli/capture/capture.ts';
import { ReaderGone } from '../../src/cli/capture/target.ts';
import { DaemonClient } from '../../src/control/client.ts';

let folder: string;
let socket: string;
let server: Server;
let ending: Ending;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  socket = join(folder, 'tapdeck.sock');
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  ending.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

/** A daemon that captures and answers this to who ends a capture. */
async function daemon(end: RequestListener): Promise<void> {
  server = createServer((request, response) => {
    if (request.method === 'GET') response.writeHead(200, { 'tapdeck-capture': '1' }).flushHeaders();
    else end(request, response);
  });
  server.listen(socket);
  await once(server, 'listening');
  ending = new Ending(new DaemonClient(socket), () => {});
}

async function begin() {
  const stream = await ending.client.bytes('/v1/capture');
  ending.begin(stream);
  return stream;
}

/** The keys ctrl and C. */
function interrupt(): void {
  process.listeners('SIGINT').at(-1)!('SIGINT');
}

describe('a capture whose daemon stands still', () => {
  it('ends before it has begun', async () => {
    await daemon(() => {});
    server.removeAllListeners('request');
    const beginning = expect(ending.client.bytes('/v1/capture')).rejects.toThrow(ReaderGone);
    await once(server, 'request');
    interrupt();
    await beginning;
  });

  it.each([
    [10_000, 1],
    [2000, 2],
  ])('ends %i milliseconds after it was told to %i times', async (milliseconds, times) => {
    await daemon(() => {});
    const { closed } = await begin();
    const asked = once(server, 'request');
    for (let i = 0; i < times; i++) interrupt();
    await asked;
    const counts = expect(ending.counts()).rejects.toThrow(/does not answer; see its log$/);
    vi.advanceTimersByTime(milliseconds);
    await Promise.all([counts, closed]);
  });
});

it('what a capture came to is told also to who has asked twice', async () => {
  let answer = () => {};
  await daemon((_, response) => {
    answer = () => void response.end('{"id":1,"missed":2}');
  });
  await begin();
  const asked = once(server, 'request');
  interrupt();
  interrupt();
  await asked;
  vi.advanceTimersByTime(1999);
  answer();
  expect(await ending.counts()).toEqual({ id: 1, missed: 2 });
});
