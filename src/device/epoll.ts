import { close, epollCreate, epollCtl, epollPwait2, epollWait, errno, O_CLOEXEC } from './syscall.ts';
import { checked, EBADF, EINTR, ENOENT, ENOSYS, SyscallError } from './syscall-error.ts';

export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
/** Report once, then stay silent until `modify`. */
export const EPOLLONESHOT = 0x40000000;

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

// struct epoll_event is packed on x86-64 alone: { u32 events; u64 data } is 12 bytes there, 16 elsewhere.
const STRIDE = process.arch === 'x64' ? 3 : 4;
const DATA = process.arch === 'x64' ? 1 : 2;

let pwait2 = epollPwait2;

/**
 * Level-triggered readiness of many descriptors. A descriptor is known by its tag, a small integer (a port,
 * for example). `wait` allocates nothing: what is ready stays in one array and is read by index.
 */
export class Epoll {
  readonly fd: number;
  readonly #capacity: number;
  readonly #ready: Int32Array;
  readonly #event = new Int32Array(STRIDE);
  readonly #timespec = new Int32Array(4);

  /** @param capacity how many descriptors one `wait` reports at most; the others come with the next. */
  constructor(capacity = 256) {
    this.#capacity = capacity;
    this.#ready = new Int32Array(capacity * STRIDE);
    this.fd = checked(epollCreate(O_CLOEXEC), 'cannot create an epoll descriptor');
  }

  /**
   * Watches `fd`. EPOLLERR and EPOLLHUP are reported whether asked for or not, but a TAP that ends wakes only
   * those who wait for EPOLLIN: ask for it always, also while a write is blocked. Throws a SyscallError (EEXIST when watched already, EPERM for plain files).
   */
  add(fd: number, tag: number, events: number = EPOLLIN): void {
    this.#control(EPOLL_CTL_ADD, fd, tag, events, 'watch');
  }

  /** Watches for other events, or under another tag: `modify(fd, tag, EPOLLIN | EPOLLOUT)` while blocked. */
  modify(fd: number, tag: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, tag, events, 'change how it watches');
  }

  /** Stops watching `fd`. One that is closed, which the kernel has forgotten by itself, is no error. */
  remove(fd: number): void {
    if (epollCtl(this.fd, EPOLL_CTL_DEL, fd, this.#event) >= 0) return;
    const number = errno();
    if (number !== ENOENT && number !== EBADF) {
      throw new SyscallError(`epoll cannot stop watching descriptor ${fd}`, number);
    }
  }

  /**
   * Blocks this thread until something is ready, and says how much is: read `tag(i)` and `events(i)` for `i`
   * below it. 0 after the timeout or a signal.
   * @param timeout milliseconds, fractions honoured where the kernel can and rounded up elsewhere; 0 does
   *   not block; negative or Infinity waits for ever
   */
  wait(timeout: number): number {
    let count: number;
    if (timeout < 0 || timeout > 0x7fffffff) {
      count = epollWait(this.fd, this.#ready, this.#capacity, -1);
    } else if (pwait2 === undefined || Number.isInteger(timeout)) {
      // Rounded up: waking before the deadline would make the loop spin until it comes.
      count = epollWait(this.fd, this.#ready, this.#capacity, Math.ceil(timeout));
    } else {
      const seconds = Math.floor(timeout / 1000);
      this.#timespec[0] = seconds;
      this.#timespec[2] = Math.min(999_999_999, Math.ceil((timeout - seconds * 1000) * 1e6));
      count = pwait2(this.fd, this.#ready, this.#capacity, this.#timespec, null);
    }
    if (count >= 0) return count;
    const number = errno();
    if (number === EINTR) return 0;
    if (number === ENOSYS && pwait2 !== undefined) {
      // libc has epoll_pwait2 but the kernel is older than 5.11.
      pwait2 = undefined;
      return this.wait(timeout);
    }
    throw new SyscallError('epoll cannot wait', number);
  }

  /** Tag of the `index`th ready descriptor. */
  tag(index: number): number {
    return this.#ready[index * STRIDE + DATA]!;
  }

  /** EPOLL bits of the `index`th ready descriptor. */
  events(index: number): number {
    return this.#ready[index * STRIDE]!;
  }

  close(): void {
    close(this.fd);
  }

  #control(operation: number, fd: number, tag: number, events: number, verb: string): void {
    this.#event[0] = events;
    this.#event[DATA] = tag;
    if (epollCtl(this.fd, operation, fd, this.#event) >= 0) return;
    throw new SyscallError(`epoll cannot ${verb} descriptor ${fd}`, errno());
  }
}
