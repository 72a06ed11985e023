import { closeSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EPOLLIN, EPOLLOUT, Epoll } from '../../src/device/epoll.ts';
import { EventFd } from '../../src/device/eventfd.ts';

let epoll: Epoll;
let bell: EventFd;
beforeEach(() => {
  epoll = new Epoll(2);
  bell = new EventFd();
});
afterEach(() => {
  epoll.close();
  bell.close();
});

describe('Epoll', () => {
  it('says which descriptor is ready, by its tag', () => {
    epoll.add(bell.fd, 123_456);
    expect(epoll.wait(0)).toBe(0);
    bell.signal();
    expect(epoll.wait(-1)).toBe(1);
    expect([epoll.tag(0), epoll.events(0)]).toEqual([123_456, EPOLLIN]);
  });

  it('keeps negative tags', () => {
    epoll.add(bell.fd, -1);
    bell.signal();
    epoll.wait(-1);
    expect(epoll.tag(0)).toBe(-1);
  });

  it('is level-triggered', () => {
    epoll.add(bell.fd, 1);
    bell.signal();
    expect([epoll.wait(0), epoll.wait(0)]).toEqual([1, 1]);
    bell.drain();
    expect(epoll.wait(0)).toBe(0);
  });

  it('watches for what it was last told', () => {
    epoll.add(bell.fd, 1, EPOLLIN);
    epoll.modify(bell.fd, 2, EPOLLIN | EPOLLOUT);
    expect(epoll.wait(0)).toBe(1);
    expect([epoll.tag(0), epoll.events(0)]).toEqual([2, EPOLLOUT]);
    epoll.remove(bell.fd);
    expect(epoll.wait(0)).toBe(0);
  });

  it('reports at most its capacity at a time, and all in turn', () => {
    const bells = [new EventFd(), new EventFd(), new EventFd()];
    try {
      bells.forEach((each, i) => {
        epoll.add(each.fd, i);
        each.signal();
      });
      const seen = new Set<number>();
      for (let round = 0; round < 2; round++) {
        const count = epoll.wait(0);
        expect(count).toBe(2);
        for (let i = 0; i < count; i++) seen.add(epoll.tag(i));
      }
      expect([...seen].sort()).toEqual([0, 1, 2]);
    } finally {
      for (const each of bells) each.close();
    }
  });

  it.each([3, 2.5, 0.25])('does not return before %d ms have passed', (timeout) => {
    const start = performance.now();
    expect(epoll.wait(timeout)).toBe(0);
    // The two clocks are the same, but for the rounding of performance.now() to microseconds.
    expect(performance.now() - start).toBeGreaterThanOrEqual(timeout - 0.01);
  });

  it('forgets a closed descriptor without complaint, and refuses the impossible', () => {
    const extra = new EventFd();
    epoll.add(extra.fd, 1);
    expect(() => epoll.add(extra.fd, 1)).toThrow(/watch descriptor \d+: .*EEXIST/);
    epoll.remove(extra.fd);
    expect(() => epoll.modify(extra.fd, 1, EPOLLIN)).toThrow('ENOENT');
    extra.close();
    epoll.remove(extra.fd);
    const file = openSync('/etc/hostname', 'r');
    try {
      expect(() => epoll.add(file, 1)).toThrow('EPERM');
    } finally {
      closeSync(file);
    }
  });
});

describe('EventFd', () => {
  it('rings once for many signals', () => {
    expect(bell.drain()).toBe(false);
    bell.signal();
    bell.signal();
    expect(bell.drain()).toBe(true);
    expect(bell.drain()).toBe(false);
  });

  it('wakes a thread that blocks in epoll', async () => {
    const code = `
      import { workerData, parentPort } from 'node:worker_threads';
      import koffi from 'koffi';
      const libc = koffi.load(null);
      parentPort.postMessage('waiting');
      // poll(2): { int fd; short events; short revents }
      const pollfd = new Int32Array([workerData, 1]);
      parentPort.postMessage(libc.func('int poll(void *, unsigned long, int)')(pollfd, 1, 20000));
    `;
    const worker = new Worker(
      new URL(
        `data:text/javascript,${encodeURIComponent(code.replace("'koffi'", `'${import.meta.resolve('koffi')}'`))}`,
      ),
      {
        workerData: bell.fd,
      },
    );
    try {
      const messages: unknown[] = [];
      const answer = new Promise((resolve, reject) => {
        worker.on('error', reject);
        worker.on('message', (message) => {
          messages.push(message);
          if (message === 'waiting') bell.signal();
          else resolve(message);
        });
      });
      expect(await answer).toBe(1);
      expect(messages).toEqual(['waiting', 1]);
    } finally {
      await worker.terminate();
    }
  });
});
