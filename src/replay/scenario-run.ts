import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CaptureError } from '../capture/capture-error.ts';
import { PcapWriter } from '../capture/pcap-writer.ts';
import type { DataplaneOptions } from '../dataplane/configuration.ts';
import { readRule } from '../dataplane/rule-spec.ts';
import { FaultyDevice } from '../device/faulty.ts';
import { earliest } from './capture-source.ts';
import { tablesDifference, writeExpectation } from './expectation.ts';
import { frameLine } from './frame-difference.ts';
import { nanoseconds, OutputCheck } from './output-check.ts';
import { OutputFile } from './output-file.ts';
import { EXPECTED_FILE, loadScenario, type Scenario, type ScenarioPort } from './scenario.ts';
import { openInputs, type ScenarioSource } from './scenario-input.ts';
import type { ScenarioPublish } from './scenario-outside.ts';
import { imbalance, type Tables } from './tables.ts';
import { verdictWords } from './verdict-words.ts';
import { VirtualDeck } from './virtual-deck.ts';

export interface ScenarioOptions {
  /** Write what came out as what is expected, instead of comparing. */
  update?: boolean;
  /** Path of a pcapng for everything that the deck sent, an interface per port. */
  output?: string;
  /** Hears of every frame that comes in, with its verdict, and of every frame that goes out. */
  onStep?: (step: ScenarioStep) => void;
  /** Hears of everything that is wrong with a capture that goes in; without it, that is the difference. */
  warn?: (problem: CaptureError) => void;
}

/** One frame on its way into or out of the deck, for whoever wants to see every decision. */
export interface ScenarioStep {
  direction: 'in' | 'out';
  /** Virtual milliseconds. */
  now: number;
  port: string;
  /** The frame in one line. */
  frame: string;
  /** Of frames that come in. */
  verdict: string;
}

export interface ScenarioResult {
  scenario: Scenario;
  /** The first difference in words, over several lines; undefined when all is as expected. */
  difference: string | undefined;
  /** Files written by `update`. */
  updated: string[];
  /** Virtual milliseconds. */
  duration: number;
  tables: Tables;
  /** Of all frames sent and all tables. */
  sha256: string;
}

/**
 * Runs the scenario of a folder in virtual time and compares what comes out with what is expected.
 * @throws YamlError, CaptureError when the scenario's files are not as they should be
 */
export function runScenario(folder: string, options: ScenarioOptions = {}): ScenarioResult {
  const { update = false, output, onStep, warn } = options;
  const scenario = loadScenario(folder);
  const problems: CaptureError[] = [];
  const outputs = update ? new Updates(scenario) : new Checks(scenario);
  const teller = onStep && new StepTeller(onStep);
  const deck: VirtualDeck = new VirtualDeck({
    ...deckOptions(scenario),
    onOutput: (port, now, bytes, at, length) => {
      outputs.see(port.name, now, bytes, at, length);
      file?.write(port.index, now, bytes, at, length);
      teller?.sent(port.name, now, frameLine(bytes, at, length));
    },
    ...(teller && {
      onInput: (port, now, bytes, at, length) =>
        teller.received(port.name, now, frameLine(bytes, at, length)),
      onVerdict: (port, verdict) =>
        teller.decided(verdictWords(verdict, port.name, (id) => deck.nameOfPort(id))),
    }),
  });
  const file = output === undefined ? undefined : new OutputFile(output);
  const sources = openInputs(scenario, warn ?? ((problem) => void problems.push(problem)));
  try {
    buildScenario(scenario, deck);
    for (const { name, spec } of scenario.ports) file?.addPort(name, spec.mac);
    play(scenario, deck, sources);
    deck.advance(scenario.duration ?? deck.now);
    teller?.flush();
    const tables = deck.tables();
    const expected = join(folder, EXPECTED_FILE);
    const sha256 = deck.finish(tables);
    const defect = defectOf(deck, tables);
    const updated = update && !defect ? outputs.write() : [];
    if (update && !defect) {
      writeExpectation(expected, tables);
      updated.push(expected);
    }
    const difference =
      defect ??
      problems[0]?.message ??
      outputs.difference() ??
      (update ? undefined : tablesDifference(expected, tables));
    return { scenario, difference, updated, duration: deck.now, tables, sha256 };
  } finally {
    for (const { source } of sources) source.close();
    file?.close();
  }
}

/** Gives an empty deck the networks, rules and ports of a scenario. */
export function buildScenario(scenario: Scenario, deck: VirtualDeck): void {
  for (const { name, options } of scenario.uplinks) deck.addUplink(name, options);
  for (const { name, options, uplink } of scenario.networks) {
    deck.addNetwork(name, { ...options, uplink: uplink === undefined ? null : deck.networkId(uplink) });
  }
  const rules = scenario.rules.map((spec, id) => ({ id, ...readRule(spec, (name) => deck.networkId(name)) }));
  deck.dataplane.setUserRules(rules);
  for (const { name, spec, faults, publishes } of scenario.ports) {
    deck.attach(name, {
      ...spec,
      ...(faults && { wrap: (device, arena) => new FaultyDevice(device, arena, faults) }),
    });
    for (const publish of publishes) publishPort(deck, spec, publish);
  }
  // Whose first command is to be attached is not there from the beginning.
  const seen = new Set<string>();
  for (const { action, port } of scenario.commands) {
    if (action === 'attach' && !seen.has(port)) deck.detach(port);
    seen.add(port);
  }
}

/** Publishes ports of an endpoint, over each IP version that it has and the host address is of. */
function publishPort(deck: VirtualDeck, spec: ScenarioPort['spec'], publish: ScenarioPublish): void {
  const { host } = publish;
  for (const address of [spec.ipv4, spec.ipv6]) {
    if (address === undefined || (host !== null && typeof host !== typeof address)) continue;
    deck.dataplane.publish({ network: deck.networkId(spec.network), address, ...publish });
  }
}

