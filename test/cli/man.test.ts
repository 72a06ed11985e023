import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allCommands, type CommandInfo, commandTree } from '../../src/cli/command-tree.ts';
import { manPages } from '../../src/cli/man/page.ts';
import { buildProgram } from '../../src/cli/program.ts';

let folder: string;
let tree: CommandInfo;
let pages: Map<string, string>;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  tree = commandTree(buildProgram(() => {}));
  pages = manPages(tree, '1.2.3', '2026-11-21');
  for (const [name, text] of pages) writeFileSync(join(folder, name), text);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('manual pages', () => {
  it('are there for all commands but the hidden ones', () => {
    expect(pages.size).toBeGreaterThan(35);
    for (const name of ['tapdeck.1', 'tapdeck-run.1', 'tapdeck-network-create.1'])
      expect(pages.has(name)).toBe(true);
    expect(Array.from(pages.keys()).filter((name) => name.includes('supervise'))).toEqual([]);
  });

  it('say what there is of each command', () => {
    for (const command of allCommands(tree)) {
      const { path, options, args, examples } = command;
      const text = pages.get(`${['tapdeck', ...path].join('-')}.1`)!.replaceAll('\\-', '-');
      for (const { text: flags, values } of options) {
        expect(text).toContain(`\\fB${flags}\\fR`);
        if (Array.isArray(values)) expect(text).toContain(`: ${values.join(', ')}.\n`);
      }
      for (const { name, values } of args) {
        expect(text).toContain(`\n\\fB${name}\\fR\n`);
        if (Array.isArray(values)) expect(text).toContain(`: ${values.join(', ')}.\n`);
      }
      for (const [line] of examples) expect(text).toContain(line.replaceAll('\\', '\\e'));
      expect([path, examples.length > 0]).toEqual([path, true]);
    }
  });

  it('are what man and mandoc understand without a warning', () => {
    const files = Array.from(pages.keys(), (name) => join(folder, name));
    const env = { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', MANWIDTH: '80' };
    const lint = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', ...files], { env, encoding: 'utf8' });
    expect([lint.status, lint.stdout]).toEqual([0, '']);
    const man = spawnSync('man', ['--warnings', '-l', ...files], { env, encoding: 'utf8' });
    expect([man.status, man.stderr]).toEqual([0, '']);
    expect(man.stdout).toContain('tapdeck network create [options] <name>');
  });

  it('keeps what troff would take for its own', () => {
    const hostile: CommandInfo = {
      path: [],
      aliases: [],
      description: `.so /etc/passwd`,
      usage: "'quoted' \\n",
      options: [],
      args: [],
      children: [],
      examples: [["tapdeck '\"' \\fB", '.de x']],
      passesThrough: false,
    };
    const file = join(folder, 'hostile.1');
    writeFileSync(file, manPages(hostile, '1', '2026-11-21').get('tapdeck.1')!);
    const { stdout } = spawnSync('mandoc', ['-T', 'utf8', file], { encoding: 'utf8' });
    // As terminals of paper had bold.
    const struckTwice = /.[\b]/g;
    for (const words of ['.so /etc/passwd.', "'quoted' \\n", `tapdeck '"' \\fB`, '.de x.']) {
      expect(stdout.replaceAll(struckTwice, '')).toContain(words);
    }
  });
});
