import { accessSync, constants, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Deck } from './deck.ts';
import { DaemonLock } from './lock.ts';
import { identifyNamespace } from './namespace.ts';
import { type RuntimePaths, removeFolder } from './paths.ts';
import { bootId } from './process.ts';
import { endRecorded } from './recorded-sandbox.ts';
import { lives } from './restore.ts';
import { DEFAULT_GRACE } from './sandbox.ts';
import type { SavedState } from './saved-state.ts';
import { StateFile } from './state-file.ts';

/** What `tapdeck system prune` has removed. */
export interface Pruned {
  /** Names of networks that nobody was in. */
  networks: string[];
  /** Names of containers that were in no network, or whose namespaces are gone. */
  containers: string[];
  /** Names of sandboxes of which processes were left. */
  sandboxes: string[];
  /** Paths. */
  files: string[];
}

/** Removes from a deck what nobody uses, and the files that daemons have set aside. */
export async function pruneDeck(deck: Deck, paths: RuntimePaths): Promise<Pruned> {
  const containers: string[] = [];
  for (const { id } of deck.containers()) {
    // Somebody may have connected it, or taken it away, while others went.
    const unused = deck.containers().find((one) => one.id === id && one.endpoints.length === 0);
    if (!unused) continue;
    await deck.detach(id);
    containers.push(unused.name);
  }
  const networks = (await deck.pruneNetworks()).map(({ name }) => name);
  return { networks, containers, sandboxes: [], files: removeAll(damagedFiles(paths.state)) };
}

/**
 * Removes what a daemon has left that was killed, when no other one has come since: processes of its sandboxes, its socket,
 * lock and log, and from its state what is dead or was used by nobody. Answers null when a daemon is there, which has to do it.
 */
export async function pruneAbandoned(paths: RuntimePaths): Promise<Pruned | null> {
  const lock = takeIfFree(paths.lock);
  if (lock === null) return null;
  let stateLock: DaemonLock | null = null;
  try {
    if (hasStateLock(paths)) {
      stateLock = takeIfFree(`${paths.state}.lock`);
      // A daemon at another socket has the state.
      if (stateLock === null) return null;
    }
    return await pruneFiles(paths, lock.predecessor !== 0);
  } finally {
    stateLock?.release();
    lock.release();
    removeFolder(paths);
  }
}

/** @param killed whether a daemon has left its lock */
async function pruneFiles(paths: RuntimePaths, killed: boolean): Promise<Pruned> {
  const pruned: Pruned = { networks: [], containers: [], sandboxes: [], files: [] };
  // Not what is found to be damaged only now: nobody has seen that.
  const damaged = [paths.state, paths.recovery].flatMap(damagedFiles);
  if (killed) pruned.files.push(...removeAll([paths.socket, paths.log]));
  const recovery = new StateFile(paths.recovery);
  const [state, embedded] = [await new StateFile(paths.state).read(), await recovery.read()];
  for (const one of [state, embedded]) await endSandboxes(one, pruned);
  if (embedded) pruned.files.push(...removeAll([recovery.path]));
  if (state) await keepUsed(state, new StateFile(paths.state), pruned);
  pruned.files.push(...removeAll([...damaged, `${paths.state}.next`, `${paths.recovery}.next`]));
  return pruned;
}

function takeIfFree(path: string): DaemonLock | null {
  const lock = DaemonLock.take(path);
  return lock instanceof DaemonLock ? lock : null;
}

/**
 * Whether the state has a lock of its own: where it is not beside the socket. No folder, no daemon: nothing is made to find
 * that out.
 */
function hasStateLock({ state, folder }: RuntimePaths): boolean {
  const place = dirname(state);
  if (place === folder) return false;
  try {
    accessSync(place, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function endSandboxes(state: SavedState | null, pruned: Pruned): Promise<void> {
  if (state?.boot !== bootId()) return;
  for (const sandbox of state.sandboxes) {
    if ((await endRecorded(sandbox, DEFAULT_GRACE)) > 0) pruned.sandboxes.push(sandbox.name);
  }
}

async function keepUsed(state: SavedState, file: StateFile, pruned: Pruned): Promise<void> {
  const isLive = (container: SavedState['containers'][number]) =>
    state.boot === bootId() && lives(container, identifyNamespace);
  const containers = state.containers.filter((one) => isLive(one) && one.endpoints.length > 0);
  const used = new Set(containers.flatMap(({ endpoints }) => endpoints.map(({ network }) => network)));
  const networks = state.networks.filter(
    ({ options }) => used.has(options.name) || options.name === 'bridge',
  );
  pruned.containers.push(
    ...state.containers.filter((one) => !containers.includes(one)).map(({ name }) => name),
  );
  pruned.networks.push(
    ...state.networks.filter((one) => !networks.includes(one)).map(({ options }) => options.name),
  );
  if (containers.length > 0 || networks.length > 1 || state.rules.length > 0) {
    await file.write({ ...state, boot: bootId(), networks, containers, sandboxes: [] });
  } else file.remove();
}

/** Damaged states that were kept. */
function damagedFiles(path: string): string[] {
  const name = basename(path);
  try {
    return readdirSync(dirname(path))
      .filter((file) => file.startsWith(`${name}.damaged-`))
      .map((file) => join(dirname(path), file));
  } catch {
    return [];
  }
}

/** Answers those that were there. */
function removeAll(paths: readonly string[]): string[] {
  return paths.filter((path) => {
    try {
      rmSync(path);
      return true;
    } catch {
      return false;
    }
  });
}
