import { Command, CommanderError, Option } from 'commander';
import type { DaemonClient } from '../control/client.ts';
import { type RuntimePaths, runtimePaths } from '../control/paths.ts';
import { packageVersion } from '../control/version.ts';
import type { AttachFlags } from './attach.ts';
import type { ConntrackFlags } from './conntrack.ts';
import type { DaemonFlags } from './daemon.ts';
import type { CreateFlags } from './network.ts';
import { EXIT_DECK_FAILED, EXIT_DONE, EXIT_USAGE, type Format, report, say, style } from './output.ts';
import type { ReplayFlags } from './replay.ts';
import type { RunFlags } from './run.ts';

/**
 * The command tree. What a command does is imported when it is run: `tapdeck --version` loads none of it.
 * An action answers its exit code.
 */

interface CommonFlags {
  host?: string;
  format?: Format;
}

type Answer = number | Promise<number>;

/** Runs the command line; answers the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  let code: number = EXIT_DONE;
  const program = buildProgram((answer) => {
    code = answer;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return reportUsage(error);
    return report(error);
  }
}

/** Commander's own complaint as one line, with where to read on. */
function reportUsage(error: CommanderError & { command?: Command }): number {
  if (error.exitCode === 0) return EXIT_DONE;
  // No command at all: the help has been printed.
  if (error.code === 'commander.help') return EXIT_USAGE;
  const message = error.message
    .trim()
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.+?)\?\)$/s, ' (did you mean $1?)')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  say(`${style('red', 'error', process.stderr)}: ${message}; see ${pathOf(error.command)} --help`);
  // All other codes are its command's own, as in Docker.
  return error.command?.name() === 'run' ? EXIT_DECK_FAILED : EXIT_USAGE;
}

function pathOf(command: Command | undefined): string {
  if (!command) return 'tapdeck';
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}

