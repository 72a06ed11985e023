import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';

/** Network namespaces of one test, with names that no other run has, and everything that runs in them. */
export class Sandboxes {
  readonly #names: string[] = [];

  /** Makes a namespace; its path is `/run/netns/NAME`. */
  add(hint: string): string {
    const name = `td-${hint}-${randomBytes(3).toString('hex')}`;
    execFileSync('ip', ['netns', 'add', name]);
    this.#names.push(name);
    return name;
  }

  /** Gives a namespace an interface of somebody else's (a veth with its peer `IFNAMEp`, both down). */
  addLink(name: string, ifname: string): void {
    execFileSync('ip', ['-n', name, 'link', 'add', ifname, 'type', 'veth', 'peer', 'name', `${ifname}p`]);
  }

  remove(name: string): void {
    execFileSync('ip', ['netns', 'del', name]);
    this.#names.splice(this.#names.indexOf(name), 1);
  }

  /** For afterEach: also when the test failed half-way. */
  removeAll(): void {
    for (const name of this.#names.splice(0)) {
      for (const pid of execFileSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).split('\n')) {
        if (pid !== '') end(Number(pid));
      }
      execFileSync('ip', ['netns', 'del', name]);
    }
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It has ended since it was listed.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function netnsPath(name: string): string {
  return `/run/netns/${name}`;
}

/** `ip -j …` in a namespace, parsed. */
// biome-ignore lint/suspicious/noExplicitAny: iproute2's JSON, read field by field in tests
export function ip(name: string, ...args: string[]): any {
  return JSON.parse(execFileSync('ip', ['-n', name, '-j', ...args], { encoding: 'utf8' }) || '[]');
}

export interface Outcome {
  code: number | null;
  output: string;
}

/** Runs a command to its end, with stdout and stderr together. */
export function run(command: string, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 50_000 });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** Runs a command in a namespace. */
export function runIn(name: string, ...command: string[]): Promise<Outcome> {
  return run('ip', 'netns', 'exec', name, ...command);
}

/**
 * Asks so many times, each by a `ping` of its own, and throws where one is not answered. A `ping` that asks several times
 * gives up the last answer after two round trips, however short those were. The first asks alone: where a neighbor is still
 * looked for, few packets wait for it (`unres_qlen_bytes`).
 */
export async function pings(name: string, count: number, ...args: string[]): Promise<void> {
  const ask = async () => {
    const { code, output } = await runIn(name, 'ping', '-c', '1', '-W', '30', ...args);
    if (code !== 0 || !output.includes(' 0% packet loss')) throw new Error(output);
  };
  await ask();
  await Promise.all(Array.from({ length: count - 1 }, ask));
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
