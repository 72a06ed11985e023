import { stringify } from 'yaml';
import { parseScenario } from '../replay/scenario.ts';
import { runScenario, type ScenarioResult } from '../replay/scenario-run.ts';
import { MemoryDeck } from './memory-deck.ts';

/** A network of a scenario; keys and values as in `scenario.yaml` (docs/scenarios.md). */
export interface ScenarioNetwork {
  driver_opts?: Record<string, string>;
  enable_ipv4?: boolean;
  enable_ipv6?: boolean;
  internal?: boolean;
  ipam?: { config: { subnet: string; gateway?: string }[] };
  'x-tapdeck'?: {
    gateway_mac?: string;
    uplink?: string;
    masquerade?: boolean;
    dhcp?: boolean;
    npt?: string;
    host_loopback?: boolean;
  };
}

/** A way out of the deck. */
export interface ScenarioUplink {
  address: string | string[];
  gateway?: string | string[];
  pool?: string[];
  filtering?: string;
  host?: boolean;
  deny?: string[];
  mtu?: number;
  mac_address?: string;
}

/** A service's end in one network. */
export interface ScenarioAttachment {
  ipv4_address?: string;
  ipv6_address?: string;
  mac_address?: string;
  'x-tapdeck'?: {
    allow_spoof?: boolean;
    isolated?: boolean;
    learn_limit?: number;
    storm_limit?: number;
    mtu?: number;
  };
}

/** A rule of chain DOCKER-USER. */
export interface ScenarioRule {
  action: string;
  reject_with?: string;
  in?: string;
  out?: string;
  src?: string;
  dst?: string;
  protocol?: string;
  sport?: string | number;
  dport?: string | number;
  icmp_type?: string;
  state?: string | string[];
}

/** A scenario without a folder: the networks and ports of a deck to which a test sends the frames itself. */
export interface ScenarioSpec {
  networks?: Record<string, ScenarioNetwork | null>;
  services: Record<
    string,
    { networks?: string[] | Record<string, ScenarioAttachment | null>; ports?: string[] }
  >;
  'x-tapdeck'?: {
    seed?: number;
    /** `300s`. */
    ageing?: string;
    uplinks?: Record<string, ScenarioUplink>;
    conntrack?: { capacity?: number; quota?: number; loose?: boolean };
    rules?: ScenarioRule[];
    ports?: Record<string, { faults: string }>;
  };
}

/**
 * Runs the scenario of a folder, as `tapdeck replay FOLDER` does. For tests:
 *
 * ```ts
 * test('a station moves', () => scenario('scenarios/station-move'));
 * ```
 * @throws Error with the first difference in words, both frames decoded side by side
 */
export function scenario(folder: string): ScenarioResult;
/**
 * A deck in virtual time with the networks and services of a scenario:
 *
 * ```ts
 * const networks = { lan: { ipam: { config: [{ subnet: '10.0.0.0/24' }] } } };
 * const deck = scenario({ networks, services: { a: { networks: ['lan'] }, b: { networks: ['lan'] } } });
 * expect(deck.fateOf('a', eth().arp({ tpa: deck.station('b') }))).toForwardTo('b');
 * ```
 * @throws YamlError when a key or value is wrong
 */
export function scenario(spec: ScenarioSpec): MemoryDeck;
export function scenario(what: string | ScenarioSpec): ScenarioResult | MemoryDeck {
  if (typeof what !== 'string') return new MemoryDeck(inline(what));
  const result = runScenario(what);
  if (result.difference !== undefined) throw new Error(`${what}: ${result.difference}`);
  return result;
}

function inline(spec: ScenarioSpec): ReturnType<typeof parseScenario> {
  const scenario = parseScenario('.', 'scenario', stringify(spec, { aliasDuplicateObjects: false }));
  const { commands, duration, ports } = scenario;
  if (
    commands.length > 0 ||
    duration !== undefined ||
    ports.some((port) => port.inputs.length > 0 || port.output)
  ) {
    throw new TypeError(
      "a scenario in a test has no commands, duration, 'in' and 'out': use send, take, attach, detach and advance",
    );
  }
  return scenario;
}
