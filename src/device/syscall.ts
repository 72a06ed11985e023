/**
 * libc through koffi: the only file that knows the binding. Everything else in `src/device` calls these
 * functions with numbers, byte arrays and addresses.
 *
 * How a slot's address is passed was measured (Node 20, koffi 3.3, Linux 6.18, 64-byte calls, median of five
 * interleaved runs of 3 million calls; the same loop in C: read 115, write 95, EAGAIN 112 ns):
 *
 *   | second argument                       | read /dev/zero | write /dev/null | read → EAGAIN | heap per call |
 *   |---------------------------------------|---------------:|----------------:|--------------:|--------------:|
 *   | `void *`, one Uint8Array per slot     |         192 ns |          201 ns |        216 ns |           0 B |
 *   | `void *`, one BigInt per slot         |         197 ns |          188 ns |        198 ns |           0 B |
 *   | `uintptr_t`, one BigInt per slot      |         200 ns |          189 ns |        202 ns |           0 B |
 *   | `uintptr_t`, number from Float64Array |         202 ns |          185 ns |        193 ns |          16 B |
 *   | `uintptr_t`, number kept boxed        |         189 ns |          178 ns |        190 ns |           0 B |
 *
 * They cost the same; only a number that comes out of a typed array is boxed again for every call (48
 * scavenges in 3 million calls instead of 1). So a slot's address is a BigInt, computed once (`addressOf`),
 * and the same declaration takes a byte array where one is at hand. An address in the middle of a slot is not
 * computed per call, which would make a new BigInt, but written as two 32-bit halves into an iovec. The
 * return values are declared `int`: no transfer here reaches 2 GiB, and koffi would make a BigInt or a
 * check for one of every `int64_t`. `errno()` costs 20 ns.
 *
 * Structures are laid out for 64-bit little-endian Linux (x64, arm64).
 */
import koffi, { type KoffiFunc } from 'koffi';

/** Memory that a call reads or writes: bytes, or an address that `addressOf` gave. */
export type Memory = NodeJS.ArrayBufferView | bigint | null;

// The symbols of the running program: its libc, whichever it is (glibc or musl).
const libc = koffi.load(null);

export const open: (path: string, flags: number, mode: number) => number = libc.func(
  'int open(const char *, int, int)',
);
export const close: (fd: number) => number = libc.func('int close(int)');
export const read: (fd: number, memory: Memory, length: number) => number = libc.func(
  'int read(int, void *, size_t)',
);
export const write: (fd: number, memory: Memory, length: number) => number = libc.func(
  'int write(int, void *, size_t)',
);
/** `iovec`: pairs of 64-bit address and 64-bit length. */
export const writev: (fd: number, iovec: Memory, count: number) => number = libc.func(
  'int writev(int, void *, int)',
);
export const readv: (fd: number, iovec: Memory, count: number) => number = libc.func(
  'int readv(int, void *, int)',
);
/** ioctl with a pointer to its argument. */
export const ioctl: (fd: number, request: number, argument: Memory) => number = libc.func(
  'int ioctl(int, unsigned long, void *)',
);
/** ioctl whose argument is the number itself. */
export const ioctlValue: (fd: number, request: number, argument: number) => number = libc.func(
  'int ioctl(int, unsigned long, unsigned long)',
);

export const epollCreate: (flags: number) => number = libc.func('int epoll_create1(int)');
export const epollCtl: (epoll: number, operation: number, fd: number, event: Memory) => number = libc.func(
  'int epoll_ctl(int, int, int, void *)',
);
export const epollWait: (epoll: number, events: Memory, capacity: number, milliseconds: number) => number =
  libc.func('int epoll_wait(int, void *, int, int)');
/** epoll_pwait2 (Linux 5.11, glibc 2.35) takes nanoseconds; undefined where libc does not have it. */
export const epollPwait2:
  | ((epoll: number, events: Memory, capacity: number, timespec: Memory, signals: null) => number)
  | undefined = optional('int epoll_pwait2(int, void *, int, void *, void *)');
export const eventfd: (initial: number, flags: number) => number = libc.func(
  'int eventfd(unsigned int, int)',
);

