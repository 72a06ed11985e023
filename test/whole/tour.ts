import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Account, type Running, until } from './account.ts';

/** A command in a document, with what it prints there. */
export interface Step {
  /** Whose prompt it stands at: `$` of the host, or the name of the container that a shell runs in. */
  readonly prompt: string;
  readonly command: string;
  readonly output: string;
  /** Of the command, counted from 1. */
  readonly line: number;
}

const INDENT = '    ';
/** The prompt of a second terminal, in which something watches until ctrl-C. */
const WATCH = 'watch';
const COMMAND = /^(?:(?<host>\$)|(?<container>[a-z]\w*)[#$]) (?<command>.+)$/;

/** The commands of a document's section: what is indented and begins with a prompt, `$ ` or `NAME# `. */
export function stepsOf(document: string): Map<string, Step[]> {
  const sections = new Map<string, Step[]>();
  let steps: Step[] = [];
  let output: string[] | undefined;
  for (const [i, text] of document.split('\n').entries()) {
    const heading = /^##? (.+)$/.exec(text)?.[1];
    if (heading !== undefined) {
      steps = [];
      sections.set(heading, steps);
    }
    const code = text.startsWith(INDENT) ? text.slice(INDENT.length) : undefined;
    if (text === '') output?.push('');
    else if (code === undefined) output = undefined;
    const { host, container, command } = COMMAND.exec(code ?? '')?.groups ?? {};
    if (command !== undefined) {
      const lines: string[] = [];
      output = lines;
      steps.push({
        prompt: host ?? container!,
        command,
        line: i + 1,
        get output() {
          return lines.join('\n').trimEnd();
        },
      });
    } else if (code !== undefined) output?.push(code);
  }
  for (const [heading, each] of sections) if (each.length === 0) sections.delete(heading);
  return sections;
}

/** What is another at each time and on each machine: ids, durations, dates, process ids, ports that are drawn, some counters. */
const MASKS: readonly [RegExp, string][] = [
  [/\b[0-9a-f]{64}\b/g, 'ID'],
  [/\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b/g, 'ID'],
  [/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'DATE'],
  [/\[\d\d\/\w{3}\/\d{4} [\d:]+\]/g, 'DATE'],
  [/\btime[= ][\d.]+ ?ms/g, 'TIME'],
  [/^rtt min.*$/gm, 'TIME'],
  [/\d+ +Up \d+ \w+|\d+ +Up .*? a \w+/g, 'PID UP'],
  // Of the connections, and of the account; a kernel says this and that to everybody when an interface comes up.
  [/:[3-6]\d{4}\b/g, ':PORT'],
  [/(?<=^tcp .*) +\d+(?= )/gm, ' COUNT'],
  [/\b(?:FIN_WAIT|CLOSE_WAIT|LAST_ACK|TIME_WAIT)\b/g, 'STATE'],
  // The last word of a connection may still be on its way.
  [/(?<=^tcp .*)\bESTABLISHED\b/gm, 'STATE'],
  // What begins a connection is sent again when the answer is late: a rule that it passes counts it, the translation does not.
  [/^ *[1-9]\d* +\d+ (?=ACCEPT +tcp)/gm, 'SOME '],
  // Seconds.
  [/\bused \d+$/gm, 'used AGE'],
  // Of captures: when, and which packet; and what the ends of a connection draw.
  [/\b\d\d:\d\d:\d\d\.\d{6}\b/g, 'TIME'],
  [/\b(?:id|seq|ack) \d{2,}\b/g, 'NUMBER'],
  [/\bpacket \d+/g, 'PACKET'],
  // What is drawn has four digits at times; servers listen at 8000 and 8080.
  [/(?<=\d+\.\d+\.\d+\.\d+[.:])(?!80[08]0\b)\d{4,5}\b/g, 'PORT'],
  [/\bexpires \d+sec/g, 'EXPIRES'],
  [/\b(?:REACHABLE|DELAY|STALE|PROBE)\b/g, 'STATE'],
  [/^NO_EGRESS +\d+/gm, 'NO_EGRESS COUNT'],
  [/^received \d.*dropped \d+$/gm, 'ACCOUNT'],
];

/** What was printed, without what is another each time. */
export function masked(text: string): string {
  let masked = text.trimEnd();
  for (const [pattern, word] of MASKS) masked = masked.replace(pattern, word);
  // Columns are as wide as what stands in them.
  return masked.replace(/(?<=\S) +/g, ' ').replace(/ +$/gm, '');
}

/** The document with what was printed in place of what stood there. */
export function rewritten(document: string, printed: ReadonlyMap<Step, string>): string {
  const lines = document.split('\n');
  for (const [step, output] of [...printed].reverse()) {
    const old = step.output === '' ? 0 : step.output.split('\n').length;
    const text = output
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`.trimEnd());
    lines.splice(step.line, old, ...(output === '' ? [] : text));
  }
  return lines.join('\n');
}

/** Terminals: one on the host, and one in each container that a shell was started in. */
export class Terminals {
  readonly #account: Account;
  readonly #shells = new Map<string, Running>();
  /** The terminal on the host finds the program. */
  readonly #ready: Promise<string>;
  #daemon: Running | undefined;
  #watcher: Running | undefined;
  #count = 0;

  /** @param folder of the program, in which the terminal on the host is */
  constructor(account: Account, folder = '.') {
    this.#account = account;
    const words = `#!/bin/sh\nexec ${process.execPath} ${join(account.program, 'dist/src/main.js')} "$@"\n`;
    const bin = join(account.folder, 'bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'tapdeck'), words, { mode: 0o755 });
    this.open('$', account.spawn(['bash']));
    this.#ready = this.#say('$', `PATH=${bin}:$PATH; cd ${join(account.program, folder)}`);
  }

  /** A terminal more. */
  open(prompt: string, shell: Running): void {
    this.#shells.set(prompt, shell);
  }

  /** Types a command, and waits for what it prints. One that is to stay is waited for until it is ready. */
  async type({ prompt, command, output }: Step): Promise<string> {
    await this.#ready;
    const words = wordsOf(command);
    if (prompt === WATCH) {
      if (command.replace(/'[^']*'/g, '').match(/[&|;<>()$`*]/))
        throw new Error(`${command}: a shell takes this otherwise; put it into quotes`);
      return this.#watch(words);
    }
    if (command.startsWith('tapdeck daemon')) {
      this.#daemon = this.#account.start(...words.slice(1));
      await this.#daemon.said('daemon ready');
      return '';
    }
    if (/^tapdeck run .* -- bash$/.test(command)) {
      const name = words[words.indexOf('--name') + 1]!;
      this.open(name, this.#account.start(...words.slice(1)));
      return this.#say(name, ':');
    }
    if (command.endsWith('&')) {
      const listening = 'until ss -Hltn | grep -q .; do sleep 0.05; done';
      // What it says by then, it may say a moment later.
      return this.#say(prompt, `${command}\n${listening}`, output === '' ? 0 : output.split('\n').length);
    }
    if (command !== 'exit') return this.#say(prompt, command);
    const shell = this.#shells.get(prompt)!;
    shell.child.stdin!.end('exit\n');
    await shell.ended;
    this.#shells.delete(prompt);
    return '';
  }

  /** The second terminal: something that watches until ctrl-C, and what it has printed by then. */
  async #watch(words: readonly string[]): Promise<string> {
    if (words[0] !== '^C') {
      this.#watcher = this.#account.start(...words.slice(1));
      await this.#watcher.said('ctrl-C ends');
      return '';
    }
    const watcher = this.#watcher!;
    watcher.kill('SIGINT');
    const { out } = await watcher.ended;
    return out;
  }

  /** Ctrl-C to the daemon, and the terminals that are still open are closed. */
  async close(): Promise<void> {
    this.#daemon?.kill('SIGINT');
    for (const shell of this.#shells.values()) shell.child.stdin!.end();
    const all = [...(this.#daemon ? [this.#daemon] : []), ...this.#shells.values()];
    await Promise.all(all.map(({ ended }) => ended));
  }

  /** @param lines what is printed has at least */
  async #say(prompt: string, command: string, lines = 0): Promise<string> {
    const shell = this.#shells.get(prompt);
    if (shell === undefined) throw new Error(`there is no terminal ${prompt}`);
    const end = `end of ${++this.#count}`;
    const from = shell.out.length;
    shell.child.stdin!.write(`{ ${command}\n} 2>&1 < /dev/null\n`);
    if (lines > 0) await until(() => shell.out.slice(from).split('\n').length > lines, `${command} says it`);
    shell.child.stdin!.write(`echo "${end}"\n`);
    await shell.said(`${end}\n`);
    return shell.out.slice(from, shell.out.indexOf(`${end}\n`, from));
  }
}

/** The words of a command as a shell takes them. */
function wordsOf(command: string): string[] {
  const words = command.match(/'[^']*'|\S+/g) ?? [];
  return words.map((word) => (word.startsWith("'") ? word.slice(1, -1) : word));
}
