import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { cniConflist } from '../../src/integrations/cni/files.ts';
import { HOOK_FILE, ociHookConfiguration } from '../../src/integrations/oci/files.ts';
import { until } from '../whole/account.ts';
import { EngineHost } from './engine-host.ts';
import { Podman } from './podman.ts';

// Podman as root, with its CNI backend, and with the hook.

let host: EngineHost;
let podman: Podman;

beforeAll(async () => {
  host = new EngineHost('podman');
  await host.startDaemon();
  podman = new Podman(host);
  const { networks, plugins, hooks } = podman.options;
  host.install('cni', join(plugins, 'tapdeck'));
  for (const name of ['front', 'back', 'apart']) {
    writeFileSync(join(networks, `${name}.conflist`), cniConflist({ name, host: host.host }));
  }
  const hook = host.install('oci-hook', join(plugins, 'oci-hook'));
  writeFileSync(join(hooks, HOOK_FILE), ociHookConfiguration(hook, host.host));
  const network = (...words: string[]) => host.account.ok('network', 'create', ...words);
  await network('--subnet', '10.81.0.0/24', '--ipv6', '--subnet', 'fd81::/64', 'front');
  await network('--subnet', '10.82.0.0/24', '--internal', 'back');
  await network('--subnet', '10.83.0.0/24', 'apart');
  await podman.makeImage();
});
afterAll(() => host.close());
afterEach(async () => {
  await podman.removeAll();
  expect(await host.count()).toEqual({ containers: [], taps: 0 });
});

const inside = (name: string, ...command: string[]) => podman.podman('exec', name, ...command);

async function pings(from: string, to: string): Promise<boolean> {
  return (await inside(from, 'ping', '-c', '1', '-W', '3', to)).code === 0;
}

/** A container that answers `hello` at port 80. */
async function web(name: string, ...options: string[]): Promise<void> {
  const server = ['image', 'sh', '-c', 'echo hello > /www/index.html; httpd -f -h /www'];
  await podman.ok('run', '-d', '--name', name, ...options, ...server);
}

async function answers(port: number): Promise<void> {
  await until(async () => (await host.fetched(port)) === 'hello', `hello at port ${port}`);
}

