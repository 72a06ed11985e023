import { chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HOOK_FILE, ociHookConfiguration } from '../../src/integrations/oci/files.ts';
import { Account, type Running, until } from '../whole/account.ts';
import { EngineHost, installProgram, tapsOf, unmountBelow } from './engine-host.ts';
import { makeImage, makeImageRoot } from './image.ts';
import { containersConf } from './podman.ts';

// The hook with OCI runtimes: runc and crun as root, runc and Podman as an ordinary user.

/**
 * crun 1.8 refuses a host that has both versions of cgroups mounted: it gets mounts of its own in which there is one. None
 * of the runtimes is to make cgroups, which differ from host to host.
 */
const RUNTIMES = {
  runc: ['runc'],
  crun: [
    ...['unshare', '--mount', 'sh', '-c'],
    ...['umount -l /sys/fs/cgroup/unified 2> /dev/null; exec crun --cgroup-manager=disabled "$@"', 'crun'],
  ],
} as const;

interface BundleOptions {
  /** The runtime's words for `spec`, which writes a configuration to begin with. */
  spec: readonly string[];
  root: string;
  hook: { path: string; args: string[] };
  annotations: Record<string, string>;
  stages?: readonly string[];
}

/** Makes `config.json` of a container that sleeps (OCI runtime specification, config.md). */
async function makeBundle(
  run: (...command: string[]) => Promise<string>,
  folder: string,
  { spec, root, hook, annotations, stages = ['createRuntime', 'poststop'] }: BundleOptions,
): Promise<void> {
  await run('sh', '-c', `rm -f '${folder}/config.json'; cd '${folder}' && ${spec.join(' ')}`);
  const file = join(folder, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  config.process.terminal = false;
  config.process.args = ['sh', '-c', 'ip address show eth0; sleep 1000'];
  config.process.rlimits = [];
  config.root = { path: root, readonly: true };
  config.annotations = annotations;
  config.hooks = Object.fromEntries(stages.map((stage) => [stage, [hook]]));
  config.mounts = config.mounts.filter(
    ({ destination }: { destination: string }) => destination !== '/sys/fs/cgroup',
  );
  const namespaces: { type: string }[] = config.linux.namespaces;
  config.linux.namespaces = [
    ...namespaces.filter(({ type }) => type !== 'network' && type !== 'cgroup'),
    { type: 'network' },
  ];
  writeFileSync(file, JSON.stringify(config));
}

describe('as root', () => {
  let host: EngineHost;
  let hook: BundleOptions['hook'];

  beforeAll(async () => {
    host = new EngineHost('oci');
    await host.startDaemon();
    await host.account.ok('network', 'create', '--subnet', '10.91.0.0/24', 'front');
    makeImageRoot(host.path('root'));
    const path = host.install('oci-hook', join(host.path('hooks'), 'hook'));
    hook = { path, args: ['tapdeck-oci-hook', '--host', host.host] };
  });
  afterAll(() => host.close());

  const runtime = (name: keyof typeof RUNTIMES, ...words: string[]) => [
    ...RUNTIMES[name],
    '--root',
    host.path(name),
    ...words,
  ];
  const bundle = (annotations: Record<string, string>, stages?: readonly string[]) =>
    makeBundle((...command) => host.ok(...command), host.path('bundle'), {
      ...{ spec: ['runc', 'spec'], root: host.path('root'), hook, annotations },
      ...(stages && { stages }),
    });

  describe.each(['runc', 'crun'] as const)('%s', (name) => {
    it('runs a container with an interface, and leaves nothing when it ends', async () => {
      await bundle({ 'tapdeck.network': 'front', 'tapdeck.ip': '10.91.0.77' });
      const container = host.spawn(...runtime(name, 'run', '-b', host.path('bundle'), `${name}-box`));
      await container.said('inet 10.91.0.77/24');
      expect(await host.count()).toEqual({ containers: [`${name}-box`], taps: 1 });
      await host.ok(...runtime(name, 'kill', `${name}-box`, 'KILL'));
      await container.ended;
      expect(await host.count()).toEqual({ containers: [], taps: 0 });
    });

    it('makes no container that cannot be connected', async () => {
      await bundle({ 'tapdeck.network': 'nowhere' });
      const { code } = await host.run(...runtime(name, 'run', '-b', host.path('bundle'), `${name}-lost`));
      expect(code).not.toBe(0);
      expect(await host.count()).toEqual({ containers: [], taps: 0 });
    });

    it('whose container is killed without the hook leaves nothing', async () => {
      await bundle({ 'tapdeck.network': 'front' }, ['createRuntime']);
      const container = host.spawn(...runtime(name, 'run', '-b', host.path('bundle'), `${name}-killed`));
      await container.said('inet 10.91.0.');
      const state = JSON.parse(await host.ok(...runtime(name, 'state', `${name}-killed`)));
      process.kill(state.pid, 'SIGKILL');
      await container.ended;
      await until(async () => (await host.count()).taps === 0, 'nothing of a container that was killed');
      expect((await host.count()).containers).toEqual([]);
    });
  });
});

describe('as an ordinary user', () => {
  let account: Account;
  let daemon: Running;
  let hook: BundleOptions['hook'];

  beforeAll(async () => {
    account = Account.user();
    daemon = await account.daemon();
    await account.ok('network', 'create', '--subnet', '10.92.0.0/24', 'front');
    makeImageRoot(folder('root'));
    const path = installProgram(account, 'oci-hook', join(folder('hooks'), 'hook'));
    // What a user's installation writes: the hook is started without any environment.
    hook = { path, args: ['tapdeck-oci-hook', '--host', `unix://${account.runtime}/tapdeck.sock`] };
  });
  afterAll(async () => {
    const { folder: below } = account;
    try {
      // Podman keeps its namespaces by a process of its own.
      await podman('rm', '-f', '-a', '-t', '0');
    } finally {
      unmountBelow(below);
      await account.remove();
    }
  });

  function folder(name: string): string {
    const path = join(account.folder, name);
    mkdirSync(path, { recursive: true });
    const { uid, gid } = statSync(account.folder);
    chownSync(path, uid, gid);
    return path;
  }

  async function ok(...command: string[]): Promise<string> {
    const { code, out, err } = await account.spawn(command).ended;
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${out}${err}`);
    return out.trim();
  }

  function podman(...words: string[]): Promise<string> {
    const conf = join(folder('conf'), 'containers.conf');
    const options = { networks: folder('networks'), plugins: folder('hooks'), hooks: folder('hooks.d') };
    writeFileSync(conf, containersConf({ folder: account.folder, ...options }));
    return ok('env', `CONTAINERS_CONF=${conf}`, 'podman', '--storage-driver', 'vfs', ...words);
  }

  it('runc runs a container on the daemon of the user', async () => {
    const bundle = folder('bundle');
    const annotations = { 'tapdeck.network': 'front', 'tapdeck.ip': '10.92.0.77' };
    const spec = ['runc', 'spec', '--rootless'];
    await makeBundle(ok, bundle, { spec, root: join(account.folder, 'root'), hook, annotations });
    const runc = ['runc', '--root', folder('runc')];
    const container = account.spawn([...runc, 'run', '-b', bundle, 'box']);
    await container.said('inet 10.92.0.77/24');
    expect([await account.names(), tapsOf(daemon.pid)]).toEqual(['box\n', 1]);
    await ok(...runc, 'kill', 'box', 'KILL');
    await container.ended;
    expect([await account.names(), tapsOf(daemon.pid)]).toEqual(['', 0]);
  });

  it('Podman connects containers that reach each other', async () => {
    writeFileSync(join(folder('hooks.d'), HOOK_FILE), ociHookConfiguration(hook.path, hook.args[2]));
    await podman('import', makeImage(folder('image')), 'image');
    const run = (name: string) =>
      podman(
        ...['run', '-d', '--name', name, '--network', 'none', '--annotation=tapdeck.network=front'],
        ...[`--annotation=tapdeck.name=${name}`, 'image', 'sleep', '1000'],
      );
    await run('one');
    await run('two');
    expect([await account.names(), tapsOf(daemon.pid)]).toEqual(['one\ntwo\n', 2]);
    expect(await podman('exec', 'one', 'ping', '-c', '1', '-W', '3', '10.92.0.3')).toContain('64 bytes from');
    expect(await podman('exec', 'one', 'nslookup', 'two', '10.92.0.1')).toContain('10.92.0.3');
    await podman('rm', '-f', '-a', '-t', '0');
    expect([await account.names(), tapsOf(daemon.pid)]).toEqual(['', 0]);
  });
});