/** @param done told the exit code of the action that ran */
export function buildProgram(done: (code: number) => void): Command {
  const program = new Command('tapdeck')
    .description('Docker-style container networking without a kernel bridge, veth or iptables')
    .version(packageVersion(), '-V, --version')
    .enablePositionalOptions()
    .configureOutput({ outputError: () => {} })
    .helpCommand('help [command]', 'show what a command does')
    .addOption(hostOption());
  program.addHelpText(
    'after',
    examples([
      ['tapdeck run -- ping -c 3 172.17.0.1', 'a command on the switch, no root, no daemon'],
      ['tapdeck daemon', 'run the switch in the foreground'],
      ['tapdeck attach --netns /run/netns/blue', 'connect a namespace of your own'],
      ['tapdeck demo', 'the two-minute tour'],
    ]),
  );

  const host = (flags: CommonFlags) => flags.host ?? program.opts<CommonFlags>().host;
  const paths = (flags: CommonFlags): RuntimePaths => runtimePaths(host(flags));
  const client = async (flags: CommonFlags): Promise<DaemonClient> => {
    const { DaemonClient } = await import('../control/client.ts');
    return new DaemonClient(paths(flags).socket);
  };
  const format = (flags: CommonFlags): Format => flags.format ?? 'table';
  const act =
    <A extends unknown[]>(action: (...args: A) => Answer) =>
    async (...args: A): Promise<void> =>
      done(await action(...args));

  uplinkFlags(program.command('daemon').description('run the switch until it is told to end'))
    .option('--until-empty', 'end with the last endpoint, as a daemon does that `tapdeck run` starts')
    .option('--conntrack-max <number>', 'most connections at one time; 262144 by default')
    .option(
      '--conntrack-quota <number>',
      'most connections that one endpoint may have begun; a quarter of all by default',
    )
    .option(
      '--timeout <name=seconds>',
      'how long idle connections are remembered; by default udp=300, icmp=60, tcp-established=7440, tcp-unanswered=7440, tcp-opening=240, tcp-closing=240, tcp-reset=240, generic=600',
      collect,
    )
    .option('--no-tcp-loose', 'do not pick up TCP connections in the middle')
    .addOption(new Option('--tell-parent').hideHelp())
    .action(
      act(async (flags: CommonFlags & DaemonFlags) => {
        const { runDaemon } = await import('./daemon.ts');
        return runDaemon(paths(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck daemon', 'at /run/tapdeck/tapdeck.sock as root, in $XDG_RUNTIME_DIR as a user'],
        ['tapdeck --host unix:///tmp/lab.sock daemon', 'a second one, elsewhere'],
        ['tapdeck daemon --uplink tap:td0,addr=192.0.2.2/24', 'out by interface td0 of the host, 192.0.2.1'],
        [
          'tapdeck daemon --uplink packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1',
          'out by eth1, beside the host',
        ],
        ['tapdeck daemon --conntrack-max 1048576 --timeout udp=60', 'more connections, forgotten earlier'],
        ['tapdeck daemon --no-tcp-loose', 'only connections whose beginning was seen'],
      ]),
    );

  uplinkFlags(
    endpointFlags(
      program.command('run').description('run a command in a network namespace of its own on the switch'),
    ),
  )
    .option('--rm', 'accepted for the sake of habit: a sandbox is always removed at its end')
    .argument('<command>', 'program to run, best after --')
    .argument('[args...]', 'its arguments')
    .passThroughOptions()
    .action(
      act(async (command: string, args: string[], flags: CommonFlags & RunFlags) => {
        const { run } = await import('./run.ts');
        return run(paths(flags), host(flags), [command, ...args], flags);
      }),
    )
    .addHelpText(
      'after',
      `${examples([
        ['tapdeck run -- bash', 'a shell'],
        [
          'tapdeck run --name web --ip 172.17.0.80 -- python3 -m http.server 80',
          'a server with a known address',
        ],
        ['tapdeck run -- curl http://172.17.0.80/', 'and its client'],
        ['tapdeck run -p 8080:80 -- python3 -m http.server 80', 'a server with a published port'],
      ])}
The exit code is the command's own; 126 when it cannot be executed, 127 when there is no such command, 128 and the
signal's number when a signal ended it, 125 when the deck failed or the options are wrong. A daemon is started when none is running, and
ends with its last sandbox. What the command leaves running is ended with it.
`,
    );

  endpointFlags(program.command('attach').description('connect a network namespace to the switch'))
    .option('--netns <path>', 'the namespace: a path, or a name that `ip netns` knows')
    .option('--pid <pid>', 'the namespace of a process')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & AttachFlags) => {
        const { attach } = await import('./attach.ts');
        return attach(await client(flags), format(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck attach --netns /run/netns/blue', 'what `ip netns add blue` made, as endpoint blue'],
        ['tapdeck attach --pid 4711 --name web --ip 172.17.0.80', 'the namespace of a process'],
        ['tapdeck attach --netns blue -p 8080:80 -p 53:53/udp', 'with published ports: all of them, or none'],
      ]),
    );

  program
    .command('detach')
    .description('disconnect endpoints')
    .argument('<name...>', 'names or ids of endpoints')
    .action(
      act(async (names: string[], flags: CommonFlags) => {
        const { detach } = await import('./attach.ts');
        return detach(await client(flags), names);
      }),
    )
    .addHelpText('after', examples([['tapdeck detach blue', 'eth0 disappears from the namespace']]));

  const lists = () => import('./lists.ts');
  program
    .command('ps')
    .description('list the endpoints')
    .option('-q, --quiet', 'only the names')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { quiet?: boolean }) =>
        (await lists()).ps(await client(flags), format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck ps --format json', 'for programs']]));

  program
    .command('fdb')
    .description('show which address is behind which port, as `bridge fdb show` does')
    .option('--network <name>', 'of one network only')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { network?: string }) =>
        (await lists()).fdb(await client(flags), format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([['tapdeck fdb --network bridge', 'static, learned (with seconds) and permanent']]),
    );

  program
    .command('neigh')
    .description('show the neighbors of the gateways, as `ip neigh` does')
    .option('--network <name>', 'of one network only')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { network?: string }) =>
        (await lists()).neigh(await client(flags), format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck neigh', 'IPv4 and IPv6']]));

  program
    .command('drops')
    .description('show why frames were discarded, and how many')
    .option('-a, --all', 'reasons that never occurred, too')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { all?: boolean }) =>
        (await lists()).drops(await client(flags), format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck drops --all', 'all reasons there are, in plain words']]));

  trafficCommands(program, client, format, act);

  program
    .command('counters')
    .description('show the account of all frames, and what every port received and sent')
    .addOption(formatOption())
    .action(act(async (flags: CommonFlags) => (await lists()).counters(await client(flags), format(flags))))
    .addHelpText('after', examples([['tapdeck counters --format json', 'for programs']]));

  program
    .command('uplinks')
    .description('list the ways by which packets leave the deck')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags) => {
        const { uplinks } = await import('./uplinks.ts');
        return uplinks(await client(flags), format(flags));
      }),
    )
    .addHelpText('after', examples([['tapdeck uplinks', 'of a daemon that was started with --uplink']]));

  networkCommands(
    program.command('network').description('make, list, show and remove networks'),
    client,
    format,
    act,
  );

  program
    .command('replay')
    .description('run captures through the switch in virtual time, without privileges')
    .argument('<scenario...>', 'scenario folders, or captures (pcap, pcapng)')
    .option('-w, --write <file>', 'write what came out to a pcapng file')
    .option('--update', 'make what comes out the expectation of the scenario')
    .option('-v, --verbose', 'one line per frame: where it came in, what became of it')
    .option('--seed <number>', 'of the hashes and random choices, for captures')
    .addOption(formatOption())
    .action(
      act(async (replayed: string[], flags: CommonFlags & ReplayFlags) => {
        const { replay } = await import('./replay.ts');
        return replay(replayed, { ...flags, format: format(flags) });
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck replay fixtures/scenarios/ageing', 'a scenario: says the first difference, exit code 1'],
        ['tapdeck replay trace.pcapng -w out.pcapng', 'a capture, and what the switch made of it'],
      ]),
    );

  program
    .command('demo')
    .description('the two-minute tour: two sandboxes, pings, a transfer, tables, a replay')
    .action(
      act(async () => {
        const { demo } = await import('./demo.ts');
        return demo();
      }),
    )
    .addHelpText(
      'after',
      examples([['tapdeck demo', 'as root or as an ordinary user; leaves nothing behind']]),
    );

  finish(program, true);
  return program;
}

