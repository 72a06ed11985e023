import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { diffCapture, type FateChange } from '../../src/replay/capture-diff.ts';
import { replayCapture } from '../../src/replay/capture-replay.ts';
import { loadPolicy } from '../../src/replay/scenario.ts';
import { eth, type TestFrame } from '../../src/testing/index.ts';

const web = { mac: '02:42:0a:01:00:02', ipv4: '10.1.0.2' };
const db = { mac: '02:42:0a:02:00:02', ipv4: '10.2.0.2' };
const router = { mac: '02:42:cb:00:71:01', ipv4: '203.0.113.1' };
const [front, back, deck] = ['02:42:0a:01:00:01', '02:42:0a:02:00:01', '02:42:cb:00:71:02'];

const POLICY = `
networks:
  front: { ipam: { config: [ { subnet: 10.1.0.0/24 } ] }, x-tapdeck: { uplink: wan } }
  back: { ipam: { config: [ { subnet: 10.2.0.0/24 } ] } }
services:
  web: { networks: { front: { mac_address: 02:42:0a:01:00:02, ipv4_address: 10.1.0.2 } }, ports: ["8080:80"] }
  db: { networks: { back: { mac_address: 02:42:0a:02:00:02, ipv4_address: 10.2.0.2 } } }
x-tapdeck:
  uplinks: { wan: { address: 203.0.113.2/24, gateway: 203.0.113.1 } }
  rules:
    - { state: [ESTABLISHED, RELATED], action: ACCEPT }
    - { in: front, out: back, protocol: tcp, dport: 5432, action: ACCEPT }
`;

const TRAFFIC: [interface_: number, frame: TestFrame][] = [];
const syn = eth({ src: web.mac, dst: front }).ip({ src: web.ipv4, dst: db.ipv4 });
const answer = eth({ src: db.mac, dst: back }).ip({ src: db.ipv4, dst: web.ipv4 });
TRAFFIC.push([0, syn.tcp({ sport: 4000, dport: 5432, flags: 'S', seq: 1 })]);
TRAFFIC.push([1, answer.tcp({ sport: 5432, dport: 4000, flags: 'SA', seq: 9, ack: 2 })]);
const out = eth({ src: web.mac, dst: front }).ip({ src: web.ipv4, dst: '198.51.100.7' });
TRAFFIC.push([0, out.udp({ sport: 5000, dport: 53 }).payload('?')]);
const incoming = eth({ src: router.mac, dst: deck }).ip({ src: '198.51.100.7', dst: '203.0.113.2' });
TRAFFIC.push([2, incoming.tcp({ sport: 6000, dport: 8080, flags: 'S', seq: 1 })]);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-diff-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function policy(name: string, change: (text: string) => string = (text) => text) {
  const path = join(folder, name);
  writeFileSync(path, change(POLICY));
  return loadPolicy(path);
}

/** The traffic as `tapdeck capture` writes it, or as of one interface. */
function capture(format: 'pcapng' | 'pcap', names = ['web eth0', 'db eth0', 'wan']): string {
  const chunks: Uint8Array[] = [];
  const sink = (bytes: Uint8Array) => void chunks.push(bytes.slice());
  const pcap = format === 'pcap' ? new PcapWriter(sink) : undefined;
  const pcapng = pcap ? undefined : new PcapngWriter(sink);
  for (const name of names) pcapng?.addInterface({ name });
  for (const [i, [port, frame]] of TRAFFIC.entries()) {
    const bytes = frame.bytes();
    const time = BigInt(1_700_000_000_000 + i) * 1_000_000n;
    pcap?.write(time, bytes, 0, bytes.length);
    pcapng?.write(port, time, bytes, 0, bytes.length, { flags: 1 });
    // What went out elsewhere is a result.
    pcapng?.write((port + 1) % 3, time, bytes, 0, bytes.length, { flags: 2 });
  }
  const path = join(folder, `traffic.${format}`);
  writeFileSync(path, Buffer.concat(chunks));
  return path;
}

