import { describe, expect, it } from 'vitest';
import { tcp } from '../../src/testing/frames.ts';
import { HeldFrames } from '../../src/uplink/held-frames.ts';
import { HELD_COUNT, ROW } from '../../src/uplink/tcp-connections.ts';
import { Arena } from '../../switch/frame.ts';
import { parse } from '../../wire/parse.ts';
import { DECK, DEVICE } from './outside-world.ts';

describe('frames that wait', () => {
  it('of a few connections leave room for those of others', () => {
    const arena = new Arena({ small: 600, big: 8 });
    const words = new Int32Array(200 * ROW);
    const held = new HeldFrames(arena, words);
    const hold = (row: number, count: number) => {
      for (let i = 0; i < count; i++) {
        const bytes = tcp({ from: DECK, to: DEVICE, dstPort: 80, sequence: 100 * i, data: 'x' });
        const frame = arena.allocate(bytes.length)!;
        frame.bytes.set(bytes, frame.at);
        frame.length = bytes.length;
        expect(parse(frame)).toBe(0);
        held.hold(row * ROW, frame, false);
        arena.release(frame);
      }
      return words[row * ROW + HELD_COUNT]!;
    };
    expect(hold(0, 100)).toBe(64);
    for (let row = 1; row < 10; row++) hold(row, 100);
    expect(hold(10, 4)).toBe(4);
    for (let row = 0; row <= 10; row++) held.clear(row * ROW);
    expect(hold(0, 100)).toBe(64);
    held.clear(0);
    expect(arena.free).toBe(608);
  });
});