// Asynchronous I/O, for which libc has no functions: syscall(2) with the numbers of x64 and of all newer machines.
const isX64 = process.arch === 'x64';
const [IO_SETUP, IO_SUBMIT, IO_GETEVENTS] = isX64 ? [206, 209, 208] : [0, 2, 4];
const syscall2: (number: number, events: number, context: Memory) => number = libc.func(
  'int syscall(long, unsigned long, void *)',
);
const syscall3: (number: number, context: number, count: number, blocks: Memory) => number = libc.func(
  'int syscall(long, unsigned long, long, void *)',
);
const syscall5: (
  number: number,
  context: number,
  least: number,
  most: number,
  events: Memory,
  timeout: Memory,
) => number = libc.func('int syscall(long, unsigned long, long, long, void *, void *)');
/** `context`: 64 bits, 0 at first, where the kernel writes the name of what it has made. */
export const ioSetup = (events: number, context: Memory): number => syscall2(IO_SETUP, events, context);
/** `blocks`: addresses of struct iocb. */
export const ioSubmit = (context: number, count: number, blocks: Memory): number =>
  syscall3(IO_SUBMIT, context, count, blocks);
export const ioGetevents = (
  context: number,
  least: number,
  most: number,
  events: Memory,
  timeout: Memory,
): number => syscall5(IO_GETEVENTS, context, least, most, events, timeout);

/** Lets another thread have the CPU, if one wants it. */
export const schedYield: () => number = libc.func('int sched_yield()');
export const schedGetcpu: () => number = libc.func('int sched_getcpu()');
export const schedGetaffinity: (thread: number, length: number, mask: Memory) => number = libc.func(
  'int sched_getaffinity(int, size_t, void *)',
);
export const schedSetaffinity: (thread: number, length: number, mask: Memory) => number = libc.func(
  'int sched_setaffinity(int, size_t, void *)',
);

export const setns: (fd: number, kind: number) => number = libc.func('int setns(int, int)');
export const unshare: (kinds: number) => number = libc.func('int unshare(int)');

export const socket: (domain: number, type: number, protocol: number) => number =
  libc.func('int socket(int, int, int)');
export const socketpair: (domain: number, type: number, protocol: number, pair: Memory) => number = libc.func(
  'int socketpair(int, int, int, void *)',
);
export const bind: (fd: number, address: Memory, length: number) => number = libc.func(
  'int bind(int, void *, uint32_t)',
);
export const connect: (fd: number, address: Memory, length: number) => number = libc.func(
  'int connect(int, void *, uint32_t)',
);
export const listen: (fd: number, backlog: number) => number = libc.func('int listen(int, int)');
/** `length` as with getsockname. */
export const accept4: (fd: number, address: Memory, length: Memory, flags: number) => number = libc.func(
  'int accept4(int, void *, void *, int)',
);
export const setsockopt: (
  fd: number,
  level: number,
  option: number,
  value: Memory,
  length: number,
) => number = libc.func('int setsockopt(int, int, int, void *, uint32_t)');
/** `length`: one 32-bit word, the room for the address; the kernel writes there how long it is. */
export const getsockname: (fd: number, address: Memory, length: Memory) => number = libc.func(
  'int getsockname(int, void *, void *)',
);
export const send: (fd: number, memory: Memory, length: number, flags: number) => number = libc.func(
  'int send(int, void *, size_t, int)',
);
/** `send` on a thread of libuv's pool: for requests that keep their caller waiting. There is no errno of it. */
export const sendAside = (fd: number, memory: Memory, length: number, flags: number): Promise<number> =>
  new Promise((resolve, reject) => {
    (send as KoffiFunc<typeof send>).async(fd, memory, length, flags, (error: Error | null, count: number) =>
      error ? reject(error) : resolve(count),
    );
  });
export const recv: (fd: number, memory: Memory, length: number, flags: number) => number = libc.func(
  'int recv(int, void *, size_t, int)',
);
export const sendmsg: (fd: number, message: Memory, flags: number) => number = libc.func(
  'int sendmsg(int, void *, int)',
);
export const recvmsg: (fd: number, message: Memory, flags: number) => number = libc.func(
  'int recvmsg(int, void *, int)',
);
export const flock: (fd: number, operation: number) => number = libc.func('int flock(int, int)');
export const strerror: (errno: number) => string = libc.func('const char *strerror(int)');

/** Error number of this thread's last failed call; read it before anything else is called. */
export const errno: () => number = koffi.errno;

/**
 * Address of the first byte of `view`, good for as long as its buffer lives. V8 never moves the memory of an
 * array buffer; whoever keeps the address keeps the buffer.
 */
export function addressOf(view: NodeJS.ArrayBufferView): bigint {
  return koffi.address(view);
}

export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0x800;
/** The same bit as SOCK_CLOEXEC, EPOLL_CLOEXEC and EFD_CLOEXEC, as O_NONBLOCK is EFD_NONBLOCK. */
export const O_CLOEXEC = 0x80000;

function optional<F>(prototype: string): F | undefined {
  try {
    return libc.func(prototype) as F;
  } catch {
    return undefined;
  }
}
