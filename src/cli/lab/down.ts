import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonClient } from '../../control/client.ts';
import { findFile, readProjectName } from '../../control/compose/read-project.ts';
import { DeckError, unavailable } from '../../control/error.ts';
import { DaemonLock, takeEnded } from '../../control/lock.ts';
import { type RuntimePaths, removeFolder } from '../../control/paths.ts';
import { endProcesses, isRunning, processesWith, sendSignal } from '../../control/process.ts';
import { DEFAULT_GRACE, SANDBOX_VARIABLE } from '../../control/sandbox.ts';
import { awaitEnd, reachDaemon } from '../embedded.ts';
import { EXIT_DONE, say } from '../output.ts';
import { isHeld, type LabPaths, type LabState, labPaths, readLab } from './lab-files.ts';
import type { LabFlags } from './up.ts';

/** Milliseconds for a supervisor to end what it holds: services have ten seconds each, one after the other. */
const PATIENCE = 120_000;

/** The name that is meant by a file, or was given. */
export function labName(file: string | undefined, { projectName }: LabFlags): string {
  return projectName ?? readProjectName(findFile(file));
}

/** Takes a lab down, also one whose supervisor was killed. One that is not there is no error. */
export async function down(
  paths: RuntimePaths,
  host: string | undefined,
  file: string | undefined,
  flags: LabFlags,
): Promise<number> {
  const name = labName(file, flags);
  const files = labPaths(paths, name);
  const lab = readLab(files);
  if (lab && isHeld(lab)) await endSupervisor(lab);
  await cleanUpAfter(paths, host, files, lab?.id);
  if (!lab) {
    say(`lab ${name} is not up`);
    return EXIT_DONE;
  }
  for (const { container, startedAt } of lab.services) if (startedAt) line('Container', container);
  for (const network of lab.networks) line('Network', network);
  return EXIT_DONE;
}

async function endSupervisor({ supervisor, project }: LabState): Promise<void> {
  sendSignal(supervisor, 'SIGTERM');
  for (let waited = 0; isRunning(supervisor); waited += 10) {
    if (waited > PATIENCE)
      throw unavailable(`the supervisor of lab ${project} (pid ${supervisor.pid}) does not end`);
    await sleep(10);
  }
}

/**
 * Removes what a supervisor left that has ended, by the lab's id if it has come to write one down; nothing when it has removed
 * everything itself, or when the files are those of another lab by this name, which may just be coming up.
 */
export async function cleanUpAfter(
  paths: RuntimePaths,
  host: string | undefined,
  files: LabPaths,
  id?: string,
): Promise<void> {
  const lock = await takeLockOf(files);
  if (!lock) return;
  try {
    const lab = readLab(files);
    if (lab && lab.id !== id) return;
    if (lab) await cleanUp(paths, host, lab);
    removeFolderOf(files, lock);
    removeRoot(paths, files);
  } finally {
    lock.release();
  }
}

/** Null when there is nothing to lock, or somebody else has begun to bring up a lab here. */
async function takeLockOf({ folder, lock: path }: LabPaths): Promise<DaemonLock | null> {
  if (!existsSync(folder)) return null;
  try {
    const lock = await takeEnded(path);
    return lock instanceof DaemonLock ? lock : null;
  } catch (error) {
    // Removed in between by who had it.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Removes what is left of a lab whose supervisor was killed. The kernel has ended the services with it, and the daemon what
 * they had left running; networks are left.
 */
async function cleanUp(
  paths: RuntimePaths,
  host: string | undefined,
  { id, project, networks, services, supervisor }: LabState,
): Promise<void> {
  say(`the supervisor of lab ${project} (pid ${supervisor.pid}) was killed; removing what it left`);
  await Promise.all(
    services.map(
      ({ sandbox }) => sandbox && endProcesses(() => processesWith(SANDBOX_VARIABLE, sandbox), DEFAULT_GRACE),
    ),
  );
  if (networks.length > 0 && (existsSync(paths.socket) || existsSync(paths.state))) {
    // By the lab's own id, which may still be a reason for the daemon to stay.
    const daemon = await reachDaemon(paths, host, id);
    for (const network of networks) await removeNetwork(daemon.client, network);
    const { ending } = await daemon.client.closeSandbox(id);
    if (ending) await awaitEnd(paths, daemon, id);
  }
}

/** The daemon may still be busy with the sandboxes in it. */
async function removeNetwork(client: DaemonClient, name: string): Promise<void> {
  for (let waited = 0; ; waited += 50) {
    try {
      await client.delete(`/v1/networks/${encodeURIComponent(name)}`);
      return;
    } catch (error) {
      if (!(error instanceof DeckError)) throw error;
      if (error.code === 'not-found') return;
      if (error.code !== 'conflict' || waited > 5000) throw error;
    }
    await sleep(50);
  }
}

/** Removes the folder of a lab that we hold; what somebody puts there once we have let go of it stays. */
export function removeFolderOf({ folder, lock: path }: LabPaths, lock: DaemonLock): void {
  // Whoever cleans up /tmp may have been here before.
  const files = existsSync(folder) ? readdirSync(folder) : [];
  for (const file of files) if (join(folder, file) !== path) rmSync(join(folder, file));
  lock.release();
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else has begun to use it, or has removed it.
  }
}

export function removeRoot(paths: RuntimePaths, { root }: LabPaths): void {
  try {
    rmdirSync(root);
  } catch {
    // Another lab is in it, or there was none.
  }
  removeFolder(paths);
}

function line(what: string, name: string): void {
  process.stderr.write(` ${what} ${name}  removed\n`);
}
