import {
  formatIpv6,
  formatMac,
  ipv4MulticastMacLo,
  isIpv4Multicast,
  isIpv6Multicast,
} from '../../wire/address.ts';
import { ND_HOP_LIMIT } from '../../wire/nd.ts';
import { frameLine } from '../replay/frame-difference.ts';
import { ipv4, ipv6 } from './address-text.ts';
import { type Changes, changed } from './dissection.ts';
import { encode } from './encode.ts';
import {
  ARP_OPERATIONS,
  type LayerName,
  type Layers,
  numberOf,
  type PartialLayer,
  solicitedNode,
} from './layer.ts';
import type { Station } from './station.ts';

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const NOBODY = '00:00:00:00:00:00';

/** Text, bytes, or a number of bytes of a pattern that shows when two of them were swapped. */
export type Data = string | Uint8Array | number;

/** Where an address is wanted, the station that has it is as good. */
type From<F, K extends string> = Partial<Omit<F, K>> & { [A in K]?: string | Station };

export type EthGiven = From<Layers['eth'], 'src' | 'dst'>;
export type ArpGiven = From<Layers['arp'], 'tpa'>;
export type IpGiven = From<Layers['ip'], 'src' | 'dst'>;
export type Ip6Given = From<Layers['ip6'], 'src' | 'dst'>;

/** What a deck knows of whoever sends a frame, for the addresses that the frame does not say itself. */
export interface Route {
  from?: Station;
  /** The MAC of the next hop to an IP address. */
  macOf?: (address: string) => string | undefined;
}

/** A frame that is being built. Nothing changes one: every call answers another. */
export interface TestFrame {
  /**
   * All bytes, without a frame check sequence.
   * @throws TypeError when an address is missing or none
   */
  bytes(route?: Route): Uint8Array;
  /** The same frame with other fields: `frame.with({ eth: { src: gateway.mac }, ip: { ttl: 63 } })`. */
  with(changes: Changes): this;
  /** Filled up to a number of bytes: 60, the shortest that Ethernet carries, when left out. */
  pad(length?: number): TestFrame;
}

/** Behind Ethernet. */
export interface LinkFrame extends TestFrame {
  vlan(fields: Partial<Layers['vlan']>): LinkFrame;
  /** Who has `tpa`; or with `op: 'is-at'`, an answer to it. */
  arp(fields: ArpGiven): TestFrame;
  ip(fields?: IpGiven): IpFrame;
  ip6(fields?: Ip6Given): Ip6Frame;
  payload(data: Data): TestFrame;
}

/** Behind IP of either version. */
export interface PacketFrame extends TestFrame {
  tcp(fields?: Partial<Layers['tcp']>): PayloadFrame;
  udp(fields?: Partial<Layers['udp']>): PayloadFrame;
  payload(data: Data): TestFrame;
}

export interface IpFrame extends PacketFrame {
  icmp(fields?: Partial<Layers['icmp']>): PayloadFrame;
}

/** Behind IPv6: extension headers in the order in which they are to stand. */
export interface Ip6Frame extends PacketFrame {
  hopByHop(fields?: Partial<Layers['hopByHop']>): Ip6Frame;
  routing(fields: Partial<Layers['routing']>): Ip6Frame;
  destination(fields?: Partial<Layers['destination']>): Ip6Frame;
  fragment(fields?: Partial<Layers['fragment']>): Ip6Frame;
  icmp6(fields?: Partial<Layers['icmp6']>): PayloadFrame;
  /** Neighbor discovery: asks the solicited-node group who has an address. */
  whoHas(target: string | Station): PayloadFrame;
  /** Neighbor discovery: says that the sender has an address, its own when left out. */
  isAt(target?: string | Station): PayloadFrame;
}

/** Behind a transport header. */
export interface PayloadFrame extends TestFrame {
  payload(data: Data): TestFrame;
  /** What an ICMP error says about whom it answers: the packet of `frame`, at most `length` bytes of it. */
  quote(frame: Uint8Array | TestFrame, length?: number): TestFrame;
}

/**
 * Begins a frame:
 *
 * ```ts
 * eth({ src: alice, dst: bob }).ip({ ttl: 1 }).udp({ dport: 53 }).payload('who?').bytes()
 * ```
 *
 * Lengths, types and checksums follow, unless they are given: `.ip({ checksum: 0xbad })` is wrong on purpose. Addresses that are
 * not given are those of the stations, wherever one was named.
 */
export function eth(fields: EthGiven = {}): LinkFrame {
  const { src, dst, ...rest } = fields;
  const layer = {
    layer: 'eth',
    ...rest,
    ...textOf('src', src, 'mac'),
    ...textOf('dst', dst, 'mac'),
  } as const;
  return new Chain([layer], stationOf(src), stationOf(dst));
}

const SOMEBODY: Route = {
  from: { mac: '02:00:00:00:00:01', ipv4: '192.0.2.1', ipv6: '2001:db8::1' },
  macOf: () => BROADCAST,
};

