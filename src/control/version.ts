import { readFileSync } from 'node:fs';

/** `version` of package.json. */
export function packageVersion(): string {
  // Two folders up from src/control, and three from dist/src/control.
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
      if (name === 'tapdeck') return version;
    } catch {
      // The other one, then.
    }
  }
  return 'unknown';
}
