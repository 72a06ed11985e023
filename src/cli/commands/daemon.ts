import { type Command, Option } from 'commander';
import { type Cli, type CommonFlags, collect, examples, uplinkFlags } from '../cli.ts';
import type { DaemonFlags } from '../daemon.ts';

export function daemonCommand(program: Command, cli: Cli): void {
  uplinkFlags(program.command('daemon').description('run the switch until it is told to end'))
    .option(
      '--group <name>',
      'let a group use the socket, and so do all that the daemon may; by default, you alone may',
    )
    .option(
      '--docker-plugin [path]',
      "be Docker's network driver and IPAM driver `tapdeck`, at /run/docker/plugins/tapdeck.sock or another socket",
    )
    .option(
      '--record <file>',
      'write down all that enters the switch, for `tapdeck replay`; see `tapdeck record`',
    )
    .option('--until-empty', 'end with the last endpoint, as a daemon does that `tapdeck run` starts')
    .option(
      '--default-address-pool <pool>',
      "where networks get subnets that ask for none, base=CIDR,size=BITS; Docker's by default; may be repeated",
      collect,
    )
    .option('--conntrack-max <number>', 'most connections at one time; 262144 by default')
    .option(
      '--conntrack-quota <number>',
      'most connections that one endpoint may have begun; a quarter of all by default',
    )
    .option(
      '--timeout <name=seconds>',
      'how long idle connections are remembered; by default udp=300, icmp=60, tcp-established=7440, tcp-unanswered=7440, tcp-opening=240, tcp-closing=240, tcp-reset=240, generic=600',
      collect,
    )
    .option('--no-tcp-loose', 'do not pick up TCP connections in the middle')
    .addOption(new Option('--tell-parent').hideHelp())
    .action(
      cli.act(async (flags: CommonFlags & DaemonFlags) => {
        const { runDaemon } = await import('../daemon.ts');
        return runDaemon(cli.paths(flags), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck daemon', 'at /run/tapdeck/tapdeck.sock as root, in $XDG_RUNTIME_DIR as a user'],
        ['tapdeck --host unix:///tmp/lab.sock daemon', 'a second one, elsewhere'],
        ['tapdeck daemon --group tapdeck', 'for the members of a group too, as Docker does it'],
        ['tapdeck daemon --docker-plugin', 'then: docker network create -d tapdeck front'],
        ['tapdeck daemon --uplink tap:td0,addr=192.0.2.2/24', 'out by interface td0 of the host, 192.0.2.1'],
        [
          'tapdeck daemon --uplink packet:eth1,addr=198.51.100.7/24,gw=198.51.100.1',
          'out by eth1, beside the host',
        ],
        ['tapdeck daemon --default-address-pool base=10.10.0.0/16,size=24', 'networks of 256 addresses'],
        ['tapdeck daemon --conntrack-max 1048576 --timeout udp=60', 'more connections, forgotten earlier'],
        ['tapdeck daemon --no-tcp-loose', 'only connections whose beginning was seen'],
      ]),
    );
}
