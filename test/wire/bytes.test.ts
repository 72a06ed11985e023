import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copy, get16, get32, set16, set32 } from '../../wire/bytes.ts';
import { garbage } from './samples.ts';

describe('integers in network order', () => {
  const bytes = Uint8Array.of(0xde, 0xad, 0xbe, 0xef);

  it('16 bits are unsigned', () => {
    expect(get16(bytes, 0)).toBe(0xdead);
    expect(get16(bytes, 2)).toBe(0xbeef);
  });

  it('32 bits are signed', () => {
    expect(get32(bytes, 0)).toBe(0xdeadbeef | 0);
  });

  it('what was written is read, and nothing beside it changes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), fc.integer(), (small, large) => {
        const out = garbage(10);
        set16(out, 1, small);
        set32(out, 5, large);
        expect(get16(out, 1)).toBe(small);
        expect(get32(out, 5)).toBe(large | 0);
        expect([out[0], out[3], out[4], out[9]]).toEqual([0xa5, 0xa5, 0xa5, 0xa5]);
      }),
    );
  });

  it('writing takes the low bits of any number', () => {
    const out = garbage(4);
    set16(out, 0, 0x1_2345);
    set16(out, 2, -1);
    expect([...out]).toEqual([0x23, 0x45, 0xff, 0xff]);
    set32(out, 0, 0xdeadbeef);
    expect([...out]).toEqual([...bytes]);
  });
});

describe('copy', () => {
  it('between buffers', () => {
    const out = garbage(4);
    copy(Uint8Array.of(1, 2, 3), 1, out, 2, 2);
    expect([...out]).toEqual([0xa5, 0xa5, 2, 3]);
  });

  it('within one buffer, overlapping', () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5);
    copy(bytes, 0, bytes, 1, 4);
    expect([...bytes]).toEqual([1, 1, 2, 3, 4]);
  });
});
