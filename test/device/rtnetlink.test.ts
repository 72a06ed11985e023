import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { type Link, Rtnetlink } from '../../src/device/rtnetlink.ts';
import { ip, netnsPath, Sandboxes } from './sandbox.ts';

const sandboxes = new Sandboxes();
let name: string;
let rtnetlink: Rtnetlink;
let link: Link;

beforeEach(() => {
  name = sandboxes.add('rt');
  sandboxes.addLink(name, 'veth0');
  execFileSync('ip', ['-n', name, 'link', 'set', 'veth0p', 'up']);
  const namespace = openNamespace(netnsPath(name));
  rtnetlink = inNamespace(namespace, () => new Rtnetlink());
  namespace.close();
  link = rtnetlink.link('veth0')!;
});
afterEach(() => {
  sandboxes.removeAll();
  rtnetlink.close();
});

describe('links', () => {
  it('are listed as ip lists them', () => {
    const expected = ip(name, '-d', 'link').map(
      // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON
      (each: any) => ({
        index: each.ifindex,
        name: each.ifname,
        mac: each.address,
        mtu: each.mtu,
        txqueuelen: each.txqlen,
        up: each.flags.includes('UP'),
        loopback: each.flags.includes('LOOPBACK'),
        kind: each.linkinfo?.info_kind ?? '',
      }),
    );
    expect(rtnetlink.links()).toEqual(expected);
    expect(rtnetlink.link('nonesuch')).toBeUndefined();
  });

  it('change as asked, all at once', () => {
    rtnetlink.setLink(link, { mtu: 9000, mac: '02:42:00:00:00:07', name: 'eth7', txqueuelen: 77, up: true });
    expect(rtnetlink.link('eth7')).toEqual({
      ...link,
      mtu: 9000,
      mac: '02:42:00:00:00:07',
      name: 'eth7',
      txqueuelen: 77,
      up: true,
    });
    rtnetlink.setLink({ ...link, name: 'eth7' }, { up: false });
    expect(rtnetlink.link('eth7')?.up).toBe(false);
  });

  it('move to another namespace under another name, and can be deleted', () => {
    const there = sandboxes.add('there');
    const namespace = openNamespace(netnsPath(there));
    try {
      rtnetlink.moveLink(link, namespace.fd, 'eth0');
    } finally {
      namespace.close();
    }
    expect(rtnetlink.link('veth0')).toBeUndefined();
    expect(ip(there, 'link', 'show', 'eth0')[0].address).toBe(link.mac);
    const loopback = rtnetlink.link('lo')!;
    expect(() => rtnetlink.deleteLink(loopback)).toThrow('cannot delete interface lo: ');
    expect(() => rtnetlink.deleteLink(link)).toThrow('there is no such interface any more (ENODEV)');
    sandboxes.addLink(name, 'veth1');
    rtnetlink.deleteLink(rtnetlink.link('veth1')!);
    expect(rtnetlink.link('veth1')).toBeUndefined();
  });

  it('refuse in one line, with the kernel’s reason', () => {
    expect(() => rtnetlink.setLink(link, { name: 'lo' })).toThrow(
      'cannot set name lo of interface veth0: the name is already in use there (EEXIST)',
    );
    expect(() => rtnetlink.setLink({ index: 9999, name: 'gone0' }, { up: true })).toThrow('ENODEV');
  });
});