class Chain implements LinkFrame, IpFrame, Ip6Frame, PayloadFrame {
  readonly #layers: readonly PartialLayer[];
  readonly #from: Station | undefined;
  readonly #to: Station | undefined;

  constructor(layers: readonly PartialLayer[], from: Station | undefined, to: Station | undefined) {
    this.#layers = layers;
    this.#from = from;
    this.#to = to;
  }

  vlan(fields: Partial<Layers['vlan']>): Chain {
    return this.#add({ layer: 'vlan', ...fields });
  }

  arp({ tpa, ...rest }: ArpGiven): Chain {
    return this.#add({ layer: 'arp', ...rest, ...textOf('tpa', tpa, 'ipv4') }, undefined, stationOf(tpa));
  }

  ip({ src, dst, ...rest }: IpGiven = {}): Chain {
    const addresses = { ...textOf('src', src, 'ipv4'), ...textOf('dst', dst, 'ipv4') };
    return this.#add({ layer: 'ip', ...rest, ...addresses }, stationOf(src), stationOf(dst));
  }

  ip6({ src, dst, ...rest }: Ip6Given = {}): Chain {
    const addresses = { ...textOf('src', src, 'ipv6'), ...textOf('dst', dst, 'ipv6') };
    return this.#add({ layer: 'ip6', ...rest, ...addresses }, stationOf(src), stationOf(dst));
  }

  hopByHop(fields: Partial<Layers['hopByHop']> = {}): Chain {
    return this.#add({ layer: 'hopByHop', ...fields });
  }

  routing(fields: Partial<Layers['routing']>): Chain {
    return this.#add({ layer: 'routing', ...fields });
  }

  destination(fields: Partial<Layers['destination']> = {}): Chain {
    return this.#add({ layer: 'destination', ...fields });
  }

  fragment(fields: Partial<Layers['fragment']> = {}): Chain {
    return this.#add({ layer: 'fragment', ...fields });
  }

  tcp(fields: Partial<Layers['tcp']> = {}): Chain {
    return this.#add({ layer: 'tcp', ...fields });
  }

  udp(fields: Partial<Layers['udp']> = {}): Chain {
    return this.#add({ layer: 'udp', ...fields });
  }

  icmp(fields: Partial<Layers['icmp']> = {}): Chain {
    return this.#add({ layer: 'icmp', ...fields });
  }

  icmp6(fields: Partial<Layers['icmp6']> = {}): Chain {
    return this.#add({ layer: 'icmp6', ...fields });
  }

  whoHas(target: string | Station): Chain {
    return this.icmp6({ type: 'neighbor-solicitation', ...textOf('target', target, 'ipv6') });
  }

  isAt(target?: string | Station): Chain {
    const flags = { solicited: true, override: true } as const;
    return this.icmp6({ type: 'neighbor-advertisement', ...flags, ...textOf('target', target, 'ipv6') });
  }

  payload(data: Data): Chain {
    return this.#add({ layer: 'payload', data: bytesOf(data) });
  }

  quote(frame: Uint8Array | TestFrame, length = 1232): Chain {
    const bytes = frame instanceof Uint8Array ? frame : frame.bytes();
    return this.payload(bytes.slice(14, 14 + length));
  }

  pad(length = 60): Chain {
    // Addresses may come later, and are as long as these.
    const missing = length - this.bytes(SOMEBODY).length;
    return missing <= 0 ? this : this.#add({ layer: 'padding', data: new Uint8Array(missing) });
  }

