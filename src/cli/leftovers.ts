import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { hasVariable } from '../control/process.ts';
import { SANDBOX_VARIABLE } from '../control/sandbox.ts';
import { MOUNT_SOURCE } from '../control/sandbox-mounts.ts';

/** What a deck could leave behind, as far as this process can see it. */
export interface Inventory {
  interfaces: ReadonlySet<string>;
  mounts: ReadonlySet<string>;
  /** Open TAPs and network namespaces of this process. */
  descriptors: ReadonlySet<string>;
}

export function takeInventory(): Inventory {
  return {
    interfaces: new Set(
      readFileSync('/proc/self/net/dev', 'utf8')
        .split('\n')
        .flatMap((line) => /^\s*([^:]+):/.exec(line)?.[1] ?? [])
        .filter(mayBeTap),
    ),
    mounts: new Set(readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(mayBeOfSandbox)),
    descriptors: new Set(
      readdirSync('/proc/self/fd').flatMap((fd) => {
        const target = descriptor(fd);
        return /^(net:\[|user:\[|\/dev\/net\/tun)/.test(target) ? [`descriptor ${fd} (${target})`] : [];
      }),
    ),
  };
}

/** What is there now and was not before, in words; and every process of the sandboxes that still runs. */
export function findLeftovers(before: Inventory, sandboxes: readonly string[]): string[] {
  const now = takeInventory();
  const added = (what: string, is: ReadonlySet<string>, was: ReadonlySet<string>) =>
    Array.from(is)
      .filter((one) => !was.has(one))
      .map((one) => `${what}${one}`);
  const processes = readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && sandboxes.some((id) => hasVariable(Number(pid), SANDBOX_VARIABLE, id)),
  );
  return [
    ...added('interface ', now.interfaces, before.interfaces),
    ...added('mount ', now.mounts, before.mounts),
    ...added('', now.descriptors, before.descriptors),
    ...processes.map((pid) => `process ${pid}`),
  ];
}

/** Whether an interface is a TAP, as far as /sys shows it: other programs make interfaces of other kinds meanwhile. */
function mayBeTap(name: string): boolean {
  const folder = `/sys/class/net/${name}`;
  return !existsSync(folder) || existsSync(`${folder}/tun_flags`);
}

/**
 * Whether a line of mountinfo (proc_pid_mountinfo(5)) is of a kind that sandboxes mount: files of theirs, and a /sys. Others
 * mount namespaces (`ip netns`), the roots of containers and what not, at the same time.
 */
export function mayBeOfSandbox(line: string): boolean {
  const [place = '', kind = ''] = line.split(' - ');
  const [, , , , point = ''] = place.split(' ');
  const [type, source] = kind.split(' ');
  return source === MOUNT_SOURCE || type === 'sysfs' || /^\/sys(\/|$)/.test(point);
}

function descriptor(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // The one that readdir itself had open.
    return '';
  }
}
