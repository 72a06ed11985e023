import { IPV4_MAPPED } from '../../nat/tuple.ts';
import { containsIpv6 } from '../../switch/martian.ts';
import type { Network } from '../../switch/network.ts';
import { prefixWord } from '../../wire/address.ts';
import type { Carrier } from '../../wire/carrier.ts';
import type { DeniedPrefix, Filtering, UplinkOptions } from './commands.ts';

/** First word of 64:ff9b::/96, behind which are IPv4 addresses (RFC 6052 §2.1): what DNS64 answers with. */
const NAT64 = 0x0064_ff9b;
/** First half word of 2002::/16, likewise (RFC 3056 §2). */
const SIX_TO_FOUR = 0x2002_0000;

/** A segment by which packets leave the deck: the deck is a host there, with a next hop for all that is farther away. */
export class Uplink {
  readonly network: Network;
  /** What it was made of. */
  readonly options: UplinkOptions;
  readonly filtering: Filtering;
  readonly hasGateway4: boolean;
  readonly gateway4: number;
  readonly hasGateway6: boolean;
  readonly gateway6: Int32Array;
  readonly isHost: boolean;
  /** Denied prefixes, five words each: an address as in a tuple, and the length. */
  #denied = new Int32Array(0);

  constructor(network: Network, options: UplinkOptions) {
    const { gateway4 = null, gateway6 = null } = options;
    this.network = network;
    this.options = options;
    this.filtering = options.filtering ?? 'address-dependent';
    this.hasGateway4 = gateway4 !== null;
    this.gateway4 = gateway4 ?? 0;
    this.hasGateway6 = gateway6 !== null;
    this.gateway6 = Int32Array.from(gateway6 ?? [0, 0, 0, 0]);
    this.isHost = options.isHost ?? false;
    this.deny(options.denied ?? []);
  }

  carry(carrier: Carrier): void {
    this.#denied = carrier.grown(this.#denied);
  }

  /**
   * Keeps endpoints from these prefixes and no others from now on; connections that stand are not looked at again. IPv4
   * prefixes also as IPv6 has them, by which a translator or tunnel of the host's network would lead there.
   */
  deny(prefixes: readonly DeniedPrefix[]): void {
    this.#denied = Int32Array.from(
      prefixes.flatMap(({ address, prefix }) =>
        typeof address === 'number'
          ? [
              ...[0, 0, IPV4_MAPPED, address, prefix + 96],
              ...[NAT64, 0, 0, address, prefix + 96],
              ...[SIX_TO_FOUR | (address >>> 16), address << 16, 0, 0, prefix + 16],
            ]
          : [...address, prefix],
      ),
    );
  }

  /**
   * Whether the address of four words (IPv4 as in a tuple) is kept from endpoints. The next hop of an uplink that ends in
   * the host's sockets stands for the host's loopback, which has a switch of its own.
   */
  denies(words: Int32Array, at: number, hostLoopback: boolean): boolean {
    if (this.isHost && this.#isNextHop(words, at)) return !hostLoopback;
    const denied = this.#denied;
    for (let i = 0; i < denied.length; i += 5) {
      let word = 0;
      while (word < 4 && ((words[at + word] ^ denied[i + word]) & prefixWord(denied[i + 4], word)) === 0)
        word++;
      if (word === 4) return true;
    }
    return false;
  }

  #isNextHop(words: Int32Array, at: number): boolean {
    if (words[at] === 0 && words[at + 1] === 0 && words[at + 2] === IPV4_MAPPED) {
      return this.hasGateway4 && words[at + 3] === this.gateway4;
    }
    return this.hasGateway6 && this.gateway6.every((word, i) => words[at + i] === word);
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
