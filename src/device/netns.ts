import { fstatSync, writeSync } from 'node:fs';
import { close, errno, ioctl, O_CLOEXEC, O_NONBLOCK, O_RDONLY, open, setns, unshare } from './syscall.ts';
import {
  checked,
  EACCES,
  EINVAL,
  ENOENT,
  ENOSPC,
  EPERM,
  type Explanation,
  errnoName,
} from './syscall-error.ts';

const CLONE_NEWNET = 0x4000_0000;
// ioctls of nsfs, ioctl_ns(2).
const NS_GET_USERNS = 0xb701;
const NS_GET_NSTYPE = 0xb703;

/** Which network namespace: the path of one (`/run/netns/blue`, `/proc/42/ns/net`) or the pid of a process in one. */
export type NetnsTarget = string | number;

/**
 * An open namespace. While the descriptor is open the kernel keeps the namespace alive, so it is held for
 * short: nobody may notice the end of a container later because we still hold a door to it.
 */
export class Namespace {
  readonly fd: number;
  /** As messages call it: a path, or `process 42`. */
  readonly label: string;
  /** Device and inode of the namespace: two descriptors with the same pair are one namespace. */
  readonly device: number;
  readonly inode: number;
  #closed = false;

  /** @param fd descriptor of a namespace, which the object owns from now on */
  constructor(fd: number, label: string) {
    const { dev, ino } = fstatSync(fd);
    this.fd = fd;
    this.label = label;
    this.device = dev;
    this.inode = ino;
  }

  same(other: Namespace): boolean {
    return this.device === other.device && this.inode === other.inode;
  }

  /**
   * The user namespace that owns this network namespace. Root in it decides here. Throws a SyscallError with
   * EPERM when it lies outside of ours.
   */
  owner(): Namespace {
    const fd = checked(
      ioctl(this.fd, NS_GET_USERNS, null),
      `cannot find who owns the namespace of ${this.label}`,
      explainOwner,
    );
    return new Namespace(fd, `the user namespace of ${this.label}`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.fd);
  }
}

/**
 * Opens a network namespace. Throws a one-line SyscallError or Error: no such path or process, no permission,
 * not a network namespace.
 */
export function openNamespace(target: NetnsTarget): Namespace {
  const path = typeof target === 'number' ? `/proc/${target}/ns/net` : target;
  const label = typeof target === 'number' ? `process ${target}` : target;
  if (typeof target === 'number' && !(Number.isInteger(target) && target > 0)) {
    throw new Error(
      `cannot enter the network namespace of process ${target}: a pid is a positive whole number`,
    );
  }
  // Non-blocking: a path that names a FIFO must not hang the thread.
  const fd = checked(
    open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0),
    `cannot open the network namespace of ${label}`,
    (number) => explainOpen(target, number),
  );
  // A plain file answers ENOTTY: what is left of /run/netns/X when its mount is gone.
  if (ioctl(fd, NS_GET_NSTYPE, null) !== CLONE_NEWNET) {
    close(fd);
    throw new Error(
      `cannot enter the network namespace of ${label}: it is not a network namespace; give /run/netns/NAME, /proc/PID/ns/net or a pid`,
    );
  }
  return new Namespace(fd, label);
}

/** The network namespace of the calling thread, which need not be that of the process's other threads. */
export function currentNamespace(label = 'this thread'): Namespace {
  const path = '/proc/thread-self/ns/net';
  return new Namespace(checked(open(path, O_RDONLY | O_CLOEXEC, 0), `cannot open ${path}`), label);
}

/** The user namespace of this process. */
export function currentUserNamespace(): Namespace {
  const path = '/proc/self/ns/user';
  return new Namespace(checked(open(path, O_RDONLY | O_CLOEXEC, 0), `cannot open ${path}`), 'this process');
}

/**
 * Runs `work` with the calling thread in `namespace`, and comes back. `work` is synchronous: nothing else of
 * this thread runs meanwhile, and no thread may be started by it (it would stay there). Never called from
 * libuv's pool, whose threads serve others. Sockets made inside belong to the namespace also afterwards.
 *
 * Throws a SyscallError with EPERM when we may not enter, or not come back. A thread that cannot come back would send the
 * host's traffic into a container: the process ends instead.
 */
export function inNamespace<T>(namespace: Namespace, work: () => T): T {
  const home = currentNamespace();
  try {
    checkReturn(home);
    checked(
      setns(namespace.fd, CLONE_NEWNET),
      `cannot enter the network namespace of ${namespace.label}`,
      explainSetns,
    );
    try {
      return work();
    } finally {
      comeBack(home);
    }
  } finally {
    home.close();
  }
}

/** Makes a network namespace with nothing in it but `lo`; the calling thread does not stay in it. */
export function newNamespace(label: string): Namespace {
  const home = currentNamespace();
  try {
    checkReturn(home);
    checked(unshare(CLONE_NEWNET), 'cannot make a network namespace', explainUnshare);
    try {
      return currentNamespace(label);
    } finally {
      comeBack(home);
    }
  } finally {
    home.close();
  }
}

/** Whether a thread that leaves its network namespace may enter it again, as far as the user namespace is concerned. */
export function mayReturn(): boolean {
  const home = currentNamespace();
  try {
    checkReturn(home);
    return true;
  } catch {
    return false;
  } finally {
    home.close();
  }
}

/**
 * Root of a user namespace may enter those network namespaces that it owns, and its own may be another's: that of the host, to
 * a program that rootless Podman has started.
 */
function checkReturn(home: Namespace): void {
  home.owner().close();
}

function comeBack(home: Namespace): void {
  if (setns(home.fd, CLONE_NEWNET) === 0) return;
  const name = errnoName(errno());
  writeSync(
    2,
    `tapdeck: cannot leave a container's network namespace (${name}); ending, so that nothing goes astray\n`,
  );
  // process.abort() does not exist in worker threads.
  process.kill(process.pid, 'SIGABRT');
  throw new Error(`cannot leave a network namespace (${name})`);
}

function explainOpen(target: NetnsTarget, number: number): Explanation {
  if (number === ENOENT) {
    return typeof target === 'number'
      ? { why: 'there is no such process', remedy: 'it may have ended; see ps' }
      : { why: 'there is no such namespace', remedy: 'see `ip netns list`, or give a pid' };
  }
  if (number === EACCES || number === EPERM) {
    return { remedy: 'run tapdeck as the user who started it, or as root' };
  }
  return {};
}

function explainOwner(number: number): Explanation {
  if (number !== EPERM) return {};
  return {
    why: 'it belongs to a user namespace that is not within ours',
    remedy: 'run tapdeck as the user who made it, outside of any container',
  };
}

function explainSetns(number: number): Explanation {
  if (number === EPERM) {
    return {
      why: 'not permitted',
      remedy:
        'it takes CAP_SYS_ADMIN here and in the user namespace that owns it: be root there (unshare --map-root-user)',
    };
  }
  if (number === EINVAL) return { why: 'it is not a network namespace' };
  return {};
}

function explainUnshare(number: number): Explanation {
  if (number === EPERM)
    return {
      why: 'not permitted',
      remedy: 'it takes CAP_SYS_ADMIN; in a user namespace be root (unshare --map-root-user)',
    };
  if (number === ENOSPC)
    return { why: 'there are too many', remedy: 'raise the sysctl user.max_net_namespaces' };
  return {};
}
