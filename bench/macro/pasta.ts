import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './command.ts';
import type { Connected, Contender } from './contender.ts';
import { Scope } from './scope.ts';
import { SERVED_PORTS } from './served-ports.ts';
import { HOST, HOST_GATEWAY, LOOPBACK, published, publishedPort, User } from './user.ts';

/**
 * pasta as Podman starts it. The container has the host's own address, and reaches the host by the gateway's. Who comes
 * to a published port by the host's loopback is not led through the interface at all, but spliced: see pasta(1).
 */
export class Pasta implements Contender {
  readonly name = 'pasta';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const user = await User.create('sp', this.#scope);
    const { pid, inside } = await user.container(this.#scope);
    const pidFile = join(user.folder, 'pasta.pid');
    const ports = SERVED_PORTS.map((port) => `${publishedPort(port)}:${port}`).join(',');
    const pasta = user.start(
      [
        ...['pasta', '--foreground', '--config-net', '--ipv4-only', '--mtu', String(this.mtu)],
        ...['--pid', pidFile, '--tcp-ports', ports, '--udp-ports', 'none'],
        ...['--tcp-ns', 'none', '--udp-ns', 'none', String(pid)],
      ],
      this.#scope,
    );
    await until(() => existsSync(pidFile), 'pasta to be ready', pasta);
    return {
      ...{ nsA: inside, nsB: user.host, addressB: HOST_GATEWAY },
      inward: published(user.host, inside, HOST),
      local: published(user.host, inside, LOOPBACK),
    };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
