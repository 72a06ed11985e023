import { cpSync, existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ServiceState } from '../../src/cli/lab/lab-files.ts';
import { Account, until } from './account.ts';

// `tapdeck lab` with services that are python3 and sh, as root and as an ordinary user.

const EXAMPLE = join(import.meta.dirname, '../../fixtures/labs/networking');

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('a lab of %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  /** A folder of the account's with a Compose file. */
  async function lab(name: string, text: string): Promise<string> {
    const folder = join(account.folder, name);
    await account.spawn(['mkdir', folder]).ended;
    writeFileSync(join(folder, 'compose.yaml'), text);
    return folder;
  }

  async function services(folder: string): Promise<Record<string, ServiceState>> {
    const rows = JSON.parse(await account.ok('lab', 'ps', folder, '--format', 'json')) as ServiceState[];
    return Object.fromEntries(rows.map((row) => [row.service, row]));
  }

  /** Waits until a service has said something. */
  async function says(folder: string, service: string, text: string): Promise<void> {
    await until(
      async () => (await account.ok('lab', 'logs', folder, service)).includes(text),
      `${service} says ${text}`,
    );
  }

  it("is the Compose specification's example: front, back, proxy, app and db", async () => {
    const folder = join(account.folder, 'networking');
    cpSync(EXAMPLE, folder, { recursive: true });
    writeFileSync(join(folder, '.env'), 'PROXY_PORT=0\n');
    const { code, err } = await account.tapdeck('lab', 'up', '-d', folder, '--uplink', 'socket');
    expect([code, err.split('\n').sort()]).toEqual([
      0,
      [
        '',
        ' Container networking-app-1  started',
        ' Container networking-db-1  started',
        ' Container networking-proxy-1  started',
        ' Network networking_back  created',
        ' Network networking_front  created',
      ],
    ]);
    const { proxy, app, db } = await services(folder);
    expect([proxy, app, db].map((service) => service!.state)).toEqual(['running', 'running', 'running']);
    expect(db!.networks).toEqual([{ name: 'networking_back', ipv4: '10.77.2.5', ipv6: null }]);
    expect(app!.networks.map(({ name }) => name)).toEqual(['networking_front', 'networking_back']);
    // From the host through proxy and app to db, at once.
    const [port] = proxy!.ports;
    expect(await get(Number(port!.hostPort))).toContain('app: db says hello');
    // Only app knows db, and only app reaches it.
    expect(await tryFrom(account, app!, '10.77.2.5')).toBe('reached');
    expect(await tryFrom(account, app!, 'db')).toBe('reached');
    expect(await tryFrom(account, proxy!, 'db')).toBe('no name');
    expect(await tryFrom(account, proxy!, '10.77.2.5', 1)).toBe('no answer');

    // What is up stays as it is.
    const again = await account.tapdeck('lab', 'up', folder);
    expect([again.code, again.err]).toEqual([
      0,
      ' Container networking-proxy-1  running\n Container networking-app-1  running\n Container networking-db-1  running\n',
    ]);
    expect((await services(folder))['db']!.pid).toBe(db!.pid);

    // Another daemon takes the place of one that is killed, and the lab goes on.
    const daemon = account.processes().find((pid) => commandOf(pid).includes('--until-empty'))!;
    process.kill(daemon, 'SIGKILL');
    await until(
      async () => (await get(Number(port!.hostPort))).includes('db says hello'),
      'it answers again',
    );
    expect((await services(folder))['app']).toEqual(app);
    const table = await account.ok('lab', 'ps', folder);
    expect(table).toMatch(/networking-db-1 +db +Up .*\(healthy\) +networking_back=10\.77\.2\.5/);

    const down = await account.tapdeck('lab', 'down', folder);
    expect([down.code, down.out]).toEqual([0, '']);
    expect(await account.untilNothingIsLeft()).toEqual([]);
    expect(await account.tapdeck('lab', 'down', folder)).toMatchObject({
      code: 0,
      err: 'tapdeck: lab networking is not up\n',
    });
  });

  it('begins services in order, begins them again, and keeps what they say', async () => {
    const folder = await lab(
      'order',
      `services:
  last:
    command: [sh, -c, "echo last; cat /etc/hosts; exec sleep 600"]
    depends_on:
      once: { condition: service_completed_successfully }
    extra_hosts: ["far=192.0.2.1"]
    hostname: the-last
  once:
    command: [sh, -c, 'echo once >> here; : > nowhere; echo "$$GREETING"; hostname; exit 0']
    environment: { GREETING: "hello,  there" }
    x-tapdeck: { write: [.] }
  again:
    command: [sh, -c, "echo begun; exit 3"]
    network_mode: none
    restart: on-failure:2
  beside:
    command: [sh, -c, "ip -o -4 address; cat /etc/resolv.conf; exec sleep 600"]
    network_mode: service:last
  outside:
    command: [sh, -c, "readlink /proc/self/ns/net; sleep 601 & exec sleep 602"]
    network_mode: host
`,
    );
    expect(await account.tapdeck('lab', 'up', folder)).toMatchObject({
      code: 0,
      err: expect.not.stringContaining('error'),
    });
    await says(folder, 'last', 'the-last');
    const said = await account.ok('lab', 'logs', folder);
    expect(said).toMatch(/^once {5}\| hello, {2}there$/m);
    expect(said).toMatch(/^once {5}\| order-once-1$/m);
    expect(said).toMatch(/^last {5}\| 192\.0\.2\.1\tfar$/m);
    expect(said.indexOf('once     |')).toBeLessThan(said.indexOf('last     |'));
    // One is in the network of another, and one in the host's.
    await says(folder, 'beside', 'ndots');
    const { last } = await services(folder);
    expect(await account.ok('lab', 'logs', folder, 'beside')).toContain(`inet ${last!.networks[0]!.ipv4}/`);
    await says(folder, 'outside', readlinkSync('/proc/self/ns/net'));
    await until(async () => (await services(folder))['again']!.restarts === 2, 'it was begun three times');
    await until(async () => (await services(folder))['again']!.state === 'exited', 'it is left alone');
    expect(await services(folder)).toMatchObject({
      again: { exitCode: 3, networks: [] },
      once: { state: 'exited', exitCode: 0 },
      last: { state: 'running' },
    });
    expect((await account.ok('lab', 'logs', folder, 'again')).match(/begun/g)).toHaveLength(3);
    expect(readFileSync(join(folder, 'here'), 'utf8')).toBe('once\n');
    await account.ok('lab', 'down', folder);
    expect(account.leftovers()).toEqual([]);
  });

  it('undoes everything when something fails', async () => {
    const rows: [string, string, RegExp][] = [
      [
        'missing',
        'command: no-such-program-here\n    healthcheck: { test: "true" }',
        /error: service web: there is no program no-such-program-here/,
      ],
      [
        'health',
        `command: [sh, -c, "echo up; : > said; exec sleep 600"]\n    x-tapdeck: { write: [.] }\n    healthcheck: { test: "until [ -e ${account.folder}/health/said ]; do sleep 0.01; done; echo no >&2; false", interval: 10ms, retries: 2 }`,
        /error: service web is unhealthy; it said last:\n {2}web healthcheck {2}\| no\n {2}web {2}\| up\n$/,
      ],
      [
        'ended',
        'command: [sh, -c, "echo cannot; exit 3"]\n    healthcheck: { test: "false" }',
        /error: service web has ended with 3; it said last:\n {2}web {2}\| cannot\n$/,
      ],
      [
        'again',
        'command: [sh, -c, "exit 3"]\n    restart: always\n    healthcheck: { test: "false", interval: 1h, retries: 2 }',
        /error: service web ends again and again before it is healthy, the last time with 3/,
      ],
      [
        'port',
        'command: sleep 600\n    ports: ["203.0.113.250:80:80"]\n    healthcheck: { test: "true" }',
        /error: .*203\.0\.113\.250/,
      ],
    ];
    for (const [name, lines, message] of rows) {
      const folder = await lab(
        name,
        `services:\n  after:\n    command: sleep 600\n    depends_on: { web: { condition: service_healthy } }\n  other:\n    command: sleep 600\n  web:\n    ${lines}\n`,
      );
      const { code, err } = await account.tapdeck('lab', 'up', folder);
      expect(err).toMatch(message);
      expect(code).toBeGreaterThan(0);
      expect(err).not.toContain('after-1  started');
      expect(account.leftovers(), name).toEqual([]);
    }
    const outer = await lab(
      'outer',
      'services:\n  web: { command: sleep 600, networks: [own, gone] }\nnetworks:\n  own: {}\n  gone: { external: true }\n',
    );
    const absent = await account.tapdeck('lab', 'up', outer);
    expect([absent.code, absent.err]).toEqual([
      1,
      expect.stringMatching(
        /^tapdeck: error: \/.*\/compose\.yaml:5:3: networks\.gone: there is no network gone, [^\n]*\n$/,
      ),
    ]);
    expect(account.leftovers()).toEqual([]);
    const folder = await lab('wrong', 'services:\n  web:\n    comand: sleep 600\n');
    const { code, err } = await account.tapdeck('lab', 'up', folder);
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(
        /^tapdeck: error: \/.*\/compose\.yaml:3:5: services\.web\.comand: unknown key[^\n]*\n$/,
      ),
    ]);
    expect(account.leftovers()).toEqual([]);
  });

  it('leaves nothing when its supervisor is killed, and when it is interrupted', async () => {
    const folder = await lab(
      'killed',
      `services:\n  web: { command: [sh, -c, "sleep 601 & exec sleep 602"] }\n  db: { command: sleep 603 }\nnetworks: { default: { ipam: { config: [{ subnet: 10.99.0.0/24 }] } } }\n`,
    );
    await account.ok('lab', 'up', folder);
    const held = account.processes().find((pid) => commandOf(pid).includes('lab\0supervise'))!;
    process.kill(held, 'SIGKILL');
    await until(
      () => !account.processes().some((pid) => commandOf(pid).includes('sleep')),
      'the services are gone',
    );
    const ps = await account.tapdeck('lab', 'ps', folder);
    expect(ps.err).toContain('was killed');
    expect(ps.out).toMatch(/killed-web-1 +web +Exited \(137\)/);
    const down = await account.tapdeck('lab', 'down', folder);
    expect([down.code, down.err]).toEqual([0, expect.stringContaining('was killed; removing what it left')]);
    expect(await account.untilNothingIsLeft()).toEqual([]);

    const early = await lab(
      'early',
      'services:\n  a: { command: sleep 600, healthcheck: { test: "false", interval: 1h, retries: 9 } }\n',
    );
    const coming = account.start('lab', 'up', early);
    await coming.said('early-a-1  started');
    const log = join(account.runtime, 'tapdeck.labs/early/supervisor');
    writeFileSync(log, 'its last words\n', { flag: 'a' });
    process.kill(account.processes().find((pid) => commandOf(pid).includes('lab\0supervise'))!, 'SIGKILL');
    const lost = await coming.ended;
    expect([lost.code, lost.err]).toEqual([
      1,
      expect.stringMatching(
        /the supervisor ended \(SIGKILL\) before the lab was up; it said last:\n {2}its last words\n$/,
      ),
    ]);
    expect(await account.untilNothingIsLeft()).toEqual([]);

    const slow = await lab(
      'slow',
      'services:\n  a: { command: sleep 600, healthcheck: { test: "false", interval: 1h, retries: 9 } }\n  b: { command: sleep 600, depends_on: { a: { condition: service_healthy } } }\n',
    );
    const running = account.start('lab', 'up', slow);
    await running.said('slow-a-1  started');
    running.kill('SIGINT');
    const { code, err } = await running.ended;
    expect([code, err]).toEqual([1, expect.stringContaining('the lab was ended while it came up')]);
    expect(await account.untilNothingIsLeft()).toEqual([]);
    expect(existsSync(join(account.runtime, 'tapdeck.labs'))).toBe(false);
  });
});

