import { describe, expect, test } from 'vitest';
import { CHAPTERS, ROWS } from '../conformance/rows.ts';
import { tryRow } from '../conformance/run.ts';
import { count, isMet, type Score, SHOULD_SHARE } from '../conformance/scoreboard.ts';
import { TAPDECK } from '../conformance/tapdeck.ts';

/** Rows that are no MUST and that tapdeck does not meet, and why that stays so. */
const NOT_MET: Record<string, string> = {
  '5508-9': 'there is no policy about ICMP yet',
};

describe('what the standards ask of a NAT', () => {
  for (const { title, rows } of CHAPTERS) {
    describe(title, () => {
      test.each(rows)('$id $title', async (row) => {
        const { verdict, why } = await tryRow(row, TAPDECK);
        expect(`${verdict}: ${why}`).toMatch(row.id in NOT_MET ? /^(fail|–)/ : /^pass/);
      });
    });
  }

  test('no row is named twice', () => {
    expect(new Set(ROWS.map(({ id }) => id)).size).toBe(ROWS.length);
  });
});

describe('the scoreboard', () => {
  const score = (strength: 'MUST' | 'SHOULD' | 'MAY', verdict: 'pass' | 'fail' | '–'): Score => ({
    row: { id: 'x', strength, title: 'x', run: async () => 'x' },
    tapdeck: { verdict, why: '' },
    kernel: null,
  });

  test('is met by every MUST and enough SHOULDs', () => {
    const shoulds = Array.from({ length: 19 }, () => score('SHOULD', 'pass'));
    expect(SHOULD_SHARE).toBe(0.95);
    expect(isMet([score('MUST', 'pass'), ...shoulds, score('SHOULD', 'fail'), score('MAY', 'fail')])).toBe(
      true,
    );
    expect(isMet([...shoulds.slice(1), score('SHOULD', 'fail')])).toBe(false);
    expect(isMet([score('MUST', 'fail')])).toBe(false);
  });

  test('a MUST that cannot be tried is not met, and counts as not tried', () => {
    expect(isMet([score('MUST', '–')])).toBe(false);
    expect(count([score('MUST', '–'), score('MUST', 'pass')], 'MUST', 'tapdeck')).toEqual({
      passed: 1,
      tried: 1,
    });
  });
});
