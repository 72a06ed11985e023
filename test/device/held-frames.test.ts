import { describe, expect, it } from 'vitest';
import { tcp } from '../../src/testing/frames.ts';
import { HeldFrames } from '../../src/uplink/held-frames.ts';
import { HELD_COUNT, RCV_NXT, ROW } from '../../src/uplink/tcp-connections.ts';
import { Arena } from '../../switch/frame.ts';
import { get32 } from '../../wire/bytes.ts';
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

  describe('are said in an acknowledgment', () => {
    const arena = new Arena({ small: 64, big: 8 });
    const words = new Int32Array(ROW);
    const held = new HeldFrames(arena, words);

    /** Segments of 10 bytes come in this order; the blocks that are said then, by their left and right edges. */
    function blocksAfter(next: number, sequences: readonly number[]): [left: number, right: number][] {
      words[RCV_NXT] = next;
      for (const sequence of sequences) {
        const bytes = tcp({
          from: DECK,
          to: DEVICE,
          dstPort: 80,
          sequence: sequence >>> 0,
          data: '0123456789',
        });
        const frame = arena.allocate(bytes.length)!;
        frame.bytes.set(bytes, frame.at);
        frame.length = bytes.length;
        expect(parse(frame)).toBe(0);
        expect(held.hold(0, frame, false)).toBe(true);
        arena.release(frame);
      }
      const option = new Uint8Array(40).fill(0xa5);
      const length = held.writeSack(option, 2, 0);
      expect([...option.subarray(0, 2), ...option.subarray(2 + length)].every((byte) => byte === 0xa5)).toBe(
        true,
      );
      held.clear(0);
      if (length === 0) return [];
      expect([...option.subarray(2, 6)]).toEqual([1, 1, 5, length - 2]);
      return Array.from({ length: (length - 4) / 8 }, (_, i) => [
        get32(option, 6 + 8 * i) | 0,
        get32(option, 10 + 8 * i) | 0,
      ]);
    }

    it.each<[string, number, number[], [number, number][]]>([
      ['nothing of what has no hole before it', 100, [100, 110], []],
      ['what is behind a hole', 100, [100, 120], [[120, 130]]],
      ['what hangs together as one', 0, [20, 40, 30], [[20, 50]]],
      [
        'the one that grew last first (RFC 2018 §4)',
        0,
        [20, 40, 60, 30],
        [
          [20, 50],
          [60, 70],
        ],
      ],
      [
        'three, those that grew last',
        0,
        [20, 40, 60, 80, 100],
        [
          [100, 110],
          [80, 90],
          [60, 70],
        ],
      ],
      [
        'whatever their order is',
        0,
        [100, 20, 80, 40, 60],
        [
          [60, 70],
          [40, 50],
          [80, 90],
        ],
      ],
      [
        'what came again first',
        0,
        [20, 40, 60, 80, 20],
        [
          [20, 30],
          [80, 90],
          [60, 70],
        ],
      ],
      [
        'numbers that go round',
        -30,
        [-20, 10, -10],
        [
          [-20, 0],
          [10, 20],
        ],
      ],
    ])('%s', (_, next, sequences, blocks) => {
      expect(blocksAfter(next, sequences)).toEqual(blocks);
    });
  });
});
