import { Argument, type Command } from 'commander';
import { type Cli, examples } from '../cli.ts';
import type { InstallFlags } from '../install/install.ts';
import { TARGETS, type Target } from '../install/target.ts';

export function installCommands(program: Command, cli: Cli): void {
  program
    .command('install')
    .description('put files where other programs find tapdeck: of the machine as root, of your own as a user')
    .addArgument(new Argument('<what>', 'for whom').choices(TARGETS))
    .option('-n, --dry-run', 'only say what would be done')
    .option('-f, --force', 'put aside what is there and not from tapdeck; uninstall puts it back')
    .option('--group <name>', 'of service: a group that may use the daemon')
    .option('--root <folder>', 'put everything below a folder, for images and packages')
    .action(
      cli.act(async (target: Target, flags: InstallFlags) => {
        const [{ install }, { commandTree }] = await Promise.all([
          import('../install/install.ts'),
          import('../command-tree.ts'),
        ]);
        return install(target, commandTree(program), flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck install service', 'units of systemd: the daemon begins when somebody asks for it'],
        ['tapdeck install --dry-run docker', 'what it would do for Docker'],
        ['tapdeck install slirp4netns', 'rootless Podman by tapdeck'],
      ]),
    );
  program
    .command('uninstall')
    .description('take away what install has put there, and nothing else')
    .addArgument(new Argument('<what>', 'for whom').choices(TARGETS))
    .option('-n, --dry-run', 'only say what would be done')
    .option('-f, --force', 'also what was changed since')
    .option('--root <folder>', 'everything is below a folder')
    .action(
      cli.act(async (target: Target, flags: InstallFlags) => {
        const { uninstall } = await import('../install/install.ts');
        return uninstall(target, flags);
      }),
    )
    .addHelpText('after', examples([['tapdeck uninstall docker', 'what was there before is there again']]));
}
