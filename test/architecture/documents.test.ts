import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const documents = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** As GitHub makes an anchor of a heading. */
function anchors(document: string): string[] {
  return Array.from(document.matchAll(/^#+ (.+)$/gm), ([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe('documents', () => {
  test.each(documents)('%s leads to what is there', (document) => {
    const broken = Array.from(read(document).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)).filter(
      ([, path = '', anchor]) => {
        const target = path === '' ? document : join(dirname(document), path);
        if (!existsSync(join(root, target))) return true;
        return anchor !== undefined && !anchors(read(target)).includes(anchor);
      },
    );
    expect(broken.map(([link]) => link)).toEqual([]);
  });

  test('docs/testing.md names tests that there are', () => {
    const named = Array.from(read('docs/testing.md').matchAll(/`([a-z]+\/[a-z-]+)`: ([^;|\n]+)/g));
    expect(named.length).toBeGreaterThan(40);
    const missing = named.filter(([, file, title]) => {
      const path = `test/${file}.test.ts`;
      return !existsSync(join(root, path)) || !read(path).includes(title!.trim());
    });
    expect(missing.map(([name]) => name)).toEqual([]);
  });
});
