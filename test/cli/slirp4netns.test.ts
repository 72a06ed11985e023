import { describe, expect, test } from 'vitest';
import { invalid } from '../../src/control/error.ts';
import { HostForwards } from '../../src/integrations/slirp4netns/api-request.ts';
import { guestNetwork } from '../../src/integrations/slirp4netns/guest-network.ts';
import { HELP, versionText } from '../../src/integrations/slirp4netns/help.ts';
import { habitsOf, readOptions } from '../../src/integrations/slirp4netns/options.ts';

const DEFAULTS = {
  ifname: 'tap0',
  configure: false,
  mtu: 1500,
  ipv6: false,
  hostLoopback: true,
  habits: { subnet: '10.0.2.0/24', gateway: '10.0.2.2', nameServer: '10.0.2.3', guest: '10.0.2.100' },
};

describe("slirp4netns's command line", () => {
  test('is read as Podman, RootlessKit and people write it', () => {
    const podman =
      '--disable-host-loopback --mtu=65520 --enable-sandbox --enable-seccomp --enable-ipv6 -c -e 3 -r 4 --netns-type=path /run/user/1000/netns/netns-1 tap0';
    expect(readOptions(podman.split(' '))).toEqual({
      ...DEFAULTS,
      target: { netns: '/run/user/1000/netns/netns-1' },
      configure: true,
      mtu: 65520,
      ipv6: true,
      hostLoopback: false,
      exitFd: 3,
      readyFd: 4,
    });
    const rootlesskit =
      '--mtu 65520 -r 3 --disable-host-loopback --api-socket /tmp/s --userns-path=/proc/7/ns/user 7 tap0';
    expect(readOptions(rootlesskit.split(' '))).toEqual({
      ...DEFAULTS,
      target: { pid: 7 },
      mtu: 65520,
      hostLoopback: false,
      readyFd: 3,
      apiSocket: '/tmp/s',
    });
    expect(readOptions(['-c6r3', '--cidr=192.168.7.0/24', '--macaddress=02:00:00:00:00:07', '7'])).toEqual({
      ...DEFAULTS,
      target: { pid: 7 },
      configure: true,
      ipv6: true,
      readyFd: 3,
      mac: '02:00:00:00:00:07',
      habits: habitsOf('192.168.7.0/24'),
    });
    // Larger than what a network of tapdeck carries.
    expect(readOptions(['-m', '65521', '7'])).toMatchObject({ mtu: 65520 });
    expect(readOptions(['-h'])).toBe('help');
    expect(readOptions(['--version'])).toBe('version');
  });

  test.each([
    [['--foo', '7'], "Unknown option '--foo'"],
    [[], 'which network namespace?'],
    [['7', 'tap0', 'more'], '"more" is one argument too many'],
    [['self'], '"self" is not the PID'],
    [['--netns-type=fd', '3'], '--netns-type "fd"'],
    [['--target-type=bess', '/tmp/s'], '--target-type "bess"'],
    [['--cidr', '10.0.2.0/26', '7'], 'too small'],
    [['--cidr', '10.0.2.1/24', '7'], '10.0.2.0/24'],
    [['-m', '67', '7'], '--mtu'],
    [['-r', 'x', '7'], '--ready-fd'],
    [['--macaddress=02:00:00:00:00:07', '7'], 'only valid with --configure'],
    [['--outbound-addr=192.0.2.1', '7'], '--outbound-addr is not for tapdeck'],
    [['--disable-dns', '7'], '--disable-dns is not for tapdeck'],
    [['7', 'a/b'], 'a/b'],
  ])('%j is refused', (args, message) => {
    expect(() => readOptions(args)).toThrow(message);
  });

  test('help names the options that callers look for, and the version begins as they know it', () => {
    const looked =
      '--netns-type --disable-host-loopback --mtu --enable-sandbox --enable-seccomp --cidr --enable-ipv6 --api-socket --userns-path';
    for (const option of looked.split(' ')) expect(HELP).toContain(option);
    // What callers find there they use.
    for (const option of ['--outbound-addr', '--disable-dns']) expect(HELP).not.toContain(option);
    expect(versionText()).toMatch(/^slirp4netns version \d+\.\d+\.\d+\ntapdeck: /);
  });

  test('each CIDR has a network of its own', () => {
    expect(guestNetwork(habitsOf('10.0.2.0/24'))).toEqual({
      name: 'slirp4netns',
      subnet: '10.0.2.0/24',
      gateway: '10.0.2.2',
      auxAddresses: { guest: '10.0.2.100' },
      ipv6Subnet: 'fd00::/64',
      ipv6Gateway: 'fd00::2',
      options: { 'tapdeck.dns': '10.0.2.3,fd00::3' },
    });
    expect(guestNetwork(habitsOf('192.168.0.0/16'))).toMatchObject({
      name: 'slirp4netns-192.168.0.0-16',
      gateway: '192.168.0.2',
      auxAddresses: { guest: '192.168.0.100' },
      options: { 'tapdeck.dns': '192.168.0.3' },
    });
  });
});

