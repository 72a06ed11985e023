import { describe, expect, it } from 'vitest';
import { viewDrops } from '../../src/control/views.ts';
import { DROP_REASON_NAMES, DROP_REASONS, DropReason } from '../../switch/drop-reason.ts';
import { DROP_TEXT } from '../../switch/drop-text.ts';

describe('DROP_TEXT', () => {
  it('has one sentence for every reason, and for nothing else', () => {
    const names = DROP_REASON_NAMES.filter((name) => name !== undefined);
    expect(Object.keys(DROP_TEXT).sort()).toEqual([...names].sort());
    for (const text of Object.values(DROP_TEXT)) expect(text).toMatch(/^[A-Z].*\.$/);
  });

  it('is what the list of drops shows, the most frequent first', () => {
    const counts = new Array<number>(DROP_REASONS).fill(0);
    counts[DropReason.IP_CSUM] = 2;
    counts[DropReason.ARP_SPOOF] = 7;
    const drops = viewDrops(counts);
    expect(drops.slice(0, 3).map(({ reason, count }) => [reason, count])).toEqual([
      ['ARP_SPOOF', 7],
      ['IP_CSUM', 2],
      ['PKT_TOO_SMALL', 0],
    ]);
    expect(drops).toHaveLength(Object.keys(DROP_TEXT).length);
    expect(drops[1]!.text).toBe('The IPv4 header checksum is wrong.');
  });
});
