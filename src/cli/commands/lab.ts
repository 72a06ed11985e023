import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption, uplinkFlags } from '../cli.ts';
import type { LogsFlags } from '../lab/logs.ts';
import type { LabFlags } from '../lab/up.ts';

/** `lab` and what is below it. */
export function labCommands(program: Command, cli: Cli): void {
  const lab = program
    .command('lab')
    .helpCommand(false)
    .description("a Compose file's networks and services, as local sandboxes")
    .addHelpText(
      'after',
      `${examples([
        ['tapdeck lab up', 'what compose.yaml of this folder says'],
        ['tapdeck lab down', 'and nothing of it is left'],
      ])}
docs/labs.md says which keys of Compose there are and what they mean.
`,
    );
  uplinkFlags(withFile(lab.command('up').description('bring a lab up, detached: all of it, or nothing')))
    .option('-d, --detach', 'accepted for the sake of habit: it always is')
    .action(
      cli.act(async (file: string | undefined, flags: CommonFlags & LabFlags) => {
        const { up } = await import('../lab/up.ts');
        return up(cli.paths(flags), cli.host(flags), file, flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck lab up', 'compose.yaml in this folder'],
        ['tapdeck lab up -p second labs/shop.yaml', 'the same lab a second time, by another name'],
      ]),
    );
  withFile(lab.command('down').description('end the services of a lab and remove its networks'))
    .action(
      cli.act(async (file: string | undefined, flags: CommonFlags & LabFlags) => {
        const { down } = await import('../lab/down.ts');
        return down(cli.paths(flags), cli.host(flags), file, flags);
      }),
    )
    .addHelpText('after', examples([['tapdeck lab down -p shop', 'by its name, without a file']]));
  withFile(lab.command('ps').description('list the services of a lab'))
    .addOption(formatOption())
    .action(
      cli.act(async (file: string | undefined, flags: CommonFlags & LabFlags) => {
        const { ps } = await import('../lab/ps.ts');
        return ps(cli.paths(flags), file, flags, cli.format(flags));
      }),
    )
    .addHelpText('after', examples([['tapdeck lab ps --format json', 'for programs']]));
  lab
    .command('logs')
    .description('show what the services of a lab have written')
    .argument('[file]', 'the Compose file; compose.yaml in this folder by default')
    .argument('[service...]', 'only of these services; all by default')
    .option('-p, --project-name <name>', "the lab's name; the file's or its folder's by default")
    .option('-f, --follow', 'go on as long as the lab is up')
    .option('-t, --timestamps', 'with the time of each line')
    .action(
      cli.act(async (file: string | undefined, services: string[], flags: CommonFlags & LogsFlags) => {
        const { logs } = await import('../lab/logs.ts');
        return logs(cli.paths(flags), file, services, flags);
      }),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck lab logs -f', 'everything, as it comes'],
        ['tapdeck lab logs compose.yaml web db', 'of two services'],
      ]),
    );
  lab
    .command('supervise', { hidden: true })
    .description('what holds a lab; started by `lab up`')
    .action(
      cli.act(async (flags: CommonFlags) => {
        const { supervise } = await import('../lab/supervisor.ts');
        return supervise(cli.paths(flags), cli.host(flags));
      }),
    );
}

function withFile(command: Command): Command {
  return command
    .argument('[file]', 'the Compose file; compose.yaml in this folder by default')
    .option('-p, --project-name <name>', "the lab's name; the file's or its folder's by default");
}
