import { type Mac, parseIpv4, parseIpv6 } from '../../wire/address.ts';
import { get16, get32 } from '../../wire/bytes.ts';
import { ETH_SRC } from '../../wire/ethernet.ts';
import type { RecordView } from '../capture/capture-record.ts';
import type { NetworkOptions } from '../dataplane/commands.ts';
import { type CaptureSurvey, isOutbound, isStation, type Seen, stationName } from './capture-survey.ts';
import type { Scenario, ScenarioPort } from './scenario.ts';
import { inIpv4Subnet } from './scenario-address.ts';
import { buildScenario, deckOptions } from './scenario-run.ts';
import { VirtualDeck, type VirtualDeckOptions } from './virtual-deck.ts';
import type { VirtualPort, VirtualPortSpec } from './virtual-port.ts';

/** The network that every capture is replayed into when nothing else is said: what a fresh deck has. */
const BRIDGE: NetworkOptions = {
  macHi: 0x0242,
  macLo: parseIpv4('172.17.0.1')!,
  ipv4: { address: parseIpv4('172.17.0.1')!, prefix: 16 },
  ipv6: { address: parseIpv6('fd74:6170:6465::1')!, prefix: 64 },
  mtu: 65520,
};
export const DEFAULT_NETWORK = 'bridge';
/** The same as a scenario says it. */
export const DEFAULT_NETWORK_YAML = {
  ipam: {
    config: [
      { subnet: '172.17.0.0/16', gateway: '172.17.0.1' },
      { subnet: 'fd74:6170:6465::/64', gateway: 'fd74:6170:6465::1' },
    ],
  },
};
const OTHERS = 'others';

/** What `place` answers for a frame that the deck sent itself when it was captured. */
export const LEFT_THE_DECK = -1;

/** A port for a capture's frames. */
export interface PlannedPort {
  name: string;
  spec: VirtualPortSpec;
  /** The one station behind it, where there is one. */
  mac: Mac | undefined;
}

/**
 * By which port each frame of a capture comes into a deck: a port per interface, or per source MAC where there is one
 * interface alone. With a policy they are the policy's own ports as far as it has them, by name, MAC or address, and ports
 * that are added to its networks where it has none.
 */
export class CapturePlan {
  readonly by: 'source MAC' | 'interface';
  readonly policy: Scenario | undefined;
  /** In the order in which they are attached; the policy's come first. */
  readonly ports: PlannedPort[] = [];
  readonly #survey: CaptureSurvey;
  /** Ports by number of the station, or of the interface. */
  readonly #portOf: number[] = [];
  #others = -1;
  /** MACs of the deck's own gateways. */
  readonly #own: Mac[];
  /** MACs that the capture says of the policy's networks and uplinks, by name: of another system's gateways. */
  readonly gateways = new Map<string, Mac>();

  constructor(survey: CaptureSurvey, policy?: Scenario) {
    this.#survey = survey;
    this.policy = policy && this.#withGateways(policy);
    this.#own = this.policy
      ? [...this.policy.networks, ...this.policy.uplinks].map(({ options }) => ({
          hi: options.macHi,
          lo: options.macLo,
        }))
      : [{ hi: BRIDGE.macHi, lo: BRIDGE.macLo }];
    for (const { name, spec } of policy?.ports ?? []) {
      this.ports.push({ name, spec: { ...spec }, mac: spec.mac });
    }
    // With one interface everything was seen at one place, and direction says nothing about a switch.
    this.by = survey.interfaces.size > 1 ? 'interface' : 'source MAC';
    if (this.by === 'interface') {
      for (const [id, seen] of survey.interfaces) this.#portOf[id] = this.#portFor(seen.name, seen, true);
      return;
    }
    for (const [number, seen] of survey.stations.list.entries()) {
      // Recorded on a deck: what its gateway said then, the gateway of the replay says by itself.
      const isOwn = this.#own.some(({ hi, lo }) => hi === seen.macHi && (lo | 0) === (seen.macLo | 0));
      this.#portOf[number] = isOwn ? LEFT_THE_DECK : this.#portFor(stationName(seen), seen, false);
    }
    if (survey.others) this.#others = this.#add(OTHERS, { network: this.#networkFor(null) }, undefined);
  }

  /** Whether there is no other network than that of a fresh deck. */
  get usesDefaultNetwork(): boolean {
    return !this.policy || this.policy.networks.length + this.policy.uplinks.length === 0;
  }

  /** The number of the port by which the frame comes in, or `LEFT_THE_DECK`. */
  place(view: RecordView): number {
    if (this.by === 'interface') return isOutbound(view) ? LEFT_THE_DECK : this.#portOf[view.from.id]!;
    if (!isStation(view)) return this.#others;
    const { bytes, at } = view;
    const station = this.#survey.stations.find(get16(bytes, at + ETH_SRC), get32(bytes, at + ETH_SRC + 2));
    return station < 0 ? this.#others : this.#portOf[station]!;
  }

