import { runScenario, type ScenarioResult } from '../replay/scenario-run.ts';

/**
 * Runs the scenario of a folder, as `tapdeck replay FOLDER` does. For tests:
 *
 * ```ts
 * test('a station moves', () => scenario('scenarios/station-move'));
 * ```
 * @throws Error with the first difference in words, both frames decoded side by side
 */
export function scenario(folder: string): ScenarioResult {
  const result = runScenario(folder);
  if (result.difference !== undefined) throw new Error(`${folder}: ${result.difference}`);
  return result;
}
