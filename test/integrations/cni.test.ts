import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cniConflist } from '../../src/integrations/cni/files.ts';
import { ip, netnsPath } from '../device/sandbox.ts';
import { until } from '../whole/account.ts';
import { CniRuntime, type Conflist, PluginError } from './cni-runtime.ts';
import { EngineHost } from './engine-host.ts';

// The CNI plugin alone and between plugins of the CNI project (Debian's containernetworking-plugins), as a runtime calls them.

/** Where Debian has them. */
const PLUGINS = '/usr/lib/cni';

let host: EngineHost;
let runtime: CniRuntime;
/** As an installation makes it. */
let front: Conflist;

beforeAll(async () => {
  host = new EngineHost('cni');
  await host.startDaemon();
  const folder = host.path('plugins');
  host.install('cni', join(folder, 'tapdeck'));
  runtime = new CniRuntime(host, [folder, PLUGINS]);
  front = JSON.parse(cniConflist({ name: 'pods', network: 'front', host: host.host }));
  await host.account.ok(
    'network',
    'create',
    '--subnet',
    '10.71.0.0/24',
    '--ipv6',
    '--subnet',
    'fd71::/64',
    'front',
  );
  await host.account.ok('network', 'create', '--subnet', '10.72.0.0/24', '--internal', 'back');
});
afterAll(() => host.close());

const NOTHING = { containers: [], taps: 0 };
const sandbox = (hint: string) => host.sandboxes.add(hint);

async function pings(from: string, to: string): Promise<boolean> {
  return (
    (await host.account.spawn(['ip', 'netns', 'exec', from, 'ping', '-c', '1', '-W', '3', to]).ended).code ===
    0
  );
}

/** The same for another version of the specification. */
const of = (cniVersion: string, list = front): Conflist => ({ ...list, cniVersion });

describe('alone', () => {
  it.each(['0.3.1', '0.4.0', '1.0.0', '1.1.0'])(
    '%s: two containers reach each other, and go',
    async (version) => {
      const [one, two] = [sandbox('one'), sandbox('two')];
      await runtime.add(of(version), one);
      const { ips } = await runtime.add(of(version), two);
      for (const { address } of ips) expect(await pings(one, address.replace(/\/.*/, ''))).toBe(true);
      if (version !== '0.3.1') await runtime.check(of(version), one);
      for (const netns of [one, two, one]) await runtime.remove(of(version), netns);
      expect(await host.count()).toEqual(NOTHING);
      expect(ip(one, 'link')).toHaveLength(1);
    },
  );

  it('gives what the capabilities ask for: ports, addresses, MAC, aliases', async () => {
    const [web, other] = [sandbox('web'), sandbox('other')];
    await runtime.add(front, web, 'eth0', {
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
      ips: ['10.71.0.77/24', 'fd71::77/64'],
      mac: '02:00:00:00:00:77',
      aliases: { pods: ['zwei'] },
      bandwidth: { ingressRate: 1000 },
    });
    expect(ip(web, 'link', 'show', 'eth0')[0].address).toBe('02:00:00:00:00:77');
    const { dns } = await runtime.add(front, other);
    const asked = host.account.spawn([
      'ip',
      'netns',
      'exec',
      other,
      'dig',
      '+short',
      `@${dns.nameservers[0]}`,
      'zwei',
    ]);
    expect((await asked.ended).out).toBe('10.71.0.77\n');
    host.account.spawn([
      'ip',
      'netns',
      'exec',
      web,
      'busybox',
      'httpd',
      '-f',
      '-p',
      '80',
      '-h',
      host.path('www'),
    ]);
    execFileSync('sh', ['-c', `echo hello > ${host.path('www')}/index.html`]);
    await until(async () => (await host.fetched(8080)) === 'hello', 'an answer of the published port');
    for (const netns of [web, other]) await runtime.remove(front, netns);
    expect(await host.fetched(8080)).toBe('');
    expect(await host.count()).toEqual(NOTHING);
  });

  it('connects one container to several networks, of which one leads out', async () => {
    const both = sandbox('both');
    const back: Conflist = { ...front, name: 'back', plugins: [{ type: 'tapdeck', host: host.host }] };
    await runtime.add(back, both, 'eth0');
    await runtime.add(front, both, 'eth1');
    expect(ip(both, 'route', 'show', 'default')).toMatchObject([{ gateway: '10.71.0.1', dev: 'eth1' }]);
    await runtime.check(front, both, 'eth1');
    await runtime.remove(front, both, 'eth1');
    await runtime.check(back, both, 'eth0');
    await runtime.remove(back, both, 'eth0');
    expect(await host.count()).toEqual(NOTHING);
  });

  it('collects what a runtime has forgotten, and nothing of others', async () => {
    const list = of('1.1.0');
    const [kept, forgotten, ended] = [sandbox('kept'), sandbox('forgotten'), sandbox('ended')];
    for (const netns of [kept, forgotten, ended]) await runtime.add(list, netns);
    host.sandboxes.remove(ended);
    await runtime.collect(list, [{ containerID: kept, ifname: 'eth0' }]);
    await until(async () => (await host.count()).taps === 1, 'the one that is kept');
    await runtime.check(list, kept);
    await runtime.collect(list, []);
    expect(await host.count()).toEqual(NOTHING);
  });
});

