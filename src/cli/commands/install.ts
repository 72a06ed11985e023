import { Argument, type Command } from 'commander';
import { type Cli, examples } from '../cli.ts';
import type { InstallFlags } from '../install/install.ts';
import { TARGETS, type Target } from '../install/target.ts';

export function installCommands(program: Command, cli: Cli): void {
  program
    .command('install')
    .description(
      'put files where other programs look for tapdeck: for the whole machine as root, for yourself as a user',
    )
    .addArgument(new Argument('<what>', 'what it is to work with').choices(TARGETS))
    .option('-n, --dry-run', 'only say what would be done')
    .option('-f, --force', 'put aside files that are there and not from tapdeck; uninstall puts them back')
    .option('--group <name>', 'for service alone: a group that may use the daemon')
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
        ['tapdeck install service', 'systemd units: the daemon starts when somebody connects'],
        ['tapdeck install --dry-run docker', 'what it would do for `docker network create -d tapdeck`'],
        ['tapdeck install cni', 'for Podman as root, and other runtimes with CNI'],
        ['tapdeck install slirp4netns', 'for rootless Podman, and RootlessKit'],
      ]),
    );
  program
    .command('uninstall')
    .description('take away what install has put there, and nothing else')
    .addArgument(new Argument('<what>', 'what was installed').choices(TARGETS))
    .option('-n, --dry-run', 'only say what would be done')
    .option('-f, --force', 'take away also files that were changed since')
    .option('--root <folder>', 'the folder that install was given')
    .action(
      cli.act(async (target: Target, flags: InstallFlags) => {
        const { uninstall } = await import('../install/install.ts');
        return uninstall(target, flags);
      }),
    )
    .addHelpText('after', examples([['tapdeck uninstall docker', 'what was put aside is there again']]));
}
