import { readdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../whole/account.ts';
import { DockerEngine } from './docker-engine.ts';

// A real Docker Engine, with networks of driver tapdeck.

let engine: DockerEngine;

beforeAll(async () => {
  engine = new DockerEngine();
  await engine.startDaemon();
  await engine.startDockerd();
  await engine.makeImage();
  await engine.ok('network', 'create', '-d', engine.driver, '--subnet', '10.77.0.0/24', 'front');
});
afterAll(() => engine.close());
afterEach(async () => {
  const left = (await engine.ok('ps', '-aq')).split('\n').filter((id) => id !== '');
  if (left.length > 0) await engine.ok('rm', '-f', ...left);
  expect(await endpoints()).toBe('');
  expect(await engine.interfaces()).toEqual([]);
});

/** What `tapdeck ps` shows of containers, without its heading. */
async function endpoints(): Promise<string> {
  return (await engine.account.ok('ps')).split('\n').slice(1).join('\n').trim();
}

/** Waits until `tapdeck ps` shows a container by Docker's name. */
async function named(name: string): Promise<void> {
  await until(
    async () => new RegExp(`^\\S+ +${name} `, 'm').test(await endpoints()),
    `${name} in tapdeck ps`,
  );
}

async function pings(from: string, to: string): Promise<boolean> {
  return (await engine.docker('exec', from, 'ping', '-c', '1', '-W', '3', to)).code === 0;
}

/** A container that answers `hello` at port 80. */
async function web(name: string, ...options: string[]): Promise<void> {
  await engine.run(name, ...options);
  await serve(name);
}

async function serve(name: string): Promise<void> {
  await engine.ok('exec', name, 'sh', '-c', 'echo hello > /www/index.html && httpd -h /www');
}

async function fetched(port: number): Promise<string> {
  return (await engine.onHost('curl', '-s', '-m', '3', `http://127.0.0.1:${port}/`)).out.trim();
}

describe('containers', () => {
  it('reach each other by name, and nobody in another network', async () => {
    await engine.ok('network', 'create', '-d', engine.driver, '--subnet', '10.78.0.0/24', 'apart');
    await engine.run('one', '--network', 'front');
    await engine.run('two', '--network', 'front', '--network-alias', 'zwei');
    await engine.run('three', '--network', 'apart', '--ip', '10.78.0.7');
    expect(await pings('one', 'two')).toBe(true);
    expect(await pings('one', 'zwei')).toBe(true);
    expect(await pings('one', '10.78.0.7')).toBe(false);
    for (const name of ['one', 'two', 'three']) await named(name);
    await engine.ok('rm', '-f', 'three');
    await engine.ok('network', 'rm', 'apart');
  });

  it('publish ports, which are theirs again after a restart', async () => {
    await web('web', '--network', 'front', '-p', '8080:80', '-p', '127.0.0.1::81/udp');
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('restart', '-t', '0', 'web');
    await serve('web');
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('stop', '-t', '0', 'web');
    expect(await fetched(8080)).toBe('');
    expect(await endpoints()).toBe('');
    await engine.ok('start', 'web');
    await serve('web');
    expect(await fetched(8080)).toBe('hello');
  });

  it('see who asks them from another machine', async () => {
    await engine.run('web', '--network', 'front', '-p', '8080:80');
    await engine.ok(
      'exec',
      '-d',
      'web',
      'sh',
      '-c',
      'echo hello > /www/index.html; httpd -f -vv -h /www 2> /www/log',
    );
    const neighbor = engine.neighbor();
    try {
      const ask = ['ip', 'netns', 'exec', neighbor, 'curl', '-s', '-m', '3', 'http://192.0.2.1:8080/'];
      await until(
        async () => (await engine.account.spawn(ask).ended).out === 'hello\n',
        'hello from the neighbor',
      );
    } finally {
      engine.removeNeighbor(neighbor);
    }
    expect(await engine.ok('exec', 'web', 'cat', '/www/log')).toContain('192.0.2.2]');
  });

  it('are refused a port that another has, and leave nothing', async () => {
    await web('web', '--network', 'front', '-p', '8080:80');
    const { code, err } = await engine.docker(
      ...['run', '--network', 'front', '-p', '8080:80', 'image', 'true'],
    );
    expect(code).toBe(125);
    expect(err).toMatch(/port 8080\/tcp is published by container (web|docker-\w+) already/);
    expect((await endpoints()).split('\n')).toHaveLength(1);
  });

  it('are connected and disconnected while they run, with the way out that Docker chooses', async () => {
    await engine.ok('network', 'create', '-d', engine.driver, '--ipam-driver', engine.driver, 'other');
    await engine.ok(
      'network',
      'create',
      '-d',
      engine.driver,
      '--internal',
      '--subnet',
      '10.79.0.0/24',
      'back',
    );
    await web('web', '--network', 'other', '-p', '8080:80');
    const route = async () => (await engine.ok('exec', 'web', 'ip', 'route')).split('\n')[0];
    const first = await route();
    await engine.ok('network', 'connect', 'back', 'web');
    expect(await route()).toBe(first);
    await engine.ok('network', 'connect', '--ip', '10.77.0.9', 'front', 'web');
    // The first by Docker's name.
    expect(await route()).toContain('via 10.77.0.1');
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('network', 'disconnect', 'other', 'web');
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('network', 'disconnect', 'front', 'web');
    expect(await engine.ok('exec', 'web', 'ip', 'route')).not.toContain('default');
    expect(await fetched(8080)).toBe('');
    await engine.ok('network', 'connect', 'front', 'web');
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('rm', '-f', 'web');
    await engine.ok('network', 'rm', 'other', 'back');
  });

  it('have IPv6', async () => {
    const subnets = ['--subnet', '10.80.0.0/24', '--ipv6', '--subnet', 'fd00:80::/64'];
    await engine.ok('network', 'create', '-d', engine.driver, ...subnets, 'six');
    await engine.run('one', '--network', 'six');
    await engine.run('two', '--network', 'six', '--ip6', 'fd00:80::77');
    expect((await engine.docker('exec', 'one', 'ping', '-6', '-c', '1', '-W', '3', 'fd00:80::77')).code).toBe(
      0,
    );
    await engine.ok('rm', '-f', 'one', 'two');
    await engine.ok('network', 'rm', 'six');
  });

  it('come and go by the hundred', { timeout: 200_000 }, async () => {
    const all = Array.from({ length: 100 }, (_, i) => `c${i}`);
    const descriptors = () => readdirSync(`/proc/${engine.daemon.pid}/fd`).length;
    await engine.run('before', '--network', 'front');
    await engine.ok('rm', '-f', 'before');
    const before = descriptors();
    for (let i = 0; i < all.length; i += 4) {
      await Promise.all(all.slice(i, i + 4).map((name) => engine.run(name, '--network', 'front')));
    }
    expect((await endpoints()).split('\n')).toHaveLength(all.length);
    await engine.ok('rm', '-f', ...all);
    expect(await endpoints()).toBe('');
    await until(() => descriptors() <= before + 2, 'descriptors are closed');
  });
});

describe('what is refused', () => {
  it.each([
    [['-o', 'colour=red'], 'there is no such option of a network'],
    [['--subnet', '172.17.0.0/24'], 'overlaps with 172.17.0.0/16 of network bridge'],
    [['--ipam-driver', 'null'], 'another IPAM driver than null'],
  ])('docker network create %j', async (options, why) => {
    const { code, err } = await engine.docker('network', 'create', '-d', engine.driver, ...options, 'x');
    expect(code).toBe(1);
    expect(err).toContain(why);
  });
});

describe('a restart', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('of tapdeck by %s leaves containers connected', async (signal) => {
    await web('web', '--network', 'front', '-p', '8080:80');
    await engine.run('db', '--network', 'front');
    await named('web');
    await named('db');
    await engine.stopDaemon(signal);
    await engine.startDaemon();
    expect(await pings('db', 'web')).toBe(true);
    expect(await fetched(8080)).toBe('hello');
    await named('web');
    expect(await engine.ok('exec', 'web', 'ip', 'route')).toContain('default via 10.77.0.1 dev eth0');
    // Docker finds its plugin again.
    await engine.ok('restart', '-t', '0', 'db');
    expect(await pings('db', 'web')).toBe(true);
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)('of dockerd by %s leaves containers connected', async (signal) => {
    await web('web', '--network', 'front', '-p', '8080:80');
    await engine.run('db', '--network', 'front');
    await engine.stopDockerd(signal);
    expect(await fetched(8080)).toBe('hello');
    await engine.startDockerd();
    expect(await pings('db', 'web')).toBe(true);
    expect(await fetched(8080)).toBe('hello');
    await engine.ok('stop', '-t', '0', 'web', 'db');
    expect(await endpoints()).toBe('');
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'of dockerd by %s without --live-restore ends them',
    async (signal) => {
      await engine.stopDockerd();
      await engine.startDockerd(false);
      await engine.run('once', '--network', 'front');
      await engine.run('always', '--network', 'front', '--restart', 'always');
      await named('always');
      await engine.stopDockerd(signal);
      await engine.startDockerd(false);
      await until(
        async () => (await engine.docker('exec', 'always', 'true')).code === 0,
        'always runs again',
      );
      await named('always');
      expect((await endpoints()).split('\n')).toHaveLength(1);
      await engine.ok('start', 'once');
      expect(await pings('once', 'always')).toBe(true);
      await engine.stopDockerd();
      await engine.startDockerd();
    },
  );

  it('of both, with a container that ended meanwhile, forgets that one', async () => {
    await engine.run('web', '--network', 'front');
    await engine.run('db', '--network', 'front');
    await named('web');
    await named('db');
    const pid = Number(await engine.ok('inspect', '-f', '{{.State.Pid}}', 'db'));
    await engine.stopDockerd();
    await engine.stopDaemon();
    process.kill(pid, 'SIGKILL');
    await engine.startDaemon();
    await engine.startDockerd();
    await until(async () => !/ db /.test(await endpoints()), 'db is forgotten');
    expect(await engine.ok('inspect', '-f', '{{.State.Running}}', 'web', 'db')).toBe('true\nfalse');
    await engine.ok('start', 'db');
    expect(await pings('db', 'web')).toBe(true);
  });
});

it('a network that tapdeck has lost is said to be so', async () => {
  await engine.ok('network', 'create', '-d', engine.driver, '--subnet', '10.81.0.0/24', 'lost');
  const id = await engine.ok('network', 'inspect', '-f', '{{.Id}}', 'lost');
  await engine.account.ok('network', 'rm', id);
  const { code, err } = await engine.docker('run', '--rm', '--network', 'lost', 'image', 'true');
  expect(code).toBe(125);
  expect(err).toContain('remove it with "docker network rm" and create it again');
  await engine.ok('network', 'rm', 'lost');
});
