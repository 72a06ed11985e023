import { type Command, Option } from 'commander';
import type { DaemonClient } from '../control/client.ts';
import type { RuntimePaths } from '../control/paths.ts';
import type { Format } from './output.ts';

/**
 * What the commands of commands/ register themselves with. They describe themselves there; what they do is imported when
 * they are run: `tapdeck --version` loads none of it.
 */
export interface Cli {
  /** An action, which answers its exit code. */
  act<A extends unknown[]>(action: (...args: A) => number | Promise<number>): (...args: A) => Promise<void>;
  client(flags: CommonFlags): Promise<DaemonClient>;
  /** How to print; a table if nothing is said. */
  format(flags: CommonFlags): Format;
  /** The --host that was given, before or after the command. */
  host(flags: CommonFlags): string | undefined;
  paths(flags: CommonFlags): RuntimePaths;
}

export interface CommonFlags {
  host?: string;
  format?: Format;
}

/** Options of the commands that make a container. */
export function endpointFlags(command: Command): Command {
  return connectFlags(
    command
      .option(
        '--net, --network <name>',
        'the network, `bridge` by default, or name=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,interface-name=NAME,alias=NAME,link=CONTAINER[:NAME],gw-priority=NUMBER; may be repeated',
        collect,
      )
      .option('--name <name>', "the container's name")
      .option('--hostname <name>', 'its own name for itself; the name by default')
      .option('-l, --label <key=value>', 'a label; may be repeated', collect)
      .option('--network-alias <name>', 'a further name in the network; may be repeated', collect),
  )
    .option(
      '-p, --publish <spec>',
      'publish ports, [[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp]; may be repeated',
      collect,
    )
    .option(
      '--faults <spec>',
      'lose, double, reorder, corrupt or delay frames on purpose, as loss=1%,delay=10ms,seed=7',
    );
}

/** Options about one endpoint in one network. */
export function connectFlags(command: Command): Command {
  return command
    .option('--ip <address>', 'IPv4 address; the lowest free one by default')
    .option('--ip6 <address>', 'IPv6 address; the lowest free one by default')
    .option('--mac-address, --mac <address>', 'MAC; 02:42 and the IPv4 address by default')
    .option('--ifname <name>', 'name of the interface; eth0, or the next one, by default')
    .option('--mtu <bytes>', "largest IP packet; the network's by default")
    .option('--link <container[:name]>', 'a container, and a name for it; may be repeated', collect)
    .option('--gw-priority <number>', 'the network with the highest is the way out; 0 by default')
    .option('--allow-spoof', 'let it send under other addresses than its own');
}

/** Options about the ways out of a deck. */
export function uplinkFlags(command: Command): Command {
  return command
    .option(
      '--uplink <spec>',
      'a way out, the first one the default: socket[,host-access=no][,deny=PREFIX...][,filtering=KIND] by sockets of the host, as without this option, tap:NAME,addr=CIDR[,addr=CIDR...][,gw=ADDRESS][,netns=PATH][,mtu=BYTES][,filtering=KIND] makes an interface, packet:NAME,addr=CIDR[,...],gw=ADDRESS[,netns=PATH][,filtering=KIND] uses one that is there; or none',
      collect,
    )
    .option('--host-loopback', "let endpoints of network bridge reach the host's loopback, at 192.0.0.1")
    .option('--no-host-access', 'keep endpoints from all addresses of the host')
    .option(
      '--deny <prefix>',
      "keep endpoints from these addresses; metadata for those of clouds' metadata services; may be repeated",
      collect,
    );
}

export function hostOption(): Option {
  return new Option('-H, --host <url>', "the daemon's socket, unix:///PATH; also TAPDECK_HOST");
}

export function formatOption(): Option {
  return new Option('--format <format>', 'how to print').choices(['table', 'json']).default('table');
}

/** Values of an option that may be repeated. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

/** The end of a help text: command lines, and what each is for. */
export function examples(list: readonly (readonly [command: string, what: string])[]): string {
  const width = Math.max(...list.map(([command]) => command.length));
  const lines = list.map(([command, what]) => `  ${command.padEnd(width)}  ${what}`);
  return `\nExamples:\n${lines.join('\n')}\n`;
}