  /**
   * A deck with the plan's ports, each under its number.
   * @param only of the ports that are not the policy's, those that are wanted; all when left out
   */
  build(options: VirtualDeckOptions, only?: readonly number[]): { deck: VirtualDeck; ports: VirtualPort[] } {
    const { policy } = this;
    const deck = new VirtualDeck({ ...(policy && deckOptions(policy)), ...options });
    if (policy) {
      const ports = policy.ports.map((port, i): ScenarioPort => ({ ...port, spec: this.ports[i]!.spec }));
      buildScenario({ ...policy, ports, commands: [] }, deck);
    }
    if (this.usesDefaultNetwork) deck.addNetwork(DEFAULT_NETWORK, BRIDGE);
    const ports: VirtualPort[] = [];
    for (const [number, { name, spec }] of this.ports.entries()) {
      const known = deck.ports.get(name);
      if (known || !only || only.includes(number)) ports[number] = known ?? deck.attach(name, spec);
    }
    return { deck, ports };
  }

  #portFor(name: string, seen: Seen, isInterface: boolean): number {
    const { policy } = this;
    const mac = seen.macHi < 0 ? undefined : { hi: seen.macHi, lo: seen.macLo };
    if (!policy) return this.#add(name, { network: DEFAULT_NETWORK }, isInterface ? undefined : mac);
    const known = isInterface ? this.#named(name) : -1;
    const found = known >= 0 ? known : this.#claimed(seen);
    if (found >= 0) {
      this.#complete(found, seen);
      return found;
    }
    const network = this.#networkFor(seen.ipv4);
    const ipv4 = this.#addressIn(network, seen.ipv4);
    const spec = { network, ...(mac && { mac, guard: false }), ...(mac && ipv4 !== undefined && { ipv4 }) };
    return this.#add(name, spec, mac);
  }

  /** The gateways have the MACs that the capture's had: else what goes to them would be for nobody. */
  #withGateways(policy: Scenario): Scenario {
    const withMac = <S extends { name: string; options: NetworkOptions }>(segment: S): S => {
      const { name, options } = segment;
      const own = options.ipv4?.address;
      const { list } = this.#survey.stations;
      const seen =
        list.find(({ arp }) => arp !== null && arp === own) ??
        list.find(({ ipv4 }) => ipv4 !== null && ipv4 === own);
      if (!seen || (seen.macHi === options.macHi && (seen.macLo | 0) === (options.macLo | 0))) return segment;
      this.gateways.set(name, { hi: seen.macHi, lo: seen.macLo });
      return { ...segment, options: { ...options, macHi: seen.macHi, macLo: seen.macLo } };
    };
    return { ...policy, networks: policy.networks.map(withMac), uplinks: policy.uplinks.map(withMac) };
  }

  /** The policy's port that an interface's name means: `web`, `web.front`, `web eth0`. */
  #named(name: string): number {
    const first = name.split(/[\s:/]/)[0]!;
    const exact = this.ports.findIndex((port) => port.name === name || port.name === first);
    if (exact >= 0) return exact;
    const own = this.ports.filter((port) => port.name.split('.')[0] === first);
    return own.length === 1 ? this.ports.indexOf(own[0]!) : -1;
  }

  /** The policy's port whose MAC or address it is. */
  #claimed({ macHi, macLo, ipv4 }: Seen): number {
    const ports = this.ports.slice(0, this.policy!.ports.length);
    const byMac = ports.findIndex(({ spec }) => spec.mac?.hi === macHi && (spec.mac.lo | 0) === (macLo | 0));
    return byMac >= 0 || ipv4 === null ? byMac : ports.findIndex(({ spec }) => spec.ipv4 === ipv4);
  }

  /** A capture says of a policy's port what the policy leaves open: otherwise its gateway would ask, and nobody answer. */
  #complete(port: number, { macHi, macLo, ipv4 }: Seen): void {
    const planned = this.ports[port]!;
    const { spec } = planned;
    if (spec.mac || macHi < 0) return;
    spec.mac = { hi: macHi, lo: macLo };
    spec.guard = false;
    const address = this.#addressIn(spec.network, ipv4);
    if (spec.ipv4 === undefined && address !== undefined) spec.ipv4 = address;
    planned.mac = spec.mac;
  }

  /** The network whose subnet has the address, an uplink for all others, and the first there is for what has none. */
  #networkFor(ipv4: number | null): string {
    const { networks = [], uplinks = [] } = this.policy ?? {};
    const all = [...networks, ...uplinks];
    const own = all.find(({ options }) => ipv4 !== null && options.ipv4 && inIpv4Subnet(ipv4, options.ipv4));
    const outside = ipv4 === null ? undefined : uplinks[0];
    return (own ?? outside ?? all[0])?.name ?? DEFAULT_NETWORK;
  }

  /** What the station's address is to the network: its own, or that of the next hop for which it speaks. */
  #addressIn(network: string, ipv4: number | null): number | undefined {
    if (ipv4 === null) return undefined;
    const { networks = [], uplinks = [] } = this.policy!;
    const uplink = uplinks.find(({ name }) => name === network);
    const subnet = (uplink ?? networks.find(({ name }) => name === network))?.options.ipv4;
    if (subnet && inIpv4Subnet(ipv4, subnet)) return ipv4;
    return uplink?.options.gateway4 ?? undefined;
  }

  #add(name: string, spec: VirtualPortSpec, mac: Mac | undefined): number {
    let own = name;
    for (let i = 2; this.ports.some((port) => port.name === own); i++) own = `${name} (${i})`;
    return this.ports.push({ name: own, spec, mac }) - 1;
  }
}
