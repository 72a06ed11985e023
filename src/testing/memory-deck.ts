import {
  formatIpv4,
  formatIpv6,
  formatMac,
  ipv4Mask,
  parseIpv4,
  parseIpv6,
  parseMac,
} from '../../wire/address.ts';
import type { Filtering, FlowEntry, NetworkOptions, UplinkOptions, UserRule } from '../dataplane/commands.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { FaultyDevice, parseFaults } from '../device/faulty.ts';
import type { Scenario } from '../replay/scenario.ts';
import { buildScenario, deckOptions } from '../replay/scenario-run.ts';
import { imbalance, type Tables } from '../replay/tables.ts';
import { verdictWords } from '../replay/verdict-words.ts';
import { VirtualDeck } from '../replay/virtual-deck.ts';
import type { VirtualPort } from '../replay/virtual-port.ts';
import type { Fate } from './fate.ts';
import type { Route, TestFrame } from './frame-builder.ts';
import type { Station } from './station.ts';

/** A network of a deck for tests; addresses of the gateway with their prefix lengths. */
export interface MemoryNetwork {
  /** The gateway's, `10.0.0.1/24`; none when left out. */
  ipv4?: string;
  /** The gateway's, `fd00::1/64`; none when left out. */
  ipv6?: string;
  /** The gateway's; 02:42 and its IPv4 address when left out. */
  mac?: string;
  /** 65520 when left out. */
  mtu?: number;
  /** The uplink by which packets leave the deck; none when left out. */
  uplink?: string;
  /** Whether stations may reach the loopback of a host behind the uplink. */
  hostLoopback?: boolean;
  /** Whether the gateway answers DHCP. */
  dhcp?: boolean;
  /** The prefix that stands for the network's IPv6 prefix outside, `2001:db8:1::/48` (RFC 6296). */
  npt?: string;
  /** Whether nothing goes to or comes from another network. */
  internal?: boolean;
  /** false: its ports are isolated from each other. */
  icc?: boolean;
  /** false: its packets leave by an uplink of packets with their own addresses. */
  masquerade?: boolean;
}

/** An uplink of a deck for tests. The deck is a host there: `ipv4`, `ipv6` and the pools are its addresses. */
export interface MemoryUplink
  extends Omit<
    MemoryNetwork,
    'uplink' | 'npt' | 'hostLoopback' | 'dhcp' | 'internal' | 'icc' | 'masquerade'
  > {
  /** The next hops for what is not on the uplink's own subnet; none when left out. */
  gateway4?: string;
  gateway6?: string;
  /** Further addresses of the deck, for source NAT. */
  pool?: readonly string[];
  /** Address-dependent when left out. */
  filtering?: Filtering;
  /** Whether what is behind it are the sockets of a host. */
  isHost?: boolean;
  /** Prefixes to which no connection may go. */
  denied?: readonly string[];
}

/** A `-p` of a deck for tests. */
export interface MemoryPublish {
  /** Whose ports they are. */
  station: Station;
  /** The deck's only network, when left out. */
  network?: string;
  protocol?: 'tcp' | 'udp';
  /** First and last port of the deck; `to` is `from` when left out. */
  from: number;
  to?: number;
  /** First port of the endpoint; `from` when left out. */
  target?: number;
  /** The one address of the deck; all of them when left out. */
  host?: string;
}

/** A port of a deck for tests. */
export interface MemoryPort {
  /** The deck's only network, when left out. */
  network?: string;
  /** Entered as the endpoint's own: static fdb entry, permanent neighbors. Left out, everything is learned. */
  station?: Station;
  /** Port security: on when there is a `station`, and the port is none of an uplink. */
  guard?: boolean;
  /** The gateway's address stands for the next hop of an uplink that ends in the host's sockets. */
  hostAtGateway?: boolean;
  isolated?: boolean;
  learnLimit?: number;
  /** Flooded frames a second. */
  stormLimit?: number;
  mtu?: number;
  /** A bad line in front of the port: `loss=5%,delay=10ms,seed=7`. */
  faults?: string;
}

