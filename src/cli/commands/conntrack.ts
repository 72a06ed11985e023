import { type Command, Option } from 'commander';
import { type Cli, type CommonFlags, examples } from '../cli.ts';
import type { ConntrackFlags } from '../conntrack.ts';

export function conntrackCommand(program: Command, cli: Cli): void {
  const only = (flags: string, description: string) =>
    new Option(flags, description).conflicts(
      ['list', 'delete', 'flush', 'count', 'event'].filter((one) => !flags.endsWith(`--${one}`)),
    );
  // conntrack's other names for what has a short one.
  const alias = (flags: string) => new Option(flags).hideHelp();
  program
    .command('conntrack')
    .description('show, forget, count or follow the connections, with the options of conntrack(8)')
    .addOption(only('-L, --list', 'list connections; what is done by default'))
    .addOption(
      only('-D, --delete', 'forget the connections that the filter means; exit code 1 when there is none'),
    )
    .addOption(only('-F, --flush', 'forget all connections'))
    .addOption(only('-C, --count', 'count the connections'))
    .addOption(only('-E, --event', 'follow what happens to connections, until ctrl-C'))
    .option('-p, --proto <protocol>', 'of this protocol: tcp, udp, icmp, icmpv6 or a number')
    .option('-f, --family <family>', 'ipv4 or ipv6')
    .option('-s, --src <address>', 'from this address, in the original direction (also --orig-src)')
    .option('-d, --dst <address>', 'to this address, in the original direction (also --orig-dst)')
    .option('--sport <port>', 'from this port (also --orig-port-src)')
    .option('--dport <port>', 'to this port (also --orig-port-dst)')
    .option('-r, --reply-src <address>', 'from this address, in the reply direction')
    .option('-q, --reply-dst <address>', 'to this address, in the reply direction')
    .option('--reply-port-src <port>', 'from this port, in the reply direction')
    .option('--reply-port-dst <port>', 'to this port, in the reply direction')
    .option('--state <state>', 'TCP in this state, as ESTABLISHED')
    .option('--network <name>', 'that come in by this network or uplink, in either direction')
    .addOption(alias('--orig-src <address>').conflicts('src'))
    .addOption(alias('--orig-dst <address>').conflicts('dst'))
    .addOption(alias('--orig-port-src <port>').conflicts('sport'))
    .addOption(alias('--orig-port-dst <port>').conflicts('dport'))
    .addOption(
      new Option('--format <format>', 'how to print; `conntrack` as conntrack-tools does')
        .choices(['table', 'json', 'conntrack'])
        .default('table'),
    )
    .action(
      cli.act(async (flags: Omit<CommonFlags, 'format'> & ConntrackFlags) => {
        const { conntrack } = await import('../conntrack.ts');
        return conntrack(await cli.client({ ...(flags.host !== undefined && { host: flags.host }) }), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck conntrack -p tcp --state ESTABLISHED', 'the connections that stand'],
        ['tapdeck conntrack --format conntrack', 'in the lines of conntrack -L'],
        ['tapdeck conntrack -D -s 172.17.0.2', 'forget what an endpoint has begun'],
        ['tapdeck conntrack -E --format json', 'live, for programs: an event per line'],
      ]),
    );
}
