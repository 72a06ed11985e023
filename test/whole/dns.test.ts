import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Container } from '../../src/control/container.ts';
import type { DropView } from '../../src/control/views.ts';
import { Sandboxes } from '../device/sandbox.ts';
import { Account, type Running, until } from './account.ts';

const SERVER = fileURLToPath(new URL('name-server.py', import.meta.url));

const sandboxes = new Sandboxes();
let netns: string;
let account: Account;
let server: Running;

/** The host is a namespace of its own, with a name server on its loopback: what is asked there never leaves this machine. */
beforeAll(async () => {
  netns = sandboxes.add('dns');
  execFileSync('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
  // `ip netns exec` puts it where programs look for it (ip-netns(8)).
  mkdirSync(`/etc/netns/${netns}`, { recursive: true });
  writeFileSync(`/etc/netns/${netns}/resolv.conf`, 'nameserver 127.0.0.1\nsearch corp.example\n');
  account = Account.root(netns);
  server = account.spawn(['python3', '-u', SERVER]);
  await server.said('ready');
  await account.daemon('--uplink', 'socket');
  await account.ok('network', 'create', '--subnet', '10.1.0.0/24', 'front');
  await account.ok('network', 'create', '--subnet', '10.2.0.0/24', '--internal', 'apart');
  for (const [name, ...options] of [
    ['web', '--network', 'front', '--network-alias', 'www', '--ip', '10.1.0.10'],
    ['db', '--network', 'apart', '--ip', '10.2.0.10'],
    ['both', '--ip', '172.17.0.10'],
  ] as const) {
    const running = account.start('run', '--name', name, ...options, '--', 'sh', '-c', 'echo up; sleep 300');
    await running.said('up');
  }
  await account.ok('network', 'connect', '--ip', '10.1.0.11', 'front', 'both');
});

afterAll(async () => {
  await account?.remove();
  sandboxes.removeAll();
  if (netns) rmSync(`/etc/netns/${netns}`, { recursive: true, force: true });
});

async function containers(): Promise<Container[]> {
  return JSON.parse(await account.ok('ps', '--format', 'json')) as Container[];
}

/** Runs a command in a container that is there. */
async function within(name: string, ...command: string[]): Promise<string> {
  const { pid } = (await containers()).find((one) => one.name === name)!;
  const { out, err } = await account.spawn(['nsenter', '-t', String(pid), '-n', '-m', '--', ...command])
    .ended;
  return out + err;
}

/** It asks once, and waits for the answer. */
const DIG = ['dig', '+tries=1', '+time=30'];

/** What dig prints with +short, without an end of line. */
async function dig(name: string, ...args: string[]): Promise<string> {
  return (await within(name, ...DIG, '+short', ...args)).trim();
}

/** What the host's name server was asked since the last time. One that answers late is asked twice. */
let heard = 0;
function asked(): string[] {
  const lines = server.out.split('\n').filter((line) => line !== '' && line !== 'ready');
  const fresh = lines.slice(heard);
  heard = lines.length;
  return [...new Set(fresh)];
}

describe('names in a container', () => {
  it('are found by what is in its resolv.conf: its gateways, and the domains of the host', async () => {
    expect(await within('web', 'cat', '/etc/resolv.conf')).toBe(
      'nameserver 10.1.0.1\nsearch corp.example\noptions ndots:0\n',
    );
    expect(await within('db', 'cat', '/etc/resolv.conf')).toContain('nameserver 10.2.0.1\n');
  });

  it('are those of its networks: A, AAAA, aliases, and back', async () => {
    expect(await dig('both', 'web')).toBe('10.1.0.10');
    expect(await dig('both', 'WwW.fRoNt')).toBe('10.1.0.10');
    expect(await dig('web', 'both')).toBe('10.1.0.11');
    const own = (await containers()).find(({ name }) => name === 'both')!.endpoints;
    expect(await dig('both', 'both', 'AAAA')).toBe(own.find(({ ipv6 }) => ipv6 !== null)!.ipv6);
    expect(await dig('both', '-x', '10.1.0.10')).toBe('web.front.');
    expect(await dig('web', 'gateway.tapdeck.internal')).toBe('10.1.0.1');
    expect(await within('both', 'getent', 'ahostsv4', 'web')).toContain('10.1.0.10');
    // Of another network.
    expect(await within('web', ...DIG, 'db')).toContain('status: NXDOMAIN');
    expect(asked()).toEqual([]);
  });

  it('follow it into and out of a network, in its resolv.conf too', async () => {
    expect(await dig('web', 'db')).toBe('');
    await account.ok('network', 'connect', 'apart', 'web');
    expect(await dig('web', 'db')).toBe('10.2.0.10');
    await until(
      async () =>
        (await within('web', 'cat', '/etc/resolv.conf')).startsWith(
          'nameserver 10.1.0.1\nnameserver 10.2.0.1\n',
        ),
      'the resolv.conf of both networks',
    );
    await account.ok('network', 'disconnect', 'apart', 'web');
    expect(await dig('web', 'db')).toBe('');
    await until(
      async () => !(await within('web', 'cat', '/etc/resolv.conf')).includes('10.2.0.1'),
      'the resolv.conf of one network',
    );
    expect(asked()).toEqual([]);
  });

  it('are what --dns and its neighbors say, when they do', async () => {
    const flags = ['--dns', '192.0.2.53', '--dns-search', 'a.example', '--dns-option', 'ndots:2'];
    expect(await account.ok('run', ...flags, '--', 'cat', '/etc/resolv.conf')).toBe(
      'nameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n',
    );
    const { code, err } = await account.tapdeck('run', '--dns', 'nobody', '--', 'true');
    expect([code, err]).toEqual([125, expect.stringContaining('--dns "nobody" is no address')]);
  });
});

describe('names outside', () => {
  it("are asked of the host's name server, and remembered", async () => {
    expect(await dig('web', 'one.example')).toBe('192.0.2.99');
    expect(asked()).toEqual(['one.example 1 udp']);
    expect(await dig('both', 'One.Example')).toBe('192.0.2.99');
    expect(asked()).toEqual([]);
    expect(await within('web', ...DIG, 'nothing.test')).toContain('status: NXDOMAIN');
    expect(await within('web', 'getent', 'ahostsv4', 'two')).toContain('192.0.2.99');
    expect(asked()).toEqual(['nothing.test 1 udp', 'two.corp.example 1 udp']);
  });

  it('have answers of any length, over TCP', async () => {
    const said = await within('web', ...DIG, '+short', 'big.example', 'TXT');
    expect(said.replace(/[^x]/g, '')).toHaveLength(3000);
    expect(asked()).toEqual(['big.example 16 udp', 'big.example 16 tcp']);
    expect(await dig('web', '+tcp', 'web')).toBe('10.1.0.10');
  });

  it('are none for who has none to ask: SERVFAIL, in time', async () => {
    const said = await within('web', ...DIG, 'silent.example');
    expect(said).toContain('status: SERVFAIL');
    asked();
  });

  it('are refused in an internal network, and nobody outside hears of the question', async () => {
    for (const args of [
      ['secret.example'],
      ['+tcp', 'secret.example'],
      ['-x', '192.0.2.1'],
      ['secret.example', 'TXT'],
    ]) {
      expect(await within('db', ...DIG, ...args), args.join(' ')).toContain('status: REFUSED');
    }
    expect(await dig('db', 'db')).toBe('10.2.0.10');
    expect(await within('db', 'dig', '+tries=1', '+time=1', '@10.1.0.1', 'secret.example')).not.toContain(
      'status: NOERROR',
    );
    expect(asked()).toEqual([]);
  });

  it('do not have the questions about addresses of the deck', async () => {
    expect(await within('web', ...DIG, '-x', '10.2.0.10')).toContain('status: NXDOMAIN');
    expect(await within('web', ...DIG, '-x', '10.1.0.200')).toContain('status: NXDOMAIN');
    expect(asked()).toEqual([]);
  });
});

describe('DHCP', () => {
  const SCRIPT = '#!/bin/sh\n[ "$1" = bound ] && echo "got $ip/$mask $router $dns $mtu $lease"\nexit 0\n';

  it('tells a guest that asks what the deck has given it', async () => {
    const script = join(account.folder, 'bound');
    writeFileSync(script, SCRIPT, { mode: 0o755 });
    const udhcpc = ['udhcpc', '-f', '-n', '-q', '-i', 'eth0', '-s', script];
    const patient = [...udhcpc, '-t', '10', '-T', '3'];
    await account.ok('network', 'create', '--subnet', '10.3.0.0/24', '-o', 'tapdeck.dhcp=true', 'guests');
    const guest = await account.tapdeck('run', '--network', 'guests', '--ip', '10.3.0.77', '--', ...patient);
    expect(guest.out).toContain('got 10.3.0.77/24 10.3.0.1 10.3.0.1 65520 3600');
    const { out, code } = await account.tapdeck(
      'run',
      '--network',
      'front',
      '--',
      ...udhcpc,
      '-t',
      '2',
      '-T',
      '1',
    );
    expect([out.includes('got'), code]).toEqual([false, 1]);
  });
});

describe('who does the name server harm', () => {
  const IDLE = `
import socket, sys, time
held = []
for i in range(1000):
    s = socket.create_connection((sys.argv[1], 53), 60)
    s.sendall(b"\\0")
    held.append(s)
print("held", flush=True)
time.sleep(600)
`;

  const RESET = `
import socket, struct, sys
for i in range(2000):
    s = socket.create_connection((sys.argv[1], 53), 60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.sendall(b"\\0\\x30\\x12")
    s.close()
`;

  it('with a thousand idle connections keeps nobody from asking, and finds them closed', async () => {
    const { pid } = (await containers()).find(({ name }) => name === 'both')!;
    const holder = account.spawn([
      'nsenter',
      '-t',
      String(pid),
      '-n',
      '--',
      'python3',
      '-c',
      IDLE,
      '172.17.0.1',
    ]);
    await holder.said('held');
    expect(await dig('both', 'web')).toBe('10.1.0.10');
    expect(await dig('web', '+tcp', 'both')).toBe('10.1.0.11');
    expect(await dig('both', '+tcp', 'web')).toBe('10.1.0.10');
    const open = async () =>
      (await within('both', 'ss', '-Htn', 'state', 'established', 'dport', '53')).split('\n').length - 1;
    await until(async () => (await open()) <= 64, 'the others are closed');
    holder.kill('SIGKILL');
    await holder.ended;
  });

  it('with cut questions and resets leaves nothing behind', async () => {
    expect(await within('both', 'python3', '-c', RESET, '172.17.0.1')).toBe('');
    expect(await dig('both', '+tcp', 'web')).toBe('10.1.0.10');
    const drops = JSON.parse(await account.ok('drops', '--all', '--format', 'json')) as DropView[];
    expect(drops.find(({ reason }) => reason === 'EXCEPTION')!.count).toBe(0);
  });
});
