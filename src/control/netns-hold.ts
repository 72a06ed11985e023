import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { DeckError, unavailable } from './error.ts';
import { endProcesses, findProcess, type ProcessId } from './process.ts';

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
      if ((error as NodeJS.ErrnoException).code === 'EACCES' && isInUserNamespace()) {
        throw new DeckError(
          'permission',
          `process ${pid} lies outside of the user namespace in which this daemon was started, as by Podman; stop its containers, start "tapdeck daemon", and then them again`,
        );
      }
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
   * Ends all processes in it, as `endProcesses` does.
   * @param grace milliseconds between TERM and KILL
   */
  endProcesses(grace: number): Promise<number> {
    return endProcesses(() => (this.#fd < 0 ? [] : NetnsHold.processesIn(this.netns)), grace);
  }

  /** Lets go. May be called again. */
  release(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/** Whether our users are not those of the machine (user_namespaces(7)). */
function isInUserNamespace(): boolean {
  const [inside, outside, count] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/).map(Number);
  return inside !== 0 || outside !== 0 || count !== 2 ** 32 - 1;
}

/** Identity of the network namespace that a process is in; undefined when it is out of reach. */
export function netnsOf(pid: number | 'self'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
