import { execFileSync } from 'node:child_process';
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { closeStaging, openTap, type TapTarget } from '../../src/device/attach.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { openTapFor } from '../../src/device/rootless.ts';
import { close } from '../../src/device/syscall.ts';
import { type OpenTap, TapDevice } from '../../src/device/tap.ts';
import { Transmit } from '../../switch/device.ts';
import { Arena } from '../../switch/frame.ts';
import { ip, netnsPath, openDescriptors, run, Sandboxes } from './sandbox.ts';

const sandboxes = new Sandboxes();
const descriptors: number[] = [];
function attach(target: TapTarget) {
  const tap = openTap(target);
  descriptors.push(tap.fd);
  return tap;
}
afterEach(() => {
  for (const fd of descriptors.splice(0)) close(fd);
  closeStaging();
  sandboxes.removeAll();
});

describe('openTap', () => {
  it('makes the interface that was asked for', async () => {
    const name = sandboxes.add('tap');
    const tap = attach({
      netns: netnsPath(name),
      ifname: 'eth0',
      mac: '02:42:ac:11:00:02',
      mtu: 65520,
      addresses: ['172.17.0.2/16', 'fd00::2/64'],
      gateway4: '172.17.0.1',
      gateway6: 'fd00::1',
      routes: [{ destination: '10.9.0.0/16', gateway: '192.0.2.1' }, { destination: 'fd09::/64' }],
      txqueuelen: 2000,
    });
    expect(tap).toMatchObject({ ifname: 'eth0', mac: '02:42:ac:11:00:02', mtu: 65520 });
    const [eth0] = ip(name, '-d', 'addr', 'show', 'eth0');
    expect(eth0).toMatchObject({
      address: '02:42:ac:11:00:02',
      mtu: 65520,
      txqlen: 2000,
      linkinfo: { info_kind: 'tun', info_data: { type: 'tap', pi: false, vnet_hdr: true, persist: false } },
    });
    expect(eth0.flags).toEqual(expect.arrayContaining(['UP', 'LOWER_UP']));
    const addresses = () =>
      // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON
      ip(name, 'addr', 'show', 'eth0')[0].addr_info.map((each: any) => [
        each.local,
        each.prefixlen,
        each.tentative,
      ]);
    expect(addresses()).toEqual(
      expect.arrayContaining([
        ['172.17.0.2', 16, undefined],
        ['fd00::2', 64, undefined],
      ]),
    );
    // The link-local one without duplicate address detection, but a worker of the kernel's has to say so.
    const linkLocal = ['fe80::42:acff:fe11:2', 64, undefined];
    await expect.poll(addresses).toEqual(expect.arrayContaining([linkLocal]));
    expect(ip(name, 'route', 'show', 'default')).toMatchObject([{ gateway: '172.17.0.1', dev: 'eth0' }]);
    expect(ip(name, '-6', 'route', 'show', 'default')).toMatchObject([{ gateway: 'fd00::1', dev: 'eth0' }]);
    expect(ip(name, 'route', 'show', '10.9.0.0/16')).toMatchObject([
      { gateway: '192.0.2.1', flags: ['onlink'] },
    ]);
    expect(ip(name, '-6', 'route', 'show', 'fd09::/64')).toMatchObject([{ dev: 'eth0' }]);
    const sysctl = execFileSync('ip', [
      'netns',
      'exec',
      name,
      'cat',
      '/proc/sys/net/ipv6/conf/eth0/accept_ra',
    ]);
    expect(sysctl.toString().trim()).toBe('0');
    expect(ip(name, 'link', 'show', 'lo')[0].flags).toContain('UP');
  });

  it('leaves to the kernel what was not asked for', () => {
    const name = sandboxes.add('tap');
    const tap = attach({ netns: netnsPath(name), ifname: 'eth0' });
    const [eth0] = ip(name, 'link', 'show', 'eth0');
    expect([tap.mac, tap.mtu]).toEqual([eth0.address, eth0.mtu]);
    expect(ip(name, 'route')).toEqual([]);
  });

  it('takes several interfaces into one namespace, and each away with its descriptor', () => {
    const name = sandboxes.add('tap');
    const first = openTap({ netns: netnsPath(name), ifname: 'eth0', addresses: ['10.0.0.2/24'] });
    try {
      attach({ netns: netnsPath(name), ifname: 'eth1', addresses: ['10.1.0.2/24'] });
    } finally {
      close(first.fd);
    }
    // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON
    expect(ip(name, 'link').map((each: any) => each.ifname)).not.toContain('eth0');
    expect(ip(name, 'link', 'show', 'eth1')).toHaveLength(1);
  });

  it('makes nothing in the host’s namespace', () => {
    const host = sandboxes.add('host');
    const netns = netnsPath(sandboxes.add('tap'));
    const before = ip(host, 'link');
    const namespace = openNamespace(netnsPath(host));
    try {
      inNamespace(namespace, () => attach({ netns, ifname: 'eth0' }));
    } finally {
      namespace.close();
    }
    expect(ip(host, 'link')).toEqual(before);
  });

  it('switches IPv6 on for an interface that gets an IPv6 address', () => {
    const name = sandboxes.add('tap');
    execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1']);
    attach({ netns: netnsPath(name), ifname: 'eth0', addresses: ['fd00::2/64'] });
    expect(ip(name, '-6', 'addr', 'show', 'eth0')[0].addr_info).toContainEqual(
      expect.objectContaining({ local: 'fd00::2' }),
    );
  });

  it('has its descriptors back after 100 attachments', () => {
    const name = sandboxes.add('tap');
    const before = openDescriptors();
    for (let i = 0; i < 100; i++) {
      close(
        openTap({
          netns: netnsPath(name),
          ifname: 'eth0',
          addresses: ['172.17.0.2/16', 'fd00::2/64'],
          gateway4: '172.17.0.1',
        }).fd,
      );
    }
    closeStaging();
    expect(openDescriptors()).toBe(before);
    expect(ip(name, 'link')).toHaveLength(ip(sandboxes.add('fresh'), 'link').length);
  });

  it('works on a worker thread, and concerns no other thread', async () => {
    const name = sandboxes.add('tap');
    const home = readlinkSync('/proc/self/ns/net');
    const attachUrl = new URL('../../dist/src/device/attach.js', import.meta.url).href;
    const code = `
      import { parentPort } from 'node:worker_threads';
      import { readlinkSync } from 'node:fs';
      import { openTap } from ${JSON.stringify(attachUrl)};
      const tap = openTap({ netns: ${JSON.stringify(netnsPath(name))}, ifname: 'eth0', addresses: ['10.0.0.2/24'] });
      parentPort.postMessage({ tap, home: readlinkSync('/proc/thread-self/ns/net') });`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
    try {
      const answer = await new Promise<{ tap: OpenTap; home: string }>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      descriptors.push(answer.tap.fd);
      expect([answer.home, readlinkSync('/proc/self/ns/net')]).toEqual([home, home]);
      // The descriptor is the whole process's.
      const frame = new Arena({ small: 1, big: 0 }).allocate(60)!;
      expect(new TapDevice(answer.tap).transmit(frame, 0)).toBe(Transmit.SENT);
      expect(ip(name, 'link', 'show', 'eth0')[0].address).toBe(answer.tap.mac);
    } finally {
      await worker.terminate();
    }
  });

  it('is what openTapFor does for root', async () => {
    const name = sandboxes.add('tap');
    const tap = await openTapFor({ netns: netnsPath(name), ifname: 'eth0', addresses: ['10.0.0.2/24'] });
    descriptors.push(tap.fd);
    expect(ip(name, 'link', 'show', 'eth0')[0].address).toBe(tap.mac);
  });
});

