import { type Row, STRENGTHS, type Strength } from './row.ts';
import type { Result } from './run.ts';

/** One row with what each subject did. */
export interface Score {
  row: Row;
  tapdeck: Result;
  /** Null when it was not asked. */
  kernel: Result | null;
}

/** How many of a strength passed; those that could not be tried are not counted. */
export interface Count {
  passed: number;
  tried: number;
}

/** Of the requirements that are recommendations, so many must be met. */
export const SHOULD_SHARE = 0.95;

export function count(scores: readonly Score[], strength: Strength, subject: 'tapdeck' | 'kernel'): Count {
  const verdicts = scores
    .filter(({ row }) => row.strength === strength)
    .map((score) => score[subject]?.verdict);
  return {
    passed: verdicts.filter((verdict) => verdict === 'pass').length,
    tried: verdicts.filter((verdict) => verdict === 'pass' || verdict === 'fail').length,
  };
}

/** Whether tapdeck meets every MUST, and of the SHOULDs as many as it has to. A MUST that cannot be tried is not met. */
export function isMet(scores: readonly Score[]): boolean {
  const unmet = scores.some(({ row, tapdeck }) => row.strength === 'MUST' && tapdeck.verdict !== 'pass');
  const { passed, tried } = count(scores, 'SHOULD', 'tapdeck');
  return !unmet && passed >= SHOULD_SHARE * tried;
}

/** One row: verdicts and requirement, below it what was seen. */
export function line({ row, tapdeck, kernel }: Score): string[] {
  const { id, strength, title } = row;
  const verdicts = `${tapdeck.verdict.padEnd(8)}${(kernel?.verdict ?? '').padEnd(7)}`;
  const indent = ' '.repeat(20);
  const lines = [`${id.padEnd(12)}${strength.padEnd(8)}${verdicts}${title}`.trimEnd()];
  lines.push(`${indent}tapdeck: ${tapdeck.why}`);
  if (kernel !== null) lines.push(`${indent}kernel:  ${kernel.why}`);
  return lines;
}

export const HEADER = `${'row'.padEnd(12)}${'weight'.padEnd(8)}${'tapdeck'.padEnd(8)}${'kernel'.padEnd(7)}requirement`;

export function summary(scores: readonly Score[]): string {
  const withKernel = scores.some(({ kernel }) => kernel !== null);
  const lines = STRENGTHS.map((strength) => {
    const cell = (subject: 'tapdeck' | 'kernel') => {
      const { passed, tried } = count(scores, strength, subject);
      return `${subject} ${`${passed} of ${tried}`.padEnd(9)}`;
    };
    return `${strength.padEnd(8)}${cell('tapdeck')}${withKernel ? `  ${cell('kernel')}` : ''}`.trimEnd();
  });
  return lines.join('\n');
}

export function json(scores: readonly Score[]): string {
  const rows = scores.map(({ row: { id, strength, title }, tapdeck, kernel }) => ({
    id,
    strength,
    title,
    tapdeck,
    kernel,
  }));
  return JSON.stringify({ met: isMet(scores), rows }, null, 2);
}
