import type { Command } from 'commander';
import { type Cli, type CommonFlags, collect, connectFlags, examples, formatOption } from '../cli.ts';
import type { ConnectFlags, CreateFlags, ListFlags, PruneFlags } from '../network.ts';

export function networkCommands(program: Command, cli: Cli): void {
  const network = program.command('network').description('make, list, show, connect and remove networks');
  const commands = () => import('../network.ts');
  network.helpCommand(false).addHelpText(
    'after',
    examples([
      ['tapdeck network create --ipv6 lab', 'make a network'],
      ['tapdeck run --network lab -- bash', 'a command in it'],
      ['tapdeck network connect lab web', 'a container that is somewhere else already'],
      ['tapdeck network inspect lab', 'who is in it'],
      ['tapdeck network rm lab', 'remove it'],
    ]),
  );
  network
    .command('create')
    .description('make a network')
    .argument('<name>', 'its name')
    .option('-d, --driver <driver>', 'bridge; host and none are there already')
    .option('--subnet <cidr>', 'its subnet, once per IP version', collect)
    .option('--ip-range <cidr>', 'the part of the subnet out of which addresses are chosen', collect)
    .option('--gateway <address>', "the gateway's address in it", collect)
    .option('--aux-address <name=address>', 'an address that no container gets; may be repeated', collect)
    .option('--ipv6', 'give it IPv6, also without a subnet')
    .option('--mtu <bytes>', 'largest IP packet; 65520 by default')
    .option('--internal', 'no way out of it')
    .option('--attachable', 'accepted for the sake of habit: anybody may be connected')
    .option('--host-loopback', "let its containers reach the host's loopback, at 192.0.0.1")
    .option('--label <key=value>', 'a label; may be repeated', collect)
    .option(
      '-o, --opt <key=value>',
      'com.docker.network.bridge.enable_icc=false, com.docker.network.bridge.enable_ip_masquerade=false, com.docker.network.bridge.host_binding_ipv4=ADDRESS, com.docker.network.driver.mtu=BYTES, tapdeck.uplink=NAME, tapdeck.npt=PREFIX (RFC 6296), tapdeck.dhcp=true, tapdeck.dns=ADDRESS,…, tapdeck.host_loopback=true',
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
        [
          'tapdeck network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 --aux-address nas=10.9.0.9 lab',
          'addresses from .128 on, and .9 for nobody',
        ],
        ['tapdeck network create -o tapdeck.uplink=td1 lab', 'out by another uplink than the first'],
        ['tapdeck network create --internal lab', 'no way out'],
      ]),
    );
  network
    .command('ls')
    .alias('list')
    .description('list the networks')
    .option('-q, --quiet', 'only the ids')
    .option(
      '-f, --filter <key=value>',
      'driver=, id=, label=, name=, scope=, type=builtin|custom, dangling=true|false; may be repeated',
      collect,
    )
    .option('--no-trunc', 'whole ids')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & ListFlags) =>
        (await commands()).listNetworks(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck network ls -q', 'for scripts'],
        ['tapdeck network ls --filter label=project=shop --filter type=custom', 'those of one project'],
      ]),
    );
  network
    .command('inspect')
    .description('show networks as `docker network inspect` does')
    .argument('<name...>', 'names or ids of networks')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) =>
        (await commands()).inspectNetworks(await cli.client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network inspect bridge', 'with its containers']]));
  network
    .command('rm')
    .alias('remove')
    .description('remove networks that no container is in')
    .argument('<name...>', 'names or ids of networks')
    .action(
      cli.act(async (names: string[], flags: CommonFlags) =>
        (await commands()).removeNetworks(await cli.client(flags), names),
      ),
    )
    .addHelpText('after', examples([['tapdeck network rm lab', 'after the last container has left']]));
  connectFlags(
    network
      .command('connect')
      .description('connect a container to a further network, while it runs')
      .argument('<network>', 'name or id of the network')
      .argument('<container>', 'name or id of the container')
      .option('--alias <name>', 'a further name of it in the network; may be repeated', collect),
  )
    .action(
      cli.act(async (name: string, container: string, flags: CommonFlags & ConnectFlags) =>
        (await commands()).connectNetwork(await cli.client(flags), name, container, flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck network connect lab web', 'a further interface, with the next free address'],
        ['tapdeck network connect --ip 10.9.0.9 --alias db lab web', 'as you say'],
        ['tapdeck network connect --gw-priority 1 lab web', 'which leaves by this network from now on'],
      ]),
    );
  network
    .command('disconnect')
    .description('take a container out of a network, while it runs')
    .argument('<network>', 'name or id of the network')
    .argument('<container>', 'name or id of the container')
    .option('-f, --force', 'accepted for the sake of habit')
    .action(
      cli.act(async (name: string, container: string, flags: CommonFlags) =>
        (await commands()).disconnectNetwork(await cli.client(flags), name, container),
      ),
    )
    .addHelpText('after', examples([['tapdeck network disconnect lab web', 'its interface disappears']]));
  network
    .command('prune')
    .description('remove all networks that no container is in')
    .option('-f, --force', 'do not ask')
    .option(
      '--filter <key=value>',
      'until=24h, label=KEY[=VALUE], label!=KEY[=VALUE]; may be repeated',
      collect,
    )
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & PruneFlags) =>
        (await commands()).pruneNetworks(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([['tapdeck network prune -f --filter until=24h', "all but the last day's"]]),
    );
}
