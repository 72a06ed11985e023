import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DaemonAbsent, DaemonClient } from '../../src/control/client.ts';
import { Daemon } from '../../src/control/daemon.ts';
import { formatLine } from '../../src/control/log.ts';
import { ensureFolder, openIn, type RuntimePaths, runtimePaths } from '../../src/control/paths.ts';
import type { SavedState } from '../../src/control/saved-state.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

let folder: string;
let paths: RuntimePaths;
let lines: string[];
let daemons: Daemon[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  paths = runtimePaths(`unix://${folder}/tapdeck.sock`);
  lines = [];
  daemons = [];
});

afterEach(async () => {
  await Promise.all(daemons.map((daemon) => daemon.stop('the test is over')));
  rmSync(folder, { recursive: true, force: true });
});

async function start(
  options: { untilEmpty?: boolean; group?: string; plane?: FakeDataPlane } = {},
): Promise<Daemon> {
  const { plane, ...rest } = options;
  const log = pino({}, { write: (line: string) => void lines.push(formatLine(line)) });
  const daemon = await Daemon.start({
    paths,
    log,
    openDeck: (options) => fakeDeck(plane, undefined, options),
    ...rest,
  });
  daemons.push(daemon);
  return daemon;
}

describe('daemon', () => {
  it('serves its user alone, and removes everything at the end but what it is to have again', async () => {
    const daemon = await start();
    expect(statSync(paths.socket).mode & 0o777).toBe(0o600);
    const client = new DaemonClient(paths.socket);
    expect(await client.version()).toMatchObject({ pid: process.pid, untilEmpty: false, notices: [] });
    expect(await client.post('/v1/endpoints', { pid: 1, name: 'a' })).toMatchObject({ name: 'a' });
    await expect(client.post('/v1/endpoints', { pid: 1, name: 'a' })).rejects.toMatchObject({
      code: 'conflict',
    });
    await daemon.stop('asked');
    expect(await daemon.ended).toBe(true);
    expect(readdirSync(folder)).toEqual(['tapdeck.state.json']);
    expect(statSync(paths.state).mode & 0o777).toBe(0o600);
    await expect(client.version()).rejects.toBeInstanceOf(DaemonAbsent);
    await expect(client.version()).rejects.toThrow(
      `no daemon is running at ${paths.socket}; start one with \`tapdeck daemon\`, or have systemd do it: \`tapdeck install service\``,
    );
  });

  it('refuses to be the second one and names the first', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`a daemon (pid ${process.pid}) is running at ${paths.socket}`),
    });
    expect(await new DaemonClient(paths.socket).version()).toMatchObject({ pid: process.pid });
  });

  it('is only one however many start at once', async () => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => start()));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await new DaemonClient(paths.socket).version()).toMatchObject({ pid: process.pid });
  });

  it('cleans up after one that was killed, and says so', async () => {
    // What kill -9 leaves: a lock file with a pid and no lock, a socket without a listener.
    const server = createServer().listen(`${paths.socket}.old`);
    await once(server, 'listening');
    writeFileSync(paths.lock, '4711\n');
    symlinkSync('nowhere', join(folder, 'other'));
    await new Promise((resolve) => server.close(resolve));
    const abandoned = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(paths.socket)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(abandoned, 'exit');
    expect(existsSync(paths.socket)).toBe(true);

    const daemon = await start();
    const notice = 'cleaned up after a daemon that did not exit cleanly (pid 4711)';
    expect(daemon.notices).toEqual([notice]);
    expect(lines.join('')).toContain(notice);
    expect(await new DaemonClient(paths.socket).version()).toMatchObject({ notices: [notice] });
    await daemon.stop('asked');
    expect(readdirSync(folder)).toEqual(['other']);
  });

  it('takes the place of nothing but an abandoned socket', async () => {
    writeFileSync(paths.socket, 'precious');
    await expect(start()).rejects.toThrow('exists and is not a socket');
    rmSync(paths.socket);

    const other = createServer().listen(paths.socket);
    await once(other, 'listening');
    await expect(start()).rejects.toThrow('another program listens at');
    await new Promise((resolve) => other.close(resolve));
    expect(readdirSync(folder)).toEqual([]);
  });

  it('does not outlive its data plane, and says so', async () => {
    const plane = new FakeDataPlane();
    const daemon = await start({ plane });
    await new DaemonClient(paths.socket).post('/v1/endpoints', { pid: 1, name: 'a' });
    plane.fail('a defect');
    expect(await daemon.ended).toBe(false);
    // What was there is to be there again.
    expect(JSON.parse(readFileSync(paths.state, 'utf8')).containers).toMatchObject([{ name: 'a' }]);
    expect(readdirSync(folder)).toEqual(['tapdeck.state.json']);
    expect(lines.join('')).toContain('ending: the data plane has failed');
    expect(lines.join('')).toContain('detached a from bridge: its namespace or interface is gone');
  });

  it('goes on where the last one stopped', async () => {
    const first = await start();
    const client = new DaemonClient(paths.socket);
    const lab = await client.post('/v1/networks', { name: 'lab', subnet: '10.9.0.0/24', internal: true });
    const bridge = await client.get('/v1/networks/bridge');
    await first.stop('asked');
    await start();
    expect(await client.get('/v1/networks/lab')).toEqual(lab);
    expect(await client.get('/v1/networks/bridge')).toEqual(bridge);
  });

  it('has answered for nothing that is not on the disk', async () => {
    await start();
    const client = new DaemonClient(paths.socket);
    const names = () =>
      (JSON.parse(readFileSync(paths.state, 'utf8')) as SavedState).networks.map(
        ({ options }) => options.name,
      );
    await client.post('/v1/networks', { name: 'lab' });
    expect(names()).toContain('lab');
    await client.delete('/v1/networks/lab');
    expect(names()).not.toContain('lab');
    await Promise.all(Array.from({ length: 20 }, (_, i) => client.post('/v1/networks', { name: `n${i}` })));
    expect(names()).toEqual(expect.arrayContaining(Array.from({ length: 20 }, (_, i) => `n${i}`)));
  });

  it('keeps a damaged state aside and says so, and does not touch a newer one', async () => {
    writeFileSync(paths.state, '{"version": 1, "netw');
    const daemon = await start();
    expect(daemon.notices).toEqual([
      expect.stringMatching(
        /^the state file \S+ is damaged: it is not JSON: .*; it is kept as \S+\.damaged-1, and the deck begins without it$/,
      ),
    ]);
    await daemon.stop('asked');
    expect(readFileSync(`${paths.state}.damaged-1`, 'utf8')).toBe('{"version": 1, "netw');

    const newer = JSON.stringify({ version: 99, writer: '7.0.0', whatever: true });
    writeFileSync(paths.state, newer);
    await expect(start()).rejects.toMatchObject({
      code: 'conflict',
      message: `the state file ${paths.state} is of version 99, written by tapdeck 7.0.0, and this tapdeck knows versions up to 1; start that tapdeck, or move the file away to begin without it`,
    });
    expect(readFileSync(paths.state, 'utf8')).toBe(newer);
    writeFileSync(paths.state, '{"version":99}');
    await expect(start()).rejects.toThrow(
      'is of version 99, and this tapdeck knows versions up to 1; start a newer one, or move the file away',
    );
    expect(readdirSync(folder).sort()).toEqual(['tapdeck.state.json', 'tapdeck.state.json.damaged-1']);
  });

  it('takes over what one that ends when empty has left, and leaves that one nothing', async () => {
    const embedded = { ...paths, state: paths.recovery };
    const kept = paths;
    paths = embedded;
    const first = await start();
    await new DaemonClient(paths.socket).post('/v1/networks', { name: 'lab' });
    await first.stop('asked');
    paths = kept;
    await start();
    expect(await new DaemonClient(paths.socket).get('/v1/networks/lab')).toMatchObject({ name: 'lab' });
    await expect.poll(() => existsSync(paths.recovery)).toBe(false);
    expect(readFileSync(paths.state, 'utf8')).toContain('"lab"');
  });

  it('is the only one that has a state', async () => {
    paths = { ...paths, state: join(folder, 'deep/state.json') };
    await start();
    const other = runtimePaths(`unix://${folder}/other.sock`);
    const own = paths;
    paths = { ...other, state: own.state };
    await expect(start()).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`another daemon (pid ${process.pid}) has the state file ${own.state}`),
    });
    paths = other;
    await start();
    expect(readdirSync(join(folder, 'deep'))).toContain('state.json.lock');
  });

  it('runs on when its state cannot be written, and says so once', async () => {
    await start();
    const client = new DaemonClient(paths.socket);
    mkdirSync(`${paths.state}.next`);
    await client.post('/v1/networks', { name: 'lab' });
    await client.post('/v1/networks', { name: 'other' });
    expect(lines.filter((line) => line.includes('cannot write the state file'))).toHaveLength(1);
    rmSync(`${paths.state}.next`, { recursive: true });
    await client.delete('/v1/networks/other');
    expect(JSON.parse(readFileSync(paths.state, 'utf8')).networks).toHaveLength(2);
  });

  it('ends in order when its files have been removed', async () => {
    const daemon = await start();
    for (const file of [paths.lock, paths.socket, paths.state]) rmSync(file, { force: true });
    await daemon.stop('asked');
    expect(await daemon.ended).toBe(true);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('lets a group in', async () => {
    await start({ group: '0' });
    expect(statSync(paths.socket)).toMatchObject({ gid: 0, mode: 0o140660 });
    await expect(start({ group: 'no-such-group' })).rejects.toThrow('there is no group "no-such-group"');
  });

  it('that is to end when empty ends with its last endpoint', async () => {
    const daemon = await start({ untilEmpty: true });
    const client = new DaemonClient(paths.socket);
    await client.post('/v1/endpoints', { pid: 1, name: 'a' });
    await client.post('/v1/endpoints', { pid: 2, name: 'b' });
    await client.delete('/v1/endpoints/a');
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await client.version()).toMatchObject({ untilEmpty: true });
    await client.delete('/v1/endpoints/b');
    await daemon.ended;
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('paths', () => {
  const uid = process.getuid!();

  it("are root's or the user's own", () => {
    const socket = runtimePaths(undefined, { XDG_RUNTIME_DIR: folder }).socket;
    expect(socket).toBe(uid === 0 ? '/run/tapdeck/tapdeck.sock' : join(folder, 'tapdeck/tapdeck.sock'));
  });

  it('are not where somebody else has made them, also for who only asks', () => {
    vi.stubEnv('TMPDIR', folder);
    try {
      // A user who has not logged in.
      const place = join(folder, 'tapdeck-4242');
      expect(runtimePaths(undefined, {}, 4242).folder).toBe(place);
      mkdirSync(join(folder, 'trap'));
      symlinkSync(join(folder, 'trap'), place);
      expect(() => runtimePaths(undefined, {}, 4242)).toThrow(`${place} does not belong to you`);
      rmSync(place);
      mkdirSync(place);
      expect(runtimePaths(undefined, {}, 4242).folder).toBe(place);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('are where the option says, else the environment', () => {
    const env = { TAPDECK_HOST: 'unix:///tmp/env.sock' };
    expect(runtimePaths(undefined, env)).toMatchObject({
      socket: '/tmp/env.sock',
      lock: '/tmp/env.lock',
      own: false,
    });
    expect(runtimePaths('unix:///tmp/option.sock', env).socket).toBe('/tmp/option.sock');
  });

  it.each([
    'tcp://127.0.0.1:1',
    '/tmp/x.sock',
    'unix://x.sock',
    'unix://',
    'unix:///tmp/',
    `unix:///${'x'.repeat(107)}`,
    'unix:///a\0b',
  ])('refuse %j', (host) => {
    expect(() => runtimePaths(host)).toThrow(/^(host|socket path)/);
  });

  it('of our own are made for the user alone, and not through a link', () => {
    const own = { ...paths, folder: join(folder, 'own'), own: true };
    mkdirSync(own.folder);
    chmodSync(own.folder, 0o755);
    ensureFolder(own);
    expect(statSync(own.folder).mode & 0o777).toBe(0o700);
    const link = { ...own, folder: join(folder, 'link') };
    symlinkSync(own.folder, link.folder);
    expect(() => ensureFolder(link)).toThrow('does not belong to you');
    const file = { ...own, folder: join(folder, 'file', 'deeper') };
    writeFileSync(join(folder, 'file'), '');
    expect(() => ensureFolder(file)).toThrow('cannot make the folder');
  });

  it('are made again when another daemon removes them before anything is in them', async () => {
    const own = { folder: join(folder, 'own'), own: true };
    let raced = 0;
    const opened = await openIn(own, () => {
      if (raced++ < 3) rmdirSync(own.folder);
      return readdirSync(own.folder).length;
    });
    expect([opened, raced]).toEqual([0, 4]);
    const nowhere = () => readdirSync(join(folder, 'nowhere'));
    await expect(openIn(own, nowhere)).rejects.toThrow('ENOENT');
    await expect(openIn({ folder, own: false }, nowhere)).rejects.toThrow('ENOENT');
  });

  it('of somebody else are not made', () => {
    const { folder: missing, own } = runtimePaths(`unix://${folder}/missing/a.sock`);
    expect(() => ensureFolder({ folder: missing, own })).toThrow(
      `there is no folder ${missing} for the socket`,
    );
    expect(existsSync(missing)).toBe(false);
    mkdirSync(missing, { mode: 0o755 });
    ensureFolder({ folder: missing, own });
    expect(statSync(missing).mode & 0o777).toBe(0o755);
  });
});
