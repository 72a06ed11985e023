import { execFileSync } from 'node:child_process';
import { afterEach, expect, it } from 'vitest';
import { nameOfInterface, openHandover } from '../../src/device/handover.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { close } from '../../src/device/syscall.ts';
import { ip, netnsPath, Sandboxes } from './sandbox.ts';

const MAC = '02:42:0a:4d:00:02';

const sandboxes = new Sandboxes();
afterEach(() => sandboxes.removeAll());

/** A TAP in a namespace that stands for the host's. */
function handOver(host: string, ifname: string): number {
  const namespace = openNamespace(netnsPath(host));
  try {
    return inNamespace(namespace, () => openHandover({ ifname, mac: MAC, mtu: 9000 }).fd);
  } finally {
    namespace.close();
  }
}

it('leaves an interface for others to move, which goes with its descriptor wherever it is', () => {
  const host = sandboxes.add('host');
  const container = sandboxes.add('container');
  const fd = handOver(host, 'td0');
  try {
    expect(ip(host, 'link', 'show', 'td0')).toMatchObject([
      { address: MAC, mtu: 9000, operstate: 'DOWN', txqlen: 4096 },
    ]);
    expect(nameOfInterface(netnsPath(container), MAC)).toBeUndefined();
    execFileSync('ip', ['-n', host, 'link', 'set', 'td0', 'netns', container, 'name', 'eth7']);
    expect(nameOfInterface(netnsPath(container), MAC)).toBe('eth7');
  } finally {
    close(fd);
  }
  expect(nameOfInterface(netnsPath(container), MAC)).toBeUndefined();
});

it('knows of no interface where there is no namespace', () => {
  expect(nameOfInterface('/run/netns/nowhere', MAC)).toBeUndefined();
});

it('leaves nothing when the interface cannot be', () => {
  const host = sandboxes.add('host');
  const before = ip(host, 'link');
  const fd = handOver(host, 'td0');
  try {
    expect(() => handOver(host, 'td0')).toThrow('choose another name');
    expect(() => handOver(host, 'x'.repeat(16))).toThrow('1 to 15 bytes');
  } finally {
    close(fd);
  }
  expect(ip(host, 'link')).toEqual(before);
});
