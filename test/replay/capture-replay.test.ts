import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PacketFlags } from '../../src/capture/capture-record.ts';
import { LinkType } from '../../src/capture/link-type.ts';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { type ReplayStep, replayCapture } from '../../src/replay/capture-replay.ts';
import { arpRequest, ethernet, icmpEcho, type Station } from '../../src/testing/index.ts';

const a: Station = { mac: '02:42:ac:11:00:02', ipv4: '172.17.0.2' };
const b: Station = { mac: '02:42:ac:11:00:03', ipv4: '172.17.0.3' };
const gateway: Station = { mac: '02:42:ac:11:00:01', ipv4: '172.17.0.1' };
const SECOND = 1_000_000_000n;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-capture-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, make: (sink: (bytes: Uint8Array) => void) => void): string {
  const chunks: Uint8Array[] = [];
  make((bytes) => void chunks.push(bytes.slice()));
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat(chunks));
  return path;
}

/** A classic capture of frames at seconds since 1970. */
function pcap(frames: readonly (readonly [seconds: number, frame: Uint8Array])[], linkType?: number): string {
  return write('in.pcap', (sink) => {
    const writer = new PcapWriter(sink, linkType === undefined ? {} : { linkType });
    for (const [seconds, frame] of frames) {
      writer.write(BigInt(Math.round(seconds * 1e9)), frame, 0, frame.length);
    }
  });
}

test('each source MAC is a port, the gateway is that of a fresh deck, and the clock is the capture’s', () => {
  const steps: ReplayStep[] = [];
  const output = join(folder, 'out.pcapng');
  const path = pcap([
    [1000, arpRequest({ from: a, ask: gateway.ipv4! })],
    [1000.5, icmpEcho({ from: a, to: b })],
    [1002, icmpEcho({ from: b, to: a, reply: true })],
  ]);
  const result = replayCapture(path, {
    output,
    onStep: (step) => steps.push({ ...step, bytes: step.bytes.slice() }),
  });
  expect(steps.map(({ number, now, port, verdict }) => [number, now, port, verdict])).toEqual([
    [1, 0, a.mac, 'flooded'],
    [2, 500, a.mac, 'flooded'],
    [3, 2000, b.mac, `forwarded to ${a.mac}`],
  ]);
  expect(result).toMatchObject({ portsBy: 'source MAC', frames: 3, duration: 2000, seed: 0 });
  expect(result.verdicts).toEqual({ forwarded: 1, flooded: 2, consumed: 0, held: 0, dropped: 0 });
  // The gateway answered the question; everything has the capture's own time.
  const written = [...readCaptureSync(output)].map(({ interfaceName, timestamp, flags }) => [
    interfaceName,
    timestamp,
    flags,
  ]);
  expect(written).toEqual([
    [b.mac, 1000n * SECOND, PacketFlags.OUTBOUND],
    [a.mac, 1000n * SECOND, PacketFlags.OUTBOUND],
    [b.mac, 1000n * SECOND + SECOND / 2n, PacketFlags.OUTBOUND],
    [a.mac, 1002n * SECOND, PacketFlags.OUTBOUND],
  ]);
});

test('interfaces are ports, and what left a switch does not come in again', () => {
  const path = write('in.pcapng', (sink) => {
    const writer = new PcapngWriter(sink);
    const frame = icmpEcho({ from: a, to: b });
    for (const name of ['veth0', 'veth1', 'veth0', undefined])
      writer.addInterface(name === undefined ? {} : { name });
    writer.write(0, SECOND, frame, 0, frame.length, { flags: PacketFlags.INBOUND });
    writer.write(1, SECOND, frame, 0, frame.length, { flags: PacketFlags.OUTBOUND });
    writer.write(2, SECOND, icmpEcho({ from: b, to: a }), 0, frame.length);
    writer.write(3, SECOND, frame, 0, 10);
  });
  const result = replayCapture(path);
  expect(result.portsBy).toBe('interface');
  expect(Object.keys(result.tables.ports)).toEqual(['veth0', 'veth1', 'veth0 (2)', 'interface 3']);
  expect(result.frames).toBe(3);
  expect(result.unreplayed['left the deck']).toBe(1);
  expect(result.tables.drops).toEqual({ PKT_TOO_SMALL: 1 });
});

test('time never goes back, and ageing happens at its time', () => {
  const path = pcap([
    [1000, icmpEcho({ from: a, to: b })],
    [900, icmpEcho({ from: b, to: a })],
    [1301, icmpEcho({ from: b, to: a })],
  ]);
  const verdicts: string[] = [];
  const result = replayCapture(path, { onStep: ({ now, verdict }) => verdicts.push(`${now} ${verdict}`) });
  expect(verdicts).toEqual(['0 flooded', `0 forwarded to ${a.mac}`, '301000 flooded']);
  expect(result.tables.fdb.map(({ mac }) => mac)).toEqual([gateway.mac, b.mac]);
});

