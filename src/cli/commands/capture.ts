import { type Command, Option } from 'commander';
import type { CaptureFlags } from '../capture/capture.ts';
import type { TimeFormat } from '../capture/packet-line.ts';
import { type Cli, type CommonFlags, collect, examples } from '../cli.ts';

/** How often -t stands there, as tcpdump counts it. */
const TIMES: readonly TimeFormat[] = ['none', 'epoch', 'delta', 'date', 'relative'];

export function captureCommand(program: Command, cli: Cli): void {
  program
    .command('capture')
    .description(
      'write what passes by to pcapng, with what was decided about every packet, or show it; with the options of tcpdump',
    )
    .argument('[filter...]', 'which packets, in the language of tcpdump: see docs/filters.md')
    .option(
      '-i, --interface <name>',
      'of this network, uplink or container, all by default; may be repeated; network:NAME and container:NAME where both have the name',
      collect,
    )
    .option(
      '-w, --write <file>',
      'write pcapng to a file, - for standard output; a line for each packet by default',
    )
    .option('-c, --count <number>', 'end after so many packets')
    .option('-s, --snapshot-length <bytes>', 'keep so much of each packet; all of it by default')
    .option('-C, --size <megabytes>', 'begin another file after so many millions of bytes')
    .option(
      '-G, --seconds <seconds>',
      'begin another file after so many seconds; times go into its name as by strftime, %H%M%S',
    )
    .option(
      '-W, --files <number>',
      'with -C: overwrite the oldest of so many files; with -G: end after so many',
    )
    .option('-B, --buffer-size <mebibytes>', 'memory for packets that wait to be written; 64 by default')
    .addOption(
      new Option(
        '-Q, --direction <direction>',
        'only packets that came into the deck, or went out of it',
      ).choices(['in', 'out', 'inout']),
    )
    .option('-D, --list-interfaces', 'list what -i may name')
    .option('-e, --ethernet', 'show MAC addresses, too')
    .option('-v, --verbose', 'show every step of the way of a packet')
    .option('-q, --quiet', 'do not say what is captured')
    .addOption(
      new Option(
        '-t',
        'no time; -tt: seconds since 1970; -ttt: since the last packet; -tttt: with the date; -ttttt: since the first',
      )
        .preset('t')
        .argParser((_, before) => TIMES[TIMES.indexOf(before as TimeFormat) + 1] ?? before),
    )
    // Of tcpdump's: names are never asked for here, and everything is shown at once.
    .addOption(new Option('-n').hideHelp())
    .addOption(new Option('-l').hideHelp())
    .addOption(new Option('-U').hideHelp())
    .action(
      cli.act(
        async (filter: string[], { t: time, ...flags }: CommonFlags & CaptureFlags & { t?: TimeFormat }) => {
          const client = await cli.client(flags);
          if (flags.listInterfaces) {
            const { printInterfaces } = await import('../capture/interfaces.ts');
            return printInterfaces(client, cli.format(flags));
          }
          const { capture } = await import('../capture/capture.ts');
          return capture(client, { ...flags, ...(time && { time }) }, filter);
        },
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck capture -i web tcp port 80', 'a line for each packet, and what became of it'],
        ['tapdeck capture -w out.pcapng', 'everything, for tshark, tcpdump and Wireshark'],
        ['tapdeck capture -w - | wireshark -k -i -', 'live in Wireshark'],
        ['tapdeck capture -w ring.pcapng -C 100 -W 10', 'the newest gigabyte, in ten files'],
      ]),
    );
}
