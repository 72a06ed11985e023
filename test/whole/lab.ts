import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { type EndpointFlags, endpointOptions } from '../../src/cli/endpoint-options.ts';
import { type CreateFlags, networkOptions } from '../../src/cli/network.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { DaemonClient } from '../../src/control/client.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import type { NetworkInfo } from '../../src/control/network.ts';
import type { CountersView, DropView } from '../../src/control/views.ts';
import { netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, type Outcome, PATIENCE, type Running } from './account.ts';

const PEER = fileURLToPath(new URL('peer.py', import.meta.url));

/**
 * A daemon, and namespaces that are attached to it: real kernels on a real deck. It understands the options of the command
 * line, but asks the daemon itself: each start of the program would be a tenth of a second of CPU.
 */
export class Lab {
  readonly account = Account.root();
  readonly #sandboxes = new Sandboxes();
  readonly #programs: Running[] = [];
  readonly #gateways = new Map<string, Gateway>();
  #daemon: Running | undefined;
  #captures = 0;

  /** Starts the daemon: `'--uplink', 'tap:…'`. `close` must follow, also when this fails. */
  async open(...options: string[]): Promise<void> {
    this.#daemon = await this.account.daemon(...options);
  }

  get daemon(): Running {
    return this.#daemon!;
  }

  /** The daemon's API. */
  get client(): DaemonClient {
    return new DaemonClient(join(this.account.runtime, 'tapdeck.sock'));
  }

  /** Makes a network: `'--subnet', '10.1.0.0/24', '--mtu', '1500'`. */
  async network(name: string, ...options: string[]): Promise<void> {
    const flags = flagsOf<CreateFlags>('network create', options);
    await this.client.post('/v1/networks', networkOptions(name, flags));
  }

  /** The gateway of a network, as a station there. */
  async gateway(network: string): Promise<Gateway> {
    let gateway = this.#gateways.get(network);
    if (gateway === undefined) {
      const { mac, ipv4, ipv6 } = await this.client.get<NetworkInfo>(`/v1/networks/${network}`);
      gateway = { mac, ipv4: ipv4?.gateway ?? '', ipv6: ipv6?.gateway ?? '' };
      this.#gateways.set(network, gateway);
    }
    return gateway;
  }

  /** Makes a namespace and attaches it. */
  async attach(name: string, ...options: string[]): Promise<Host> {
    const netns = this.#sandboxes.add(name);
    const endpoint = await this.client.post<Endpoint>('/v1/endpoints', {
      ...endpointOptions(flagsOf<EndpointFlags>('attach', options)),
      netns: netnsPath(netns),
      name,
    });
    return new Host(this, netns, endpoint, await this.gateway(endpoint.network));
  }

  /** A namespace that is not attached. */
  sandbox(name: string): string {
    return this.#sandboxes.add(name);
  }

