import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { formatMac, type Ipv6, type Mac } from '../../wire/address.ts';
import type {
  ConntrackOptions,
  NetworkOptions,
  Rejection,
  RuleAction,
  RuleState,
} from '../dataplane/commands.ts';
import { type RuleSpec, readRule } from '../dataplane/rule-spec.ts';
import { FaultsError, type LineFaults, parseFaults } from '../device/faulty.ts';
import { inIpv4Subnet, inIpv6Subnet, ipv4Of, ipv6Of, macOf, prefixOf } from './scenario-address.ts';
import {
  conntrackOf,
  publishOf,
  type ScenarioPublish,
  type ScenarioUplink,
  uplinkOf,
} from './scenario-outside.ts';
import type { VirtualPortSpec } from './virtual-port.ts';
import { YamlValue } from './yaml-value.ts';

/** The name of the file that makes a folder a scenario. */
export const SCENARIO_FILE = 'scenario.yaml';
export const EXPECTED_FILE = 'expected.yaml';

/** Frames of a capture file, all or those of some stations. */
export interface CaptureReference {
  /** As the scenario names it. */
  file: string;
  path: string;
  /** Only frames with one of these source MACs, and none with one of those. */
  from: readonly string[] | undefined;
  notFrom: readonly string[] | undefined;
}

/** A capture that goes into the deck. */
export interface ScenarioInput extends CaptureReference {
  /** Virtual milliseconds at which its first frame comes; without it all captures share one clock. */
  at: number | undefined;
}

/** A capture that is to come out of the deck. */
export interface ScenarioOutput extends CaptureReference {
  /**
   * Recorded by somebody else (a kernel, say): bytes and order are compared, times are not, and `--update` never
   * writes it.
   */
  recorded: boolean;
  /**
   * Whether the marks may differ that whoever makes a packet chooses as he likes: IPv4 identification and DF
   * (RFC 6864) with the header checksum that follows from them, IPv6 flow label (RFC 6437).
   */
  anyIdentification: boolean;
}

export interface ScenarioPort {
  name: string;
  spec: Omit<VirtualPortSpec, 'wrap'>;
  inputs: ScenarioInput[];
  output: ScenarioOutput | undefined;
  faults: LineFaults | undefined;
  /** Ports of the deck that are this endpoint's. */
  publishes: readonly ScenarioPublish[];
}

/** A network, and by which uplink its packets leave. */
export interface ScenarioNetwork {
  name: string;
  options: Omit<NetworkOptions, 'uplink'>;
  uplink: string | undefined;
}

export const ACTIONS = ['attach', 'detach', 'block', 'unblock'] as const;

/** Something that is done to a port at a time. */
export interface ScenarioCommand {
  /** Virtual milliseconds. */
  at: number;
  action: (typeof ACTIONS)[number];
  port: string;
}

/** A scenario as its `scenario.yaml` says it; see docs/scenarios.md. */
export interface Scenario {
  folder: string;
  /** The file as messages name it. */
  file: string;
  uplinks: ScenarioUplink[];
  networks: ScenarioNetwork[];
  /** Chain DOCKER-USER. */
  rules: RuleSpec[];
  ports: ScenarioPort[];
  commands: ScenarioCommand[];
  seed: number;
  /** Milliseconds; the deck's default when left out. */
  ageing: number | undefined;
  conntrack: ConntrackOptions | undefined;
  /** Virtual milliseconds at which it ends; with its last frame or command when left out. */
  duration: number | undefined;
}

/** Keys of Compose that say nothing about the network: a scenario runs no containers. */
const OTHER_SERVICE_KEYS = [
  'image',
  'build',
  'command',
  'entrypoint',
  'container_name',
  'hostname',
  'environment',
  'labels',
  'depends_on',
  'restart',
];

const MTU_OPTION = 'com.docker.network.driver.mtu';
const ICC_OPTION = 'com.docker.network.bridge.enable_icc';
const DEFAULT_MTU = 65520;

/**
 * Reads and checks a scenario's folder.
 * @throws YamlError with file, line and column; or the system's error when there is no scenario
 */
