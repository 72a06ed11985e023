import { describe, expect, test } from 'vitest';
import { Arena } from '../../switch/frame.ts';
import { Outbox, Provenance } from '../../switch/outbox.ts';
import { CONSUME, forward } from '../../switch/verdict.ts';

describe('outbox', () => {
  test('gives frames in order, with their verdicts and how they had come in', () => {
    const { frames } = new Arena({ small: 3, big: 0 });
    const outbox = new Outbox(8);
    expect(outbox.originate(frames[0], forward(1))).toBe(true);
    outbox.resume(frames[1], CONSUME);
    expect(outbox.copy(frames[2], forward(2))).toBe(true);
    const given = [0, 1, 2].map(() => {
      const frame = outbox.shift()!;
      return [frame.slot, frame.verdict, outbox.provenance];
    });
    expect(given).toEqual([
      [0, forward(1), Provenance.ORIGINATED],
      [1, CONSUME, Provenance.RESUMED],
      [2, forward(2), Provenance.COPIED],
    ]);
    expect(outbox.shift()).toBeUndefined();
  });

  test('keeps half of its room for frames that were held', () => {
    const { frames } = new Arena({ small: 9, big: 0 });
    const outbox = new Outbox(8);
    const taken = [0, 1, 2, 3, 4].map((i) => outbox.originate(frames[i], CONSUME));
    expect(taken).toEqual([true, true, true, true, false]);
    expect(outbox.copy(frames[4], CONSUME)).toBe(false);
    for (const i of [4, 5, 6, 7]) outbox.resume(frames[i], CONSUME);
    expect(outbox.size).toBe(8);
    expect(() => outbox.resume(frames[8], CONSUME)).toThrow(RangeError);
  });
});
