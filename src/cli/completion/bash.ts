import { shellWord } from '../../control/shell-word.ts';
import { allCommands, type CommandInfo } from '../command-tree.ts';
import { argumentBranches, childBranches, passingBranches, valueBranches, wordsOf } from './shell-tables.ts';

/** Completion for bash 4.4 and newer, with or without the package bash-completion. */
export function bashScript(tree: CommandInfo): string {
  return `# Completion of tapdeck for bash, made from its commands by \`tapdeck completion bash\`.

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

_tapdeck_words() {
  case "$1" in
${wordBranches(tree)}  esac
}

# $1: what is possible; $2: what was typed of it; $3: the program; $4: its --host
_tapdeck_offer() {
  local words
  case "$1" in
    =*) words="\${1#=}" ;;
    containers | networks | names) words=$("$3" __complete "$1" "$4" 2>/dev/null) ;;
    netns) words=$(command ls /run/netns 2>/dev/null) ;;
    command) mapfile -t COMPREPLY < <(compgen -c -- "$2") ;;
    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
  esac
  [ -z "$words" ] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2")
}

_tapdeck() {
  # Readline cuts words at = and :; here they are as they were typed.
  local line=() i word glued=0
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == [=:]* ]] && ((i > 1)); then
      line[-1]+=$word
      glued=1
    elif ((glued)); then
      line[-1]+=$word
      glued=0
    else
      line+=("$word")
    fi
  done
  local REPLY program=\${line[0]} current=\${line[-1]} path='' position=0 host='' option='' ended=0
  COMPREPLY=()
  for ((i = 1; i < \${#line[@]} - 1; i++)); do
    word=\${line[i]}
    if [ -n "$option" ]; then
      case "$option" in -H | --host) host=$word ;; esac
      option=''
    elif ((ended == 0)) && [ "$word" = -- ]; then
      ended=1
    elif ((ended == 0)) && [[ $word == --*=* ]]; then
      [[ $word == --host=* ]] && host=\${word#*=}
    elif ((ended == 0)) && [[ $word == -* ]]; then
      _tapdeck_value "$path" "$word" && option=$word
    elif ((position == 0)) && _tapdeck_child "$path" "$word"; then
      path=$REPLY
    else
      position=$((position + 1))
      case "$path" in
        ${passingBranches(tree)})
          # The rest is another program's command line.
          if declare -F _command_offset >/dev/null; then
            _command_offset "$i"
          else
            _tapdeck_offer files "$current" "$program" "$host"
          fi
          return
          ;;
      esac
    fi
  done
  if [ -n "$option" ]; then
    _tapdeck_value "$path" "$option"
    _tapdeck_offer "$REPLY" "$current" "$program" "$host"
  elif ((ended == 0)) && [[ $current == --*=* ]]; then
    _tapdeck_value "$path" "\${current%%=*}" || return
    # Readline puts what is offered behind the = alone.
    _tapdeck_offer "$REPLY" "\${current#*=}" "$program" "$host"
  elif ((ended == 0)) && [[ $current == -* ]]; then
    REPLY=''
    _tapdeck_words "$path:options"
    mapfile -t COMPREPLY < <(compgen -W "$REPLY" -- "$current")
  else
    REPLY=''
    ((position == 0 && ended == 0)) && _tapdeck_words "$path:commands"
    if [ -n "$REPLY" ]; then
      mapfile -t COMPREPLY < <(compgen -W "$REPLY" -- "$current")
    elif _tapdeck_argument "$path" "$position"; then
      _tapdeck_offer "$REPLY" "$current" "$program" "$host"
    fi
  fi
}

complete -F _tapdeck tapdeck
`;
}

/** What may be typed behind each command: its options, and its subcommands. */
function wordBranches(tree: CommandInfo): string {
  return Array.from(allCommands(tree))
    .flatMap((command) => {
      const path = command.path.join(' ');
      const options = command.options.flatMap(({ flags }) => flags).join(' ');
      const commands = command.children.flatMap(wordsOf).join(' ');
      return [
        `    ${shellWord(`${path}:options`)}) REPLY=${shellWord(options)} ;;\n`,
        ...(commands === ''
          ? []
          : [`    ${shellWord(`${path}:commands`)}) REPLY=${shellWord(commands)} ;;\n`]),
      ];
    })
    .join('');
}