test('frames without a station, and stations beyond counting, share a port', () => {
  const stations = Array.from(
    { length: 300 },
    (_, i) =>
      `02:00:00:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`,
  );
  const path = pcap([
    [0, new Uint8Array(5)],
    [0, ethernet({ from: '01:00:5e:00:00:01', to: a.mac, type: 0x88b5 })],
    ...stations.map((mac) => [1, ethernet({ from: mac, to: a.mac, type: 0x88b5 })] as const),
  ]);
  const result = replayCapture(path);
  expect(Object.keys(result.tables.ports)).toHaveLength(257);
  expect(result.tables.ports['others']).toMatchObject({ rxFrames: 2 + 300 - 256, rxDropped: 2 });
  expect(result.tables.ledger.received).toBe(302);
});

test('what cannot be replayed is counted and told once', () => {
  const told: string[] = [];
  const warn = ({ message }: Error): void => void told.push(message);
  const raw = replayCapture(
    pcap(
      [
        [0, new Uint8Array(40)],
        [1, new Uint8Array(40)],
      ],
      LinkType.RAW,
    ),
    { warn },
  );
  expect(raw).toMatchObject({ frames: 0, unreplayed: { 'not Ethernet': 2 } });
  const long = replayCapture(
    pcap([
      [0, new Uint8Array(70_000)],
      [1, icmpEcho({ from: a, to: b })],
    ]),
    { warn },
  );
  expect(long).toMatchObject({ frames: 1, unreplayed: { 'too long': 1 } });
  expect(told).toHaveLength(2);
  expect(told[0]).toContain('frame 1 is not Ethernet: its link type is RAW');
  expect(told[1]).toContain('frame 1 is too long: it has 70000 bytes');
});

test('frames are as long as they were captured, without a frame check sequence', () => {
  const frame = icmpEcho({ from: a, to: b });
  const lengths: number[] = [];
  const path = pcap([
    [0, frame],
    [1, frame],
    [2, frame],
    [3, frame],
  ]);
  const bytes = readFileSync(path);
  // Classic pcap: the link type field says that four bytes of every frame are a check sequence.
  bytes.writeUInt32LE((LinkType.ETHERNET | (2 << 28) | (1 << 26)) >>> 0, 20);
  const record = (index: number): number => 24 + index * (16 + frame.length);
  // The second one was cut by 10 bytes on the wire's account, the third claims more, the last less than was captured.
  bytes.writeUInt32LE(frame.length + 10, record(1) + 12);
  bytes.writeUInt32LE(4_000_000_000, record(2) + 12);
  bytes.writeUInt32LE(20, record(3) + 12);
  writeFileSync(path, bytes);
  replayCapture(path, { warn: () => {}, onStep: ({ length }) => void lengths.push(length) });
  expect(lengths).toEqual([frame.length - 4, frame.length, frame.length, 16]);
});

test('what is no capture is refused in one line', () => {
  const path = join(folder, 'x.pcap');
  expect(() => replayCapture(path)).toThrow(/x.pcap: cannot be read: no such file/);
  writeFileSync(path, 'not a capture at all');
  expect(() => replayCapture(path)).toThrow(/x.pcap/);
  expect(() => replayCapture('/dev/null')).toThrow('/dev/null: is not a file');
  expect(() =>
    replayCapture(pcap([[0, icmpEcho({ from: a, to: b })]]), { output: join(folder, 'no', 'such') }),
  ).toThrow('cannot be written');
});

test('progress goes up to the end', () => {
  const done: number[] = [];
  const frame = icmpEcho({ from: a, to: b });
  const path = pcap(Array.from({ length: 5000 }, (_, i) => [i, frame] as const));
  replayCapture(path, { onProgress: (share) => void done.push(share) });
  expect(done.length).toBe(8);
  expect([...done].sort((x, y) => x - y)).toEqual(done);
  expect(done[0]).toBeGreaterThan(0);
  expect(done.at(-1)).toBeLessThanOrEqual(1);
});

test('a capture taken on a deck: its gateway speaks again by itself, and is no station', () => {
  const result = replayCapture(
    pcap([
      [1000, icmpEcho({ from: a, to: gateway })],
      [1000.1, icmpEcho({ from: gateway, to: a, reply: true })],
    ]),
  );
  expect(result.unreplayed['left the deck']).toBe(1);
  expect(result.frames).toBe(1);
  // The answer is the replay's own.
  expect(result.tables.ledger).toMatchObject({ received: 1, sent: 1, dropped: 0 });
});
