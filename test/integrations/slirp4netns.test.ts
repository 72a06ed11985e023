import { execFileSync, spawn as start } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, Running, until } from '../whole/account.ts';
import { serve } from '../whole/guest.ts';
import { unmountBelow } from './engine-host.ts';
import { makeImage } from './image.ts';

// Podman and RootlessKit, as an ordinary user, with tapdeck in place of slirp4netns. The host, and a server one hop away, are
// namespaces: nothing leaves the machine.

/** The host on the line to the server, and the server. */
const HOST = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
const SERVER = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };

const sandboxes = new Sandboxes();
const servers: Running[] = [];
let host: string;
let server: string;
let account: Account;

beforeAll(async () => {
  host = sandboxes.add('host');
  server = sandboxes.add('server');
  const ip = (...words: string[]) => execFileSync('ip', words);
  ip('-n', host, 'link', 'add', 'line', 'type', 'veth', 'peer', 'name', 'line', 'netns', server);
  for (const [netns, { ipv4, ipv6 }] of [
    [host, HOST],
    [server, SERVER],
  ] as const) {
    ip('-n', netns, 'link', 'set', 'lo', 'up');
    ip('-n', netns, 'address', 'add', `${ipv4}/24`, 'dev', 'line');
    ip('-n', netns, 'address', 'add', `${ipv6}/64`, 'dev', 'line', 'nodad');
    ip('-n', netns, 'link', 'set', 'line', 'up');
  }
  // As distributions have it; a new namespace lets nobody ping.
  execFileSync('nsenter', [
    `--net=${netnsPath(host)}`,
    'sysctl',
    '-qw',
    'net.ipv4.ping_group_range=0 2147483647',
  ]);
  account = Account.engineUser(host, `nameserver ${SERVER.ipv4}\n`);
  const program = join(account.program, 'dist/src/slirp4netns.js');
  write('slirp4netns', `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, 0o755);
  write(
    'containers.conf',
    `[engine]
network_cmd_path = "${join(account.folder, 'slirp4netns')}"
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`,
  );
  const at = ['nsenter', `--net=${netnsPath(server)}`];
  servers.push(await serve(at, '::', 80), await names(at));
  await podman('import', makeImage(folder('image')), 'image');
});
afterEach(async () => {
  await podman('rm', '-f', '-a', '-t', '0');
  await until(() => account.processes().every((pid) => !isOurs(pid)), 'nothing of the deck is left');
  expect(leftInFolder()).toEqual([]);
});
afterAll(async () => {
  for (const each of servers) {
    each.kill('SIGKILL');
    await each.ended;
  }
  if (account) {
    unmountBelow(account.folder);
    await account.remove();
  }
  sandboxes.removeAll();
});

function folder(name: string): string {
  const path = join(account.folder, name);
  mkdirSync(path, { recursive: true });
  const { uid, gid } = statSync(account.folder);
  chownSync(path, uid, gid);
  return path;
}

function write(name: string, content: string, mode = 0o644): void {
  writeFileSync(join(account.folder, name), content);
  chmodSync(join(account.folder, name), mode);
}

/** A name server that knows one name. */
async function names(where: readonly string[]): Promise<Running> {
  return python(
    where,
    `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 53))
print('listening', flush=True)
while True:
  q, who = s.recvfrom(512)
  end = q.index(0, 12) + 5
  isA = q[end - 4:end - 2] == b'\\x00\\x01'
  a = b'\\xc0\\x0c\\x00\\x01\\x00\\x01\\x00\\x00\\x00\\x3c\\x00\\x04' + socket.inet_aton('${SERVER.ipv4}')
  s.sendto(q[:2] + b'\\x81\\x80\\x00\\x01\\x00' + (b'\\x01' if isA else b'\\x00') + b'\\x00' * 4 + q[12:end] + (a if isA else b''), who)`,
  );
}

async function python(where: readonly string[], program: string): Promise<Running> {
  const running = new Running(
    start(where[0]!, [...where.slice(1), 'python3', '-c', program], { stdio: ['ignore', 'pipe', 'pipe'] }),
  );
  await running.said('listening');
  return running;
}

function spawn(...command: string[]): Running {
  return account.spawn(['env', `CONTAINERS_CONF=${join(account.folder, 'containers.conf')}`, ...command]);
}

async function ok(...command: string[]): Promise<string> {
  const { code, out, err } = await spawn(...command).ended;
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${out}${err}`);
  return out.trim();
}

function podman(...words: string[]): Promise<string> {
  return ok('podman', '--storage-driver', 'vfs', ...words);
}

/** Runs a container that sleeps; it may ping. */
function run(name: string, ...options: string[]): Promise<string> {
  return ok(
    ...['env', `TAPDECK_NAME=${name}`, 'podman', '--storage-driver', 'vfs', 'run', '-d', '--name', name],
    ...[
      '--cap-add',
      'NET_RAW',
      ...options,
      'image',
      'sh',
      '-c',
      'echo $HOSTNAME > /www/index.html; httpd -p 80 -h /www; sleep 1000',
    ],
  );
}

const within = (name: string, command: string) => podman('exec', name, 'sh', '-c', command);

function isOurs(pid: number): boolean {
  try {
    return execFileSync('cat', [`/proc/${pid}/cmdline`], { encoding: 'latin1' }).includes('/dist/src/');
  } catch {
    return false;
  }
}

/** What the daemon would leave beside its lock, when there was none. */
function leftInFolder(): string[] {
  return account.leftovers().filter((one) => one.startsWith('tapdeck.'));
}

