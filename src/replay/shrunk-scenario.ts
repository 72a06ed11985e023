import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { stringify } from 'yaml';
import { formatIpv4, formatMac } from '../../wire/address.ts';
import { PcapWriter } from '../capture/pcap-writer.ts';
import { DEFAULT_NETWORK, DEFAULT_NETWORK_YAML, type PlannedPort } from './capture-plan.ts';
import { ShownWatch, type ShrinkResult } from './capture-shrink.ts';
import type { Condition } from './condition.ts';
import { loadScenario, SCENARIO_FILE } from './scenario.ts';
import { buildScenario, deckOptions, runScenario } from './scenario-run.ts';
import { VirtualDeck } from './virtual-deck.ts';
import { YamlValue } from './yaml-value.ts';

/** The name of the test in a folder that `writeScenario` makes. */
export const TEST_FILE = 'replay.test.ts';

type Plain = Record<string, unknown>;

/**
 * Writes what was left of a capture as a scenario: the deck, the frames, what comes out of it, and a test. Answers the files.
 * @throws RangeError when the folder has something in it; Error when the scenario does not show the condition, a defect
 */
export function writeScenario(folder: string, result: ShrinkResult, condition: Condition): string[] {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new RangeError(`${folder}: the folder is not empty; name another one, or remove it`);
  }
  mkdirSync(folder, { recursive: true });
  const names = namesOf(result);
  const files = new Map<string, string | Uint8Array>();
  const inputs = new Map<number, string>();
  for (const port of new Set(result.frames.map((frame) => frame.port))) {
    const file = `${names[port]!.replaceAll(':', '')}-in.pcap`;
    inputs.set(port, file);
    files.set(file, captureOf(result, port));
  }
  files.set(SCENARIO_FILE, scenarioText(result, names, inputs));
  files.set('NOTE.md', noteText(result, condition));
  for (const [name, content] of files) writeFileSync(join(folder, name), content);
  addOutputs(folder, result, names, inputs);
  if (!shows(folder, result, condition, names)) {
    throw new Error(`the scenario in ${folder} does not show '${condition.text}', of which it was made`);
  }
  const { updated, tables, difference } = runScenario(folder, { update: true });
  if (difference !== undefined) throw new Error(`${folder}: ${difference}`);
  writeFileSync(join(folder, TEST_FILE), testText(condition, tables.drops));
  return [...new Set([...files.keys(), ...updated.map((file) => basename(file)), TEST_FILE])];
}

/** Names of all ports as services can have them. */
function namesOf({ plan }: ShrinkResult): string[] {
  const own = plan.policy?.ports.length ?? 0;
  const taken = new Set(plan.ports.slice(0, own).map(({ name }) => name));
  return plan.ports.map(({ name }, i) => {
    if (i < own) return name;
    const plain = name.replace(/[^A-Za-z0-9_:-]/g, '-');
    let free = plain;
    for (let n = 2; taken.has(free); n++) free = `${plain}-${n}`;
    taken.add(free);
    return free;
  });
}

function captureOf({ frames }: ShrinkResult, port: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()), { nanoseconds: true });
  for (const frame of frames) {
    if (frame.port !== port) continue;
    writer.write(BigInt(Math.round(frame.due * 1e6)), frame.bytes, 0, frame.bytes.length);
  }
  return Buffer.concat(chunks);
}

function scenarioText(
  result: ShrinkResult,
  names: readonly string[],
  inputs: ReadonlyMap<number, string>,
  outputs: readonly number[] = [],
): string {
  const { plan, seed, ports, duration } = result;
  const own = plan.policy?.ports.length ?? 0;
  const said = plan.policy ? policyOf(plan.policy.file) : {};
  const networks = { ...(said['networks'] as Plain | undefined) };
  const services: Plain = { ...(said['services'] as Plain | undefined) };
  if (plan.usesDefaultNetwork) networks[DEFAULT_NETWORK] = DEFAULT_NETWORK_YAML;
  for (const [i, port] of plan.ports.entries()) {
    if (i < own) complete(services, port);
    else if (ports.includes(i))
      services[names[i]!] = { networks: { [port.spec.network]: attachmentOf(port) } };
  }
  const uplinks = {
    ...((said['x-tapdeck'] as Plain | undefined)?.['uplinks'] as Record<string, Plain> | undefined),
  };
  for (const [name, { hi, lo }] of plan.gateways) {
    const mac = formatMac(hi, lo);
    const before = networks[name] as Plain | null | undefined;
    if (name in uplinks) uplinks[name] = { ...uplinks[name], mac_address: mac };
    else
      networks[name] = { ...before, 'x-tapdeck': { ...(before?.['x-tapdeck'] as Plain), gateway_mac: mac } };
  }
  const {
    commands: _commands,
    duration: _duration,
    ports: _ports,
    ...rest
  } = (said['x-tapdeck'] ?? {}) as Plain;
  const inOut: Record<string, { in?: unknown; out?: string }> = {};
  for (const [port, file] of inputs)
    inOut[names[port]!] = { in: { capture: file, at: firstOf(result, port) } };
  for (const port of outputs) {
    inOut[names[port]!] = { ...inOut[names[port]!], out: `${names[port]!.replaceAll(':', '')}-out.pcap` };
  }
  const whole = {
    ...said,
    networks,
    services,
    'x-tapdeck': {
      ...rest,
      ...(Object.keys(uplinks).length > 0 && { uplinks }),
      seed,
      ...(duration !== undefined && { duration: `${Math.ceil(duration)}ms` }),
      ports: inOut,
    },
  };
  return stringify(whole, { aliasDuplicateObjects: false, lineWidth: 120 });
}

