import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

// What `npm pack` would take, without making it: test/integrations/package.test.ts installs it.

const root = resolve(import.meta.dirname, '../..');
const { bin, exports, dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

describe('the package', () => {
  it('has its programs, exports, documents and fixtures, and nothing that is for us alone', () => {
    const args = ['pack', '--dry-run', '--ignore-scripts', '--json'];
    const [packed] = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: 'pipe' }));
    const paths = new Set(packed.files.map(({ path }: { path: string }) => path));
    const entries = Object.values<{ types: string; default: string }>(exports).flatMap(Object.values<string>);
    for (const path of [
      ...Object.values<string>(bin),
      ...entries,
      'README.md',
      'LICENSE',
      'docs/install.md',
    ]) {
      expect([path, paths.has(path.replace('./', ''))]).toEqual([path, true]);
    }
    // The threads and the helper that programs of it start.
    for (const path of ['dist/src/runtime/worker.js', 'dist/src/device/tap-helper.js'])
      expect(paths.has(path)).toBe(true);
    expect(
      Array.from(paths).filter((path) =>
        /\.map$|^(test|bench|src)\/|^dist\/(bench|test)/.test(path as string),
      ),
    ).toEqual([]);
  });

  it('needs nothing that is built when it is installed', () => {
    for (const name of Object.keys(dependencies)) {
      expect([name, existsSync(join(root, 'node_modules', name, 'binding.gyp'))]).toEqual([name, false]);
    }
  });
});
