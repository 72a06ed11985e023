import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';
import type { PruneFlags } from '../system.ts';

export function systemCommands(program: Command, cli: Cli): void {
  const system = program.command('system').description('look after what decks leave on the machine');
  system
    .helpCommand(false)
    .addHelpText(
      'after',
      examples([['tapdeck system prune', 'remove what nobody uses or can use any more']]),
    );
  system
    .command('prune')
    .description(
      'remove networks and containers that nobody uses and, when no daemon runs, what a killed one left behind',
    )
    .option('-f, --force', 'do not ask')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & PruneFlags) => {
        const { prune } = await import('../system.ts');
        return prune(cli.paths(flags), await cli.client(flags), cli.format(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck system prune', 'asks first'],
        ['tapdeck system prune -f --format json', 'for programs'],
      ]),
    );
}
