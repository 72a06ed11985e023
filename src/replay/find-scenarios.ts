import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SCENARIO_FILE } from './scenario.ts';

/** The scenario of a folder, or all below it, by name: every folder with a `scenario.yaml`. */
export function findScenarios(folder: string): string[] {
  if (existsSync(join(folder, SCENARIO_FILE))) return [folder];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort()
    .flatMap((name) => findScenarios(join(folder, name)));
}
