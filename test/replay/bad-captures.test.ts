// Captures with something wrong: everything that can be used is, and what cannot be has its place and a reason.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PcapWriter } from '../../src/capture/pcap-writer.ts';
import { PcapngWriter } from '../../src/capture/pcapng-writer.ts';
import { diffCapture } from '../../src/replay/capture-diff.ts';
import { replayCapture } from '../../src/replay/capture-replay.ts';
import { shrinkCapture } from '../../src/replay/capture-shrink.ts';
import { Condition } from '../../src/replay/condition.ts';
import { loadPolicy } from '../../src/replay/scenario.ts';
import { udp } from '../../src/testing/index.ts';

const a = { mac: '02:00:00:00:00:0a', ipv4: '172.17.0.10' };
const b = { mac: '02:00:00:00:00:0b', ipv4: '172.17.0.11' };
const frame = udp({ from: a, to: b, dstPort: 9, data: 100 });
/** Of a record in a pcap: its header and the frame. */
const RECORD = 16 + frame.length;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tapdeck-bad-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function file(
  name: string,
  write: (sink: (bytes: Uint8Array) => void) => void,
): { path: string; bytes: Buffer } {
  const chunks: Uint8Array[] = [];
  write((bytes) => void chunks.push(bytes.slice()));
  const bytes = Buffer.concat(chunks);
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return { path, bytes };
}

function pcap(count: number, linkType?: number) {
  return file('in.pcap', (sink) => {
    const writer = new PcapWriter(sink, linkType === undefined ? {} : { linkType });
    for (let i = 0; i < count; i++) writer.write(BigInt(i) * 1_000_000n, frame, 0, frame.length);
  });
}

/** A pcapng with other link types and snapshot lengths in the descriptions of its interfaces. */
function described(
  bytes: Buffer,
  { linkType, snapLength }: { linkType?: number[]; snapLength?: number[] },
): Buffer {
  let described = 0;
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
    if (bytes.readUInt32LE(at) !== 1) continue;
    if (linkType) bytes.writeUInt16LE(linkType[described]!, at + 8);
    if (snapLength) bytes.writeUInt32LE(snapLength[described]!, at + 12);
    described++;
  }
  return bytes;
}

/** Replays, compares and shrinks the capture; all say the same of it. Answers the frames that were used, and what was said. */
function use(path: string): { frames: number; said: string[] } {
  const say = (said: string[]) => (problem: Error) =>
    void said.push(problem.message.replace(`${path}: `, ''));
  const said: string[] = [];
  const { frames } = replayCapture(path, { warn: say(said) });
  const policy = join(folder, 'policy.yaml');
  writeFileSync(policy, 'networks: { lan: { ipam: { config: [ { subnet: 172.17.0.0/16 } ] } } }\n');
  const compared: string[] = [];
  const { packets } = diffCapture(path, loadPolicy(policy), loadPolicy(policy), { warn: say(compared) });
  expect([packets, compared]).toEqual([frames, said]);
  if (frames > 0) {
    const shrunk: string[] = [];
    const { packetsBefore } = shrinkCapture(path, new Condition(`packets = ${frames}`), {
      warn: say(shrunk),
    });
    expect(packetsBefore).toBe(frames);
    // It reads no further than it has to.
    expect(said.slice(0, shrunk.length)).toEqual(shrunk);
  }
  return { frames, said };
}

test('cut in the middle of a record', () => {
  const { path, bytes } = pcap(3);
  writeFileSync(path, bytes.subarray(0, -1));
  expect(use(path)).toEqual({
    frames: 2,
    said: [
      `byte ${24 + 2 * RECORD}: cut off: the file ends ${RECORD - 1} bytes into what begins here; use what is before it (records: 2) or capture again`,
    ],
  });
});

test('a length that is a lie', () => {
  const { path, bytes } = pcap(3);
  bytes.writeUInt32LE(0x7fff_ffff, 24 + RECORD + 8);
  writeFileSync(path, bytes);
  const { frames, said } = use(path);
  expect(frames).toBe(1);
  expect(said).toEqual([
    expect.stringContaining(
      `byte ${24 + RECORD}: absurd record: its captured length is 2147483647, more than 262144`,
    ),
  ]);
});

test('another link type: nothing can be switched, and it is said why', () => {
  const { frames, said } = use(pcap(2, 276).path);
  expect(frames).toBe(0);
  expect(said).toEqual([
    'byte 24: frame 1 is not Ethernet: its link type is LINUX_SLL2 (Linux "any" interface), 276, and the deck switches Ethernet frames; capture on one Ethernet interface instead (tcpdump -i eth0)',
  ]);
});

test('interfaces of several link types: the frames of Ethernet are used', () => {
  const { path, bytes } = file('in.pcapng', (sink) => {
    const writer = new PcapngWriter(sink);
    for (const name of ['eth0', 'tun0', 'eth1']) writer.addInterface({ name });
    for (let i = 0; i < 6; i++) writer.write(i % 3, 1n, frame, 0, frame.length);
  });
  writeFileSync(path, described(bytes, { linkType: [1, 101, 1] }));
  const { frames, said } = use(path);
  expect(frames).toBe(4);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/^byte \d+: frame 2 is not Ethernet: its link type is RAW/);
});

test('snapshot lengths that differ: frames are replayed as far as they are there, and the first cut one is named', () => {
  const { path, bytes } = file('in.pcapng', (sink) => {
    const writer = new PcapngWriter(sink);
    for (const name of ['eth0', 'eth1', 'eth2']) writer.addInterface({ name });
    for (const [i, length] of [frame.length, 60, 96].entries()) {
      writer.write(i, 1n, frame, 0, length, { originalLength: frame.length });
    }
  });
  writeFileSync(path, described(bytes, { snapLength: [0, 60, 96] }));
  const { frames, said } = use(path);
  expect(frames).toBe(3);
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(
    /^byte \d+: frame 2 is cut: 60 of its 142 bytes were captured, and no more are replayed; capture with a larger snapshot length/,
  );
  expect(replayCapture(path, { warn: () => {} }).cut).toBe(2);
});

test('no capture at all', () => {
  const path = join(folder, 'text');
  writeFileSync(path, 'hello, world');
  const why =
    /byte 0: not a capture: it begins with 0x68656c6c, which is neither pcap nor pcapng; give a file that/;
  expect(() => replayCapture(path, { warn: () => {} })).toThrow(why);
  expect(() => shrinkCapture(path, new Condition('packets = 1'), { warn: () => {} })).toThrow(why);
  expect(() => replayCapture(join(folder, 'nothing'))).toThrow(
    /cannot be read: no such file or directory; check the path/,
  );
});
