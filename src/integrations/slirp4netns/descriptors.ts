import { closeSync, fstatSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { invalid } from '../../control/error.ts';

/** Descriptors that the caller has passed on. */

/** Throws a `DeckError` when there is none of this number. */
export function checkDescriptor(option: string, fd: number): void {
  try {
    fstatSync(fd);
  } catch {
    throw invalid(`--${option} ${fd}: no such descriptor was passed on`);
  }
}

/** Tells the caller that the interface is there. */
export function tellReady(fd: number): void {
  try {
    writeSync(fd, '1');
    closeSync(fd);
  } catch {
    // Nobody waits for it any more.
  }
}

/** Settles when the other end of a pipe is closed, or something is written to it. Throws a `DeckError` when it is none. */
export function untilClosed(fd: number): Promise<void> {
  let socket: Socket;
  try {
    socket = new Socket({ fd, readable: true, writable: false });
  } catch (error) {
    throw invalid(`--exit-fd ${fd} is no pipe: ${(error as Error).message}`);
  }
  return new Promise((resolve) => {
    for (const event of ['data', 'end', 'error', 'close'] as const) socket.once(event, () => resolve());
    socket.resume();
  });
}