export interface MemoryDeckOptions extends Pick<DataplaneOptions, 'seed' | 'ageing' | 'arena' | 'conntrack'> {
  uplinks?: Record<string, MemoryUplink>;
  /** One network `lan` without addresses when left out. */
  networks?: Record<string, MemoryNetwork>;
  ports: Record<string, MemoryPort>;
}

/** One frame that the deck sent. */
export interface TakenFrame {
  /** Virtual milliseconds. */
  now: number;
  bytes: Uint8Array;
}

/**
 * A deck for tests: the real switch between ports in memory, with a clock that stands still until it is moved.
 *
 * ```ts
 * const deck = memoryDeck({ ports: { a: {}, b: {} } });
 * deck.send('a', icmpEcho({ from: alice, to: bob }));
 * expect(deck.take('b')).toHaveLength(1);
 * ```
 */
export class MemoryDeck {
  /** For what is not offered here. */
  readonly virtual: VirtualDeck;
  readonly #networks = new Map<string, NetworkOptions>();
  /** The network that is meant where none is named: the first. */
  readonly #only: string;
  readonly #sent = new Map<string, TakenFrame[]>();

  /** @param options of a deck, or a scenario that is not to run by itself */
  constructor(options: MemoryDeckOptions | Scenario) {
    this.virtual = new VirtualDeck({
      ...dataplaneOptions(options),
      onOutput: (port, now, bytes, at, length) => {
        this.#sentBy(port.name).push({ now, bytes: bytes.slice(at, at + length) });
      },
    });
    if ('folder' in options) {
      for (const { name, options: own } of [...options.networks, ...options.uplinks])
        this.#networks.set(name, own);
      this.#only = options.networks[0]!.name;
      buildScenario(options, this.virtual);
      return;
    }
    const { networks = { lan: {} }, uplinks = {}, ports } = options;
    for (const [index, [name, uplink]] of Object.entries(uplinks).entries()) {
      const made = uplinkOptions(uplink, 0x100 + index);
      this.virtual.addUplink(name, made);
      this.#networks.set(name, made);
    }
    for (const [index, [name, network]] of Object.entries(networks).entries()) {
      const {
        uplink,
        npt,
        hostLoopback = false,
        dhcp = false,
        internal = false,
        icc = true,
        masquerade = true,
      } = network;
      const made: NetworkOptions = {
        ...networkOptions(network, index),
        hostLoopback,
        dhcp,
        internal,
        icc,
        masquerade,
        ...(uplink !== undefined && { uplink: this.virtual.networkId(uplink) }),
        ...(npt !== undefined && { npt: prefixOf(npt) }),
      };
      this.virtual.addNetwork(name, made);
      this.#networks.set(name, made);
    }
    this.#only = Object.keys(networks)[0]!;
    for (const [name, port] of Object.entries(ports)) this.attach(name, port);
  }

  /** Virtual milliseconds. */
  get now(): number {
    return this.virtual.now;
  }

