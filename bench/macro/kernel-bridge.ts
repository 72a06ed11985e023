import type { Connected, Contender } from './contender.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

/** docker0's way: a Linux bridge and a veth pair for each container, here in a namespace of their own. */
export class KernelBridge implements Contender {
  readonly name = 'kernel bridge';
  readonly mtu: number;
  readonly #scope = new Scope();

  constructor(mtu: number) {
    this.mtu = mtu;
  }

  async up(): Promise<Connected> {
    const bridge = await Namespace.create('br', this.#scope);
    const nsA = await Namespace.create('ka', this.#scope);
    const nsB = await Namespace.create('kb', this.#scope);
    await bridge.ip('link add br0 type bridge');
    await bridge.ip(`link set br0 mtu ${this.mtu} up`);
    const sides: [Namespace, string, string][] = [
      [nsA, 'portA', '10.77.0.2'],
      [nsB, 'portB', '10.77.0.3'],
    ];
    for (const [namespace, port, address] of sides) {
      await bridge.ip(`link add ${port} mtu ${this.mtu} type veth peer name eth0 netns ${namespace.name}`);
      await bridge.ip(`link set ${port} master br0 up`);
      await namespace.ip(`link set eth0 mtu ${this.mtu} up`);
      await namespace.ip(`addr add ${address}/24 dev eth0`);
    }
    return { nsA, nsB, addressB: '10.77.0.3' };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
