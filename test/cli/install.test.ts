import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { placeOf } from '../../src/cli/install/place.ts';
import { TARGETS } from '../../src/cli/install/target.ts';
import { afterUninstall } from '../../src/cli/install/units.ts';
import { main } from '../../src/cli/program.ts';

let root: string;
let out: string;
let err: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += text;
    return true;
  });
  vi.spyOn(process, 'getuid').mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

async function tapdeck(...argv: string[]) {
  out = '';
  err = '';
  const code = await main([...argv, '--root', root]);
  return { code, out, err };
}

function asUser(): void {
  vi.spyOn(process, 'getuid').mockReturnValue(1000);
  vi.stubEnv('HOME', '/home/alice');
  for (const name of ['XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME']) vi.stubEnv(name, '');
}

/** All files below the root but the receipt, and their modes. */
function files(): Record<string, string> {
  return Object.fromEntries(
    (readdirSync(root, { recursive: true }) as string[])
      .filter((name) => statSync(join(root, name)).isFile() && !name.endsWith('/installed.json'))
      .map((name) => [`/${name}`, (statSync(join(root, name)).mode & 0o777).toString(8)]),
  );
}
const read = (path: string) => readFileSync(join(root, path), 'utf8');
function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

const SYSTEM: Record<string, Record<string, string>> = {
  service: { '/etc/systemd/system/tapdeck.service': '644', '/etc/systemd/system/tapdeck.socket': '644' },
  docker: { '/etc/docker/plugins/tapdeck.spec': '644' },
  cni: { '/etc/cni/net.d/90-tapdeck.conflist': '644', '/opt/cni/bin/tapdeck': '755' },
  netavark: { '/usr/local/lib/netavark/tapdeck': '755' },
  oci: {
    '/etc/containers/oci/hooks.d/tapdeck.json': '644',
    '/usr/local/libexec/tapdeck/oci-hook': '755',
  },
  slirp4netns: {
    '/etc/containers/containers.conf.d/tapdeck-slirp4netns.conf': '644',
    '/usr/local/libexec/tapdeck/slirp4netns': '755',
  },
  completion: {
    '/usr/local/share/bash-completion/completions/tapdeck': '644',
    '/usr/local/share/fish/vendor_completions.d/tapdeck.fish': '644',
    '/usr/local/share/zsh/site-functions/_tapdeck': '644',
  },
};
const USER: Record<string, Record<string, string>> = {
  service: {
    '/home/alice/.config/systemd/user/tapdeck.service': '644',
    '/home/alice/.config/systemd/user/tapdeck.socket': '644',
  },
  oci: {
    '/home/alice/.config/containers/containers.conf.d/tapdeck-oci.conf': '644',
    '/home/alice/.config/containers/oci/hooks.d/tapdeck.json': '644',
    '/home/alice/.local/share/tapdeck/oci-hook': '755',
  },
  slirp4netns: {
    '/home/alice/.config/containers/containers.conf.d/tapdeck-slirp4netns.conf': '644',
    '/home/alice/.local/share/tapdeck/slirp4netns': '755',
  },
  wireshark: { '/home/alice/.config/wireshark/extcap/tapdeck': '755' },
  completion: {
    '/home/alice/.config/fish/completions/tapdeck.fish': '644',
    '/home/alice/.local/share/bash-completion/completions/tapdeck': '644',
    '/home/alice/.local/share/zsh/site-functions/_tapdeck': '644',
  },
};

