import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './c-program.ts';
import { awaitOutput, run, start, stop } from './command.ts';
import type { Contender, Path } from './contender.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

const PROGRAM = join(ROOT, 'dist', 'src', 'main.js');
const ADDRESS_A = '172.17.0.2';
const ADDRESS_B = '172.17.0.3';

/** tapdeck as a user runs it: a daemon, and two namespaces attached to its default network by the command line. */
export class Tapdeck implements Contender {
  readonly name = 'tapdeck';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Path> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing; run npm run build`);
    const folder = await mkdtemp(join(tmpdir(), 'tapdeck-bench-'));
    this.#scope.defer(() => rm(folder, { recursive: true, force: true }));
    const tapdeck = [process.execPath, PROGRAM, '--host', `unix://${join(folder, 'd.sock')}`];
    const nsA = await Namespace.create('ta', this.#scope);
    const nsB = await Namespace.create('tb', this.#scope);
    // A folder of its own keeps it apart from a deck of the user's.
    const daemon = start([...tapdeck, 'daemon'], { env: { ...process.env, XDG_RUNTIME_DIR: folder } });
    this.#scope.defer(() => stop(daemon));
    await awaitOutput(daemon, 'daemon ready');
    // Its log must not fill the pipe.
    daemon.stdout?.resume();
    daemon.stderr?.resume();
    for (const [namespace, name, address] of [
      [nsA, 'a', ADDRESS_A] as const,
      [nsB, 'b', ADDRESS_B] as const,
    ]) {
      await run([
        ...[...tapdeck, 'attach', '--netns', namespace.path],
        ...['--name', name, '--ip', address, '--mtu', String(this.mtu)],
      ]);
    }
    return { nsA, nsB, addressB: ADDRESS_B };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
