import { BULK_PORT, type Connected, type Contender } from './contender.ts';
import { Namespace } from './namespace.ts';
import { Scope } from './scope.ts';

const MTU = 1500;
const INSIDE = '10.79.0.2';
const GATEWAY = '10.79.0.1';
const OUTSIDE = '192.0.2.1';
const UPLINK = '192.0.2.2';
const PUBLISHED = 8080;

/** As Docker sets the host up, in nftables' words: both ways of translation, and what may be forwarded. */
const RULES = `
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    fib daddr type local tcp dport ${PUBLISHED} dnat to ${INSIDE}:${BULK_PORT}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.79.0.0/24 oifname != br0 masquerade
  }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname br0 accept
    oifname br0 ct status dnat accept
  }
}`;

/**
 * docker0's way out: a container's veth pair, a bridge in a namespace that is the host, nftables' masquerade and DNAT,
 * and another veth pair to the namespace outside.
 *
 * The host is one router between container and outside, as tapdeck is; therefore the peer is not on the host itself,
 * where the kernel would save a pair and a forwarding, but the one hop away that a host's own network is.
 */
export class KernelNat implements Contender {
  readonly name = 'kernel NAT';
  readonly mtu = MTU;
  readonly #scope = new Scope();

  async up(): Promise<Connected> {
    const host = await Namespace.create('kh', this.#scope);
    const inside = await Namespace.create('kn', this.#scope);
    const outside = await Namespace.create('ko', this.#scope);
    await host.ip('link add br0 type bridge');
    await host.ip(`link set br0 mtu ${MTU} up`);
    await host.ip(`addr add ${GATEWAY}/24 dev br0`);
    for (const [namespace, port, address] of [
      [inside, 'port0', `${INSIDE}/24`] as const,
      [outside, 'up0', `${OUTSIDE}/24`] as const,
    ]) {
      await host.ip(`link add ${port} mtu ${MTU} type veth peer name eth0 netns ${namespace.name}`);
      await host.ip(`link set ${port} up`);
      await namespace.ip(`link set eth0 mtu ${MTU} up`);
      await namespace.ip(`addr add ${address} dev eth0`);
    }
    await host.ip('link set port0 master br0');
    await host.ip(`addr add ${UPLINK}/24 dev up0`);
    await inside.ip(`route add default via ${GATEWAY}`);
    await host.run(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
    await host.run(['nft', RULES]);
    return {
      ...{ nsA: inside, nsB: outside, addressB: OUTSIDE },
      inward: { nsA: outside, nsB: inside, addressB: UPLINK, bulkPort: PUBLISHED },
    };
  }

  down(): Promise<void> {
    return this.#scope.close();
  }
}
