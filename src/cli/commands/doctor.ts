import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

export function doctorCommand(program: Command, cli: Cli): void {
  program
    .command('doctor')
    .description('check whether this host has what tapdeck needs, and say what to do where it does not')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags) => {
        const { doctor } = await import('../doctor/doctor.ts');
        return doctor(cli.paths(flags), cli.format(flags));
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck doctor', 'exit code 1 when something does not work; with and without a daemon'],
        ['tapdeck doctor --format json', 'for programs: check, level, found, means, todo'],
      ]),
    );
}