describe.each([
  ['root', SYSTEM],
  ['a user', USER],
] as const)('install as %s', (who, expected) => {
  beforeEach(() => {
    if (who === 'a user') asUser();
  });

  it.each(Object.entries(expected))(
    '%s puts its files in their places, and uninstall takes them away',
    async (target, places) => {
      const planned = await tapdeck('install', '--dry-run', target);
      expect([planned.code, files()]).toEqual([0, {}]);
      for (const path of Object.keys(places)) expect(planned.out).toContain(`would write ${root}${path}\n`);
      const done = await tapdeck('install', target);
      expect([done.code, done.err, files()]).toEqual([0, '', places]);
      expect(done.out).toBe(planned.out.replaceAll('would write', 'wrote'));
      expect((await tapdeck('install', target)).out).not.toContain('wrote');
      expect((await tapdeck('uninstall', '--dry-run', target)).out).toMatch(/^(would remove .*\n)+$/);
      const gone = await tapdeck('uninstall', target);
      expect([gone.code, gone.err]).toEqual([0, '']);
      for (const path of Object.keys(places)) expect(gone.out).toContain(`removed ${root}${path}\n`);
      // Not a folder is left that was not there, but for the receipt's own.
      expect(
        readdirSync(root, { recursive: true }).filter((name) => !/^(var|home)(\/|$)/.test(name as string)),
      ).toEqual([]);
      expect(files()).toEqual({});
      expect(await tapdeck('uninstall', target)).toMatchObject({
        code: 1,
        err: expect.stringContaining('is not installed'),
      });
    },
  );
});

