import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

interface PackageJson {
  version: string;
  bin: Record<string, string>;
}

/** `version` of package.json. */
export function packageVersion(): string {
  return findPackage()?.json.version ?? 'unknown';
}

/** Path of a program of this package, by its name in `bin`; undefined when there is none. */
export function packageProgram(name: string): string | undefined {
  const { root, json } = findPackage() ?? {};
  const path = json?.bin[name];
  return path === undefined ? undefined : fileURLToPath(new URL(path, root));
}

let found: { root: URL; json: PackageJson } | undefined;

function findPackage(): typeof found {
  found ??= readPackage();
  return found;
}

function readPackage(): typeof found {
  // Two folders up from src/control, and three from dist/src/control.
  for (const path of ['../../', '../../../']) {
    try {
      const root = new URL(path, import.meta.url);
      const json = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
      if (json.name === 'tapdeck') return { root, json };
    } catch {
      // The other one, then.
    }
  }
  return undefined;
}
