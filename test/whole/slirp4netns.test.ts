import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { runIn, Sandboxes } from '../device/sandbox.ts';
import { Account, type Running, until } from './account.ts';
import { askApi, Guest, serve, startSlirp } from './guest.ts';

// tapdeck in place of slirp4netns, as its callers start it, without them: `npm run test:integrations` has Podman and RootlessKit.

const sandboxes = new Sandboxes();
const servers: Running[] = [];
const guests: Guest[] = [];
let host: string;
let account: Account;

async function guest(): Promise<Guest> {
  const made = await Guest.make(account);
  guests.push(made);
  return made;
}

const status = (guest: Guest, url: string) =>
  guest.ok('curl', '-gs', '-m', '20', '-o', '/dev/null', '-w', '%{http_code}', url);

beforeAll(() => {
  host = sandboxes.add('host');
  execFileSync('ip', ['-n', host, 'link', 'set', 'lo', 'up']);
  // What the host is to others; there is nobody else.
  for (const address of ['192.0.2.7/32', '2001:db8::7/128'])
    execFileSync('ip', ['-n', host, 'address', 'add', address, 'dev', 'lo']);
  account = Account.user(host);
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.kill('SIGKILL');
    await server.ended;
  }
  for (const each of guests.splice(0)) await each.end();
  await account.end();
});
afterAll(async () => {
  await account?.remove();
  sandboxes.removeAll();
});

test('guests reach one another, the host and its loopback by the addresses that slirp4netns has', async () => {
  const [one, two] = [await guest(), await guest()];
  const socket = join(account.folder, 'api.sock');
  const first = await one.connect(
    { TAPDECK_NAME: 'one' },
    '-c',
    '-6',
    '--mtu=65520',
    '--enable-sandbox',
    '-a',
    socket,
  );
  const second = await two.connect({ TAPDECK_NAME: 'two' }, '-c', '-6', '--disable-host-loopback');

  expect(await one.ok('ip', '-br', 'address', 'show', 'tap0')).toContain('10.0.2.100/24');
  expect(await one.ok('ip', 'route', 'show', 'default')).toContain('via 10.0.2.2 dev tap0');
  // By name, which the name server knows where callers look for it.
  const address = await one.ok('dig', '+short', '@10.0.2.3', 'two');
  expect(await one.ok('dig', '+short', '@fd00::3', 'two')).toBe(address);
  for (const to of [
    address,
    await one.ok('dig', '+short', '@10.0.2.3', 'two', 'AAAA'),
    '10.0.2.2',
    'fd00::2',
  ])
    await one.ok('ping', '-c', '1', '-W', '20', to);

  servers.push(await two.serve(80), await one.serve(80));
  expect(await status(one, `http://${address}/`)).toBe('200');
  // Its own address, as its caller believes, is its own.
  expect(await status(one, 'http://10.0.2.100/')).toBe('200');

  const onHost = ['ip', 'netns', 'exec', host];
  servers.push(await serve(onHost, '127.0.0.1', 8001), await serve(onHost, '::', 8002));
  expect(await status(one, 'http://10.0.2.2:8001/')).toBe('200');
  expect(await status(one, 'http://192.0.2.7:8002/')).toBe('200');
  expect(await status(one, 'http://[2001:db8::7]:8002/')).toBe('200');
  expect((await two.run('curl', '-s', 'http://10.0.2.2:8001/')).code).toBe(7);

  const web = {
    proto: 'tcp',
    host_addr: '127.0.0.1',
    host_port: 8080,
    guest_addr: '10.0.2.100',
    guest_port: 80,
  };
  const add = { execute: 'add_hostfwd', arguments: web };
  expect(await askApi(socket, add)).toEqual({ return: { id: 1 } });
  const outside = () => runIn(host, 'curl', '-s', '-m', '20', '-o', '/dev/null', 'http://127.0.0.1:8080/');
  expect((await outside()).code).toBe(0);
  expect(await askApi(socket, add)).toMatchObject({ error: { desc: /^bad request: add_hostfwd: / } });
  expect(await askApi(socket, { execute: 'list_hostfwd' })).toEqual({ entries: [{ id: 1, ...web }] });
  expect(await askApi(socket, { execute: 'remove_hostfwd', arguments: { id: 1 } })).toEqual({ return: {} });
  expect((await outside()).code).toBe(7);
  expect(await askApi(socket, 'half a req')).toEqual({ error: { desc: 'bad request: cannot parse JSON' } });

  // The caller closes its end; and the other way.
  first.child.stdin!.end();
  expect(await first.ended).toMatchObject({ code: 0 });
  expect(existsSync(socket)).toBe(false);
  expect((await one.run('ip', 'link', 'show', 'tap0')).code).toBe(1);
  second.kill('SIGTERM');
  expect(await second.ended).toMatchObject({ code: 0 });
  for (const each of guests.splice(0)) await each.end();
  expect(await account.untilNothingIsLeft()).toEqual([]);
});

