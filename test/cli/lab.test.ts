import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { down } from '../../src/cli/lab/down.ts';
import { labPaths, makeLabFolder, type ServiceState } from '../../src/cli/lab/lab-files.ts';
import { LogFile } from '../../src/cli/lab/log-file.ts';
import { serviceTable } from '../../src/cli/lab/ps.ts';
import { DaemonLock } from '../../src/control/lock.ts';
import { runtimePaths } from '../../src/control/paths.ts';

test('the folder of a lab that cannot be made says where, and what to do', () => {
  const folder = mkdtempSync(join(tmpdir(), 'td-lab-'));
  try {
    writeFileSync(join(folder, 'tapdeck.labs'), '');
    expect(() => makeLabFolder({ folder: join(folder, 'tapdeck.labs', 'shop') })).toThrow(
      expect.objectContaining({
        code: 'permission',
        message: expect.stringMatching(/labs\/shop .*as the user/),
      }),
    );
    makeLabFolder({ folder: join(folder, 'new', 'shop') });
    expect(statSync(join(folder, 'new', 'shop')).mode & 0o777).toBe(0o700);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('down leaves alone what another process is just bringing up', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'td-lab-'));
  const paths = runtimePaths(`unix://${folder}/td.sock`);
  const files = labPaths(paths, 'shop');
  makeLabFolder(files);
  const lock = DaemonLock.take(files.lock) as DaemonLock;
  try {
    writeFileSync(files.supervisorLog, 'it begins');
    expect(await down(paths, undefined, undefined, { projectName: 'shop' })).toBe(0);
    expect(readFileSync(files.supervisorLog, 'utf8')).toBe('it begins');
    lock.release();
    expect(await down(paths, undefined, undefined, { projectName: 'shop' })).toBe(0);
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    lock.release();
    rmSync(folder, { recursive: true });
  }
});

test('what cannot be written does not end the service that says it', async () => {
  const file = new LogFile('/dev/full');
  const chunks = ['one\n', 'two\n', 'three\n'];
  const stream = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
  await file.take(stream, 'stdout');
  file.close();
  expect(file.last).toEqual(['one', 'two', 'three']);
});

describe('the log of a service', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'td-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function log(...chunks: (string | Buffer)[]): Promise<string[]> {
    const path = join(folder, 'web.log');
    const file = new LogFile(path);
    await file.take(Readable.from(chunks.map((chunk) => Buffer.from(chunk))), 'stdout');
    file.close();
    return readFileSync(path, 'utf8').split('\n');
  }

  test('has whole lines with their time, however they come', async () => {
    const euro = Buffer.from('€');
    const lines = await log('one\nt', 'wo', '\n\nthree ', euro.subarray(0, 1), euro.subarray(1), '\nrest');
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z stdout /;
    expect(lines.map((line) => line.replace(time, ''))).toEqual(['one', 'two', '', 'three €', 'rest', '']);
    expect(lines.slice(0, -1).every((line) => time.test(line))).toBe(true);
  });

  test('has the last lines at hand, as a terminal can show them', async () => {
    const file = new LogFile(join(folder, 'web.log'));
    const lines = Array.from({ length: 20 }, (_, i) => `line ${i}`);
    await file.take(Readable.from([`${lines.join('\n')}\n\u001b[31m\tred\r\n`, 'x'.repeat(1000)]), 'stderr');
    file.close();
    expect(file.last).toEqual([...lines.slice(14), '[31m red', 'x'.repeat(200)]);
  });

  test('cuts a line without end, and begins anew before it fills the disk', async () => {
    const lines = await log('x'.repeat(20_000), 'y\nz\n');
    expect(lines.map((line) => line.replace(/^\S+ stdout /, ''))).toEqual(['x'.repeat(20_000), 'y', 'z', '']);
    const block = `${'x'.repeat(999)}\n`.repeat(1000);
    await log(...Array.from({ length: 20 }, () => block));
    const sizes = ['web.log', 'web.log.1'].map((name) => statSync(join(folder, name)).size);
    for (const size of sizes) expect(size).toBeLessThan(10 << 20);
    expect(sizes[0]! + sizes[1]!).toBeGreaterThan(8 << 20);
  });
});

test('services in a table, in the words of Docker', () => {
  const service: ServiceState = {
    service: 'web',
    container: 'shop-web-1',
    state: 'running',
    health: null,
    exitCode: null,
    pid: 7,
    sandbox: null,
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: null,
    restarts: 0,
    networks: [{ name: 'shop_front', ipv4: '10.1.0.2', ipv6: null }],
    ports: [],
  };
  const ended = { endedAt: '2026-01-01T00:00:50.000Z', networks: [] };
  const rows: ServiceState[] = [
    service,
    { ...service, service: 'db', health: 'starting' },
    { ...service, service: 'api', health: 'healthy' },
    { ...service, ...ended, service: 'job', state: 'exited', exitCode: 3 },
    { ...service, ...ended, service: 'loop', state: 'restarting', exitCode: 1 },
    { ...service, service: 'late', state: 'created', startedAt: null, networks: [] },
  ];
  const table = serviceTable(rows, Date.parse('2026-01-01T00:01:00Z'));
  expect(table.split('\n').map((line) => line.split(/ {3,}/))).toEqual([
    ['NAME', 'SERVICE', 'STATUS', 'ADDRESSES', 'PORTS'],
    ['shop-web-1', 'web', 'Up About a minute', 'shop_front=10.1.0.2'],
    ['shop-web-1', 'db', 'Up About a minute (health: starting)', 'shop_front=10.1.0.2'],
    ['shop-web-1', 'api', 'Up About a minute (healthy)', 'shop_front=10.1.0.2'],
    ['shop-web-1', 'job', 'Exited (3) 10 seconds ago'],
    ['shop-web-1', 'loop', 'Restarting (1) 10 seconds ago'],
    ['shop-web-1', 'late', 'Created'],
    [''],
  ]);
});