function networkCommands(
  network: Command,
  client: (flags: CommonFlags) => Promise<DaemonClient>,
  format: (flags: CommonFlags) => Format,
  act: <A extends unknown[]>(action: (...args: A) => Answer) => (...args: A) => Promise<void>,
): void {
  const commands = () => import('./network.ts');
  network
    .helpCommand(false)
    .addHelpText('after', examples([['tapdeck network create --ipv6 lab', 'make a network']]));
  network
    .command('create')
    .description('make a network')
    .argument('<name>', 'its name')
    .option('--subnet <cidr>', 'its subnet, once per IP version', collect)
    .option('--gateway <address>', "the gateway's address in it", collect)
    .option('--ipv6', 'give it IPv6, also without a subnet')
    .option('--mtu <bytes>', 'largest IP packet; 65520 by default')
    .option(
      '--internal',
      'no way out of the deck; its other networks are in reach all the same, until there is isolation',
    )
    .option('--host-loopback', "let its endpoints reach the host's loopback, at 192.0.0.1")
    .option(
      '-o, --opt <key=value>',
      'tapdeck.uplink=NAME, tapdeck.npt=PREFIX (RFC 6296), tapdeck.host_loopback=true, com.docker.network.driver.mtu=BYTES',
      collect,
    )
    .action(
      act(async (name: string, flags: CommonFlags & CreateFlags) =>
        (await commands()).createNetwork(await client(flags), name, flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck network create lab', "the next of Docker's address pools"],
        ['tapdeck network create --subnet 10.9.0.0/24 --subnet fd00:9::/64 --mtu 1500 lab', 'as you say'],
        ['tapdeck network create -o tapdeck.uplink=td1 lab', 'out by another uplink than the first'],
        [
          'tapdeck network create --internal lab',
          'no way outside; the other networks of the deck are in reach',
        ],
      ]),
    );
  network
    .command('ls')
    .alias('list')
    .description('list the networks')
    .option('-q, --quiet', 'only the ids')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { quiet?: boolean }) =>
        (await commands()).listNetworks(await client(flags), format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck network ls -q', 'for scripts']]));
  network
    .command('inspect')
    .description('show networks as `docker network inspect` does')
    .argument('<name...>', 'names or ids of networks')
    .action(
      act(async (names: string[], flags: CommonFlags) =>
        (await commands()).inspectNetworks(await client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network inspect bridge', 'with its endpoints']]));
  network
    .command('rm')
    .alias('remove')
    .description('remove networks that have no endpoints')
    .argument('<name...>', 'names or ids of networks')
    .action(
      act(async (names: string[], flags: CommonFlags) =>
        (await commands()).removeNetworks(await client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network rm lab', 'after its endpoints were detached']]));
}

/** Published ports, connections and rules. */
function trafficCommands(
  program: Command,
  client: (flags: CommonFlags) => Promise<DaemonClient>,
  format: (flags: CommonFlags) => Format,
  act: <A extends unknown[]>(action: (...args: A) => Answer) => (...args: A) => Promise<void>,
): void {
  const commands = () => import('./publish.ts');
  program
    .command('publish')
    .description('publish ports of an endpoint: all that are asked for, or none')
    .argument('<name>', 'name or id of the endpoint')
    .argument(
      '<spec...>',
      '[[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp]; without a host port one is chosen',
    )
    .addOption(formatOption())
    .action(
      act(async (name: string, specs: string[], flags: CommonFlags) =>
        (await commands()).publish(await client(flags), format(flags), name, specs),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck publish web 8080:80', 'port 8080 of the deck is port 80 of web'],
        ['tapdeck publish web 192.0.2.2:53:53/udp', 'on one address only, UDP'],
        ['tapdeck publish web 8000-8010:80-90', 'eleven ports at once'],
      ]),
    );
  program
    .command('unpublish')
    .description('withdraw published ports, and end the connections that came in by them')
    .argument('<name>', 'name or id of the endpoint')
    .argument(
      '<spec...>',
      'as it was published, or HOST_PORT[-END][/tcp|udp] alone, or ADDRESS:HOST_PORT as `port` prints it; all of them, or none',
    )
    .addOption(formatOption())
    .action(
      act(async (name: string, specs: string[], flags: CommonFlags) =>
        (await commands()).unpublish(await client(flags), format(flags), name, specs),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck unpublish web 8080', 'or 8080:80, as it was published'],
        ['tapdeck unpublish web 8000-8010 53/udp', 'a range goes as a whole'],
        ['tapdeck unpublish web 0.0.0.0:8080', 'over IPv4 only'],
      ]),
    );
  program
    .command('port')
    .description('show published ports as `docker port` does')
    .argument('[name]', 'name or id of an endpoint; all by default')
    .argument('[port]', 'PORT[/tcp|udp] of the endpoint: only where it is published')
    .addOption(formatOption())
    .action(
      act(async (name: string | undefined, port: string | undefined, flags: CommonFlags) =>
        (await commands()).port(await client(flags), format(flags), name, port),
      ),
    )
    .addHelpText('after', examples([['tapdeck port web 80/tcp', 'where port 80 of web is published']]));

  const only = (flags: string, description: string) =>
    new Option(flags, description).conflicts(
      ['list', 'delete', 'flush', 'count', 'event'].filter((one) => !flags.endsWith(`--${one}`)),
    );
  // conntrack's other names for what has a short one.
  const alias = (flags: string) => new Option(flags).hideHelp();
  program
    .command('conntrack')
    .description('show, forget, count or follow the connections, with the options of conntrack(8)')
    .addOption(only('-L, --list', 'list connections; what is done by default'))
    .addOption(
      only('-D, --delete', 'forget the connections that the filter means; exit code 1 when there is none'),
    )
    .addOption(only('-F, --flush', 'forget all connections'))
    .addOption(only('-C, --count', 'count the connections'))
    .addOption(only('-E, --event', 'follow what happens to connections, until ctrl-C'))
    .option('-p, --proto <protocol>', 'of this protocol: tcp, udp, icmp, icmpv6 or a number')
    .option('-f, --family <family>', 'ipv4 or ipv6')
    .option('-s, --src <address>', 'from this address, in the original direction (also --orig-src)')
    .option('-d, --dst <address>', 'to this address, in the original direction (also --orig-dst)')
    .option('--sport <port>', 'from this port (also --orig-port-src)')
    .option('--dport <port>', 'to this port (also --orig-port-dst)')
    .option('-r, --reply-src <address>', 'from this address, in the reply direction')
    .option('-q, --reply-dst <address>', 'to this address, in the reply direction')
    .option('--reply-port-src <port>', 'from this port, in the reply direction')
    .option('--reply-port-dst <port>', 'to this port, in the reply direction')
    .option('--state <state>', 'TCP in this state, as ESTABLISHED')
    .option('--network <name>', 'that come in by this network or uplink, in either direction')
    .addOption(alias('--orig-src <address>').conflicts('src'))
    .addOption(alias('--orig-dst <address>').conflicts('dst'))
    .addOption(alias('--orig-port-src <port>').conflicts('sport'))
    .addOption(alias('--orig-port-dst <port>').conflicts('dport'))
    .addOption(
      new Option('--format <format>', 'how to print; `conntrack` as conntrack-tools does')
        .choices(['table', 'json', 'conntrack'])
        .default('table'),
    )
    .action(
      act(async (flags: Omit<CommonFlags, 'format'> & ConntrackFlags) => {
        const { conntrack } = await import('./conntrack.ts');
        return conntrack(await client({ ...(flags.host !== undefined && { host: flags.host }) }), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck conntrack -p tcp --state ESTABLISHED', 'the connections that stand'],
        ['tapdeck conntrack --format conntrack', 'in the lines of conntrack -L'],
        ['tapdeck conntrack -D -s 172.17.0.2', 'forget what an endpoint has begun'],
        ['tapdeck conntrack -E --format json', 'live, for programs: an event per line'],
      ]),
    );

  program
    .command('rules')
    .description("show what is done to packets as the chains of rules that Docker's iptables would have")
    .option('-v, --verbose', 'with packets and bytes')
    .option('-x, --exact', 'counters in full, not rounded to K and M')
    .addOption(formatOption())
    .action(
      act(async (flags: CommonFlags & { verbose?: boolean; exact?: boolean }) => {
        const { rules } = await import('./lists.ts');
        return rules(await client(flags), format(flags), flags);
      }),
    )
    .addHelpText('after', examples([['tapdeck rules -v', 'as `iptables -L -v -n`, both tables']]));
}

/** Options of the commands that make an endpoint. */
function endpointFlags(command: Command): Command {
  return command
    .option('--network <name>', 'the network; `bridge` by default')
    .option('--name <name>', "the endpoint's name")
    .option('--ip <address>', 'IPv4 address; the lowest free one by default')
    .option('--ip6 <address>', 'IPv6 address; the lowest free one by default')
    .option('--mac <address>', 'MAC; 02:42 and the IPv4 address by default')
    .option('--ifname <name>', 'name of the interface; eth0 by default')
    .option('--mtu <bytes>', "largest IP packet; the network's by default")
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

function uplinkFlags(command: Command): Command {
  return command
    .option(
      '--uplink <spec>',
      'a way out, the first one the default: socket[,filtering=KIND] by sockets of the host, as without this option, tap:NAME,addr=CIDR[,addr=CIDR...][,gw=ADDRESS][,netns=PATH][,mtu=BYTES][,filtering=KIND] makes an interface, packet:NAME,addr=CIDR[,...],gw=ADDRESS[,netns=PATH][,filtering=KIND] uses one that is there; or none',
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

function hostOption(): Option {
  return new Option('-H, --host <url>', "the daemon's socket, unix:///PATH; also TAPDECK_HOST");
}

function formatOption(): Option {
  return new Option('--format <format>', 'how to print').choices(['table', 'json']).default('table');
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

function examples(list: readonly (readonly [command: string, what: string])[]): string {
  const width = Math.max(...list.map(([command]) => command.length));
  const lines = list.map(([command, what]) => `  ${command.padEnd(width)}  ${what}`);
  return `\nExamples:\n${lines.join('\n')}\n`;
}

/** What holds for every command: it takes --host in its own place too, and its complaints say whose they are. */
function finish(command: Command, root = false): void {
  if (!root) command.addOption(hostOption());
  command.exitOverride((error) => {
    throw Object.assign(error, { command });
  });
  for (const child of command.commands) {
    child.configureOutput({ outputError: () => {} });
    finish(child);
  }
}