test('a TAP that the caller has made is taken over, and its addresses are left to the caller', async () => {
  const [one, two] = [await guest(), await guest()];
  await one.ok('ip', 'tuntap', 'add', 'name', 'tap0', 'mode', 'tap');
  await one.ok('ip', 'link', 'set', 'tap0', 'up');
  await one.connect({}, '--mtu', '65520');
  // As RootlessKit does then.
  for (const words of [
    'address add 10.0.2.100/24 dev tap0',
    'link set tap0 mtu 65520 up',
    'route add default via 10.0.2.2 dev tap0',
  ])
    await one.ok('ip', ...words.split(' '));
  await two.connect({ TAPDECK_NAME: 'two' }, '-c');
  await one.ok('ping', '-c', '1', '-W', '20', await one.ok('dig', '+short', '@10.0.2.3', 'two'));
  servers.push(await serve(['ip', 'netns', 'exec', host], '0.0.0.0', 8003));
  expect(await status(one, 'http://192.0.2.7:8003/')).toBe('200');
});

test('a guest whose daemon is started anew is connected again', async () => {
  const start = async () => {
    const daemon = account.spawn([
      ...[process.execPath, join(account.program, 'dist/src/main.js'), 'daemon', '--uplink', 'none'],
    ]);
    await daemon.said('daemon ready');
    return daemon;
  };
  const first = await start();
  const one = await guest();
  const slirp = await one.connect({ TAPDECK_NAME: 'one' }, '-c');
  const before = await one.ok('ip', '-br', 'address', 'show', 'tap0');
  first.kill('SIGTERM');
  expect(await first.ended).toMatchObject({ code: 0 });
  const second = await start();
  const again = async () => (await one.run('ip', '-br', 'address', 'show', 'tap0')).output.trim() === before;
  await until(again, 'it has its address again');
  second.kill('SIGTERM');
  await second.ended;
  // Nobody tells it any more.
  for (const each of guests.splice(0)) await each.end();
  expect(await slirp.ended).toMatchObject({ code: 0 });
});

test('whoever is killed leaves nothing, and a guest whose daemon is killed is connected again', async () => {
  const [one, two] = [await guest(), await guest()];
  const first = await one.connect({ TAPDECK_NAME: 'one' }, '-c');
  const second = await two.connect({ TAPDECK_NAME: 'two' }, '-c');
  const before = await one.ok('ip', '-br', 'address', 'show', 'tap0');
  const containers = async (): Promise<{ id: string; name: string }[]> => {
    const { out } = await account.tapdeck('ps', '--format', 'json');
    const all: { id: string; name: string }[] = JSON.parse(out || '[]');
    return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  };
  const old = (await containers()).map(({ id }) => id);
  process.kill(Number(readFileSync(join(account.runtime, 'tapdeck.lock'), 'utf8')), 'SIGKILL');
  // The next daemon makes them again as they were, and then they come themselves.
  const connected = async () => {
    const again = await containers();
    return again.map(({ name }) => name).join() === 'one,two' && again.every(({ id }) => !old.includes(id));
  };
  await until(connected, 'both are connected again');
  const again = async () => (await one.run('ip', '-br', 'address', 'show', 'tap0')).output.trim() === before;
  await until(again, 'it has its address again');
  await one.ok('ping', '-c', '1', '-W', '20', '10.0.2.2');
  // The namespace goes on without its slirp4netns, and ends for itself.
  first.kill('SIGKILL');
  await first.ended;
  await one.ok('ping', '-c', '1', '-W', '20', '10.0.2.2');
  for (const each of guests.splice(0)) await each.end();
  expect(await second.ended).toMatchObject({ code: 0 });
  expect(await account.untilNothingIsLeft()).toEqual([]);
});