describe('openTapFor', () => {
  it('leaves the thread to others while the kernel is at work', async () => {
    const name = sandboxes.add('aside');
    const order: string[] = [];
    // From here, where the event loop looks for what others have done, it comes to setImmediate before it looks again.
    await stat('/');
    const opening = openTapFor({ netns: netnsPath(name), ifname: 'eth0' }).then(({ fd }) => {
      descriptors.push(fd);
      order.push('open');
    });
    setImmediate(() => order.push('another'));
    await opening;
    expect(order).toEqual(['another', 'open']);
  });

  it('gives a name to one of several that want it at once', async () => {
    const name = sandboxes.add('many');
    const links = ip(name, 'link').length;
    const before = openDescriptors();
    const outcomes = await Promise.allSettled(
      ['eth0', 'eth1', 'eth0', 'eth1'].map((ifname) => openTapFor({ netns: netnsPath(name), ifname })),
    );
    for (const one of outcomes) if (one.status === 'fulfilled') descriptors.push(one.value.fd);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected']);
    expect(ip(name, 'link')).toHaveLength(links + 2);
    closeStaging();
    expect(openDescriptors()).toBe(before + 2);
  });
});

describe('openTap refuses in one line and leaves nothing behind', () => {
  const good = { ifname: 'eth5', addresses: ['10.0.0.2/24'] };
  it.each<[string, Partial<TapTarget>, string]>([
    ['a name in use', { ifname: 'veth0' }, 'there is one of that name already'],
    ['an address in use', { addresses: ['10.7.0.2/16'] }, 'veth0 has it already'],
    [
      'a subnet in use that is to be its alone',
      { addresses: ['10.7.0.9/24'], exclusive: true },
      'veth0 has 10.7.0.2/16, in the same subnet; choose another subnet',
    ],
    ['a gateway in use', { gateway4: '10.0.0.1' }, 'there is such a route already (EEXIST)'],
    ['no such namespace', { netns: '/run/netns/td-nonesuch' }, 'there is no such namespace'],
    ['no such process', { netns: 4_194_305 }, 'there is no such process'],
    ['a long name', { ifname: 'sixteen-letters-' }, "'sixteen-letters-' cannot be an interface's name"],
    ['a pattern for a name', { ifname: 'eth%d' }, "'eth%d' cannot be an interface's name"],
    ['an empty name', { ifname: '' }, "'' cannot be an interface's name"],
    ['a MTU too large', { mtu: 65522 }, 'MTU 65522 is impossible'],
    ['a MTU too small for IPv6', { mtu: 1279, addresses: ['fd00::2/64'] }, 'with IPv6 a TAP takes 1280'],
    ['a group address', { mac: '03:00:00:00:00:01' }, 'is a group address'],
    ['an address without prefix', { addresses: ['10.0.0.2'] }, 'needs a prefix length'],
    ['nonsense for an address', { addresses: ['ten/8'] }, "address 'ten/8' is no IP address"],
    ['a gateway of the other family', { gateway4: 'fd00::1' }, 'is not an IPv4 address'],
    [
      'a route of two families',
      { routes: [{ destination: 'fd00::/64', gateway: '10.0.0.1' }] },
      'one is IPv4',
    ],
  ])('%s', async (_, wrong, message) => {
    const name = sandboxes.add('bad');
    sandboxes.addLink(name, 'veth0');
    execFileSync('ip', ['-n', name, 'link', 'set', 'veth0', 'up']);
    execFileSync('ip', ['-n', name, 'addr', 'add', '10.7.0.2/16', 'dev', 'veth0']);
    execFileSync('ip', ['-n', name, 'route', 'add', 'default', 'via', '10.7.0.1']);
    const links = ip(name, 'link').length;
    closeStaging();
    const before = openDescriptors();
    const target = { netns: netnsPath(name), ...good, ...wrong };
    for (const open of [async () => openTap(target), () => openTapFor(target)]) {
      const outcome: OpenTap | Error = await open().catch((error: Error) => error);
      if (!(outcome instanceof Error)) descriptors.push(outcome.fd);
      expect(outcome).toBeInstanceOf(Error);
      expect((outcome as Error).message).toContain(message);
      expect((outcome as Error).message).not.toContain('\n');
      closeStaging();
      expect(openDescriptors()).toBe(before);
      expect(ip(name, 'link')).toHaveLength(links);
    }
  });
});

