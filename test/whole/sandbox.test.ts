import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { rewriteResolvConf } from '../../src/control/sandbox-files.ts';
import { Account } from './account.ts';

// What the command of a sandbox sees of the host's files, as root and as an ordinary user.

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('a sandbox of %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  /** Runs a script of the shell in a sandbox with these options; answers what it printed. */
  async function sandbox(script: string, options: object, files: object = {}): Promise<string> {
    const program = join(account.folder, 'program.mjs');
    writeFileSync(
      program,
      `import { Sandbox } from '${account.program}/dist/src/index.js';
       const sandbox = await Sandbox.start({
         command: ['sh', '-c', ${JSON.stringify(script)}], stdio: ['ignore', 'inherit', 'inherit'], ...${JSON.stringify(options)},
       });
       sandbox.go(${JSON.stringify(files)});
       process.exitCode = (await sandbox.ended).exitCode;
       await sandbox.close();`,
    );
    const { code, out, err } = await account.spawn([process.execPath, program]).ended;
    expect([code, err]).toEqual([0, '']);
    return out;
  }

  it('has a host name, an /etc/hosts and an /etc/resolv.conf of its own, and its own /sys', async () => {
    const before = readFileSync('/proc/self/mountinfo', 'utf8').match(/tapdeck/g) ?? [];
    const out = await sandbox(
      'hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; ls /sys/class/net; ls -d /sys/fs/cgroup/*; ls -d /tmp/td-*',
      { hostname: 'web-1' },
      {
        hosts: '10.0.0.2\tweb-1\n# \\n 100% "quoted" `text`\n',
        resolvConf: 'nameserver 10.0.0.1\noptions ndots:0\n',
      },
    );
    expect(out).toContain(
      'web-1\nweb-1\n10.0.0.2\tweb-1\n# \\n 100% "quoted" `text`\nnameserver 10.0.0.1\noptions ndots:0\nlo\n/sys/fs/cgroup/',
    );
    // The place where they were made is what it was.
    expect(out).toContain(account.folder);
    expect(readFileSync('/etc/hosts', 'utf8')).not.toContain('web-1');
    expect(readFileSync('/proc/sys/kernel/hostname', 'utf8')).not.toContain('web-1');
    expect(readFileSync('/proc/self/mountinfo', 'utf8').match(/tapdeck/g) ?? []).toEqual(before);
  });

  it('has what the host says where nothing else is said', async () => {
    const out = await sandbox('cat /etc/hosts /etc/resolv.conf; cat /proc/sys/kernel/hostname', {});
    const host = ['/etc/hosts', '/etc/resolv.conf', '/proc/sys/kernel/hostname'].map((file) =>
      existsSync(file) ? readFileSync(file, 'utf8') : '',
    );
    expect(out).toBe(host.join(''));
  });

  it("writes to the host's files unless it is read-only, and then only where it may", async () => {
    const folder = join(account.folder, 'project of mine');
    const data = join(folder, "the data's");
    // Made by the account: by root they would not be its to write to.
    await account.spawn(['mkdir', '-p', data]).ended;
    mkdirSync(join(account.folder, 'elsewhere'), { recursive: true });
    const script = (...places: string[]) => `
      set -- ${places.map((place) => `"${place}"`).join(' ')}
      for place in "$@"; do
        if (: >"$place/written") 2>/dev/null; then echo "$place: yes"; else echo "$place: no"; fi
      done
      pwd; ls -d "the data's" ../elsewhere 2>&1 | tr '\\n' ' '`;
    const shut = await sandbox(script(folder, data, '/tmp', '/dev/shm', '/var/tmp', '/etc', '/sys'), {
      readOnly: true,
      tmpfs: ['/tmp', '/dev/shm', '/var/tmp', '/nowhere', join(account.folder, 'elsewhere')],
      writable: [data],
      cwd: folder,
    });
    const answers = [folder, '/etc', '/sys'].map((place) => `${place}: no\n`);
    for (const answer of answers) expect(shut).toContain(answer);
    for (const place of [data, '/tmp', '/dev/shm', '/var/tmp']) expect(shut).toContain(`${place}: yes\n`);
    // Its folder is there, and nothing else of the host's /tmp.
    expect(shut).toContain(`\n${folder}\n`);
    expect(shut).toMatch(/cannot access '..\/elsewhere'.* the data's|the data's.*cannot access/);
    expect(existsSync(join(data, 'written'))).toBe(true);
    expect(['/tmp', '/dev/shm', '/var/tmp'].filter((place) => existsSync(`${place}/written`))).toEqual([]);

    const free = await sandbox(script(folder, data), { cwd: folder });
    expect(free).toContain(`${folder}: yes\n${data}: yes\n`);
  });
});

it('may put what takes nothing in the place of its /etc/resolv.conf', async () => {
  const account = Account.root();
  try {
    const script = 'mount --bind /dev/full /etc/resolv.conf; echo in; exec sleep 60';
    const sandbox = account.spawn(['unshare', '--mount', 'sh', '-c', script]);
    await sandbox.said('in');
    expect(rewriteResolvConf(sandbox.pid!, 'nameserver 10.0.0.1\n')).toBe(false);
  } finally {
    await account.remove();
  }
});
