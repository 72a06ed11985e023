import type { Command } from 'commander';
import { type Cli, type CommonFlags, collect, endpointFlags, examples, uplinkFlags } from '../cli.ts';
import type { RunFlags } from '../run.ts';

export function runCommand(program: Command, cli: Cli): void {
  uplinkFlags(
    endpointFlags(
      program.command('run').description('run a command in a network namespace of its own on the switch'),
    ),
  )
    .option('--dns <address>', "a name server in place of the deck's; may be repeated", collect)
    .option(
      '--dns-search <domain>',
      "a domain to look for names in, in place of the host's; . for none",
      collect,
    )
    .option('--dns-option <option>', 'an option of resolv.conf(5), in place of the usual ones', collect)
    .option('--rm', 'accepted for the sake of habit: a sandbox is always removed at its end')
    .option('-i, --interactive', 'accepted for the sake of habit: stdin is always passed through')
    .option('-t, --tty', 'accepted for the sake of habit: the command has the terminal that tapdeck has')
    .argument('<command>', 'program to run, best after --')
    .argument('[args...]', 'its arguments')
    .passThroughOptions()
    .action(
      cli.act(async (command: string, args: string[], flags: CommonFlags & RunFlags) => {
        const { run } = await import('../run.ts');
        return run(cli.paths(flags), cli.host(flags), [command, ...args], flags);
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
        ['tapdeck run -- curl http://web/', 'and its client, by name'],
      ])}
The exit code is the command's own; 126 when it cannot be executed, 127 when there is no such command, 128 and the
signal's number when a signal ended it, 125 when the deck failed or the options are wrong. A daemon is started when none is running, and
ends with its last sandbox. What the command leaves running is ended with it.
`,
    );
}
