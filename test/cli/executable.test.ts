import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findExecutable } from '../../src/cli/executable.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-'));
  for (const place of ['a', 'b', 'b/folder']) mkdirSync(join(folder, place));
  writeFileSync(join(folder, 'a', 'text'), '', { mode: 0o644 });
  writeFileSync(join(folder, 'b', 'text'), '', { mode: 0o755 });
  writeFileSync(join(folder, 'a', 'plain'), '', { mode: 0o644 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a program', () => {
  it.each([
    ['text', 'a:b', 'found'],
    ['text', '/nowhere:b', 'found'],
    ['text', 'a', 'not executable'],
    ['plain', 'b:a', 'not executable'],
    ['folder', 'b', 'not executable'],
    ['nothing', 'a:b', 'missing'],
    ['deeper', 'a/text', 'missing'],
    ['', 'a', 'missing'],
    ['b/text', '', 'found'],
    ['./a/text', 'b', 'not executable'],
    ['/nowhere/text', 'b', 'missing'],
  ])('%j in %j is %s', (program, path, found) => {
    expect(findExecutable(program, folder, path)).toBe(found);
  });

  it('is looked for in the folder itself where PATH has an empty place', () => {
    expect(findExecutable('text', join(folder, 'b'), '/nowhere:')).toBe('found');
  });
});
