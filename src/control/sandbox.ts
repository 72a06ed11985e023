import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Duplex, Readable } from 'node:stream';
import { DeckError, invalid, unavailable } from './error.ts';
import { NetnsHold, netnsOf } from './netns-hold.ts';
import { endProcesses, processesWith } from './process.ts';
import { type MountOptions, mountScript } from './sandbox-mounts.ts';

/** Environment variable that every process of a sandbox inherits; its value is the sandbox's id. */
export const SANDBOX_VARIABLE = 'TAPDECK_SANDBOX';

/** Milliseconds that processes have between TERM and KILL. */
export const DEFAULT_GRACE = 2000;

export function newSandboxId(): string {
  return randomBytes(16).toString('hex');
}

type Stdio = 'inherit' | 'ignore' | 'pipe';

export interface SandboxOptions extends MountOptions {
  /** Program and arguments. */
  command: readonly string[];
  /** stdin, stdout and stderr of it; inherited by default. */
  stdio?: readonly [Stdio, Stdio, Stdio];
  /** In which network namespace: one of its own by default, that of another sandbox's process, or the one that we are in. */
  network?: 'own' | 'host' | { pid: number };
  /** By default our own. */
  env?: NodeJS.ProcessEnv;
  /** 32 hexadecimal digits; random by default. */
  id?: string;
}

/** What is in the sandbox's own files; what the host's say where it is left out. */
export interface SandboxFiles {
  /** Of /etc/hosts: see `hostsText`. */
  hosts?: string;
  /** Of /etc/resolv.conf. */
  resolvConf?: string;
}

/** How the command of a sandbox ended. */
export interface SandboxEnd {
  /** As a shell gives it: the command's own, or 128 and the number of the signal that ended it. */
  exitCode: number;
  signal: NodeJS.Signals | null;
}

/**
 * Descriptor 3 is a socket to us, descriptor 4 what is to be the command's stderr: until the mounts are made, all
 * complaints go to descriptor 2, which is a pipe to us. `go` comes with the numbers of lines that are to be in
 * /etc/hosts and /etc/resolv.conf, and those lines.
 */
const SCRIPT = `exec 2>&4 4>&-; echo ready >&3
read -r go hosts resolv <&3 && [ "$go" = go ] || exit 125
copy() { n=$1; while [ $((n -= 1)) -ge 0 ]; do IFS= read -r line <&3 || exit 125; printf '%s\\n' "$line"; done; }
copy "$hosts" >&5; copy "$resolv" >&6
exec 3>&- 5>&- 6>&-; exec "$@"`;
const STDERR_LIMIT = 2000;

/**
 * A command in a network namespace of its own, and for ordinary users in a user namespace of its own in which
 * they are root. It waits until `go`, so that its interface is there before it looks for one.
 *
 * It sees the host's files, but for /etc/hosts, /etc/resolv.conf and /sys, which are about its network, and whatever the
 * options say. What is mounted on the host later it sees too, and what it mounts nobody else does.
 *
 * It does not outlive us: the kernel kills the command when we die. (`setpriv` comes after `unshare`, because
 * a change of credentials clears what it sets.)
 */
export class Sandbox {
  /** Value of `TAPDECK_SANDBOX` in it. */
  readonly id: string;
  /** The command's process, from the start on: each program replaces the one before it. */
  readonly pid: number;
  readonly process: ChildProcess;
  /** The command's stdout and stderr where they are pipes. */
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Settles when the command has ended; other processes of the sandbox may still run. */
  readonly ended: Promise<SandboxEnd>;
  /** null for a sandbox without a network namespace of its own. */
  readonly #hold: NetnsHold | null;
  /** Options of nsenter for its namespaces. */
  readonly #namespaces: readonly string[];

