# What zsh offers for command lines, in front of each of which it prints a line with a null byte: $1 is the completion, $2 the
# beginning of names for files, all others are the lines. A zsh of its own at a terminal gets the tabulator; compadd, by which everything is offered, writes down what it is given.
zmodload zsh/zpty
zpty shell zsh -f -i
cat > $2.setup <<EOF
PROMPT=
autoload -Uz compinit && compinit -D -u
source $1
bindkey '^I' complete-word
compadd() {
  # Arrays that it only fills; what of them is offered comes again.
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "\$@"; return \$?; fi
  local -a offered
  builtin compadd -O offered "\$@"
  print -rl -- \$offered >> $2.offered
  builtin compadd "\$@"
}
said() { print >> $2.end }
zle -N said
bindkey '^X' said
print ready > $2.ready
EOF
zpty -w shell "source $2.setup"
until [[ -s $2.ready ]]; do sleep 0.02; done
for line in "${@[3,-1]}"; do
  rm -f $2.offered $2.end
  zpty -w -n shell $'\x15'"$line"$'\t\x18'
  until [[ -s $2.end ]]; do sleep 0.01; done
  print -rn -- $'\0\n'
  cat $2.offered 2>/dev/null
done
zpty -d shell