  with(changes: Changes): this {
    return new Chain(changed(this.#layers, changes), this.#from, this.#to) as this;
  }

  bytes(route: Route = {}): Uint8Array {
    return encode(new Addresses(this.#layers, this.#from ?? route.from, this.#to, route).fill());
  }

  toString(): string {
    return frameLine(this.bytes());
  }

  #add(layer: PartialLayer, from?: Station, to?: Station): Chain {
    return new Chain([...this.#layers, layer], this.#from ?? from, this.#to ?? to);
  }
}

/** Finds the addresses that a frame does not say. */
class Addresses {
  readonly #layers: readonly PartialLayer[];
  readonly #from: Station | undefined;
  readonly #to: Station | undefined;
  readonly #route: Route;

  constructor(
    layers: readonly PartialLayer[],
    from: Station | undefined,
    to: Station | undefined,
    route: Route,
  ) {
    this.#layers = layers;
    this.#from = from;
    this.#to = to;
    this.#route = route;
  }

  /** From the outside to the inside: the MACs first, of which ARP and neighbor discovery speak. */
  fill(): PartialLayer[] {
    const src = this.#get('eth')?.src ?? this.#from?.mac;
    return this.#layers.map((layer) => {
      switch (layer.layer) {
        case 'eth':
          return {
            ...layer,
            src: need(src, 'source MAC', 'eth({ src })'),
            dst: layer.dst ?? this.#nextHop(),
          };
        case 'arp': {
          const tpa = layer.tpa ?? this.#to?.ipv4;
          return {
            ...layer,
            sha: layer.sha ?? src!,
            spa: layer.spa ?? need(this.#from?.ipv4, 'sender address', 'arp({ spa })'),
            tha:
              layer.tha ??
              (isQuestion(layer.op) ? NOBODY : (this.#to?.mac ?? this.#get('eth')?.dst ?? NOBODY)),
            tpa: need(tpa, 'target address', 'arp({ tpa })'),
          };
        }
        case 'ip':
          return {
            ...layer,
            src: layer.src ?? need(this.#from?.ipv4, 'source address', 'ip({ src })'),
            dst: layer.dst ?? need(this.#to?.ipv4, 'destination address', 'ip({ dst })'),
          };
        case 'ip6':
          return this.#ip6(layer);
        case 'icmp6':
          return this.#neighbor(layer, src!);
        default:
          return layer;
      }
    });
  }

  #ip6(layer: Partial<Layers['ip6']> & { readonly layer: 'ip6' }): PartialLayer {
    return {
      // A router lets none of these pass (RFC 4861 §7.1).
      ...(this.#isNeighborDiscovery() && { hopLimit: ND_HOP_LIMIT }),
      ...layer,
      src: layer.src ?? need(this.#from?.ipv6, 'source address', 'ip6({ src })'),
      dst: need(this.#destination6(layer.dst), 'destination address', 'ip6({ dst })'),
    };
  }

  /** A question without a destination goes to the solicited-node group, an answer to the station. */
  #destination6(dst: string | undefined): string | undefined {
    const message = this.#get('icmp6');
    if (dst !== undefined) return dst;
    if (message?.type === 'neighbor-solicitation' && message.target !== undefined)
      return this.#to?.ipv6 ?? formatIpv6(...solicitedNode(ipv6(message.target)));
    return this.#to?.ipv6;
  }

  #neighbor(layer: Partial<Layers['icmp6']> & { readonly layer: 'icmp6' }, src: string): PartialLayer {
    if (!this.#isNeighborDiscovery()) return layer;
    const own = this.#get('ip6')?.src ?? this.#from?.ipv6;
    return {
      ...layer,
      target: need(layer.target ?? own, 'target', 'icmp6({ target })'),
      linkLayer: layer.linkLayer === undefined ? src : layer.linkLayer,
    };
  }

  #isNeighborDiscovery(): boolean {
    const type = this.#get('icmp6')?.type;
    return type === 'neighbor-solicitation' || type === 'neighbor-advertisement';
  }

  #nextHop(): string {
    const arp = this.#get('arp');
    if (arp && isQuestion(arp.op)) return BROADCAST;
    const six = this.#get('ip6');
    const address = six ? this.#destination6(six.dst) : (this.#get('ip')?.dst ?? arp?.tpa ?? this.#to?.ipv4);
    const group = address === undefined ? undefined : groupMac(address);
    const known = group ?? (address === undefined ? undefined : this.#route.macOf?.(address));
    return known ?? arp?.tha ?? need(this.#to?.mac, 'destination MAC', 'eth({ dst })');
  }

  #get<K extends LayerName>(name: K): Partial<Layers[K]> | undefined {
    return this.#layers.find(({ layer }) => layer === name) as Partial<Layers[K]> | undefined;
  }
}

function isQuestion(op: string | number = 'who-has'): boolean {
  return numberOf(ARP_OPERATIONS, op, 'ARP operation') === ARP_OPERATIONS['who-has'];
}

/** The MAC of a group or of the broadcast address; undefined for the address of a station. */
function groupMac(address: string): string | undefined {
  if (!address.includes(':')) {
    const number = ipv4(address);
    if (number === -1) return BROADCAST;
    return isIpv4Multicast(number) ? formatMac(0x0100, ipv4MulticastMacLo(number)) : undefined;
  }
  const words = ipv6(address);
  return isIpv6Multicast(words[0]) ? formatMac(0x3333, words[3]) : undefined;
}

function stationOf(given: string | Station | undefined): Station | undefined {
  return typeof given === 'object' ? given : undefined;
}

/** An entry for a field that is given as text or as the station that has it; none when it is not given. */
function textOf<K extends string>(
  key: K,
  given: string | Station | undefined,
  kind: keyof Station,
): { [A in K]?: string } {
  if (given === undefined) return {};
  if (typeof given === 'string') return { [key]: given } as { [A in K]?: string };
  const text = given[kind];
  const names = { mac: 'MAC', ipv4: 'IPv4 address', ipv6: 'IPv6 address' } as const;
  if (text === undefined) throw new TypeError(`the station ${given.mac} has no ${names[kind]}`);
  return { [key]: text } as { [A in K]?: string };
}

function need(text: string | undefined, what: string, where: string): string {
  if (text === undefined) throw new TypeError(`the frame has no ${what}; give ${where}, or name a station`);
  return text;
}

export function bytesOf(data: Data): Uint8Array {
  if (typeof data === 'string') return new TextEncoder().encode(data);
  if (typeof data === 'number') return Uint8Array.from({ length: data }, (_, i) => (i + (i >> 8)) & 0xff);
  return data;
}