function changes(path: string, before: ReturnType<typeof policy>, after: ReturnType<typeof policy>) {
  const found: FateChange[] = [];
  const result = diffCapture(path, before, after, { onChange: (change) => void found.push(change) });
  expect(found).toHaveLength(result.changed);
  expect(result.groups.reduce((sum, { packets }) => sum + packets, 0)).toBe(result.changed);
  const lines = found.map(
    ({ number, port, before: a, after: b }) => `${number} ${port}: ${a.words} → ${b.words}`,
  );
  return { result, lines };
}

describe('two policies over one capture', () => {
  test('the same policy changes nothing, and everybody gets where he got', () => {
    const path = capture('pcapng');
    const same = policy('a.yaml');
    expect(changes(path, same, policy('b.yaml')).result).toMatchObject({
      packets: 4,
      changed: 0,
      groups: [],
    });
    const { verdicts, tables, unreplayed, portsBy } = replayCapture(path, { policy: same });
    expect([portsBy, verdicts.forwarded, unreplayed['left the deck']]).toEqual(['interface', 4, 4]);
    expect(Object.keys(tables.ports)).toEqual(['web', 'db', 'wan']);
  });

  test.each(['pcapng', 'pcap'] as const)(
    'a rule that goes: those who needed it, by the reason (%s)',
    (format) => {
      const after = policy('b.yaml', (text) => text.replace('dport: 5432', 'dport: 5433'));
      const { lines, result } = changes(capture(format), policy('a.yaml'), after);
      expect(lines).toEqual([
        '1 web: forwarded to db → dropped: NETWORK_ISOLATED',
        `${format === 'pcap' ? 2 : 3} db: forwarded to web → dropped: NETWORK_ISOLATED`,
      ]);
      expect(result).toMatchObject({ newlyDropped: 2, newlyPassed: 0 });
    },
  );

  test('a rejection is an answer; the other way round it would pass', () => {
    const rejecting = policy('b.yaml', (text) =>
      text.replace('  rules:\n', '  rules:\n    - { in: front, out: wan, action: REJECT }\n'),
    );
    const path = capture('pcapng');
    const { lines } = changes(path, policy('a.yaml'), rejecting);
    expect(lines).toEqual([
      '5 web: forwarded to wan from 203.0.113.2 → dropped: USER_REJECT; web is sent IP 10.1.0.1 > 10.1.0.2: ICMP port unreachable (10.1.0.2 > 198.51.100.7), length 37',
    ]);
    expect(changes(path, rejecting, policy('a.yaml')).result).toMatchObject({
      newlyDropped: 0,
      newlyPassed: 1,
    });
  });

  test('a publish that leads elsewhere, and one that is not there any more', () => {
    const path = capture('pcapng');
    const moved = policy('b.yaml', (text) => text.replace('8080:80', '8080:81'));
    expect(changes(path, policy('a.yaml'), moved).lines).toEqual([
      '7 wan: forwarded to web as 10.1.0.2:80 → forwarded to web as 10.1.0.2:81',
    ]);
    const gone = policy('c.yaml', (text) => text.replace('8080:80', '8081:80'));
    expect(changes(path, policy('a.yaml'), gone).lines).toEqual([
      '7 wan: forwarded to web as 10.1.0.2:80 → dropped: NOT_PUBLISHED',
    ]);
  });

  test('ports are found by MAC or address where names say nothing, and what the policy leaves open is the capture’s', () => {
    const path = capture('pcapng', ['veth1', 'veth2', 'eth0']);
    const open = (text: string) => text.replace(/mac_address: \S+, /g, '');
    const { tables } = replayCapture(path, { policy: policy('a.yaml', open) });
    expect(Object.keys(tables.ports)).toEqual(['web', 'db', 'eth0']);
    expect(tables.drops).toEqual({});
    expect(tables.ledger).toMatchObject({ received: 4, sent: 4, held: 0 });
  });
});
