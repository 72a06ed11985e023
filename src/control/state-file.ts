import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { NetnsHold } from './netns-hold.ts';
import { bootId, findProcess, hasVariable, type ProcessId } from './process.ts';
import { SANDBOX_VARIABLE } from './sandbox.ts';

/** A sandbox as the next daemon needs to know it if this one cannot end it. */
export interface RecordedSandbox extends ProcessId {
  /** Name of the endpoint. */
  name: string;
  /** Value of `TAPDECK_SANDBOX` in its processes. */
  id: string;
  netns: string;
}

interface State {
  /** Pids and start times of another boot mean nothing. */
  boot: string;
  sandboxes: RecordedSandbox[];
}

/** The sandboxes of the running daemon, on disk: read only by a daemon that finds that its predecessor was killed. */
export class StateFile {
  readonly #path: string;
  readonly #boot = bootId();
  readonly #sandboxes = new Map<string, RecordedSandbox>();

  constructor(path: string) {
    this.#path = path;
  }

  /** What the last daemon left; nothing when there is no file, when it makes no sense, and from another boot. */
  read(): RecordedSandbox[] {
    try {
      const { boot, sandboxes } = JSON.parse(readFileSync(this.#path, 'utf8')) as State;
      return boot === this.#boot ? sandboxes.filter(isRecordedSandbox) : [];
    } catch {
      return [];
    }
  }

  add(sandbox: RecordedSandbox): void {
    this.#sandboxes.set(sandbox.id, sandbox);
    this.#write();
  }

  delete(id: string): void {
    if (this.#sandboxes.delete(id)) this.#write();
  }

  remove(): void {
    rmSync(this.#path, { force: true });
  }

  #write(): void {
    // Replaced as a whole: a reader never sees a part of it.
    const next = `${this.#path}.next`;
    const state: State = { boot: this.#boot, sandboxes: Array.from(this.#sandboxes.values()) };
    writeFileSync(next, JSON.stringify(state), { mode: 0o600 });
    renameSync(next, this.#path);
  }
}

/**
 * Ends what is left of a sandbox whose daemon was killed; answers the number of processes. The number of a
 * namespace alone proves nothing, it may be another's by now: a process in it must carry the sandbox's mark,
 * or be the very process that was recorded.
 * @param grace milliseconds between TERM and KILL
 */
export async function endRecorded(sandbox: RecordedSandbox, grace: number): Promise<number> {
  for (const { pid, startTime } of candidates(sandbox)) {
    const recorded = pid === sandbox.pid && startTime === sandbox.startTime;
    if (!recorded && !hasVariable(pid, SANDBOX_VARIABLE, sandbox.id)) continue;
    let hold: NetnsHold;
    try {
      hold = new NetnsHold(pid);
    } catch {
      continue;
    }
    try {
      if (hold.netns === sandbox.netns) return await hold.endProcesses(grace);
    } finally {
      hold.release();
    }
  }
  return 0;
}

function isRecordedSandbox(entry: unknown): entry is RecordedSandbox {
  const { name, id, netns, pid, startTime } = Object(entry) as Partial<
    Record<keyof RecordedSandbox, unknown>
  >;
  const texts = [name, id, netns].every((text) => typeof text === 'string' && text !== '');
  return texts && Number.isInteger(pid) && Number(pid) > 0 && typeof startTime === 'number';
}

function candidates(sandbox: RecordedSandbox): ProcessId[] {
  const first = findProcess(sandbox.pid);
  const others = NetnsHold.processesIn(sandbox.netns);
  return first ? [first, ...others] : others;
}
