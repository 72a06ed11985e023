import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { unavailable } from './error.ts';
import { findProcess, type ProcessId, sendSignal } from './process.ts';

/** Milliseconds after KILL before we stop waiting: it cannot be refused, only delayed by the kernel. */
const KILL_TIMEOUT = 5000;

/**
 * A network namespace kept by an open descriptor. The kernel gives the number of a namespace that has ended to
 * the next one that is made; only while it is held is "the processes with this number" a safe thing to end.
 */
export class NetnsHold {
  /** As links in /proc show it: `net:[4026532180]`. */
  readonly netns: string;
  #fd: number;

  /** Holds the namespace that a process is in. Throws a `DeckError` when there is none, or it is our own. */
  constructor(pid: number) {
    try {
      this.#fd = openSync(`/proc/${pid}/ns/net`, 'r');
    } catch (error) {
      throw unavailable(`cannot hold the network namespace of process ${pid}: ${(error as Error).message}`);
    }
    this.netns = readlinkSync(`/proc/self/fd/${this.#fd}`);
    if (this.netns === netnsOf('self')) {
      this.release();
      throw unavailable(`process ${pid} is in the network namespace that tapdeck itself runs in`);
    }
  }

  /** The processes that are now in the namespace of this number and can be seen from here. */
  static processesIn(netns: string): ProcessId[] {
    const found: ProcessId[] = [];
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      const pid = Number(entry);
      if (netnsOf(pid) !== netns) continue;
      const running = findProcess(pid);
      if (running) found.push(running);
    }
    return found;
  }

  /**
   * Ends all processes in it: TERM, and KILL for those that are still there after the grace. Asks for the list
   * again and again, because processes make others while they end. Answers how many it told.
   * @param grace milliseconds
   */
  async endProcesses(grace: number): Promise<number> {
    const told = new Set<number>();
    const deadline = performance.now() + grace;
    for (let wait = 5; ; wait = Math.min(100, wait * 2)) {
      const remaining = this.#fd < 0 ? [] : NetnsHold.processesIn(this.netns);
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

  /** Lets go. May be called again. */
  release(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Identity of the network namespace that a process is in; undefined when it is out of reach. */
export function netnsOf(pid: number | 'self'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
