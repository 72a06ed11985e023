import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Of a process's flags (linux/sched.h). */
const PF_EXITING = 0x4;

/** A process as it can be recognised again: pids are reused, a pid with its start time is not. */
export interface ProcessId {
  pid: number;
  /** Clock ticks since boot (`starttime` of proc(5)). */
  startTime: number;
}

/** What tells this boot from all others: start times of another one mean nothing. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** The running process `pid`; undefined when there is none, and for a zombie, which runs no more. */
export function findProcess(pid: number): ProcessId | undefined {
  let fields: string[];
  try {
    fields = statFields(pid);
  } catch {
    return undefined;
  }
  const state = fields[0];
  if (state === 'Z' || state === 'X') return undefined;
  return { pid, startTime: Number(fields[19]) };
}

export function isRunning({ pid, startTime }: ProcessId): boolean {
  return findProcess(pid)?.startTime === startTime;
}

/** Whether a process has ended, or is about to, and cannot do anything any more: what it has open it may have still. */
export function isEnding(pid: number): boolean {
  try {
    return (Number(statFields(pid)[6]) & PF_EXITING) !== 0;
  } catch {
    return false;
  }
}

/** Whether the process was started with this environment variable at this value. */
export function hasVariable(pid: number, name: string, value: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${name}=${value}`);
  } catch {
    return false;
  }
}

/** Sends a signal; false when the process has gone, or is not ours to signal. */
export function sendSignal(target: ProcessId, name: NodeJS.Signals): boolean {
  if (!isRunning(target)) return false;
  try {
    return process.kill(target.pid, name);
  } catch {
    return false;
  }
}

/** The processes that were started with this environment variable at this value, and can be seen from here. */
export function processesWith(name: string, value: string): ProcessId[] {
  return readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry) || !hasVariable(Number(entry), name, value)) return [];
    return findProcess(Number(entry)) ?? [];
  });
}

/** Milliseconds after KILL before we stop waiting: it cannot be refused, only delayed by the kernel. */
const KILL_TIMEOUT = 5000;

/**
 * Ends all processes of a list: TERM, and KILL for those that are still there after the grace. Asks for the list again and
 * again, because processes make others while they end. Answers how many it told.
 * @param grace milliseconds
 */
export async function endProcesses(list: () => readonly ProcessId[], grace: number): Promise<number> {
  const told = new Set<number>();
  const deadline = performance.now() + grace;
  for (let wait = 5; ; wait = Math.min(100, wait * 2)) {
    const remaining = list();
    const now = performance.now();
    if (remaining.length === 0 || now > deadline + KILL_TIMEOUT) return told.size;
    for (const one of remaining) {
      if (now >= deadline) sendSignal(one, 'SIGKILL');
      else if (!told.has(one.pid)) sendSignal(one, 'SIGTERM');
      told.add(one.pid);
    }
    await sleep(wait);
  }
}

/**
 * Whether ctrl-C of a terminal reaches this process, and with it everything in its process group: it has a
 * controlling terminal, and its group is the one in the foreground.
 */
export function isInForeground(): boolean {
  const [, , group, , terminal, foreground] = statFields('self');
  return terminal !== '0' && group === foreground;
}

/** The fields of proc(5)'s `stat` from the third on: state, ppid, pgrp, session, tty_nr, tpgid, flags, … */
function statFields(pid: number | 'self'): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the command in parentheses and may contain anything; the third follows the last one.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
