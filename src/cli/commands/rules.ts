import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

export function rulesCommand(program: Command, cli: Cli): void {
  program
    .command('rules')
    .description("show what is done to packets as the chains of rules that Docker's iptables would have")
    .option('-v, --verbose', 'with packets and bytes, and what each rule does in plain words')
    .option('-x, --exact', 'counters in full, not rounded to K and M')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { verbose?: boolean; exact?: boolean }) => {
        const { rules } = await import('../lists.ts');
        return rules(await cli.client(flags), cli.format(flags), flags);
      }),
    )
    .addHelpText('after', examples([['tapdeck rules -v', 'as `iptables -L -v -n`, both tables']]));
}
