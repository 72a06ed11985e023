import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { netnsPath, type Outcome, run, Sandboxes } from './sandbox.ts';

// What an ordinary user does, done by one: an account of its own, the built program in a place that it can read,
// a container made with unshare.

const root = fileURLToPath(new URL('../..', import.meta.url));
const user = `td${randomBytes(4).toString('hex')}`;
const sandboxes = new Sandboxes();
const containers: ChildProcess[] = [];
let directory: string;
let uid: string;
let gid: string;

beforeAll(() => {
  if (!existsSync(join(root, 'dist/src/device/tap-helper.js'))) {
    throw new Error('the program is not built; run npm run build first');
  }
  execFileSync('useradd', ['--no-create-home', '--shell', '/bin/sh', user]);
  uid = execFileSync('id', ['-u', user], { encoding: 'utf8' }).trim();
  gid = execFileSync('id', ['-g', user], { encoding: 'utf8' }).trim();
  directory = mkdtempSync(join(tmpdir(), 'td-'));
  chmodSync(directory, 0o755);
  for (const part of ['dist', 'package.json'])
    cpSync(join(root, part), join(directory, part), { recursive: true });
  for (const part of ['koffi', '@koromix']) {
    const modules = join('node_modules', part);
    cpSync(join(root, modules), join(directory, modules), { recursive: true });
  }
});
afterAll(() => {
  if (directory !== undefined) rmSync(directory, { recursive: true });
  // A process of theirs that has ended may not have been collected yet.
  execFileSync('userdel', ['--force', user], { stdio: 'ignore' });
});
afterEach(async () => {
  // Gone before the account is: whoever is made next may have its number.
  for (const container of containers.splice(0)) {
    container.kill('SIGKILL');
    if (container.exitCode === null && container.signalCode === null) await once(container, 'exit');
  }
  sandboxes.removeAll();
});

function asUser(...command: string[]): string[] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--', ...command];
}

/** A mount namespace of its own in which /dev/net/tun has this mode: 0666 as udev makes it, whatever it is here. */
function withTun(mode: string): string[] {
  const script = `mount -t tmpfs none /dev/net && mknod -m ${mode} /dev/net/tun c 10 200 && exec "$@"`;
  return ['unshare', '--mount', 'sh', '-c', script, 'sh'];
}

/** A process of the user in its own namespaces; resolves when it is in them. */
async function container(...unshare: string[]): Promise<number> {
  const [command, ...args] = asUser('unshare', ...unshare, '--', 'sh', '-c', 'echo in; exec sleep 300');
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  containers.push(child);
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', (code) => reject(new Error(`unshare ended with code ${code}`)));
  });
  return child.pid!;
}

/** Runs `body` of a module as the user, with the functions of `rootless.ts` and `target` in scope. */
async function asUserRun(
  target: object,
  body: string,
  prefix = [...withTun('0666'), ...asUser()],
): Promise<Outcome> {
  const script = join(directory, `script-${randomBytes(4).toString('hex')}.mjs`);
  writeFileSync(
    script,
    `import { readdirSync } from 'node:fs';
     import { openTapAsUser, openTapFor } from './dist/src/device/rootless.js';
     import { TapDevice } from './dist/src/device/tap.js';
     import { Arena } from './dist/switch/frame.js';
     import { execFileSync } from 'node:child_process';
     const target = ${JSON.stringify(target)};
     const descriptors = () => readdirSync('/proc/self/fd').length;
     const children = () => execFileSync('ps', ['-o', 'args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
       .split('\\n').filter((line) => line !== '' && !line.startsWith('ps '));
     ${body}`,
  );
  return run(prefix[0]!, ...prefix.slice(1), process.execPath, script);
}

function ipIn(pid: number, ...args: string[]): string {
  return execFileSync('nsenter', ['-t', String(pid), '-n', 'ip', ...args], { encoding: 'utf8' });
}

const wanted = {
  ifname: 'eth0',
  mac: '02:42:0a:00:00:02',
  mtu: 9000,
  addresses: ['10.0.0.2/24', 'fd00::2/64'],
  gateway4: '10.0.0.1',
  gateway6: 'fd00::1',
};

