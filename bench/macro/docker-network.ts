import type { Connected, Contender } from './contender.ts';
import type { DockerHost } from './docker-host.ts';

/** MTU of docker0, and of networks of tapdeck. */
const MTU = { docker0: 1500, tapdeck: 65520 };

/** Two containers of Docker's in a network as it comes: on docker0, or on one of driver tapdeck. */
export class DockerNetwork implements Contender {
  readonly name: string;
  readonly mtu: number;
  readonly #host: DockerHost;
  readonly #kind: keyof typeof MTU;

  constructor(host: DockerHost, kind: keyof typeof MTU) {
    this.name = kind === 'docker0' ? kind : `docker, driver ${kind}`;
    this.mtu = MTU[kind];
    this.#host = host;
    this.#kind = kind;
  }

  async up(): Promise<Connected> {
    await this.#host.start();
    const network = this.#kind === 'docker0' ? 'bridge' : 'deck';
    const a = await this.#host.run(network);
    const b = await this.#host.run(network);
    return { nsA: a.namespace, nsB: b.namespace, addressB: b.address };
  }

  /** The host goes with the first of its networks: they are measured together. */
  down(): Promise<void> {
    return this.#host.close();
  }
}
