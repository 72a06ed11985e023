import { EPOLLIN, Epoll } from '../../src/device/epoll.ts';
import type { Device } from '../../switch/device.ts';
import { Arena, type Frame } from '../../switch/frame.ts';

/** The simplest hub for two devices: what comes in at one goes out at the other, until `until` settles. */
export async function forward<T>(
  devices: readonly [Device, Device],
  until: Promise<T>,
  seen: (frame: Frame) => void = () => {},
): Promise<T> {
  const arena = new Arena({ small: 4, big: 4 });
  const epoll = new Epoll();
  let done = false;
  const settled = until.finally(() => {
    done = true;
  });
  settled.catch(() => {});
  try {
    devices.forEach((device, i) => {
      epoll.add(device.fd, i, EPOLLIN);
    });
    while (!done) {
      const count = epoll.wait(2);
      for (let i = 0; i < count; i++) {
        const from = epoll.tag(i);
        for (
          let frame = devices[from]!.receive(arena, 0);
          frame !== null;
          frame = devices[from]!.receive(arena, 0)
        ) {
          seen(frame);
          devices[1 - from]!.transmit(frame, 0);
          arena.release(frame);
        }
      }
      // The promise settles on this thread's event loop.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    epoll.close();
  }
  return settled;
}
