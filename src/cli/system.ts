import { existsSync } from 'node:fs';
import { DaemonAbsent, type DaemonClient } from '../control/client.ts';
import { openIn, type RuntimePaths } from '../control/paths.ts';
import { type Pruned, pruneAbandoned } from '../control/prune.ts';
import { confirmed } from './confirm.ts';
import { EXIT_DONE, type Format, print } from './output.ts';

export interface PruneFlags {
  force?: boolean;
}

const WARNING = `This will remove:
  - all networks not used by at least one container
  - all containers in no network, or whose namespaces are gone
  - what daemons left behind that were killed: processes of sandboxes, sockets, locks, logs
  - state files that were damaged and kept aside`;

/** Removes what is left over, by the daemon or, when there is none, in its place. */
export async function prune(
  paths: RuntimePaths,
  client: DaemonClient,
  format: Format,
  { force }: PruneFlags,
): Promise<number> {
  if (!force && !(await confirmed(WARNING))) return EXIT_DONE;
  const pruned = await pruneAnyhow(paths, client);
  print(format, pruned, () => prunedText(pruned));
  return EXIT_DONE;
}

async function pruneAnyhow(paths: RuntimePaths, client: DaemonClient): Promise<Pruned> {
  try {
    return await client.post<Pruned>('/v1/system/prune', {});
  } catch (error) {
    if (!(error instanceof DaemonAbsent)) throw error;
    // A folder that somebody else is to make.
    if (!paths.own && !existsSync(paths.folder)) throw error;
    const pruned = await openIn(paths, () => pruneAbandoned(paths));
    // One that is just starting or ending.
    if (pruned === null) throw error;
    return pruned;
  }
}

/** As Docker prints it: what there was of each kind. */
export function prunedText({ containers, networks, sandboxes, files }: Pruned): string {
  const kinds: [string, readonly string[]][] = [
    ['Deleted Containers', containers],
    ['Deleted Networks', networks],
    ['Ended Sandboxes', sandboxes],
    ['Deleted Files', files],
  ];
  return kinds
    .filter(([, names]) => names.length > 0)
    .map(([title, names]) => `${title}:\n${names.map((name) => `${name}\n`).join('')}\n`)
    .join('');
}
