import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples } from '../cli.ts';
import type { RecordFlags } from '../record.ts';

export function recordCommand(program: Command, cli: Cli): void {
  program
    .command('record')
    .description(
      'write down all that enters the switch, for `tapdeck replay`: the same frames and tables, on any machine',
    )
    .option('-w, --write <file>', 'a new file, - for standard output; tapdeck-TIME.tdr by default')
    .option('--duration <time>', 'end after 12.5s, 300ms, 2m; with ctrl-C by default')
    .option('-q, --quiet', 'do not say where to')
    .action(
      cli.act(async (flags: CommonFlags & RecordFlags) => {
        const { record } = await import('../record.ts');
        return record(await cli.client(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck record -w odd.tdr', 'until ctrl-C; the file has secrets in it, and only you may read it'],
        ['tapdeck record -w odd.tdr --duration 30s', 'half a minute'],
        ['tapdeck daemon --record all.tdr', 'from the beginning'],
        ['tapdeck replay odd.tdr --at 12.5s', 'the tables as they were then'],
      ]),
    );
}
