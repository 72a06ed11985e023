import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';
import type { WhyFlags } from '../why.ts';

/** What would become of a packet, and why. */
export function whyCommand(program: Command, cli: Cli): void {
  program
    .command('why')
    .description('what would become of a packet and of the answer to it, rule by rule; nothing is sent')
    .argument('[source]', 'CONTAINER, NETWORK/CONTAINER, an address, host (a program of the host) or outside')
    .argument(
      '[destination]',
      'the same or gateway, with a port and a protocol: web:80, web:53/udp, [fd00::2]:80; a ping without',
    )
    .option('-4', 'by IPv4')
    .option('-6', 'by IPv6')
    .option('--past', 'what happened to the last such packets')
    .option('--remember', 'from now on remember the way of every packet for --past, not of dropped ones only')
    .option('--no-remember', 'from now on remember dropped packets only')
    .option('--from-capture <file:n>', 'what became of the nth frame of a capture, and what would now')
    .addOption(formatOption())
    .action(
      cli.act(
        async (source: string | undefined, destination: string | undefined, flags: CommonFlags & WhyFlags) =>
          (await import('../why.ts')).why(
            await cli.client(flags),
            cli.format(flags),
            source,
            destination,
            flags,
          ),
      ),
    )
    .addHelpText(
      'after',
      `\nThe exit code is 0 when the answer is yes, and 1 when it is no.\n${examples([
        ['tapdeck why web db:5432', 'would a connection stand? if not, what to do'],
        ['tapdeck why web 1.1.1.1', 'a ping to somebody outside'],
        ['tapdeck why outside host:8080', 'the published port, as who is outside sees it'],
        ['tapdeck why front/web gateway:53/udp', 'the name server, from one of its networks'],
        ['tapdeck why -6 web db:80 --format json', 'by IPv6, for programs'],
        ['tapdeck why --past web db:5432', 'why it did not work a minute ago'],
        ['tapdeck why --from-capture deck.pcapng:12', 'frame 12, then and now'],
      ])}`,
    );
}
