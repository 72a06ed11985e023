import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { hasVariable } from '../control/process.ts';
import { SANDBOX_VARIABLE } from '../control/sandbox.ts';

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
        .flatMap((line) => /^\s*([^:]+):/.exec(line)?.[1] ?? []),
    ),
    mounts: new Set(readFileSync('/proc/self/mountinfo', 'utf8').split('\n')),
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

function descriptor(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // The one that readdir itself had open.
    return '';
  }
}