describe('an ordinary user', () => {
  it.each(['openTapFor', 'openTapAsUser'])(
    'gets a TAP out of a user namespace of theirs: %s',
    async (way) => {
      const pid = await container('--user', '--map-root-user', '--net');
      const { output } = await asUserRun(
        { ...wanted, netns: pid },
        `const tap = await ${way}(target);
       console.log(JSON.stringify(tap), children().length);
       console.log(execFileSync('nsenter', ['-t', '${pid}', '-U', '-n', '--preserve-credentials', 'sh', '-c',
         'ip -br addr; ip route; ip -6 route show default'], { encoding: 'utf8' }));
       const device = new TapDevice(tap);
       const arena = new Arena({ small: 1, big: 1 });
       try {
         execFileSync('nsenter', ['-t', '${pid}', '-U', '-n', '--preserve-credentials', 'ping', '-c1', '-W0.01', '10.0.0.9']);
       } catch {}
       for (let frame = device.receive(arena, 0); frame; frame = device.receive(arena, 0)) {
         if (frame.bytes[frame.at + 12] === 8 && frame.bytes[frame.at + 13] === 6) console.log('ARP', device.transmit(frame, 0));
         arena.release(frame);
       }
       device.close();`,
      );
      expect(output).toMatch(/^\{"fd":\d+,"ifname":"eth0","mac":"02:42:0a:00:00:02","mtu":9000\} 0\n/);
      expect(output).toMatch(/eth0\s+UNKNOWN\s+10\.0\.0\.2\/24 fd00::2\/64 fe80::/);
      expect(output).toMatch(/lo\s+UNKNOWN/);
      expect(output).toContain('default via 10.0.0.1 dev eth0');
      expect(output).toContain('default via fd00::1 dev eth0');
      expect(output).toContain('ARP 0');
      expect(ipIn(pid, '-br', 'link')).not.toContain('eth0');
    },
  );

  it('gets it by a path too', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: `/proc/${pid}/ns/net` },
      `console.log((await openTapFor(target)).ifname);`,
    );
    expect(output).toBe('eth0\n');
  });

  it('learns of the container’s end', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: pid },
      `const device = new TapDevice(await openTapFor(target));
       const arena = new Arena({ small: 1, big: 1 });
       process.kill(${pid}, 'SIGKILL');
       while (!device.gone) {
         for (let frame = device.receive(arena, 0); frame; frame = device.receive(arena, 0)) arena.release(frame);
         await new Promise((resolve) => setTimeout(resolve, 10));
       }
       console.log(device.ending);`,
    );
    expect(output).toBe('EBADFD\n');
  });

  it('has descriptors and processes back, whether it went well or not', async () => {
    // With a helper that comes to no end: the true one may be done before its time is over, short as that is.
    const slow = join(directory, 'slow');
    mkdirSync(slow);
    writeFileSync(join(slow, 'nsenter'), '#!/bin/sh\nexec sleep 300\n', { mode: 0o755 });
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: pid },
      `const close = (await import('./dist/src/device/syscall.js')).close;
       close((await openTapFor(target)).fd);
       const before = descriptors();
       for (let i = 0; i < 5; i++) close((await openTapFor(target)).fd);
       await openTapFor({ ...target, ifname: 'lo' }).catch((error) => console.log(error.message));
       process.env.PATH = '${slow}:' + process.env.PATH;
       await openTapAsUser(target, 1).catch((error) => console.log(error.message));
       console.log(descriptors() - before, children().length);`,
    );
    const [taken, late, rest] = output.split('\n');
    expect(taken).toBe(
      `cannot make interface lo in the network namespace of process ${pid}: there is one of that name already; choose another name`,
    );
    expect(late).toBe(
      `cannot make interface eth0 in the network namespace of process ${pid}: the helper was stopped after 1 ms`,
    );
    expect(rest).toBe('0 0');
  });

  it('gets the same errors as root', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: pid },
      `for (const wrong of [{ mtu: 1 }, { addresses: ['224.0.0.1'] }, { netns: 4194305 }, { gateway4: 'x' }]) {
         await openTapFor({ ...target, ...wrong }).catch((error) => console.log(error.message));
       }`,
    );
    expect(output.split('\n')).toEqual([
      'MTU 1 is impossible; with IPv6 a TAP takes 1280 to 65521',
      "address '224.0.0.1' needs a prefix length, as in 224.0.0.1/16",
      expect.stringContaining('there is no such process'),
      expect.stringContaining("gateway 'x' is no IP address"),
      '',
    ]);
  });

  const complain = `await openTapFor(target).then(() => console.log('opened'), (error) => console.log(error.message));`;

  it('is told so when the namespace is root’s', async () => {
    const name = sandboxes.add('root');
    const { output } = await asUserRun({ ...wanted, netns: netnsPath(name) }, complain);
    expect(output).toBe(
      `cannot make interface eth0 in the network namespace of ${netnsPath(name)}: it belongs to this user namespace, in which we are not root; run tapdeck as root, or make the container with \`unshare --user --map-root-user --net\`\n`,
    );
  });

  it('is told so when the process is somebody else’s', async () => {
    const { output } = await asUserRun({ ...wanted, netns: 1 }, complain);
    expect(output).toMatch(
      /^cannot open the network namespace of process 1: permission denied \(EACCES\); run tapdeck as the user who started it, or as root\n$/,
    );
  });

  it('is told so when they are not root in the container', async () => {
    const pid = await container('--user', '--net');
    const { output } = await asUserRun({ ...wanted, netns: pid }, complain);
    expect(output).toMatch(/: not permitted \(EPERM\); .*\(unshare --map-root-user\)\n$/);
  });

  it('is told how to open /dev/net/tun', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun({ ...wanted, netns: pid }, complain, [
      ...withTun('0600'),
      ...asUser(),
    ]);
    expect(output).toBe(
      'cannot open /dev/net/tun: permission denied (EACCES); allow it as udev does: chmod 0666 /dev/net/tun\n',
    );
  });

  it('is told what to install when there is no nsenter', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: pid },
      `process.env.PATH = '/nonexistent'; ${complain}`,
    );
    expect(output).toMatch(/: there is no nsenter; install util-linux\n$/);
  });
});

describe('root', () => {
  it('gets a TAP out of a user’s container directly', async () => {
    const pid = await container('--user', '--map-root-user', '--net');
    const { output } = await asUserRun(
      { ...wanted, netns: pid },
      `process.env.PATH = '/nonexistent'; console.log((await openTapFor(target)).ifname);`,
      ['env'],
    );
    expect(output).toBe('eth0\n');
    expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toContain(`Uid:\t${uid}`);
  });
});