describe('Podman', () => {
  test('containers reach what is outside and one another, by both IP versions and by name', async () => {
    await run('one');
    await run('two');
    const address = (await within('one', 'nslookup two 10.0.2.3')).match(
      /Address:? \d?:? ?(10\.0\.2\.\d+)\s*$/m,
    )?.[1];
    const outside = `wget -qO- http://${SERVER.ipv4}/ > /dev/null && wget -qO- http://[${SERVER.ipv6}]/ > /dev/null`;
    const checks: Record<string, string> = {
      'ping the gateway': 'ping -c 1 -W 10 10.0.2.2',
      'ping outside': `ping -c 1 -W 10 ${SERVER.ipv4}`,
      'ping outside by IPv6': `ping -6 -c 1 -W 10 ${SERVER.ipv6}`,
      'TCP outside': outside,
      'UDP outside': `nslookup server.example ${SERVER.ipv4} > /dev/null`,
      'DNS outside': `nslookup server.example | busybox grep ${SERVER.ipv4}`,
      'resolv.conf': 'busybox grep "nameserver 10.0.2.3" /etc/resolv.conf',
      'its own name': 'wget -qO- http://$HOSTNAME/',
      'its own address': 'wget -qO- http://10.0.2.100/',
      'another container': `ping -c 1 -W 10 ${address}`,
      'another container by name': 'wget -qO- http://two/',
      'the loopback of the host, not': '! nc -w 5 10.0.2.2 8001 < /dev/null',
    };
    servers.push(await serve(['nsenter', `--net=${netnsPath(host)}`], '127.0.0.1', 8001));
    const failed: string[] = [];
    for (const [what, command] of Object.entries(checks)) {
      await within('one', command).catch((error: Error) => failed.push(`${what}: ${error.message}`));
    }
    expect(failed).toEqual([]);
    expect((await account.ok('ps', '-q')).trim().split('\n')).toHaveLength(2);
    // The daemon is where Podman has started it.
    const { code, err } = await account.tapdeck('run', '--network', 'slirp4netns', 'true');
    expect([code, err]).toEqual([
      125,
      expect.stringContaining('start "tapdeck daemon", and then them again'),
    ]);
  });

  test.each(['rootlesskit', 'slirp4netns'])('-p publishes ports by port handler %s', async (handler) => {
    await run('web', '--network', `slirp4netns:port_handler=${handler}`, '-p', '8080:80');
    const fetched = () =>
      execFileSync('nsenter', [
        `--net=${netnsPath(server)}`,
        'curl',
        '-s',
        '-m',
        '10',
        `http://${HOST.ipv4}:8080/`,
      ]);
    expect(fetched().toString().trim()).toMatch(/^[0-9a-f]{12}$/);
    expect(JSON.parse(await account.ok('ps', '--format', 'json'))[0].ports).toHaveLength(
      handler === 'slirp4netns' ? 1 : 0,
    );
  });

  test('a container may have another network, and the loopback of the host', async () => {
    servers.push(await serve(['nsenter', `--net=${netnsPath(host)}`], '127.0.0.1', 8002));
    await run(
      'one',
      '--network',
      'slirp4netns:cidr=10.9.8.0/24,allow_host_loopback=true,mtu=1400,enable_ipv6=false',
    );
    expect(await within('one', 'ip -4 addr show tap0')).toMatch(/mtu 1400[\s\S]*10\.9\.8\.100\/24/);
    expect(await within('one', 'ip -6 addr show tap0')).not.toContain('global');
    await within(
      'one',
      'busybox grep "nameserver 10.9.8.3" /etc/resolv.conf && wget -qO- http://10.9.8.2:8002/ > /dev/null',
    );
  });

  test('containers are on the switch of the daemon that runs already, beside all others', async () => {
    const daemon = await account.daemon('--uplink', 'socket');
    await run('one');
    expect(await account.names()).toBe('one\n');
    const ping = ['ping', '-c', '1', '-W', '10'];
    const own = (await within('one', 'ip -4 addr show tap0')).match(/inet (\S+)\/24/)![1]!;
    await account.ok('run', '--network', 'slirp4netns', ...ping, own);
    await podman('rm', '-f', '-a', '-t', '0');
    await until(async () => (await account.names()) === '', 'the container is gone');
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
  });
});

describe('RootlessKit', () => {
  test('has its network, and publishes ports by the API socket', async () => {
    const state = folder('rootlesskit');
    const running = spawn(
      ...[
        'rootlesskit',
        `--state-dir=${state}`,
        '--net=slirp4netns',
        '--disable-host-loopback',
        '--copy-up=/etc',
      ],
      ...[
        `--slirp4netns-binary=${join(account.folder, 'slirp4netns')}`,
        '--port-driver=slirp4netns',
        '-p',
        '0.0.0.0:8081:80/tcp',
      ],
      ...[
        'sh',
        '-c',
        `ip route; curl -s -m 10 -o /dev/null -w 'outside %{http_code}\\n' http://${SERVER.ipv4}/; exec python3 -u -m http.server 80`,
      ],
    );
    await running.said('Serving HTTP');
    expect(running.out).toContain('default via 10.0.2.2 dev tap0');
    expect(running.out).toContain('outside 200');
    const fetched = execFileSync('nsenter', [
      `--net=${netnsPath(server)}`,
      'curl',
      '-s',
      '-m',
      '10',
      `http://${HOST.ipv4}:8081/`,
    ]);
    expect(fetched.toString()).toContain('Directory listing');
    running.kill('SIGTERM');
    await running.ended;
  });
});