/** What a scenario says of the data plane as a whole. */
export function deckOptions({ seed, ageing, conntrack }: Scenario): DataplaneOptions {
  return { seed, ...(ageing !== undefined && { ageing }), ...(conntrack && { conntrack }) };
}

/** Frames and commands, in the order of their times; a command comes before the frames of the same instant. */
function play(scenario: Scenario, deck: VirtualDeck, inputs: readonly ScenarioSource[]): void {
  const commands = [...scenario.commands];
  const ports = new Map(inputs.map(({ source, port }) => [source, deck.ports.get(port)!]));
  const sources = inputs.map(({ source }) => source);
  for (;;) {
    const source = earliest(sources);
    const [command] = commands;
    if (command && (!source || command.at <= source.due)) {
      commands.shift();
      deck.advance(command.at);
      deck[command.action](command.port);
    } else if (source) {
      deck.advance(source.due);
      // What comes in by a port that is detached is lost, as on a cable that is unplugged.
      deck.receive(ports.get(source)!, source.view.bytes, source.view.at, source.length);
      source.next();
    } else return;
  }
}

/** What must never be, whatever the scenario expects. */
function defectOf(deck: VirtualDeck, tables: Tables): string | undefined {
  const [exception] = deck.exceptions;
  if (exception) {
    const { error, port, now, frame } = exception;
    const stack = error instanceof Error ? error.stack : String(error);
    return `a defect of tapdeck: handling a frame of port ${port} at ${now} ms failed: ${stack}\n  frame ${frame}`;
  }
  const off = imbalance(tables.ledger);
  return off === 0 ? undefined : `a defect of tapdeck: the ledger is off by ${off} frames`;
}

/** Tells of each frame that came in before it tells of what was sent because of it. */
class StepTeller {
  readonly #onStep: (step: ScenarioStep) => void;
  #received: ScenarioStep | undefined;
  #sent: ScenarioStep[] = [];

  constructor(onStep: (step: ScenarioStep) => void) {
    this.#onStep = onStep;
  }

  received(port: string, now: number, frame: string): void {
    this.flush();
    this.#received = { direction: 'in', now, port, frame, verdict: '' };
  }

  decided(verdict: string): void {
    if (this.#received) this.#received.verdict = verdict;
    this.flush();
  }

  sent(port: string, now: number, frame: string): void {
    this.#sent.push({ direction: 'out', now, port, frame, verdict: '' });
  }

  flush(): void {
    if (this.#received) this.#onStep(this.#received);
    for (const step of this.#sent) this.#onStep(step);
    this.#received = undefined;
    this.#sent = [];
  }
}

interface Outputs {
  see(port: string, now: number, bytes: Uint8Array, at: number, length: number): void;
  difference(): string | undefined;
  /** Makes what was seen the expectation; answers the files. */
  write(): string[];
}

/** Compares what every port sends. */
class Checks implements Outputs {
  readonly #checks: Map<string, OutputCheck>;

  constructor(scenario: Scenario) {
    this.#checks = new Map(
      scenario.ports.map(({ name, output }) => {
        if (output && !existsSync(output.path))
          this.#missing ??= `there is no ${output.file} for port ${name}`;
        return [name, new OutputCheck(name, output && existsSync(output.path) ? output : undefined)];
      }),
    );
  }
  #missing: string | undefined;

  see(port: string, now: number, bytes: Uint8Array, at: number, length: number): void {
    this.#checks.get(port)!.see(now, bytes, at, length);
  }

  difference(): string | undefined {
    if (this.#missing) return `${this.#missing}; run with --update to write what comes out`;
    const found = [...this.#checks.values()]
      .map((check) => check.finish())
      .filter((each) => each !== undefined);
    found.sort((a, b) => a.at - b.at);
    return found[0]?.words;
  }

  write(): string[] {
    return [];
  }
}

/** Writes what every port sends. */
class Updates implements Outputs {
  /** In memory until the end: a run that fails leaves the files as they are. */
  readonly #writers = new Map<string, { path: string; chunks: Uint8Array[]; writer: PcapWriter }>();
  /** Ports whose frames are compared, not written. */
  readonly #recorded: Map<string, OutputCheck>;
  readonly #silent = new Map<string, number>();

  constructor(scenario: Scenario) {
    this.#recorded = new Map();
    for (const { name, output } of scenario.ports) {
      if (!output) this.#silent.set(name, 0);
      else if (output.recorded) this.#recorded.set(name, new OutputCheck(name, output));
      else {
        const chunks: Uint8Array[] = [];
        const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()), { nanoseconds: true });
        this.#writers.set(name, { path: output.path, chunks, writer });
      }
    }
  }

  see(port: string, now: number, bytes: Uint8Array, at: number, length: number): void {
    const writer = this.#writers.get(port)?.writer;
    if (writer) writer.write(BigInt(nanoseconds(now)), bytes, at, length);
    else if (this.#silent.has(port)) this.#silent.set(port, this.#silent.get(port)! + 1);
    else this.#recorded.get(port)!.see(now, bytes, at, length);
  }

  difference(): string | undefined {
    for (const [port, count] of this.#silent) {
      const frames = count === 1 ? 'frame' : 'frames';
      if (count > 0) return `port ${port} sent ${count} ${frames}, and the scenario names no 'out' for it`;
    }
    for (const check of this.#recorded.values()) {
      const found = check.finish();
      if (found) return found.words;
    }
    return undefined;
  }

  write(): string[] {
    for (const { path, chunks } of this.#writers.values()) writeFileSync(path, Buffer.concat(chunks));
    return [...this.#writers.values()].map(({ path }) => path);
  }
}