describe('in a chain', () => {
  it('stands in front of plugins that change what it has made', async () => {
    const list: Conflist = {
      ...front,
      plugins: [
        ...front.plugins,
        { type: 'tuning', sysctl: { 'net.ipv4.conf.eth0.arp_filter': '1' }, mtu: 1400 },
      ],
    };
    const netns = sandbox('chain');
    const { interfaces } = await runtime.add(list, netns);
    expect(interfaces).toMatchObject([{ name: 'eth0', sandbox: netnsPath(netns) }]);
    expect(ip(netns, 'link', 'show', 'eth0')[0].mtu).toBe(1400);
    await runtime.check(list, netns);
    await runtime.remove(list, netns);
    expect(await host.count()).toEqual(NOTHING);
  });

  it('stands behind another, whose result it passes on', async () => {
    const addresses = [{ address: '192.0.2.2/24', gateway: '192.0.2.1' }];
    const line = of('0.4.0', {
      ...front,
      name: 'line',
      plugins: [{ type: 'ptp', ipam: { type: 'static', addresses } }],
    });
    const netns = sandbox('chain');
    const before = await runtime.add(line, netns, 'eth1');
    const behind = of('0.4.0', { ...front, plugins: [{ ...front.plugins[0]!, prevResult: before }] });
    const { interfaces, ips } = await runtime.add(behind, netns);
    expect(interfaces.at(-1)).toMatchObject({ name: 'eth0', sandbox: netnsPath(netns) });
    expect(ips[0]).toEqual(before.ips[0]);
    expect(ips.at(-1)).toMatchObject({ version: '6', interface: interfaces.length - 1 });
    await runtime.check(behind, netns);
    await runtime.remove(behind, netns);
    await runtime.remove(line, netns, 'eth1');
    expect(await host.count()).toEqual(NOTHING);
  });
});

describe('when the daemon', () => {
  it('is away, a runtime is told to try again, and STATUS says that nothing can be added', async () => {
    const netns = sandbox('away');
    await runtime.add(front, netns);
    await runtime.status(of('1.1.0'));
    await host.stopDaemon('SIGKILL');
    const failures = [
      await failure(runtime.add(front, sandbox('late'))),
      await failure(runtime.check(front, netns)),
      await failure(runtime.remove(front, netns)),
      await failure(runtime.status(of('1.1.0'))),
    ];
    expect(failures).toEqual([11, 11, 11, 50]);
    // The next one makes again what the last one had, and knows it by its id.
    await host.startDaemon();
    await until(async () => (await host.count()).taps === 1, 'the interface of before');
    await runtime.check(front, netns);
    await runtime.remove(front, netns);
    expect(await host.count()).toEqual(NOTHING);
  });

  async function failure(call: Promise<unknown>): Promise<number> {
    const error = await call.then(
      () => new Error('it has succeeded'),
      (refused) => refused,
    );
    if (error instanceof PluginError) return error.code;
    throw error;
  }
});
