import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Project } from '../../control/compose/project.ts';
import { cannotWrite, DeckError } from '../../control/error.ts';
import type { RuntimePaths } from '../../control/paths.ts';
import { bootId, isRunning, type ProcessId } from '../../control/process.ts';
import type { PublishedPort } from '../../control/published.ts';

/** Where a lab keeps its files: beside the daemon's socket, for as long as it is up. */
export interface LabPaths {
  /** Of all labs of this daemon. */
  root: string;
  folder: string;
  /** Held by the living supervisor. */
  lock: string;
  state: string;
  /** What the supervisor has to say. */
  supervisorLog: string;
}

export function labPaths({ socket }: RuntimePaths, project: string): LabPaths {
  const root = `${socket.replace(/\.sock$/, '')}.labs`;
  const folder = join(root, project);
  return {
    root,
    folder,
    lock: join(folder, 'lock'),
    state: join(folder, 'lab.json'),
    supervisorLog: join(folder, 'supervisor'),
  };
}

/** Makes the folder of a lab's files. Throws a `DeckError` where that is not ours to do. */
export function makeLabFolder({ folder }: Pick<LabPaths, 'folder'>): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new DeckError(
      'permission',
      `cannot keep the lab's files beside the daemon's socket, in ${folder} (${(error as NodeJS.ErrnoException).code}); bring it up as the user of that daemon, or without --host and TAPDECK_HOST at one of your own`,
    );
  }
}

/** What a service has written, one line each: RFC 3339, `stdout` or `stderr`, text. */
export function logPath({ folder }: LabPaths, service: string): string {
  return join(folder, `${service}.log`);
}

/** One service as people and programs see it. */
export interface ServiceState {
  service: string;
  /** Name of the container. */
  container: string;
  /** `created` until it begins, for example because it waits for another one. */
  state: 'created' | 'running' | 'restarting' | 'exited';
  /** null without a healthcheck. */
  health: 'starting' | 'healthy' | 'unhealthy' | null;
  /** Of the last time that it ended; null when it never did. */
  exitCode: number | null;
  pid: number | null;
  /** Value of `TAPDECK_SANDBOX` in its processes; null when it has none. */
  sandbox: string | null;
  /** RFC 3339. */
  startedAt: string | null;
  endedAt: string | null;
  restarts: number;
  networks: { name: string; ipv4: string | null; ipv6: string | null }[];
  ports: readonly PublishedPort[];
}

/** A lab as its supervisor last wrote it down. */
export interface LabState {
  project: string;
  file: string;
  /** Of the project as it was read: whether another file is the same lab. */
  digest: string;
  /** By which the daemon knows it: a reason to stay, as sandboxes are. */
  id: string;
  state: 'starting' | 'up' | 'ending';
  supervisor: ProcessId;
  /** Process ids of another boot mean nothing. */
  boot: string;
  /** Those that it has made. */
  networks: string[];
  services: ServiceState[];
}

/** What was written down; undefined when there is nothing, or nothing that makes sense. */
export function readLab({ state }: LabPaths): LabState | undefined {
  try {
    const read = JSON.parse(readFileSync(state, 'utf8')) as Partial<LabState> | null;
    const makesSense = Array.isArray(read?.services) && Array.isArray(read.networks) && read.supervisor;
    return makesSense ? (read as LabState) : undefined;
  } catch {
    return undefined;
  }
}

/** Throws a `DeckError`. */
export function writeLab({ state }: LabPaths, lab: LabState): void {
  const next = `${state}.next`;
  try {
    // Replaced as a whole: a reader never sees a part of it.
    writeFileSync(next, JSON.stringify(lab), { mode: 0o600 });
    renameSync(next, state);
  } catch (error) {
    rmSync(next, { force: true });
    throw cannotWrite(state, error);
  }
}

/** Whether somebody looks after the lab. */
export function isHeld({ boot, supervisor }: LabState): boolean {
  return boot === bootId() && isRunning(supervisor);
}

export function digestOf({ warnings: _, networks, ...project }: Project): string {
  // The same lab, also when a comment has moved its lines.
  const unplaced = networks.map(({ place: _, ...network }) => network);
  return createHash('sha256')
    .update(JSON.stringify({ ...project, networks: unplaced }))
    .digest('hex');
}
