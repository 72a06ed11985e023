import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AF_INET, AF_INET6 } from '../../src/device/inet.ts';
import { inNamespace, type Namespace, openNamespace } from '../../src/device/netns.ts';
import { close, connect, errno, getsockname, listen, O_CLOEXEC, socket } from '../../src/device/syscall.ts';
import { checked, errnoName } from '../../src/device/syscall-error.ts';
import { Descriptors } from '../../src/uplink/descriptors.ts';
import { bindHostPort } from '../../src/uplink/host-port.ts';
import { SOCK_STREAM, SOCKADDR_IN6, writeSockaddr4, writeSockaddr6 } from '../../src/uplink/host-socket.ts';
import { Listeners, type ListenOptions } from '../../src/uplink/listeners.ts';
import { netnsPath, Sandboxes } from './sandbox.ts';

// On the loopback of a namespace of their own, and at ports that the kernel gives to nobody by itself.

const LOOPBACK = 0x7f000001;
const LOOPBACK6 = [0, 0, 0, 1];

interface Taken {
  fd: number;
  client: Uint8Array;
  local: Uint8Array;
  listener: number;
  now: number;
}

let taken: Taken[];
let listeners: Listeners;
let descriptors: Descriptors;
/** Clients, and programs that have a port. */
const others: number[] = [];
const sandboxes = new Sandboxes();
let namespace: Namespace;
let port = 5000;

beforeAll(() => {
  const name = sandboxes.add('listen');
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  namespace = openNamespace(netnsPath(name));
});
afterAll(() => {
  namespace.close();
  sandboxes.removeAll();
});

beforeEach(() => {
  taken = [];
  port += 10;
  descriptors = new Descriptors(100);
  listeners = new Listeners(
    (fd, client, local, listener, now) =>
      taken.push({ fd, client: client.slice(), local: local.slice(), listener, now }),
    descriptors,
    () => {},
  );
});

afterEach(() => {
  for (const fd of others.splice(0)) close(fd);
  for (const { fd } of taken) close(fd);
  listeners.closeAll();
});

/** Another program that listens. */
function occupy(at: number): void {
  inNamespace(namespace, () => {
    const fd = bindHostPort({ family: 4, protocol: 6, host: LOOPBACK, ifname: null, port: at });
    others.push(fd);
    checked(listen(fd, 1), 'listen');
  });
}

/** Connects; answers the client's own port, or what went wrong. */
function reach(at: number, isIpv6 = false): number | string {
  return inNamespace(namespace, () => {
    const fd = checked(socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_STREAM | O_CLOEXEC, 0), 'socket');
    others.push(fd);
    const address = new Uint8Array(SOCKADDR_IN6);
    const length = isIpv6
      ? writeSockaddr6(address, Int32Array.from(LOOPBACK6), 0, at)
      : writeSockaddr4(address, LOOPBACK, at);
    if (connect(fd, address, length) < 0) return errnoName(errno());
    getsockname(fd, address, Int32Array.of(SOCKADDR_IN6));
    return portOf(address);
  });
}

function open(listener: number, options: ListenOptions): void {
  inNamespace(namespace, () => listeners.open(listener, options));
}

/** Accepts until so many have come: the last step of a handshake may still be under way when its client is connected. */
async function accepted(count: number, now = 0): Promise<void> {
  for (listeners.accept(now); taken.length < count; listeners.accept(now)) await sleep(1);
}

function at(from: number, count = 1, more: Partial<ListenOptions> = {}): ListenOptions {
  return { family: 4, host: LOOPBACK, ifname: null, from, to: from + count - 1, ...more };
}

function portOf(address: Uint8Array): number {
  return (address[2]! << 8) | address[3]!;
}

describe('listening sockets', () => {
  it.each([
    ['an address', LOOPBACK],
    ['all addresses', null],
  ])('on %s hand over who comes, with both addresses', async (_, host) => {
    open(7, at(port, 1, { host }));
    const from = reach(port);
    await accepted(1);
    expect(taken).toMatchObject([{ listener: 7, now: 0 }]);
    const [{ client, local }] = taken as [Taken];
    expect([portOf(client), [...client.subarray(4, 8)]]).toEqual([from, [127, 0, 0, 1]]);
    expect([portOf(local), [...local.subarray(4, 8)]]).toEqual([port, [127, 0, 0, 1]]);
  });

  it('on IPv6 leave IPv4 to others', async () => {
    open(0, at(port, 1, { family: 6, host: null }));
    expect(reach(port)).toBe('ECONNREFUSED');
    const from = reach(port, true);
    await accepted(1, 5);
    expect(taken).toMatchObject([{ now: 5 }]);
    const [{ client, local }] = taken as [Taken];
    expect([portOf(client), client[23]]).toEqual([from, 1]);
    expect([portOf(local), local[23]]).toEqual([port, 1]);
    open(1, at(port));
    expect(typeof reach(port)).toBe('number');
  });

  it('of a range are one for each port, and all are gone when it is closed', async () => {
    open(3, at(port, 3));
    open(4, at(port, 1, { family: 6, host: LOOPBACK6 }));
    for (let i = 0; i < 3; i++) reach(port + i);
    await accepted(3);
    expect(taken.map(({ local }) => portOf(local)).sort()).toEqual([port, port + 1, port + 2]);
    expect(descriptors.used).toBe(4);
    listeners.close(3);
    expect(listeners.size).toBe(1);
    expect(descriptors.used).toBe(1);
    expect(reach(port + 1)).toBe('ECONNREFUSED');
    expect(typeof reach(port, true)).toBe('number');
  });

  it('are all there or none', () => {
    occupy(port + 2);
    expect(() => open(0, at(port, 3))).toThrow(
      `cannot listen at 127.0.0.1:${port + 2}/tcp: another program of the host has that port (EADDRINUSE); choose another host port`,
    );
    expect([listeners.size, descriptors.used]).toEqual([0, 0]);
    expect(reach(port)).toBe('ECONNREFUSED');
  });

  it('say what the host does not have', () => {
    expect(() => open(0, at(port, 1, { host: 0xc0000209 | 0 }))).toThrow(
      `cannot listen at 192.0.2.9:${port}/tcp: the host has no such address (EADDRNOTAVAIL); leave it out for all addresses`,
    );
    expect(() => open(0, at(port, 1, { family: 6, host: null, ifname: 'none0' }))).toThrow(
      `cannot listen at [::]%none0:${port}/tcp: the host has no interface none0 with it (ENODEV)`,
    );
    expect(listeners.size).toBe(0);
  });

  it('bound to an interface are reached by it', () => {
    open(0, at(port, 1, { host: null, ifname: 'lo' }));
    expect(typeof reach(port)).toBe('number');
  });

  it('take more than comes at once in several turns', async () => {
    open(0, at(port));
    for (let i = 0; i < 100; i++) reach(port);
    listeners.accept(0);
    expect(taken.length).toBeLessThan(100);
    await accepted(100);
    expect(taken.length).toBe(100);
    expect(new Set(taken.map(({ client }) => portOf(client))).size).toBe(100);
  });
});
