import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Called } from '../../src/integrations/launcher.ts';
import { ip, netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, type Outcome, type Running, until } from './account.ts';

// What container engines start, as programs on real namespaces. test/integrations has the engines themselves.

const sandboxes = new Sandboxes();
let account: Account;
let daemon: Running;

beforeAll(async () => {
  account = Account.root();
  daemon = await account.daemon();
  await account.ok(
    'network',
    'create',
    '--subnet',
    '10.66.0.0/24',
    '--ipv6',
    '--subnet',
    'fd66::/64',
    'front',
  );
});
afterAll(async () => {
  await account.remove();
  sandboxes.removeAll();
});

const CONF = { cniVersion: '1.1.0', name: 'front', type: 'tapdeck' };

/** Starts a program of the package with this on stdin. */
function start(name: Called, input: string, env: object, ...args: string[]): Running {
  const words = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const program = join(account.program, `dist/src/${name}.js`);
  const running = account.spawn(['env', ...words, process.execPath, program, ...args]);
  running.child.stdin!.end(input);
  return running;
}

async function cni(command: string, sandbox: string, conf: object = CONF): Promise<Outcome> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: sandbox,
    CNI_NETNS: netnsPath(sandbox),
    CNI_IFNAME: 'eth0',
  };
  return start('cni', JSON.stringify(conf), env).ended;
}

const NOTHING = { taps: 0, containers: 0 };

/** TAPs that the daemon has open, and containers that it has. */
async function count(): Promise<{ taps: number; containers: number }> {
  const fds = `/proc/${daemon.pid}/fd`;
  const taps = readdirSync(fds).filter((fd) => {
    try {
      return readlinkSync(join(fds, fd)) === '/dev/net/tun';
    } catch {
      return false;
    }
  }).length;
  return { taps, containers: JSON.parse(await account.ok('ps', '--format', 'json')).length };
}

describe('the CNI plugin', () => {
  it('makes an interface in a namespace, finds what has become of it, and takes it away', async () => {
    const sandbox = sandboxes.add('cni');
    const { code, out, err } = await cni('ADD', sandbox);
    expect([code, err]).toEqual([0, '']);
    const result = JSON.parse(out);
    const [link] = ip(sandbox, 'address', 'show', 'dev', 'eth0');
    expect(result.interfaces).toEqual([
      { name: 'eth0', mac: link.address, mtu: link.mtu, sandbox: netnsPath(sandbox) },
    ]);
    const inside = link.addr_info.filter(({ scope }: { scope: string }) => scope === 'global');
    expect(result.ips.map(({ address }: { address: string }) => address)).toEqual(
      inside.map(({ local, prefixlen }: { local: string; prefixlen: number }) => `${local}/${prefixlen}`),
    );
    expect(result.routes.map(({ gw }: { gw: string }) => gw)).toEqual(['10.66.0.1', 'fd66::1']);
    expect(ip(sandbox, 'route', 'show', 'default')[0]).toMatchObject({ gateway: '10.66.0.1', dev: 'eth0' });

    const checked = { ...CONF, prevResult: result };
    expect(await cni('CHECK', sandbox, checked)).toEqual({ code: 0, out: '', err: '' });
    execFileSync('ip', ['-n', sandbox, 'address', 'del', result.ips[0].address, 'dev', 'eth0']);
    const lost = await cni('CHECK', sandbox, checked);
    expect(JSON.parse(lost.out)).toMatchObject({
      code: 102,
      msg: `interface eth0 has lost address ${result.ips[0].address}`,
    });

    // A name that is busy, of whosever it is.
    expect(
      JSON.parse((await cni('ADD', sandbox, { ...CONF, name: 'again', network: 'front' })).out),
    ).toMatchObject({
      code: 100,
    });
    expect(await cni('DEL', sandbox)).toEqual({ code: 0, out: '', err: '' });
    expect(await cni('DEL', sandbox)).toEqual({ code: 0, out: '', err: '' });
    expect(ip(sandbox, 'link').map(({ ifname }: { ifname: string }) => ifname)).toEqual(['lo']);
    expect(await count()).toEqual(NOTHING);
  });

  it('leaves nothing of what fails: a busy name, an interface of somebody else, a namespace that ends, no namespace', async () => {
    const busy = sandboxes.add('busy');
    sandboxes.addLink(busy, 'eth0');
    expect(JSON.parse((await cni('ADD', busy)).out).code).toBeGreaterThanOrEqual(11);
    expect(JSON.parse((await cni('ADD', 'td-nowhere')).out)).toMatchObject({ code: 3 });
    const host = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'h',
      CNI_NETNS: '/proc/self/ns/net',
      CNI_IFNAME: 'eth0',
    };
    expect(JSON.parse((await start('cni', JSON.stringify(CONF), host).ended).out)).toMatchObject({ code: 7 });
    expect(await count()).toEqual(NOTHING);
    const ending = sandboxes.add('ending');
    expect((await cni('ADD', ending)).code).toBe(0);
    sandboxes.remove(ending);
    await expect.poll(count).toEqual(NOTHING);
    expect(await cni('DEL', ending)).toEqual({ code: 0, out: '', err: '' });
    expect(await count()).toEqual(NOTHING);
  });

  it('that is killed while the daemon works for it leaves nothing', async () => {
    const sandbox = sandboxes.add('killed');
    const netns = netnsPath(sandbox);
    const body = JSON.stringify({
      id: 'd'.repeat(64),
      name: 'killed',
      netns,
      network: 'front',
      ifname: 'eth0',
    });
    const head = `POST /v1/attachments HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`;
    const connection = connect(join(account.runtime, 'tapdeck.sock'));
    connection.write(`${head}\r\n\r\n${body}`, () => connection.destroy());
    // Made it was, since the request had come as a whole.
    const events = account.start('events', '--since', '1h', '--format', 'json');
    await events.said(/"container","action":"destroy".*"name":"killed"/);
    expect(events.out).toMatch(/"container","action":"create".*"name":"killed"/);
    events.kill('SIGINT');
    await events.ended;
    await expect.poll(count).toEqual(NOTHING);
  });
});

