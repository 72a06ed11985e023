import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takePassedSockets } from '../../src/control/passed-sockets.ts';
import { ServiceManager } from '../../src/control/service-manager.ts';
import { bind, close, recv, socket } from '../../src/device/syscall.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;

let fd: number;
let name: string;

beforeEach(() => {
  name = `tapdeck-${randomBytes(8).toString('hex')}`;
  const address = Buffer.concat([Uint8Array.of(AF_UNIX, 0), Buffer.from(`\0${name}`)]);
  fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  expect(bind(fd, address, address.length)).toBe(0);
});
afterEach(() => void close(fd));

/** The next thing that was said; null when there is none. */
function said(): string | null {
  const bytes = new Uint8Array(1000);
  const count = recv(fd, bytes, bytes.length, MSG_DONTWAIT);
  return count < 0 ? null : Buffer.from(bytes.subarray(0, count)).toString();
}

describe('ServiceManager', () => {
  it('is there when somebody wants to know, and is told nobody else', () => {
    const env: NodeJS.ProcessEnv = {
      NOTIFY_SOCKET: `@${name}`,
      WATCHDOG_USEC: '1',
      WATCHDOG_PID: '1',
      A: 'b',
    };
    expect(ServiceManager.find({})).toBeUndefined();
    const manager = ServiceManager.find(env)!;
    expect(env).toEqual({ A: 'b' });
    manager.ready('well', () => Promise.resolve());
    manager.stopping('enough');
    expect([said(), said(), said()]).toEqual(['READY=1\nSTATUS=well', 'STOPPING=1\nSTATUS=enough', null]);
  });

  it('hears a sign of life only when there is one', async () => {
    const manager = ServiceManager.find({ NOTIFY_SOCKET: `@${name}`, WATCHDOG_USEC: '4000' })!;
    let asked = 0;
    let well: () => void = () => {};
    manager.ready('well', () => {
      asked++;
      // The second question is answered late, all later ones never.
      if (asked === 1) return Promise.reject(new Error('no answer'));
      return new Promise<void>((resolve) => {
        if (asked === 2) well = resolve;
      });
    });
    await expect.poll(() => asked).toBeGreaterThan(5);
    expect([said(), said()]).toEqual(['READY=1\nSTATUS=well', null]);
    well();
    await expect.poll(said).toBe('WATCHDOG=1');
    manager.stopping('enough');
    expect([said(), said()]).toEqual(['STOPPING=1\nSTATUS=enough', null]);
  });
});

describe('takePassedSockets', () => {
  it('takes nothing that is meant for another process, and leaves nothing for the next', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '1', LISTEN_FDS: '3', LISTEN_FDNAMES: 'a:b:c', A: 'b' };
    expect(takePassedSockets(env, 2)).toEqual([]);
    expect(env).toEqual({ A: 'b' });
  });

  it('fails at the first that is not there, whatever number it is told', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '2', LISTEN_FDS: '1000000000' };
    expect(() => takePassedSockets(env, 2)).toThrow(/cannot use descriptor \d+, which LISTEN_FDS names/);
  });
});
