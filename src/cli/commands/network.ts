import type { Command } from 'commander';
import { type Cli, type CommonFlags, collect, examples, formatOption } from '../cli.ts';
import type { CreateFlags } from '../network.ts';

export function networkCommands(program: Command, cli: Cli): void {
  const network = program.command('network').description('make, list, show and remove networks');
  const commands = () => import('../network.ts');
  network
    .helpCommand(false)
    .addHelpText('after', examples([['tapdeck network create --ipv6 lab', 'make a network']]));
  network
    .command('create')
    .description('make a network')
    .argument('<name>', 'its name')
    .option('--subnet <cidr>', 'its subnet, once per IP version', collect)
    .option('--gateway <address>', "the gateway's address in it", collect)
    .option('--ipv6', 'give it IPv6, also without a subnet')
    .option('--mtu <bytes>', 'largest IP packet; 65520 by default')
    .option(
      '--internal',
      'no way out of the deck; its other networks are in reach all the same, until there is isolation',
    )
    .option('--host-loopback', "let its endpoints reach the host's loopback, at 192.0.0.1")
    .option(
      '-o, --opt <key=value>',
      'tapdeck.uplink=NAME, tapdeck.npt=PREFIX (RFC 6296), tapdeck.host_loopback=true, com.docker.network.driver.mtu=BYTES',
      collect,
    )
    .action(
      cli.act(async (name: string, flags: CommonFlags & CreateFlags) =>
        (await commands()).createNetwork(await cli.client(flags), name, flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck network create lab', "the next of Docker's address pools"],
        ['tapdeck network create --subnet 10.9.0.0/24 --subnet fd00:9::/64 --mtu 1500 lab', 'as you say'],
        ['tapdeck network create -o tapdeck.uplink=td1 lab', 'out by another uplink than the first'],
        [
          'tapdeck network create --internal lab',
          'no way outside; the other networks of the deck are in reach',
        ],
      ]),
    );
  network
    .command('ls')
    .alias('list')
    .description('list the networks')
    .option('-q, --quiet', 'only the ids')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & { quiet?: boolean }) =>
        (await commands()).listNetworks(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText('after', examples([['tapdeck network ls -q', 'for scripts']]));
  network
    .command('inspect')
    .description('show networks as `docker network inspect` does')
    .argument('<name...>', 'names or ids of networks')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) =>
        (await commands()).inspectNetworks(await cli.client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network inspect bridge', 'with its endpoints']]));
  network
    .command('rm')
    .alias('remove')
    .description('remove networks that have no endpoints')
    .argument('<name...>', 'names or ids of networks')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) =>
        (await commands()).removeNetworks(await cli.client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network rm lab', 'after its endpoints were detached']]));
}