export function loadScenario(folder: string): Scenario {
  const file = join(folder, SCENARIO_FILE);
  return parseScenario(folder, file, readFileSync(file, 'utf8'));
}

/**
 * Reads a file that says how a deck is to be, and nothing of what is to come in: a policy. A scenario is one, too.
 * @throws YamlError with file, line and column; or the system's error when there is no such file
 */
export function loadPolicy(path: string): Scenario {
  const file = statSync(path).isDirectory() ? join(path, SCENARIO_FILE) : path;
  return new ScenarioReader(dirname(file), file, YamlValue.parse(file, readFileSync(file, 'utf8')), false)
    .scenario;
}

/**
 * Reads and checks the text of a scenario.
 * @param folder where its captures are
 * @param file what messages call it
 * @throws YamlError with file, line and column
 */
export function parseScenario(folder: string, file: string, text: string): Scenario {
  return new ScenarioReader(folder, file, YamlValue.parse(file, text), true).scenario;
}

class ScenarioReader {
  readonly scenario: Scenario;
  readonly #folder: string;

  /** @param needsService whether somebody is to send and receive */
  constructor(folder: string, file: string, root: YamlValue, needsService: boolean) {
    this.#folder = folder;
    const top = root.fields(['name', 'networks', 'services', 'x-tapdeck'] as const, ['version']);
    const keys = [
      'seed',
      'ageing',
      'duration',
      'ports',
      'commands',
      'rules',
      'uplinks',
      'conntrack',
    ] as const;
    const own = top['x-tapdeck']?.fields(keys) ?? {};
    this.scenario = {
      folder,
      file,
      uplinks: [],
      networks: [],
      rules: [],
      ports: [],
      commands: [],
      seed: own.seed?.integer(0, 0xffff_ffff) ?? 0,
      ageing: own.ageing?.duration(),
      conntrack: own.conntrack && conntrackOf(own.conntrack),
      duration: own.duration?.duration(),
    };
    for (const [name, value] of own.uplinks?.entries() ?? []) {
      this.scenario.uplinks.push(uplinkOf(name, value, this.scenario.uplinks.length));
    }
    for (const [name, value] of top.networks?.entries() ?? []) this.#network(name, value);
    for (const [name, value] of top.services?.entries() ?? []) this.#service(name, value);
    if (needsService && this.scenario.ports.length === 0)
      (top.services ?? root).fail('a scenario needs at least one service');
    for (const [name, value] of own.ports?.entries() ?? []) this.#port(name, value);
    this.scenario.rules = (own.rules?.list() ?? []).map((value) => this.#rule(value));
    const commands = (own.commands?.list() ?? []).map((value) => ({ ...this.#command(value), value }));
    commands.sort((a, b) => a.at - b.at);
    this.#checkOrder(commands);
    this.scenario.commands = commands.map(({ at, action, port }) => ({ at, action, port }));
  }

  #network(name: string, value: YamlValue): void {
    const keys = [
      'driver',
      'driver_opts',
      'enable_ipv4',
      'enable_ipv6',
      'internal',
      'ipam',
      'x-tapdeck',
    ] as const;
    const fields = value.fields(keys, ['labels', 'name', 'attachable']);
    fields.driver?.word(['bridge', 'tapdeck']);
    let icc = true;
    let mtu = DEFAULT_MTU;
    for (const [option, setting] of fields.driver_opts?.entries() ?? []) {
      if (option === MTU_OPTION) {
        mtu = Number(setting.text());
        if (!Number.isInteger(mtu) || mtu < 68 || mtu > DEFAULT_MTU) {
          setting.fail(`must be a whole number from 68 to ${DEFAULT_MTU}, not '${setting.text()}'`);
        }
      } else if (option === ICC_OPTION) {
        icc = setting.boolean();
      } else setting.failKey(`unknown driver option; allowed: ${MTU_OPTION}, ${ICC_OPTION}`);
    }
    const { ipv4, ipv6 } = this.#ipam(fields.ipam);
    const own = fields['x-tapdeck']?.fields([
      'gateway_mac',
      'uplink',
      'masquerade',
      'dhcp',
      'npt',
      'host_loopback',
    ] as const);
    if (this.#segment(name)) value.fail(`there is an uplink '${name}' already`);
    const uplink = own?.uplink?.text();
    const { uplinks } = this.scenario;
    if (uplink !== undefined && !uplinks.some((each) => each.name === uplink)) {
      const names = uplinks.map((each) => each.name).join(', ') || 'none';
      own!.uplink!.fail(`there is no uplink '${uplink}' in x-tapdeck.uplinks; there are: ${names}`);
    }
    const npt = own?.npt && prefixOf(own.npt);
    if (npt && 'v4' in npt) own.npt!.fail('must be an IPv6 prefix');
    const mac = own?.gateway_mac ? macOf(own.gateway_mac) : gatewayMac(ipv4, this.scenario.networks.length);
    this.scenario.networks.push({
      name,
      options: {
        macHi: mac.hi,
        macLo: mac.lo,
        ipv4: fields.enable_ipv4?.boolean() === false ? null : ipv4,
        ipv6: fields.enable_ipv6?.boolean() === false ? null : ipv6,
        mtu,
        icc,
        internal: fields.internal?.boolean() ?? false,
        ...(own?.masquerade && { masquerade: own.masquerade.boolean() }),
        ...(own?.dhcp && { dhcp: own.dhcp.boolean() }),
        ...(own?.host_loopback && { hostLoopback: own.host_loopback.boolean() }),
        ...(npt && 'v6' in npt && { npt: npt.v6 }),
      },
      uplink,
    });
  }

  #ipam(value: YamlValue | undefined): Pick<NetworkOptions, 'ipv4' | 'ipv6'> {
    const found: Pick<NetworkOptions, 'ipv4' | 'ipv6'> = { ipv4: null, ipv6: null };
    const fields = value?.fields(['driver', 'config'] as const);
    fields?.driver?.word(['default']);
    for (const entry of fields?.config?.list() ?? []) {
      const { subnet, gateway } = entry.fields(['subnet', 'gateway'] as const);
      if (!subnet) return entry.fail('needs a subnet, such as 10.0.0.0/24 or fd00::/64');
      const text = subnet.text();
      const base = prefixOf(subnet);
      if ('v4' in base) {
        if (found.ipv4) subnet.fail('a network has one IPv4 subnet');
        const chosen = gateway ? ipv4Of(gateway) : (base.v4.address | 1) >> 0;
        found.ipv4 = { address: chosen, prefix: base.v4.prefix };
        if (!inIpv4Subnet(chosen, base.v4)) gateway!.fail(`is outside the subnet ${text}`);
      } else {
        if (found.ipv6) subnet.fail('a network has one IPv6 subnet');
        const [w0, w1, w2, w3] = base.v6.address;
        const chosen: Ipv6 = gateway ? ipv6Of(gateway) : [w0, w1, w2, w3 | 1];
        found.ipv6 = { address: chosen, prefix: base.v6.prefix };
        if (!inIpv6Subnet(chosen, base.v6)) gateway!.fail(`is outside the subnet ${text}`);
      }
    }
    return found;
  }

  #service(name: string, value: YamlValue): void {
    if (name.includes('.')) value.fail('a service has no dot in its name: ports are called service.network');
    const { networks, ports } = value.fields(['networks', 'ports'] as const, OTHER_SERVICE_KEYS);
    const before = this.scenario.ports.length;
    const attachments: [string, YamlValue | undefined][] = networks?.isList
      ? networks.list().map((item) => [item.text(), undefined])
      : (networks?.entries() ?? [['default', undefined]]);
    for (const [network, attachment] of attachments) {
      const known = this.#segment(network);
      if (!known && network === 'default') this.#network('default', YamlValue.parse('', ''));
      else if (!known) {
        const { networks: own, uplinks } = this.scenario;
        const names = [...own, ...uplinks].map((each) => each.name).join(', ') || 'none';
        (attachment ?? networks ?? value).fail(`there is no network '${network}'; there are: ${names}`);
      }
      const port = attachments.length === 1 ? name : `${name}.${network}`;
      this.#attachment(port, network, attachment);
    }
    if (ports) this.#publishes(ports, this.scenario.ports.slice(before));
  }

  /** Published ports lead to the service's first endpoint in a network, as Docker has it. */
  #publishes(value: YamlValue, own: readonly ScenarioPort[]): void {
    const endpoint = own.find(({ spec }) => this.scenario.networks.some(({ name }) => name === spec.network));
    if (!endpoint || (endpoint.spec.ipv4 === undefined && endpoint.spec.ipv6 === undefined)) {
      value.fail('a service that publishes ports needs an ipv4_address or ipv6_address in its network');
    } else endpoint.publishes = value.list().map(publishOf);
  }

  /** What a port can be attached to: a network, or an uplink. */
  #segment(name: string): { name: string; options: Omit<NetworkOptions, 'uplink'> } | undefined {
    const byName = (each: { name: string }) => each.name === name;
    return this.scenario.networks.find(byName) ?? this.scenario.uplinks.find(byName);
  }

