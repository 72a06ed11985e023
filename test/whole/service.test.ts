import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Account, type Running } from './account.ts';

// What a service manager does for the daemon, and hears from it: sockets by systemd's own systemd-socket-activate, as systemd
// itself is process 1 or nothing, and notifications at a socket of the test's.

/** A notification socket, abstract when its name begins with `@`: prints what comes. */
const LISTENER = `
import socket, sys
path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind('\\0' + path[1:] if path[0] == '@' else path)
print('bound', flush=True)
while True:
    print(listener.recv(4096).decode().replace('\\n', ' '), flush=True)
`;

let account: Account;
beforeAll(() => {
  account = Account.root();
});
afterEach(() => account.end());
afterAll(() => account.remove());

const inRuntime = (name: string) => join(account.runtime, name);
const curl = (socket: string, path: string, ...options: string[]) =>
  account.spawn(['curl', '-s', '--unix-socket', socket, ...options, `http://tapdeck${path}`]).ended;

/** A daemon that starts when somebody connects, with these sockets and this environment. */
async function activated(
  sockets: readonly string[],
  names: readonly string[],
  env: Record<string, string> = {},
): Promise<Running> {
  const service = account.spawn([
    'systemd-socket-activate',
    ...sockets.map((socket) => `--listen=${socket}`),
    ...(names.length > 0 ? [`--fdname=${names.join(':')}`] : []),
    '--setenv=TAPDECK_TEST',
    ...Object.entries(env).map(([name, value]) => `--setenv=${name}=${value}`),
    ...[process.execPath, join(account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'none'],
  ]);
  await service.said(`Listening on ${sockets.at(-1)}`);
  return service;
}

/** Everything that was said to a notification socket, by a daemon that it is given to. */
async function listener(path: string): Promise<Running> {
  const running = account.spawn(['python3', '-c', LISTENER, path]);
  await running.said('bound');
  return running;
}

describe('the daemon as a service', () => {
  it('takes the socket that is passed on as it is, and leaves it where it is', async () => {
    const socket = inRuntime('tapdeck.sock');
    const service = await activated([socket], []);
    const mode = statSync(socket).mode;
    // Who connects before there is a daemon waits for it.
    const version = JSON.parse((await curl(socket, '/v1/version')).out);
    expect(version.pid).toBe(service.pid);
    expect(statSync(socket).mode).toBe(mode);

    // What it starts inherits nothing of it: O_CLOEXEC.
    expect(readFileSync(`/proc/${service.pid}/fdinfo/3`, 'utf8')).toMatch(/^flags:\s+02\d{6}$/m);
    service.kill('SIGTERM');
    expect((await service.ended).code).toBe(0);
    expect(statSync(socket).isSocket()).toBe(true);
    expect(account.leftovers()).toEqual(['tapdeck.sock']);
  });

  it('has a socket for Docker by its name', async () => {
    const [api, docker] = [inRuntime('tapdeck.sock'), inRuntime('docker.sock')];
    const service = await activated([docker, api], ['docker', 'api']);
    const { out } = await curl(docker, '/Plugin.Activate', '-X', 'POST');
    expect(JSON.parse(out)).toEqual({ Implements: ['NetworkDriver', 'IpamDriver'] });
    expect(JSON.parse((await curl(api, '/v1/version')).out).pid).toBe(service.pid);
    service.kill('SIGTERM');
    expect((await service.ended).code).toBe(0);
    expect(account.leftovers().sort()).toEqual(['docker.sock', 'tapdeck.sock']);
  });

  it('refuses two sockets for the API, at one of which nobody would be answered', async () => {
    const [one, two] = [inRuntime('one.sock'), inRuntime('two.sock')];
    const service = await activated([one, two], []);
    await curl(two, '/v1/version');
    const { code, err } = await service.ended;
    expect([code, err]).toEqual([
      2,
      expect.stringContaining(`sockets ${one} and ${two} are passed on for the API, which has one`),
    ]);
  });

  it.each(['a file', '@'])('says when it is ready, that it lives, and that it ends: %s', async (kind) => {
    const path = kind === '@' ? `@tapdeck-${account.folder}` : inRuntime('notify');
    const socket = inRuntime('tapdeck.sock');
    const heard = await listener(path);
    const service = await activated([socket], [], { NOTIFY_SOCKET: path, WATCHDOG_USEC: '20000' });
    await curl(socket, '/v1/version');
    await heard.said(`READY=1 STATUS=at unix://${socket}\n`);
    await heard.said('WATCHDOG=1\nWATCHDOG=1\n');
    service.kill('SIGTERM');
    await heard.said('STOPPING=1 STATUS=ending: SIGTERM\n');
    expect((await service.ended).code).toBe(0);
    expect(heard.out.match(/READY=1/g)).toHaveLength(1);
  });

  it('ignores what is meant for another process', async () => {
    const daemon = account.spawn([
      ...['env', 'LISTEN_PID=1', 'LISTEN_FDS=1', 'WATCHDOG_PID=1', 'WATCHDOG_USEC=1'],
      ...[process.execPath, join(account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'none'],
    ]);
    await daemon.said('daemon ready');
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });

  it('says why it cannot tell its service manager anything', async () => {
    const path = inRuntime('nobody');
    const { code, err } = await account.spawn([
      ...['env', `NOTIFY_SOCKET=${path}`],
      ...[process.execPath, join(account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'none'],
    ]).ended;
    expect([code, err]).toEqual([
      1,
      expect.stringContaining(`cannot tell ${path}, which NOTIFY_SOCKET names, that the daemon is ready`),
    ]);
  });
});