  /** Publishes ports of a station, for each IP version of it (and of the host address); answers the publishes' ids. */
  publish(publish: MemoryPublish): number[] {
    const { station, from, to = from, target = from, protocol = 'tcp', host } = publish;
    const network = this.virtual.networkId(publish.network ?? this.#only);
    const wanted = host === undefined ? undefined : host.includes(':') ? 6 : 4;
    const addresses = [
      ...(station.ipv4 !== undefined && wanted !== 6 ? [need(parseIpv4(station.ipv4), station.ipv4)] : []),
      ...(station.ipv6 !== undefined && wanted !== 4 ? [need(parseIpv6(station.ipv6), station.ipv6)] : []),
    ];
    return addresses.map((address) =>
      this.virtual.dataplane.publish({
        network,
        address,
        protocol: protocol === 'tcp' ? 6 : 17,
        target,
        from,
        to,
        host: host === undefined ? null : need(parseIpv4(host) ?? parseIpv6(host), host),
      }),
    );
  }

  unpublish(id: number): void {
    this.virtual.dataplane.unpublish(id, this.now);
  }

  /** Replaces chain DOCKER-USER; networks and uplinks are numbered by `networkId`. */
  setUserRules(rules: readonly UserRule[]): void {
    this.virtual.dataplane.setUserRules(rules);
  }

  /** The number of a network or uplink, for rules. */
  networkId(name: string): number {
    return this.virtual.networkId(name);
  }

  /** The connections that are tracked. */
  flows(): FlowEntry[] {
    return this.virtual.dataplane.flows({}, this.now);
  }

  /** The gateway of a network (the only one when left out), as a station to write frames to. */
  gateway(network = this.#only): Station {
    const options = this.#networks.get(network);
    if (!options) throw new RangeError(`there is no network '${network}'`);
    const { macHi, macLo, ipv4, ipv6 } = options;
    return {
      mac: formatMac(macHi, macLo),
      ...(ipv4 && { ipv4: formatIpv4(ipv4.address) }),
      ...(ipv6 && { ipv6: formatIpv6(...words(ipv6.address)) }),
    };
  }

  /**
   * Who is at a port: its endpoint, if the deck was told of one. Of a port that learns, a station with addresses of the
   * network that nobody else has.
   */
  station(name: string): Station {
    const { spec } = this.#port(name);
    const { mac, ipv4, ipv6 } = spec;
    if (!mac) return this.#newcomer(name, spec.network);
    return {
      mac: formatMac(mac.hi, mac.lo),
      ...(ipv4 !== undefined && { ipv4: formatIpv4(ipv4) }),
      ...(ipv6 && { ipv6: formatIpv6(...words(ipv6)) }),
    };
  }

  /** As Docker numbers them: the next free address of the subnet, and a MAC made of it. */
  #newcomer(name: string, network: string): Station {
    const { ipv4, ipv6 } = this.#networks.get(network)!;
    const here = [...this.virtual.ports.values()].filter(({ spec }) => spec.network === network);
    const before = here.filter(({ spec }) => !spec.mac).findIndex((port) => port.name === name);
    const base4 = ipv4 ? ipv4.address & ipv4Mask(ipv4.prefix) : 0;
    const base6 = ipv6 ? words(ipv6.address) : [0, 0, 0, 0];
    const isTaken = (host: number) =>
      base4 + host === ipv4?.address ||
      (ipv6 !== null && base6[3] === host) ||
      here.some(({ spec }) => spec.ipv4 === ((base4 + host) | 0) || spec.ipv6?.[3] === host);
    let host = 1;
    for (let free = -1; free < before; ) if (!isTaken(++host)) free++;
    return {
      mac: formatMac(0x0242, ipv4 ? base4 + host : 0x7f00_0000 + (this.networkId(network) << 16) + host),
      ...(ipv4 && { ipv4: formatIpv4(base4 + host) }),
      ...(ipv6 && { ipv6: formatIpv6(base6[0]!, base6[1]!, base6[2]!, host) }),
    };
  }

