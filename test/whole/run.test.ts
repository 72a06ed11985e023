import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Container } from '../../src/control/container.ts';
import { Account } from './account.ts';

// `tapdeck run` over real namespaces and TAPs, as root and as an ordinary user.

describe.each([
  ['root', Account.root],
  ['an ordinary user', Account.user],
])('tapdeck run as %s', (_, open) => {
  let account: Account;
  beforeAll(() => {
    account = open();
  });
  afterEach(() => account.end());
  afterAll(() => account.remove());

  it('runs a command with an address, a gateway and routes, and leaves nothing', async () => {
    const { code, out, err } = await account.tapdeck(
      'run',
      '--',
      'sh',
      '-c',
      `ip -o address show eth0; ip route; ip -6 route; ip -o link show lo
       ping -c 1 -W 20 172.17.0.1; ping -c 1 -W 20 fd74:6170:6465::1; exit 7`,
    );
    expect([code, err]).toEqual([7, '']);
    expect(out).toContain('inet 172.17.0.2/16');
    expect(out).toContain('inet6 fd74:6170:6465::2/64');
    expect(out).toContain('default via 172.17.0.1 dev eth0');
    expect(out).toContain('default via fd74:6170:6465::1 dev eth0');
    expect(out).toMatch(/lo: <LOOPBACK,UP/);
    expect(out.match(/1 received, 0% packet loss/g)).toHaveLength(2);
    // At once: what it started is gone when it returns.
    expect(account.leftovers()).toEqual([]);
  });

  it('asks the same deck when tapdeck is its command', async () => {
    const ps = [process.execPath, join(account.program, 'dist/src/main.js'), 'ps'];
    const { code, out, err } = await account.tapdeck('run', '--name', 'inner', '--', ...ps);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^[0-9a-f]{12} +inner +bridge /m);
  });

  it('passes the exit code of its command through', async () => {
    const rows: [string[], number][] = [
      [['sh', '-c', 'exit 0'], 0],
      [['sh', '-c', 'exit 255'], 255],
      [['no-such-program'], 127],
      [['/etc/passwd'], 126],
      [['sh', '-c', 'kill -TERM $$'], 143],
      [['sh', '-c', 'kill -KILL $$'], 137],
    ];
    const ends = await Promise.all(
      rows.map(([command]) => account.tapdeck('run', '--rm', '-it', '--', ...command)),
    );
    expect(ends.map(({ code }, i) => [rows[i]![0], code])).toEqual(rows);
    expect(ends.map(({ err }) => err).filter((err) => err !== '')).toEqual([
      'tapdeck: error: there is no program no-such-program; install it, or give its path\n',
      'tapdeck: error: /etc/passwd cannot be executed; make it executable\n',
    ]);
    expect(account.leftovers()).toEqual([]);
  });

  it('passes stdin, stdout, stderr, arguments and the working folder through', async () => {
    const running = account.start('run', '--', 'sh', '-c', 'cat; pwd; echo "$1" >&2', 'sh', 'a b\n*');
    running.child.stdin!.end('from stdin\n');
    const { code, out, err } = await running.ended;
    expect({ code, out, err }).toEqual({ code: 0, out: `from stdin\n${account.folder}\n`, err: 'a b\n*\n' });
  });

  it('ends with 125 and one line when the deck refuses', async () => {
    const rows: [string[], string][] = [
      [['--network', 'nowhere'], 'there is no network "nowhere"'],
      [['--ip', '10.9.9.9'], 'address 10.9.9.9 lies outside'],
      [['--mtu', '9'], 'MTU 9 is out of range'],
      [['--ip', '172.17.0.1'], 'is the gateway of 172.17.0.0/16'],
      [['--mac', '02:42:ac:11:00:01'], "is the gateway's"],
    ];
    const ends = await Promise.all(
      rows.map(([options]) => account.tapdeck('run', ...options, '--', 'echo', 'it ran')),
    );
    for (const [i, { code, out, err }] of ends.entries()) {
      expect([code, out], err).toEqual([125, '']);
      expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
      expect(err).toContain(rows[i]![1]);
    }
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });

  it('says what is missing when there is no TAP to be had', async () => {
    const rows: [string, RegExp][] = [['', /cannot open \/dev\/net\/tun: .*modprobe tun/]];
    // Root opens what nobody may.
    if (account.name !== 'root')
      rows.push(['000', /cannot open \/dev\/net\/tun: permission denied .*chmod 0666/]);
    for (const [mode, message] of rows) {
      const { code, err } = await account.tapdeckWithTun(mode, 'run', '--', 'true');
      expect(code).toBe(125);
      expect(err).toMatch(/^tapdeck: error: [^\n]+\n$/);
      expect(err).toMatch(message);
      expect(await account.untilNothingIsLeft()).toEqual([]);
    }
  });

  it('ends what the command leaves running, also what ignores TERM', async () => {
    const { code } = await account.tapdeck(
      'run',
      '--',
      'sh',
      '-c',
      'sleep 300 & (trap "" TERM; sleep 300) & exit 3',
    );
    expect(code).toBe(3);
    expect(account.leftovers()).toEqual([]);
  });

  it('shares one daemon between all that run at once, whatever the order in which they end', async () => {
    const runs = Array.from({ length: 5 }, (_, i) =>
      account.start('run', '--name', `s${i}`, '--', 'sh', '-c', 'echo in; read line'),
    );
    await Promise.all(runs.map((run) => run.said('in')));
    const containers = JSON.parse(await account.ok('ps', '--format', 'json')) as Container[];
    expect(new Set(containers.map(({ endpoints }) => endpoints[0]!.ipv4)).size).toBe(5);
    const { pid } = JSON.parse(
      `{"pid":${readFileSync(join(account.runtime, 'tapdeck.lock'), 'utf8').trim()}}`,
    );
    for (const i of [0, 4, 2, 1]) {
      runs[i]!.child.stdin!.end('\n');
      expect((await runs[i]!.ended).code).toBe(0);
      expect(readFileSync(join(account.runtime, 'tapdeck.lock'), 'utf8').trim()).toBe(String(pid));
    }
    expect((await account.names()).trim()).toBe('s3');
    runs[3]!.child.stdin!.end('\n');
    await runs[3]!.ended;
    expect(account.leftovers()).toEqual([]);
  });

  it('lets sandboxes reach each other, by IPv4, IPv6 and in bulk', async () => {
    const server = account.start(
      'run',
      '--name',
      'server',
      '--ip',
      '172.17.5.5',
      '--',
      'iperf3',
      '-s',
      '-1',
      '--forceflush',
    );
    await server.said('Server listening');
    const client = await account.ok(
      'run',
      '--',
      'sh',
      '-c',
      'ping -c 1 -W 20 172.17.5.5 && ping -c 1 -W 20 fd74:6170:6465::2 && iperf3 -c 172.17.5.5 -n 50M -J',
    );
    expect(client.match(/1 received, 0% packet loss/g)).toHaveLength(2);
    expect(client).toMatch(/"bytes":\s*5\d{7}/);
    expect((await server.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });

  it('passes signals on, and leaves nothing', async () => {
    const rows = [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const;
    await Promise.all(
      rows.map(async ([signal, code]) => {
        const running = account.start('run', '--', 'sh', '-c', 'echo in; exec sleep 300');
        await running.said('in');
        running.kill(signal);
        expect((await running.ended).code, signal).toBe(code);
      }),
    );
    expect(account.leftovers()).toEqual([]);
  });

  it('leaves ctrl-C of a terminal to the command, and survives it', async () => {
    const inner = 'trap "echo caught; exit 9" INT; echo in; while :; do sleep 0.05; done';
    const words = [
      process.execPath,
      join(account.program, 'dist/src/main.js'),
      'run',
      '--',
      'sh',
      '-c',
      inner,
    ];
    // exec: a shell of script's own, where there is one, would die of the signal too.
    const command = `exec ${words.map((word) => `'${word}'`).join(' ')}`;
    const terminal = account.spawn(['script', '--quiet', '--return', '--command', command, '/dev/null']);
    await terminal.said(/^in/m);
    terminal.child.stdin!.write('\x03');
    const { code, out } = await terminal.ended;
    expect(out.match(/caught/g)).toHaveLength(1);
    expect(code).toBe(9);
    expect(account.leftovers()).toEqual([]);
  });

  it('is cleaned up after by the daemon when it is killed', async () => {
    const running = account.start(
      'run',
      '--name',
      'victim',
      '--',
      'sh',
      '-c',
      'sleep 300 & echo in; exec sleep 300',
    );
    await running.said('in');
    running.kill('SIGKILL');
    await running.ended;
    expect(await account.untilNothingIsLeft()).toEqual([]);
  });

  it('goes on at a daemon of its own making when the daemon is killed', async () => {
    const running = account.start('run', '--name', 'x', '--', 'sh', '-c', 'sleep 300 & echo in; read end');
    await running.said('in');
    const pid = Number(readFileSync(join(account.runtime, 'tapdeck.lock'), 'utf8'));
    process.kill(pid, 'SIGKILL');
    await running.said('x is connected again, as 172.17.0.2 and fd74:6170:6465::2\n');
    running.child.stdin!.end('\n');
    const { code, err } = await running.ended;
    expect([code, err.split('\n')]).toEqual([
      0,
      [
        `tapdeck: the daemon (pid ${pid}) has gone without a word; starting another one for x`,
        `tapdeck: cleaned up after a daemon that did not exit cleanly (pid ${pid})`,
        'tapdeck: x is connected again, as 172.17.0.2 and fd74:6170:6465::2',
        '',
      ],
    ]);
    expect(account.leftovers()).toEqual([]);
  });

  it('leaves to the next daemon what nobody could clean up', async () => {
    const running = account.start(
      'run',
      '--name',
      'lost',
      '--',
      'sh',
      '-c',
      'setsid sleep 300 & echo in; exec sleep 300',
    );
    await running.said('in');
    const pid = Number(readFileSync(join(account.runtime, 'tapdeck.lock'), 'utf8'));
    // Both at once: the command dies with its `run`, what it started does not.
    running.kill('SIGSTOP');
    process.kill(pid, 'SIGKILL');
    running.kill('SIGKILL');
    await once(running.child, 'exit');
    expect(account.processes().length).toBeGreaterThan(0);
    const daemon = await account.daemon();
    expect(daemon.err).toContain(
      `cleaned up after a daemon that did not exit cleanly (pid ${pid}); ended its sandboxes lost`,
    );
    expect(account.processes()).toEqual([daemon.pid]);
    daemon.kill('SIGTERM');
    expect((await daemon.ended).code).toBe(0);
    expect(account.leftovers()).toEqual([]);
  });
});