describe('install', () => {
  it('names what is for root alone', async () => {
    asUser();
    for (const target of ['docker', 'cni', 'netavark']) {
      const { code, err } = await tapdeck('install', target);
      expect([code, err]).toEqual([
        1,
        expect.stringContaining('is installed for all of the machine; run this as root'),
      ]);
    }
    expect(TARGETS).toEqual(expect.arrayContaining([...Object.keys(SYSTEM), ...Object.keys(USER)]));
  });

  it('leaves foreign files alone, and with --force puts them aside until uninstall', async () => {
    const path = '/usr/local/share/fish/vendor_completions.d/tapdeck.fish';
    write(path, 'of somebody else\n');
    const refused = await tapdeck('install', 'completion');
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringContaining(`${root}${path} is there and not from tapdeck`),
    });
    expect(files()).toEqual({ [path]: '644' });
    expect((await tapdeck('install', '--force', 'completion')).out).toContain(
      `put aside what was there, and wrote ${root}${path}\n`,
    );
    expect(read(`${path}.before-tapdeck`)).toBe('of somebody else\n');
    expect((await tapdeck('uninstall', 'completion')).out).toContain(`put back ${root}${path}\n`);
    expect([files(), read(path)]).toEqual([{ [path]: '644' }, 'of somebody else\n']);
  });

  it("puts Wireshark's program where Wireshark looks", async () => {
    await tapdeck('install', 'wireshark');
    const folders = execFileSync('tshark', ['-G', 'folders'], { encoding: 'utf8', stdio: 'pipe' });
    const paths = Object.keys(files());
    expect(paths).toEqual([expect.stringMatching(/\/tapdeck$/)]);
    expect(folders).toContain(`${dirname(paths[0]!)}\n`);
    expect(read(paths[0]!)).toMatch(/^#!\/bin\/sh\nexec '\/.*' '\/.*extcap\.js' "\$@"\n$/);
  });

  it('puts a manual page for each command where man looks', async () => {
    asUser();
    await tapdeck('install', 'man');
    expect(Object.keys(files())).toEqual(
      expect.arrayContaining([
        '/home/alice/.local/share/man/man1/tapdeck.1',
        '/home/alice/.local/share/man/man1/tapdeck-network-create.1',
      ]),
    );
    expect((await tapdeck('install', 'man')).out).not.toContain('wrote');
    await tapdeck('uninstall', 'man');
    expect(files()).toEqual({});
  });

  it('takes no file for its own that is a link', async () => {
    const path = '/etc/docker/plugins/tapdeck.spec';
    write('/elsewhere', 'unix:///run/docker/plugins/tapdeck.sock\n');
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync('/elsewhere', join(root, path));
    expect((await tapdeck('install', 'docker')).err).toContain('is there and not from tapdeck');
  });

  it('loses nothing that was put aside', async () => {
    const path = '/etc/docker/plugins/tapdeck.spec';
    write(path, 'first\n');
    await tapdeck('install', '--force', 'docker');
    write(path, 'second\n');
    await tapdeck('install', '--force', 'docker');
    expect([read(`${path}.before-tapdeck`), read(`${path}.before-tapdeck.2`)]).toEqual([
      'first\n',
      'second\n',
    ]);
    await tapdeck('uninstall', 'docker');
    expect([read(path), read(`${path}.before-tapdeck.2`)]).toEqual(['first\n', 'second\n']);
  });

  it('writes through no link that lies in wait', async () => {
    write('/victim', 'of somebody else\n');
    const path = join(root, '/etc/docker/plugins/tapdeck.spec');
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(join(root, 'victim'), `${path}.next`);
    expect(await tapdeck('install', 'docker')).toMatchObject({ code: 0 });
    expect(read('/victim')).toBe('of somebody else\n');
    expect(readdirSync(dirname(path)).sort()).toEqual(['tapdeck.spec', 'tapdeck.spec.next']);
  });

  it('takes away no link and no folder in the place of a file', async () => {
    const path = join(root, '/etc/docker/plugins/tapdeck.spec');
    await tapdeck('install', 'docker');
    rmSync(path);
    symlinkSync('/elsewhere', path);
    expect((await tapdeck('uninstall', 'docker')).err).toContain('was changed since it was installed');
    expect(readdirSync(dirname(path))).toEqual(['tapdeck.spec']);
    rmSync(path);
    mkdirSync(path);
    expect((await tapdeck('uninstall', '--force', 'docker')).err).toContain('take it away yourself');
    rmSync(path, { recursive: true });
    expect((await tapdeck('uninstall', 'docker')).code).toBe(0);
  });

  it('stays below its root, whatever an image has there', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'tapdeck-'));
    try {
      mkdirSync(join(root, 'etc'));
      symlinkSync(outside, join(root, 'etc/docker'));
      expect((await tapdeck('install', 'docker')).err).toContain(`/etc/docker leads out of ${root}`);
      expect(readdirSync(outside)).toEqual([]);
      const hash = execFileSync('sha256sum', ['/dev/null'], { encoding: 'utf8' }).slice(0, 64);
      writeFileSync(join(outside, 'file'), '');
      for (const path of [`/..${outside}/file`, '/etc/docker/file']) {
        const files = [{ target: 'docker', path, hash }];
        write('/var/lib/tapdeck/installed.json', JSON.stringify({ files, folders: [] }));
        expect(await tapdeck('uninstall', 'docker')).toMatchObject({
          code: expect.any(Number),
          err: expect.stringMatching(/damaged|leads out/),
        });
      }
      expect(readdirSync(outside)).toEqual(['file']);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  it('renews what an earlier version has put there, and takes away what was changed only when told to', async () => {
    const path = '/etc/docker/plugins/tapdeck.spec';
    await tapdeck('install', 'docker');
    write(path, 'unix:///elsewhere\n');
    expect((await tapdeck('uninstall', 'docker')).err).toContain('was changed since it was installed');
    expect(read(path)).toBe('unix:///elsewhere\n');
    // As if it had been written by another version.
    const receipt = JSON.parse(read('/var/lib/tapdeck/installed.json'));
    receipt.files[0].hash = execFileSync('sha256sum', [join(root, path)], { encoding: 'utf8' }).slice(0, 64);
    write('/var/lib/tapdeck/installed.json', JSON.stringify(receipt));
    expect((await tapdeck('install', 'docker')).out).toContain(`wrote anew ${root}${path}\n`);
    write(path, 'unix:///elsewhere\n');
    expect((await tapdeck('uninstall', '--force', 'docker')).code).toBe(0);
    expect(files()).toEqual({});
  });

  it('goes on where a file is gone, and says when its receipt is damaged', async () => {
    await tapdeck('install', 'completion');
    rmSync(join(root, '/usr/local/share/zsh/site-functions/_tapdeck'));
    expect((await tapdeck('uninstall', 'completion')).out).toContain('was gone: ');
    write('/var/lib/tapdeck/installed.json', '{');
    expect(await tapdeck('install', 'completion')).toMatchObject({
      code: 1,
      err: expect.stringContaining('is damaged'),
    });
  });

  it('makes the root that it is given, and leaves folders in it that others can read', async () => {
    const outer = root;
    root = join(outer, 'images/one');
    try {
      expect(await tapdeck('install', 'man')).toMatchObject({ code: 0, err: '' });
      const mode = (path: string) => (statSync(join(root, path)).mode & 0o777).toString(8);
      expect(['var', 'var/lib', 'var/lib/tapdeck', 'usr'].map(mode)).toEqual(['755', '755', '700', '755']);
      await tapdeck('uninstall', 'man');
      expect(files()).toEqual({});
    } finally {
      root = outer;
    }
  });

  it('says what is left to do with systemd and Podman', async () => {
    mkdirSync(join(root, 'etc/systemd'), { recursive: true });
    expect((await tapdeck('install', 'service')).out).toContain(
      `next: systemctl --root=${root} enable tapdeck.socket tapdeck.service\n`,
    );
    for (const target of ['cni', 'netavark'])
      expect((await tapdeck('install', target)).out).toMatch(/^next: .*enable_port_reservation = false/m);
    const files = [
      { path: '/etc/systemd/system/tapdeck-docker.socket' },
      { path: '/etc/docker/plugins/x.spec' },
    ];
    expect(afterUninstall('docker', { ...placeOf(''), system: true }, files)).toEqual([
      'systemctl stop tapdeck-docker.socket; systemctl disable tapdeck-docker.socket; systemctl daemon-reload; systemctl try-restart tapdeck.service',
    ]);
    expect(afterUninstall('cni', placeOf(''), [{ path: '/opt/cni/bin/tapdeck' }])).toEqual([]);
  });

  it('chooses the folder of CNI plugins that is there', async () => {
    mkdirSync(join(root, 'usr/lib/cni'), { recursive: true });
    await tapdeck('install', 'cni');
    expect(files()).toHaveProperty('/usr/lib/cni/tapdeck', '755');
  });
});

