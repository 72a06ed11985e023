import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

/** What would become of a packet, and why. */
export function whyCommand(program: Command, cli: Cli): void {
  program
    .command('why')
    .description('what would become of a packet and of the answer to it, rule by rule; nothing is sent')
    .argument('<source>', 'CONTAINER, NETWORK/CONTAINER, an address, host (a program of the host) or outside')
    .argument(
      '<destination>',
      'the same or gateway, with a port and a protocol: web:80, web:53/udp, [fd00::2]:80; a ping without',
    )
    .option('-4', 'by IPv4')
    .option('-6', 'by IPv6')
    .addOption(formatOption())
    .action(
      cli.act(async (source: string, destination: string, flags: CommonFlags & { 4?: true; 6?: true }) =>
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
      ])}`,
    );
}
