import { type StatsFs, statfsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { DeckError, invalid, notFound } from './error.ts';
import { quote } from './name.ts';

/** `f_type` of the file system that namespaces are files of (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;

/** Which network namespace is meant: a path such as /run/netns/blue, or a process that is in it. */
export type NamespaceTarget = { path: string } | { pid: number };

/** Where a namespace is that a user named: the daemon may have another working folder, and a name without a slash is one that `ip netns` knows. */
export function namespacePath(given: string): string {
  return given.includes('/') ? resolve(given) : `/run/netns/${given}`;
}

/** As messages call it. */
export function describeNamespace(target: NamespaceTarget): string {
  return 'path' in target ? target.path : `process ${target.pid}`;
}

/**
 * What tells a network namespace from all others while somebody is in it: device and inode of its file.
 * Throws a `DeckError` when there is none, when it is out of reach, or when it is the one that tapdeck itself
 * runs in: a TAP with a default route in there would cut the host off.
 * @param ofHost the other way round: it must be that one
 */
export function identifyNamespace(target: NamespaceTarget, ofHost = false): string {
  if ('pid' in target && !(Number.isInteger(target.pid) && target.pid > 0 && target.pid < 2 ** 31)) {
    throw invalid(`${target.pid} is not a process id`);
  }
  if ('path' in target && target.path.includes('\0')) throw invalid(`${quote(target.path)} is not a path`);
  const path = 'path' in target ? target.path : `/proc/${target.pid}/ns/net`;
  const { type, identity } = examine(target, path);
  if (type !== NSFS_MAGIC) {
    throw invalid(
      `${quote(path)} is not a network namespace; give /run/netns/NAME (made by "ip netns add NAME"), /proc/PID/ns/net, or --pid`,
    );
  }
  const isHost = identity === identityOf('/proc/self/ns/net');
  if (ofHost && !isHost) {
    throw invalid(
      `${describeNamespace(target)} has a network namespace of its own, and network host is for what stays in that of the host; give another network`,
    );
  }
  if (isHost && !ofHost) {
    throw invalid(
      `${describeNamespace(target)} is in the namespace that tapdeck itself runs in, which must keep its own network; give another`,
    );
  }
  return identity;
}

function examine(target: NamespaceTarget, path: string): { type: StatsFs['type']; identity: string } {
  try {
    return { type: statfsSync(path).type, identity: identityOf(path) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const process = 'pid' in target ? target.pid : Number(/^\/proc\/(\d+)\/ns\/net$/.exec(path)?.[1]);
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'ENOTDIR') {
      throw notFound(
        process
          ? `there is no process ${process}`
          : `there is no network namespace at ${quote(path)}; see "ip netns list"`,
      );
    }
    if (code === 'EACCES' || code === 'EPERM') {
      throw new DeckError(
        'permission',
        `no permission to look at the network namespace of ${describeNamespace(target)}; run tapdeck as its owner or as root`,
      );
    }
    throw invalid(`cannot look at ${quote(path)}: ${message}`);
  }
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}
