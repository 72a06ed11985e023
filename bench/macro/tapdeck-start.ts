import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ROOT } from './c-program.ts';
import type { Connected, Contender } from './contender.ts';
import { Deck } from './deck.ts';
import type { Sample } from './entry.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';
import { median } from './statistics.ts';

const PROGRAM = join(ROOT, 'dist', 'src', 'main.js');
/** How often something is started for a sample. */
const STARTS = 10;

/** What somebody waits for who starts the program: no containers. */
export class TapdeckStart implements Contender {
  readonly name = 'tapdeck, started';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const namespace = await Namespace.create('start', this.#scope);
    return { nsA: namespace, nsB: namespace, addressB: '' };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }

  /** `tapdeck --version` from its start to its end, in milliseconds, and Node alone beside it. */
  async version(): Promise<Sample> {
    const [own, node]: [number[], number[]] = [[], []];
    for (let i = 0; i < STARTS; i++) {
      own.push(await timed(() => ended(PROGRAM, '--version')));
      node.push(await timed(() => ended('-e', '0')));
    }
    return { value: median(own), detail: `least ${least(own)} ms; node -e 0: ${median(node).toFixed(0)} ms` };
  }

  /** `tapdeck daemon` from its start until it says that it is ready, in milliseconds. */
  async daemon(): Promise<Sample> {
    const taken: number[] = [];
    for (let i = 0; i < STARTS; i++) {
      const scope = new Scope();
      try {
        taken.push(await timed(() => Deck.start(scope)));
      } finally {
        await scope.close();
      }
    }
    return { value: median(taken), detail: `least ${least(taken)} ms` };
  }
}

async function timed(what: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await what();
  return performance.now() - start;
}

async function ended(...args: string[]): Promise<void> {
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`node ${args.join(' ')} ended with ${code}`);
}

function least(values: readonly number[]): string {
  return Math.min(...values).toFixed(0);
}
