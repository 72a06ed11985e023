import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';
import type { ReplayFlags } from '../replay.ts';

export function replayCommand(program: Command, cli: Cli): void {
  program
    .command('replay')
    .description('run captures through the switch in virtual time, without privileges')
    .argument('<scenario...>', 'scenario folders, or captures (pcap, pcapng)')
    .option('-w, --write <file>', 'write what came out to a pcapng file')
    .option('--update', 'make what comes out the expectation of the scenario')
    .option('-v, --verbose', 'one line per frame: where it came in, what became of it')
    .option('--seed <number>', 'of the hashes and random choices, for captures')
    .option(
      '--with-policy <file>',
      'the deck for a capture: a scenario.yaml of networks, services, rules, uplinks',
    )
    .option('--and-with <file>', 'another one: list every packet whose fate changes')
    .addOption(formatOption())
    .action(
      cli.act(async (replayed: string[], flags: CommonFlags & ReplayFlags) => {
        const { replay } = await import('../replay.ts');
        return replay(replayed, { ...flags, format: cli.format(flags) });
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck replay fixtures/scenarios/ageing', 'a scenario: says the first difference, exit code 1'],
        ['tapdeck replay trace.pcapng -w out.pcapng', 'a capture, and what the switch made of it'],
        [
          'tapdeck replay trace.pcapng --with-policy now.yaml --and-with next.yaml',
          'whose fate changes; exit code 0: nobody’s, 1: somebody’s, 2: trouble',
        ],
      ]),
    );
}
