import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** Folders from low to high; the longest matching prefix counts. A lower tier never imports a higher one. */
const TIERS: readonly (readonly [string, number])[] = [
  ['wire', 0],
  ['switch', 1],
  ['nat', 1],
  ['src/dataplane', 2],
  ['src/device', 3],
  ['src/runtime', 3],
  ['src/capture', 3],
  ['src/recording', 3],
  ['src/replay', 3],
  ['src/trace', 3],
  ['src/uplink', 3],
  ['src/why', 3],
  ['src/control', 4],
  ['src/testing', 4],
  ['src/cli', 5],
  ['src', 5],
];
const PURE = 2;

function tierOf(path: string): number {
  const row = TIERS.find(([folder]) => path.startsWith(`${folder}/`));
  if (!row) throw new Error(`${path} is in no tier: say in this test where it belongs`);
  return row[1];
}

const files = ['wire', 'switch', 'nat', 'src'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name)),
);

/** Code without comments and strings' contents would be better still; comments alone suffice in practice. */
function codeOf(file: string): string {
  return readFileSync(join(root, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|\s)\/\/.*$/gm, '');
}

function importsOf(file: string): string[] {
  return [...codeOf(file).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);
}

describe('architecture', () => {
  test('finds the sources', () => {
    expect(files.length).toBeGreaterThan(30);
  });

  test.each(files)('%s imports no higher tier', (file) => {
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const target = relative(root, resolve(root, dirname(file), specifier));
      expect(tierOf(target), `${file} imports ${target}`).toBeLessThanOrEqual(tierOf(file));
    }
  });

  test.each(files.filter((file) => tierOf(file) <= PURE))('%s is pure', (file) => {
    const foreign = importsOf(file).filter((name) => !name.startsWith('.'));
    expect(foreign, 'tiers 0 to 2 import nothing but each other').toEqual([]);
    const code = codeOf(file);
    const impure =
      /\b(Date\b|Math\.random|performance\.|process\.|setTimeout|setInterval|setImmediate|queueMicrotask|console\.|crypto\.|fetch\(|globalThis|Buffer\.|require\()/;
    expect(impure.exec(code)?.[0], 'no clock, timer, randomness or I/O').toBeUndefined();
  });

  test.each(files.filter((file) => tierOf(file) <= PURE))('%s is small enough to hold one idea', (file) => {
    expect(readFileSync(join(root, file), 'utf8').split('\n').length).toBeLessThan(650);
  });
});
