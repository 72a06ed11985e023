import type { Command } from 'commander';
import type { TraceFlags } from '../capture/trace.ts';
import { type Cli, type CommonFlags, collect, examples, formatOption } from '../cli.ts';

export function traceCommand(program: Command, cli: Cli): void {
  program
    .command('trace')
    .description('show what is decided about packets as they pass, a line for each stage, until ctrl-C')
    .argument('[filter...]', 'which packets, in the language of tcpdump: see docs/filters.md')
    .option(
      '-i, --interface <name>',
      'at this network, uplink or container, all by default; may be repeated',
      collect,
    )
    .option('-c, --count <number>', 'end after so many packets')
    .option('-q, --quiet', 'do not say what is traced')
    .addOption(formatOption())
    .action(
      cli.act(async (filter: string[], flags: CommonFlags & TraceFlags) => {
        const { trace } = await import('../capture/trace.ts');
        const { numberOf } = await import('../capture/capture.ts');
        const most = numberOf(flags.count, '-c', 1);
        return trace(await cli.client(flags), cli.format(flags), { ...flags, most }, filter);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck trace -i web tcp port 80', 'from the port that it came in by to that by which it left'],
        ['tapdeck trace -c 1 --format json icmp', 'the next ping, for programs: a packet per line'],
      ]),
    );
}
