import { type Command, Option } from 'commander';
import type { ExtcapFlags } from '../capture/extcap.ts';
import type { Cli, CommonFlags } from '../cli.ts';

/** For Wireshark alone: what it calls is `tapdeck-extcap`. */
export function extcapCommand(program: Command, cli: Cli): void {
  const silent = (flags: string) => new Option(flags).hideHelp();
  program
    .command('extcap', { hidden: true })
    .description('what Wireshark asks the program tapdeck-extcap in its folder for extcap')
    .option('--extcap-interfaces', 'list what can be captured')
    .option('--extcap-interface <name>', 'what the question is about')
    .option('--extcap-dlts', 'say what is captured there')
    .option('--extcap-config', 'say what can be chosen there')
    .option('--extcap-capture-filter <filter>', 'a filter; without --capture, say what is wrong with it')
    .option('--capture', 'capture')
    .option('--fifo <path>', 'where to')
    .option('--port <names>', 'containers, with commas between them')
    .option('--snaplen <bytes>', 'bytes to keep of a packet')
    .option('--buffer <mebibytes>', 'memory for what waits to be written')
    .addOption(silent('--extcap-version [version]'))
    .addOption(silent('--extcap-reload-option <name>'))
    .addOption(silent('--extcap-control-in <path>'))
    .addOption(silent('--extcap-control-out <path>'))
    .addOption(silent('--extcap-cleanup-postkill'))
    .addOption(silent('--log-level <level>'))
    .addOption(silent('--log-file <path>'))
    .action(
      cli.act(async (flags: CommonFlags & ExtcapFlags) => {
        const { extcap } = await import('../capture/extcap.ts');
        return extcap(await cli.client(flags), flags);
      }),
    );
}