describe('the OCI hook', () => {
  it('connects a process before its program runs, and is done with one that has gone', async () => {
    const child = spawn('unshare', ['--net', 'sleep', '1000'], { stdio: 'ignore' });
    try {
      const state = { ociVersion: '1.0.2', id: 'box', status: 'creating', pid: child.pid, bundle: '/' };
      const own = () => readlinkSync(`/proc/${child.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net');
      await until(async () => existsSync(`/proc/${child.pid}/ns/net`) && own(), 'a namespace');
      const annotations = { 'tapdeck.network': 'front', 'tapdeck.ip': '10.66.0.77' };
      const made = await start('oci-hook', JSON.stringify({ ...state, annotations }), {}).ended;
      expect(made).toEqual({ code: 0, out: '', err: '' });
      expect(await account.ok('ps')).toMatch(/box +front +10\.66\.0\.77/);
    } finally {
      child.kill('SIGKILL');
    }
    await new Promise((resolve) => child.once('close', resolve));
    await expect.poll(count).toEqual(NOTHING);
    const stopped = { ociVersion: '1.0.2', id: 'box', status: 'stopped', bundle: '/' };
    expect(await start('oci-hook', JSON.stringify(stopped), {}).ended).toEqual({ code: 0, out: '', err: '' });
    const late = {
      id: 'box',
      status: 'creating',
      pid: child.pid,
      annotations: { 'tapdeck.network': 'front' },
    };
    const { code, err } = await start('oci-hook', JSON.stringify(late), {}).ended;
    expect([code, err]).toEqual([1, `tapdeck: there is no process ${child.pid}\n`]);
    expect(await count()).toEqual(NOTHING);
  });
});

describe('the netavark plugin', () => {
  it('sets a namespace up and tears it down', async () => {
    const sandbox = sandboxes.add('netavark');
    const input = JSON.stringify({
      container_id: 'c',
      container_name: 'box',
      port_mappings: [],
      network: {
        id: 'n',
        name: 'front',
        driver: 'tapdeck',
        dns_enabled: true,
        subnets: [{ subnet: '10.66.0.0/24' }],
      },
      network_options: { interface_name: 'eth0', static_ips: ['10.66.0.9'] },
    });
    const { code, out } = await start('netavark', input, {}, 'setup', netnsPath(sandbox)).ended;
    expect([code, Object.keys(JSON.parse(out).interfaces)]).toEqual([0, ['eth0']]);
    expect(ip(sandbox, '-4', 'address', 'show', 'dev', 'eth0')[0].addr_info[0].local).toBe('10.66.0.9');
    expect((await start('netavark', input, {}, 'teardown', netnsPath(sandbox)).ended).code).toBe(0);
    expect(await count()).toEqual(NOTHING);
  });
});
