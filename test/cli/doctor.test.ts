import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkDaemon } from '../../src/cli/doctor/decks.ts';
import { runtimePaths } from '../../src/control/paths.ts';

test('a daemon that does not answer is found, and not waited for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  const clients: Socket[] = [];
  const server = createServer((client) => clients.push(client.resume()));
  try {
    const paths = runtimePaths(`unix://${folder}/stopped.sock`);
    await new Promise<void>((resolve) => server.listen(paths.socket, resolve));
    expect(await checkDaemon(paths, 20)).toMatchObject({
      findings: [{ check: 'daemon', level: 'problem', found: expect.stringContaining('has not answered') }],
      networks: null,
    });
  } finally {
    for (const client of clients) client.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