test('as root of a user namespace whose own network is the host', async () => {
  // What Podman starts is so: it may enter the namespaces of its containers, and not come back.
  const script = [
    'unshare -n sleep 1000 < /dev/null > /dev/null 2>&1 & guest=$!',
    'while [ "$(readlink /proc/$guest/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done',
    `exec ${process.execPath} ${account.program}/dist/src/slirp4netns.js -c -e 0 -r 1 --netns-type=path /proc/$guest/ns/net tap0`,
  ].join('\n');
  const running = account.spawn(['unshare', '-r', 'sh', '-c', script]);
  await running.said(/^1$/);
  expect(await account.ok('ps')).toContain('slirp4netns');
  running.child.stdin!.end();
  expect(await running.ended).toMatchObject({ code: 0, err: '' });
});

test('pasta connects a guest, publishes its ports, and goes on in the background until its namespace ends', async () => {
  const [one, two] = [await guest(), await guest()];
  const file = join(account.folder, 'pid');
  const pasta = (guest: Guest, name: string, ...args: string[]) =>
    account.spawn([
      ...[
        'env',
        `TAPDECK_NAME=${name}`,
        process.execPath,
        join(account.program, 'dist/src/pasta.js'),
        '--config-net',
      ],
      ...['--dns-forward', '169.254.1.1', '-u', 'none', '-T', 'none', '-U', 'none', '--no-map-gw', '--quiet'],
      ...['--netns', `/proc/${guest.pid}/ns/net`, ...args],
    ]).ended;
  expect(await pasta(one, 'one', '-t', '127.0.0.1/8085:80', '--pid', file)).toEqual({
    code: 0,
    out: '',
    err: '',
  });
  expect(await pasta(two, 'two', '-t', 'none')).toEqual({ code: 0, out: '', err: '' });
  const address = await two.ok('dig', '+short', '@169.254.1.1', 'one');
  expect(await one.ok('ip', '-br', '-4', 'address', 'show', 'eth0')).toContain(`${address}/16`);
  servers.push(await one.serve(80));
  expect(await status(two, `http://${address}/`)).toBe('200');
  expect(
    (await runIn(host, 'curl', '-s', '-m', '20', '-o', '/dev/null', 'http://127.0.0.1:8085/')).code,
  ).toBe(0);
  process.kill(Number(readFileSync(file, 'utf8')), 'SIGTERM');
  await until(async () => (await account.names()) === 'two\n', 'the first is gone');
  await until(() => !existsSync(file), 'the file of its pid is gone');
  expect(await pasta(one, 'two')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^pasta: .*two.*\n$/),
  });
  for (const each of guests.splice(0)) await each.end();
  expect(await account.untilNothingIsLeft()).toEqual([]);
});

test('what cannot be is said in a line, and starts nothing', async () => {
  for (const [args, message] of [
    [['--foo', '7'], "slirp4netns: Unknown option '--foo'; see --help\n"],
    [['-r', '77', '7'], 'slirp4netns: --ready-fd 77: no such descriptor was passed on\n'],
  ] as const)
    expect(await startSlirp(account, {}, ...args).ended).toEqual({ code: 1, out: '', err: message });
  expect(account.leftovers()).toEqual([]);
  const { code, err } = await startSlirp(account, {}, '-c', '4194304', 'tap0').ended;
  expect([code, err]).toEqual([1, expect.stringMatching(/^slirp4netns: .*process 4194304.*\n$/)]);
  expect(await account.untilNothingIsLeft()).toEqual([]);
});
