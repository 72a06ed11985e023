import type { Argument, Command, Option } from 'commander';

/** The commands as they describe themselves, for completion and manual pages. Hidden ones are left out. */
export interface CommandInfo {
  /** The words after `tapdeck`; none for tapdeck itself. */
  path: readonly string[];
  aliases: readonly string[];
  description: string;
  /** As after the command in a synopsis: `[options] <name...>`. */
  usage: string;
  options: readonly OptionInfo[];
  args: readonly ArgumentInfo[];
  children: readonly CommandInfo[];
  /** Command lines, and what each is for. */
  examples: readonly (readonly [command: string, what: string])[];
  /** Whether all words from the first argument on are the command line of another program. */
  passesThrough: boolean;
}

export interface OptionInfo {
  /** `-H`, `--host`. */
  flags: readonly string[];
  /** As in a synopsis: `-H, --host <url>`. */
  text: string;
  description: string;
  /** What its value may be; undefined where it takes none. */
  values: Values | undefined;
  /** Whether the value may be left out. */
  optional: boolean;
}

export interface ArgumentInfo {
  name: string;
  description: string;
  variadic: boolean;
  values: Values;
}

/** What words are possible: names of a kind, one of a list, or anything. */
export type Values =
  | 'containers'
  | 'networks'
  /** Containers and networks. */
  | 'names'
  /** Network namespaces that `ip netns` knows. */
  | 'netns'
  | 'files'
  | 'command'
  | 'any'
  | readonly string[];

/** Describes a command and all below it. */
export function commandTree(command: Command, path: readonly string[] = []): CommandInfo {
  const help = command.createHelp();
  const children = help.visibleCommands(command).filter((child) => child.name() !== 'help');
  return {
    path,
    aliases: command.aliases(),
    description: command.description(),
    usage: command.usage(),
    options: help.visibleOptions(command).map(optionInfo),
    args: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
      variadic: argument.variadic,
      values: argumentValues(argument, path),
    })),
    children: children.map((child) => commandTree(child, [...path, child.name()])),
    examples: examplesOf(command),
    passesThrough: (command as unknown as { _passThroughOptions: boolean })._passThroughOptions,
  };
}

/** A command and all below it, in the order of the help. */
export function* allCommands(tree: CommandInfo): Generator<CommandInfo> {
  yield tree;
  for (const child of tree.children) yield* allCommands(child);
}

function optionInfo(option: Option): OptionInfo {
  const { short, long, flags, description, required, optional } = option;
  return {
    // Commander takes a second long flag for the short one: --net, --network.
    flags: [short, long].filter((flag) => flag !== undefined),
    text: flags,
    description,
    values: required || optional ? optionValues(option) : undefined,
    optional,
  };
}

function optionValues({ argChoices, long, flags }: Option): Values {
  if (argChoices) return argChoices;
  if (long === '--network') return 'networks';
  if (long === '--netns') return 'netns';
  return byWord(/[<[]([a-z-]+)/.exec(flags)?.[1] ?? '') ?? 'any';
}

function argumentValues(argument: Argument, path: readonly string[]): Values {
  const { argChoices, variadic } = argument;
  if (argChoices) return argChoices;
  const word = argument.name();
  if (word === 'name') {
    if (path[0] === 'network') return path[1] === 'create' ? 'any' : 'networks';
    return path[0] === 'inspect' ? 'names' : 'containers';
  }
  if (word === 'args' && variadic) return 'files';
  return byWord(word) ?? 'any';
}

/** What a placeholder stands for. */
function byWord(word: string): Values | undefined {
  switch (word) {
    case 'container':
    // Both ends of `why`.
    case 'source':
    case 'destination':
      return 'containers';
    case 'network':
      return 'networks';
    case 'file':
    case 'path':
    case 'folder':
    case 'scenario':
      return 'files';
    case 'command':
      return 'command';
    default:
      return undefined;
  }
}

/** The command lines at the end of a help text; see `examples` in cli.ts. */
function examplesOf(command: Command): [string, string][] {
  const { writeOut } = command.configureOutput();
  let text = '';
  command.configureOutput({
    writeOut: (more) => {
      text += more;
    },
  });
  command.outputHelp();
  command.configureOutput({ writeOut: writeOut! });
  const [, list = ''] = text.split('\nExamples:\n');
  return Array.from(list.matchAll(/^ {2}(\S.*?) {2,}(\S.*)$/gm), ([, line, what]) => [line!, what!]);
}
