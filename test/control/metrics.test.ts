import { describe, expect, it } from 'vitest';
import { formatMetrics, type MetricsParts } from '../../src/control/metrics.ts';
import { FakeDataPlane } from './fake-data-plane.ts';
import { fakeDeck } from './fake-deck.ts';

async function parts(): Promise<MetricsParts> {
  const deck = await fakeDeck(new FakeDataPlane());
  try {
    await deck.attach({ pid: 1, name: 'web', publish: ['80:80'] });
    return {
      version: '1.2.3',
      startedAt: '2026-01-01T00:00:00.000Z',
      counters: await deck.counters(),
      drops: await deck.drops(),
      conntrack: { entries: 3, capacity: 10 },
      names: { answered: 7, refused: 2, forwarded: 1, busy: 0 },
      chains: await deck.rules(),
      networks: deck.networks(),
      uplinks: [{ name: 'we\\ird"\n', state: 'gone' }],
      containers: 1,
      latency: 0.25,
    };
  } finally {
    await deck.close();
  }
}

describe('metrics', () => {
  it("are in Prometheus' text format", async () => {
    const text = formatMetrics(await parts());
    expect(text.endsWith('\n')).toBe(true);
    const types = new Map<string, string>();
    const series = new Set<string>();
    let current = '';
    for (const line of text.trimEnd().split('\n')) {
      const [, about, name, rest] = /^# (HELP|TYPE) (tapdeck_[a-z_]+) (.+)$/.exec(line) ?? [];
      if (about === 'HELP') {
        expect(types.has(name!), `${name} is described once`).toBe(false);
        current = name!;
      } else if (about === 'TYPE') {
        expect(name).toBe(current);
        types.set(name!, rest!);
      } else {
        const sample = /^([a-z_]+)(\{([a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.e+-]+)$/.exec(line);
        expect(sample, line).not.toBeNull();
        // All samples of a name stand together, below what is said about it.
        expect(sample![1]).toBe(current);
        expect(series.has(line.slice(0, line.lastIndexOf(' '))), line).toBe(false);
        series.add(line.slice(0, line.lastIndexOf(' ')));
        if (types.get(current) === 'counter') {
          expect(current).toMatch(/_total$/);
          expect(Number(sample![4])).toBeGreaterThanOrEqual(0);
        }
      }
    }
    expect(types.size).toBeGreaterThan(15);
  });

  it('are what the deck counts', async () => {
    const lines = formatMetrics(await parts()).split('\n');
    expect(lines).toContain('tapdeck_info{version="1.2.3"} 1');
    expect(lines).toContain('tapdeck_start_time_seconds 1767225600');
    expect(lines).toContain('tapdeck_network_endpoints{network="bridge"} 1');
    expect(lines.join('\n')).toMatch(
      /\ntapdeck_port_transmit_bytes_total\{network="bridge",endpoint="web",ifname="eth0",port="\d+"\} 120\n/,
    );
    expect(lines).toContain('tapdeck_frames_total{fate="received"} 5');
    expect(lines).toContain('tapdeck_drops_total{reason="FDB_SAME_PORT"} 1');
    expect(lines).toContain('tapdeck_conntrack_entries 3');
    expect(lines).toContain('tapdeck_dns_questions_total{fate="answered"} 7');
    expect(lines).toContain('tapdeck_uplink_up{uplink="we\\\\ird\\"\\n"} 0');
    expect(lines).toContain('tapdeck_loop_latency_seconds 0.00025');
  });
});