describe('units', () => {
  it.each(['root', 'a user'])('are what systemd understands: of %s', async (who) => {
    if (who === 'a user') asUser();
    mkdirSync(join(root, 'etc/systemd'), { recursive: true });
    await tapdeck('install', '--group', 'users', 'service');
    if (who === 'root') await tapdeck('install', 'docker');
    const units = Object.keys(files()).filter((path) => /\.(service|socket)$/.test(path));
    expect(units).toHaveLength(who === 'root' ? 3 : 2);
    // What they start has to be there: the program of the checkout may not have been built.
    for (const unit of units) {
      const text = read(unit);
      write(unit, text.replace(/^ExecStart=(\S+) .*dist\/src\/main\.js daemon$/m, 'ExecStart=$1 daemon'));
      if (unit.endsWith('.service')) expect(text).toMatch(/^ExecStart=\S+ \S+dist\/src\/main\.js daemon$/m);
      if (unit.endsWith('k.socket') && !unit.includes('docker'))
        expect(text).toContain('SocketGroup=users\nSocketMode=0660\nDirectoryMode=0711');
    }
    chmodSync(root, 0o755);
    const { status, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', ...(who === 'root' ? [] : ['--user']), ...units.map((unit) => join(root, unit))],
      { encoding: 'utf8', env: { ...process.env, XDG_RUNTIME_DIR: root } },
    );
    expect(stderr.split('\n').filter((line) => line.includes('tapdeck'))).toEqual([]);
    expect(status).toBe(0);
  });

  it('refuse a group that would be something else', async () => {
    expect(await tapdeck('install', '--group', 'a\nb', 'service')).toMatchObject({ code: 2 });
    expect(await tapdeck('install', '--group', 'users', 'cni')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--group is for service alone'),
    });
  });
});
