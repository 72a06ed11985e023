import { Argument, type Command } from 'commander';
import { type Cli, examples } from '../cli.ts';
import type { Shell } from '../completion/script.ts';

export function completionCommand(program: Command, cli: Cli): void {
  program
    .command('completion')
    .description('print what makes a shell complete commands, options, and names of containers and networks')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .action(
      cli.act(async (shell: Shell) => {
        const [{ commandTree }, { completionScript }] = await Promise.all([
          import('../command-tree.ts'),
          import('../completion/script.ts'),
        ]);
        process.stdout.write(completionScript(shell, commandTree(program)));
        return 0;
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck install completion', 'in all shells to come'],
        ['source <(tapdeck completion bash)', 'in this shell'],
      ]),
    );
}
