// The tools of others that the tests of this folder compare with. A tool that is missing fails the test.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { onTestFinished } from 'vitest';

/** What a tool prints on standard output; a failing tool throws with what it says. */
export function run(tool: string, ...args: string[]): string {
  return execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
}

/** The fields of each frame as tshark reads them, separated by `|`. */
export function tsharkFields(file: string, ...fields: string[]): string[][] {
  const wanted = fields.flatMap((field) => ['-e', field]);
  const lines = run(
    'tshark',
    '-n',
    '-r',
    file,
    '-T',
    'fields',
    '-E',
    'separator=|',
    '-E',
    'aggregator=;',
    ...wanted,
  );
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('|'));
}

/** A path in a folder of its own that is removed after the test that asks for it; with the given contents, if any. */
export function temporary(name: string, contents?: Uint8Array): string {
  const folder = mkdtempSync(join(tmpdir(), 'tapdeck-capture-'));
  // Not afterEach: files that share a process load this once, and it would be that of the first of them alone.
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  if (contents !== undefined) writeFileSync(path, contents);
  return path;
}

const root = resolve(import.meta.dirname, '../..');

/** Captures of real traffic: the project's own, and a larger collection beside the project when it is there. */
export function realCaptures(): string[] {
  return [join(root, 'fixtures/captures'), resolve(root, '../shared/pcaps')]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.pcap(ng)?$/.test(name))
        .map((name) => join(folder, name)),
    )
    .sort();
}
