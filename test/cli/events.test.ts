import { describe, expect, it } from 'vitest';
import { eventLine, readTime } from '../../src/cli/events.ts';

describe('events', () => {
  it('are lines as docker events prints them', () => {
    const event = {
      time: '2026-01-31T12:00:00.000Z',
      type: 'network',
      action: 'connect',
      id: '0123456789abcdef'.repeat(4),
      name: 'bridge',
      attributes: { container: 'web', ports: '' },
    } as const;
    expect(eventLine(event)).toBe(
      '2026-01-31T12:00:00.000Z network connect 0123456789ab (name=bridge, container=web)',
    );
  });

  it.each([
    ['10m', '2026-01-31T11:50:00.000Z'],
    ['90s', '2026-01-31T11:58:30.000Z'],
    ['1d', '2026-01-30T12:00:00.000Z'],
    ['2026-01-31T13:00:00+02:00', '2026-01-31T11:00:00.000Z'],
  ])('since %s', (text, time) => {
    expect(readTime(text, Date.parse('2026-01-31T12:00:00Z'))).toBe(time);
  });

  it.each(['', 'yesterday', '10', '10x', '-5m', '99999999999d'])('since %j is no time', (text) => {
    expect(() => readTime(text, 0)).toThrow(/is no time; write it as in 10m/);
  });
});
