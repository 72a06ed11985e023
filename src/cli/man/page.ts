import { type ArgumentInfo, allCommands, type CommandInfo, type OptionInfo } from '../command-tree.ts';

/** What all commands have in common, in the page of tapdeck itself. */
const EXIT_STATUS: readonly (readonly [string, string])[] = [
  ['0', 'It is done.'],
  ['1', 'It failed; one line on stderr says why.'],
  ['2', 'The command line is wrong.'],
  ['125', 'tapdeck run did not get as far as its command, whose exit status it has otherwise.'],
];
const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['TAPDECK_HOST', "The daemon's socket, unix:///PATH, where no --host is given."],
  ['NO_COLOR', 'If set, nothing is coloured.'],
  ['TAPDECK_DEBUG', 'If set, a defect of tapdeck is shown with its stack.'],
];
const FILES: readonly (readonly [string, string])[] = [
  ['/run/tapdeck/tapdeck.sock', "The socket of root's daemon."],
  ['$XDG_RUNTIME_DIR/tapdeck/tapdeck.sock', "The socket of an ordinary user's."],
  ['/var/lib/tapdeck/state.json, $XDG_STATE_HOME/tapdeck/state.json', 'What is there again after a restart.'],
];

/**
 * The manual pages of all commands, a page for each, in the macros of man(7): from file name to text.
 * @param version of the package
 * @param date of it, as 2026-11-21; may be empty
 */
export function manPages(tree: CommandInfo, version: string, date: string): Map<string, string> {
  const pages = new Map<string, string>();
  for (const command of allCommands(tree)) {
    pages.set(`${pageName(command)}.1`, page(command, tree, `"${date}" ${quote(`tapdeck ${version}`)}`));
  }
  return pages;
}

/** @param footer in words for .TH */
function page(command: CommandInfo, tree: CommandInfo, footer: string): string {
  const isRoot = command.path.length === 0;
  const words = ['tapdeck', ...command.path].join(' ');
  const parent = Array.from(allCommands(tree)).find(({ children }) => children.includes(command));
  const related = [...(parent ? [parent] : []), ...command.children].map(pageName).sort();
  const lines = [
    `.TH ${quote(pageName(command).toUpperCase())} 1 ${footer} "User Commands"`,
    // Flags and specifications are long words: lines are not stretched for them.
    '.ad l',
    '.SH NAME',
    `${text(pageName(command))} \\- ${text(command.description)}`,
    '.SH SYNOPSIS',
    // Not cut where a line is full: what stands together is one word.
    '.nh',
    `\\fB${text(words)}\\fR ${text(command.usage)}`,
    '.hy',
    ...section('DESCRIPTION', description(command)),
    ...section(
      'COMMANDS',
      list(command.children.map((child) => [namesOf(child), sentence(child.description)])),
    ),
    ...section('ARGUMENTS', list(command.args.map((argument) => [argument.name, withValues(argument)]))),
    ...section('OPTIONS', list(command.options.map((option) => [option.text, withValues(option)]))),
    ...(isRoot
      ? [
          ...section('EXIT STATUS', list(EXIT_STATUS)),
          ...section('ENVIRONMENT', list(ENVIRONMENT)),
          ...section('FILES', list(FILES)),
        ]
      : []),
    ...section('EXAMPLES', list(command.examples.map(([line, what]) => [line, sentence(what)]))),
    ...section(
      'SEE ALSO',
      related.length === 0 ? [] : [related.map((name) => `\\fB${text(name)}\\fR(1)`).join(',\n')],
    ),
  ];
  return `.\\" Made from the commands of tapdeck.\n${lines.join('\n')}\n`;
}

/** What an argument or option is, and what it may be where that is known. */
function withValues({ description: what, values }: ArgumentInfo | OptionInfo): string {
  return Array.isArray(values) ? sentence(`${what}: ${values.join(', ')}`) : sentence(what);
}

function description({ description: what, aliases }: CommandInfo): string[] {
  const also = aliases.length === 0 ? [] : ['.PP', text(`Also ${aliases.join(', ')}.`)];
  return [text(sentence(what)), ...also];
}

function section(title: string, body: readonly string[]): string[] {
  return body.length === 0 ? [] : [`.SH ${quote(title)}`, ...body];
}

/** Terms, and what they mean. */
function list(terms: readonly (readonly [term: string, what: string])[]): string[] {
  return terms.flatMap(([term, what]) => ['.TP', `\\fB${text(term)}\\fR`, text(what)]);
}

function namesOf({ path, aliases }: CommandInfo): string {
  return [path.at(-1), ...aliases].join(', ');
}

/** `tapdeck-network-create` */
function pageName({ path }: CommandInfo): string {
  return ['tapdeck', ...path].join('-');
}

function sentence(words: string): string {
  if (words === '') return words;
  return `${words[0]!.toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? '' : '.'}`;
}

/** For troff: hyphens that are typed, no control lines, no escapes. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replace(/^[.']/, '\\&$&');
}

function quote(words: string): string {
  return `"${text(words).replaceAll('"', '\\(dq')}"`;
}
