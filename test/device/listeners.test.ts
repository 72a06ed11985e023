import { closeSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Descriptors } from '../../src/uplink/descriptors.ts';
import { Listeners, type ListenOptions } from '../../src/uplink/listeners.ts';

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
const clients: Socket[] = [];
const servers: Server[] = [];

beforeEach(() => {
  taken = [];
  descriptors = new Descriptors(100);
  listeners = new Listeners(
    (fd, client, local, listener, now) =>
      taken.push({ fd, client: client.slice(), local: local.slice(), listener, now }),
    descriptors,
    () => {},
  );
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const { fd } of taken) closeSync(fd);
  listeners.closeAll();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** Ports in a row on the loopback that nobody has; another program could be faster, but does not know of them. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = await occupy(0);
    const rest = await Promise.all(
      Array.from({ length: count - 1 }, (_, i) => occupy(first + i + 1).catch(() => 0)),
    );
    for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
    if (!rest.includes(0)) return first;
  }
}

async function occupy(port: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  servers.push(server);
  return (server.address() as AddressInfo).port;
}

/** Connects; answers the client's own port, or what went wrong. */
async function reach(port: number, host = '127.0.0.1'): Promise<number | string> {
  const socket = connect(port, host);
  clients.push(socket);
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(socket.localPort!));
    socket.once('error', (error) => resolve((error as NodeJS.ErrnoException).code!));
  });
}

function at(port: number, count = 1, more: Partial<ListenOptions> = {}): ListenOptions {
  return { family: 4, host: LOOPBACK, ifname: null, from: port, to: port + count - 1, ...more };
}

function portOf(address: Uint8Array): number {
  return (address[2]! << 8) | address[3]!;
}

describe('listening sockets', () => {
  it.each([
    ['an address', LOOPBACK],
    ['all addresses', null],
  ])('on %s hand over who comes, with both addresses', async (_, host) => {
    const port = await freePorts(1);
    listeners.open(7, at(port, 1, { host }));
    const from = await reach(port);
    listeners.accept(0);
    expect(taken).toMatchObject([{ listener: 7, now: 0 }]);
    const [{ client, local }] = taken as [Taken];
    expect([portOf(client), [...client.subarray(4, 8)]]).toEqual([from, [127, 0, 0, 1]]);
    expect([portOf(local), [...local.subarray(4, 8)]]).toEqual([port, [127, 0, 0, 1]]);
  });

  it('on IPv6 leave IPv4 to others', async () => {
    const port = await freePorts(1);
    listeners.open(0, at(port, 1, { family: 6, host: null }));
    expect(await reach(port)).toBe('ECONNREFUSED');
    const from = await reach(port, '::1');
    listeners.accept(5);
    const [{ client, local }] = taken as [Taken];
    expect([portOf(client), client[23]]).toEqual([from, 1]);
    expect([portOf(local), local[23]]).toEqual([port, 1]);
    listeners.open(1, at(port));
    expect(typeof (await reach(port))).toBe('number');
  });

  it('of a range are one for each port, and all are gone when it is closed', async () => {
    const port = await freePorts(3);
    listeners.open(3, at(port, 3));
    listeners.open(4, at(port, 1, { family: 6, host: LOOPBACK6 }));
    for (let i = 0; i < 3; i++) await reach(port + i);
    listeners.accept(0);
    expect(taken.map(({ local }) => portOf(local)).sort()).toEqual([port, port + 1, port + 2]);
    expect(descriptors.used).toBe(4);
    listeners.close(3);
    expect(listeners.size).toBe(1);
    expect(descriptors.used).toBe(1);
    expect(await reach(port + 1)).toBe('ECONNREFUSED');
    expect(typeof (await reach(port, '::1'))).toBe('number');
  });

  it('are all there or none', async () => {
    const port = await freePorts(3);
    await occupy(port + 2);
    expect(() => listeners.open(0, at(port, 3))).toThrow(
      `cannot listen at 127.0.0.1:${port + 2}/tcp: another program of the host has that port (EADDRINUSE); choose another host port`,
    );
    expect([listeners.size, descriptors.used]).toEqual([0, 0]);
    expect(await reach(port)).toBe('ECONNREFUSED');
  });

  it('say what the host does not have', async () => {
    const port = await freePorts(1);
    expect(() => listeners.open(0, at(port, 1, { host: 0xc0000209 | 0 }))).toThrow(
      `cannot listen at 192.0.2.9:${port}/tcp: the host has no such address (EADDRNOTAVAIL); leave it out for all addresses`,
    );
    expect(() => listeners.open(0, at(port, 1, { family: 6, host: null, ifname: 'none0' }))).toThrow(
      `cannot listen at [::]%none0:${port}/tcp: the host has no interface none0 with it (ENODEV)`,
    );
    expect(listeners.size).toBe(0);
  });

  it('bound to an interface are reached by it', async () => {
    const port = await freePorts(1);
    listeners.open(0, at(port, 1, { host: null, ifname: 'lo' }));
    expect(typeof (await reach(port))).toBe('number');
  });

  it('take more than comes at once in several turns', async () => {
    const port = await freePorts(1);
    listeners.open(0, at(port));
    await Promise.all(Array.from({ length: 100 }, () => reach(port)));
    // The last handshakes may still be under way.
    for (let i = 0; i < 100 && taken.length < 100; i++, await sleep(1)) listeners.accept(i);
    expect(taken.length).toBe(100);
    expect(new Set(taken.map(({ client }) => portOf(client))).size).toBe(100);
  });
});