  /** A namespace beside the deck, that an uplink leads into or that is farther away. */
  station(name: string, ifname: string): Station {
    const netns = this.#sandboxes.add(name);
    execFileSync('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
    return new Station(this, netns, name, ifname);
  }

  /** `ip netns del`. */
  remove(netns: string): void {
    this.#sandboxes.remove(netns);
  }

  start(...command: string[]): Running {
    const running = this.account.spawn(command);
    this.#programs.push(running);
    return running;
  }

  captureFile(): string {
    return join(this.account.folder, `${++this.#captures}.pcap`);
  }

  async drops(): Promise<Record<string, number>> {
    const views = await this.client.get<DropView[]>('/v1/drops');
    return Object.fromEntries(views.map(({ reason, count }) => [reason, count]));
  }

  counters(): Promise<CountersView> {
    return this.client.get<CountersView>('/v1/counters');
  }

  endpoints(): Promise<Endpoint[]> {
    return this.client.get<Endpoint[]>('/v1/endpoints');
  }

  /** For afterEach: ends the programs in the namespaces that a failed test left running. The daemon must still run. */
  async stopPrograms(): Promise<void> {
    await this.stop();
    const { exitCode, signalCode } = this.daemon.child;
    if (exitCode !== null || signalCode !== null)
      throw new Error(`the daemon has ended with ${exitCode ?? signalCode}: ${this.daemon.err}`);
  }

  /** As `stopPrograms`, also when the daemon has ended. */
  async stop(): Promise<void> {
    const programs = this.#programs.splice(0);
    for (const program of programs) program.kill('SIGKILL');
    await Promise.all(programs.map(({ ended }) => ended));
  }

  async close(): Promise<void> {
    try {
      await this.account.remove();
    } finally {
      this.#sandboxes.removeAll();
    }
  }
}

/** What the program makes of a command's options. */
function flagsOf<Flags extends object>(command: string, options: readonly string[]): Flags {
  let found = buildProgram(() => {});
  for (const name of command.split(' ')) found = found.commands.find((each) => each.name() === name)!;
  const { operands, unknown } = found.parseOptions([...options]);
  if (operands.length + unknown.length > 0) throw new Error(`${command} has no ${[...operands, ...unknown]}`);
  return found.opts<Flags>();
}

export interface Gateway {
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** A namespace with one interface that matters. */
export class Station {
  readonly netns: string;
  readonly name: string;
  readonly ifname: string;
  readonly #lab: Lab;

  constructor(lab: Lab, netns: string, name: string, ifname: string) {
    this.#lab = lab;
    this.netns = netns;
    this.name = name;
    this.ifname = ifname;
  }

  /** `ip ARGUMENTS` there. */
  ip(...words: string[]): string {
    return execFileSync('ip', ['-n', this.netns, ...words], { encoding: 'utf8' });
  }

  /** `sysctl -w NAME=VALUE` there. */
  sysctl(...settings: string[]): void {
    execFileSync('ip', ['netns', 'exec', this.netns, 'sysctl', '-qw', ...settings]);
  }

  start(...command: string[]): Running {
    return this.#lab.start('ip', 'netns', 'exec', this.netns, ...command);
  }

  run(...command: string[]): Promise<Outcome> {
    return this.start(...command).ended;
  }

  /** Runs a command that must succeed; answers what it printed. */
  async ok(...command: string[]): Promise<string> {
    const { code, out, err } = await this.run(...command);
    if (code !== 0) throw new Error(`${command.join(' ')} in ${this.name} ended with ${code}: ${out}${err}`);
    return out;
  }

  /**
   * Pings until so many answers are there, 20 ms apart; answers the numbers of those that never came. `ping` itself
   * calls an answer lost that comes 20 ms after the last request.
   */
  async lostPings(address: string, count: number, ...options: string[]): Promise<number[]> {
    const said = await this.run(
      'ping',
      '-n',
      '-i',
      '0.02',
      '-c',
      String(count),
      '-w',
      '30',
      ...options,
      address,
    );
    const answered = new Set(
      Array.from(said.out.matchAll(/icmp_seq=(\d+) ttl/g), ([, number]) => Number(number)),
    );
    return Array.from({ length: count }, (_, i) => i + 1).filter((number) => !answered.has(number));
  }

  /** The routers on the way, and the destination: who answers traceroute, '*' for who does not. */
  async hops(method: string, to: string, ...options: string[]): Promise<string[]> {
    // However late, and however much later than the answers of others.
    const said = await this.ok('traceroute', method, '-n', '-q', '1', '-w', '20,0,0', ...options, to);
    return Array.from(said.matchAll(/^ *\d+ +(\S+)/gm), ([, hop]) => hop!);
  }

  /** Starts a program and waits until it has said that it is ready. */
  async serve(ready: string | RegExp, ...command: string[]): Promise<Running> {
    const running = this.start(...command);
    await running.said(ready);
    return running;
  }

