import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takePassedDescriptors } from '../../src/control/passed-descriptors.ts';
import { ServiceManager } from '../../src/control/service-manager.ts';
import { TapStore } from '../../src/control/tap-store.ts';
import { receiveMessage } from '../../src/device/socket.ts';
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

describe('TapStore', () => {
  const [one, other] = ['1', '2'].map((digit) => digit.repeat(64)) as [string, string];

  /** Answers all that was said and came with a descriptor, which is closed then. */
  function heard(): string[] {
    const all: string[] = [];
    for (let message = next(); message; message = next()) {
      if (message.descriptor >= 0) close(message.descriptor);
      all.push(`${message.text.replaceAll('\n', ' ')}${message.descriptor < 0 ? '' : ' +1'}`);
    }
    return all;
  }
  const next = () => receiveMessage(fd, { wait: false });
  /** What it says until it is done. */
  async function until(done: Promise<unknown>): Promise<string[]> {
    const all: string[] = [];
    let isDone = false;
    void done.then(() => {
      isDone = true;
    });
    while (!isDone) {
      all.push(...heard());
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await done;
    return [...all, ...heard()];
  }
  const openFile = () => openSync('/dev/null', 'r');

  it('has the TAPs of endpoints kept, and takes back those of endpoints that go', async () => {
    const store = new TapStore(ServiceManager.find({ NOTIFY_SOCKET: `@${name}` })!, []);
    const file = openFile();
    expect(await until(store.keep(one, file))).toEqual([`FDSTORE=1 FDNAME=${one} +1`]);
    expect(await until(store.keep(one, file))).toEqual([]);
    expect(store.take(one)).toBeUndefined();
    expect(await until(store.drop(other))).toEqual([]);
    expect(await until(store.drop(one))).toEqual([`FDSTOREREMOVE=1 FDNAME=${one}`, 'BARRIER=1 +1']);
    await until(store.keep(other, file));
    store.close();
    expect(await until(store.drop(other))).toEqual([]);
    closeSync(file);
  });

  it('gives up what is no TAP any more, and what nobody has taken', async () => {
    const passed = [
      { fd: openFile(), name: one },
      { fd: openFile(), name: other },
    ];
    const foreign = { fd: openFile(), name: 'tapdeck.service' };
    const store = new TapStore(ServiceManager.find({ NOTIFY_SOCKET: `@${name}` })!, [...passed, foreign]);
    expect(store.take(one)).toBeUndefined();
    expect(await until(store.dropLeft())).toEqual([`FDSTOREREMOVE=1 FDNAME=${other}`, 'BARRIER=1 +1']);
    for (const { fd } of passed) expect(() => fstatSync(fd)).toThrow('EBADF');
    closeSync(foreign.fd);
  });

  it('waits in vain for a manager that reads nothing, but not for ever', async () => {
    const store = new TapStore(ServiceManager.find({ NOTIFY_SOCKET: `@${name}` })!, []);
    const file = openFile();
    // Until the manager's queue is full.
    const all = Array.from({ length: 2000 }, (_, i) => store.keep(`${i}`.padStart(64, '0'), file));
    await Promise.all(all);
    await store.drop('0'.repeat(64));
    closeSync(file);
    expect(heard().length).toBeGreaterThan(0);
  });
});

describe('takePassedDescriptors', () => {
  it('takes nothing that is meant for another process, and leaves nothing for the next', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '1', LISTEN_FDS: '3', LISTEN_FDNAMES: 'a:b:c', A: 'b' };
    expect(takePassedDescriptors(env, 2)).toEqual({ sockets: [], others: [] });
    expect(env).toEqual({ A: 'b' });
  });

  it('fails at the first that is not there, whatever number it is told', () => {
    const env: NodeJS.ProcessEnv = { LISTEN_PID: '2', LISTEN_FDS: '1000000000' };
    expect(() => takePassedDescriptors(env, 2)).toThrow(/cannot use descriptor \d+, which LISTEN_FDS names/);
  });
});
