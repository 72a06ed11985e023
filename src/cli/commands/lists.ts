import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

export function listCommands(program: Command, cli: Cli): void {
  const lists = () => import('../lists.ts');
  program
    .command('ps')
    .description('list the containers')
    .option('-a, --all', 'accepted for the sake of habit: there are none that have stopped')
    .option('-q, --quiet', 'only the ids')
    .option('--no-trunc', 'whole ids')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { quiet?: boolean; trunc: boolean }) =>
        (await lists()).ps(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck ps --format json', 'for programs'],
        ['tapdeck detach $(tapdeck ps -q)', 'take all containers off the switch'],
      ]),
    );

  program
    .command('inspect')
    .description('show containers, or networks, as `docker inspect` does')
    .argument('<name...>', 'names or ids')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) => {
        const { inspect } = await import('../inspect.ts');
        return inspect(await cli.client(flags), names);
      }),
    )
    .addHelpText('after', examples([['tapdeck inspect web', 'its networks, addresses and ports']]));

  program
    .command('fdb')
    .description('show which address is behind which port, as `bridge fdb show` does')
    .option('--network <name>', 'of one network only')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { network?: string }) =>
        (await lists()).fdb(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([['tapdeck fdb --network bridge', 'static, learned (with seconds) and permanent']]),
    );

  program
    .command('neigh')
    .description('show the neighbors of the gateways, as `ip neigh` does')
    .option('--network <name>', 'of one network only')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { network?: string }) =>
        (await lists()).neigh(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck neigh', 'IPv4 and IPv6']]));

  program
    .command('drops')
    .description('show why frames were discarded, and how many')
    .option('-a, --all', 'reasons that never occurred, too')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { all?: boolean }) =>
        (await lists()).drops(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck drops --all', 'all reasons there are, in plain words']]));

  program
    .command('counters')
    .description('show the account of all frames, and what every port received and sent')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags) =>
        (await lists()).counters(await cli.client(flags), cli.format(flags)),
      ),
    )
    .addHelpText('after', examples([['tapdeck counters --format json', 'for programs']]));

  program
    .command('uplinks')
    .description('list the ways by which packets leave the deck')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags) => {
        const { uplinks } = await import('../uplinks.ts');
        return uplinks(await cli.client(flags), cli.format(flags));
      }),
    )
    .addHelpText('after', examples([['tapdeck uplinks', 'their addresses, and whether they are up']]));
}