  /** `peer.py WHAT ARGUMENT…` to its end. */
  peer(...words: string[]): Promise<string> {
    return this.ok('python3', PEER, ...words);
  }

  /** `peer.py WHAT ARGUMENT…`, when it is ready. */
  servePeer(...words: string[]): Promise<Running> {
    return this.serve('ready', 'python3', PEER, ...words);
  }

  /** Sends frames as they are. */
  async send(frames: readonly Uint8Array[]): Promise<void> {
    const running = this.start('python3', PEER, 'frames', this.ifname);
    running.child.stdin!.end(frames.map((frame) => `${Buffer.from(frame).toString('hex')}\n`).join(''));
    const { code, out, err } = await running.ended;
    if (code !== 0 || out !== `${frames.length}\n`) throw new Error(`cannot send frames: ${out}${err}`);
  }

  /** Makes the kernel send and show what a line would carry: no segments of 64 KiB, no partial checksums. */
  offloadsOff(): void {
    this.longQueue();
    this.#switchOff('tx', 'sg', 'tso', 'gso', 'gro', 'txvlan');
  }

  /** Makes the kernel show what it receives before it joins segments. */
  groOff(): void {
    this.#switchOff('gro');
  }

  #switchOff(...names: string[]): void {
    const features = names.flatMap((name) => [name, 'off']);
    execFileSync('ip', ['netns', 'exec', this.netns, 'ethtool', '-K', this.ifname, ...features]);
  }

  /** Makes the interface's own queue so long that no burst overruns it. */
  longQueue(): void {
    execFileSync('ip', ['-n', this.netns, 'link', 'set', this.ifname, 'txqueuelen', '100000']);
  }

  /** Frames that the interface lost before the deck could take them. */
  lostFrames(): number {
    return this.#statistics().tx!.dropped!;
  }

  /** Frames that have come to the interface, whatever the kernel made of them. */
  arrivedFrames(): number {
    return this.#statistics().rx!.packets!;
  }

  #statistics(): Record<string, Record<string, number>> {
    const said = execFileSync('ip', ['-n', this.netns, '-s', '-j', 'link', 'show', this.ifname]);
    return JSON.parse(said.toString())[0].stats64;
  }

  /** Starts to record what the interface sends and receives. */
  async capture(...filter: string[]): Promise<Capture> {
    const path = this.#lab.captureFile();
    const options = ['-i', this.ifname, '-n', '-Z', 'root', '-B', '65536', '-w', path];
    const tcpdump = await this.serve('listening on', 'tcpdump', ...options, ...filter);
    return new Capture(path, tcpdump);
  }
}

/** An attached namespace. */
export class Host extends Station {
  readonly mac: string;
  readonly mtu: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly gateway: Gateway;

  constructor(lab: Lab, netns: string, { name, mac, mtu, ipv4, ipv6, ifname }: Endpoint, gateway: Gateway) {
    super(lab, netns, name, ifname);
    this.gateway = gateway;
    this.mac = mac;
    this.mtu = mtu;
    this.ipv4 = ipv4 ?? '';
    this.ipv6 = ipv6 ?? '';
  }
}

/** A running `tcpdump`. */
export class Capture {
  readonly path: string;
  readonly #tcpdump: Running;

  constructor(path: string, tcpdump: Running) {
    this.path = path;
    this.#tcpdump = tcpdump;
  }