  /** The MAC to which a station of a network sends what is for an address: its owner's there, or else the gateway's. */
  #nextHop(network: string, address: string): string {
    for (const { name, spec } of this.virtual.ports.values()) {
      if (spec.network !== network) continue;
      const { mac, ipv4, ipv6 } = this.station(name);
      if (address === ipv4 || address === ipv6) return mac;
    }
    return this.gateway(network).mac;
  }

  /** Adds a port, or attaches one again that was detached. */
  attach(name: string, port: MemoryPort = {}): void {
    if (this.virtual.ports.has(name)) {
      this.virtual.attach(name);
      return;
    }
    const { station, faults, network = this.#only, ...rest } = port;
    const line = faults === undefined ? undefined : parseFaults(faults);
    this.#sentBy(name);
    this.virtual.attach(name, {
      ...rest,
      network,
      ...(station && { mac: need(parseMac(station.mac), station.mac) }),
      ...(station?.ipv4 && { ipv4: need(parseIpv4(station.ipv4), station.ipv4) }),
      ...(station?.ipv6 && { ipv6: need(parseIpv6(station.ipv6), station.ipv6) }),
      ...(line && { wrap: (device, arena) => new FaultyDevice(device, arena, line) }),
    });
  }

  detach(name: string): void {
    this.virtual.detach(name);
  }

  /**
   * A frame comes in by a port; answers the verdict in words, such as `forwarded to b` or `dropped: IP_CSUM`. Addresses that a
   * frame of `eth()` does not say are those of the port's `station`, and the MACs of those to whom it would send.
   */
  send(name: string, frame: Uint8Array | TestFrame): string {
    const port = this.#port(name);
    if (!this.virtual.receive(port, this.#bytesOf(name, frame)))
      throw new RangeError(`the port '${name}' cannot receive this frame`);
    const [failed] = this.virtual.exceptions;
    if (failed) throw failed.error;
    return verdictWords(this.virtual.dataplane.lastVerdict, name, (id) => this.virtual.nameOfPort(id));
  }

  /**
   * As `send`, and answers everything that became of the frame at once: for the matchers `toForwardTo` and
   * `toBeDroppedBecause`. What was sent can still be taken.
   */
  fateOf(name: string, frame: Uint8Array | TestFrame): Fate {
    const bytes = this.#bytesOf(name, frame);
    const before = new Map([...this.#sent].map(([port, frames]) => [port, frames.length]));
    const dropsBefore = this.drops();
    const verdict = this.send(name, bytes);
    const sent: Record<string, Uint8Array[]> = {};
    for (const [port, frames] of this.#sent) {
      const own = frames.slice(before.get(port) ?? 0).map((each) => each.bytes);
      if (own.length > 0) sent[port] = own;
    }
    const drops = Object.entries(this.drops()).filter(
      ([reason, count]) => count > (dropsBefore[reason] ?? 0),
    );
    return {
      port: name,
      frame: bytes,
      route: this.#routeOf(name),
      verdict,
      sent,
      reasons: drops.map(([reason]) => reason),
    };
  }

  /** Takes what the deck has sent by a port since the last time. */
  take(name: string): Uint8Array[] {
    return this.takeTimed(name).map(({ bytes }) => bytes);
  }

  /** The same with the times. */
  takeTimed(name: string): TakenFrame[] {
    this.#port(name);
    return this.#sentBy(name).splice(0);
  }

  /** Takes everything that was sent: by port, ports that sent nothing left out. */
  takeAll(): Record<string, Uint8Array[]> {
    const taken: Record<string, Uint8Array[]> = {};
    for (const name of this.#sent.keys()) {
      const frames = this.take(name);
      if (frames.length > 0) taken[name] = frames;
    }
    return taken;
  }

  /** Lets `milliseconds` pass: timers run at their own times. */
  advance(milliseconds: number): void {
    this.virtual.advance(this.now + milliseconds);
  }

  /** Ledger, drops, ports, fdb and neighbors. @throws when the ledger does not balance: a defect of tapdeck */
  tables(): Tables {
    const tables = this.virtual.tables();
    const off = imbalance(tables.ledger);
    if (off !== 0) throw new Error(`the ledger is off by ${off} frames: a defect of tapdeck`);
    return tables;
  }

  /** How many frames were dropped for each reason. */
  drops(): Record<string, number> {
    return this.tables().drops;
  }

  #bytesOf(name: string, frame: Uint8Array | TestFrame): Uint8Array {
    return frame instanceof Uint8Array ? frame : frame.bytes(this.#routeOf(name));
  }

  #routeOf(name: string): Route {
    const { network } = this.#port(name).spec;
    return { from: this.station(name), macOf: (address) => this.#nextHop(network, address) };
  }

  #sentBy(name: string): TakenFrame[] {
    let frames = this.#sent.get(name);
    if (!frames) {
      frames = [];
      this.#sent.set(name, frames);
    }
    return frames;
  }

  #port(name: string): VirtualPort {
    const port = this.virtual.ports.get(name);
    if (!port) throw new RangeError(`there is no port '${name}'`);
    return port;
  }
}

/** A deck for tests; see `MemoryDeck`. */
export function memoryDeck(options: MemoryDeckOptions): MemoryDeck {
  return new MemoryDeck(options);
}

function dataplaneOptions(options: MemoryDeckOptions | Scenario): DataplaneOptions {
  if ('folder' in options) return deckOptions(options);
  const { seed, ageing, arena, conntrack } = options;
  const own = { ...(seed !== undefined && { seed }), ...(ageing !== undefined && { ageing }) };
  return { ...own, ...(arena && { arena }), ...(conntrack && { conntrack }) };
}

function words(address: readonly number[]): [number, number, number, number] {
  return [address[0]!, address[1]!, address[2]!, address[3]!];
}

function networkOptions({ ipv4, ipv6, mac, mtu = 65520 }: MemoryNetwork, index: number): NetworkOptions {
  const [address4, prefix4] = ipv4?.split('/') ?? [];
  const [address6, prefix6] = ipv6?.split('/') ?? [];
  const own4 = address4 === undefined ? undefined : need(parseIpv4(address4), ipv4!);
  const own6 = address6 === undefined ? undefined : need(parseIpv6(address6), ipv6!);
  const { hi, lo } = mac === undefined ? { hi: 0x0242, lo: own4 ?? index + 1 } : need(parseMac(mac), mac);
  return {
    macHi: hi,
    macLo: lo,
    ipv4: own4 === undefined ? null : { address: own4, prefix: length(prefix4, 32, ipv4!) },
    ipv6: own6 === undefined ? null : { address: own6, prefix: length(prefix6, 128, ipv6!) },
    mtu,
  };
}

function uplinkOptions(uplink: MemoryUplink, index: number): UplinkOptions {
  const { gateway4, gateway6, pool = [], filtering, isHost = false, denied = [] } = uplink;
  const pool4 = pool.filter((address) => !address.includes(':'));
  const pool6 = pool.filter((address) => address.includes(':'));
  return {
    ...networkOptions(uplink, index),
    gateway4: gateway4 === undefined ? null : need(parseIpv4(gateway4), gateway4),
    gateway6: gateway6 === undefined ? null : need(parseIpv6(gateway6), gateway6),
    ipv4Pool: pool4.map((address) => need(parseIpv4(address), address)),
    ipv6Pool: pool6.map((address) => need(parseIpv6(address), address)),
    ...(filtering && { filtering }),
    isHost,
    denied: denied.map(deniedOf),
  };
}

function deniedOf(text: string): { address: number | readonly number[]; prefix: number } {
  const [address, prefix] = text.split('/');
  const ipv4 = parseIpv4(address!);
  return ipv4 === undefined ? prefixOf(text) : { address: ipv4, prefix: length(prefix, 32, text) };
}

function prefixOf(text: string): { address: readonly number[]; prefix: number } {
  const [address, prefix] = text.split('/');
  return { address: need(parseIpv6(address!), text), prefix: length(prefix, 128, text) };
}

function length(text: string | undefined, most: number, whole: string): number {
  const prefix = Number(text);
  if (text === undefined || !Number.isInteger(prefix) || prefix > most) need(undefined, whole);
  return prefix;
}

function need<T>(value: T | undefined, text: string): T {
  if (value === undefined) throw new TypeError(`'${text}' is not an address of the kind that is needed here`);
  return value;
}
