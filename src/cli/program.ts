import { Command, CommanderError } from 'commander';
import { runtimePaths } from '../control/paths.ts';
import { packageVersion } from '../control/version.ts';
import { type Cli, type CommonFlags, examples, hostOption } from './cli.ts';
import { attachCommands } from './commands/attach.ts';
import { captureCommand } from './commands/capture.ts';
import { completionCommand } from './commands/completion.ts';
import { conntrackCommand } from './commands/conntrack.ts';
import { daemonCommand } from './commands/daemon.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { eventsCommand } from './commands/events.ts';
import { execCommand } from './commands/exec.ts';
import { extcapCommand } from './commands/extcap.ts';
import { installCommands } from './commands/install.ts';
import { labCommands } from './commands/lab.ts';
import { listCommands } from './commands/lists.ts';
import { networkCommands } from './commands/network.ts';
import { publishCommands } from './commands/publish.ts';
import { recordCommand } from './commands/record.ts';
import { replayCommand } from './commands/replay.ts';
import { ruleCommands } from './commands/rule.ts';
import { rulesCommand } from './commands/rules.ts';
import { runCommand } from './commands/run.ts';
import { systemCommands } from './commands/system.ts';
import { traceCommand } from './commands/trace.ts';
import { whyCommand } from './commands/why.ts';
import { EXIT_DECK_FAILED, EXIT_DONE, EXIT_USAGE, report, say, style } from './output.ts';

/** The command tree: what all commands have in common. */

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
    .replace(/\n\(Did you mean (?:one of )?(.+?)\?\)$/s, (_, meant: string) =>
      suggestion(error.message, meant),
    )
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  say(`${style('red', 'error', process.stderr)}: ${message}; see ${pathOf(error.command)} --help`);
  // All other codes are its command's own, as in Docker.
  return ['run', 'exec'].includes(error.command?.name() ?? '') ? EXIT_DECK_FAILED : EXIT_USAGE;
}

/** What commander found to be similar, as far as it begins like what was typed: --fast is no slip for --host. */
function suggestion(message: string, meant: string): string {
  const typed = /'-*([^-])/.exec(message)?.[1];
  const likely = meant.split(', ').filter((word) => word.replace(/^-+/, '')[0] === typed);
  return likely.length === 0 ? '' : ` (did you mean ${likely.join(' or ')}?)`;
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
  const paths = (flags: CommonFlags) => runtimePaths(host(flags));
  const cli: Cli = {
    act:
      (action) =>
      async (...args) =>
        done(await action(...args)),
    client: async (flags) => {
      const { DaemonClient } = await import('../control/client.ts');
      return new DaemonClient(paths(flags).socket);
    },
    format: (flags) => flags.format ?? 'table',
    host,
    paths,
  };
  // In this order in the help.
  daemonCommand(program, cli);
  runCommand(program, cli);
  execCommand(program, cli);
  attachCommands(program, cli);
  listCommands(program, cli);
  publishCommands(program, cli);
  conntrackCommand(program, cli);
  rulesCommand(program, cli);
  ruleCommands(program, cli);
  whyCommand(program, cli);
  networkCommands(program, cli);
  labCommands(program, cli);
  captureCommand(program, cli);
  traceCommand(program, cli);
  extcapCommand(program, cli);
  recordCommand(program, cli);
  eventsCommand(program, cli);
  systemCommands(program, cli);
  replayCommand(program, cli);
  demoCommand(program, cli);
  doctorCommand(program, cli);
  completionCommand(program, cli);
  installCommands(program, cli);

  finish(program, true);
  return program;
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
