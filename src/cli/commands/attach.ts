import type { Command } from 'commander';
import type { AttachFlags } from '../attach.ts';
import { type Cli, type CommonFlags, endpointFlags, examples, formatOption } from '../cli.ts';

export function attachCommands(program: Command, cli: Cli): void {
  endpointFlags(program.command('attach').description('connect a network namespace to the switch'))
    .option('--netns <path>', 'the namespace: a path, or a name that `ip netns` knows')
    .option('--pid <pid>', 'the namespace of a process')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & AttachFlags) => {
        const { attach } = await import('../attach.ts');
        return attach(await cli.client(flags), cli.format(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck attach --netns /run/netns/blue', 'what `ip netns add blue` made, as container blue'],
        ['tapdeck attach --pid 4711 --name web --ip 172.17.0.80', 'the namespace of a process'],
        ['tapdeck attach --netns blue -p 8080:80 -p 53:53/udp', 'with published ports: all of them, or none'],
        [
          'tapdeck attach --netns blue --network front --network name=back,ip=10.9.0.9,alias=db',
          'in two networks: both, or none',
        ],
      ]),
    );

  program
    .command('detach')
    .description('take containers off the switch, out of all their networks')
    .argument('<name...>', 'names or ids of containers')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) => {
        const { detach } = await import('../attach.ts');
        return detach(await cli.client(flags), names);
      }),
    )
    .addHelpText('after', examples([['tapdeck detach blue', 'its interfaces disappear']]));
}
