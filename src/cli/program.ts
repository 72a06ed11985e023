import { Command, CommanderError, Option } from 'commander';
import type { DaemonClient } from '../control/client.ts';
import { type RuntimePaths, runtimePaths } from '../control/paths.ts';
import { packageVersion } from '../control/version.ts';
import type { AttachFlags } from './attach.ts';
import type { DaemonFlags } from './daemon.ts';
import type { EndpointFlags } from './endpoint-options.ts';
import type { CreateFlags } from './network.ts';
import { EXIT_DONE, EXIT_USAGE, type Format, report, say, style } from './output.ts';
import type { ReplayFlags } from './replay.ts';

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
  return EXIT_USAGE;
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

  program
    .command('daemon')
    .description('run the switch until it is told to end')
    .option('--until-empty', 'end with the last endpoint, as a daemon does that `tapdeck run` starts')
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
      ]),
    );

  endpointFlags(
    program.command('run').description('run a command in a network namespace of its own on the switch'),
  )
    .option('--rm', 'accepted for the sake of habit: a sandbox is always removed at its end')
    .argument('<command>', 'program to run, best after --')
    .argument('[args...]', 'its arguments')
    .passThroughOptions()
    .action(
      act(async (command: string, args: string[], flags: CommonFlags & EndpointFlags) => {
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
      ])}
The exit code is the command's own; 126 when it cannot be executed, 127 when there is no such command, 128 and the
signal's number when a signal ended it, 125 when the deck failed. A daemon is started when none is running, and
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

  program
    .command('counters')
    .description('show the account of all frames, and what every port received and sent')
    .addOption(formatOption())
    .action(act(async (flags: CommonFlags) => (await lists()).counters(await client(flags), format(flags))))
    .addHelpText('after', examples([['tapdeck counters --format json', 'for programs']]));

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
      '--faults <spec>',
      'lose, double, reorder, corrupt or delay frames on purpose, as loss=1%,delay=10ms,seed=7',
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
