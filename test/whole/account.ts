import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { endProcesses, findProcess, type ProcessId } from '../../src/control/process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Milliseconds for what must come, not counting those in which nobody looks: less than a test has as a whole. */
export const PATIENCE = 40_000;

export interface Outcome {
  /** As a shell gives it. */
  code: number;
  out: string;
  err: string;
}

/** A program that runs. */
export class Running {
  out = '';
  err = '';
  readonly child: ChildProcess;
  readonly ended: Promise<Outcome>;
  #over = false;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#over = true;
        resolve({ code: code ?? (signal === 'SIGKILL' ? 137 : 128), out: this.out, err: this.err });
      });
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Waits until it has said something; throws when it ends without. */
  async said(text: string | RegExp): Promise<void> {
    const has = () =>
      typeof text === 'string' ? `${this.out}${this.err}`.includes(text) : text.test(this.out + this.err);
    while (!has()) {
      if (this.#over) throw new Error(`ended without saying ${text}:\n${this.out}${this.err}`);
      await sleep(10);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

/**
 * Somebody who uses tapdeck: root, or an ordinary user with an account made for the test. Everything that is
 * started carries a mark in its environment, by which what is left over can be found.
 */
export class Account {
  readonly name: string;
  /** A folder of the account's own, emptied and removed with it. */
  readonly folder: string;
  /** Where the daemon's files are. */
  readonly runtime: string;
  /** The file of what a daemon is to have again. */
  readonly state: string;
  readonly #mark = randomBytes(8).toString('hex');
  readonly #ids: string[] | undefined;
  readonly #program: string;
  readonly #netns: string | undefined;
  readonly #resolvConf: string | undefined;

  /** @param netns a network namespace that is the host to everything that is started; this machine's when left out */
  static root(netns?: string): Account {
    return new Account('root', netns);
  }

  static user(netns?: string): Account {
    return new Account(newUser(), netns);
  }

  /**
   * A user of container engines, who sees cgroups, which `ip netns exec` hides.
   * @param resolvConf what the host's /etc/resolv.conf says to everything that is started
   */
  static engineUser(netns: string, resolvConf: string): Account {
    return new Account(newUser(), netns, resolvConf);
  }

  private constructor(name: string, netns: string | undefined, resolvConf?: string) {
    checkBuilt();
    this.name = name;
    this.#netns = netns;
    this.folder = mkdtempSync(join(tmpdir(), 'td-'));
    if (resolvConf !== undefined) {
      this.#resolvConf = join(this.folder, 'resolv.conf');
      writeFileSync(this.#resolvConf, resolvConf);
    }
    if (name === 'root') {
      this.#program = root;
      this.runtime = join(this.folder, 'run');
      this.state = join(this.runtime, 'tapdeck.state.json');
      mkdirSync(this.runtime);
      return;
    }
    this.#ids = ['-u', '-g'].map((flag) => execFileSync('id', [flag, name], { encoding: 'utf8' }).trim());
    chownSync(this.folder, Number(this.#ids[0]), Number(this.#ids[1]));
    // The checkout may lie where others cannot go: it is mounted here for the account's programs alone.
    this.#program = join(this.folder, 'program');
    mkdirSync(this.#program);
    chmodSync(this.folder, 0o755);
    this.runtime = join(this.folder, 'tapdeck');
    this.state = join(this.folder, '.local/state/tapdeck/state.json');
  }

  /** Starts a program of any kind. `tun`: mode of /dev/net/tun for it, 0666 as udev makes it; '' for none. */
  spawn(command: readonly string[], { tun = '666' }: { tun?: string } = {}): Running {
    const env = { ...process.env, TAPDECK_TEST: this.#mark, NO_COLOR: '1' };
    const host = this.#netns === undefined ? [] : enter(this.#netns, this.#resolvConf !== undefined);
    const words = [...host, ...this.#prefix(tun), ...command];
    return new Running(
      spawn(words[0]!, words.slice(1), { env, cwd: this.folder, stdio: ['pipe', 'pipe', 'pipe'] }),
    );
  }

  start(...args: string[]): Running {
    return this.spawn([process.execPath, join(this.#program, 'dist/src/main.js'), ...args]);
  }

  /** Runs `tapdeck ARGS` to its end. */
  tapdeck(...args: string[]): Promise<Outcome> {
    return this.start(...args).ended;
  }

  /** As `tapdeck`, with /dev/net/tun of another mode, or without it. */
  tapdeckWithTun(tun: string, ...args: string[]): Promise<Outcome> {
    return this.spawn([process.execPath, join(this.#program, 'dist/src/main.js'), ...args], { tun }).ended;
  }

  /** Runs `tapdeck ARGS` that must succeed, and answers what it printed. */
  async ok(...args: string[]): Promise<string> {
    const { code, out, err } = await this.tapdeck(...args);
    if (code !== 0) throw new Error(`tapdeck ${args.join(' ')} ended with ${code}: ${err}`);
    return out;
  }

  /** The names of all containers, a line for each. */
  async names(): Promise<string> {
    const containers: { name: string }[] = JSON.parse(await this.ok('ps', '--format', 'json'));
    return containers.map(({ name }) => `${name}\n`).join('');
  }

  /** Starts a daemon and waits until it is ready. Without an uplink of its own it has none: nothing gets onto a real network. */
  async daemon(...args: string[]): Promise<Running> {
    const uplink = args.includes('--uplink') ? [] : ['--uplink', 'none'];
    const daemon = this.start('daemon', ...uplink, ...args);
    await daemon.said('daemon ready');
    return daemon;
  }

  /** Path of the program's folder as the account sees it. */
  get program(): string {
    return this.#program;
  }

  /** Pids of everything that was started by this account's programs and still runs. */
  processes(): number[] {
    return processIds().filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`TAPDECK_TEST=${this.#mark}`);
      } catch {
        return false;
      }
    });
  }

  /** What is left of the deck: processes and files, but for the state that the next daemon goes on with. */
  leftovers(): string[] {
    const processes = this.processes().flatMap((pid) => {
      try {
        return `process ${pid}: ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
      } catch {
        // It has ended since it was found.
        return [];
      }
    });
    const files = filesIn(this.runtime);
    return [...processes, ...files.filter((file) => file !== basename(this.state))];
  }

  /** Waits until nothing is left; answers what is there after some seconds in vain. */
  async untilNothingIsLeft(): Promise<string[]> {
    for (let waited = 0; waited < PATIENCE && this.leftovers().length > 0; waited += 20) await sleep(20);
    return this.leftovers();
  }

  /** Ends what still runs, for afterEach: also when the test failed half-way. */
  async end(): Promise<void> {
    await endProcesses(() => this.processes().flatMap((pid) => findProcess(pid) ?? []), 0);
    for (const file of existsSync(this.runtime) ? readdirSync(this.runtime) : []) {
      rmSync(join(this.runtime, file), { recursive: true, force: true });
    }
    rmSync(join(this.folder, '.local'), { recursive: true, force: true });
  }

  async remove(): Promise<void> {
    try {
      await this.end();
      rmSync(this.folder, { recursive: true, force: true });
    } finally {
      if (this.#ids) {
        const uid = Number(this.#ids[0]);
        await endProcesses(() => processesOf(uid), 0);
        // Of those that have ended, too, userdel says that they use the account.
        execFileSync('userdel', ['--force', this.name], { stdio: 'ignore' });
      }
    }
  }

  #prefix(tun: string): string[] {
    if (!this.#ids) {
      const host = ['env', `TAPDECK_HOST=unix://${this.runtime}/tapdeck.sock`];
      return tun === '666' ? host : [...withTun(tun), 'sh', ...host];
    }
    const [uid, gid] = this.#ids;
    const mounts = [`mount --bind ${root} ${this.#program}`];
    if (this.#resolvConf !== undefined) mounts.push(`mount --bind ${this.#resolvConf} /etc/resolv.conf`);
    return [
      ...withTun(tun, ...mounts),
      'sh',
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      '--clear-groups',
      '--',
      'env',
      `XDG_RUNTIME_DIR=${this.folder}`,
      `HOME=${this.folder}`,
      // Root's may have folders in it that others cannot look into, which makes "not found" a "not permitted".
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ];
  }
}

/** Makes an account of an ordinary user; answers its name. */
function newUser(): string {
  checkBuilt();
  const name = `td${randomBytes(4).toString('hex')}`;
  execFileSync('useradd', ['--no-create-home', '--shell', '/bin/sh', name]);
  return name;
}

function enter(netns: string, keepMounts: boolean): string[] {
  return keepMounts ? ['nsenter', `--net=/run/netns/${netns}`, '--'] : ['ip', 'netns', 'exec', netns];
}

function checkBuilt(): void {
  if (!existsSync(join(root, 'dist/src/main.js'))) throw new Error('not built; run npm run build first');
}

/** Those that run as a user. Who is just being started, or ends, has no environment in which a mark could be found. */
function processesOf(uid: number): ProcessId[] {
  const line = new RegExp(`^Uid:(\\s+\\d+)*\\s${uid}(\\s|$)`, 'm');
  return processIds().flatMap((pid) => {
    try {
      return line.test(readFileSync(`/proc/${pid}/status`, 'utf8')) ? (findProcess(pid) ?? []) : [];
    } catch {
      return [];
    }
  });
}

/** Of everything that is in the list of processes, and may have ended since. */
function processIds(): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
}

/** A mount namespace of its own in which /dev/net/tun has this mode, or is missing for ''. */
function withTun(mode: string, ...more: string[]): string[] {
  const device = mode === '' ? [] : [`mknod -m ${mode} /dev/net/tun c 10 200`];
  const steps = ['mount -t tmpfs none /dev/net', ...device, ...more, 'exec "$@"'];
  return ['unshare', '--mount', 'sh', '-c', steps.join(' && ')];
}

/** None when there is no such folder, which may be going just now. */
function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Waits until a condition holds; throws after a while in vain. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patience = PATIENCE,
): Promise<void> {
  for (let waited = 0; waited < patience; waited += 20) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`waited in vain until ${what}`);
}
