import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { readCaptureSync } from '../../src/capture/read-capture.ts';
import { runScenario } from '../../src/replay/scenario-run.ts';
import { frameDifference, scenario } from '../../src/testing/index.ts';

// A copy of the scenario in which b gets frames from a at 0 and at 20 ms, a one at 10 ms, and c one at 0.
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-difference-'));
  cpSync('fixtures/scenarios/learning', folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Timed {
  time: bigint;
  bytes: Uint8Array;
}

/** Changes what a port is expected to send. */
function expectOther(file: string, change: (frames: Timed[]) => Timed[]): void {
  const path = join(folder, file);
  const frames = [...readCaptureSync(path)].map(({ timestamp, data }) => ({
    time: timestamp,
    bytes: data.slice(),
  }));
  const chunks: Uint8Array[] = [];
  const writer = new PcapWriter((bytes) => void chunks.push(bytes.slice()), { nanoseconds: true });
  for (const { time, bytes } of change(frames)) writer.write(time, bytes, 0, bytes.length);
  writeFileSync(path, Buffer.concat(chunks));
}

function patchExpected(from: RegExp, to: string): void {
  const path = join(folder, 'expected.yaml');
  const before = readFileSync(path, 'utf8');
  const after = before.replace(from, to);
  expect(after).not.toBe(before);
  writeFileSync(path, after);
}

function difference(): string {
  return runScenario(folder).difference ?? 'none';
}

test('none', () => {
  expect(runScenario(folder).difference).toBeUndefined();
});

test('a frame that differs is decoded beside the one that was expected', () => {
  expectOther('b-out.pcap', (frames) => {
    frames[1]!.bytes[22] = 63;
    return frames;
  });
  const words = difference();
  expect(words).toContain('port b, frame 2 differs, at 0.020 s');
  expect(words).toContain(
    'expected  02:42:0a:00:00:0a > 02:42:0a:00:00:0b, IP 10.0.0.10 > 10.0.0.11: malformed IP_CSUM',
  );
  expect(words).toContain(
    'came out  02:42:0a:00:00:0a > 02:42:0a:00:00:0b, IP 10.0.0.10 > 10.0.0.11: ICMP echo request',
  );
  expect(words).toContain('first different byte: 22');
  expect(() => scenario(folder)).toThrow(words);
});

test('a frame that is missing', () => {
  expectOther('c-out.pcap', (frames) => [...frames, { time: 5_000_000n, bytes: frames[0]!.bytes }]);
  expect(difference()).toContain('port c, frame 2 is missing: expected at 0.005 s, it did not come out');
});

test('a frame that is missing before others', () => {
  expectOther('b-out.pcap', (frames) => [{ time: 0n, bytes: new Uint8Array(60) }, ...frames]);
  const words =
    'port b, frame 1 is missing: expected at 0.000 s, it did not come out; the frame that came out next is expected one frame later';
  expect(difference()).toContain(words);
});

test('a frame too many', () => {
  expectOther('b-out.pcap', (frames) => frames.slice(1));
  expect(difference()).toContain(
    'port b: one frame too many came out at 0.000 s, as frame 1; the expected frame comes one frame later',
  );
});

test('a frame from a port that is to send nothing', () => {
  const path = join(folder, 'scenario.yaml');
  writeFileSync(path, readFileSync(path, 'utf8').replace('c: { out: c-out.pcap }', 'c: {}'));
  expect(difference()).toContain('port c, which is to send nothing: one frame too many came out at 0.000 s');
});

test('a frame at another time', () => {
  expectOther('a-out.pcap', ([frame]) => [{ ...frame!, time: 11_000_000n }]);
  expect(difference()).toContain('port a, frame 1 came out at 0.010 s, not at 0.011 s');
});

test('the first of several is told', () => {
  expectOther('b-out.pcap', (frames) => frames.slice(0, 1));
  expectOther('a-out.pcap', () => []);
  expect(difference()).toContain('port a, which is to send nothing: one frame too many came out at 0.010 s');
});

describe('tables', () => {
  test.each([
    [/sent: 4/, 'sent: 5', 'ledger.sent: 5 is expected, and there is 4'],
    [/drops: \{\}/, 'drops: { IP_CSUM: 1 }', 'drops.IP_CSUM: 1 is expected, and there is nothing'],
    [/port: b\n/, 'port: c\n', 'fdb.lan.02:42:0a:00:00:0b.port: c is expected, and there is b'],
    [/neighbors: \{\}/, 'neighbors: { lan: {} }', 'neighbors.lan: {} is expected, and there is nothing'],
    [
      / {4}02:42:0a:00:00:0b:\n.*\n.*\n/,
      '',
      'fdb.lan.02:42:0a:00:00:0b: nothing is expected, and there is port b, age',
    ],
  ])('%s', (from, to, words) => {
    patchExpected(from, to);
    expect(difference()).toContain(words);
  });

  test('a section that is not there is not compared', () => {
    patchExpected(/sent: 4/, 'sent: 5');
    patchExpected(/ledger:\n( .*\n)+/, '');
    expect(difference()).toBe('none');
  });

  test('a section that nobody knows is refused', () => {
    patchExpected(/neighbors:/, 'neighbours:');
    expect(() => runScenario(folder)).toThrow(
      /expected.yaml:\d+:1: neighbours: unknown key; allowed: ledger, drops/,
    );
  });
});

test('--update writes what comes out, and then it is as expected', () => {
  for (const file of ['a-out.pcap', 'b-out.pcap', 'c-out.pcap', 'expected.yaml']) rmSync(join(folder, file));
  expect(difference()).toContain('there is no a-out.pcap for port a; run with --update');
  const { updated, sha256 } = runScenario(folder, { update: true });
  expect(updated).toEqual(
    ['a-out.pcap', 'b-out.pcap', 'c-out.pcap', 'expected.yaml'].map((file) => join(folder, file)),
  );
  expect(scenario(folder).sha256).toBe(sha256);
  for (const file of updated) {
    const kept = file.replace(folder, 'fixtures/scenarios/learning');
    expect(readFileSync(file).equals(readFileSync(kept)), file).toBe(true);
  }
});

test('--update does not invent an out for a port', () => {
  const path = join(folder, 'scenario.yaml');
  writeFileSync(path, readFileSync(path, 'utf8').replace('c: { out: c-out.pcap }', 'c: {}'));
  expect(runScenario(folder, { update: true }).difference).toBe(
    "port c sent 1 frame, and the scenario names no 'out' for it",
  );
});

test('a damaged capture is no scenario', () => {
  const path = join(folder, 'a-in.pcap');
  writeFileSync(path, readFileSync(path).subarray(0, 100));
  expect(difference()).toContain('a-in.pcap: byte');
});

test('frames side by side, whatever they are', () => {
  const frame = [...readCaptureSync('fixtures/captures/tcp-a.pcap')][2]!.data.slice();
  expect(frameDifference(frame, frame)).toBeUndefined();
  const other = frame.slice();
  other[47]! ^= 0x10;
  expect(frameDifference(frame, other)).toMatch(/^\* TCP flags +0x02 +0x12$/m);
  expect(frameDifference(frame, frame.subarray(0, 20))).toMatch(/^\* malformed +- +HDR_TRUNC$/m);
  expect(frameDifference(frame, frame.subarray(0, 5))).toMatch(
    /^\* malformed +- +shorter than an Ethernet header \(5 bytes\)$/m,
  );
  expect(frameDifference(new Uint8Array(0), new Uint8Array(1))).toContain('first different byte: 0');
});
