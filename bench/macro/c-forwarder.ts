import { awaitOutput, start, stop } from './command.ts';
import type { Connected, Contender } from './contender.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

/** The limit: a C program that only reads and writes between two TAPs with every offload on. */
export class CForwarder implements Contender {
  readonly name = 'C read/write';
  readonly mtu: number;
  readonly #binary: string;
  readonly #options: readonly string[];
  readonly #scope = new Scope();

  /**
   * @param binary bench/c/forwarder.c, compiled
   * @param options what follows the MTU on its command line: spin, budget, txqueuelen
   */
  constructor(mtu: number, binary: string, options: readonly string[] = []) {
    this.mtu = mtu;
    this.#binary = binary;
    this.#options = options;
  }

  async up(): Promise<Connected> {
    const nsA = await Namespace.create('ca', this.#scope);
    const nsB = await Namespace.create('cb', this.#scope);
    const forwarder = start([this.#binary, nsA.path, nsB.path, 'eth0', String(this.mtu), ...this.#options]);
    this.#scope.defer(() => stop(forwarder));
    await awaitOutput(forwarder, 'ready');
    for (const [namespace, address] of [[nsA, '10.78.0.2'] as const, [nsB, '10.78.0.3'] as const]) {
      await namespace.ip(`addr add ${address}/24 dev eth0`);
      await namespace.ip('link set eth0 up');
    }
    return { nsA, nsB, addressB: '10.78.0.3' };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
