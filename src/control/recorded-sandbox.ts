import { NetnsHold } from './netns-hold.ts';
import { findProcess, hasVariable, type ProcessId } from './process.ts';
import { SANDBOX_VARIABLE } from './sandbox.ts';

/** A sandbox whose daemon was killed. */
export interface RecordedSandbox extends ProcessId {
  /** Value of `TAPDECK_SANDBOX` in its processes. */
  id: string;
  netns: string;
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

function candidates(sandbox: RecordedSandbox): ProcessId[] {
  const first = findProcess(sandbox.pid);
  const others = NetnsHold.processesIn(sandbox.netns);
  return first ? [first, ...others] : others;
}