describe('without /dev/net/tun', () => {
  // Another mount namespace has another /dev: nobody else sees the change. The program there is the built one.
  async function openElsewhere(prepare: string): Promise<string> {
    const name = sandboxes.add('dev');
    const attachUrl = new URL('../../dist/src/device/attach.js', import.meta.url).href;
    const directory = mkdtempSync(join(tmpdir(), 'td-'));
    try {
      const script = join(directory, 'open.mjs');
      writeFileSync(
        script,
        `import { openTap } from ${JSON.stringify(attachUrl)};
         try { openTap({ netns: ${JSON.stringify(netnsPath(name))}, ifname: 'eth0' }); console.log('opened'); }
         catch (error) { console.log(error.message); }`,
      );
      const { output } = await run(
        'unshare',
        '--mount',
        'sh',
        '-c',
        `${prepare} && exec "$0" "$1"`,
        process.execPath,
        script,
      );
      return output.trim();
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  it('says how to make it', async () => {
    expect(await openElsewhere('mount -t tmpfs none /dev/net')).toMatch(
      /^cannot open \/dev\/net\/tun: there is no such device \(ENOENT\); load the module \(modprobe tun\).*mknod/,
    );
  });

  it('says that the driver is missing', async () => {
    // A device number that no driver has.
    expect(await openElsewhere('mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 254')).toMatch(
      /^cannot open \/dev\/net\/tun: the kernel has no TUN\/TAP driver \((ENODEV|ENXIO)\); load it: modprobe tun$/,
    );
  });
});
