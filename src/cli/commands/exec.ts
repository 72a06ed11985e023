import type { Command } from 'commander';
import { type Cli, type CommonFlags, collect, examples } from '../cli.ts';
import type { ExecFlags } from '../exec.ts';

export function execCommand(program: Command, cli: Cli): void {
  program
    .command('exec')
    .description('run a command in a container')
    .option('-e, --env <name=value>', 'a variable of its environment; may be repeated', collect)
    .option('-i, --interactive', 'accepted for the sake of habit: stdin is always passed through')
    .option('-t, --tty', 'accepted for the sake of habit: the command has the terminal that tapdeck has')
    .argument('<name>', 'name or id of the container')
    .argument('<command>', 'program to run')
    .argument('[args...]', 'its arguments')
    .passThroughOptions()
    .action(
      cli.act(async (name: string, command: string, args: string[], flags: CommonFlags & ExecFlags) => {
        const { exec } = await import('../exec.ts');
        // `--` is somebody's habit, and no program.
        const words = command === '--' ? args : [command, ...args];
        return exec(await cli.client(flags), name, words, flags);
      }),
    )
    .addHelpText(
      'after',
      `${examples([
        ['tapdeck exec web ip addr', 'what web has for interfaces'],
        ['tapdeck exec -it web bash', 'a shell in it'],
        ['tapdeck exec shop-web-1 ping -c 1 db', 'in a service of a lab'],
      ])}
Of a container that was attached by the path of its network namespace (Docker's are) the command has the network, and the
host's files. The exit code is the command's own; 126 when it cannot be executed, 127 when there is no such command, 128 and
the signal's number when a signal ended it, 125 when there is no such container.
`,
    );
}
