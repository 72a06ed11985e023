import { describe, expect, it } from 'vitest';
import { findId, findNamed } from '../../src/control/id.ts';

const ids = ['07d1', '07d2', '1abc', 'abcd'];
const find = (id: string) => findId(ids, id, (one) => one);

describe('an id', () => {
  it('is found by any beginning that no other has', () => {
    expect(find('1')).toBe('1abc');
    expect(find('07d2')).toBe('07d2');
    expect(find('a')).toBe('abcd');
    for (const none of ['', '2', 'abcde', 'A', 'b', '.']) expect(find(none), none).toBeUndefined();
  });

  it('is asked for again when several begin so', () => {
    expect(() => find('07d')).toThrow('2 ids begin with "07d"; give more of its digits');
  });

  it('is no match for a name', () => {
    const all = new Map([
      ['web', { id: '07d1' }],
      ['0', { id: '1abc' }],
      ['db', { id: '07d2' }],
    ]);
    expect(findNamed(all, '0')).toEqual({ id: '1abc' });
    expect(findNamed(all, '07d2')).toEqual({ id: '07d2' });
    expect(() => findNamed(all, '07')).toThrow('2 ids begin with');
  });
});
