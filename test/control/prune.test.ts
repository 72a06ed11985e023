import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prunedText } from '../../src/cli/system.ts';
import { DaemonClient } from '../../src/control/client.ts';
import { Daemon } from '../../src/control/daemon.ts';
import { DaemonLock } from '../../src/control/lock.ts';
import { type RuntimePaths, runtimePaths } from '../../src/control/paths.ts';
import { bootId } from '../../src/control/process.ts';
import { pruneAbandoned, pruneDeck } from '../../src/control/prune.ts';
import { formatState, newState, type RecordedContainer } from '../../src/control/saved-state.ts';
import { fakeDeck } from './fake-deck.ts';

let folder: string;
let paths: RuntimePaths;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  paths = runtimePaths(`unix://${folder}/tapdeck.sock`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const network = (name: string) => ({ id: name, createdAt: 'x', options: { name } });
const container = (name: string, fields: Partial<RecordedContainer>): RecordedContainer => ({
  id: name,
  name,
  createdAt: 'x',
  namespace: '1:1',
  labels: {},
  endpoints: [{ id: 'e', network: 'lab' }],
  publish: [],
  ...fields,
});

describe('what is left over', () => {
  it('goes, when no daemon is there to remove it', async () => {
    const abandoned = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(paths.socket)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(abandoned, 'exit');
    writeFileSync(paths.lock, '4711\n');
    writeFileSync(paths.log, '');
    writeFileSync(`${paths.state}.damaged-1`, 'x');
    writeFileSync(join(folder, 'precious'), '');
    const state = newState(bootId(), {
      networks: [network('bridge'), network('lab')],
      containers: [container('dead', { netns: join(folder, 'nowhere') })],
      rules: [],
      sandboxes: [{ id: 'x', container: 'dead', name: 'dead', netns: 'net:[1]', pid: 2 ** 22, startTime: 1 }],
    });
    writeFileSync(paths.state, formatState(state));
    writeFileSync(paths.recovery, formatState(state));
    expect(await pruneAbandoned(paths)).toEqual({
      networks: ['lab'],
      containers: ['dead'],
      sandboxes: [],
      files: [paths.socket, paths.log, paths.recovery, `${paths.state}.damaged-1`],
    });
    expect(readdirSync(folder)).toEqual(['precious']);
    expect(await pruneAbandoned(paths)).toEqual({ networks: [], containers: [], sandboxes: [], files: [] });
  });

  it('includes the lock of a state that has a place of its own, unless a daemon elsewhere holds it', async () => {
    const place = join(folder, 'lib');
    const apart = { ...paths, state: join(place, 'state.json') };
    const nothing = { networks: [], containers: [], sandboxes: [], files: [] };
    expect(await pruneAbandoned(apart)).toEqual(nothing);
    expect(existsSync(place)).toBe(false);

    mkdirSync(place);
    const lock = DaemonLock.take(`${apart.state}.lock`) as DaemonLock;
    writeFileSync(`${apart.state}.damaged-1`, 'x');
    expect(await pruneAbandoned(apart)).toBeNull();
    expect(readdirSync(place)).toEqual(['state.json.damaged-1', 'state.json.lock']);
    lock.release();

    writeFileSync(`${apart.state}.lock`, '4711\n');
    expect(await pruneAbandoned(apart)).toEqual({ ...nothing, files: [`${apart.state}.damaged-1`] });
    expect(readdirSync(place)).toEqual([]);
  });

  it('does not include rules, nor a state that another tapdeck knows', async () => {
    const rules = [{ id: 1, createdAt: 'x', action: 'DROP' as const }];
    const parts = { networks: [network('bridge'), network('lab')], containers: [], sandboxes: [], rules };
    writeFileSync(paths.state, formatState(newState('another boot', parts)));
    expect(await pruneAbandoned(paths)).toMatchObject({ networks: ['lab'] });
    expect(JSON.parse(readFileSync(paths.state, 'utf8'))).toMatchObject({ networks: [{}], rules });

    writeFileSync(paths.state, '{"version":9,"writer":"9"}');
    await expect(pruneAbandoned(paths)).rejects.toThrow('is of version 9');
    expect(existsSync(paths.state)).toBe(true);
    expect(existsSync(paths.lock)).toBe(false);
  });

  it('does not include a state that is found to be damaged only then', async () => {
    writeFileSync(paths.state, '{"version":1,');
    writeFileSync(`${paths.state}.damaged-1`, 'x');
    expect(await pruneAbandoned(paths)).toMatchObject({ files: [`${paths.state}.damaged-1`] });
    expect(readFileSync(`${paths.state}.damaged-2`, 'utf8')).toBe('{"version":1,');
  });

  it('does not include a container that is connected while others go', async () => {
    const deck = await fakeDeck();
    try {
      for (const [pid, name] of [
        [1, 'one'],
        [2, 'other'],
      ] as const) {
        await deck.attach({ pid, name });
        await deck.disconnect('bridge', name);
      }
      deck.events.once('container', () => void deck.connect('bridge', 'other'));
      const connected = new Promise((resolve) => deck.events.once('attach', resolve));
      const slow = deck.detach.bind(deck);
      deck.detach = async (name) => {
        const gone = await slow(name);
        await connected;
        return gone;
      };
      expect(await pruneDeck(deck, paths)).toMatchObject({ containers: ['one'] });
      expect(deck.containers()).toMatchObject([{ name: 'other', endpoints: [{}] }]);
    } finally {
      await deck.close();
    }
  });

  it('is removed by the daemon when there is one, and by nobody else', async () => {
    writeFileSync(`${paths.state}.damaged-1`, 'x');
    const log = pino({ enabled: false });
    const daemon = await Daemon.start({
      paths,
      log,
      openDeck: (options) => fakeDeck(undefined, undefined, options),
    });
    try {
      expect(await pruneAbandoned(paths)).toBeNull();
      const client = new DaemonClient(paths.socket);
      for (const name of ['used', 'unused']) await client.post('/v1/networks', { name });
      await client.post('/v1/endpoints', { pid: 1, name: 'web', network: 'used' });
      await client.post('/v1/endpoints', { pid: 2, name: 'alone' });
      await client.post('/v1/networks/bridge/disconnect', { container: 'alone' });
      expect(await client.post('/v1/system/prune', {})).toEqual({
        networks: ['unused'],
        containers: ['alone'],
        sandboxes: [],
        files: [`${paths.state}.damaged-1`],
      });
      expect(JSON.parse(readFileSync(paths.state, 'utf8')).containers).toMatchObject([{ name: 'web' }]);
    } finally {
      await daemon.stop('the test is over');
    }
  });

  it('is shown by its kind', () => {
    expect(prunedText({ networks: ['lab', 'x'], containers: [], sandboxes: ['web'], files: [] })).toBe(
      'Deleted Networks:\nlab\nx\n\nEnded Sandboxes:\nweb\n\n',
    );
    expect(prunedText({ networks: [], containers: [], sandboxes: [], files: [] })).toBe('');
  });
});
