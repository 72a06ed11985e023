import { containsIpv6 } from '../../switch/martian.ts';
import type { Network } from '../../switch/network.ts';
import type { Filtering, UplinkOptions } from './commands.ts';

/** A segment by which packets leave the deck: the deck is a host there, with a next hop for all that is farther away. */
export class Uplink {
  readonly network: Network;
  readonly filtering: Filtering;
  readonly hasGateway4: boolean;
  readonly gateway4: number;
  readonly hasGateway6: boolean;
  readonly gateway6: Int32Array;

  constructor(network: Network, options: UplinkOptions) {
    const { gateway4 = null, gateway6 = null } = options;
    this.network = network;
    this.filtering = options.filtering ?? 'address-dependent';
    this.hasGateway4 = gateway4 !== null;
    this.gateway4 = gateway4 ?? 0;
    this.hasGateway6 = gateway6 !== null;
    this.gateway6 = Int32Array.from(gateway6 ?? [0, 0, 0, 0]);
  }

  /** Whether packets to the address have a next hop here. */
  reachesIpv4(address: number): boolean {
    return this.network.hasIpv4 && (this.hasGateway4 || this.network.containsIpv4(address));
  }

  /** As `reachesIpv4`, for an address of four words. */
  reachesIpv6(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.network.hasIpv6 && (this.hasGateway6 || containsIpv6(this.network, w0, w1, w2, w3));
  }
}
