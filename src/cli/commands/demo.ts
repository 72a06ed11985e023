import type { Command } from 'commander';
import { type Cli, examples } from '../cli.ts';

export function demoCommand(program: Command, cli: Cli): void {
  program
    .command('demo')
    .description('the two-minute tour: two sandboxes, pings, a transfer, tables, a replay')
    .action(
      cli.act(async () => {
        const { demo } = await import('../demo.ts');
        return demo();
      }),
    )
    .addHelpText(
      'after',
      examples([['tapdeck demo', 'as root or as an ordinary user; leaves nothing behind']]),
    );
}