describe('podman run --network with the CNI backend', () => {
  it('gives containers addresses that Podman shows, names that they find each other by, and a way out', async () => {
    await podman.run('one', '--network', 'front');
    await podman.run('two', '--network', 'front', '--network-alias', 'zwei');
    await podman.run('three', '--network', 'apart');
    expect(
      await podman.ok('inspect', 'one', '--format', '{{.NetworkSettings.Networks.front.IPAddress}}'),
    ).toBe('10.81.0.2');
    for (const name of ['two', 'zwei', '10.81.0.3', 'fd81::3']) expect(await pings('one', name)).toBe(true);
    expect(await pings('one', '10.83.0.2')).toBe(false);
    expect((await inside('one', 'ip', 'route')).out).toContain('default via 10.81.0.1 dev eth0');
    expect((await inside('one', 'ip', '-6', 'route')).out).toContain('default via fd81::1 dev eth0');
    expect(await host.account.names()).toBe('one\ntwo\nthree\n');
  });

  it('carries TCP and UDP out of the host by its sockets', async () => {
    await podman.run('one', '--network', 'front');
    const neighbor = host.sandboxes.add('outside');
    const line = ['ip', 'link', 'add', 'line', 'type', 'veth', 'peer', 'name', 'line', 'netns', neighbor];
    await host.ok(...line);
    await host.ok('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'line');
    await host.ok('ip', 'link', 'set', 'line', 'up');
    const there = (...command: string[]) => host.account.spawn(['ip', 'netns', 'exec', neighbor, ...command]);
    await there('ip', 'address', 'add', '192.0.2.2/24', 'dev', 'line').ended;
    await there('ip', 'link', 'set', 'line', 'up').ended;
    const server = there('iperf3', '-s', '--forceflush');
    await server.said('listening');
    for (const options of [
      ['-n', '1M'],
      ['-u', '-l', '1000', '-n', '100K'],
    ]) {
      const { code, out, err } = await inside('one', 'iperf3', '-c', '192.0.2.2', ...options);
      expect([code, out, err]).toEqual([0, expect.stringContaining('receiver'), '']);
    }
    await podman.removeAll();
    host.sandboxes.remove(neighbor);
  });

  it('publishes ports, which go with the container', async () => {
    await web('web', '--network', 'front', '-p', '8080:80', '-p', '127.0.0.1:8081:80');
    await answers(8080);
    await answers(8081);
    const refused = await podman.podman(
      'run',
      '-d',
      '--network',
      'front',
      '-p',
      '8080:80',
      'image',
      'sleep',
      '1000',
    );
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain('port 8080/tcp is published by container web already');
    expect((await host.count()).taps).toBe(1);
    await podman.ok('stop', '-t', '0', 'web');
    expect(await host.fetched(8080)).toBe('');
    expect(await host.count()).toEqual({ containers: [], taps: 0 });
    await podman.ok('start', 'web');
    await answers(8080);
  });

  it('takes --ip, --ip6, --mac-address', async () => {
    await podman.run('one', '--network', 'front:ip=10.81.0.77,ip=fd81::77,mac=02:00:00:00:00:77');
    const { out } = await inside('one', 'ip', 'address', 'show', 'eth0');
    for (const text of ['10.81.0.77/24', 'fd81::77/64', '02:00:00:00:00:77']) expect(out).toContain(text);
  });

  it('connects containers to several networks, also while they run', async () => {
    await web('web', '--network', 'front', '--network', 'back', '-p', '8080:80');
    await podman.run('db', '--network', 'back');
    expect(await pings('web', 'db')).toBe(true);
    await answers(8080);
    await podman.ok('network', 'connect', 'apart', 'db');
    expect((await inside('db', 'ip', 'route')).out).toContain('default via 10.83.0.1');
    await podman.ok('network', 'disconnect', 'apart', 'db');
    expect((await inside('db', 'ip', 'route')).out).not.toContain('default');
    expect(await pings('db', '10.82.0.1')).toBe(true);
  });

  it('refuses what there is not, and leaves nothing', async () => {
    writeFileSync(
      join(podman.options.networks, 'lost.conflist'),
      cniConflist({ name: 'lost', host: host.host }),
    );
    for (const [options, message] of [
      [['--network', 'lost'], 'there is no network "lost"'],
      [['--network', 'front:ip=10.99.0.1'], '10.99.0.1'],
      [['--network', 'front', '-p', '8080:80/sctp'], 'protocol "sctp" is unknown'],
    ] as const) {
      const { code, err } = await podman.podman('run', '--rm', ...options, 'image', 'true');
      expect([code, err]).toEqual([expect.any(Number), expect.stringContaining(message)]);
      expect(code).not.toBe(0);
      expect(await host.count()).toEqual({ containers: [], taps: 0 });
    }
  });

  it('has its containers again after the daemon was killed', async () => {
    await web('web', '--network', 'front', '-p', '8080:80');
    await answers(8080);
    await host.stopDaemon('SIGKILL');
    const { code, err } = await podman.podman('run', '--rm', '--network', 'front', 'image', 'true');
    expect([code === 0, err]).toEqual([false, expect.stringContaining('no daemon is running')]);
    await host.startDaemon();
    await answers(8080);
    expect((await host.count()).containers).toEqual(['web']);
  });
});

describe('podman run --network none with the hook', () => {
  const hooked = (network: string, ...more: string[]) =>
    ['--network', 'none', `--annotation=tapdeck.network=${network}`, ...more] as const;

  it('connects containers to the networks of their annotation', async () => {
    await web(
      'web',
      ...hooked('front back', '--annotation=tapdeck.name=web', '--annotation=tapdeck.publish=8080:80'),
    );
    await podman.run('two', ...hooked('front', '--annotation=tapdeck.ip=10.81.0.9'));
    await answers(8080);
    expect(await pings('two', '10.81.0.2')).toBe(true);
    expect((await inside('two', 'ip', 'address', 'show', 'eth0')).out).toContain('10.81.0.9/24');
    await podman.ok('restart', '-t', '0', 'web');
    await answers(8080);
    await podman.run('none', '--network', 'none');
    expect((await inside('none', 'ip', 'link')).out).not.toContain('eth0');
  });

  it('makes no container that cannot be connected', async () => {
    const { code, err } = await podman.podman('run', '--rm', ...hooked('nowhere'), 'image', 'true');
    expect([code === 0, err]).toEqual([false, expect.stringContaining('there is no network')]);
  });
});
