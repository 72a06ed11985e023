import { shellWord } from '../../control/shell-word.ts';
import { allCommands, type CommandInfo, type Values } from '../command-tree.ts';

/**
 * What bash and zsh look up while they go along a command line: branches of `case`, by the path of a command and what
 * was typed behind it. Both understand the same ones.
 */

/** Path and subcommand → path of the subcommand, aliases included. */
export function childBranches(tree: CommandInfo): string {
  const branches: string[] = [];
  for (const command of allCommands(tree)) {
    for (const child of command.children) {
      for (const word of wordsOf(child)) {
        branches.push(`${pattern(command, word)}) REPLY=${shellWord(child.path.join(' '))} ;;`);
      }
    }
  }
  return indented(branches);
}

/** Path and option → what its value may be. Options without a value have no branch. */
export function valueBranches(tree: CommandInfo): string {
  const branches: string[] = [];
  for (const command of allCommands(tree)) {
    for (const { flags, values, optional } of command.options) {
      // One that may be left out is given with `=`.
      if (values === undefined || optional) continue;
      const patterns = flags.map((flag) => pattern(command, flag)).join('|');
      branches.push(`${patterns}) REPLY=${shellWord(valuesText(values))} ;;`);
    }
  }
  return indented(branches);
}

/** Path and position of an argument, from 0 → what it may be. */
export function argumentBranches(tree: CommandInfo): string {
  const branches: string[] = [];
  for (const command of allCommands(tree)) {
    command.args.forEach(({ values, variadic }, i) => {
      const position = variadic ? `${shellWord(command.path.join(' '))}:*` : pattern(command, `${i}`);
      branches.push(`${position}) REPLY=${shellWord(valuesText(values))} ;;`);
    });
  }
  return indented(branches);
}

/** Paths of commands whose arguments are the command line of another program. */
export function passingBranches(tree: CommandInfo): string {
  const paths = Array.from(allCommands(tree)).filter(({ passesThrough }) => passesThrough);
  return paths.map(({ path }) => shellWord(path.join(' '))).join('|');
}

/** All words by which a command is called. */
export function wordsOf({ path, aliases }: CommandInfo): string[] {
  return [path.at(-1)!, ...aliases];
}

/** A list of choices begins with `=`; all others are names of `Values`. */
export function valuesText(values: Values): string {
  return typeof values === 'string' ? values : `=${values.join(' ')}`;
}

function pattern(command: CommandInfo, word: string): string {
  return shellWord(`${command.path.join(' ')}:${word}`);
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `    ${line}\n`).join('');
}
