import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';
import type { ReplayFlags } from '../replay.ts';
import type { RecordingFlags } from '../replay-recording.ts';

export function replayCommand(program: Command, cli: Cli): void {
  program
    .command('replay')
    .description('run captures through the switch in virtual time, without privileges')
    .argument('<scenario...>', 'scenario folders, captures (pcap, pcapng), or recordings')
    .option('-w, --write <file>', 'write what came out to a pcapng file')
    .option('--update', 'make what comes out the expectation of the scenario')
    .option('-v, --verbose', 'one line per frame: where it came in, what became of it')
    .option('--seed <number>', 'of the hashes and random choices, for captures')
    .option(
      '--with-policy <file>',
      'the deck for a capture: a scenario.yaml of networks, services, rules, uplinks',
    )
    .option('--and-with <file>', 'another one: list every packet whose fate changes')
    .option(
      '--shrink <condition>',
      "the smallest part of a capture that shows it, such as 'drop reason = CT_INVALID'",
    )
    .option('--into <folder>', 'for the scenario that --shrink writes')
    .option('--at <time>', 'of a recording: stop there, 12.5s or 300ms, and show the tables as they were')
    .option('--packet <id>', 'of a recording: stop behind that packet, and show the tables')
    .option('--step', 'of a recording: walk through it packet by packet')
    .option('--verify', 'of a recording: fail when the recorder did not come to say what it found, too')
    .addOption(formatOption())
    .action(
      cli.act(async (replayed: string[], flags: CommonFlags & ReplayFlags & RecordingFlags) => {
        const recordings = await import('../replay-recording.ts');
        if (recordings.areRecordings(replayed, flags)) {
          return recordings.replayRecordings(replayed, { ...flags, format: cli.format(flags) });
        }
        const { replay } = await import('../replay.ts');
        return replay(replayed, { ...flags, format: cli.format(flags) });
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck replay fixtures/scenarios/ageing', 'a scenario: says the first difference, exit code 1'],
        ['tapdeck replay trace.pcapng -w out.pcapng', 'a capture, and what the switch made of it'],
        ['tapdeck replay odd.tdr', 'a recording of `tapdeck record`: says whether it came to the same'],
        ['tapdeck replay odd.tdr --packet 1042', 'the tables behind packet 1042'],
        [
          'tapdeck replay trace.pcapng --with-policy now.yaml --and-with next.yaml',
          'whose fate changes; exit code 0: nobody’s, 1: somebody’s, 2: trouble',
        ],
        [
          "tapdeck replay trace.pcapng --shrink 'drop reason = CT_INVALID' --into bug-7",
          'a scenario and its test',
        ],
      ]),
    );
}