/** When the first frame of a port comes, as a duration. */
function firstOf({ frames }: ShrinkResult, port: number): string {
  return `${Number((frames.find((frame) => frame.port === port)!.due * 1e3).toFixed(3))}us`;
}

function policyOf(file: string): Plain {
  return (YamlValue.parse(file, readFileSync(file, 'utf8')).plain() ?? {}) as Plain;
}

function attachmentOf({ spec }: PlannedPort): Plain | null {
  const { mac, ipv4, guard } = spec;
  if (!mac) return null;
  return {
    mac_address: formatMac(mac.hi, mac.lo),
    ...(ipv4 !== undefined && { ipv4_address: formatIpv4(ipv4) }),
    ...(guard === false && { 'x-tapdeck': { allow_spoof: true } }),
  };
}

/** What the capture said of a port of the policy, the scenario says. */
function complete(services: Plain, port: PlannedPort): void {
  if (port.spec.guard !== false || !port.spec.mac) return;
  const [service = ''] = port.name.split('.');
  const said = services[service] as { networks?: string[] | Record<string, Plain | null> };
  const networks = Array.isArray(said.networks)
    ? Object.fromEntries(said.networks.map((name) => [name, null]))
    : said.networks;
  const before: Plain = networks?.[port.spec.network] ?? {};
  services[service] = {
    ...said,
    networks: { ...networks, [port.spec.network]: { ...before, ...attachmentOf(port) } },
  };
}

/** Says of every port that sends something that it does: by running the scenario once. */
function addOutputs(
  folder: string,
  result: ShrinkResult,
  names: readonly string[],
  inputs: ReadonlyMap<number, string>,
): void {
  const sending = new Set<string>();
  runScenario(folder, { onStep: ({ direction, port }) => void (direction === 'out' && sending.add(port)) });
  const outputs = [...names.keys()].filter((i) => sending.has(names[i]!));
  writeFileSync(join(folder, SCENARIO_FILE), scenarioText(result, names, inputs, outputs));
}

/** Whether the deck of the folder shows the condition when the frames come in. */
function shows(
  folder: string,
  result: ShrinkResult,
  condition: Condition,
  names: readonly string[],
): boolean {
  const scenario = loadScenario(folder);
  const deck = new VirtualDeck(deckOptions(scenario));
  buildScenario(scenario, deck);
  const watch = new ShownWatch(
    deck,
    condition,
    (name) => result.plan.ports[names.indexOf(name)]?.name ?? name,
  );
  for (const { port, due, bytes } of result.frames) {
    deck.advance(due);
    if (watch.receive(deck.ports.get(names[port]!)!, bytes)) return true;
  }
  return watch.settle(result.duration ?? deck.now);
}

function noteText(result: ShrinkResult, condition: Condition): string {
  const { frames, packetsBefore, file } = result;
  const numbers = frames.map(({ number }) => number).join(', ');
  const what = frames.length === 1 ? `packet ${numbers} of` : `packets ${numbers} of`;
  return `\`${condition.text}\`, by ${what} ${basename(file)} (of ${packetsBefore} up to there).\n`;
}

function testText(condition: Condition, drops: Readonly<Record<string, number>>): string {
  return `import { fileURLToPath } from 'node:url';
import { scenario } from 'tapdeck/testing';
import { expect, test } from 'vitest';

test(${JSON.stringify(condition.text)}, () => {
  const { tables } = scenario(fileURLToPath(new URL('.', import.meta.url)));
  expect(tables.drops).toEqual(${JSON.stringify(drops)});
});
`;
}