describe('addresses', () => {
  it('of both families are usable at once', () => {
    rtnetlink.setLink(link, { up: true });
    rtnetlink.addAddress(link, '172.17.0.2/16');
    rtnetlink.addAddress(link, 'fd00::2/64');
    expect(rtnetlink.addresses()).toEqual(
      expect.arrayContaining([
        { index: link.index, address: '172.17.0.2/16' },
        { index: link.index, address: 'fd00::2/64' },
      ]),
    );
    // biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON
    const infos: any[] = ip(name, 'addr', 'show', 'veth0')[0].addr_info;
    const v4 = infos.find((each) => each.local === '172.17.0.2');
    expect([v4.prefixlen, v4.scope]).toEqual([16, 'global']);
    const v6 = infos.find((each) => each.local === 'fd00::2');
    expect([v6.prefixlen, v6.scope, v6.tentative, v6.nodad]).toEqual([64, 'global', undefined, true]);
  });

  it('in use already, or of an interface without IPv6, are refused', () => {
    rtnetlink.addAddress(link, '172.17.0.2/16');
    expect(() => rtnetlink.addAddress(link, '172.17.0.2/16')).toThrow(
      'cannot give address 172.17.0.2/16 to interface veth0: the address is already in use there (EEXIST)',
    );
    execFileSync('ip', ['netns', 'exec', name, 'sysctl', '-qw', 'net.ipv6.conf.veth0.disable_ipv6=1']);
    expect(() => rtnetlink.addAddress(link, 'fd00::2/64')).toThrow(
      /IPv6 is off there \(EACCES\); set the sysctl net\.ipv6\.conf\.veth0\.disable_ipv6 to 0/,
    );
  });
});

describe('routes', () => {
  beforeEach(() => {
    rtnetlink.addAddress(link, '172.17.0.2/16');
    rtnetlink.addAddress(link, 'fd00::2/64');
    rtnetlink.setLink(link, { up: true });
  });

  it('go by gateways of both families, on the link or off it', () => {
    rtnetlink.addRoute(link, { destination: 'default', gateway: '172.17.0.1' });
    rtnetlink.addRoute(link, { destination: 'default', gateway: 'fd00::1' });
    rtnetlink.addRoute(link, { destination: '10.1.0.0/16', gateway: '192.0.2.1', onlink: true });
    rtnetlink.addRoute(link, { destination: 'fd01::/64', gateway: '2001:db8::1', onlink: true });
    rtnetlink.addRoute(link, { destination: '10.2.0.0/16' });
    const { index } = link;
    expect(rtnetlink.routes()).toEqual(
      expect.arrayContaining([
        { destination: 'default', gateway: '172.17.0.1', index, family: 2, metric: 0 },
        { destination: 'default', gateway: 'fd00::1', index, family: 10, metric: 1024 },
        { destination: '10.1.0.0/16', gateway: '192.0.2.1', index, family: 2, metric: 0 },
        { destination: 'fd01::/64', gateway: '2001:db8::1', index, family: 10, metric: 1024 },
        { destination: '10.2.0.0/16', index, family: 2, metric: 0 },
        { destination: '172.17.0.0/16', index, family: 2, metric: 0 },
      ]),
    );
    expect(ip(name, 'route', 'show', 'default')).toMatchObject([{ gateway: '172.17.0.1', dev: 'veth0' }]);
    expect(ip(name, '-6', 'route', 'show', 'default')).toMatchObject([{ gateway: 'fd00::1', dev: 'veth0' }]);
    expect(ip(name, 'route', 'show', '10.1.0.0/16')).toMatchObject([
      { gateway: '192.0.2.1', flags: ['onlink'] },
    ]);
  });

  it('are refused in one line', () => {
    rtnetlink.addRoute(link, { destination: 'default', gateway: '172.17.0.1' });
    expect(() => rtnetlink.addRoute(link, { destination: 'default', gateway: '172.17.0.3' })).toThrow(
      'cannot add route default via 172.17.0.3 by interface veth0: there is such a route already (EEXIST)',
    );
    expect(() => rtnetlink.addRoute(link, { destination: '10.3.0.0/16', gateway: '192.0.2.1' })).toThrow(
      'no subnet of the interface holds the gateway',
    );
    expect(() => rtnetlink.addRoute(link, { destination: '10.3.0.0/16', gateway: 'fd00::1' })).toThrow(
      'one is IPv4, the other IPv6',
    );
    expect(() => rtnetlink.addRoute(link, { destination: 'default' })).toThrow(
      'a default route needs a gateway',
    );
  });
});
