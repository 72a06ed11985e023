import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SHELLS, type Shell } from '../../src/cli/completion/script.ts';

// Completion in the shells themselves, of the built program, with the names of a daemon.

const main = join(import.meta.dirname, '../../dist/src/main.js');

let folder: string;
let server: Server;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  for (const name of ['bin', 'home', 'files']) mkdirSync(join(folder, name));
  for (const name of ['lan.pcap', 'lab one.yaml']) writeFileSync(join(folder, 'files', name), '');
  chmodSync(main, 0o755);
  symlinkSync(main, join(folder, 'bin/tapdeck'));
  symlinkSync(process.execPath, join(folder, 'bin/node'));
  const names: Record<string, string[]> = {
    '/v1/containers': ['web', 'worker', 'db'],
    '/v1/networks': ['bridge', 'back', 'web-net'],
  };
  server = createServer(({ url }, response) => {
    response.end(JSON.stringify(names[url!]!.map((name) => ({ name, id: 'f00d' }))));
  });
  await new Promise<void>((resolve) => server.listen(join(folder, 'tapdeck.sock'), resolve));
  env = {
    PATH: `${join(folder, 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin`,
    HOME: join(folder, 'home'),
    TERM: 'dumb',
    TAPDECK_HOST: `unix://${join(folder, 'tapdeck.sock')}`,
  };
  for (const shell of SHELLS) {
    writeFileSync(
      join(folder, shell),
      execFileSync(process.execPath, [main, 'completion', shell], { encoding: 'utf8' }),
    );
  }
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** As readline hands a line over: cut at = and :, the last word as far as it was typed. */
const BASH = `
source "$1"
cd "$2"
COMP_LINE=$3 COMP_POINT=\${#3} COMP_TYPE=9
read -ra COMP_WORDS <<< "$(sed -E 's/([=:]+)/ \\1 /g' <<< "$3")"
[[ $3 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_tapdeck
printf '%s\\n' "\${COMPREPLY[@]}"
`;

/** What a shell offers for each of some lines, sorted. */
async function offered(shell: Shell, lines: readonly string[]): Promise<string[][]> {
  const script = join(folder, shell);
  const files = join(folder, 'files');
  switch (shell) {
    case 'bash':
      return each(lines, (line) => run('bash', '--norc', '-c', BASH, 'bash', script, files, line));
    case 'fish':
      return each(lines, (line) =>
        run('fish', '--no-config', '-c', `source ${script}; complete -C '${line}'`),
      );
    case 'zsh': {
      // One for all: it is half a second until a zsh knows how to complete anything.
      const program = join(import.meta.dirname, 'complete.zsh');
      return (await output('zsh', '-f', program, script, join(folder, 'zsh'), ...lines))
        .split('\0')
        .slice(1)
        .map(wordsOf);
    }
  }
}

/** A few at a time: each has a program of ours that gives up when others keep it from running. */
async function each<T>(lines: readonly string[], ask: (line: string) => Promise<T>): Promise<T[]> {
  const answers: T[] = [];
  let next = 0;
  const asker = async () => {
    for (let i = next++; i < lines.length; i = next++) answers[i] = await ask(lines[i]!);
  };
  await Promise.all(Array.from({ length: 1 + availableParallelism() }, asker));
  return answers;
}

async function run(program: string, ...args: string[]): Promise<string[]> {
  return wordsOf(await output(program, ...args));
}

async function output(program: string, ...args: string[]): Promise<string> {
  const child = spawn(program, args, {
    env,
    cwd: join(folder, 'files'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  await once(child, 'close');
  return out;
}

function wordsOf(out: string): string[] {
  const words = out
    .split('\n')
    // fish says behind a tabulator what a word is.
    .map((word) => word.split('\t')[0]!.trim())
    .filter((word) => word !== '');
  return [...new Set(words)].sort();
}

/** What readline, zsh and fish replace differs behind an equals sign: the value, or all of the word. */
const value = (word: string) => word.replace(/^--\w+=/, '');

const LINES: readonly [string, string[]][] = [
  ['tapdeck net', ['network']],
  ['tapdeck unp', ['unpublish']],
  ['tapdeck network re', ['remove']],
  ['tapdeck network inspect b', ['back', 'bridge']],
  ['tapdeck network connect b', ['back', 'bridge']],
  ['tapdeck network connect back w', ['web', 'worker']],
  ['tapdeck detach w', ['web', 'worker']],
  ['tapdeck detach web w', ['web', 'worker']],
  ['tapdeck inspect we', ['web', 'web-net']],
  ['tapdeck run --network b', ['back', 'bridge']],
  ['tapdeck run --net b', ['back', 'bridge']],
  ['tapdeck run --network=b', ['back', 'bridge']],
  ['tapdeck ps --for', ['--format']],
  ['tapdeck ps --format ', ['json', 'table']],
  ['tapdeck ps --format=js', ['json']],
  ['tapdeck --host unix:///nowhere detach w', []],
  ['tapdeck network --host unix:///nowhere inspect b', []],
  ['tapdeck network create b', []],
  ['tapdeck completion z', ['zsh']],
  ['tapdeck replay la', ['lab one.yaml', 'lan.pcap']],
  ['tapdeck run -- mktem', ['mktemp']],
];

describe.each(SHELLS)('completion in %s', (shell) => {
  it('offers what is possible', async () => {
    const found = await offered(
      shell,
      LINES.map(([line]) => line),
    );
    expect(
      LINES.map(([line], i) => [line, found[i]!.map((word) => value(word).replace(/\\ /g, ' '))]),
    ).toEqual(LINES);
  });

  it('has all commands', async () => {
    const help = execFileSync(process.execPath, [main, '--help'], { encoding: 'utf8' });
    const [list] = help.split('\nCommands:\n')[1]!.split('\nExamples:');
    const commands = Array.from(list!.matchAll(/^ {2}([a-z]+)/gm), ([, name]) => name!);
    expect(await offered(shell, ['tapdeck '])).toEqual([commands.filter((name) => name !== 'help').sort()]);
  });
});

it('asks a daemon for no longer than two seconds, and is silent without one', async () => {
  const mute = createServer(() => {});
  const socket = join(folder, 'mute.sock');
  await new Promise<void>((resolve) => mute.listen(socket, resolve));
  const ask = (host: string) => run(process.execPath, main, '__complete', 'names', host);
  expect(await ask(`unix://${join(folder, 'tapdeck.sock')}`)).toContain('web-net');
  for (const host of [`unix://${socket}`, 'unix:///nowhere', 'nonsense']) {
    expect(execFileSync(process.execPath, [main, '__complete', 'names', host], { encoding: 'utf8' })).toBe(
      '',
    );
  }
  mute.closeAllConnections();
  mute.close();
});

it.each<[string, RequestListener]>([
  [
    'half of it alone',
    ({ url }, response) => {
      if (url === '/v1/networks') response.destroy();
    },
  ],
  ['other things', (_, response) => response.end('It works!')],
])('is silent with a daemon that answers %s', async (_, listener) => {
  const odd = createServer(listener);
  const socket = join(folder, 'odd.sock');
  await new Promise<void>((resolve) => odd.listen(socket, resolve));
  const child = spawn(process.execPath, [main, '__complete', 'names', `unix://${socket}`], { env });
  try {
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    expect([await once(child, 'close'), said]).toEqual([[0, null], '']);
  } finally {
    child.kill('SIGKILL');
    odd.closeAllConnections();
    odd.close();
  }
});
