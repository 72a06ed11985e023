import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { VersionInfo } from '../../control/api-schema.ts';
import { DaemonAbsent, DaemonClient } from '../../control/client.ts';
import { DeckError } from '../../control/error.ts';
import type { NetworkInfo } from '../../control/network.ts';
import type { RuntimePaths } from '../../control/paths.ts';
import { findProcess } from '../../control/process.ts';
import { packageVersion } from '../../control/version.ts';
import { type Finding, type Host, ok } from './finding.ts';

/** What there is of decks: the daemon, and what others have left. */

export interface DaemonFindings {
  findings: Finding[];
  /** Of the daemon; null without one. */
  networks: readonly NetworkInfo[] | null;
}

/** Milliseconds for an answer of the daemon: one that is stopped gives none. */
const PATIENCE = 10_000;

export async function checkDaemon(paths: RuntimePaths, patience = PATIENCE): Promise<DaemonFindings> {
  const check = 'daemon';
  const client = new DaemonClient(paths.socket, patience);
  let version: VersionInfo;
  let networks: NetworkInfo[];
  try {
    version = await client.version();
    networks = await client.get<NetworkInfo[]>('/v1/networks');
  } catch (error) {
    if (error instanceof DaemonAbsent) {
      return {
        findings: [
          ok(check, `none runs at ${paths.socket}; \`tapdeck run\` starts its own`),
          ...leftovers(paths),
        ],
        networks: null,
      };
    }
    if (!(error instanceof DeckError)) throw error;
    const found: Finding = {
      check,
      level: 'problem',
      found: error.message,
      means: 'no command reaches the daemon',
      todo:
        error.code === 'permission'
          ? 'start it with --group NAME and be of that group, or be its user'
          : 'see its log, and start it again',
    };
    return { findings: [found], networks: null };
  }
  const running = `pid ${version.pid} at ${paths.socket}, with ${version.uplinks[0] ?? 'no uplink'}`;
  if (version.version === packageVersion()) return { findings: [ok(check, running)], networks };
  const older: Finding = {
    check,
    level: 'warning',
    found: `${running}, is tapdeck ${version.version}, and this is ${packageVersion()}`,
    means: 'commands of one may not be understood by the other',
    todo: 'start the daemon again: its containers and their connections survive it',
  };
  return { findings: [older], networks };
}

/** What a daemon has left that was killed; the next one cleans it up. */
function leftovers(paths: RuntimePaths): Finding[] {
  const check = 'leftovers';
  const pid = lockedBy(paths.lock);
  const files = [paths.lock, paths.socket, paths.recovery].filter((path) => existsSync(path));
  // One that is just starting or ending, or a socket that systemd listens at.
  const isAlive = pid !== 0 && findProcess(pid) !== undefined;
  if (pid === 0 || isAlive) return [ok(check, 'no daemon was killed')];
  return [
    {
      check,
      level: 'warning',
      found: `a daemon (pid ${pid}) was killed, and has left ${files.join(', ')}`,
      means: 'processes of its sandboxes may still run, without a network',
      todo: 'tapdeck system prune removes all of it; the next daemon takes it over',
    },
  ];
}

function lockedBy(lock: string): number {
  try {
    return Number.parseInt(readFileSync(lock, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}

/** Where a daemon of ours would listen and keep its state. */
export function checkFolders(paths: RuntimePaths, { root, env }: Host): Finding {
  const check = 'folders';
  for (const folder of [paths.folder, dirname(paths.state)]) {
    const owner = ownerOf(folder);
    if (owner === undefined || owner === process.getuid!() || root) continue;
    return {
      check,
      level: 'problem',
      found:
        owner === null ? `${folder} is in a folder of another user` : `${folder} belongs to another user`,
      means: 'a daemon of yours has no place for its socket and state',
      todo: `chown it, remove it, or choose another place: --host unix:///PATH`,
    };
  }
  const fixed = [paths.folder, dirname(paths.state)].find(isReadOnly);
  if (fixed !== undefined) {
    return {
      check,
      level: fixed === paths.folder ? 'problem' : 'warning',
      found: `${fixed} is on a file system that is mounted read-only`,
      means:
        fixed === paths.folder
          ? 'a daemon has no place for its socket'
          : 'what a daemon has made is lost when it ends',
      todo: 'mount it for writing, or choose another place: --host unix:///PATH',
    };
  }
  if (!root && paths.own && !env['XDG_RUNTIME_DIR'] && !paths.folder.startsWith('/run/')) {
    return {
      check,
      level: 'note',
      found: `XDG_RUNTIME_DIR is not set, so the daemon's socket is in ${paths.folder}`,
      means:
        'programs that have it set look for a daemon elsewhere: they and this one do not find each other',
      todo: 'log in by PAM (su -l, ssh, machinectl shell) with systemd-logind or elogind, or set TAPDECK_HOST',
    };
  }
  return ok(check, `${paths.folder}, ${dirname(paths.state)}`);
}

/** Of a folder, or of that in which it would be made. */
function isReadOnly(folder: string): boolean {
  let there = folder;
  while (!existsSync(there)) there = dirname(there);
  try {
    accessSync(there, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}

/** Undefined where there is nothing, null where it lies in a folder that is not for us, as in what `su` leaves of XDG_RUNTIME_DIR. */
function ownerOf(path: string): number | null | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.uid;
  } catch {
    return null;
  }
}