  /** Makes the namespaces and leaves the command waiting in them. Throws a `DeckError`. */
  static async start({
    command,
    stdio = ['inherit', 'inherit', 'inherit'],
    env,
    id = newSandboxId(),
    network = 'own',
    ...mounts
  }: SandboxOptions): Promise<Sandbox> {
    if (command.length === 0) throw invalid('no command to run; give one after --');
    const asUser = process.getuid?.() !== 0;
    const { hostname, cwd } = mounts;
    const namespaces = [
      ...(network === 'host' ? [] : ['--net']),
      ...['--mount', ...(hostname === undefined ? [] : ['--uts'])],
      ...(asUser ? ['--user'] : []),
    ];
    const unshare = [
      'unshare',
      ...namespaces,
      '--propagation',
      'slave',
      ...(asUser ? ['--map-root-user'] : []),
    ];
    // A network namespace is entered together with the user namespace that it belongs to; all else is new there.
    const entered = ['--net', '--user'].filter((flag) => namespaces.includes(flag));
    const join = (pid: number) => [
      ...enter(pid, entered),
      ...['unshare', ...namespaces.filter((flag) => !entered.includes(flag)), '--propagation', 'slave'],
    ];
    const [program, ...options] = typeof network === 'object' ? join(network.pid) : unshare;
    const script = `${mountScript(mounts)}\n${SCRIPT}`;
    const shell = ['setpriv', '--pdeathsig', 'KILL', '--', '/bin/sh', '-c', script, 'tapdeck', ...command];
    const child = spawn(program!, [...options, '--', ...shell], {
      stdio: [
        stdio[0],
        stdio[1] === 'inherit' ? 1 : stdio[1],
        'pipe',
        'pipe',
        stdio[2] === 'inherit' ? 2 : stdio[2],
      ],
      env: { ...(env ?? process.env), [SANDBOX_VARIABLE]: id },
      ...(cwd !== undefined && { cwd }),
    } satisfies SpawnOptions);
    await untilReady(child, asUser);
    try {
      return new Sandbox(id, child, network === 'own' ? new NetnsHold(child.pid!) : null, namespaces);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  private constructor(
    id: string,
    child: ChildProcess,
    hold: NetnsHold | null,
    namespaces: readonly string[],
  ) {
    this.id = id;
    this.pid = child.pid!;
    this.process = child;
    this.stdout = child.stdout;
    this.stderr = (child.stdio[4] as Readable | null | undefined) ?? null;
    this.#hold = hold;
    this.#namespaces = namespaces;
    this.ended = once(child, 'exit').then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
      const name = signal as NodeJS.Signals | null;
      return { exitCode: name ? 128 + constants.signals[name] : (code as number), signal: name };
    });
  }

  /** Identity of the network namespace: `net:[4026532180]`. */
  get netns(): string {
    return this.#hold?.netns ?? netnsOf(this.pid) ?? '';
  }

  /** Lets the command begin. */
  go({ hosts = hostFile('/etc/hosts'), resolvConf = hostFile('/etc/resolv.conf') }: SandboxFiles = {}): void {
    const socket = this.process.stdio[3] as Duplex;
    const files = [hosts, resolvConf].map((text) => text.replace(/\n$/, '').split('\n'));
    socket.end(`go ${files.map(({ length }) => length).join(' ')}\n${files.flat().join('\n')}\n`);
    // All that is left in it is the end of the shell's side.
    socket.resume();
  }

  /** Runs another command in the same namespaces; it ends with the sandbox. */
  exec(command: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [program, ...into] = enter(this.pid, this.#namespaces);
    return spawn(program!, [...into, ...command], options);
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /**
   * Ends whatever runs in the sandbox, the command and what it left behind, and gives the namespaces back.
   * @param grace milliseconds between TERM and KILL
   */
  async close(grace = DEFAULT_GRACE): Promise<void> {
    // A command that still waits for `go` ends with its socket.
    this.process.stdio[3]?.destroy();
    if (!this.#hold) await endProcesses(() => processesWith(SANDBOX_VARIABLE, this.id), grace);
    await this.#hold?.endProcesses(grace);
    this.#hold?.release();
  }
}

/** The words that come before a command that is to run in these namespaces of a process. */
export function enter(pid: number, namespaces: readonly string[]): string[] {
  const credentials = namespaces.includes('--user') ? ['--preserve-credentials'] : [];
  return ['nsenter', '--target', `${pid}`, ...namespaces, ...credentials, '--'];
}

/** What a file of the host says; nothing when there is none. */
function hostFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Waits for the shell's "ready", by which it is in its namespaces. */
async function untilReady(child: ChildProcess, asUser: boolean): Promise<void> {
  const socket = child.stdio[3] as Duplex;
  let complaint = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, STDERR_LIMIT);
  });
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'ENOENT'
          ? unavailable('there is no "unshare" to make namespaces with; install util-linux')
          : unavailable(`cannot start "unshare": ${error.message}`),
      );
    });
    // Not `exit`: what it wrote to stderr may still be on its way.
    child.once('close', () => reject(explain(complaint, asUser)));
  });
  // Unheard once the sandbox is ready.
  failed.catch(() => {});
  socket.on('error', () => {});
  await Promise.race([once(socket, 'data'), failed]);
}

function explain(complaint: string, asUser: boolean): DeckError {
  const why = complaint.trim().replace(/\s*\n\s*/g, ' | ') || 'no reason given';
  if (/setpriv/.test(why)) {
    return unavailable(`cannot run a command in a sandbox: ${why}; install util-linux 2.33 or newer`);
  }
  if (/mount: not found/.test(why)) {
    return unavailable('there is no "mount" to give a sandbox its own files with; install it');
  }
  if (/^(u?mount|mkdir|sh|tapdeck): /.test(why)) {
    return new DeckError(
      'permission',
      `cannot mount what a sandbox sees of its own: ${why}; run tapdeck outside of any container, or as root`,
    );
  }
  const remedy = asUser
    ? 'allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run as root'
    : 'it takes CAP_SYS_ADMIN: run tapdeck as root outside of any container';
  return new DeckError('permission', `cannot make a network namespace: ${why}; ${remedy}`);
}
