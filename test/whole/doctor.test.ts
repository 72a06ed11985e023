import { spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import { packageVersion } from '../../src/control/version.ts';

// `tapdeck doctor` on a host of which one thing at a time is taken away: in namespaces of its own, as an ordinary user.

const root = fileURLToPath(new URL('../..', import.meta.url));
/** An ordinary user without an account. */
const USER = 54_321;
const PROGRAMS = ['unshare', 'setpriv', 'mount', 'nsenter'];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  chmodSync(folder, 0o755);
  for (const name of ['program', 'home', 'run', 'bin']) mkdirSync(join(folder, name));
  for (const name of ['home', 'run']) chownSync(join(folder, name), USER, USER);
  chmodSync(join(folder, 'run'), 0o700);
  for (const name of PROGRAMS) symlinkSync(`/usr/bin/${name}`, join(folder, 'bin', name));
  // What makes uidmap worth a word, whether this machine has it or not.
  for (const name of ['podman', 'newuidmap', 'newgidmap'])
    symlinkSync('/bin/true', join(folder, 'bin', name));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Host {
  /** Done by root before, in the namespaces. */
  before?: string;
  /** In a user namespace of its own, too, in which all users are who they were. */
  ownUsers?: boolean;
  env?: Record<string, string | undefined>;
  /** Words in front of the program's. */
  by?: string[];
  args?: string[];
}

/** Runs the doctor on a host that has everything but for what `before` takes away. */
async function doctor({ before = 'true', ownUsers, env = {}, by = [], args = ['--format', 'json'] }: Host) {
  const steps = [
    `mount --bind ${root} ${join(folder, 'program')}`,
    'ip link set lo up',
    `echo 0 ${USER + 1} > /proc/sys/net/ipv4/ping_group_range`,
    'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start',
    'ulimit -n 65536 2>/dev/null || true',
    before,
    'exec "$@"',
  ];
  const users = ownUsers ? ['python3', '-c', OWN_USERS] : [];
  const variables = {
    PATH: join(folder, 'bin'),
    HOME: join(folder, 'home'),
    XDG_RUNTIME_DIR: join(folder, 'run'),
    ...env,
  };
  const given = Object.entries(variables).flatMap(([name, value]) =>
    value === undefined ? [] : `${name}=${value}`,
  );
  const words = [
    ...[...users, 'unshare', '--mount', '--net', 'sh', '-ec', steps.join('\n'), 'sh'],
    ...['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--'],
    ...['env', '-i', ...given, ...by],
    ...[process.execPath, join(folder, 'program/dist/src/main.js'), 'doctor', ...args],
  ];
  const child = spawn(words[0]!, words.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  return { code, out, err };
}

/** What it complains about: check, level, and what it found. */
async function complaints(host: Host): Promise<unknown> {
  const { code, out, err } = await doctor(host);
  if (err !== '') throw new Error(err);
  const findings: Finding[] = JSON.parse(out);
  const bad = findings.filter(({ level }) => level !== 'ok');
  // Every one says what it means and what to do.
  for (const finding of bad) {
    expect(finding).toEqual({ ...finding, means: expect.any(String), todo: expect.any(String) });
  }
  expect(code).toBe(bad.some(({ level }) => level === 'problem') ? 1 : 0);
  return bad.map(({ check, level, found }) => [check, level, found]);
}

/** A folder of /proc/sys with one more file in it: settings that this kernel may not have. */
const setting = (path: string, value: number) =>
  `mount -t tmpfs none ${path.slice(0, path.lastIndexOf('/'))}; echo ${value} > ${path}`;

/** Runs a program to which the kernel has no asynchronous I/O: io_setup(2) is ENOSYS (seccomp(2); x86-64 and others). */
const NO_AIO = `
import ctypes, os, platform, struct, sys
number = 206 if platform.machine() == 'x86_64' else 0
code = struct.pack('HBBI' * 4, 0x20, 0, 0, 0, 0x15, 0, 1, number, 0x06, 0, 0, 0x00050000 | 38, 0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(code)
program = struct.pack('HxxxxxxP', 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program)) == 0
os.execv(sys.argv[1], sys.argv[1:])
`;

/** Runs a program in a user namespace of its own, in which users are who they were; unshare(1) may map only what /etc/subuid permits. */
const OWN_USERS = `
import ctypes, os, sys
ready, say_ready = os.pipe()
done, say_done = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    os.read(ready, 1)
    for name in 'uid_map', 'gid_map':
        with open(f'/proc/{parent}/{name}', 'w') as file:
            file.write('0 0 65536')
    os._exit(0)
os.close(say_done)
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(say_ready, b'x')
os.read(done, 1)
os.execvp(sys.argv[1], sys.argv[1:])
`;

const withLink = (...more: string[]) =>
  [
    'ip link add d0 type veth peer name d1',
    'ip link set d1 up',
    'ip link set d0 up',
    'ip addr add 198.51.100.2/24 dev d0',
    ...more,
  ].join('\n');

describe('doctor', () => {
  it('finds all well where all is there', async () => {
    expect(await complaints({})).toEqual([]);
    expect(await complaints({ ownUsers: true })).toEqual([]);
    const { code, out } = await doctor({ args: [] });
    expect([code, out]).toEqual([0, expect.stringMatching(/^ok {8}node .*\n(ok .*\n)+All is well\.\n$/)]);
  });

  it.each<[string, Host, [check: string, level: string, found: unknown]]>([
    [
      'the device',
      { before: 'mount -t tmpfs none /dev/net' },
      ['tun', 'problem', 'there is no /dev/net/tun'],
    ],
    [
      'its permission',
      { before: 'mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200' },
      ['tun', 'problem', '/dev/net/tun may not be opened by this user'],
    ],
    ...PROGRAMS.map((program): [string, Host, [string, string, string]] => [
      program,
      { before: `rm ${'$BIN'}/${program}` },
      ['programs', 'problem', `there is no ${program}`],
    ]),
    [
      'user namespaces',
      { ownUsers: true, before: 'echo 0 > /proc/sys/user/max_user_namespaces' },
      ['namespaces', 'problem', 'user.max_user_namespaces is 0'],
    ],
    [
      'network namespaces',
      { ownUsers: true, before: 'echo 0 > /proc/sys/user/max_net_namespaces' },
      ['namespaces', 'problem', 'user.max_net_namespaces is 0'],
    ],
    [
      "Debian's leave for users",
      {
        before: `ln -sf /bin/false $BIN/unshare\n${setting('/proc/sys/kernel/unprivileged_userns_clone', 0)}`,
      },
      ['namespaces', 'problem', 'kernel.unprivileged_userns_clone is 0'],
    ],
    [
      "AppArmor's leave for users",
      {
        before: `ln -sf /bin/false $BIN/unshare\n${setting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns', 1)}`,
      },
      ['namespaces', 'problem', 'kernel.apparmor_restrict_unprivileged_userns is 1'],
    ],
    [
      'namespaces, by nothing that can be read',
      { before: 'ln -sf /bin/false $BIN/unshare' },
      ['namespaces', 'problem', 'namespaces are refused: no reason given'],
    ],
    [
      'koffi',
      { before: `mount -t tmpfs none ${root}/node_modules/koffi; mount --rbind ${root} $PROGRAM` },
      ['koffi', 'problem', expect.stringContaining('koffi cannot be loaded: ')],
    ],
    [
      'asynchronous I/O',
      { by: ['/usr/bin/python3', '-c', NO_AIO] },
      ['aio', 'note', 'io_setup(2) is refused'],
    ],
    [
      'descriptors',
      { before: 'ulimit -n 1000' },
      ['descriptors', 'warning', '1000 descriptors for a process at most'],
    ],
    [
      'ping',
      { before: "echo '1 0' > /proc/sys/net/ipv4/ping_group_range" },
      ['ping', 'warning', 'net.ipv4.ping_group_range is 1 0, in which no group of this user is'],
    ],
    [
      'low ports',
      { before: 'echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start' },
      ['low-ports', 'note', 'net.ipv4.ip_unprivileged_port_start is 1024'],
    ],
    [
      'IPv6',
      { before: 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6' },
      ['ipv6', 'note', 'net.ipv6.conf.all.disable_ipv6 is 1'],
    ],
    [
      'the MTU',
      { before: withLink('ip route add default via 198.51.100.1', 'ip link set d0 mtu 1279') },
      ['mtu', 'warning', "d0, by which the host's default route leads, has an MTU of 1279"],
    ],
    [
      'free subnets',
      { before: withLink('ip route add 172.16.0.0/12 dev d0', 'ip route add 192.168.0.0/16 dev d0') },
      ['subnets', 'problem', 'the host has routes to all of the pools from 172.17.0.0/16 to 192.168.0.0/16'],
    ],
    ['uidmap', { before: 'rm $BIN/newuidmap' }, ['uidmap', 'note', 'there is no newuidmap']],
    [
      'the folder of the socket',
      { before: 'mkdir $RUN/tapdeck' },
      ['folders', 'problem', expect.stringContaining('/run/tapdeck belongs to another user')],
    ],
    [
      'a folder that can be written to',
      { before: 'mount --bind $RUN $RUN; mount -o remount,bind,ro $RUN' },
      [
        'folders',
        'problem',
        expect.stringContaining('/run/tapdeck is on a file system that is mounted read-only'),
      ],
    ],
    [
      'a place for the socket',
      { env: { XDG_RUNTIME_DIR: undefined } },
      ['folders', 'note', `XDG_RUNTIME_DIR is not set, so the daemon's socket is in /tmp/tapdeck-${USER}`],
    ],
    [
      'a clean end of the last daemon',
      {
        before: `mkdir -m 700 $RUN/tapdeck; echo 4194303 > $RUN/tapdeck/tapdeck.lock; chown -R ${USER} $RUN/tapdeck`,
      },
      [
        'leftovers',
        'warning',
        expect.stringMatching(/^a daemon \(pid 4194303\) was killed, and has left .*tapdeck\.lock$/),
      ],
    ],
  ])('names what is taken away, and nothing else: %s', async (_, host, complaint) => {
    const before = host.before
      ?.replaceAll('$BIN', join(folder, 'bin'))
      .replaceAll('$RUN', join(folder, 'run'))
      .replaceAll('$PROGRAM', join(folder, 'program'));
    expect(await complaints({ ...host, ...(before !== undefined && { before }) })).toEqual([complaint]);
  });

  it('looks into no folder that is not for it', async () => {
    expect(await complaints({ before: `chown 0 ${join(folder, 'run')}` })).toEqual([
      ['folders', 'problem', `${join(folder, 'run/tapdeck')} is in a folder of another user`],
      ['daemon', 'problem', expect.stringContaining('no permission to talk to the daemon')],
    ]);
  });

  it('says it in words', async () => {
    const { code, out } = await doctor({ args: [], before: 'mount -t tmpfs none /dev/net' });
    expect(code).toBe(1);
    expect(out).toMatch(
      /^problem {3}tun {2,}there is no \/dev\/net\/tun\n {10,}it means: no container gets an interface\n {10,}to do: .*mknod -m 0666 \/dev\/net\/tun c 10 200/m,
    );
    expect(out).toMatch(/^1 problem\.$/m);
  });

  it('asks a daemon for its networks and its version', async () => {
    let version = packageVersion();
    const pool = (subnet: string) => ({ subnet });
    const answers: Record<string, () => unknown> = {
      '/v1/version': () => ({ version, pid: 7, uplinks: ['socket'] }),
      '/v1/networks': () => [
        { name: 'bridge', ipv4: pool('172.17.0.0/16'), ipv6: pool('fd74:6170:6465::/64') },
        { name: 'host', ipv4: null, ipv6: null },
      ],
    };
    const server = createServer(({ url }, response) => response.end(JSON.stringify(answers[url!]!())));
    const socket = join(folder, 'run/fake.sock');
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    try {
      chownSync(socket, USER, USER);
      const env = { TAPDECK_HOST: `unix://${socket}` };
      expect(await complaints({ env })).toEqual([]);
      expect(await complaints({ env, before: withLink('ip route add 172.17.5.0/24 dev d0') })).toEqual([
        [
          'subnets',
          'warning',
          'network bridge has 172.17.0.0/16, and the host a route to 172.17.5.0/24 by d0',
        ],
      ]);
      version = '0.0.1';
      expect(await complaints({ env })).toEqual([
        [
          'daemon',
          'warning',
          `pid 7 at ${socket}, with socket, is tapdeck 0.0.1, and this is ${packageVersion()}`,
        ],
      ]);
      chownSync(socket, 0, 0);
      expect(await complaints({ env })).toEqual([
        ['daemon', 'problem', expect.stringContaining('no permission to talk to the daemon')],
      ]);
    } finally {
      server.close();
    }
  });
});
