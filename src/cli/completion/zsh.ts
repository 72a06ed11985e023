import { shellWord } from '../../control/shell-word.ts';
import { allCommands, type CommandInfo } from '../command-tree.ts';
import { argumentBranches, childBranches, passingBranches, valueBranches, wordsOf } from './shell-tables.ts';

/** Completion for zsh 5: the file `_tapdeck` of a folder in fpath. */
export function zshScript(tree: CommandInfo): string {
  return `#compdef tapdeck
# Completion of tapdeck for zsh, made from its commands by \`tapdeck completion zsh\`.

_tapdeck_child() {
  case "$1:$2" in
${childBranches(tree)}    *) return 1 ;;
  esac
}

_tapdeck_value() {
  case "$1:$2" in
${valueBranches(tree)}    *) return 1 ;;
  esac
}

_tapdeck_argument() {
  case "$1:$2" in
${argumentBranches(tree)}    *) return 1 ;;
  esac
}

# Into described.
_tapdeck_words() {
  described=()
  case "$1" in
${wordBranches(tree)}  esac
}

# $1: what is possible; $2: the program; $3: its --host
_tapdeck_offer() {
  local -a found
  case "$1" in
    '='*) found=(\${=1#=}) ;;
    containers | networks | names) found=(\${(f)"$("$2" __complete "$1" "$3" 2>/dev/null)"}) ;;
    netns) found=(/run/netns/*(N:t)) ;;
    command) _command_names -e; return ;;
    files) _files; return ;;
  esac
  (( $#found )) && compadd -a found
}

_tapdeck() {
  local REPLY word program=$words[1] current=$words[CURRENT] where='' host='' option=''
  local -i i position=0 ended=0
  local -a described
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    if [[ -n $option ]]; then
      [[ $option == (-H|--host) ]] && host=$word
      option=''
    elif ((!ended)) && [[ $word == -- ]]; then
      ended=1
    elif ((!ended)) && [[ $word == --*=* ]]; then
      [[ $word == --host=* ]] && host=\${word#*=}
    elif ((!ended)) && [[ $word == -* ]]; then
      _tapdeck_value "$where" "$word" && option=$word
    elif ((position == 0)) && _tapdeck_child "$where" "$word"; then
      where=$REPLY
    else
      position+=1
      case "$where" in
        ${passingBranches(tree)})
          # The rest is another program's command line.
          shift $((i - 1)) words
          ((CURRENT -= i - 1))
          _normal
          return
          ;;
      esac
    fi
  done
  if [[ -n $option ]]; then
    _tapdeck_value "$where" "$option"
    _tapdeck_offer "$REPLY" "$program" "$host"
  elif ((!ended)) && [[ $current == --*=* ]]; then
    _tapdeck_value "$where" "\${current%%=*}" || return
    compset -P '*='
    _tapdeck_offer "$REPLY" "$program" "$host"
  elif ((!ended)) && [[ $current == -* ]]; then
    _tapdeck_words "\${where}:options"
    _describe -o option described
  else
    ((position == 0 && !ended)) && _tapdeck_words "\${where}:commands"
    if (( $#described )); then
      _describe command described
    elif _tapdeck_argument "$where" "$position"; then
      _tapdeck_offer "$REPLY" "$program" "$host"
    fi
  fi
}

# As a file of fpath this is the function; after \`source\` it is to be made known.
if [[ $funcstack[1] == _tapdeck ]]; then
  _tapdeck "$@"
else
  compdef _tapdeck tapdeck
fi
`;
}

/** What may be typed behind each command, with what it is: its options, and its subcommands. */
function wordBranches(tree: CommandInfo): string {
  const list = (words: readonly (readonly [string, string])[]) =>
    words.map(([word, what]) => shellWord(`${word.replaceAll(':', '\\:')}:${what}`)).join(' ');
  return Array.from(allCommands(tree))
    .flatMap((command) => {
      const path = command.path.join(' ');
      const options = command.options.flatMap(({ flags, description }) =>
        flags.map((flag) => [flag, description] as const),
      );
      const commands = command.children.flatMap((child) =>
        wordsOf(child).map((word) => [word, child.description] as const),
      );
      return [
        `    ${shellWord(`${path}:options`)}) described=(${list(options)}) ;;\n`,
        ...(commands.length === 0
          ? []
          : [`    ${shellWord(`${path}:commands`)}) described=(${list(commands)}) ;;\n`]),
      ];
    })
    .join('');
}
