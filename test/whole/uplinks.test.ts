import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UplinkInfo } from '../../src/control/uplink.ts';
import { ip, netnsPath, runIn, Sandboxes } from '../device/sandbox.ts';
import { Account, type Running, until } from './account.ts';

// The daemon runs in a namespace that stands for the host: what uplinks make there is seen, and goes with it. A
// station `far` is the world behind the host's interface up0.

let account: Account;
let host: string;
const sandboxes = new Sandboxes();

beforeEach(() => {
  account = Account.root();
  host = sandboxes.add('host');
  execFileSync('ip', ['-n', host, 'link', 'set', 'lo', 'up']);
});
afterEach(async () => {
  try {
    await account.remove();
  } finally {
    sandboxes.removeAll();
  }
});

/** `tapdeck ARGS` on the host. */
function onHost(...args: string[]): Running {
  const program = [process.execPath, `${account.program}/dist/src/main.js`];
  return account.spawn(['ip', 'netns', 'exec', host, ...program, ...args]);
}

async function daemon(...uplinks: string[]): Promise<Running> {
  const running = onHost('daemon', ...uplinks.flatMap((uplink) => ['--uplink', uplink]));
  await running.said('daemon ready');
  return running;
}

/** The world behind the host's up0: 10.77.0.3 and fd77::3. */
function addFar(): string {
  const far = sandboxes.add('far');
  const run = (...args: string[]) => execFileSync('ip', args);
  run('-n', host, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far);
  run('-n', host, 'addr', 'add', '10.77.0.1/24', 'dev', 'up0');
  run('-n', host, 'link', 'set', 'up0', 'up');
  run('-n', far, 'addr', 'add', '10.77.0.3/24', 'dev', 'eth0');
  run('-n', far, 'addr', 'add', 'fd77::3/64', 'dev', 'eth0', 'nodad');
  run('-n', far, 'link', 'set', 'eth0', 'up');
  return far;
}

async function attach(): Promise<string> {
  const name = sandboxes.add('inside');
  await account.ok('attach', '--netns', netnsPath(name));
  return name;
}

async function uplinks(): Promise<UplinkInfo[]> {
  return JSON.parse(await account.ok('uplinks', '--format', 'json')) as UplinkInfo[];
}

/** Of the host. */
function interfaces(): string[] {
  // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON
  const names: string[] = ip(host, 'link').map((link: any) => link.ifname);
  return names.sort();
}

/** Both IP versions, with a packet as long as the uplink takes. */
async function expectPings(from: string, ipv4: string, ipv6: string): Promise<void> {
  for (const [address, size] of [
    [ipv4, '1472'],
    [ipv6, '1452'],
  ] as const) {
    // Of more than one ping waits for the last answer no longer than for those before.
    const { output } = await runIn(from, 'ping', '-c', '1', '-W', '20', '-s', size, address);
    expect(output).toContain('1 received, 0% packet loss');
  }
}