describe("slirp4netns's API", () => {
  const published = new Set<string>();
  const forwards = new HostForwards(
    {
      async publish(spec) {
        if (published.has(spec)) throw invalid(`${spec} is taken`);
        published.add(spec);
      },
      async unpublish(spec) {
        published.delete(spec);
      },
    },
    { habits: habitsOf('10.0.2.0/24'), own: ['10.0.2.1', 'fd00::1'] },
  );
  const ask = (execute: string, more?: object) =>
    forwards.answer(JSON.stringify({ execute, ...(more && { arguments: more }) }));

  test('forwards ports of the host, lists and removes them', async () => {
    const web = {
      proto: 'tcp',
      host_addr: '127.0.0.1',
      host_port: 8080,
      guest_addr: '10.0.2.100',
      guest_port: 80,
    };
    expect(await ask('add_hostfwd', web)).toEqual({ return: { id: 1 } });
    expect(await ask('add_hostfwd', web)).toEqual({
      error: { desc: 'bad request: add_hostfwd: 127.0.0.1:8080:80/tcp is taken' },
    });
    expect(await ask('add_hostfwd', { proto: 'udp', host_port: 53, guest_port: 53 })).toEqual({
      return: { id: 2 },
    });
    expect(await ask('add_hostfwd', { proto: 'tcp6', host_port: 81, guest_port: 80 })).toEqual({
      return: { id: 3 },
    });
    expect(Array.from(published)).toEqual(['127.0.0.1:8080:80/tcp', '0.0.0.0:53:53/udp', '[::]:81:80/tcp']);
    expect(forwards.specs()).toEqual(Array.from(published));
    expect(await ask('list_hostfwd')).toEqual({
      entries: [
        { id: 1, ...web },
        {
          id: 2,
          proto: 'udp',
          host_addr: '0.0.0.0',
          host_port: 53,
          guest_addr: '10.0.2.100',
          guest_port: 53,
        },
        { id: 3, proto: 'tcp6', host_addr: '::', host_port: 81, guest_addr: 'fd00::1', guest_port: 80 },
      ],
    });
    expect(await ask('remove_hostfwd', { id: 1 })).toEqual({ return: {} });
    expect(await ask('remove_hostfwd', { id: 1 })).toEqual({
      error: { desc: 'bad request: remove_hostfwd: bad arguments.id' },
    });
    expect(published.size).toBe(2);
  });

  test.each([
    ['', 'cannot parse JSON'],
    ['{}', 'no execute found'],
    ['null', 'no execute found'],
    ['{"execute":"quit"}', 'unknown execute'],
    ['{"execute":"add_hostfwd"}', 'no arguments found'],
    ['{"execute":"add_hostfwd","arguments":{"proto":"sctp"}}', 'bad arguments.proto'],
    ['{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":0}}', 'bad arguments.host_port'],
    ['{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":1}}', 'bad arguments.guest_port'],
    [
      '{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":1,"guest_port":1,"host_addr":"::1"}}',
      'bad arguments.host_addr',
    ],
    [
      '{"execute":"add_hostfwd","arguments":{"proto":"tcp","host_port":1,"guest_port":1,"guest_addr":"10.0.2.9"}}',
      'the container is 10.0.2.1 and fd00::1',
    ],
  ])('%s is answered with an error', async (request, message) => {
    const answer = (await forwards.answer(request)) as { error: { desc: string } };
    expect(answer.error.desc).toMatch(/^bad request: /);
    expect(answer.error.desc).toContain(message);
  });
});
