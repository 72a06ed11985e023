import { join } from 'node:path';
import type { Connected, Contender } from './contender.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';
import { SERVED_PORTS } from './served-ports.ts';
import { HOST, LOOPBACK, published, publishedPort, SLEEPER, sleeperPid, User } from './user.ts';

/** `tapdeck run` as an ordinary user, without any option about the way out. */
export class TapdeckSockets implements Contender {
  readonly name = 'tapdeck';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const user = await User.create('st', this.#scope);
    const main = join(user.program, 'dist', 'src', 'main.js');
    const ports = SERVED_PORTS.flatMap((port) => ['-p', `${publishedPort(port)}:${port}`]);
    const run = user.start(
      [process.execPath, main, 'run', '--mtu', String(this.mtu), ...ports, '--', ...SLEEPER],
      this.#scope,
    );
    const inside = await Namespace.of(await sleeperPid(run));
    return {
      ...{ nsA: inside, nsB: user.host, addressB: HOST },
      inward: published(user.host, inside, HOST),
      local: published(user.host, inside, LOOPBACK),
    };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
