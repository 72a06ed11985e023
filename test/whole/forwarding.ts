import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DaemonClient } from '../../src/control/client.ts';
import type { Endpoint } from '../../src/control/endpoint.ts';
import type { PublishedPort } from '../../src/control/published.ts';
import { netnsPath, Sandboxes } from '../device/sandbox.ts';
import { Account, type Outcome, Running } from './account.ts';

const PROGRAM = fileURLToPath(new URL('forwarding.py', import.meta.url));
const PEER = fileURLToPath(new URL('peer.py', import.meta.url));

export type IpVersion = 4 | 6;
export type Protocol = 'tcp' | 'udp';

/** The host's on the line to `far`, and that of `far`. */
export const HOST = { 4: '10.50.0.1', 6: 'fd50::1' } as const;
export const FAR = { 4: '10.50.0.2', 6: 'fd50::2' } as const;
export const LOOPBACK = { 4: '127.0.0.1', 6: '::1' } as const;
/** What stands for the host's loopback inside. */
export const NEXT_HOP = { 4: '192.0.0.1', 6: 'fd74:6170:6465:ffff::1' } as const;
/** The host's interface on the line to `far`. */
export const IFNAME = 'up0';

/** What a client says about an exchange. */
export interface Exchange {
  /** Who it was to the server. */
  client: string;
  /** Port of the server. */
  port: number;
  /** Whether the server saw the client's own port. */
  ownPort: boolean;
  /** Whether what came back is what was sent. */
  same: boolean;
}

/**
 * A namespace that is the host to a deck, and on a line of its own another host, `far`, that knows nothing of decks:
 * nothing of it touches this machine's network.
 */
export class HostWorld {
  readonly host: string;
  readonly far: string;
  readonly account: Account;
  readonly #sandboxes = new Sandboxes();
  readonly #servers: Running[] = [];

  /** @param open whose deck it is */
  constructor(open: (netns: string) => Account = Account.root) {
    this.host = this.#sandboxes.add('host');
    this.far = this.#sandboxes.add('far');
    const line = `link add ${IFNAME} mtu 65535 type veth peer name up0 netns ${this.far} mtu 65535`;
    this.#ip(this.host, line, ...configuration(HOST));
    this.#ip(this.far, ...configuration(FAR));
    this.account = open(this.host);
  }

  get client(): DaemonClient {
    return new DaemonClient(join(this.account.runtime, 'tapdeck.sock'));
  }

  /** Makes a namespace and attaches it. */
  async attach(name: string, ...options: string[]): Promise<string> {
    const netns = this.sandbox(name);
    await this.account.ok('attach', '--netns', netnsPath(netns), '--name', name, ...options);
    return netns;
  }

  sandbox(name: string): string {
    return this.#sandboxes.add(name);
  }

  removeSandbox(netns: string): void {
    this.#sandboxes.remove(netns);
  }

  publish(name: string, ...publish: string[]): Promise<PublishedPort[]> {
    return this.client.post<PublishedPort[]>(`/v1/endpoints/${name}/ports`, { publish });
  }

  async unpublish(name: string, spec: string): Promise<void> {
    await this.client.delete(`/v1/endpoints/${name}/ports?spec=${encodeURIComponent(spec)}`);
  }

  endpoints(): Promise<Endpoint[]> {
    return this.client.get<Endpoint[]>('/v1/endpoints');
  }

  /** Runs a command in a namespace to its end. */
  run(netns: string, ...command: string[]): Promise<Outcome> {
    return this.start(netns, ...command).ended;
  }

  start(netns: string, ...command: string[]): Running {
    return new Running(
      spawn('ip', ['netns', 'exec', netns, ...command], { stdio: ['pipe', 'pipe', 'pipe'] }),
    );
  }

  /** Answers on these ports until `close`. */
  async serve(netns: string, ...ports: number[]): Promise<void> {
    const running = this.start(netns, 'python3', PROGRAM, 'serve', ...ports.map(String));
    this.#servers.push(running);
    await running.said('ready');
  }

  /** Ends all servers. */
  async stopServers(): Promise<void> {
    const servers = this.#servers.splice(0);
    for (const running of servers) running.kill('SIGKILL');
    await Promise.all(servers.map(({ ended }) => ended));
  }

  /** Starts `peer.py echo`, which answers on many connections. */
  async echo(netns: string, port: number): Promise<void> {
    const running = this.start(netns, 'python3', PEER, 'echo', String(port));
    this.#servers.push(running);
    await running.said('ready');
  }

  /**
   * How many connections were answered, refused, and heard nothing: of all, of those that stay, and of new ones after them.
   * @param gone settles when nothing is left of the first ones, which their client has closed
   */
  async crowd(
    netns: string,
    address: string,
    port: number,
    count: number,
    gone: () => Promise<void>,
  ): Promise<number[][]> {
    const running = this.start(
      netns,
      ...['timeout', '50', 'python3', PROGRAM, 'crowd', address, String(port), String(count)],
    );
    await running.said('closed\n');
    await gone();
    running.child.stdin!.end('\n');
    const { code, out, err } = await running.ended;
    if (code !== 0) throw new Error(`the crowd failed: ${err}`);
    return JSON.parse(out.replace('closed\n', '')) as number[][];
  }

  /** Sends so many bytes and takes them back. Throws when that does not succeed. */
  async exchange(
    netns: string,
    protocol: Protocol,
    address: string,
    port: number,
    bytes: number,
  ): Promise<Exchange> {
    const { code, out, err } = await this.#client(netns, protocol, address, port, bytes);
    if (code !== 0) throw new Error(`${protocol} to ${address} port ${port} failed: ${err}`);
    return JSON.parse(out) as Exchange;
  }

  /** Name of the exception with which an exchange fails, '' if it does not. */
  async failure(netns: string, protocol: Protocol, address: string, port: number): Promise<string> {
    const { err } = await this.#client(netns, protocol, address, port, 10);
    return /^(\w+)(?::.*)?\n*$/m.exec(err.trimEnd().split('\n').at(-1) ?? '')?.[1] ?? '';
  }

  #client(netns: string, protocol: Protocol, address: string, port: number, bytes: number) {
    return this.run(
      netns,
      'timeout',
      '40',
      'python3',
      PROGRAM,
      protocol,
      address,
      String(port),
      String(bytes),
    );
  }

  async close(): Promise<void> {
    try {
      await this.stopServers();
      await this.account.remove();
    } finally {
      this.#sandboxes.removeAll();
    }
  }

  #ip(netns: string, ...commands: string[]): void {
    execFileSync('ip', ['-n', netns, '-batch', '-'], { input: commands.join('\n') });
  }
}

function configuration(address: Record<IpVersion, string>): string[] {
  return [
    'link set lo up',
    `addr add ${address[4]}/24 dev up0`,
    `addr add ${address[6]}/64 dev up0 nodad`,
    'link set up0 up',
  ];
}
