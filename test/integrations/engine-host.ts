import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Called } from '../../src/integrations/launcher.ts';
import { Sandboxes } from '../device/sandbox.ts';
import { Account, type Outcome, type Running } from '../whole/account.ts';

/**
 * A host for container engines: a network namespace of its own in which they and a tapdeck run as root, and a temporary folder
 * for all that they keep. (Not by `Account.root(netns)`: `ip netns exec` gives each program mounts of its own, and engines
 * mount namespaces for others to see.)
 */
export class EngineHost {
  readonly account = Account.root();
  readonly sandboxes = new Sandboxes();
  readonly netns: string;
  readonly folder = mkdtempSync(join(tmpdir(), 'td-engine-'));
  #daemon: Running | undefined;

  constructor(hint: string) {
    this.netns = this.sandboxes.add(hint);
    execFileSync('ip', ['-n', this.netns, 'link', 'set', 'lo', 'up']);
  }

  /** Where the daemon listens. */
  get host(): string {
    return `unix://${join(this.account.runtime, 'tapdeck.sock')}`;
  }

  async startDaemon(): Promise<void> {
    const program = join(this.account.program, 'dist/src/main.js');
    this.#daemon = this.spawn(process.execPath, program, 'daemon', '--uplink', 'socket');
    await this.#daemon.said('daemon ready');
  }

  async stopDaemon(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#daemon!.kill(signal);
    await this.#daemon!.ended;
  }

  /** A folder under the host's own. */
  path(...names: string[]): string {
    const path = join(this.folder, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Puts a program where engines look for it, as an installation does; answers its path. */
  install(name: Called, file: string): string {
    return installProgram(this.account, name, file);
  }

  /** Starts a program on the host. */
  spawn(...command: string[]): Running {
    return this.account.spawn(['nsenter', `--net=/run/netns/${this.netns}`, '--', ...command]);
  }

  /** Runs a program on the host, to its end. */
  run(...command: string[]): Promise<Outcome> {
    return this.spawn(...command).ended;
  }

  /** The same, which must succeed; answers what it printed. */
  async ok(...command: string[]): Promise<string> {
    const { code, out, err } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${out}${err}`);
    return out.trim();
  }

  /** What a server that is published on the host answers. */
  async fetched(port: number): Promise<string> {
    return (await this.run('curl', '-s', '-m', '3', `http://127.0.0.1:${port}/`)).out.trim();
  }

  /** What there is of which nothing may be left: containers of the deck, and TAPs that the daemon has open. */
  async count(): Promise<{ containers: string[]; taps: number }> {
    const list: { name: string }[] = JSON.parse(await this.account.ok('ps', '--format', 'json'));
    // nsenter has become the daemon.
    return { containers: list.map(({ name }) => name), taps: tapsOf(this.#daemon!.pid) };
  }

  async close(): Promise<void> {
    try {
      await this.account.remove();
    } finally {
      unmountBelow(this.folder);
      rmSync(this.folder, { recursive: true, force: true });
      this.sandboxes.removeAll();
    }
  }
}

/** Puts a program of an account's at a path, as an installation does. */
export function installProgram(account: Account, name: Called, file: string): string {
  const program = join(account.program, `dist/src/${name}.js`);
  writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

/** How many TAPs a process has open. */
export function tapsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)) === '/dev/net/tun';
    } catch {
      return false;
    }
  }).length;
}

/** Takes away what engines that were killed have left mounted. */
export function unmountBelow(folder: string): void {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(folder));
  for (const path of mounts.reverse()) execFileSync('umount', ['-l', path]);
}
