import { ipv4Mask, linkLocalFromMac } from '../wire/address.ts';
import type { Bridge } from './bridge.ts';
import type { PortId } from './frame.ts';

/** How a network is to be made; addresses are numbers already (the control plane parses text). */
export interface NetworkOptions {
  /** The gateway's MAC: first 16 bits and last 32. */
  macHi: number;
  macLo: number;
  /** The gateway's IPv4 address as int32 and its prefix length; null for a network without IPv4. */
  ipv4: { address: number; prefix: number } | null;
  /** The gateway's IPv6 address as four int32 words and its prefix length; null for a network without IPv6. */
  ipv6: { address: readonly number[]; prefix: number } | null;
  /** Further addresses of the gateway: it answers for them, and speaks from the first ones. */
  ipv4Pool?: readonly number[];
  ipv6Pool?: readonly (readonly number[])[];
  /** Largest IP packet, bytes. */
  mtu: number;
  /** The network by which packets for elsewhere leave; left out where there is none. */
  uplink?: number | null;
  /** Whether stations may reach the loopback of the host behind the uplink. */
  hostLoopback?: boolean;
  /** Whether the gateway answers DHCP. */
  dhcp?: boolean;
  /** Whether nothing of it goes to another network or uplink, nor comes from there: its own gateway is all there is. */
  internal?: boolean;
  /** Whether its packets leave by an uplink of packets with the deck's address there; true when left out. */
  masquerade?: boolean;
}

/**
 * A network as layer 3 sees it: its bridge, and the addresses that its gateway holds. Plain fields of small
 * integers, read once or more per routed packet.
 */
export class Network {
  readonly id: number;
  /** What it was made of. */
  readonly options: NetworkOptions;
  readonly bridge: Bridge;
  /** The gateway's port on the bridge. */
  readonly port: PortId;
  readonly macHi: number;
  readonly macLo: number;
  readonly hasIpv4: boolean;
  readonly ipv4: number;
  readonly ipv4Mask: number;
  readonly ipv4Prefix: number;
  readonly hasIpv6: boolean;
  /** The gateway's global (or unique local) address. */
  readonly ipv6: Int32Array;
  readonly ipv6Prefix: number;
  /** The gateway's link-local address, formed from its MAC (RFC 4291 appendix A). */
  readonly linkLocal: Int32Array;
  /** All IPv4 addresses of the gateway, and all global IPv6 addresses, four words each; the first ones are `ipv4`, `ipv6`. */
  readonly ownIpv4: Int32Array;
  readonly ownIpv6: Int32Array;
  readonly mtu: number;
  /** Id of the network by which packets for elsewhere leave, or -1. */
  readonly uplink: number;
  readonly hostLoopback: boolean;
  readonly isInternal: boolean;
  readonly masquerades: boolean;

  constructor(id: number, bridge: Bridge, port: PortId, options: NetworkOptions) {
    const { macHi, macLo, ipv4, ipv6, mtu } = options;
    this.id = id;
    this.options = options;
    this.bridge = bridge;
    this.port = port;
    this.macHi = macHi;
    this.macLo = macLo;
    this.hasIpv4 = ipv4 !== null;
    this.ipv4 = ipv4 ? ipv4.address : 0;
    this.ipv4Prefix = ipv4 ? ipv4.prefix : 0;
    this.ipv4Mask = ipv4Mask(this.ipv4Prefix);
    this.hasIpv6 = ipv6 !== null;
    this.ipv6 = Int32Array.from(ipv6 ? ipv6.address : [0, 0, 0, 0]);
    this.ipv6Prefix = ipv6 ? ipv6.prefix : 0;
    this.linkLocal = Int32Array.from(linkLocalFromMac({ hi: macHi, lo: macLo }));
    const { ipv4Pool = [], ipv6Pool = [] } = options;
    this.ownIpv4 = Int32Array.from(ipv4 ? [ipv4.address, ...ipv4Pool] : []);
    this.ownIpv6 = Int32Array.from(ipv6 ? [...ipv6.address, ...ipv6Pool.flat()] : []);
    this.mtu = mtu;
    this.uplink = options.uplink ?? -1;
    this.hostLoopback = options.hostLoopback ?? false;
    this.isInternal = options.internal ?? false;
    this.masquerades = options.masquerade ?? true;
  }

  /** Whether the IPv4 address lies in the network's subnet. */
  containsIpv4(address: number): boolean {
    return this.hasIpv4 && ((address ^ this.ipv4) & this.ipv4Mask) === 0;
  }

  /** Whether the IPv4 address is the gateway's. */
  isOwnIpv4(address: number): boolean {
    const own = this.ownIpv4;
    for (let i = 0; i < own.length; i++) if (own[i] === address) return true;
    return false;
  }

  /** Whether the IPv6 address is one of the gateway's, the link-local one included. */
  isOwnIpv6(w0: number, w1: number, w2: number, w3: number): boolean {
    const { linkLocal, ownIpv6 } = this;
    if (!this.hasIpv6) return false;
    if (w3 === linkLocal[3] && w2 === linkLocal[2] && w1 === linkLocal[1] && w0 === linkLocal[0]) return true;
    for (let i = 0; i < ownIpv6.length; i += 4) {
      if (w3 === ownIpv6[i + 3] && w2 === ownIpv6[i + 2] && w1 === ownIpv6[i + 1] && w0 === ownIpv6[i]) {
        return true;
      }
    }
    return false;
  }
}
