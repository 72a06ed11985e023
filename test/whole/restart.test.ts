import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ip, netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, type Running } from './account.ts';

// What becomes of namespaces and their connections when the daemon goes, and another one comes.

/** Reads to the end and says how many bytes came, and their digest. */
const SINK = `
import hashlib, socket
listener = socket.create_server(('', 7777))
print('listening', flush=True)
peer, _ = listener.accept()
digest, count = hashlib.sha256(), 0
while data := peer.recv(1 << 16):
    digest.update(data)
    count += len(data)
print(count, digest.hexdigest(), flush=True)
peer.sendall(b'thanks')
`;

/** Sends until it is told to stop, by a line on stdin, and says the same; fails when the connection does. Says when much is sent. */
const SOURCE = `
import hashlib, random, select, socket, sys
peer = socket.create_connection((sys.argv[1], 7777))
digest, count, block = hashlib.sha256(), 0, random.randbytes(1 << 16)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    peer.sendall(block)
    digest.update(block)
    count += len(block)
    if count == 1 << 21: print('much', flush=True)
peer.shutdown(socket.SHUT_WR)
assert peer.recv(6) == b'thanks'
print(count, digest.hexdigest(), flush=True)
`;

const sandboxes = new Sandboxes();

/** What the kernel of a namespace says of its interfaces and routes. */
function configurationOf(netns: string) {
  const links = ip(netns, 'addr').filter(({ ifname }: { ifname: string }) => ifname !== 'lo');
  return {
    links: links
      .map(({ ifname, address, mtu, addr_info }: Record<string, unknown>) => ({
        ifname,
        address,
        mtu,
        addresses: (addr_info as { local: string; prefixlen: number }[])
          .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
          .sort(),
      }))
      .sort((one: { ifname: unknown }, other: { ifname: unknown }) =>
        String(one.ifname).localeCompare(String(other.ifname)),
      ),
    routes: execFileSync('ip', ['-n', netns, 'route'], { encoding: 'utf8' }).split('\n').sort(),
  };
}

/** Two programs between which bytes go all the time; answers when it has begun. */
async function transfer(sink: () => Running, source: () => Running) {
  const to = sink();
  await to.said('listening');
  const from = source();
  await from.said('much');
  return {
    async end() {
      from.child.stdin!.end('\n');
      const [sent, received] = await Promise.all([from.ended, to.ended]);
      expect([sent.code, received.code], `${sent.err}${received.err}`).toEqual([0, 0]);
      const said = sent.out.split('\n')[1]!;
      expect(received.out.split('\n')[1]).toBe(said);
      expect(Number(said.split(' ')[0])).toBeGreaterThanOrEqual(1 << 21);
    },
  };
}