describe('an uplink', () => {
  it('of kind tap is an interface on the host, which goes with the daemon', async () => {
    const running = await daemon('tap:td0,addr=10.77.0.7/24,addr=fd77::7/64');
    const [td0] = ip(host, 'addr', 'show', 'td0');
    expect(td0).toMatchObject({ mtu: 1500, address: '02:42:0a:4d:00:01' });
    expect(td0.addr_info).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ local: '10.77.0.1', prefixlen: 24 }),
        expect.objectContaining({ local: 'fd77::1', prefixlen: 64 }),
      ]),
    );
    await expectPings(await attach(), '10.77.0.1', 'fd77::1');
    running.kill('SIGTERM');
    expect((await running.ended).code).toBe(0);
    expect(interfaces()).toEqual(['lo']);
  });

  it('of kind tap goes also with a daemon that is killed', async () => {
    const running = await daemon('tap:td0,addr=10.77.0.7/24');
    running.kill('SIGKILL');
    await running.ended;
    await until(() => !interfaces().includes('td0'), 'td0 is gone');
  });

  it('of kind tap can be in another namespace', async () => {
    const outside = sandboxes.add('outside');
    await daemon(`tap:td0,addr=10.77.0.7/24,addr=fd77::7/64,netns=${outside}`);
    expect(interfaces()).toEqual(['lo']);
    await expectPings(await attach(), '10.77.0.1', 'fd77::1');
    expect(await uplinks()).toMatchObject([{ name: 'td0', netns: netnsPath(outside), state: 'up' }]);
  });

  it('of kind packet uses an interface beside the host, until that is gone', async () => {
    const far = addFar();
    const running = await daemon('packet:up0,addr=10.77.0.7/24,gw=10.77.0.3,addr=fd77::7/64,gw=fd77::3');
    const inside = await attach();
    await expectPings(inside, '10.77.0.3', 'fd77::3');
    // The far side saw the deck's address and MAC, and still sees the host's.
    expect(ip(far, 'neigh', 'show', '10.77.0.7')).toMatchObject([{ lladdr: '02:42:0a:4d:00:07' }]);
    const { output } = await runIn(host, 'ping', '-c', '1', '-W', '20', '10.77.0.3');
    expect(output).toContain('1 received');
    expect(await uplinks()).toMatchObject([{ name: 'up0', mtu: 1500, state: 'up' }]);
    execFileSync('ip', ['-n', host, 'link', 'del', 'up0']);
    await running.said('uplink up0 has lost its interface');
    expect(await uplinks()).toMatchObject([{ state: 'gone' }]);
    expect((await runIn(inside, 'ping', '-c', '1', '-W', '20', '172.17.0.1')).code).toBe(0);
    running.kill('SIGTERM');
    expect((await running.ended).code).toBe(0);
  });

  it('serves the daemon that run starts, and those that run beside it', async () => {
    const uplink = 'tap:td0,addr=10.77.0.7/24';
    const first = onHost(
      'run',
      '--uplink',
      uplink,
      '--',
      'sh',
      '-c',
      'ping -c 1 -W 20 10.77.0.1 && sleep 60',
    );
    await first.said('1 received');
    const same = await onHost('run', '--uplink', uplink, '--', 'ping', '-c', '1', '-W', '20', '10.77.0.1')
      .ended;
    expect([same.code, same.out]).toEqual([0, expect.stringContaining('1 received')]);
    expect(await onHost('run', '--uplink', 'tap:td1,addr=10.78.0.7/24', '--', 'true').ended).toMatchObject({
      code: 125,
      err: expect.stringMatching(/^tapdeck: error: the daemon at \S+ runs without uplink tap:td1,[^\n]+\n$/),
    });
    first.kill('SIGTERM');
    await first.ended;
    expect(await account.untilNothingIsLeft()).toEqual([]);
    expect(interfaces()).toEqual(['lo']);
  });

  it.each([
    [
      'packet:up9,addr=10.77.0.7/24,gw=10.77.0.3',
      'uplink up9: there is no interface up9 in this host; see `ip link` there',
    ],
    [
      'packet:up0,addr=10.77.0.1/24,gw=10.77.0.3',
      'uplink up0: address 10.77.0.1/24 is in use in this host itself; choose one that nobody has',
    ],
    ['tap:up0,addr=10.78.0.7/24', 'there is one of that name already; choose another name'],
    [
      'tap:td0,addr=10.77.0.9/24,gw=10.77.0.8',
      'up0 has 10.77.0.1/24, in the same subnet; choose another subnet',
    ],
    ['tap:td0,addr=10.78.0.7/24,netns=/run/netns/nowhere-at-all', 'there is no such namespace'],
  ])('%s that cannot be made ends the daemon with one line, and leaves nothing', async (uplink, message) => {
    addFar();
    const { code, err } = await onHost('daemon', '--uplink', 'tap:td1,addr=10.79.0.7/24', '--uplink', uplink)
      .ended;
    expect(code).toBeGreaterThan(0);
    expect(err).toContain(message);
    expect(err).toMatch(/^tapdeck: error: uplink [^\n]+\n$/);
    expect(account.leftovers()).toEqual([]);
    expect(interfaces()).toEqual(['lo', 'up0']);
  });

  it('of an ordinary user cannot be on the host, and says what it takes', async () => {
    const user = Account.user();
    try {
      const { code, err } = await user.tapdeck('daemon', '--uplink', 'tap:td0,addr=10.78.0.7/24');
      expect(code).toBe(1);
      expect(err).toMatch(
        /^tapdeck: error: uplink td0: an interface in the host's namespace takes root; run [^\n]+\n$/,
      );
      expect(user.leftovers()).toEqual([]);
    } finally {
      await user.remove();
    }
  });
});