it('a full disk ends neither a lab nor what else the deck has, and is no defect', async () => {
  const account = Account.root();
  try {
    const compose = join(account.folder, 'compose.yaml');
    writeFileSync(
      compose,
      `name: full
services:
  a: { command: 'sh -c "while sleep 0.02; do echo ${'x'.repeat(300)}; done"' }
  b: { command: sleep 600, healthcheck: { test: ["CMD", "true"], interval: 100ms } }
`,
    );
    const script = join(import.meta.dirname, 'full-disk.sh');
    const disk = join(account.folder, 'disk');
    mkdirSync(disk);
    const tapdeck = [process.execPath, join(account.program, 'dist/src/main.js')];
    const command = ['unshare', '--mount', 'sh', script, disk, compose, ...tapdeck];
    const { code, out, err } = await account.spawn(command).ended;
    expect(err).toMatch(
      /^tapdeck: error: cannot write .*disk\/td\.lock: ENOSPC: .*; free some space there$/m,
    );
    expect(err).not.toContain('defect');
    expect([code, out]).toEqual([0, 'lines are missing here\n2\n']);
  } finally {
    await account.remove();
  }
});

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** What a TCP port of this host answers to a request for /; nothing when it does not. */
function get(port: number): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.end('GET / HTTP/1.0\r\n\r\n'));
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.on('error', () => resolve(''));
    socket.on('close', () => resolve(text));
  });
}

const TRY = `import socket, sys
try:
    socket.create_connection((sys.argv[1], 5432), float(sys.argv[2])).close()
    print('reached')
except socket.gaierror:
    print('no name')
except OSError:
    print('no answer')`;

/** Whether port 5432 of a host can be reached, in so many seconds, from where a service is. */
async function tryFrom(account: Account, { pid }: ServiceState, host: string, seconds = 20): Promise<string> {
  const user = account.name === 'root' ? [] : ['--user', '--preserve-credentials'];
  const enter = ['nsenter', '--target', `${pid}`, '--net', '--mount', ...user, '--'];
  const { out } = await account.spawn([...enter, 'python3', '-c', TRY, host, `${seconds}`]).ended;
  return out.trim();
}