describe('a daemon that comes after another', () => {
  let account: Account;
  beforeAll(() => {
    account = Account.root();
  });
  afterEach(async () => {
    await account.end();
    sandboxes.removeAll();
  });
  afterAll(() => account.remove());

  const inNetns = (netns: string, ...command: string[]) =>
    account.spawn(['ip', 'netns', 'exec', netns, ...command]);

  it('has all that was there when it was killed, and connections between containers live', async () => {
    const first = await account.daemon();
    await account.ok('network', 'create', '--subnet', '10.77.0.0/24', '--mtu', '1500', 'lab');
    await account.ok('network', 'create', '--subnet', '10.78.0.0/24', 'empty');
    const [a, b] = [sandboxes.add('a'), sandboxes.add('b')];
    await account.ok(
      'attach',
      '--netns',
      a,
      '--name',
      'a',
      '--ip',
      '172.17.9.9',
      '--ifname',
      'net7',
      '-p',
      '8080:80',
    );
    await account.ok('network', 'connect', '--alias', 'www', 'lab', 'a');
    await account.ok('attach', '--netns', b, '--name', 'b', '--mac', '06:00:00:00:00:0b');
    const held = account.start(
      'run',
      '--name',
      'held',
      '--',
      'sh',
      '-c',
      'echo in; read x; ip -4 -o addr; ping -c 1 172.17.9.9',
    );
    await held.said('in');
    const show = async () => ({
      networks: JSON.parse(await account.ok('network', 'inspect', 'bridge', 'lab', 'empty')),
      ports: await account.ok('port'),
      kernel: [a, b].map(configurationOf),
    });
    const before = await show();
    const going = await transfer(
      () => inNetns(b, 'python3', '-c', SINK),
      () => inNetns(a, 'python3', '-c', SOURCE, '172.17.0.2'),
    );

    first.kill('SIGKILL');
    await first.ended;
    expect(configurationOf(a).links).toEqual([]);
    const second = await account.daemon();
    expect(second.err).toContain('connected a, b, held again');
    expect(await show()).toEqual(before);
    await going.end();
    await held.said('held is connected again, as 172.17.0.3');
    held.child.stdin!.end('\n');
    expect(await held.ended).toMatchObject({
      code: 0,
      out: expect.stringMatching(/172\.17\.0\.3\/16(.|\n)* 0% packet loss/),
    });
    expect(await account.names()).toBe('a\nb\n');
  });

  it('forgets the namespaces that are gone, and leaves alone those that came in their places', async () => {
    const first = await account.daemon();
    const [a, b, c] = [sandboxes.add('a'), sandboxes.add('b'), sandboxes.add('c')];
    for (const [name, netns] of Object.entries({ a, b }))
      await account.ok('attach', '--netns', netns, '--name', name);
    const command = account.spawn(['unshare', '--net', 'sh', '-c', 'echo in; exec sleep 300']);
    await command.said('in');
    await account.ok('attach', '--pid', String(command.pid), '--name', 'p');
    first.kill('SIGKILL');
    command.kill('SIGKILL');
    await Promise.all([first.ended, command.ended]);
    sandboxes.remove(a);
    // Another namespace at the path of the first.
    writeFileSync(netnsPath(a), '');
    execFileSync('mount', ['--bind', netnsPath(c), netnsPath(a)]);
    try {
      const second = await account.daemon();
      expect(second.err).toContain('forgot a: its namespace is gone');
      expect(second.err).toContain('forgot p: its namespace is gone');
      expect(await account.names()).toBe('b\n');
      expect(configurationOf(c).links).toEqual([]);
    } finally {
      execFileSync('ip', ['netns', 'del', a]);
    }
  });

  it('goes on after an orderly end too, but for what the first one held', async () => {
    const first = await account.daemon();
    const a = sandboxes.add('a');
    await account.ok('attach', '--netns', a, '--name', 'a');
    const held = account.start('run', '--name', 'held', '--', 'sh', '-c', 'echo in; exec sleep 300');
    await held.said('in');
    first.kill('SIGTERM');
    expect((await first.ended).code).toBe(0);
    await held.ended;
    expect(configurationOf(a).links).toEqual([]);
    await account.daemon();
    expect(await account.names()).toBe('a\n');
    expect(configurationOf(a).links).toMatchObject([{ ifname: 'eth0' }]);
  });

  it('begins without a state that is damaged, which it keeps aside, and not at all with a newer one', async () => {
    const first = await account.daemon();
    await account.ok('network', 'create', 'lab');
    first.kill('SIGKILL');
    await first.ended;
    const whole = readFileSync(account.state, 'utf8');
    writeFileSync(account.state, whole.slice(0, 200));
    const second = await account.daemon();
    expect(second.err).toContain(`the state file ${account.state} is damaged`);
    expect((await account.tapdeck('network', 'inspect', 'lab')).code).toBe(1);
    second.kill('SIGTERM');
    await second.ended;

    // Nothing is lost: with what is left of it somebody can make it whole again.
    expect(readFileSync(`${account.state}.damaged-1`, 'utf8')).toBe(whole.slice(0, 200));
    writeFileSync(account.state, whole);
    const third = await account.daemon();
    expect((await account.tapdeck('network', 'inspect', 'lab')).code).toBe(0);
    third.kill('SIGTERM');
    await third.ended;

    writeFileSync(account.state, whole.replace('"version": 1', '"version": 2'));
    const refused = await account.tapdeck('daemon', '--uplink', 'none');
    expect([refused.code, refused.err]).toEqual([
      1,
      expect.stringMatching(/^tapdeck: error: [^\n]+ is of version 2, [^\n]+\n$/),
    ]);
  });
});

describe('a daemon of an ordinary user that comes after another', () => {
  let account: Account;
  beforeAll(() => {
    account = Account.user();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  it('takes up the sandboxes that wait for it, and their connections live', async () => {
    const first = await account.daemon();
    const going = await transfer(
      () => account.start('run', '--name', 'sink', '--', 'python3', '-c', SINK),
      () => account.start('run', '--name', 'source', '--', 'python3', '-c', SOURCE, '172.17.0.2'),
    );
    first.kill('SIGKILL');
    await first.ended;
    const second = await account.daemon();
    expect(second.err).toContain('connected sink, source again');
    expect(JSON.parse(await account.ok('ps', '--format', 'json'))).toHaveLength(2);
    await going.end();
    second.kill('SIGTERM');
    await second.ended;
    expect(account.leftovers()).toEqual([]);
  });
});