  /**
   * Ends the recording when everything that the kernel has seen is in the file; answers the frames.
   * @param expected so many are to come, and may still be on their way
   */
  async stop(expected = 0): Promise<Uint8Array[]> {
    const account = /(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped/g;
    for (let waited = 0; ; waited += 20) {
      if (waited > PATIENCE) throw new Error(`tcpdump waits for ${expected} frames: ${this.#tcpdump.err}`);
      this.#tcpdump.kill('SIGUSR1');
      await sleep(20);
      const [, captured, received, dropped] = Array.from(this.#tcpdump.err.matchAll(account)).at(-1) ?? [];
      if (Number(dropped) > 0) throw new Error(`tcpdump lost ${dropped} frames`);
      if (captured !== undefined && captured === received && Number(captured) >= expected) break;
    }
    this.#tcpdump.kill('SIGINT');
    await this.#tcpdump.ended;
    return Array.from(readCaptureSync(this.path), ({ data }) => data.slice());
  }
}

/** What `tshark` thinks of the checksums in a capture. */
export interface Checksums {
  /** Packets of each protocol. Those inside of ICMP errors do not count. */
  packets: Record<(typeof PROTOCOLS)[number], number>;
  /** Whose checksum is not right, one line for each. */
  wrong: string[];
}

/** Wireshark's PROTO_CHECKSUM_E_GOOD. */
const GOOD = '1';
const PROTOCOLS = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6'] as const;

/** Sends so many bytes over TCP from one host to another, at `address`; throws unless the same bytes arrive. */
export async function transfer(from: Station, to: Station, address: string, bytes: number): Promise<void> {
  const port = String(nextPort++);
  const sink = await to.servePeer('sink', port);
  const sent = await from.peer('source', address, port, String(bytes));
  const { out } = await sink.ended;
  if (out !== `ready\n${sent}`) throw new Error(`sent ${sent}, but this arrived: ${out}`);
}

/** Sends UDP datagrams, `perCall` with each system call; throws unless the same arrive in the same order. */
export async function sendAndCollect(
  from: Station,
  to: Station,
  address: string,
  { size, count, perCall = 1 }: { size: number; count: number; perCall?: number },
): Promise<void> {
  const port = String(nextPort++);
  // What waits for the address of the next hop is thrown away when there is more of it than 208 KiB.
  const waiting = ['ipv4', 'ipv6'].map((ip) => `net.${ip}.neigh.${from.ifname}.unres_qlen_bytes=${1 << 26}`);
  from.sysctl(...waiting);
  const collector = await to.servePeer('collect', port, String(count));
  const sent = await from.peer('datagrams', address, port, ...[size, count, perCall].map(String));
  const { out } = await collector.ended;
  if (out !== `ready\n${sent}`) throw new Error(`sent ${sent}, but this arrived: ${out}`);
}

let nextPort = 20_000;

/** Verifies the IPv4, TCP, UDP, ICMP and ICMPv6 checksums of all frames of a capture that the filter lets through. */
export async function checksums(account: Account, path: string, filter = ''): Promise<Checksums> {
  const verify = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
  const states = PROTOCOLS.map((name) => `${name}.checksum.status`);
  const fields = ['frame.protocols', ...states, 'frame.number', '_ws.col.Info'];
  const tshark = account.spawn([
    ...['tshark', '-n', '-r', path, '-Y', filter, ...verify, '-E', 'occurrence=f', '-T', 'fields'],
    ...fields.flatMap((field) => ['-e', field]),
  ]);
  const { code, out, err } = await tshark.ended;
  if (code !== 0) throw new Error(`tshark ended with ${code}: ${err}`);
  const packets = { ip: 0, tcp: 0, udp: 0, icmp: 0, icmpv6: 0 };
  const wrong: string[] = [];
  for (const line of out.split('\n')) {
    const [layers = '', ...rest] = line.split('\t');
    const outer = layers.replace(/(:icmp(?:v6)?):.*/, '$1').split(':');
    for (const [i, name] of PROTOCOLS.entries()) {
      if (!outer.includes(name)) continue;
      packets[name]++;
      if (rest[i] !== GOOD) wrong.push(`${name}: ${line}`);
    }
  }
  return { packets, wrong };
}

/** Destination address of a frame. */
export function destination(frame: Uint8Array): string {
  return formatAddress(frame, 0);
}

/** Source address of a frame. */
export function source(frame: Uint8Array): string {
  return formatAddress(frame, 6);
}

function formatAddress(frame: Uint8Array, at: number): string {
  return Array.from(frame.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
