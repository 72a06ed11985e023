import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DaemonClient } from '../../src/control/client.ts';
import { ROOT } from './c-program.ts';
import { awaitOutput, run, start, stop } from './command.ts';
import type { Namespace } from './namespace.ts';
import type { Scope } from './scope.ts';

const PROGRAM = join(ROOT, 'dist', 'src', 'main.js');
const SERVICE_MANAGER = join(ROOT, 'fixtures', 'service-manager.py');
/** It attaches again what was attached before it is ready. */
const START_TIMEOUT = 60_000;

/** A daemon as a user starts it, the command line to it and its API. */
export class Deck {
  /** Its API. */
  readonly client: DaemonClient;
  readonly #folder: string;
  readonly #tapdeck: readonly string[];
  readonly #options: readonly string[];
  readonly #served: boolean;
  /** The daemon, or its service manager. */
  #process: ChildProcess | undefined;

  private constructor(folder: string, options: readonly string[], served: boolean) {
    const socket = join(folder, 'd.sock');
    this.client = new DaemonClient(socket);
    this.#folder = folder;
    this.#tapdeck = [process.execPath, PROGRAM, '--host', `unix://${socket}`];
    // What is measured by one way out is not to be measured beside another.
    this.#served = served;
    this.#options = options.includes('--uplink') ? options : ['--uplink', 'none', ...options];
  }

  /**
   * Starts a daemon, which ends when `scope` closes.
   * @param options what follows `tapdeck daemon`
   * @param served whether a service manager keeps the daemon's TAPs, as systemd does, and starts it again
   * @throws Error when tapdeck is not built, CommandError when it does not start
   */
  static async start(scope: Scope, options: readonly string[] = [], served = false): Promise<Deck> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing; run npm run build`);
    // A folder of its own keeps it apart from a deck of the user's.
    const folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-'));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const deck = new Deck(folder, options, served);
    scope.defer(() => deck.#process && stop(deck.#process));
    await deck.#start();
    return deck;
  }

  /** Kills the daemon without a warning, and starts another in its place; settles when that is ready. */
  async restart(): Promise<void> {
    const running = this.#process!;
    if (this.#served) {
      const ready = awaitOutput(running, 'daemon ready', START_TIMEOUT);
      process.kill(await this.#pid(), 'SIGKILL');
      await ready;
      return;
    }
    const gone = once(running, 'exit');
    running.kill('SIGKILL');
    await gone;
    await this.#start();
  }

  async #start(): Promise<void> {
    const manager = this.#served ? ['python3', SERVICE_MANAGER] : [];
    const daemon = start([...manager, ...this.#tapdeck, 'daemon', ...this.#options], {
      env: { ...process.env, XDG_RUNTIME_DIR: this.#folder },
    });
    this.#process = daemon;
    await awaitOutput(daemon, 'daemon ready', START_TIMEOUT);
    // Its log must not fill the pipe.
    daemon.stdout?.resume();
    daemon.stderr?.resume();
  }

  /** A command line of tapdeck about it. */
  program(...args: string[]): string[] {
    // Options of commands come behind them; --host is everybody's.
    return [...this.#tapdeck, ...args];
  }

  /** Memory of the daemon, in bytes: what is resident of it. */
  async memory(): Promise<number> {
    const status = readFileSync(`/proc/${await this.#pid()}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  async #pid(): Promise<number> {
    return (await this.client.get<{ pid: number }>('/v1/version')).pid;
  }

  /** Attaches a namespace. `options` follow on the command line. */
  async attach(
    namespace: Namespace,
    name: string,
    ip: string,
    mtu: number,
    options: readonly string[] = [],
  ): Promise<void> {
    await run([
      ...[...this.#tapdeck, 'attach', '--netns', namespace.path, '--name', name],
      ...['--ip', ip, '--mtu', String(mtu), ...options],
    ]);
  }
}