  #attachment(name: string, network: string, value: YamlValue | undefined): void {
    const keys = ['ipv4_address', 'ipv6_address', 'mac_address', 'x-tapdeck'] as const;
    const fields = value?.fields(keys, ['aliases', 'priority']) ?? {};
    const own = fields['x-tapdeck']?.fields([
      'allow_spoof',
      'isolated',
      'learn_limit',
      'storm_limit',
      'mtu',
    ] as const);
    const { options } = this.#segment(network)!;
    const mac = fields.mac_address && macOf(fields.mac_address);
    const ipv4 = fields.ipv4_address && ipv4Of(fields.ipv4_address);
    const ipv6 = fields.ipv6_address && ipv6Of(fields.ipv6_address);
    const subnet = options.ipv4;
    if (ipv4 !== undefined && (!subnet || !inIpv4Subnet(ipv4, subnet))) {
      fields.ipv4_address!.fail(`is in no subnet of the network '${network}'`);
    }
    const subnet6 = options.ipv6;
    if (ipv6 && (!subnet6 || !inIpv6Subnet(ipv6, subnet6))) {
      fields.ipv6_address!.fail(`is in no subnet of the network '${network}'`);
    }
    this.scenario.ports.push({
      name,
      spec: {
        network,
        ...(own?.isolated && { isolated: own.isolated.boolean() }),
        ...(mac && { mac }),
        ...(own?.allow_spoof && { guard: mac !== undefined && !own.allow_spoof.boolean() }),
        ...(ipv4 !== undefined && { ipv4 }),
        ...(ipv6 && { ipv6 }),
        ...(own?.learn_limit && { learnLimit: own.learn_limit.integer(0, 65536) }),
        ...(own?.storm_limit && { stormLimit: own.storm_limit.integer(0, 1_000_000) }),
        ...(own?.mtu && { mtu: own.mtu.integer(68, DEFAULT_MTU) }),
      },
      inputs: [],
      output: undefined,
      faults: undefined,
      publishes: [],
    });
  }

  #rule(value: YamlValue): RuleSpec {
    const keys = [
      'action',
      'reject_with',
      'in',
      'out',
      'src',
      'dst',
      'protocol',
      'sport',
      'dport',
      'icmp_type',
      'state',
    ] as const;
    const fields = value.fields(keys);
    const { reject_with, icmp_type, state } = fields;
    if (!fields.action) return value.fail('needs an action: ACCEPT, DROP, REJECT or RETURN');
    const spec: RuleSpec = { action: fields.action.text() as RuleAction };
    for (const key of ['in', 'out', 'src', 'dst', 'protocol', 'sport', 'dport'] as const) {
      const field = fields[key];
      if (field) spec[key] = field.text();
    }
    if (reject_with) spec.rejectWith = reject_with.text() as Rejection;
    if (icmp_type) spec.icmpType = icmp_type.text();
    if (state) spec.state = (state.isList ? state.list() : [state]).map((each) => each.text() as RuleState);
    try {
      const known = [...this.scenario.networks, ...this.scenario.uplinks].map(({ name }) => name);
      readRule(spec, (name) => (known.includes(name) ? known.indexOf(name) : undefined));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      value.fail(error.message);
    }
    return spec;
  }

  #port(name: string, value: YamlValue): void {
    const port = this.#findPort(name, value);
    const fields = value.fields(['in', 'out', 'faults'] as const);
    if (fields.in) {
      const inputs = fields.in.isList ? fields.in.list() : [fields.in];
      port.inputs = inputs.map((input) => this.#input(input));
    }
    if (fields.out) port.output = this.#output(fields.out);
    if (fields.faults) {
      try {
        port.faults = parseFaults(fields.faults.text());
      } catch (error) {
        if (!(error instanceof FaultsError)) throw error;
        fields.faults.fail(error.message.replace(/^faults: /, ''));
      }
    }
  }

  #input(value: YamlValue): ScenarioInput {
    if (!value.isMap) return { ...this.#reference(value, undefined, undefined), at: undefined };
    const { capture, from, not_from, at } = value.fields(['capture', 'from', 'not_from', 'at'] as const);
    if (!capture) return value.fail('needs a capture: the name of a pcap or pcapng file');
    return { ...this.#reference(capture, from, not_from), at: at?.duration() };
  }

  #output(value: YamlValue): ScenarioOutput {
    if (value.isMap) {
      const keys = ['recorded', 'from', 'not_from', 'any_identification'] as const;
      const { recorded, from, not_from, any_identification } = value.fields(keys);
      if (!recorded) return value.fail('needs recorded: the name of a capture made by somebody else');
      const anyIdentification = any_identification?.boolean() ?? false;
      return { ...this.#reference(recorded, from, not_from), recorded: true, anyIdentification };
    }
    const file = value.text();
    if (!/^[^/\\]+\.pcap$/.test(file))
      value.fail(`must be a .pcap file in the scenario's folder, not '${file}'`);
    const path = join(this.#folder, file);
    return { file, path, from: undefined, notFrom: undefined, recorded: false, anyIdentification: false };
  }

  #reference(
    capture: YamlValue,
    from: YamlValue | undefined,
    notFrom: YamlValue | undefined,
  ): CaptureReference {
    const file = capture.text();
    const path = resolve(this.#folder, file);
    if (!existsSync(path)) capture.fail(`there is no file '${file}' (looked in ${this.#folder})`);
    const macs = (value: YamlValue): string[] =>
      (value.isList ? value.list() : [value]).map((item) => {
        const { hi, lo } = macOf(item);
        return formatMac(hi, lo);
      });
    return { file, path, from: from && macs(from), notFrom: notFrom && macs(notFrom) };
  }

  #command(value: YamlValue): ScenarioCommand {
    const fields = value.fields(['at', ...ACTIONS] as const);
    if (!fields.at) return value.fail('needs at: when it happens, such as 5s');
    const chosen = ACTIONS.filter((action) => fields[action] !== undefined);
    if (chosen.length !== 1) return value.fail(`needs exactly one of ${ACTIONS.join(', ')}`);
    const action = chosen[0]!;
    const port = this.#findPort(fields[action]!.text(), fields[action]!);
    return { at: fields.at.duration(), action, port: port.name };
  }

  /** Refuses what cannot be done at its time, such as to detach what is not there. */
  #checkOrder(commands: readonly (ScenarioCommand & { value: YamlValue })[]): void {
    const last = new Map<string, ScenarioCommand['action']>();
    for (const { action, port, value } of commands) {
      const before = last.get(port) ?? (action === 'attach' ? 'detach' : 'attach');
      const wrong = (action === 'attach') === (before !== 'detach');
      if (wrong)
        value.fail(`the port '${port}' is ${before === 'detach' ? 'detached' : 'attached'} already then`);
      last.set(port, action);
    }
  }

  #findPort(name: string, value: YamlValue): ScenarioPort {
    const { ports } = this.scenario;
    const port = ports.find((each) => each.name === name);
    return (
      port ??
      value.fail(`there is no port '${name}'; there are: ${ports.map((each) => each.name).join(', ')}`)
    );
  }
}

/** Docker's way: 02:42 and the IPv4 address; without one, a number. */
function gatewayMac(ipv4: NetworkOptions['ipv4'], index: number): Mac {
  return { hi: 0x0242, lo: ipv4 ? ipv4.address : index + 1 };
}
