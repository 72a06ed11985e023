import { allCommands, type CommandInfo, type Values } from '../command-tree.ts';
import { wordsOf } from './shell-tables.ts';

/** Completion for fish 3. */
export function fishScript(tree: CommandInfo): string {
  const lines: string[] = [];
  for (const command of allCommands(tree)) {
    const path = command.path.join(' ');
    for (const child of command.children) {
      for (const word of wordsOf(child)) {
        lines.push(
          `complete -c tapdeck -n ${quote(`__tapdeck_at 0 ${quote(path)}`)} -a ${quote(word)} -d ${quote(child.description)}`,
        );
      }
    }
    for (const { flags, values, optional, description } of command.options) {
      const spelled = flags.map((flag) =>
        flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`,
      );
      const value = values === undefined || optional ? '' : ` -r ${offer(values)}`;
      lines.push(
        `complete -c tapdeck -n ${quote(`__tapdeck_at any ${quote(path)}`)} ${spelled.join(' ')}${value} -d ${quote(description)}`,
      );
    }
    command.args.forEach(({ values, variadic }, i) => {
      const condition = `__tapdeck_at ${variadic ? `${i}-` : i} ${quote(path)}`;
      lines.push(`complete -c tapdeck -n ${quote(condition)} ${offer(values)}`);
    });
  }
  const commands = Array.from(allCommands(tree));
  return `# Completion of tapdeck for fish, made from its commands by \`tapdeck completion fish\`.

# Where the command line is: sets __tapdeck_path, the number of arguments behind it, and the --host that was typed.
function __tapdeck_walk
    set -g __tapdeck_path ''
    set -g __tapdeck_position 0
    set -g __tapdeck_host ''
    set -g __tapdeck_passing 0
    set -l option ''
    set -l ended 0
    for word in (commandline -opc)[2..-1]
        if test -n "$option"
            contains -- $option -H --host; and set -g __tapdeck_host $word
            set option ''
        else if test $ended = 0 -a "$word" = --
            set ended 1
        else if test $ended = 0; and string match -q -- '--*=*' $word
            string match -q -- '--host=*' $word; and set -g __tapdeck_host (string replace -- --host= '' $word)
        else if test $ended = 0; and string match -q -- '-*' $word
            contains -- "$__tapdeck_path:$word" $__tapdeck_with_value; and set option $word
        else if test $__tapdeck_position = 0; and set -l i (contains -i -- "$__tapdeck_path:$word" $__tapdeck_children)
            set -g __tapdeck_path $__tapdeck_paths[$i]
        else
            set -g __tapdeck_position (math $__tapdeck_position + 1)
            contains -- "$__tapdeck_path" $__tapdeck_passes; and set -g __tapdeck_passing 1; and return
        end
    end
end

# Whether the command line is at a command, behind so many arguments: 1, 1 or more (1-), or any number.
function __tapdeck_at
    __tapdeck_walk
    test "$__tapdeck_path" = "$argv[2]"; or return 1
    switch $argv[1]
        case any
            test $__tapdeck_passing = 0
        case '*-'
            test $__tapdeck_position -ge (string replace -- - '' $argv[1])
        case '*'
            test $__tapdeck_position = $argv[1]
    end
end

function __tapdeck_names
    __tapdeck_walk
    set -l program (commandline -opc)[1]
    command $program __complete $argv[1] $__tapdeck_host 2>/dev/null
end

set -g __tapdeck_children ${quoteAll(
    commands.flatMap(({ path, children }) =>
      children.flatMap((child) => wordsOf(child).map((word) => `${path.join(' ')}:${word}`)),
    ),
  )}
set -g __tapdeck_paths ${quoteAll(
    commands.flatMap(({ children }) =>
      children.flatMap((child) => wordsOf(child).map(() => child.path.join(' '))),
    ),
  )}
set -g __tapdeck_with_value ${quoteAll(
    commands.flatMap(({ path, options }) =>
      options.flatMap(({ flags, values, optional }) =>
        values === undefined || optional ? [] : flags.map((flag) => `${path.join(' ')}:${flag}`),
      ),
    ),
  )}
set -g __tapdeck_passes ${quoteAll(commands.flatMap(({ path, passesThrough }) => (passesThrough ? [path.join(' ')] : [])))}

complete -c tapdeck -f
${lines.join('\n')}
`;
}

/** The options of \`complete\` that offer values of a kind. */
function offer(values: Values): string {
  if (typeof values !== 'string') return `-f -a ${quote(values.join(' '))}`;
  switch (values) {
    case 'files':
      return '-F';
    case 'command':
      return `-f -a ${quote('(__fish_complete_command)')}`;
    case 'netns':
      return `-f -a ${quote('(command ls /run/netns 2>/dev/null)')}`;
    case 'any':
      return '-f';
    default:
      return `-f -a ${quote(`(__tapdeck_names ${values})`)}`;
  }
}

/** In single quotes fish knows two escapes. */
function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

function quoteAll(texts: readonly string[]): string {
  return texts.map(quote).join(' ');
}
