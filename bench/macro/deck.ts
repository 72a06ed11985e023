import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './c-program.ts';
import { awaitOutput, run, start, stop } from './command.ts';
import type { Namespace } from './namespace.ts';
import type { Scope } from './scope.ts';

const PROGRAM = join(ROOT, 'dist', 'src', 'main.js');

/** A daemon as a user starts it, and the command line to it. */
export class Deck {
  readonly #tapdeck: readonly string[];

  private constructor(tapdeck: readonly string[]) {
    this.#tapdeck = tapdeck;
  }

  /**
   * Starts a daemon, which ends when `scope` closes.
   * @param options what follows `tapdeck daemon`
   * @throws Error when tapdeck is not built, CommandError when it does not start
   */
  static async start(scope: Scope, options: readonly string[] = []): Promise<Deck> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing; run npm run build`);
    const folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-'));
    scope.defer(() => rm(folder, { recursive: true, force: true }));
    const tapdeck = [process.execPath, PROGRAM, '--host', `unix://${join(folder, 'd.sock')}`];
    // A folder of its own keeps it apart from a deck of the user's.
    // What is measured by one way out is not to be measured beside another.
    const uplink = options.includes('--uplink') ? [] : ['--uplink', 'none'];
    const daemon = start([...tapdeck, 'daemon', ...uplink, ...options], {
      env: { ...process.env, XDG_RUNTIME_DIR: folder },
    });
    scope.defer(() => stop(daemon));
    await awaitOutput(daemon, 'daemon ready');
    // Its log must not fill the pipe.
    daemon.stdout?.resume();
    daemon.stderr?.resume();
    return new Deck(tapdeck);
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
