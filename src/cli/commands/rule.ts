import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';
import type { RuleFlags } from '../rule.ts';

/** Rules of the user's own: chain DOCKER-USER. */
export function ruleCommands(program: Command, cli: Cli): void {
  const commands = () => import('../rule.ts');
  const rule = program
    .command('rule')
    .description('rules of your own, in front of all others (chain DOCKER-USER)')
    .helpCommand(false)
    .addHelpText('after', examples([['tapdeck rule ls', 'your rules, and what they have counted']]));
  rule
    .command('add')
    .description('add a rule, and print its id')
    .option('--in <network>', 'network or uplink by which packets come in; !NAME for any other')
    .option('--out <network>', 'network or uplink by which they go out; !NAME for any other')
    .option('--src <prefix>', 'source address or subnet; !PREFIX for any other')
    .option('--dst <prefix>', 'destination address or subnet; that of the endpoint for a published port')
    .option('--proto <protocol>', 'tcp, udp, icmp, icmpv6, gre, esp, sctp, or a number')
    .option('--sport <ports>', 'source port, or first and last: 8000:8010')
    .option('--dport <ports>', 'destination port; that of the endpoint for a published port')
    .option('--icmp-type <type>', 'echo-request and its like, or a number')
    .option(
      '--state <states>',
      'of the connection: NEW,ESTABLISHED,RELATED,INVALID,DNAT, of which one must hold',
    )
    .requiredOption('-j, --jump <action>', 'ACCEPT, DROP, REJECT, or RETURN to the other chains')
    .option(
      '--reject-with <answer>',
      'tcp-reset, icmp-port-unreachable, icmp-net-unreachable, icmp-host-unreachable, icmp-proto-unreachable, icmp-net-prohibited, icmp-host-prohibited or icmp-admin-prohibited; a reset for TCP and icmp-port-unreachable for all else by default',
    )
    .option('--position <number>', 'where among the rules, from 1; behind all of them by default')
    .option('--comment <text>', 'what it is for')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags & RuleFlags) =>
        (await commands()).addRule(await cli.client(flags), cli.format(flags), flags),
      ),
    )
    .addHelpText(
      'after',
      examples([
        [
          'tapdeck rule add --in front --out back --proto tcp --dport 5432 -j ACCEPT',
          'a way through the isolation',
        ],
        ['tapdeck rule add --in back --out front --state ESTABLISHED -j ACCEPT', 'and the answers back'],
        ['tapdeck rule add --in front --dst 10.0.0.0/8 -j REJECT', 'connections end at once, and say why'],
        [
          "tapdeck rule add --out '!back' --src 172.18.0.3 -j DROP --position 1",
          'in front of all other rules',
        ],
      ]),
    );
  rule
    .command('rm')
    .description('remove rules: all that are named, or none')
    .argument('<id...>', 'ids, as `rule ls` shows them')
    .addOption(formatOption())
    .action(
      cli.act(async (ids: string[], flags: CommonFlags) =>
        (await commands()).removeRules(await cli.client(flags), cli.format(flags), ids),
      ),
    )
    .addHelpText(
      'after',
      examples([['tapdeck rule rm 3 4', 'what they forbade passes from the next packet on']]),
    );
  rule
    .command('ls')
    .description('list the rules in their order, with what they have counted')
    .addOption(formatOption())
    .action(
      cli.act(async (flags: CommonFlags) =>
        (await commands()).listRules(await cli.client(flags), cli.format(flags)),
      ),
    )
    .addHelpText('after', examples([['tapdeck rule ls --format json', 'for programs']]));
}
