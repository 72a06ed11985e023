import type { Command } from 'commander';
import { type Cli, type CommonFlags, examples, formatOption } from '../cli.ts';

export function publishCommands(program: Command, cli: Cli): void {
  const commands = () => import('../publish.ts');
  program
    .command('publish')
    .description('publish ports of a container: all that are asked for, or none')
    .argument('<name>', 'name or id of the container')
    .argument(
      '<spec...>',
      '[[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp]; without a host port one is chosen',
    )
    .addOption(formatOption())
    .action(
      cli.act(async (name: string, specs: string[], flags: CommonFlags) =>
        (await commands()).publish(await cli.client(flags), cli.format(flags), name, specs),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck publish web 8080:80', 'port 8080 of the deck is port 80 of web'],
        ['tapdeck publish web 192.0.2.2:53:53/udp', 'on one address only, UDP'],
        ['tapdeck publish web 8000-8010:80-90', 'eleven ports at once'],
      ]),
    );
  program
    .command('unpublish')
    .description('withdraw published ports, and end the connections that came in by them')
    .argument('<name>', 'name or id of the container')
    .argument(
      '<spec...>',
      'as it was published, or HOST_PORT[-END][/tcp|udp] alone, or ADDRESS:HOST_PORT as `port` prints it; all of them, or none',
    )
    .addOption(formatOption())
    .action(
      cli.act(async (name: string, specs: string[], flags: CommonFlags) =>
        (await commands()).unpublish(await cli.client(flags), cli.format(flags), name, specs),
      ),
    )
    .addHelpText(
      'after',
      examples([
        ['tapdeck unpublish web 8080', 'or 8080:80, as it was published'],
        ['tapdeck unpublish web 8000-8010 53/udp', 'a range goes as a whole'],
        ['tapdeck unpublish web 0.0.0.0:8080', 'over IPv4 only'],
      ]),
    );
  program
    .command('port')
    .description('show published ports as `docker port` does')
    .argument('[name]', 'name or id of a container; all by default')
    .argument('[port]', 'PORT[/tcp|udp] of the container: only where it is published')
    .addOption(formatOption())
    .action(
      cli.act(async (name: string | undefined, port: string | undefined, flags: CommonFlags) =>
        (await commands()).port(await cli.client(flags), cli.format(flags), name, port),
      ),
    )
    .addHelpText('after', examples([['tapdeck port web 80/tcp', 'where port 80 of web is published']]));
}
