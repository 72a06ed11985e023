import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

export function eventsCommand(program: Command, cli: Cli): void {
  program
    .command('events')
    .description('follow what happens to containers, networks, ports and rules, until ctrl-C')
    .option('--since <time>', 'also what happened since: 10m, 2h, or a time as 2026-01-31T12:00:00Z')
    .option('-f, --follow', 'accepted for the sake of habit: they are always followed')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { since?: string }) => {
        const { events } = await import('../events.ts');
        return events(await cli.client(flags), cli.format(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck events', 'a line for each event'],
        ['tapdeck events --since 10m --format json', 'also of the last ten minutes; for programs'],
      ]),
    );
}
