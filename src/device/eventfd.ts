import { close, errno, eventfd, O_CLOEXEC, O_NONBLOCK, read, write } from './syscall.ts';
import { checked, EAGAIN, EINTR, SyscallError } from './syscall-error.ts';

/**
 * A bell between threads: one thread waits for `fd` with epoll, any other rings it. Rings that come before
 * the bell is drained are one ring.
 */
export class EventFd {
  readonly fd: number;
  // A counter of 64 bits in native (little-endian) order.
  readonly #one = new Int32Array([1, 0]);
  readonly #count = new Int32Array(2);

  /** @param fd an eventfd that another thread made (its number is valid in the whole process); made when absent. */
  constructor(fd?: number) {
    this.fd = fd ?? checked(eventfd(0, O_NONBLOCK | O_CLOEXEC), 'cannot create an eventfd');
  }

  /** Wakes whoever waits. Never blocks: a counter that is full is a bell that rings already. */
  signal(): void {
    while (write(this.fd, this.#one, 8) < 0) {
      const number = errno();
      if (number === EAGAIN) return;
      if (number !== EINTR) throw new SyscallError('cannot signal an eventfd', number);
    }
  }

  /** Silences the bell; true when it had rung. */
  drain(): boolean {
    return read(this.fd, this.#count, 8) === 8;
  }

  /** Closes the descriptor: once per process, by the thread that made it. */
  close(): void {
    close(this.fd);
  }
}
